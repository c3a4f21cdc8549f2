"""Large matrices, which SciPy's LAPACK factors, against what they are factors of."""

from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import LinAlgError
from numbatorch.ops.lapack import LARGE

Array = np.ndarray[Any, Any]

DTYPES = (np.float32, np.float64, np.complex64, np.complex128)

linalg: Any = nt.linalg


def rand(dtype: Any, *shape: int) -> Array:
    """Random matrices with all singular values near 1."""
    rng = np.random.default_rng(sum(shape))
    x = rng.standard_normal(shape)
    if np.dtype(dtype).kind == "c":
        x = x + 1j * rng.standard_normal(shape)
    M, N = shape[-2:]
    return np.asarray(np.eye(M, N) + x / 4 / max(M, N) ** 0.5, dtype)


def definite(dtype: Any, *shape: int) -> Array:
    x = rand(dtype, *shape)
    return np.asarray(x @ x.conj().swapaxes(-1, -2), dtype)


def check(found: Any, expected: Array) -> None:
    """Within a few roundings for each row, in sizes of the largest element."""
    found = np.asarray(found)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    limit = 4 * expected.shape[-1] * np.finfo(expected.dtype).eps * np.abs(expected).max()
    assert np.abs(found - expected).max() <= limit


def check_orthonormal(columns: Array) -> None:
    size = columns.shape[-1]
    one = np.broadcast_to(np.eye(size, dtype=columns.dtype), (*columns.shape[:-2], size, size))
    check(columns.conj().swapaxes(-1, -2) @ columns, one)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize(
    ("batch", "N"), [((), LARGE - 1), ((2,), LARGE), ((1, 3), 3 * LARGE + 1)], ids=str
)
class TestSquare:
    def test_cholesky(self, batch: tuple[int, ...], N: int, dtype: Any) -> None:
        A = definite(dtype, *batch, N, N)
        broken = A + np.triu(np.full((N, N), 7, dtype), 1)  # of which it does not read
        for upper, given in ((False, broken), (True, broken.swapaxes(-1, -2).conj())):
            found = np.asarray(linalg.cholesky(nt.tensor(given), upper=upper))
            lower = found.conj().swapaxes(-1, -2) if upper else found
            assert np.array_equal(lower, np.tril(lower))
            check(lower @ lower.conj().swapaxes(-1, -2), A)

    def test_inverse_and_solutions(self, batch: tuple[int, ...], N: int, dtype: Any) -> None:
        A, B = rand(dtype, *batch, N, N), rand(dtype, *batch, N, 3)
        identity = np.broadcast_to(np.eye(N, dtype=dtype), A.shape)
        check(A @ np.asarray(linalg.inv(nt.tensor(A))), identity)
        check(A @ np.asarray(linalg.inv_ex(nt.tensor(A)).inverse), identity)
        for K in (3, 1):
            right = nt.tensor(B[..., :K])
            check(A @ np.asarray(linalg.solve(nt.tensor(A), right)), B[..., :K])
            assert np.array_equal(np.asarray(right), B[..., :K])  # which nothing was written over
        across = np.asarray(
            linalg.solve(nt.tensor(A), nt.tensor(B.swapaxes(-1, -2).copy()), left=False)
        )
        check(across @ A, B.swapaxes(-1, -2))

    def test_determinant(self, batch: tuple[int, ...], N: int, dtype: Any) -> None:
        order = np.random.default_rng(N).permutation(N)
        A = rand(dtype, *batch, N, N)[..., order]
        sign, size = np.linalg.slogdet(A.astype(np.result_type(A, np.float64)))
        found = linalg.slogdet(nt.tensor(A))
        near = 4 * N * np.finfo(dtype).eps
        assert np.allclose(np.asarray(found.sign), sign, near)
        largest = np.abs(size).max() + 1
        assert np.abs(np.asarray(found.logabsdet) - size).max() <= largest * np.finfo(dtype).eps * N
        expected = np.asarray(sign * np.exp(size), dtype)
        assert np.allclose(np.asarray(linalg.det(nt.tensor(A))), expected, near)

    def test_eigenvalues(self, batch: tuple[int, ...], N: int, dtype: Any) -> None:
        A = definite(dtype, *batch, N, N)
        broken = nt.tensor(A + np.triu(np.full((N, N), 7, dtype), 1))
        found = linalg.eigh(broken)
        values, vectors = (np.asarray(part) for part in found)
        check((vectors * values[..., None, :]) @ vectors.conj().swapaxes(-1, -2), A)
        check(values, np.asarray(np.linalg.eigvalsh(A), A.real.dtype))
        check(linalg.eigvalsh(broken), values)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
@pytest.mark.parametrize("shape", [(32, 32), (2, 90, 33), (33, 90), (0, 40, 40)], ids=str)
@pytest.mark.parametrize("whole", [False, True])
class TestOblong:
    def test_svd(self, shape: tuple[int, ...], whole: bool, dtype: Any) -> None:
        A = rand(dtype, *shape)
        found = linalg.svd(nt.tensor(A), full_matrices=whole)
        assert [part.shape for part in found] == [part.shape for part in np.linalg.svd(A, whole)]
        if A.size:
            U, S, Vh = (np.asarray(part) for part in found)
            K = min(shape[-2:])
            check((U[..., :K] * S[..., None, :]) @ Vh[..., :K, :], A)
            check(linalg.svdvals(nt.tensor(A)), S)
            check_orthonormal(U)
            check_orthonormal(Vh.conj().swapaxes(-1, -2))

    def test_qr(self, shape: tuple[int, ...], whole: bool, dtype: Any) -> None:
        A = rand(dtype, *shape)
        mode = "complete" if whole else "reduced"
        Q, R = (np.asarray(part) for part in linalg.qr(nt.tensor(A), mode))
        assert [Q.shape, R.shape] == [part.shape for part in np.linalg.qr(A, mode)]
        if A.size:
            check(Q @ R, A)
            assert np.array_equal(R, np.triu(R))
            check_orthonormal(Q)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_large_matrices_without_factors(dtype: Any) -> None:
    """One that is singular, or not definite, among others."""
    ones = np.ones((2, 40, 40), dtype)
    ones[0] = np.eye(40)
    singular = nt.tensor(ones)
    with pytest.raises(LinAlgError, match="singular matrix"):
        linalg.inv(singular).realize()
    with pytest.raises(LinAlgError, match="singular matrix"):
        linalg.solve(singular, singular).realize()
    with pytest.raises(LinAlgError, match="not positive definite"):
        linalg.cholesky(-singular).realize()
    assert linalg.det(singular).tolist() == [1, 0]
    assert linalg.slogdet(singular).logabsdet.tolist() == [0, float("-inf")]
    assert linalg.slogdet(singular).sign.tolist() == [1, 0]
    assert linalg.inv_ex(singular).info.tolist() == [0, 2]


@pytest.mark.parametrize("name", ["cholesky", "det", "inv", "eigh", "svd", "qr"])
def test_nan_in_a_large_matrix_is_told_or_comes_through(name: str) -> None:
    A = np.eye(40)
    A[1, 0] = A[0, 1] = np.nan
    try:
        found = getattr(linalg, name)(nt.tensor(A))
        parts = [np.asarray(part) for part in (found if isinstance(found, tuple) else [found])]
    except LinAlgError:
        return
    assert not all(np.isfinite(part).all() for part in parts)


def test_a_large_determinant_is_that_of_its_logarithm() -> None:
    A = np.diag(np.concatenate([np.full(300, 1024.0), np.full(300, 2.0**-10)])).astype(np.float32)
    assert abs(linalg.det(nt.tensor(A)).item() - 1) < 1e-5
    assert linalg.det(nt.tensor(A * 2)).item() == np.inf


WITHOUT_A_PIVOT = "det slogdet inv solve inv_ex solve_ex".split()


@pytest.mark.parametrize("size", [2, 3, 40])
@pytest.mark.parametrize("name", WITHOUT_A_PIVOT)
def test_what_a_matrix_with_nan_gives_is_nan(name: str, size: int) -> None:
    """Its search for a pivot passes NaN by, so that LAPACK alone gives numbers, or an error."""
    rng = np.random.default_rng(size)
    A = rng.standard_normal((3, size, size)) + size * np.eye(size)
    right = (nt.tensor(rng.standard_normal((3, size, 2))),) if "solve" in name else ()
    function = getattr(nt.linalg, name)
    expected = function(nt.tensor(A), *right)
    A[1, 0, 0] = np.nan
    found = function(nt.tensor(A), *right)
    if isinstance(found, nt.Tensor):
        found, expected = (found,), (expected,)
    for ours, whole in zip(found, expected, strict=True):
        if ours.dtype.is_floating_point:
            np.testing.assert_array_equal(ours.numpy()[[0, 2]], whole.numpy()[[0, 2]])
            assert np.isnan(ours.numpy()[1]).all()


@pytest.mark.parametrize("size", [2, 40])
def test_a_matrix_with_nan_is_not_positive_definite(size: int) -> None:
    A = np.eye(size)
    A[1, 0] = A[0, 1] = np.nan
    with pytest.raises(nt.LinAlgError, match="not positive definite"):
        nt.linalg.cholesky(nt.tensor(A)).numpy()
    assert nt.linalg.cholesky_ex(nt.tensor(A)).info.item() == 2
