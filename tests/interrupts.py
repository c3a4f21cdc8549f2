"""An interrupt at each moment of a call, one after the other."""

import inspect
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest

from numbatorch import apart


class TimeIsUp(Exception):
    """What the handler of an alarm raises; only `KeyboardInterrupt` comes by itself."""


KINDS = pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeIsUp])


def interruptions(
    call: Callable[[], Any], step: int = 1, kind: type[BaseException] = KeyboardInterrupt
) -> Iterator[int]:
    """Calls `call` again and again, interrupted a little later each time; yields after each.

    The interpreter looks for signals where a Python function begins and where a C function has
    returned, and in loops. A profiler is called at the first two, and what it raises comes out
    there. Ends with the first call that is not interrupted.

    Args:
        step: how many moments later the next interrupt comes.
        kind: what is raised.
    Yields:
        number of the moment.
    """
    moment = 0
    while _interrupted(call, moment, kind):
        yield moment
        moment += step


def is_moment(frame: FrameType, event: str) -> bool:
    """Whether the interpreter looks for signals, and for other threads, at this profiler event.

    Generators are left out: the event of one that is closed looks like that of one that goes on.
    So is the import system: an interrupt there can leave its lock held, for all other threads; and
    where handlers wait, none comes.
    """
    if frame.f_code.co_filename.startswith("<frozen importlib") or apart.are_handlers_waiting():
        return False
    if event == "call":
        return not frame.f_code.co_flags & inspect.CO_GENERATOR
    return event == "c_return"


def _interrupted(call: Callable[[], Any], moment: int, kind: type[BaseException]) -> bool:
    left = moment
    raised = False

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left, raised
        if not is_moment(frame, event) or argument is sys.setprofile:
            return
        if left == 0:
            raised = True
            raise kind
        left -= 1

    before = sys.getprofile()
    try:
        sys.setprofile(profile)
        call()
    except kind:
        pass
    finally:
        sys.setprofile(before)
    return raised  # in a finalizer it goes no further


def intrusions(call: Callable[[], Any], intrude: Callable[[], Any]) -> Iterator[int]:
    """Calls `call` again and again, with `intrude` called within it, a little later each time.

    So it is when a finalizer or the handler of a signal computes something. Yields after each call;
    ends with the first call in which there was no such moment left.

    Yields:
        number of the moment.
    """
    moment = 0
    while _intruded(call, intrude, moment):
        yield moment
        moment += 1


def _intruded(call: Callable[[], Any], intrude: Callable[[], Any], moment: int) -> bool:
    left = moment
    done = False

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal left, done
        if done or not is_moment(frame, event) or argument is sys.setprofile:
            return
        if left == 0:
            done = True
            intrude()  # the interpreter profiles nothing meanwhile
        left -= 1

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(before)
    return done
