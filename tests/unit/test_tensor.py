"""Tensor: what its methods return, how it converts, and what its errors say."""

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import DTypeError, OutOfRange, ShapeError


@pytest.fixture(autouse=True)
def _reference_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBATORCH_DEVICE", "numpy")


@pytest.mark.parametrize(
    ("data", "dtype", "shape"),
    [
        (1, "int64", ()),
        (1.5, "float32", ()),
        (True, "bool", ()),
        ([1, 2.5], "float32", (2,)),
        ([[True], [False]], "bool", (2, 1)),
        ([], "float32", (0,)),
        ([[], []], "float32", (2, 0)),
        (np.float64(2), "float64", ()),
        (np.zeros((2, 3), np.float16), "float16", (2, 3)),
        ([np.float64(1)], "float64", (1,)),
        (range(3), "int64", (3,)),
    ],
)
def test_tensor_finds_the_dtype_of_its_data(data: Any, dtype: str, shape: Any) -> None:
    made = nt.tensor(data)
    assert (made.dtype.name, made.shape) == (dtype, shape)


def test_tensor_copies_and_from_numpy_can_share() -> None:
    array = np.zeros(3, np.float32)
    copied, shared = nt.tensor(array), nt.from_numpy(array, share=True)
    array[0] = 5
    assert copied.tolist() == [0, 0, 0] and shared.tolist() == [5, 0, 0]


@pytest.mark.parametrize(
    ("data", "options", "error", "text"),
    [
        ([[1], [1, 2]], {}, ShapeError, "nested lists"),
        ([1j], {"dtype": nt.float32}, DTypeError, "complex"),
        (["a"], {}, DTypeError, "not supported"),
        ([300], {"dtype": nt.uint8}, OutOfRange, "300 does not fit uint8"),
        ([2**63], {}, OutOfRange, "int64"),
        ([2**70], {}, (OutOfRange, DTypeError), "tensor"),
    ],
)
def test_tensor_rejects(data: Any, options: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        nt.tensor(data, **options)


def test_tensor_of_tensors_and_of_a_tensor() -> None:
    x = nt.tensor([nt.tensor(1.0), nt.tensor(2.0)])
    assert x.tolist() == [1.0, 2.0]
    for item in (nt.tensor(1.0), nt.tensor(1.0, dtype=nt.float16), nt.tensor(1)):
        assert nt.tensor([2, item]).dtype is nt.tensor([item, True]).dtype is item.dtype
        assert nt.tensor([[item], [0.5]]).dtype is nt.float32
    y = nt.tensor(x, requires_grad=True)
    assert y.requires_grad and not x.requires_grad


def test_values_read_as_python_and_numpy() -> None:
    x = nt.tensor([[1, 2], [3, 4]])
    assert x.tolist() == [[1, 2], [3, 4]] and len(x) == 2
    assert [row.tolist() for row in x] == [[1, 2], [3, 4]]
    assert np.asarray(x, np.float32).dtype == np.float32
    assert float(x[0, 1]) == 2.0 and int(x[1, 1]) == 4 and bool(x[0, 0])
    assert list(range(5))[x[0, 1]] == 2
    assert 3 in x and 7 not in x
    assert f"{nt.tensor(1.23456):.2f}" == "1.23"
    array = x.numpy()
    del x
    assert array.sum() == 10
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


def test_bfloat16_reads_as_ml_dtypes_and_python_floats() -> None:
    import ml_dtypes

    x = nt.tensor([1.5, 2.0], dtype=nt.bfloat16)
    assert x.numpy().dtype == ml_dtypes.bfloat16
    assert x.tolist() == [1.5, 2.0] and type(x[0].item()) is float


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: bool(x), ShapeError, "truth of several elements"),
        (lambda x: bool(x[:0]), ShapeError, "without elements"),
        (lambda x: x.item(), ShapeError, "one element"),
        (lambda x: range(3)[x[0]], TypeError, "integers"),
        (lambda x: len(x[0]), TypeError, "0-d"),
        (lambda x: iter(x[0]), TypeError, "0-d"),
        (lambda x: x.reshape(4), ShapeError, "number of elements"),
        (lambda x: x.view(2, -1), ShapeError, "no size for -1"),
        (lambda x: x + nt.ones(2), ShapeError, "do not broadcast"),
        (lambda x: x @ nt.ones(2), ShapeError, "inner dimensions"),
        (lambda x: x.narrow(0, 2, 5), OutOfRange, "not in a dimension of 3"),
        (lambda x: x.sum(1), OutOfRange, "dimension 1"),
        (lambda x: x.transpose(0, 3), OutOfRange, "dimension 3"),
        (lambda x: x.to("nowhere"), RuntimeError, "no device"),
        (lambda x: x.to(3), TypeError, "neither"),
        (lambda x: ~x, DTypeError, "integers or bool"),
        (lambda x: x + "a", TypeError, "unsupported"),
        (lambda x: x + np.ones(3), TypeError, "NumPy array"),
        (lambda x: np.ones(3) * x, TypeError, "from_numpy"),
        (lambda x: x.topk(4), OutOfRange, "k is 4"),
        (lambda x: nt.Tensor([1]), TypeError, r"nt.tensor\(data\) makes one of data"),
        (lambda x: nt.rand(-1), ShapeError, "not a shape"),
        (lambda x: nt.arange(0, 3, 0), ShapeError, "no range"),
        (lambda x: nt.arange(3, 0), ShapeError, "away"),
        (lambda x: nt.stack([x, x[:2]]), ShapeError, "shapes differ"),
        (lambda x: nt.cat([x, x[None]]), ShapeError, "does not fit"),
        (lambda x: nt.cat([]), ShapeError, "nothing"),
        (lambda x: x.long().mean(), DTypeError, "floating-point"),
        (lambda x: x.split([1, 1]), ShapeError, "add up"),
    ],
)
def test_errors_name_operator_and_numbers(call: Any, error: Any, text: str) -> None:
    with pytest.raises(error, match=text):
        call(nt.tensor([1.0, 2.0, 3.0]))


def test_comparison_with_nonsense_is_python_s_own() -> None:
    x = nt.ones(2)
    assert (x == None) is False and (x != "a") is True  # noqa: E711
    assert {x: 1}[x] == 1 and hash(x) != hash(nt.ones(2))


def test_numbers_promote_as_in_pytorch() -> None:
    ints, halves = nt.tensor([1, 2]), nt.tensor([1.0, 2.0], dtype=nt.float16)
    assert (ints + 1).dtype is nt.int64 and (ints + 1.0).dtype is nt.float32
    assert (ints / ints).dtype is nt.float32 and (ints**2).dtype is nt.int64
    assert (halves * 2.0).dtype is nt.float16
    assert (halves + nt.tensor(1.0, dtype=nt.float64)).dtype is nt.float16
    assert (halves + nt.ones(2)).dtype is nt.float32
    assert (nt.tensor([True]) + 1).dtype is nt.int64 and (
        np.float64(2) * halves
    ).dtype is nt.float16
    assert (2 - ints).tolist() == [1, 0] and (2**ints).tolist() == [2, 4]
    assert (7 // ints).tolist() == [7, 3] and (7 % ints).tolist() == [0, 1]
    assert (1.0 / ints).tolist() == [1.0, 0.5]


def test_shapes_change_without_surprise() -> None:
    x = nt.arange(24).reshape(2, 3, 4)
    array = np.arange(24).reshape(2, 3, 4)
    same = np.testing.assert_array_equal
    same(x.permute(2, 0, 1).numpy(), array.transpose(2, 0, 1))
    same(x.T.numpy(), array.T)
    same(x.mT.numpy(), array.swapaxes(1, 2))
    same(x.flatten(1).numpy(), array.reshape(2, 12))
    same(x.unflatten(2, (2, -1)).numpy(), array.reshape(2, 3, 2, 2))
    same(x.repeat(2, 1, 1, 2).numpy(), np.tile(array, (2, 1, 1, 2)))
    same(x.repeat_interleave(2, 1).numpy(), array.repeat(2, 1))
    same(x.flip(0, -1).numpy(), np.flip(array, (0, 2)))
    same(x[:, :1].expand(-1, 5, -1).numpy(), np.broadcast_to(array[:, :1], (2, 5, 4)))
    same(x.unsqueeze(-1).squeeze(-1).numpy(), array)
    assert [part.shape for part in x.split(2, 2)] == [(2, 3, 2)] * 2
    assert [part.shape for part in x.chunk(3, 2)] == [(2, 3, 2)] * 2
    assert [part.shape for part in nt.zeros(0).split(3)] == [(0,)]
    assert x.view(-1).shape == (24,) and x.size(-1) == 4 and x.ndim == 3
    same(nt.cat([x, x], -1).numpy(), np.concatenate([array, array], -1))
    same(nt.stack([x, x], 1).numpy(), np.stack([array, array], 1))


def test_unchanged_tensors_are_returned_as_they_are() -> None:
    x = nt.ones(2, 3)
    for call in ("contiguous", "float", "realize"):
        assert getattr(x, call)() is x
    assert x.to("numpy") is x and x.reshape(2, 3) is x and x.expand(2, 3) is x
    assert x.clone() is not x and x.detach() is not x


def test_reductions_with_indices() -> None:
    x = nt.tensor([[3, 1, 2], [4, 6, 5]])
    values, indices = x.max(1)
    assert values.tolist() == [3, 6] and indices.tolist() == [0, 1]
    assert x.min(0, keepdim=True).indices.tolist() == [[0, 0, 0]]
    assert x.max().item() == 6 and x.max(nt.tensor(3)).tolist() == [[3, 3, 3], [4, 6, 5]]
    top = x.topk(2)
    assert top.values.tolist() == [[3, 2], [6, 5]] and top.indices.tolist() == [[0, 2], [1, 2]]
    assert nt.tensor([1, 1, 1]).topk(2).indices.tolist() == [0, 1]
    assert nt.tensor([1.0, float("nan")]).topk(1).indices.tolist() == [1]
    assert x.argmax().item() == 4 and (x > 5).any().item() and not (x > 5).all().item()
    assert abs(x.float().std().item() - np.std(x.numpy(), ddof=1)) < 1e-6
    assert x.float().var(1, correction=0).shape == (2,)


def test_gather_and_scatter_take_smaller_indices() -> None:
    x = nt.arange(12).reshape(3, 4)
    index = nt.tensor([[0, 2], [1, 1]])
    assert x.gather(0, index).tolist() == [[0, 9], [4, 5]]
    assert x.gather(1, index).tolist() == [[0, 2], [5, 5]]
    base = nt.zeros(3, 4)
    added = base.scatter_add(0, index, nt.ones(2, 2))
    expected = np.zeros((3, 4))
    np.add.at(expected, ([0, 2, 1, 1], [0, 1, 0, 1]), 1)
    np.testing.assert_array_equal(added.numpy(), expected)
    assert x.index_select(1, nt.tensor([3, 0])).tolist() == [[3, 0], [7, 4], [11, 8]]


def test_copies_and_pickles_keep_value_dtype_and_gradient_flag() -> None:
    x = nt.tensor([1.5, 2.5], dtype=nt.bfloat16, requires_grad=True)
    for again in (copy.deepcopy(x), copy.copy(x), pickle.loads(pickle.dumps(x))):
        assert again.tolist() == [1.5, 2.5] and again.dtype is nt.bfloat16
        assert again.requires_grad and again.is_leaf and again is not x


def test_in_place_methods_update_the_handle() -> None:
    x = nt.zeros(2, 2)
    row, before = x[0], x[0].clone()
    x.add_(1).mul_(3).sub_(1, alpha=2)
    assert x.tolist() == [[1, 1], [1, 1]]
    assert row.tolist() == [1, 1] and before.tolist() == [0, 0]
    assert x.zero_().tolist() == [[0, 0], [0, 0]]
    assert x.fill_(2).copy_(nt.tensor([1, 2])).tolist() == [[1, 2], [1, 2]]
    assert x.dtype is nt.float32
    with pytest.raises(ShapeError, match="does not fit into"):
        x.add_(nt.ones(3, 2, 2))


def test_saving_and_loading(tmp_path: Any) -> None:
    saved = {"a": nt.tensor([1.0, 2.0]), "b": nt.tensor([[3]]), "c": nt.ones(2).bfloat16()}
    nt.save(saved, tmp_path / "x.safetensors")
    loaded = nt.load(tmp_path / "x.safetensors")
    assert sorted(loaded) == ["a", "b", "c"]
    for name, tensor in saved.items():
        assert loaded[name].dtype is tensor.dtype and loaded[name].tolist() == tensor.tolist()
    with pytest.raises(TypeError, match="not a tensor"):
        nt.save({"a": 1}, tmp_path / "y.safetensors")


def test_ranges_and_constants() -> None:
    assert nt.arange(5).tolist() == [0, 1, 2, 3, 4]
    assert nt.arange(5, 0, -2).tolist() == [5, 3, 1]
    assert nt.arange(0, 1, 0.25).tolist() == [0, 0.25, 0.5, 0.75]
    assert nt.arange(1, 1).shape == (0,)
    assert nt.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert nt.eye(2, 3).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert nt.full((2,), 7).dtype is nt.int64 and nt.full((2,), 7.0).dtype is nt.float32
    assert nt.ones_like(nt.zeros(2, dtype=nt.int8)).dtype is nt.int8
    assert nt.zeros((2, 3)).shape == nt.zeros(2, 3).shape == (2, 3)
    condition = nt.tensor([True, False])
    assert nt.where(condition, 1.0, 2.0).tolist() == [1.0, 2.0]
    assert nt.where(condition)[0].tolist() == [0]


def test_every_public_name_is_there() -> None:
    for name in nt.__all__:
        assert getattr(nt, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = nt.nonsense
    assert nt.exp(nt.zeros(1)).tolist() == [1.0]


def test_a_format_of_several_elements_is_refused() -> None:
    assert f"{nt.tensor(1.25):.1f}" == "1.2" and f"{nt.ones(2)}" == "tensor([1., 1.])"
    with pytest.raises(TypeError, match=r"format: .* '.2f'\n  \(2,\) float32"):
        f"{nt.ones(2):.2f}"


def test_dir_lists_public_names_that_exist() -> None:
    names = dir(nt)
    assert {"tensor", "exp", "sum", "TextGenerator", "nn", "__version__"} <= {*names}
    assert not {"Any", "import_module", "ElementwiseMethods", "TYPE_CHECKING"} & {*names}
    assert all(hasattr(nt, name) for name in names)
