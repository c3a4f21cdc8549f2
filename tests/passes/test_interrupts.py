"""Values after an interrupt: the old ones or the new ones, never something else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.backends.cpu.memory import POOL
from numbatorch.backends.cpu.program import CPUProgram
from numbatorch.tensor.core import realize
from tests.conftest import GPUS, SIMULATED
from tests.interrupts import interruptions

SIZE = 8 if SIMULATED else 1000


@pytest.fixture(autouse=True)
def interrupts_in_finalizers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter prints them and goes on."""
    monkeypatch.setattr(sys, "unraisablehook", lambda lost: None)


@pytest.fixture(params=["cpu", *GPUS] if not SIMULATED else GPUS)
def compiled(request: pytest.FixtureRequest) -> str:
    """Each device that runs kernels."""
    if request.param == "metal":
        request.getfixturevalue("metal")
    return str(request.param)


def ones(device: str = "cpu") -> nt.Tensor:
    return (nt.zeros(SIZE, device=device) + 1).realize()


def interrupted(call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A call in which the interrupt comes while the launches of a program run."""
    own = CPUProgram.call

    def interrupted(program: CPUProgram, *args: Any) -> None:
        run = program.run_native
        assert run is not None

        def late(*arguments: int) -> int:
            run(*arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(program, "run_native", late)
            own(program, *args)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(CPUProgram, "call", interrupted)
        call()


def sum_over_donated(device: str = "cpu") -> nt.Tensor:
    """A sum that overwrites its second operand, which nothing else holds: 2."""
    x, y = ones(device), ones(device)
    return y + x


def test_an_interrupt_during_a_run_keeps_its_results(monkeypatch: pytest.MonkeyPatch) -> None:
    total, other = sum_over_donated(), ones() * 3  # two, for a small graph overwrites nothing
    interrupted(lambda: realize(total, other), monkeypatch)
    assert (total == 2).all() and (other == 3).all()


def test_an_interrupt_at_any_moment_of_realizing(compiled: str) -> None:
    total = sum_over_donated(compiled).realize()

    def compute() -> None:
        nonlocal total
        total = sum_over_donated(compiled)
        total.realize()

    for _ in interruptions(compute):
        np.testing.assert_array_equal(total.numpy(), np.full(SIZE, 2))


def counter(device: str = "cpu") -> tuple[nt.Tensor, nt.Tensor, Any]:
    """Two tensors that a compiled function counts up by 1 and 2, after a few calls."""
    first, second = (nt.zeros(SIZE, device=device).realize() for _ in range(2))

    @nt.compile
    def count(x: nt.Tensor) -> nt.Tensor:
        first[...] = first + x
        second[...] = second + 2 * x
        return first * 1

    for _ in range(2):
        count(ones(device))
    return first, second, count


def test_an_interrupt_during_a_replay_keeps_all_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, count = counter()
    one = ones()
    interrupted(lambda: count(one), monkeypatch)
    assert (first == 3).all() and (second == 6).all()
    assert (count(one) == 4).all()


def test_an_interrupt_at_any_moment_of_a_replay(compiled: str) -> None:
    first, second, count = counter(compiled)
    one = ones(compiled)
    calls = 2.0
    for _ in interruptions(lambda: count(one)):
        reached = float(first[0])
        assert reached in (calls, calls + 1)
        np.testing.assert_array_equal(second.numpy(), np.full(SIZE, 2 * reached))
        assert (count(one) == reached + 1).all()
        calls = reached + 1


def test_an_index_out_of_range_is_forgotten_after_an_interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = ones()

    def read(index: int) -> nt.Tensor:
        return table[nt.tensor([index], device="cpu")]

    assert read(1).tolist() == [1.0]
    interrupted(lambda: read(5000).tolist(), monkeypatch)
    assert read(2).tolist() == [1.0]


def test_an_index_out_of_range_is_forgotten_after_an_interrupt_at_any_moment(gpu: str) -> None:
    table = ones(gpu)

    def read(index: int) -> Any:
        return table[nt.tensor([index], device=gpu)].tolist()

    def fail() -> None:
        with suppress(IndexError):
            read(5000)

    fail()
    for moment in interruptions(fail):
        assert read(2) == [1.0], moment


def drops() -> Iterator[int]:
    return interruptions(lambda: POOL.allocate(5000))


def test_an_interrupt_when_memory_is_freed_leaves_the_pool_usable() -> None:
    for _ in drops():
        assert POOL.allocate(5000).nbytes == 5000
