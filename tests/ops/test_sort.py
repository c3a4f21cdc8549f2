"""Sorting, extremes, and floats taken apart, against NumPy, on every device."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch import debug
from numbatorch.errors import DTypeError, OutOfRange
from numbatorch.testing import assert_close, assert_launches, gradcheck
from numbatorch.testing.teams import divided

NAN, INF = np.nan, np.inf


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8"])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
def test_sort(dtype: str, dim: int, descending: bool, device: str) -> None:
    x = np.random.default_rng(0).integers(0, 9, (3, 5, 4)).astype(dtype)
    found = nt.sort(nt.tensor(x, device=device), dim, descending)
    key = -x.astype(np.float64) if descending else x
    order = np.argsort(key, axis=dim, kind="stable")
    np.testing.assert_array_equal(found.indices.numpy(), order)
    np.testing.assert_array_equal(found.values.numpy(), np.take_along_axis(x, order, dim))
    again = nt.argsort(nt.tensor(x, device=device), dim=dim, descending=descending)
    np.testing.assert_array_equal(again.numpy(), order)


@pytest.mark.parametrize("dtype", ["float64", "int64", "float32", "int16", "bool"])
def test_long_rows(dtype: str) -> None:
    """Rows beside each other, in pieces, with all bits in use, few values, or one far away."""
    rng = np.random.default_rng(0)
    for rows, cols in ((1, 70_001), (3, 1500), (40, 65), (5, 33)):
        for values in (
            rng.standard_normal((rows, cols)) * 1e6,
            rng.integers(0, 9, (rows, cols)),
            np.where(rng.random((rows, cols)) < 0.5, 0, rng.integers(0, 2**40, (rows, cols))),
            np.arange(rows * cols).reshape(rows, cols) // 7 * 2.0**-30,
            np.append(rng.integers(0, 40, rows * cols - 1), -(2**62)).reshape(rows, cols),
        ):
            with np.errstate(invalid="ignore"):
                x = values.astype(dtype)
            order = np.argsort(x, axis=-1, kind="stable")
            for parts in (1, 2, 8):
                with divided(parts):
                    alone = nt.sort(nt.tensor(x), descending=True)[0].numpy()
                    np.testing.assert_array_equal(np.flip(alone, -1), np.sort(x))
                    found = nt.sort(nt.tensor(x))
                    np.testing.assert_array_equal(found.indices.numpy(), order)
                    np.testing.assert_array_equal(
                        found.values.numpy(), np.take_along_axis(x, order, -1)
                    )


def test_order_of_special_numbers(device: str) -> None:
    x = nt.tensor([NAN, 1.0, -INF, INF, -0.0, 0.0], device=device)
    assert x.sort().indices.tolist() == [2, 4, 5, 1, 3, 0]
    assert x.sort(descending=True).indices.tolist() == [0, 3, 1, 4, 5, 2]
    assert x[1:].msort().tolist() == [-INF, 0.0, 0.0, 1.0, INF]
    assert nt.sort(nt.tensor(3, device=device)).indices.item() == 0


@pytest.mark.parametrize("target", ["cpu", "cuda", "metal"])
def test_elements_and_positions_are_one_launch(target: str) -> None:
    x = nt.tensor(np.random.default_rng(0).standard_normal((2, 9)).astype(np.float32))
    for name, found in (("sort", x.sort()), ("topk", x.topk(3))):
        (kernel,) = debug.kernels(list(found), target)
        assert kernel.fused == (name,)


def test_gradients_go_to_where_the_elements_stood() -> None:
    x = nt.tensor(np.random.default_rng(1).permutation(12).reshape(3, 4) / 4, dtype=nt.float64)
    weights = nt.tensor(np.arange(12.0).reshape(3, 4), dtype=nt.float64)
    gradcheck(lambda x: x.exp().sort(0).values * weights, x)
    gradcheck(lambda x: x.exp().topk(2, largest=False).values * weights[:, :2], x)


@pytest.mark.parametrize("k", [1, 3, 70, 100])
def test_kthvalue_and_many_of_topk(k: int) -> None:
    x = np.random.default_rng(0).integers(0, 40, (3, 100)).astype(np.float32)
    x[1, 7] = NAN
    order = np.argsort(x, axis=1, kind="stable")[:, :k]
    found = nt.topk(nt.tensor(x), k, largest=False)
    np.testing.assert_array_equal(found.indices.numpy(), order)
    at = nt.kthvalue(nt.tensor(x), k, keepdim=True)
    np.testing.assert_array_equal(at.indices.numpy(), order[:, -1:])
    np.testing.assert_array_equal(at.values.numpy(), np.take_along_axis(x, order[:, -1:], 1))


def test_count_is_checked() -> None:
    with pytest.raises(OutOfRange, match="kthvalue: k is 0, not one of 4 elements"):
        nt.zeros(2, 4).kthvalue(0)
    with pytest.raises(OutOfRange, match="topk: k is 5 of 4 elements"):
        nt.zeros(2, 4).topk(5)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_frexp(dtype: str, device: str) -> None:
    values = [0.0, 1.0, -6.5, 0.375, 1000.0, -0.0]
    x = nt.tensor(values, dtype=dtype, device=device)
    mantissa, exponent = nt.frexp(x)
    expected: Any = np.frexp(np.float32(x.float().numpy()))
    assert (mantissa.dtype, exponent.dtype) == (x.dtype, nt.int32)
    np.testing.assert_array_equal(mantissa.float().numpy(), expected[0])
    np.testing.assert_array_equal(exponent.numpy(), expected[1])


def test_gradient_of_frexp() -> None:
    x = nt.tensor([3.0, -0.3, 700.0]).requires_grad_()
    nt.frexp(x).mantissa.sum().backward()
    assert x.grad is not None
    assert_close(x.grad, np.float32([1 / 4, 1 / 0.5, 1 / 1024]), kind="gradient")
    with pytest.raises(DTypeError, match="frexp: takes floats"):
        nt.frexp(nt.tensor([1]))


@pytest.mark.parametrize("dim", [None, 0, -1])
def test_aminmax(dim: int | None, device: str) -> None:
    x = np.random.default_rng(0).standard_normal((3, 700)).astype(np.float32)
    x[1, 5] = NAN
    found = nt.tensor(x, device=device).aminmax(dim=dim)
    np.testing.assert_array_equal(found.min.numpy(), x.min(dim))
    np.testing.assert_array_equal(found.max.numpy(), x.max(dim))
    whole = nt.aminmax(nt.tensor([[3, -9], [7, 2]], device=device), dim=0, keepdim=True)
    assert (whole.min.tolist(), whole.max.tolist()) == ([[3, -9]], [[7, 2]])


def test_aminmax_is_one_launch_and_has_a_gradient() -> None:
    x = nt.tensor(np.random.default_rng(0).permutation(12).reshape(3, 4) / 4, dtype=nt.float64)
    assert_launches(list((x * 2).aminmax(dim=1)), 1)

    def spread(x: Any) -> Any:
        found = x.exp().aminmax(dim=1)
        return found.max * 2 - found.min

    gradcheck(spread, x)
