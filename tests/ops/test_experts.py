"""Products with chosen ones of stacked weights: only those are read, and packed ones stay so."""

from typing import Literal

import ml_dtypes
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.dtype import by_name
from numbatorch.errors import DTypeError, OutOfRange, ShapeError
from numbatorch.nn import functional as F
from tests.compare import assert_close, assert_launches
from tests.ops.test_quant_kernels import blocks_tensor, weights

KINDS = ["Q4_0", "Q8_0", "Q4_K", "Q6_K"]
INDEX = [3, 0, 3, 1, 3, 0]  # of four experts, of which nobody asks for the third
E, N, K = 4, 21, 256


def drawn(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def expected(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    stacks = weight.astype(np.float64).reshape(E, N, -1)
    return np.stack([stacks[e] @ row for e, row in zip(INDEX, x.astype(np.float64), strict=True)])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("width", [5, K])
def test_only_what_is_asked_for_is_read(dtype: type, width: int, device: str) -> None:
    x, weight = drawn(len(INDEX), width), drawn(E * N, width).astype(dtype)
    wanted = expected(x, weight)
    weight[2 * N : 3 * N] = np.nan
    out = F.expert_linear(
        nt.tensor(x, device=device),
        nt.from_numpy(weight).to(device),
        nt.tensor(INDEX, device=device),
        E,
    )
    assert_close(out, wanted, "composite")


@pytest.mark.parametrize("compute", [None, "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_weight_gives_the_bits_of_a_product_of_one_row(
    kind: str, compute: Literal["float32"] | None
) -> None:
    x, data = nt.tensor(drawn(len(INDEX), K)), weights(by_name[kind], E * N, K)
    packed = blocks_tensor(by_name[kind], data, K)
    found = F.expert_linear(x, packed, nt.tensor(INDEX), E, compute=compute).numpy()
    for row, expert in enumerate(INDEX):
        own = blocks_tensor(by_name[kind], data[expert * N : expert * N + N], K)
        alone = F.linear(x[row : row + 1], own, compute=compute)[0].numpy()
        np.testing.assert_array_equal(found[row], alone)


def test_a_packed_weight_is_not_decoded(device: str) -> None:
    x, weight = nt.tensor(drawn(2, K), device=device), nt.tensor(drawn(E * N, K), device=device)
    packed = nt.quantize(weight, "Q8_0").to(device)
    out = F.expert_linear(x, packed, nt.tensor([1, 3], device=device), E)
    if device == "cpu":
        assert_launches(out, 1)
    own = weight.numpy().reshape(E, N, K)[[1, 3]]
    assert np.abs(out.numpy() - (own @ x.numpy()[..., None])[..., 0]).max() <= 0.5


def test_gradients_flow_to_rows_and_weights_that_were_asked_for() -> None:
    x = nt.tensor(drawn(len(INDEX), 7)).requires_grad_()
    weight = nt.tensor(drawn(E * N, 7)).requires_grad_()
    F.expert_linear(x, weight, nt.tensor(INDEX), E).sum().backward()
    stacks = weight.detach().numpy().reshape(E, N, 7)
    assert_close(x.grad, stacks[INDEX].sum(1), "composite")
    sums = np.zeros((E, 7))
    np.add.at(sums, INDEX, x.detach().numpy())
    assert_close(weight.grad, np.repeat(sums, N, 0), "composite")


@pytest.mark.parametrize("wrong", [-1, E])
@pytest.mark.parametrize("kind", [None, "Q8_0"])
def test_an_expert_that_is_not_there(wrong: int, kind: str | None) -> None:
    weight = nt.tensor(drawn(E * N, K))
    weight = weight if kind is None else nt.quantize(weight, kind)
    out = F.expert_linear(nt.tensor(drawn(2, K)), weight, nt.tensor([1, wrong]), E)
    with pytest.raises(OutOfRange, match=f"index {wrong}"):
        out.numpy()


def test_operands_that_do_not_fit_are_named() -> None:
    x, weight, index = nt.zeros(2, 3), nt.zeros(8, 3), nt.tensor([0, 1])
    with pytest.raises(ShapeError, match="8 rows of a weight are not shared by 3 experts"):
        F.expert_linear(x, weight, index, 3)
    with pytest.raises(ShapeError, match=r"x \(2, 3\) float32\n  weight \(8, 4\)"):
        F.expert_linear(x, nt.zeros(8, 4), index, 2)
    with pytest.raises(DTypeError, match=r"index \(2,\) float32"):
        F.expert_linear(x, weight, index.float(), 2)
