"""Values after an interrupt: the old ones or the new ones, never something else."""

import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.backends.cpu import pack
from numbatorch.backends.cpu.memory import POOL
from numbatorch.backends.cpu.program import CPUProgram
from numbatorch.tensor.core import realize
from tests.conftest import GPUS, SIMULATED
from tests.interrupts import KINDS, interruptions

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


def interrupted(
    call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    """A call in which the interrupt comes while the launches of a program run."""

    def late(own: Callable[..., Any]) -> Callable[..., Any]:
        def interrupted(program: CPUProgram, *args: Any) -> Any:
            run = program.run_native
            assert run is not None

            def run_and_raise(*arguments: int) -> int:
                run(*arguments)
                raise kind

            with monkeypatch.context() as patch:
                patch.setattr(program, "run_native", run_and_raise)
                return own(program, *args)

        return interrupted

    with monkeypatch.context() as patch, pytest.raises(kind):
        for way in ("call", "run_at_once"):
            patch.setattr(CPUProgram, way, late(getattr(CPUProgram, way)))
        call()


def sum_over_donated(device: str = "cpu") -> nt.Tensor:
    """A sum that overwrites its second operand, which nothing else holds: 2."""
    x, y = ones(device), ones(device)
    return y + x


@KINDS
def test_an_interrupt_during_a_run_keeps_its_results(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    total, other = sum_over_donated(), ones() * 3  # two, for a small graph overwrites nothing
    interrupted(lambda: realize(total, other), monkeypatch, kind)
    assert (total == 2).all() and (other == 3).all()


@KINDS
def test_an_interrupt_at_any_moment_of_realizing(compiled: str, kind: type[BaseException]) -> None:
    total = sum_over_donated(compiled).realize()

    def compute() -> None:
        nonlocal total
        total = sum_over_donated(compiled)
        total.realize()

    for _ in interruptions(compute, kind=kind):
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


@KINDS
def test_an_interrupt_during_a_replay_keeps_all_updates(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    first, second, count = counter()
    one = ones()
    interrupted(lambda: count(one), monkeypatch, kind)
    assert (first == 3).all() and (second == 6).all()
    assert (count(one) == 4).all()


@KINDS
def test_an_interrupt_at_any_moment_of_a_replay(compiled: str, kind: type[BaseException]) -> None:
    first, second, count = counter(compiled)
    one = ones(compiled)
    calls = 2.0
    for _ in interruptions(lambda: count(one), kind=kind):
        reached = float(first[0])
        assert reached in (calls, calls + 1)
        np.testing.assert_array_equal(second.numpy(), np.full(SIZE, 2 * reached))
        assert (count(one) == reached + 1).all()
        calls = reached + 1


@KINDS
def test_an_index_out_of_range_is_forgotten_after_an_interrupt(
    monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    table = ones()

    def read(index: int) -> nt.Tensor:
        return table[nt.tensor([index], device="cpu")]

    assert read(1).tolist() == [1.0]
    interrupted(lambda: read(5000).tolist(), monkeypatch, kind)
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


@KINDS
def test_states_and_gradients_are_of_one_step_after_an_interrupted_first_call(
    kind: type[BaseException],
) -> None:
    """It traces: what the tensors hold then must not outlast the trace."""
    states = [nt.zeros(2, device="cpu").realize() for _ in range(3)]
    weight = nt.ones(2, device="cpu", requires_grad=True)
    one = ones()[:2].realize()

    def step(x: nt.Tensor) -> None:
        for state in states:
            state.add_(x)
        (weight * x).sum().backward()

    def first() -> None:
        nt.compile(step)(one)

    first()
    for moment in interruptions(first, step=19, kind=kind):
        counted = [state[0].item() for state in states]
        assert weight.grad is not None
        assert counted == [weight.grad[0].item()] * 3, moment


@KINDS
def test_kernels_load_after_an_interrupt_at_any_moment_of_loading(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = pack._Loaded([], 0.0, None, None)
    monkeypatch.setattr(pack, "_link_known", lambda specs: False)
    monkeypatch.setattr(pack, "_load_here", lambda specs: nothing)
    for moment in interruptions(lambda: pack._load([]), kind=kind):
        other = threading.Thread(target=pack._load, args=([],), daemon=True)
        other.start()
        other.join(30)
        assert not other.is_alive(), moment


def test_nothing_here_holds_a_lock_that_python_code_takes() -> None:
    """An interrupt in between would leave it taken: locks are the interpreter's own."""
    found = []
    for path in Path(nt.__file__).parent.rglob("*.py"):
        text = path.read_text()
        for name in ("Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier"):
            if f"threading.{name}(" in text or re.search(rf"import .*\b{name}\b", text):
                found.append((path.name, name))
    assert not found


def drops(kind: type[BaseException]) -> Iterator[int]:
    return interruptions(lambda: POOL.allocate(5000), kind=kind)


@KINDS
def test_an_interrupt_when_memory_is_freed_leaves_the_pool_usable(
    kind: type[BaseException],
) -> None:
    for _ in drops(kind):
        assert POOL.allocate(5000).nbytes == 5000
