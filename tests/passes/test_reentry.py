"""What a finalizer, a generator's end or a signal's handler computes in the midst of anything."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.backends.cpu.memory import POOL
from tests.interrupts import intrusions

SIZE = 100


def test_a_finalizer_may_call_the_program_that_runs() -> None:
    """Also while the interpreter ends, when no thread can be started any more."""
    text = """
import gc
import numbatorch as nt
f = nt.compile(lambda x: x * 3 + 1)
a, b = nt.tensor([1.0, 1.0]), nt.tensor([2.0, 2.0])
f(a)
bad = 0
class Again:
    def __init__(self):
        self.me = self
    def __del__(self):
        f(b).tolist()
for threshold in range(1, 100):
    gc.collect()
    Again()
    gc.set_threshold(threshold)
    bad += f(a).tolist() != [4.0, 4.0]
print(bad)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120)
    assert done.stdout == "0\n", done.stderr


def ones(value: float) -> nt.Tensor:
    return nt.from_numpy(np.full(SIZE, value, np.float32))


def eager() -> tuple[Callable[[], Any], Callable[[Any], bool]]:
    """An eager sum over something that may be donated."""

    def call() -> Any:
        x = (ones(1) + 1).realize()
        y = x * 2
        del x
        return (y + 1).tolist(), y.tolist()

    return call, lambda found: found == ([5.0] * SIZE, [4.0] * SIZE)


def compiled() -> tuple[Callable[[], Any], Callable[[Any], bool]]:
    """A compiled function of one argument, and of a number that changes."""

    def at(x: nt.Tensor, start: int) -> nt.Tensor:
        out = nt.zeros(6)
        out[start : start + 1] = x
        return out * 3

    function = nt.compile(at, dynamic=["start"])
    x = nt.tensor([2.0])
    starts = iter([0, 5] * 10**6)

    def call() -> Any:
        start = next(starts)
        return start, function(x, start).tolist()

    return call, lambda found: found[1] == [6.0 * (i == found[0]) for i in range(6)]


def guarded() -> tuple[Callable[[], Any], Callable[[Any], bool]]:
    """A compiled function whose indices are checked, within their range and out of it."""
    function = nt.compile(lambda index: nt.nn.functional.embedding(index, table) + 1)
    table = nt.arange(6.0).reshape(3, 2)
    numbers = iter([2, 7, 0] * 10**6)

    def call() -> Any:
        number = next(numbers)
        try:
            return number, function(nt.tensor([number])).tolist()
        except nt.OutOfRange:
            return number, None

    def right(found: Any) -> bool:
        number, rows = found
        return bool(rows == (None if number > 2 else [[2.0 * number + 1, 2.0 * number + 2]]))

    return call, right


CASES = {"eager": eager, "compiled": compiled, "guarded": guarded}


@pytest.mark.parametrize("inner", CASES)
@pytest.mark.parametrize("outer", CASES)
def test_each_of_two_calls_is_right_whenever_one_comes_within_the_other(
    outer: str, inner: str
) -> None:
    call, right = CASES[outer]()
    intrude, right_within = CASES[inner]() if inner != outer else (call, right)
    for _ in range(3):
        assert right(call())
        assert right_within(intrude())
    found: list[Any] = []
    within: list[Any] = []
    for moment in intrusions(lambda: found.append(call()), lambda: within.append(intrude())):
        assert right(found[-1]), (moment, found[-1])
        assert right_within(within[-1]), (moment, within[-1])
    assert len(within) > 20


@pytest.mark.parametrize("held", [False, True], ids=["in place", "held by a view"])
def test_no_step_of_a_state_is_lost_or_done_twice(held: bool) -> None:
    state = nt.zeros(SIZE)
    kept = []

    @nt.compile
    def step(x: nt.Tensor) -> nt.Tensor:
        state.add_(x)
        return state * 1

    one, two = ones(1), ones(2)
    total = 0.0
    for _ in range(3):
        step(one)
        step(two)
        total += 3
    results: list[float] = []

    def call() -> None:
        if held:
            kept.append(state * 1)
        results.append(step(one)[0].item())

    for moment in intrusions(call, lambda: results.append(step(two)[0].item())):
        total += 3
        assert state.tolist() == [total] * SIZE, moment
        assert sorted(results[-2:])[-1] == total, moment


def test_a_node_on_the_way_may_be_read_within_the_reading_of_a_result() -> None:
    x = nt.arange(8.0).realize()
    found: list[Any] = []
    number = 0.0

    def call() -> None:
        nonlocal number
        number += 1
        held.append(x * number)
        found.append((held[-1] + 1).tolist())

    held: list[nt.Tensor] = []
    for moment in intrusions(call, lambda: held and held[-1].tolist()):
        assert found[-1] == [number * i + 1 for i in range(8)], moment
        assert held[-1].tolist() == [number * i for i in range(8)], moment


READS: dict[str, Callable[[nt.Tensor], Any]] = {
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.numpy().tolist(),
    "item": lambda x: [x[i].item() for i in range(len(x))],
    "iter": lambda x: [float(value) for value in x],
    "printing": lambda x: [float(part) for part in repr(x)[8:-2].split(",")],
    "pickle": lambda x: pickle.loads(pickle.dumps(x)).tolist(),
}


@pytest.mark.parametrize("read", READS)
def test_a_view_is_read_right_within_a_run_that_overwrites_what_it_views(read: str) -> None:
    """Its value was copied before, and is not noted yet."""
    held: list[nt.Tensor] = []
    within: list[Any] = []

    def call() -> None:
        x = (nt.arange(8.0) + 1).realize()
        held[:] = [x[2:5], x * 2]
        del x
        nt.realize(*held)

    for moment in intrusions(call, lambda: within.append(READS[read](held[0]) if held else None)):
        assert within[-1] in (None, [3.0, 4.0, 5.0]), (moment, within[-1])
        assert held[0].tolist() == [3, 4, 5] and held[1].tolist() == [2 * i + 2 for i in range(8)]


@pytest.mark.parametrize("read", READS)
def test_a_state_and_views_of_it_are_read_right_within_the_step_that_changes_them(
    read: str,
) -> None:
    """Either as before the step or as after it, and never one so and the other so."""
    state = nt.zeros(3).realize()
    view = state[:]
    part = state[1:]
    step = nt.compile(lambda: state.add_(1))
    found: list[Any] = []

    def both() -> None:
        found.append((READS[read](part), READS[read](state)))

    step()
    number = 1.0
    for moment in intrusions(step, both):
        number += 1
        assert found[-1] in [([n] * 2, [n] * 3) for n in (number - 1, number)], moment
        assert state.tolist() == [number] * 3 and view.tolist() == state.tolist(), moment


WAYS: dict[str, Callable[[nt.Tensor], Any]] = {
    **READS,
    "an operator": lambda x: (x * 1).tolist(),
    "a number first": lambda x: (0 + x).tolist(),
    "of one": lambda x: abs(x).tolist(),
    "a function": lambda x: nt.abs(x).tolist(),
    "a power": lambda x: (x**1).tolist(),
    "a reduction": lambda x: [x.sum().item() / 3],
    "a view": lambda x: (x[1:] * 1).tolist(),
    "a transposed one": lambda x: x.T.tolist(),
    "joined": lambda x: nt.cat([x, x]).tolist(),
    "a copy": lambda x: x.clone().tolist(),
    "detached": lambda x: x.detach().tolist(),
    "another dtype": lambda x: x.double().tolist(),
    "another device": lambda x: x.to("numpy").tolist(),
    "in place": lambda x: x.add_(0).tolist(),
    "a deep copy": lambda x: copy.deepcopy(x).tolist(),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("swapped", [False, True], ids=["counted", "swapped"])
def test_two_states_are_of_one_step_whatever_looks_at_them_within_it(
    way: str, swapped: bool
) -> None:
    """Their values lie in memory of each other, or of the results, until they are noted."""
    a, b = nt.full((3,), 1.0).realize(), nt.full((3,), 2.0).realize()

    @nt.compile
    def step() -> None:
        if swapped:
            first = a * 1
            a.copy_(b)
            b.copy_(first)
        else:
            more = a + 1
            b.copy_(a.cumsum(0) * 0 + more + 1)
            a.copy_(more)

    for _ in range(4):
        step()
    found: list[Any] = []
    for moment in intrusions(step, lambda: found.append((WAYS[way](a), WAYS[way](b)))):
        first, second = ({round(number, 3) for number in numbers} for numbers in found[-1])
        assert len(first) == len(second) == 1, (moment, found[-1])
        assert second.pop() - first.pop() in ((1, -1) if swapped else (1,)), (moment, found[-1])


def test_a_pool_gives_no_memory_twice() -> None:
    held: list[Any] = []

    def use() -> None:
        held.append(POOL.allocate(6000))
        held.append(POOL.allocate(6000))
        del held[-1]

    for _ in range(3):
        use()
    for _ in intrusions(use, use):
        addresses = [buffer.address for buffer in held]
        assert len(set(addresses)) == len(addresses)
        if len(held) > 8:
            held.clear()
