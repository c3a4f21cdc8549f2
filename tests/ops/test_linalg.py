"""Linear algebra against NumPy's and SciPy's own functions, in every mode."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import DTypeError, GradientError, ShapeError
from numbatorch.testing import assert_close, gradcheck

Array = np.ndarray[Any, Any]


def rand(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (3, 5), (0, 2, 2), (2, 0, 3)], ids=str)
@pytest.mark.parametrize("full", [True, False])
def test_svd(shape: tuple[int, ...], full: bool, device: str) -> None:
    x = rand(*shape)
    found = nt.linalg.svd(nt.tensor(x, device=device), full_matrices=full)
    expected = np.linalg.svd(x, full)
    assert [part.shape for part in found] == [part.shape for part in expected]
    assert_close(found.S, expected.S, kind="composite")
    K = min(shape[-2:])
    product = (found.U[..., :K] * found.S[..., None, :]) @ found.Vh[..., :K, :]
    assert_close(product, x, kind="composite")


@pytest.mark.parametrize("shape", [(3, 3), (2, 4, 3), (3, 5)], ids=str)
@pytest.mark.parametrize("mode", ["reduced", "complete"])
def test_qr(shape: tuple[int, ...], mode: Any, device: str) -> None:
    x = rand(*shape)
    found = nt.linalg.qr(nt.tensor(x, device=device), mode)
    expected = np.linalg.qr(x, mode)
    for part, wanted in zip(found, expected, strict=True):
        assert_close(part, wanted, kind="composite")


@pytest.mark.parametrize("triangle", ["L", "U"])
def test_eigh_reads_one_triangle(triangle: Any, device: str) -> None:
    x = rand(2, 4, 4)
    found = nt.linalg.eigh(nt.tensor(x, device=device), triangle)
    assert_close(found.eigenvalues, np.linalg.eigh(x, triangle).eigenvalues, kind="composite")
    part = np.tril(x) if triangle == "L" else np.triu(x)
    whole = part + part.swapaxes(-1, -2) - part * np.eye(4)
    vectors = found.eigenvectors
    product = (vectors * found.eigenvalues[..., None, :]) @ vectors.transpose(-1, -2)
    assert_close(product, whole.astype(np.float32), kind="composite")


def test_dtypes_and_shapes_are_checked_where_it_is_called() -> None:
    for function in (nt.linalg.inv, nt.linalg.eigh, nt.linalg.svd, nt.linalg.qr, nt.linalg.lu):
        with pytest.raises(DTypeError, match="float32 or float64"):
            function(nt.ones(2, 2).half())
        with pytest.raises(DTypeError, match="float32 or float64"):
            function(nt.ones(2, 2).long())
        with pytest.raises(ShapeError):
            function(nt.ones(2))
    for function in (nt.linalg.inv, nt.linalg.eigh):
        with pytest.raises(ShapeError, match=r"A must be \(..., N, N\)"):
            function(nt.ones(2, 3))
    with pytest.raises(ValueError, match="mode"):
        nt.linalg.qr(nt.ones(2, 2), "raw")


def test_gradient_of_a_function_of_all_parts() -> None:
    x = nt.tensor(np.diag([1.0, 2, 3]) + 0.1 * rand(3, 3), dtype=nt.float64)

    def reconstructed(x: Any) -> Any:
        U, S, Vh = nt.linalg.svd(x)
        Q, R = nt.linalg.qr(U * S)
        P, L, W = nt.linalg.lu(Q @ R @ Vh)
        return (P @ L @ W).exp()

    gradcheck(reconstructed, x)
    assert_close(reconstructed(x), np.exp(x.numpy()), kind="composite")


def test_second_derivative_of_the_inverse() -> None:
    x = nt.tensor(np.diag([1.0, 2, 3]) + 0.1 * rand(3, 3), dtype=nt.float64)

    def slope(x: Any) -> Any:
        return nt.grad(lambda leaf: nt.linalg.inv(leaf).sum())(x)

    gradcheck(slope, x)


def test_parts_without_gradient_say_so() -> None:
    x = nt.tensor(rand(4, 3)).requires_grad_()
    with pytest.raises(GradientError, match=r"linalg.svd: columns of U"):
        nt.linalg.svd(x).U.sum().backward()
    nt.linalg.svd(x).S.sum().backward()
    U, _, Vh = np.linalg.svd(x.detach().numpy(), full_matrices=False)
    assert_close(x.grad, U @ Vh, kind="gradient")
    with pytest.raises(GradientError, match=r"linalg.qr"):
        nt.linalg.qr(x, "complete").R.sum().backward()
