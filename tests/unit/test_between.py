"""Finalizers and signal handlers while a function is traced: they are no part of its plan."""

import gc
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import numbatorch as nt


class Bystander:
    """A tensor that something changes in between, and what it read then."""

    def __init__(self) -> None:
        self.tensor = nt.zeros(2)
        self.read: list[Any] = []

    def change(self) -> None:
        self.tensor.add_(1)
        self.read.append((self.tensor * 2).tolist())

    def check(self, times: int) -> None:
        assert self.tensor.tolist() == [times] * 2
        assert self.read == [[2 * i + 2] * 2 for i in range(times)]


@pytest.fixture
def bystander() -> Bystander:
    return Bystander()


@pytest.fixture
def eager_collector() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(500, 2, 2)
    yield
    gc.set_threshold(*before)


def test_a_finalizer_in_a_trace_is_no_part_of_it(
    bystander: Bystander, eager_collector: None
) -> None:
    class Garbage:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            bystander.change()

    @nt.compile
    def triple(x: nt.Tensor) -> nt.Tensor:
        y = x * 3
        Garbage()
        [[] for _ in range(5000)]  # the collector starts, unless it rests
        return y + 1

    for _ in range(3):
        assert triple(nt.ones(2)).tolist() == [4, 4]
    gc.collect()
    bystander.check(1)


@pytest.fixture
def alarm(bystander: Bystander) -> Iterator[int]:
    """A signal whose handler changes the bystander."""
    if sys.platform == "win32":
        pytest.skip("signals are sent otherwise there")
    before = signal.signal(signal.SIGUSR1, lambda *_: bystander.change())
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_handler_in_a_trace_is_no_part_of_it(bystander: Bystander, alarm: int) -> None:
    @nt.compile
    def triple(x: nt.Tensor) -> nt.Tensor:
        y = x * 3
        signal.raise_signal(alarm)
        return y + nt.rand(2).floor() + 1

    handler = signal.getsignal(alarm)
    for _ in range(3):
        assert triple(nt.ones(2)).tolist() == [4, 4]
    bystander.check(1)
    assert signal.getsignal(alarm) is handler
    signal.raise_signal(alarm)
    bystander.check(2)


def test_a_handler_draws_its_own_random_numbers(alarm: int) -> None:
    drawn = []
    signal.signal(alarm, lambda *_: drawn.append(nt.rand(2).tolist()))

    @nt.compile
    def draw(x: nt.Tensor) -> nt.Tensor:
        signal.raise_signal(alarm)
        return x + nt.rand(2)

    values = [draw(nt.zeros(2)).tolist() for _ in range(3)]
    assert len(drawn) == 1
    assert len({tuple(x) for x in values + drawn}) == 4


def test_a_handler_that_the_function_sets_stays(alarm: int) -> None:
    def another(*arguments: Any) -> None: ...

    @nt.compile
    def double(x: nt.Tensor) -> nt.Tensor:
        signal.signal(alarm, another)
        return x * 2

    assert double(nt.ones(2)).tolist() == [2, 2]
    assert signal.getsignal(alarm) is another


def test_a_handler_that_raises_ends_the_trace(alarm: int) -> None:
    def late(*arguments: Any) -> None:
        raise TimeoutError

    signal.signal(alarm, late)

    @nt.compile
    def double(x: nt.Tensor) -> nt.Tensor:
        signal.raise_signal(alarm)
        return x * 2

    with pytest.raises(TimeoutError):
        double(nt.ones(2))
    assert signal.getsignal(alarm) is late and gc.isenabled()
    signal.signal(alarm, lambda *_: None)
    assert double(nt.ones(2)).tolist() == [2, 2]


def test_a_trace_in_another_thread_leaves_handlers_alone(bystander: Bystander, alarm: int) -> None:
    handler, seen = signal.getsignal(alarm), []

    @nt.compile
    def double(x: nt.Tensor) -> nt.Tensor:
        seen.append(signal.getsignal(alarm))
        return x * 2

    thread = threading.Thread(target=lambda: double(nt.ones(2)))
    thread.start()
    thread.join()
    assert seen == [handler]
