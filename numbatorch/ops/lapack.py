"""Factors of matrices on the host: small ones by NumPy, whose loop over a batch is compiled code.

From `LARGE` rows and columns on SciPy's LAPACK takes half of the time or less. In memory a matrix
is the transpose of a Fortran one, which is factored where it lies: NumPy's functions copy each
matrix into the other order and back.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np

from numbatorch.ops.host import scipy

Array = np.ndarray[Any, Any]
Function = TypeVar("Function", bound=Callable[..., Any])

LARGE = 32
BLOCK = 64  # columns that LAPACK takes at once at most: what work memory is given for


def _is_large(A: Array) -> bool:
    M, N = A.shape[-2:]
    return bool(A.size) and min(M, N) >= LARGE and M * N < 2**31  # LAPACK counts in 32 bits


def _functions(A: Array, *names: str) -> Any:
    return scipy("linalg").lapack.get_lapack_funcs(names, dtype=A.dtype)


def _flat(A: Array) -> Array:
    """(batch, M, N)."""
    return A.reshape(-1, *A.shape[-2:])


def _check(info: int, problem: str) -> None:
    if info:
        raise np.linalg.LinAlgError(problem)


def nan_of_nan(function: Function) -> Function:
    """Decorator: what a function of matrices gives for one with a NaN is NaN.

    LAPACK's search for a pivot passes NaN by: the factors are those of a singular matrix then.
    """

    @functools.wraps(function)
    def call(A: Array, *others: Array) -> Any:
        wrong = np.asarray(np.isnan(A).any((-2, -1)))
        if not wrong.any():
            return function(A, *others)
        out = function(
            np.where(wrong[..., None, None], np.eye(A.shape[-1], dtype=A.dtype), A), *others
        )
        for part in out if isinstance(out, tuple) else (out,):
            if part.dtype.kind in "fc":
                part[wrong] = np.nan
        return out

    return call  # type: ignore[return-value]


def cholesky(A: Array) -> Array:
    """L, lower triangular, with L L^H the matrix whose lower triangle is that of A."""
    if not _is_large(A):
        return _without_nan(np.linalg.cholesky(A))
    (potrf,) = _functions(A, "potrf")
    found = A.copy()
    for matrix in _flat(found):
        # L^T conj(L) is the transpose of A. It is written over that, as all is that may be.
        _, info = potrf(matrix.T, lower=False, clean=False, overwrite_a=True)
        _check(info, "Matrix is not positive definite")
        _clear_above(matrix)
    return _without_nan(found)


def _without_nan(L: Array) -> Array:
    """Cholesky factors, of which one with a NaN on its diagonal is none."""
    _check(bool(np.isnan(np.diagonal(L, 0, -2, -1)).any()), "Matrix is not positive definite")
    return L


def _clear_above(matrix: Array) -> None:
    """Fill what is above the diagonal with zeros."""
    for first in range(0, len(matrix), BLOCK):
        last = first + BLOCK
        matrix[first:last, last:] = 0
        block = matrix[first:last, first:last]
        block[...] = np.tril(block)


def _transposes_factored(A: Array) -> Any:
    """For each matrix of A the factors of its transpose, their pivots and which of them is 0."""
    (getrf,) = _functions(A, "getrf")
    return (getrf(matrix.T, overwrite_a=True) for matrix in _flat(A.copy()))


@nan_of_nan
def inverse(A: Array) -> Array:
    """The inverse of each matrix."""
    if not _is_large(A):
        return np.linalg.inv(A)
    getri, found = inverse_of_factors(A), np.empty(A.shape, A.dtype)
    for out, (factors, pivots, info) in zip(_flat(found), _transposes_factored(A), strict=True):
        _check(info, "Singular matrix")
        out[...] = getri(factors, pivots).T
    return found


def inverse_of_factors(A: Array) -> Callable[[Array, Array], Array]:
    """What makes the inverse of a matrix like A of its factors, which it writes over."""
    (getri,) = _functions(A, "getri")
    size = max(1, BLOCK * A.shape[-1])

    def of_factors(factors: Array, pivots: Array) -> Array:
        found: Array = getri(factors, pivots, lwork=size, overwrite_lu=True)[0]
        return found

    return of_factors


@nan_of_nan
def solution(A: Array, B: Array) -> Array:
    """X with A X = B, for matrices of one batch."""
    if not (_is_large(A) and B.size):
        return np.linalg.solve(A, B)
    (getrs,) = _functions(A, "getrs")
    found = np.empty(B.shape, B.dtype)
    rows = zip(_flat(found), _flat(B), _transposes_factored(A), strict=True)
    for out, right, (factors, pivots, info) in rows:
        _check(info, "Singular matrix")
        columns = np.array(right, order="F")
        out[...] = getrs(factors, pivots, columns, trans=1, overwrite_b=True)[0]
    return found


@nan_of_nan
def determinant(A: Array) -> Array:
    """The determinant of each matrix."""
    if not _is_large(A):
        return np.asarray(np.linalg.det(A))
    sign, size = sign_and_logarithm(A)
    return np.asarray(sign * np.exp(size))


@nan_of_nan
def sign_and_logarithm(A: Array) -> tuple[Array, Array]:
    """The sign and the logarithm of the size of each determinant; large ones in float64."""
    if not _is_large(A):
        sign, size = np.linalg.slogdet(A)
        return np.asarray(sign), np.asarray(size)
    N = A.shape[-1]
    along, odd = [], []
    for factors, pivots, _ in _transposes_factored(A):
        along.append(np.diagonal(factors).astype(np.result_type(A, np.float64)))
        odd.append(np.count_nonzero(pivots != np.arange(N)) % 2)
    diagonal = np.array(along)
    sign = np.sign(diagonal).prod(-1) if A.dtype.kind == "f" else _phase(diagonal).prod(-1)
    sign = np.where(odd, -sign, sign)
    batch = A.shape[:-2]
    return sign.reshape(batch), np.log(np.abs(diagonal)).sum(-1).reshape(batch)


def _phase(z: Array) -> Array:
    size = np.abs(z)
    return np.where(size == 0, 0, z / np.where(size == 0, 1, size))


def eigh(A: Array) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors of the matrix whose lower triangle is that of A."""
    if not _is_large(A):
        pair = np.linalg.eigh(A)
        return pair.eigenvalues, pair.eigenvectors
    values, vectors = np.empty(A.shape[:-1], A.real.dtype), np.empty(A.shape, A.dtype)
    for i, (found, columns) in enumerate(_spectra(A, compute_v=True)):
        values.reshape(-1, A.shape[-1])[i] = found
        _flat(vectors)[i] = columns.conj()  # those of the transpose, which is the conjugate
    return values, vectors


def eigvalsh(A: Array) -> Array:
    """The eigenvalues of `eigh` alone."""
    if not _is_large(A):
        return np.linalg.eigvalsh(A)
    found = [values for values, _ in _spectra(A, compute_v=False, lwork=(BLOCK + 2) * A.shape[-1])]
    return np.array(found).reshape(A.shape[:-1])


def _spectra(A: Array, **options: Any) -> Any:
    """For each matrix of A the eigenvalues and eigenvectors of its transpose."""
    (syevd,) = _functions(A, "syevd" if A.dtype.kind == "f" else "heevd")
    for matrix in _flat(A):
        values, vectors, info = syevd(matrix.T, lower=False, **options)
        _check(info, "Eigenvalues did not converge")
        yield values, vectors


def svd(A: Array, full_matrices: bool = True) -> tuple[Array, Array, Array]:
    """A = U diag(S) Vh, S descending."""
    if not _is_large(A):
        found = np.linalg.svd(A, full_matrices=full_matrices)
        return found.U, found.S, found.Vh
    parts = list(zip(*_singular(A, True, full_matrices), strict=True))
    # The transpose of A is V* diag(S) U^T.
    Vh, S, U = (np.stack([x.T for x in part]) for part in parts)
    batch = A.shape[:-2]
    return tuple(x.reshape(*batch, *x.shape[1:]) for x in (U, S, Vh))  # type: ignore[return-value]


def singular_values(A: Array) -> Array:
    """S of `svd` alone."""
    if not _is_large(A):
        return np.linalg.svd(A, compute_uv=False)
    found = np.stack([S for _, S, _ in _singular(A, False, False)])
    return found.reshape(*A.shape[:-2], found.shape[-1])


def _singular(A: Array, vectors: bool, full: bool) -> Any:
    """For each matrix of A the singular value decomposition of its transpose."""
    gesdd, gesdd_lwork = _functions(A, "gesdd", "gesdd_lwork")
    M, N = A.shape[-2:]
    wanted, _ = gesdd_lwork(N, M, compute_uv=vectors, full_matrices=full)
    # What LAPACK asks for is a rounded float.
    size = int(np.nextafter(np.abs(wanted), np.inf, dtype=A.real.dtype)) + 1
    for matrix in _flat(A):
        options = {"compute_uv": vectors, "full_matrices": full, "lwork": size}
        left, values, right, info = gesdd(matrix.T, **options)
        _check(info, "SVD did not converge")
        yield left, values, right


def qr(A: Array, mode: Literal["reduced", "complete"]) -> tuple[Array, Array]:
    """A = Q R with orthonormal columns in Q and R upper triangular."""
    if not _is_large(A):
        found = np.linalg.qr(A, mode)
        return found.Q, found.R
    M, N = A.shape[-2:]
    inner = min(M, N) if mode == "reduced" else M
    Q, R = (np.empty((*A.shape[:-2], *size), A.dtype) for size in ((M, inner), (inner, N)))
    geqrf, orgqr = _functions(A, "geqrf", "orgqr" if A.dtype.kind == "f" else "ungqr")
    for q, r, matrix in zip(_flat(Q), _flat(R), _flat(A), strict=True):
        columns = np.array(matrix, order="F")
        factors, scales, *_ = geqrf(columns, lwork=BLOCK * N, overwrite_a=True)
        r[...] = np.triu(factors[:inner])
        wide = factors[:, :inner]
        if inner > N:
            wide = np.zeros((M, M), A.dtype, "F")
            wide[:, :N] = factors
        q[...] = orgqr(wide, scales, lwork=BLOCK * inner, overwrite_a=True)[0]
    return Q, R
