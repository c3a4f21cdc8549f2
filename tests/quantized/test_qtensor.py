"""QTensor against NumPy on the numbers of the gguf package: made, read, written, computed with."""

import copy
import pickle

import gguf
import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import DTypeError, FormatError, GradientError, OutOfRange, ShapeError
from numbatorch.quantized import QTensor, expert_matmul, quantize

KIND = gguf.GGMLQuantizationType
TYPES = ["Q4_0", "Q5_0", "Q8_0"]


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def decoded(values, kind):
    return gguf.dequantize(gguf.quantize(values, KIND[kind]), KIND[kind])


@pytest.mark.parametrize("kind", TYPES)
def test_numbers_are_those_of_the_package(kind):
    values = weights(6, 64)
    w = quantize(nt.from_numpy(values), kind)
    assert isinstance(w, QTensor) and isinstance(w, nt.Tensor)
    assert (w.shape, w.rows, w.dtype.name) == ((6, 64), 6, kind)
    assert w.nbytes == gguf.quantize(values, KIND[kind]).nbytes
    np.testing.assert_array_equal(w.dequantize().numpy(), decoded(values, kind))
    half = w.dequantize("float16")
    np.testing.assert_array_equal(half.numpy(), decoded(values, kind).astype(np.float16))
    np.testing.assert_array_equal(w[2:5].dequantize().numpy(), decoded(values, kind)[2:5])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("rows", [1, 5])
def test_products_lookups_and_gradients_are_those_of_the_numbers(kind, rows):
    values, given = weights(40, 64), weights(rows, 64, seed=1)
    w, numbers = quantize(nt.from_numpy(values), kind), decoded(values, kind)
    x = nt.from_numpy(given).requires_grad_()
    y = x @ w.T
    same = nt.nn.functional.linear(x, w)
    np.testing.assert_array_equal(y.detach().numpy(), same.detach().numpy())
    np.testing.assert_allclose(
        y.detach().numpy(), given @ numbers.T, atol=0.2
    )  # x is rounded to 8 bits
    slope = weights(rows, 40, seed=2)
    (y * nt.from_numpy(slope)).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), slope @ numbers, rtol=1e-4, atol=1e-4)
    ids = nt.tensor([3, 0, 39])
    found = nt.nn.functional.embedding(ids, w)
    np.testing.assert_array_equal(found.numpy(), numbers[[3, 0, 39]])


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("shared", [True, False])
def test_experts_multiply_their_rows(kind, shared, device):
    values = weights(4, 21, 96)
    w = quantize(nt.from_numpy(values), kind).to(device=device)
    numbers = decoded(values, kind)
    chosen = np.array([[0, 3], [2, 2], [1, 0]])
    given = weights(3, 96, seed=1) if shared else weights(3, 2, 96, seed=1)
    x = nt.from_numpy(given).to(device=device).requires_grad_()
    experts = nt.from_numpy(chosen).to(device=device)
    y = expert_matmul(x, w, experts)
    rows = np.broadcast_to(given[:, None], (3, 2, 96)) if shared else given
    expected = np.einsum("mjk,mjnk->mjn", rows, numbers[chosen])
    np.testing.assert_allclose(y.detach().cpu().numpy(), expected, atol=0.3)
    y.sum().backward()
    slope = numbers[chosen].sum(2)
    expected = slope.sum(1) if shared else slope
    np.testing.assert_allclose(x.grad.cpu().numpy(), expected, rtol=1e-3, atol=1e-3)


def test_an_expert_that_is_not_there_is_an_error():
    w = quantize(nt.ones(4, 32, 32), "Q8_0")
    for wrong in (-1, 4):
        with pytest.raises(OutOfRange, match=rf"index {wrong}"):
            expert_matmul(nt.ones(1, 32), w, nt.tensor([[0, wrong]])).numpy()
    with pytest.raises(ShapeError, match="expert_matmul: x must be"):
        expert_matmul(nt.ones(1, 64), w, nt.tensor([[0]]))


def test_matrices_of_experts_are_taken_and_dequantized():
    values = weights(3, 5, 64)
    w = quantize(nt.from_numpy(values), "Q8_0")
    assert (w.rows, w.shape) == (15, (3, 5, 64))
    np.testing.assert_array_equal(w.dequantize().numpy(), decoded(values, "Q8_0"))
    np.testing.assert_array_equal(w[1].dequantize().numpy(), decoded(values, "Q8_0")[1])


def test_saved_tensor_loads_here_and_in_the_package(tmp_path):
    values = weights(4, 64)
    w = quantize(nt.from_numpy(values), "Q4_0")
    w.save(tmp_path / "w.gguf")
    back = QTensor.load(tmp_path / "w.gguf")
    assert (back.shape, back.dtype) == (w.shape, w.dtype)
    np.testing.assert_array_equal(back.numpy(), w.numpy())
    (theirs,) = gguf.GGUFReader(tmp_path / "w.gguf").tensors
    np.testing.assert_array_equal(theirs.data, gguf.quantize(values, KIND.Q4_0))
    nt.save({"a": w, "b": nt.ones(3)}, tmp_path / "two.gguf", {"general.name": "x"})
    with pytest.raises(FormatError, match="has 2 tensors, and no name"):
        QTensor.load(tmp_path / "two.gguf")
    np.testing.assert_array_equal(QTensor.load(tmp_path / "two.gguf", "a").numpy(), w.numpy())
    with pytest.raises(DTypeError, match="'b' is float32"):
        QTensor.load(tmp_path / "two.gguf", "b")


def saved_by_suffix(suffix):
    def way(w, folder):
        w.save(folder / f"w{suffix}", "some.name")
        return QTensor.load(folder / f"w{suffix}")

    return way


def saved_by_name(suffix):
    def way(w, folder):
        nt.save({"w": w}, folder / f"w{suffix}")
        return nt.load(folder / f"w{suffix}")["w"]

    return way


WAYS = {
    "clone": lambda w, _: w.clone(),
    "detach": lambda w, _: w.detach(),
    "copy": lambda w, _: copy.copy(w),
    "deepcopy": lambda w, _: copy.deepcopy(w),
    "pickle": lambda w, _: pickle.loads(pickle.dumps(w)),
    "device": lambda w, _: w.to("numpy"),
    "device and back": lambda w, _: w.to("numpy").cpu(),
    "slice": lambda w, _: w[:],
    "reshape": lambda w, _: w.reshape(2, 20, 64).reshape(40, 64),
    "T": lambda w, _: w.T.T,
    "parameter": lambda w, _: QTensor(nt.nn.Parameter(w, requires_grad=False).node),
    "gguf": saved_by_suffix(".gguf"),
    "safetensors": saved_by_suffix(".safetensors"),
    "load gguf": saved_by_name(".gguf"),
    "load safetensors": saved_by_name(".safetensors"),
}


@pytest.mark.parametrize("way", WAYS)
def test_blocks_that_went_somewhere_compute_as_before(way, tmp_path):
    w = QTensor.quantize(nt.from_numpy(weights(40, 64)), "Q4_0")
    x = nt.from_numpy(weights(3, 64, seed=1))
    there = WAYS[way](w, tmp_path)
    assert type(there) is QTensor
    assert (there.shape, there.dtype, there.rows) == (w.shape, w.dtype, 40)
    np.testing.assert_array_equal(there.numpy(), w.numpy())
    y = x.to(there.device) @ there.T
    np.testing.assert_allclose(
        y.numpy(), (x @ w.T).numpy(), atol=0.2
    )  # device numpy does not round
    np.testing.assert_array_equal(
        there[1:3].dequantize(nt.float64).numpy(), w.dequantize().numpy()[1:3]
    )


def test_a_parameter_in_blocks_is_turned():
    w = quantize(nt.from_numpy(weights(40, 64)), "Q4_0")
    x = nt.from_numpy(weights(3, 64, seed=1))
    parameter = nt.nn.Parameter(w, requires_grad=False)
    np.testing.assert_array_equal((x @ parameter.T).numpy(), (x @ w.T).numpy())
    np.testing.assert_array_equal((x @ parameter.mT).numpy(), (x @ w.T).numpy())


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (lambda w: quantize(w, "Q8_0"), DTypeError, "Q4_0 has no floats"),
        (lambda w: quantize(nt.ones(2, 32, dtype=nt.complex64), "Q8_0"), DTypeError, "complex64"),
        (lambda w: quantize(nt.ones(2, 32, dtype=nt.int32), "Q8_0"), DTypeError, "int32"),
        (lambda w: quantize(np.ones((2, 32)), "Q8_0"), TypeError, "takes a tensor, not array"),
        (lambda w: quantize(nt.ones(2, 32).double() * 1e300, "Q8_0"), FormatError, r"is 1e\+300"),
        (lambda w: quantize(nt.ones(2, 32), None), DTypeError, "there is no block type None"),
        (lambda w: quantize(nt.ones(2, 32), 5), DTypeError, "there is no block type 5"),
        (lambda w: quantize(nt.ones(2, 256), "Q4_K", "x"), TypeError, "imatrix is 'x'"),
        (lambda w: w.dequantize(nt.int32), DTypeError, "int32 does not hold"),
        (lambda w: w.dequantize("cpu"), DTypeError, "'cpu' is no element type"),
        (lambda w: w[40], OutOfRange, "row 40"),
        (lambda w: w[True], DTypeError, "rows of blocks"),
        (lambda w: w.save("w.npz"), FormatError, "no blocks are written to .npz"),
        (lambda w: w.save("no/such/w.gguf"), FileNotFoundError, "no such folder"),
    ],
)
def test_what_blocks_are_not_made_of_and_not_read_as(call, error, told):
    with pytest.raises(error, match=told):
        call(quantize(nt.ones(40, 64), "Q4_0"))


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(GradientError, match="no gradient flows"):
        quantize(nt.ones(1, 32, requires_grad=True), "Q8_0")
    with pytest.raises(ShapeError, match="48 columns"):
        quantize(nt.ones(1, 48), "Q8_0")
    with pytest.raises(FormatError, match=r"element \(0, 3\) is nan"):
        quantize(nt.tensor([[1.0] * 3 + [float("nan")] + [1.0] * 28]), "Q8_0")
    with pytest.raises(ShapeError, match=r"imatrix is \(16,\)"):
        quantize(nt.ones(1, 32), "Q8_0", nt.ones(16))
    with pytest.raises(DTypeError, match="is not in blocks"):
        QTensor(nt.ones(2).node)
    w = quantize(nt.ones(4, 32), "Q8_0")
    with pytest.raises(DTypeError, match="rows of blocks"):
        w[0, 1]
    with pytest.raises(ShapeError):
        nt.ones(1, 64) @ w.T


@pytest.mark.parametrize("suffix", ["gguf", "safetensors"])
def test_blocks_are_saved_and_loaded_by_name(suffix, tmp_path):
    w = quantize(nt.from_numpy(weights(2, 4, 64)), "Q5_0")
    path = tmp_path / f"a.{suffix}"
    nt.save({"w": w, "b": nt.ones(3)}, path)
    back = nt.load(path)
    assert (back["w"].dtype, back["w"].shape) == (w.dtype, w.shape)
    np.testing.assert_array_equal(back["w"].numpy(), w.numpy())
    assert back["b"].tolist() == [1.0, 1.0, 1.0]


def test_types_of_a_safetensors_file_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    for said in ("[]", "7", '{"b": ["Q9", [1]]}', '{"b": ["Q8_0", [3]]}', '{"c": ["Q8_0", [32]]}'):
        nt.save({"b": nt.ones(3, dtype=nt.uint8)}, path, {"ggml.types": said})
        if said != "[]":
            with pytest.raises(FormatError, match=r"ggml\.types"):
                nt.load(path)
