"""Mistakes on GPUs are clear errors, after which the device goes on working."""

import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug, graph
from numbatorch.backends.base import backend
from numbatorch.backends.gpu import GPUBackend
from numbatorch.language.kernel import Pointer, kernel, share
from numbatorch.language.words import float32
from numbatorch.ops.lowering import lower
from numbatorch.ops.structured import structured
from tests.compare import assert_close


@pytest.fixture
def gpu(gpu: str) -> Iterator[str]:
    """A GPU that must still work after the test."""
    yield gpu
    x = nt.tensor([1.0, 2.0], device=gpu)
    assert ((x * 3).exp().sum() > 400).item()


def test_devices_do_not_mix(gpu: str) -> None:
    with pytest.raises(nt.DeviceError, match=rf"(?s)different devices.*on cpu.*on {gpu}"):
        nt.ones(2, device="cpu") + nt.ones(2, device=gpu)
    with pytest.raises(nt.DeviceError, match="different devices"):
        nt.ones(2, 3, device="cpu") @ nt.ones(3, 2, device=gpu)


def test_index_out_of_range(gpu: str) -> None:
    x = nt.tensor(np.arange(6.0, dtype=np.float32).reshape(3, 2), device=gpu)
    for wrong in (3, -4):
        with pytest.raises(nt.OutOfRange, match=r"-?\d"):
            x.index_select(0, nt.tensor([0, wrong], device=gpu)).numpy()
    table = nt.nn.functional.embedding
    with pytest.raises(nt.OutOfRange, match=r"(?s)embedding: index 7 is out of range\n.*\[0, 3\)"):
        table(nt.tensor([1, 7], device=gpu), x).numpy()
    base = nt.zeros(3, 2, device=gpu)
    with pytest.raises(nt.OutOfRange, match="9"):
        base.scatter_add(1, nt.tensor([[9]], device=gpu), nt.ones(1, 1, device=gpu)).numpy()
    assert base.numpy().sum() == 0


def test_index_out_of_range_leaves_state_as_it_was(gpu: str) -> None:
    state = nt.zeros(3, device=gpu)
    table = nt.tensor([1.0, 2.0, 3.0], device=gpu).reshape(3, 1)

    @nt.compile
    def step(index: Any) -> Any:
        picked = nt.nn.functional.embedding(index, table).reshape(-1)
        state[...] = state + picked
        return picked.sum()

    assert step(nt.tensor([0, 1, 2], device=gpu)).item() == 6
    assert step(nt.tensor([2, 2, 2], device=gpu)).item() == 9
    with pytest.raises(nt.OutOfRange):
        step(nt.tensor([0, 5, 0], device=gpu))
    assert state.tolist() == [4, 5, 6]
    assert step(nt.tensor([0, 0, 0], device=gpu)).item() == 3
    assert state.tolist() == [5, 6, 7]


@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4), (2, 0, 3)])
def test_zero_size(gpu: str, shape: tuple[int, ...]) -> None:
    x = nt.zeros(*shape, device=gpu)
    assert (x + 1).numpy().shape == shape
    assert x.sum().item() == 0
    assert x.sum(-1).numpy().shape == shape[:-1]
    assert x.softmax(-1).numpy().shape == shape
    y = x.reshape(-1, 1) @ nt.zeros(1, 2, device=gpu)
    assert y.numpy().shape == (0, 2)
    assert (nt.zeros(2, 0, device=gpu) @ nt.zeros(0, 3, device=gpu)).numpy().tolist() == [
        [0] * 3
    ] * 2


def test_metal_has_no_float64(gpu: str) -> None:
    if gpu != "metal":
        pytest.skip("CUDA has float64")
    makers = [
        lambda: nt.tensor(np.ones(2), device=gpu),
        lambda: nt.zeros(2, dtype=nt.float64, device=gpu),
        lambda: nt.ones(2, device=gpu).double(),
        lambda: nt.ones(2, dtype=nt.float64, device="cpu").to(gpu),
        lambda: nt.ones(2, device=gpu) + nt.tensor(2.0, dtype=nt.float64, device=gpu),
    ]
    for make in makers:
        with pytest.raises(nt.DTypeError, match=r"(?s)no float64.*use float32"):
            make()


def test_grid_beyond_limits(gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = backend(nt.device(gpu))
    assert isinstance(runner, GPUBackend)
    monkeypatch.setattr(runner.runtime, "max_groups", 2)
    x = nt.tensor(np.arange(600.0, dtype=np.float32), device=gpu)
    assert_close(x + 1, np.arange(1, 601, dtype=np.float32), kind="exact")  # threads take several
    with pytest.raises(nt.KernelError, match=r"softmax(.|\n)*more groups(.|\n)*5, of 2 at most"):
        nt.randn(5, 3, device=gpu).softmax(-1).numpy()


def test_out_of_memory_says_how_much(gpu: str) -> None:
    before = nt.ones(4, device=gpu) + 1
    with pytest.raises(nt.OutOfMemory, match="bytes"):
        nt.zeros(1 << 60, dtype=nt.int8, device=gpu).numpy()
    assert before.tolist() == [2, 2, 2, 2]


def test_memory_dropped_in_a_cycle_is_used_again(gpu: str) -> None:
    """A collector finalizes a buffer together with what it owns; only one may give it away."""

    def lose() -> int:
        buffer = (nt.ones(5000, device=gpu) + 1).realize().node.buffer
        cycle: list[Any] = [buffer]
        cycle.append(cycle)
        return int(buffer.address)

    runner = backend(nt.device(gpu))
    assert isinstance(runner, GPUBackend)
    address = lose()
    gc.collect()
    x = (nt.ones(5000, device=gpu) * 3).realize()
    assert x.node.buffer.address == address
    other = runner.runtime.allocate(64)  # frees what was given back to the driver
    runner.runtime.synchronize()
    assert ((x + 1) == 4).all().item()
    del other


def test_an_operator_without_a_kernel_runs_as_its_fallback(gpu: str) -> None:
    """And debug.kernels shows what runs instead."""
    from numbatorch.ops import lowering

    key = ("gpu", graph.find("softmax"))
    data = np.random.default_rng(0).standard_normal((3, 17)).astype(np.float32)
    x = nt.tensor(data, device=gpu)
    assert [k.fused for k in debug.kernels(x.softmax(-1))] == [("softmax",)]
    kept = lowering._LOWERINGS.pop(key)
    try:
        shown = [name for k in debug.kernels(x.softmax(-1)) for name in k.fused]
        found = x.softmax(-1).numpy()
    finally:
        lowering._LOWERINGS[key] = kept
    assert "softmax" not in shown and {"max", "exp", "sum", "div"} <= set(shown)
    assert_close(found, nt.tensor(data, device="numpy").softmax(-1), kind="composite")


def test_a_launch_that_forgets_its_grid_is_named() -> None:
    @structured()
    def twice_at_once(x: np.ndarray) -> np.ndarray:
        """2 x."""
        return 2 * x

    @twice_at_once.infer
    def _(x: Any) -> Any:
        return x.shape, x.dtype

    @kernel
    def doubled(out: Pointer[float32], x: Pointer[float32], n: int, part: int, parts: int) -> None:
        lo, hi = share(n, part, parts)
        for i in range(lo, hi):
            out[i] = 2 * x[i]

    @lower("portable", twice_at_once)
    def _(launcher: Any, out: Any, x: Any) -> None:
        launcher.launch(doubled(), out, x, 3, work=3)

    try:
        out = twice_at_once(nt.tensor([1.0, 2.0, 3.0]))
        assert len(debug.kernels(out, "cpu")) == 1
        with pytest.raises(nt.KernelError, match=r"(?s)doubled.*items None, groups None"):
            debug.kernels(out, "cuda")
    finally:
        graph.forget("twice_at_once")
