"""Products with chosen ones of stacked weights: only those are read, and packed ones stay so."""

from typing import Literal

import ml_dtypes
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.dtype import by_name
from numbatorch.errors import DTypeError, OutOfRange, ShapeError
from numbatorch.nn import functional as F
from numbatorch.ops.cpu import experts as lowering_of_experts
from numbatorch.ops.cpu import quant as lowering_of_quant
from numbatorch.ops.experts import expert_matmul, expert_matmul_input, expert_matmul_weight
from numbatorch.ops.structured import Structured
from tests.compare import assert_close, assert_launches
from tests.ops.test_quant_kernels import blocks_tensor, weights
from tests.run_kernel import run_op

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


# Rows as they lie, all of them one row, from the last to the first, and in columns of memory.
LAID = {
    "rows": lambda count: nt.tensor(drawn(count, K)),
    "one row": lambda count: nt.tensor(drawn(K)).expand(count, K),
    "backwards": lambda count: nt.tensor(drawn(count, K)).flip(0),
    "columns": lambda count: nt.tensor(drawn(K, count)).transpose(0, 1),
}


@pytest.mark.parametrize("laid", LAID)
@pytest.mark.parametrize("count", [1, 2, len(INDEX)])
@pytest.mark.parametrize("compute", [None, "float32"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_packed_weight_gives_the_bits_of_a_product_of_one_row(
    kind: str, compute: Literal["float32"] | None, count: int, laid: str
) -> None:
    x, data = LAID[laid](count), weights(by_name[kind], E * N, K)
    packed = blocks_tensor(by_name[kind], data, K)
    found = F.expert_linear(x, packed, nt.tensor(INDEX[:count]), E, compute=compute).numpy()
    for row, expert in enumerate(INDEX[:count]):
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


@pytest.fixture(scope="module")
def many() -> np.ndarray:
    """The experts of 400 rows: two rows, none, more than a block of rows, and the rest."""
    index = np.repeat([1, 2, 3], [2, 300, 98])
    return np.random.default_rng(0).permutation(index)


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("width", [32, 288, 544])
@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
def test_rows_that_are_no_whole_steps_of_a_kernel(kind: str, width: int, count: int) -> None:
    x, data = nt.tensor(drawn(count, width)), weights(by_name[kind], E * 50, width)
    packed = blocks_tensor(by_name[kind], data, width)
    found = F.expert_linear(x, packed, nt.tensor(INDEX[:count]), E).numpy()
    for row, expert in enumerate(INDEX[:count]):
        own = blocks_tensor(by_name[kind], data[expert * 50 : expert * 50 + 50], width)
        np.testing.assert_array_equal(found[row], F.linear(x[row : row + 1], own)[0].numpy())


@pytest.mark.parametrize("laid", LAID)
@pytest.mark.parametrize("count", [0, len(INDEX), 40])
def test_rows_of_any_layout_by_a_plain_weight(count: int, laid: str) -> None:
    x, weight, index = LAID[laid](count), drawn(E * N, K), np.resize(INDEX, count)
    found = F.expert_linear(x, nt.tensor(weight), nt.from_numpy(index.astype(np.int64)), E)
    wanted = weight.reshape(E, N, K)[index] @ x.numpy().astype(np.float64)[..., None]
    assert_close(found, wanted[..., 0], "composite")


@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_give_the_bits_of_a_product_for_each_expert(
    kind: str, many: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tiles an expert of few rows takes them too, if the mean of all does."""
    for module in (lowering_of_experts, lowering_of_quant):
        monkeypatch.setattr(module, "pays_in_pairs", lambda rows: False)
    x, data = nt.tensor(drawn(len(many), K)), weights(by_name[kind], E * N, K)
    packed = blocks_tensor(by_name[kind], data, K)
    found = F.expert_linear(x, packed, nt.tensor(many), E).numpy()
    for expert in (1, 2, 3):
        own = blocks_tensor(by_name[kind], data[expert * N : expert * N + N], K)
        alone = F.linear(x[nt.tensor(many == expert)], own).numpy()
        np.testing.assert_array_equal(found[many == expert], alone)


@pytest.mark.parametrize("kind", KINDS)
def test_many_rows_as_they_are_by_a_packed_weight(kind: str, many: np.ndarray) -> None:
    x, packed = drawn(len(many), K), nt.quantize(nt.tensor(drawn(E * N, K)), kind)
    plain = nt.dequantize(packed).numpy().astype(np.float64).reshape(E, N, K)[many]
    out = F.expert_linear(nt.tensor(x), packed, nt.tensor(many), E, compute="float32")
    terms = np.einsum("mk,mnk->mn", np.abs(x), np.abs(plain))
    assert_close(out, np.einsum("mk,mnk->mn", x, plain), "composite", absolute=1e-6 * terms)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16], ids=str)
@pytest.mark.parametrize("width", [5, K])
def test_many_rows_by_a_plain_weight(dtype: type, width: int, many: np.ndarray) -> None:
    x, weight = drawn(len(many), width), drawn(E * N, width).astype(dtype)
    stacks = weight.astype(np.float64).reshape(E, N, width)
    wanted = np.einsum("mk,mnk->mn", x.astype(np.float64), stacks[many])
    weight[:N] = np.nan
    arrays = [x, weight, many]
    found = [run_op(expert_matmul, arrays, {"experts": E}, parts) for parts in (1, 2, 3, 8)]
    terms = np.einsum("mk,mnk->mn", np.abs(x), np.abs(stacks[many]))
    assert_close(found[0], wanted, "composite", absolute=1e-6 * terms)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


@pytest.mark.parametrize("op", [expert_matmul_input, expert_matmul_weight], ids=str)
def test_gradients_of_many_rows(op: Structured, many: np.ndarray) -> None:
    g, x, weight = drawn(len(many), N), drawn(len(many), 67), drawn(E * N, 67)
    arrays = [g, weight if op is expert_matmul_input else x, many]
    wide = [a.astype(np.float64) if a.dtype == np.float32 else a for a in arrays]
    wanted = op.reference(*wide, experts=E)
    found = [run_op(op, arrays, {"experts": E}, parts) for parts in (1, 3, 8)]
    assert_close(found[0], wanted, "gradient", absolute=1e-6 * 300)  # terms of an expert's sums
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_a_gradient_through_a_packed_weight(many: np.ndarray) -> None:
    packed = nt.quantize(nt.tensor(drawn(E * N, K)), "Q8_0")
    x = nt.tensor(drawn(len(many), K)).requires_grad_()
    F.expert_linear(x, packed, nt.tensor(many), E).sum().backward()
    plain = nt.dequantize(packed).numpy().reshape(E, N, K)
    assert_close(x.grad, plain.astype(np.float64).sum(1)[many], "gradient")


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
@pytest.mark.parametrize("rows", [2, 40])
def test_an_expert_that_is_not_there(wrong: int, kind: str | None, rows: int) -> None:
    weight = nt.tensor(drawn(E * N, K))
    weight = weight if kind is None else nt.quantize(weight, kind)
    index = [wrong, *([1] * (rows - 1))]
    out = F.expert_linear(nt.tensor(drawn(rows, K)), weight, nt.tensor(index), E)
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


@pytest.mark.parametrize("known", [True, False])
def test_a_memory_is_written_in_place_where_experts_are_places_of_the_largest(known: bool) -> None:
    weight, gate = nt.tensor(drawn(E * N, K)), nt.tensor(drawn(K, E))
    memory = nt.zeros(64, K).realize()

    @nt.compile(dynamic=("position",))
    def step(row: nt.Tensor, position: int) -> nt.Tensor:
        memory[position : position + 1] = row[None]
        chosen = (row @ gate).topk(2).indices
        return F.expert_linear(memory[1:3], weight, chosen if known else chosen + 0, E)

    rows = drawn(6, K)
    addresses = set()
    for position in range(6):
        out = step(nt.tensor(rows[position]), position)
        assert memory.node.buffer is not None
        addresses.add(memory.node.buffer.address)
    assert (len(addresses) == 1) == known
    chosen = np.argsort(-(rows[5] @ gate.numpy()), kind="stable")[:2]
    stacks = weight.numpy().reshape(E, N, K)[chosen]
    assert_close(out, (stacks @ rows[1:3, :, None])[..., 0], "composite")
