"""Products of many rows with weights in blocks, both rounded to bfloat16, against NumPy.

Processors without tiles multiply such pairs in vectors, so the kernels run on all; tests/ops/
test_tiles.py has what tiles do.
"""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.nn import functional as F
from numbatorch.ops.blocks import find
from numbatorch.ops.cpu import experts as lowering_of_experts
from numbatorch.ops.cpu import quant as lowering
from numbatorch.ops.cpu.blocking import blocks_for
from numbatorch.ops.cpu.experts_grouped import FEW_ROWS
from numbatorch.ops.cpu.matmul_packed import matmul_workspace
from numbatorch.ops.cpu.quant_pairs import quant_pairs
from numbatorch.passes.planner import make_plan
from tests.ops.test_quant_kernels import (
    GUARD,
    KINDS,
    SOME,
    Array,
    blocks_tensor,
    decoded,
    magnitude,
    scratch,
    weights,
)
from tests.run_kernel import run_kernel

ROUNDING = 2.0**-9  # of a number to bfloat16, at most


def product(kind: DType, x: Array, data: Array, parts: int = 1) -> Array:
    """Run the kernel; checks that it stays inside of its scratch memory and of out."""
    (M, K), N = x.shape, len(data)
    out = np.full(M * N + GUARD, np.nan, np.float32)
    cut = blocks_for(N, K, parts, dt.bfloat16)
    memory = scratch(matmul_workspace(cut, K, parts, 4, 2))
    rows = x.astype(ml_dtypes.bfloat16)
    run_kernel(quant_pairs(T=kind), out, rows, data, memory, M, N, K, *cut, 0, 0, parts=parts)
    assert (memory[-GUARD:] == 0xA5).all(), "written behind the scratch memory"
    assert np.isnan(out[M * N :]).all(), "written behind the result"
    return out[: M * N].reshape(M, N)


def expectation(x: Array, data: Array, kind: DType) -> tuple[Array, Array]:
    """The product of both as they are rounded, and how far from it the kernel may be.

    Where what is subtracted from codes may be rounded together with them, a weight next to the
    middle of two numbers of bfloat16 may be either.
    """
    rows = x.astype(ml_dtypes.bfloat16).astype(np.float64)
    plain = decoded(data, kind, x.shape[1])
    apart = 2.0**-23 * magnitude(data, kind, x.shape[1])
    if find("test", kind).least is None:
        apart = np.zeros_like(plain)
    near = [w.astype(np.float32).astype(ml_dtypes.bfloat16) for w in (plain - apart, plain + apart)]
    least, most = (weight.astype(np.float64) for weight in near)
    size = np.abs(rows)
    bound = 2e-6 * (size @ np.abs(plain).T) + size @ (most - least).T
    return rows @ ((least + most) / 2).T, bound


@KINDS
@given(
    M=st.sampled_from([1, 6, 31, 33, 97, 200]),
    N=st.integers(1, 140),
    blocks=st.integers(1, 37),
    parts=st.integers(1, 8),
    seed=st.integers(0, 2**16),
)
def test_sums_are_those_of_rounded_numbers(
    kind: DType, M: int, N: int, blocks: int, parts: int, seed: int
) -> None:
    K = kind.block * (1 + blocks % 6 if kind.block == 256 else blocks)
    x = np.random.default_rng(seed).standard_normal((M, K)).astype(np.float32)
    data = weights(kind, N, K, seed)
    expected, bound = expectation(x, data, kind)
    found = product(kind, x, data, parts)
    assert (np.abs(found - expected) <= bound).all()
    np.testing.assert_array_equal(found, product(kind, x, data, 1))


@pytest.fixture
def tiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower products as for a processor with tiles."""
    for module in (lowering, lowering_of_experts):
        monkeypatch.setattr(module, "pays_in_pairs", lambda rows: rows >= 64)


def launched(out: nt.Tensor) -> list[str]:
    """Names of the kernels that compute a tensor."""
    return [launch.spec.name for launch in make_plan([out.node], "cpu", 2).launches]


def near(found: Array, x: Array, plain: Array) -> None:
    """Two roundings of each product, and those of float32."""
    exact = x.astype(np.float64)
    size = np.abs(exact) @ np.abs(plain).T
    assert (np.abs(found - exact @ plain.T) <= (2.01 * ROUNDING + 1e-5) * size).all()


@SOME
@KINDS
@pytest.mark.usefixtures("tiled")
@pytest.mark.parametrize("M", [64, 130])
def test_a_prompt_is_near_the_product_in_float64(kind: DType, M: int) -> None:
    data = weights(kind, 71, 768)
    x = np.random.default_rng(M).standard_normal((M, 768)).astype(np.float32)
    bias = np.float32(np.arange(71))
    weight = blocks_tensor(kind, data, 768)
    out = F.linear(nt.tensor(x), weight, nt.tensor(bias))
    assert launched(out)[-1] == f"quant_pairs_{kind.name}"
    near(F.linear(nt.tensor(x), weight).numpy(), x, decoded(data, kind, 768))
    np.testing.assert_allclose(out.numpy(), F.linear(nt.tensor(x), weight).numpy() + bias, 1e-6)
    assert f"quant_rows_{kind.name}" in launched(F.linear(nt.tensor(x[:63]), weight))
    exact = F.linear(nt.tensor(x), weight, compute="float32")
    assert launched(exact) == [f"quant_exact_{kind.name}"]


def of_experts(x: Array, plain: Array, index: Array, found: Array) -> None:
    stacks = plain.reshape(index.max() + 1, -1, x.shape[1])
    for expert, stack in enumerate(stacks):
        near(found[index == expert], x[index == expert], stack)


@pytest.fixture(scope="module")
def index() -> Array:
    """The experts of 400 rows: two rows, none, more than a block of rows, and the rest."""
    return np.random.default_rng(0).permutation(np.repeat([1, 2, 3], [2, 300, 98]))


@pytest.mark.usefixtures("tiled")
@pytest.mark.parametrize("kind", [dt.Q8_0, dt.Q4_K, dt.IQ4_NL], ids=lambda kind: kind.name)
def test_experts_of_many_rows_in_blocks(kind: DType, index: Array) -> None:
    x = np.random.default_rng(1).standard_normal((len(index), 512)).astype(np.float32)
    data = weights(kind, 4 * 75, 512)
    weight = blocks_tensor(kind, data, 512)
    out = F.expert_linear(nt.tensor(x), weight, nt.tensor(index), 4)
    assert f"grouped_quant_pairs_{kind.name}" in launched(out)
    of_experts(x, decoded(data, kind, 512), index, out.numpy())
    for expert in (1, 2, 3):
        rows = np.resize(x[index == expert], (128, 512))  # so many that they take pairs
        own = blocks_tensor(kind, data[75 * expert : 75 * expert + 75], 512)
        alone = F.linear(nt.tensor(rows), own).numpy()
        count = min(128, (index == expert).sum())
        np.testing.assert_array_equal(out.numpy()[index == expert][:count], alone[:count])


@pytest.mark.parametrize("pays", [True, False])
@pytest.mark.parametrize("K", [96, 70])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=str)
def test_experts_of_many_rows_in_bfloat16(
    dtype: Any, K: int, pays: bool, index: Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    """K that has no whole words is multiplied in float32."""
    monkeypatch.setattr(lowering_of_experts, "multiplies_pairs", lambda cpu: pays)
    random, N = np.random.default_rng(2), 75 + pays  # plans of their own
    x = random.standard_normal((len(index), K)).astype(np.float32)
    weight = random.standard_normal((4 * N, K)).astype(dtype)
    given = (nt.tensor(x), nt.from_numpy(weight), nt.tensor(index), 4)
    out = F.expert_linear(*given, compute="bfloat16")
    assert ("grouped_pairs" in str(launched(out))) == (pays and K % 32 == 0)
    assert "grouped_rows" in str(launched(F.expert_linear(*given)))
    of_experts(x, weight.astype(np.float64), index, out.numpy())
    few = (given[0][: 4 * FEW_ROWS], given[1], given[2][: 4 * FEW_ROWS], 4)
    assert "grouped_rows" in str(launched(F.expert_linear(*few, compute="bfloat16")))
