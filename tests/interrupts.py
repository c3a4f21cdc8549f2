"""An interrupt at each moment of a call, one after the other."""

import sys
from collections.abc import Callable, Iterator
from typing import Any


def interruptions(call: Callable[[], Any]) -> Iterator[int]:
    """Calls `call` again and again, interrupted a little later each time; yields after each.

    The interpreter looks for signals where a Python function begins and where a C function has
    returned, and in loops. A profiler is called at the first two, and what it raises comes out
    there. Ends with the first call that is not interrupted.

    Yields:
        number of the moment.
    """
    moment = 0
    while _interrupted(call, moment):
        yield moment
        moment += 1


def _interrupted(call: Callable[[], Any], moment: int) -> bool:
    left = moment

    def profile(frame: Any, event: str, argument: Any) -> None:
        nonlocal left
        if event not in ("call", "c_return") or argument is sys.setprofile:
            return
        if left == 0:
            raise KeyboardInterrupt
        left -= 1

    before = sys.getprofile()
    try:
        sys.setprofile(profile)
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(before)
    return False
