"""Random programs on the short way, with interrupts, calls within calls, threads and signals."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.backends.outcome import here
from numbatorch.graph import runs
from tests.compare import assert_close
from tests.interrupts import TimeIsUp, interruptions, intrusions
from tests.random_programs import (
    Arguments,
    Long,
    Quick,
    World,
    array_of,
    leaves,
    random_arguments,
    random_program,
    tensors_of,
)


@pytest.fixture(autouse=True)
def few_kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each operator is a kernel of its own; interrupts in finalizers are ignored as they are."""
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: None)
    with debug.no_fuse():
        yield
    assert not here.lasting and not runs


def quick_and_long(seed: int, kind: str, calls: int) -> tuple[World, World, list[Arguments]]:
    """A program in two worlds after some calls, and arguments of further ones of that form."""
    rng = np.random.default_rng(seed)
    program = random_program(rng, kind)
    quick, long = (World(program, seed, way) for way in (Quick, Long))
    found: list[Arguments] = []
    while len(found) < calls:
        arguments = random_arguments(rng, program, False, found[-1] if found else None, steady=True)
        if not arguments.aliased:
            found.append(arguments)
    for arguments in found:
        for _ in range(2):
            quick.run(arguments)
            long.run(arguments)
    return quick, long, found


def called(world: World, arguments: Arguments) -> Callable[[], list[Any]]:
    """A call whose arguments are made already; it gives copies of the results."""
    args, kwargs = arguments.made(world)
    return lambda: [array_of(x) for x in leaves(world.call(*args, **kwargs))]


def equal(found: Any, wanted: Any) -> bool:
    """Whether two nests of arrays are alike up to roundings."""
    if isinstance(found, dict | list | tuple):
        pairs = zip(leaves_of(found), leaves_of(wanted), strict=True)
        return all(equal(a, b) for a, b in pairs)
    if found is None or wanted is None:
        return found is wanted
    with suppress(AssertionError):
        assert_close(found, wanted, kind="gradient")
        return True
    return False


def leaves_of(nest: Any) -> list[Any]:
    values = list(nest.values()) if isinstance(nest, dict) else nest
    return [leaf for x in values for leaf in (leaves_of(x) if isinstance(x, list) else [x])]


@pytest.mark.drawn(2)
@pytest.mark.parametrize("seed", range(24))
def test_an_interrupt_leaves_old_state_or_new(seed: int) -> None:
    quick, long, (arguments, *_) = quick_and_long(seed, ("state", "training")[seed % 2], 3)
    call, other = called(quick, arguments), called(long, arguments)
    before = quick.call.long
    kind = (TimeIsUp, KeyboardInterrupt)[seed // 2 % 2]
    for moment in interruptions(call, step=5 + seed % 3, kind=kind):
        old = long.values()
        other()
        new, found = long.values(), quick.values()
        if not equal(found, new):
            assert equal(found, old), (str(quick.program), moment, found, old, new)
            call()
            assert equal(quick.values(), new), (str(quick.program), moment)
    assert quick.call.long == before, str(quick.program)


def reset(world: World, values: dict[str, Any]) -> None:
    """Have the state hold these values again."""
    for name, tensor in tensors_of(world.s).items():
        if tensor is not None and name != "row":
            with nt.no_grad():
                tensor.copy_((nt.tensor(values[name]) * 1).realize())
            tensor.realize()


@pytest.mark.drawn(2)
@pytest.mark.parametrize("seed", range(100, 116))
def test_calls_within_calls_come_one_after_the_other(seed: int) -> None:
    quick, long, (one, two, *_) = quick_and_long(seed, ("state", "reading")[seed % 2], 3)
    start = long.values()
    outer, inner = (called(quick, x) for x in (one, two))
    first, second = (called(long, x) for x in (one, two))
    reset(long, start)
    orders = [[first(), second(), long.values()]]
    reset(long, start)
    result = second()
    orders.append([first(), result, long.values()])
    found: list[Any] = []
    within: list[Any] = []
    reset(quick, start)
    for moment in intrusions(lambda: found.append(outer()), lambda: within.append(inner())):
        got = [found[-1], within[-1], quick.values()]
        assert any(equal(got, order) for order in orders), (str(quick.program), moment, got, orders)
        reset(quick, start)


def test_what_another_thread_changes_during_a_trace_is_kept() -> None:
    state, one = nt.zeros(1, device="cpu").realize(), nt.ones(1, device="cpu").realize()
    step = nt.compile(lambda x: state.add_(x) * 2)
    for _ in range(4):  # the last by a short way
        step(one)
    others = []

    def slow(x: nt.Tensor) -> nt.Tensor:
        result = state.add_(x) * 3
        others.append(threading.Thread(target=step, args=(one,)))
        others[-1].start()
        time.sleep(0.1)
        return result

    assert nt.compile(slow)(one).item() in (15, 18)
    for other in others:
        other.join()
    assert others and state.item() == 6


@pytest.mark.drawn(2)
@pytest.mark.parametrize("seed", range(200, 212))
def test_threads_call_one_program(seed: int) -> None:
    quick, long, every = quick_and_long(seed, "reading", 4)
    wanted = [called(long, x)() for x in every]
    calls = [called(quick, x) for x in every]
    steps = long.program.text.count("count.add_")
    before = int(quick.s.count)
    reads_count = "(s.count *" in quick.program.text
    wrong: list[Any] = []

    def work(number: int) -> None:
        try:
            for _ in range(30):
                found = calls[number]()
                if not reads_count and not equal(found, wanted[number]):
                    wrong.append((number, found, wanted[number]))
        except Exception as error:
            wrong.append((number, error))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(calls))]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert not wrong, (str(quick.program), wrong)
    assert int(quick.s.count) == before + 30 * len(calls) * steps, str(quick.program)


@contextmanager
def signals(call: Callable[[], None]) -> Iterator[None]:
    """The handler of a signal, which comes every millisecond, makes a call."""
    own = signal.signal(signal.SIGALRM, lambda number, frame: call())
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, own)


@contextmanager
def finalizers(call: Callable[[], None]) -> Iterator[None]:
    """The collector, which comes at any moment, finds something whose finalizer makes a call."""

    class Again:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            if on:
                call()
                Again()

    on = True
    threshold = gc.get_threshold()
    gc.set_threshold(150)
    Again()
    try:
        yield
    finally:
        on = False
        gc.set_threshold(*threshold)


@pytest.mark.parametrize("seed", range(300, 306))
@pytest.mark.parametrize("between", [signals, finalizers])
def test_programs_that_run_by_themselves_harm_none(between: Any, seed: int) -> None:
    kinds = ("state", "training", "gradient")
    quick, long, every = quick_and_long(seed, kinds[seed % 3], 3)
    other, twin, (arguments, *_) = quick_and_long(seed + 1000, kinds[seed % 2], 1)
    within: list[Any] = []
    intrude, again = called(other, arguments), called(twin, arguments)
    calls, others = ([called(world, x) for x in every] for world in (quick, long))
    found = []
    lasting = False

    def come() -> None:
        nonlocal lasting
        if not lasting:  # the next signal may come before this call ends
            lasting = True
            within.append(intrude())
            lasting = False

    with between(come):
        end = time.monotonic() + 5
        while len(found) < 60 or (len(within) < 10 and time.monotonic() < end):
            found.append(calls[len(found) % 3]())
    assert len(within) >= 10
    for i, got in enumerate(found):
        assert equal(got, others[i % 3]()), (str(quick.program), i)
    for got in within:
        assert equal(got, again()), str(other.program)
    assert equal(quick.values(), long.values()) and equal(other.values(), twin.values())
