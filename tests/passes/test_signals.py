"""A signal every 0.5 ms whose handler computes: no value is wrong, and nothing else is damaged."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import numbatorch as nt

EVERY = 0.0005  # seconds
SIZE = 300

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no timer")

Call = Callable[[int], tuple[Any, Any]]


def calls() -> dict[str, Call]:
    """Calls of many kinds, each of a number; they give what was found and what is right."""
    x = nt.from_numpy(np.arange(SIZE, dtype=np.float32))
    array = np.arange(SIZE, dtype=np.float32)
    table, weight = nt.arange(12.0).reshape(6, 2), nt.tensor([2.0, 3.0], requires_grad=True)
    state, steps = nt.zeros(4), 0
    multiplied = nt.compile(lambda x, n: x * n + 1, dynamic=["n"])
    several = nt.compile(lambda x: (x.cumsum(0).cumsum(0), x.sum()))
    rows = nt.compile(lambda table, index: table[index] * 2)
    squared = nt.compile(lambda w, n: (w * n).square().sum(), dynamic=["n"])

    @nt.compile
    def step(y: nt.Tensor) -> nt.Tensor:
        state.add_(y)
        return state * 1

    def stepped(n: int) -> tuple[Any, Any]:
        nonlocal steps
        before = steps
        found = step(nt.ones(4))[0].item()
        steps += 1
        # A handler may have made steps of its own before this one.
        return before < found <= steps and found == int(found), True

    def chosen(n: int) -> tuple[Any, Any]:
        try:
            return rows(table, nt.tensor([n % 8])).tolist(), [[4.0 * (n % 8), 4.0 * (n % 8) + 2]]
        except nt.OutOfRange:
            return n % 8 > 5, True

    def gradient(n: int) -> tuple[Any, Any]:
        w = weight.detach().requires_grad_()
        with nt.enable_grad():  # a handler has the mode of what it interrupts, as in PyTorch
            squared(w, float(n)).backward()
        assert w.grad is not None
        return w.grad.tolist(), [2.0 * value * n * n for value in (2.0, 3.0)]

    def sums(n: int) -> tuple[Any, Any]:
        n %= 3  # a trace for each
        found = [part[-1].item() if part.shape else part.item() for part in several(x[: n + 1])]
        return found, [sum((n + 1 - i) * i for i in range(n + 1)), n * (n + 1) / 2]

    return {
        "eager": lambda n: ((x * n + x).tolist(), (array * n + array).tolist()),
        "view": lambda n: (((x + n)[n:] * 2).tolist(), ((array + n)[n:] * 2).tolist()),
        "compiled": lambda n: (multiplied(x, float(n)).tolist(), (array * n + 1).tolist()),
        "item": lambda n: ((x[n] + 1).item(), n + 1),
        "loop": lambda n: ([v.item() for v in x[n : n + 3]], [n, n + 1, n + 2]),
        "sort": lambda n: (nt.sort(-x[: n + 1])[0][0].item(), -n),
        "several": sums,
        "rows": chosen,
        "gradient": gradient,
        "state": stepped,
    }


@contextmanager
def signals(handler: Callable[[], None]) -> Iterator[None]:
    """A signal comes again and again; none within the handler of another."""
    within = False

    def come(_number: int, _frame: Any) -> None:
        nonlocal within
        if not within:
            within = True
            try:
                handler()
            finally:
                within = False

    before = signal.signal(signal.SIGALRM, come)
    signal.setitimer(signal.ITIMER_REAL, EVERY, EVERY)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    "count", [2_000, pytest.param(100_000, marks=pytest.mark.slow)], ids="{:,}".format
)
def test_no_value_is_wrong_and_no_bystander_damaged(count: int) -> None:
    own, others = list(calls().values()), list(calls().values())
    shared = calls()
    for call in (*own, *others, *shared.values()):
        for n in range(8):
            call(n)  # so that most calls take short ways
    bystanders = [(nt.arange(float(SIZE)) + i).realize() for i in range(20)]
    wrong: list[Any] = []
    handled = 0

    def compare(call: Call, n: int, who: str) -> None:
        found, right = call(n)
        if found != right:
            wrong.append((who, n, found, right))

    def handler() -> None:
        nonlocal handled
        handled += 1
        compare(others[handled % len(others)], handled % 8, "handler")
        compare(shared[("eager", "compiled", "rows")[handled % 3]], handled % 8, "handler, shared")

    with signals(handler):
        for n in range(count):
            compare(own[n % len(own)], n % 8, "call")
            compare(shared[("compiled", "rows", "eager")[n % 3]], n % 8, "call, shared")
    assert not wrong, (len(wrong), wrong[:3])
    assert handled > count / 1000
    for i, tensor in enumerate(bystanders):
        assert tensor.tolist() == [float(i + j) for j in range(SIZE)]
