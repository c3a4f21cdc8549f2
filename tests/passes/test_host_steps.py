"""Operators without kernels: their NumPy functions are steps of the plan, on every device."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug, graph
from numbatorch.dtype import DType
from numbatorch.errors import KernelError, OutOfRange
from numbatorch.graph import Node
from numbatorch.ops.factors import lu_
from numbatorch.ops.linalg import inv_
from numbatorch.ops.spectra import svd_
from numbatorch.ops.structured import structured
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor
from numbatorch.testing import assert_close
from tests.conftest import SIMULATED

Array = np.ndarray[Any, Any]


@pytest.fixture
def running_mean() -> Iterator[Any]:
    """An operator that is its record alone."""

    @structured()
    def running_mean(x: Array, *, size: int = 2) -> Array:
        """The mean of `size` neighbours along the last dimension."""
        if not np.isfinite(x).all():
            raise ValueError("not finite")
        return np.lib.stride_tricks.sliding_window_view(x, size, -1).mean(-1)

    @running_mean.infer
    def _(x: Node, *, size: int) -> tuple[Shape, DType]:
        return (*x.shape[:-1], x.shape[-1] - size + 1), x.dtype

    yield lambda x, size=2: Tensor(running_mean.apply(x.node, size=size))
    graph.forget("running_mean")


def rand(*shape: int, device: str = "cpu") -> Tensor:
    data = np.random.default_rng(len(shape)).standard_normal(shape)
    return nt.tensor(data.astype(np.float32), device=device)


def invert(x: Tensor) -> Tensor:
    return Tensor(inv_.apply(x.node))


def test_it_runs_between_launches(running_mean: Any, device: str) -> None:
    x = rand(3, 5, device=device)
    out = (running_mean((x * 2).exp(), size=3) + 1).sum(0)
    expected = np.lib.stride_tricks.sliding_window_view(np.exp(2 * x.numpy()), 3, -1).mean(-1)
    assert_close(out, (expected + 1).sum(0), kind="composite")


@pytest.mark.parametrize("target", ["cpu", "cuda", "metal"])
def test_tools_name_the_host(target: str) -> None:
    out = invert(rand(3, 3) + 4) * 2
    kernels = debug.kernels(out, target)
    assert [kernel.name for kernel in kernels] == ["add", "host:inv", "mul"]
    assert "lapack.inverse" in kernels[1].source
    assert "host   host:inv" in debug.plan(out, target)
    if not SIMULATED:  # there is no compiler
        assert len(debug.compiled(out, target)) == 2


def test_watched_runs_call_it(capfd: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("NUMBATORCH_DEBUG", "3")
    x = rand(3, 3) + 4
    with debug.validate():
        found = invert(x).numpy()
    assert "host:inv" in capfd.readouterr().err
    assert_close(found @ x.numpy(), np.eye(3), kind="composite")


def test_compiled_functions_call_it_at_each_replay(device: str) -> None:
    base = np.eye(3, dtype=np.float32) * 4
    replay = nt.compile(lambda x: invert(x + 1) @ x)
    for shift in range(4):
        x = base + np.float32(shift)
        found = replay(nt.tensor(x, device=device))
        assert_close(found, np.linalg.inv(x + 1) @ x, kind="composite")
    assert replay.traces == (device != "numpy")


def test_several_outputs_and_several_steps(device: str) -> None:
    x = rand(4, 3, device=device)
    U, S, Vh = map(Tensor, svd_.parts(x.node, full_matrices=False))
    P, L, R = map(Tensor, lu_.parts((U.T @ U + 1).node))
    assert_close((U * S) @ Vh, x.numpy(), kind="composite")
    assert_close(P @ L @ R, np.eye(3) + 1, kind="composite")


def test_error_names_operator_and_operand(device: str) -> None:
    out = invert(nt.zeros(2, 3, 3, device=device) + 0) + 1
    with pytest.raises(
        nt.LinAlgError, match=r"(?s)inv: singular matrix.*operand \(2, 3, 3\) float32"
    ):
        out.numpy()


def test_error_leaves_state_as_it_was(running_mean: Any) -> None:
    state = rand(2, 3)
    before = state.numpy().copy()

    @nt.compile
    def step(x: Tensor) -> Tensor:
        state.add_(1)
        return running_mean(x).sum()

    step(rand(2, 3))
    np.testing.assert_array_equal(state.numpy(), before + 1)
    with pytest.raises(ValueError, match="not finite"):
        step(rand(2, 3) / 0)
    np.testing.assert_array_equal(state.numpy(), before + 1)
    step(rand(2, 3))
    np.testing.assert_array_equal(state.numpy(), before + 1 + 1)


def test_index_out_of_range_comes_before_it(running_mean: Any, device: str) -> None:
    x, index = rand(3, 4, device=device), nt.tensor([0, 7], device=device)
    with pytest.raises(OutOfRange):
        running_mean(x[index] / 0).numpy()
    assert running_mean(x[index - index]).numpy().shape == (2, 3)


def test_operands_cannot_be_written() -> None:
    @structured()
    def spoiled(x: Array) -> Array:
        """x, which it changes."""
        x += 1
        return x

    spoiled.infer(lambda x: (x.shape, x.dtype))
    try:
        with pytest.raises(ValueError, match="read-only") as raised:
            Tensor(spoiled.apply(rand(2).node)).numpy()
        assert "spoiled: its NumPy function raised this" in raised.value.__notes__[0]
    finally:
        graph.forget("spoiled")


def test_wrong_shape_is_refused() -> None:
    @structured()
    def cut(x: Array) -> Array:
        """Less than its rule says."""
        return x[:1]

    cut.infer(lambda x: (x.shape, x.dtype))
    try:
        with pytest.raises(KernelError, match=r"host:cut: gives shape \(1,\)"):
            Tensor(cut.apply(rand(2).node)).numpy()
    finally:
        graph.forget("cut")


def test_threads_take_turns() -> None:
    x = rand(8, 8) + 9 * nt.eye(8)
    replay = nt.compile(lambda x: invert(x) * 2)
    expected = 2 * np.linalg.inv(x.numpy())
    found: list[Array] = []

    def work() -> None:
        found.extend((replay(x)).numpy() for _ in range(20))
        found.extend((invert(x + 0) * 2).numpy() for _ in range(5))

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(found) == 75
    for each in found:
        assert_close(each, expected, kind="composite")
