"""Results whose shape depends on values, against NumPy, on every device."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.errors import DTypeError, ShapeError
from numbatorch.tensor import Tensor
from numbatorch.testing import assert_close, gradcheck

Array = np.ndarray[Any, Any]

SHAPES = [(), (0,), (1,), (7,), (3, 4), (2, 0, 3), (2, 3, 5), (3000,)]


def rand(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("some", [0.0, 0.3, 1.0])
def test_nonzero(shape: tuple[int, ...], some: float, device: str) -> None:
    x = np.where(np.random.default_rng(0).random(shape) < some, rand(*shape), 0)
    found = nt.nonzero(nt.tensor(x, dtype=nt.float32, device=device))
    assert found.dtype is nt.int64
    np.testing.assert_array_equal(found.numpy(), np.argwhere(x))
    np.testing.assert_array_equal(nt.argwhere(nt.tensor(x != 0, device=device)), np.argwhere(x))
    if shape:
        by_dimension = nt.tensor(x != 0, device=device).nonzero(as_tuple=True)
        for got, want in zip(by_dimension, np.nonzero(x), strict=True):
            np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=str)
def test_a_mask_selects(shape: tuple[int, ...], device: str) -> None:
    x, mask = rand(*shape), rand(*shape) > 0
    a, m = nt.tensor(x, device=device), nt.tensor(mask, device=device)
    np.testing.assert_array_equal(a[m].numpy(), x[mask])
    np.testing.assert_array_equal(nt.masked_select(a, m).numpy(), x[mask])
    np.testing.assert_array_equal((a * 2)[a > 0].numpy(), (x * 2)[x > 0])
    rows = rand(shape[0]) > 0
    np.testing.assert_array_equal(a[nt.tensor(rows, device=device)].numpy(), x[rows])
    np.testing.assert_array_equal(a[rows].numpy(), x[rows])
    a[m] = 5
    np.testing.assert_array_equal(a.numpy(), np.where(mask, 5, x))
    a[m] = nt.arange(int(mask.sum()), dtype=nt.float32, device=device)
    x[mask] = np.arange(mask.sum())
    np.testing.assert_array_equal(a.numpy(), x)


def test_a_mask_among_other_indices(device: str) -> None:
    x, mask = rand(3, 4, 5), np.array([True, False, True, True])
    found = nt.tensor(x, device=device)[1:, nt.tensor(mask, device=device), 2]
    np.testing.assert_array_equal(found.numpy(), x[1:, mask, 2])


def test_masked_select_broadcasts(device: str) -> None:
    x, mask = rand(3, 1, 4), rand(2, 1) > 0
    found = nt.masked_select(nt.tensor(x, device=device), nt.tensor(mask, device=device))
    both = np.broadcast_arrays(x, mask)
    np.testing.assert_array_equal(found.numpy(), both[0][both[1]])


def test_the_mask_is_compacted_where_it_is() -> None:
    x = nt.tensor(rand(9))
    for target in ("cpu", "cuda", "metal"):
        parts = nt.ops.compact.compact.parts((x > 0).node)
        names = [kernel.name for kernel in debug.kernels(list(map(Tensor, parts)), target)]
        assert not any(name.startswith("host:") for name in names)


def test_gradients_flow_to_what_is_selected(device: str) -> None:
    x = nt.tensor(rand(4, 3), device=device).requires_grad_()
    (x[x > 0] ** 2).sum().backward()
    data = x.detach().numpy()
    assert_close(x.grad, np.where(data > 0, 2 * data, 0), kind="gradient")
    y = nt.tensor(rand(4, 3), dtype=nt.float64)
    mask = nt.tensor(rand(3) > 0)
    gradcheck(lambda y: nt.masked_select(y.exp(), mask) * 3, y)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
def test_unique(dtype: str, device: str) -> None:
    x = (rand(4, 6) * 2).astype(dtype)
    found = nt.unique(nt.tensor(x, device=device), return_inverse=True, return_counts=True)
    expected = np.unique(x, return_inverse=True, return_counts=True)
    assert found[0].dtype.name == dtype
    assert found[1].shape == (4, 6)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got.numpy(), want)
    np.testing.assert_array_equal(nt.tensor(x, device=device).unique().numpy(), expected[0])


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "int64", "uint64"])
@pytest.mark.parametrize("span", [1, 100, 65_536, 70_000])
def test_unique_of_many_integers(dtype: str, span: int) -> None:
    info = np.iinfo(dtype)
    low = max(info.min, -50) if info.min else max(info.max - span, 0)
    high = min(low + span - 1, info.max)
    x = np.random.default_rng(0).integers(low, high, (20, 1000), dtype, endpoint=True)
    x[0, :2] = low, high
    found = nt.unique(nt.tensor(x), return_inverse=True, return_counts=True)
    expected = np.unique(x, return_inverse=True, return_counts=True)
    for got, want in zip(found, expected, strict=True):
        assert got.numpy().dtype == want.dtype
        np.testing.assert_array_equal(got.numpy(), want)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_unique_slices(dim: int, device: str) -> None:
    x = np.random.default_rng(0).integers(0, 2, (6, 5, 2))
    found = nt.unique(nt.tensor(x, device=device), True, True, True, dim)
    expected = np.unique(x, return_inverse=True, return_counts=True, axis=dim)
    for got, want in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got.numpy(), want)


def test_unique_of_nothing_and_of_nan(device: str) -> None:
    assert nt.unique(nt.zeros(0, device=device)).shape == (0,)
    found = nt.unique(nt.tensor([np.nan, 1.0, np.nan, 1.0], device=device), return_counts=True)
    np.testing.assert_array_equal(found[0].numpy(), np.float32([1, np.nan, np.nan]))
    assert found[1].tolist() == [2, 1, 1]


CALLS = {
    "nonzero": lambda x: nt.nonzero(x),
    "masked_select": lambda x: nt.masked_select(x, x > 0),
    "indexing": lambda x: x[x > 0],
    "unique": lambda x: nt.unique(x),
}


@pytest.mark.parametrize("name", CALLS)
def test_compiled_functions_refuse_them(name: str) -> None:
    replay = nt.compile(lambda x: CALLS[name](x + 1) * 2)
    said = "compile" if name == "indexing" else name  # brackets are no function with a name
    with pytest.raises(ShapeError, match=rf"(?s)^{said}: the shape of {name}'s result.*hint"):
        replay(nt.tensor(rand(5)))


def test_what_is_no_mask_is_refused() -> None:
    x = nt.tensor(rand(5))
    with pytest.raises(DTypeError, match="masked_select: the mask must be bool"):
        nt.masked_select(x, x)
