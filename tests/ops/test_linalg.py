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


def test_second_derivative_of_a_determinant_at_singular_matrices() -> None:
    def cofactors(A: Any) -> Any:
        return nt.grad(nt.linalg.det)(A)

    for values in ([[1.0, 2], [2, 4]], [[0.0, 0], [0, 0]]):
        A = nt.tensor(values, dtype=nt.float64)
        (a, b), (c, d) = values
        assert_close(cofactors(A), np.array([[d, -c], [-b, a]]), kind="gradient")
        found = nt.grad(lambda x: (cofactors(x) ** 2).sum())(A)
        assert_close(found, 2 * np.array(values), kind="gradient")
    gradcheck(cofactors, nt.tensor(np.diag([2.0, 0, 0]), dtype=nt.float64))


def test_gradients_of_complex_vectors_that_phases_do_not_change() -> None:
    x = nt.tensor(rand(3, 3) + 1j * rand(4, 4)[1:, 1:], dtype=nt.complex128)

    def polar(A: Any) -> Any:
        return nt.linalg.svd(A).U @ nt.linalg.svd(A).Vh

    for function in (
        polar,
        lambda A: nt.linalg.svd(A).U.abs(),
        lambda A: nt.linalg.eigh(A + A.T.conj()).eigenvectors.abs(),
        lambda A: nt.linalg.eig(A).eigenvectors,
    ):
        gradcheck(function, x)


def test_wide_decompositions_have_gradients_in_what_is_determined() -> None:
    x = nt.tensor(rand(4, 2), dtype=nt.float64)
    gradcheck(lambda A: nt.linalg.svd(A).U[:, :2].abs(), x)
    gradcheck(lambda A: nt.linalg.qr(A, "complete").Q[:, :2], x)


def test_empty_matrices_and_batches(device: str) -> None:
    none = nt.zeros(0, 0, device=device)
    assert nt.linalg.det(none).item() == 1 and nt.linalg.inv(none).shape == (0, 0)
    assert nt.linalg.matrix_rank(nt.zeros(2, 0, 3, device=device)).tolist() == [0, 0]
    assert nt.linalg.solve(
        nt.zeros(0, 2, 2, device=device), nt.zeros(0, 2, 1, device=device)
    ).shape == (0, 2, 1)
    assert nt.linalg.cond(nt.zeros(2, 2, device=device), 1).item() == float("inf")
    assert nt.linalg.pinv(nt.zeros(2, 3, device=device)).abs().sum().item() == 0
    assert (
        nt.einsum(
            "ij,jk->ik", nt.zeros(2, 0, device=device), nt.zeros(0, 3, device=device)
        ).tolist()
        == [[0] * 3] * 2
    )


def test_second_derivative_of_a_short_time_transform() -> None:
    x = nt.tensor(rand(2, 12), dtype=nt.float64)
    window = nt.hann_window(4, dtype=nt.float64)

    def power(x: Any) -> Any:
        return nt.stft(x, 4, 2, window=window, return_complex=True).abs().square().sum()

    gradcheck(nt.grad(power), x)
    again = nt.istft(nt.stft(x, 4, 2, window=window, return_complex=True), 4, 2, window=window)
    assert_close(again, x.numpy(), kind="composite")


def test_transforms_that_threads_share_give_the_bits_of_each_row() -> None:
    """The whole of it is enough for threads, a row is not."""
    x = rand(70, 500)
    for function in (nt.fft.fft, nt.fft.ifft, nt.fft.rfft):
        rows = [np.asarray(function(nt.tensor(row[None])))[0] for row in x]
        assert np.array_equal(np.asarray(function(nt.tensor(x))), np.stack(rows))
    half = np.fft.rfft(x).astype(np.complex64)
    rows = [np.asarray(nt.fft.irfft(nt.tensor(row[None])))[0] for row in half]
    assert np.array_equal(np.asarray(nt.fft.irfft(nt.tensor(half))), np.stack(rows))


def test_matrices_that_have_no_factor_are_told_by_a_number_or_an_error() -> None:
    good, singular = [[2.0, 1.0], [1.0, 3.0]], [[1.0, 2.0], [2.0, 4.0]]
    both, ones = nt.tensor([good, singular]), nt.ones(2, 2, 1)
    X, info = nt.linalg.solve_ex(both, ones)
    assert info.tolist() == [0, 2] and X[0].isfinite().all() and not X[1].isfinite().any()
    L, info = nt.linalg.cholesky_ex(both - 3 * both[1:] * nt.tensor([[[0.0]], [[1.0]]]))
    assert info.tolist() == [0, 1] and L[0].isfinite().all() and L[1].tril().isnan().sum() == 3
    assert nt.linalg.lu_factor_ex(both).info.tolist() == [0, 2]
    assert nt.lu(both, get_infos=True)[2].tolist() == [0, 2] and len(both.lu()) == 2
    for call in (
        lambda: nt.linalg.lu_factor(both).LU,
        lambda: nt.linalg.lu_factor_ex(both, check_errors=True).LU,
        lambda: nt.linalg.solve_ex(both, ones, check_errors=True).result,
        lambda: nt.linalg.cholesky_ex(-both, check_errors=True).L,
    ):
        with pytest.raises(nt.LinAlgError):
            call().tolist()


@pytest.mark.parametrize("shape", [(9, 4), (2, 5, 7)])
def test_random_vectors_find_a_low_rank(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    *batch, M, N = shape
    A = rng.standard_normal((*batch, M, 3)) @ rng.standard_normal((*batch, 3, N))
    x = nt.tensor(A, requires_grad=True)
    U, S, V = nt.svd_lowrank(x, q=3)
    assert_close((U * S.unsqueeze(-2) @ V.mT).detach(), A, kind="composite")
    assert_close(S.detach(), np.linalg.svd(A, compute_uv=False)[..., :3], kind="composite")
    S.sum().backward()
    left, _, right = np.linalg.svd(A, full_matrices=False)  # d(sum of S) = U V^T
    assert x.grad is not None
    assert_close(x.grad, left[..., :3] @ right[..., :3, :], kind="gradient")
    middle = A - A.mean(-2, keepdims=True)
    found = nt.pca_lowrank(x.detach(), q=3, niter=4).S
    assert_close(found, np.linalg.svd(middle, compute_uv=False)[..., :3], kind="composite")
    with pytest.raises(nt.OutOfRange, match="pca_lowrank: q is 8, not from 0 to"):
        nt.pca_lowrank(x, q=8)


@pytest.mark.parametrize("hermitian", [True, False])
@pytest.mark.parametrize("dtype", [nt.float64, nt.complex128])
def test_ldl_factors_solve_what_they_are_of(dtype: nt.dtype.DType, hermitian: bool) -> None:
    rng = np.random.default_rng(1)
    A, B = (rng.standard_normal((2, 6, k)) + 0j for k in (6, 2))
    if dtype.is_complex:
        A, B = A + 1j * rng.standard_normal(A.shape), B + 1j * rng.standard_normal(B.shape)
    A = A + (A.conj() if hermitian else A).swapaxes(1, 2)
    A[:, :3, :3] = 0  # some blocks of two
    gradients = []
    rounding = 1e-15 * np.linalg.cond(A).max()  # what a solution is off for its size
    for through in (True, False):
        x, y = (nt.tensor(z if dtype.is_complex else z.real, requires_grad=True) for z in (A, B))
        if through:
            LD, pivots = nt.linalg.ldl_factor(x, hermitian=hermitian)
            assert (pivots < 0).any()
            found = nt.linalg.ldl_solve(LD, pivots, y, hermitian=hermitian)
            wanted = np.linalg.solve(x.detach().numpy(), y.detach().numpy())
            slack = rounding * np.abs(wanted).max()
            assert_close(found.detach(), wanted, kind="composite", absolute=slack)
        else:
            found = nt.linalg.solve(x, y)
        (found * found.conj()).real.sum().backward()
        assert x.grad is not None and y.grad is not None
        like = x.grad.mH if hermitian else x.grad.mT
        gradients.append((((x.grad + like) / 2).numpy(), y.grad.numpy()))
    for one, other in zip(*gradients, strict=True):
        assert_close(one, other, kind="gradient", absolute=10 * rounding * np.abs(other).max())
