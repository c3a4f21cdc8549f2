"""Linear algebra: products and the extension `linalg`."""

from __future__ import annotations

from typing import Any, NamedTuple

import numbatorch as nt
from numbatorch.array_api.array import Array, lift, lifted, meet
from numbatorch.array_api.reducing import sum as _sum
from numbatorch.array_api.shaping import matrix_transpose
from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange, ShapeError, message

__all__ = [
    "cholesky",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "inv",
    "matmul",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "matrix_transpose",
    "outer",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "svd",
    "svdvals",
    "tensordot",
    "trace",
    "vecdot",
    "vector_norm",
]


class EigResult(NamedTuple):
    """Complex eigenvalues, and vectors in columns."""

    eigenvalues: Array
    eigenvectors: Array


class EighResult(NamedTuple):
    """Eigenvalues, and vectors in columns."""

    eigenvalues: Array
    eigenvectors: Array


class QRResult(NamedTuple):
    """Orthogonal columns, and a triangle."""

    Q: Array
    R: Array


class SlogdetResult(NamedTuple):
    """The sign of a determinant, and the logarithm of its size."""

    sign: Array
    logabsdet: Array


class SVDResult(NamedTuple):
    """Left vectors in columns, singular values, right vectors in rows."""

    U: Array
    S: Array
    Vh: Array


def matmul(x1: Array, x2: Array, /) -> Array:
    """The product of matrices."""
    if not x1.ndim or not x2.ndim:
        raise ShapeError(message("matmul", "an array without axes is no matrix"))
    return lift(nt.matmul(*meet("matmul", x1, x2)))


def tensordot(x1: Array, x2: Array, /, *, axes: Any = 2) -> Array:
    """Products summed over axes of both."""
    lhs, rhs = meet("tensordot", x1, x2)
    return lift(nt.tensordot(lhs, rhs, axes))


def vecdot(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """The sum of conj(x1) * x2 along an axis."""
    lhs, rhs = meet("vecdot", x1, x2)
    if not lhs.ndim or not rhs.ndim or lhs.shape[axis] != rhs.shape[axis]:
        raise ShapeError(message("vecdot", f"axis {axis} of {lhs.shape} and {rhs.shape} differs"))
    lhs = nt.conj(lhs) if lhs.dtype.is_complex else lhs
    return lift(nt.sum(lhs * rhs, axis).to(lhs.dtype))


def cholesky(x: Array, /, *, upper: Any = False) -> Array:
    """The triangle whose product with its conjugate transpose is x."""
    return lift(nt.linalg.cholesky(x, upper=upper))


def cross(x1: Array, x2: Array, /, *, axis: int = -1) -> Array:
    """The cross product of vectors of three, which broadcast.

    Args:
        axis: where the vectors lie, counted from the last dimension, -1.
    """
    if axis >= 0:
        raise OutOfRange(message("cross", f"axis {axis} is not counted from the last one, -1"))
    lhs, rhs = meet("cross", x1, x2)
    rank = max(lhs.ndim, rhs.ndim)
    lhs, rhs = (nt.reshape(x, (1,) * (rank - x.ndim) + x.shape) for x in (lhs, rhs))
    return lift(nt.linalg.cross(lhs, rhs, dim=axis))


def det(x: Array, /) -> Array:
    """The determinant."""
    return lift(nt.linalg.det(x))


def diagonal(x: Array, /, *, offset: int = 0) -> Array:
    """A diagonal of each matrix."""
    return lift(nt.diagonal(x, offset, -2, -1))


def eig(x: Array, /) -> EigResult:
    """Complex eigenvalues and vectors of any square matrices."""
    return EigResult(*lifted(tuple(nt.linalg.eig(x))))


def eigvals(x: Array, /) -> Array:
    """Complex eigenvalues of any square matrices."""
    return lift(nt.linalg.eigvals(x))


def eigh(x: Array, /) -> EighResult:
    """Eigenvalues and vectors of symmetric matrices."""
    return EighResult(*lifted(tuple(nt.linalg.eigh(x))))


def eigvalsh(x: Array, /) -> Array:
    """Eigenvalues of symmetric matrices."""
    return lift(nt.linalg.eigvalsh(x))


def inv(x: Array, /) -> Array:
    """The inverse."""
    return lift(nt.linalg.inv(x))


def matrix_norm(x: Array, /, *, keepdims: Any = False, ord: Any = "fro") -> Array:
    """A norm of each matrix."""
    return lift(nt.linalg.matrix_norm(x, ord, keepdim=keepdims))


def matrix_power(x: Array, n: int, /) -> Array:
    """x multiplied by itself."""
    return lift(nt.linalg.matrix_power(x, n))


def matrix_rank(x: Array, /, *, rtol: Any = None) -> Array:
    """How many singular values are above rtol times the largest."""
    return lift(nt.linalg.matrix_rank(x, rtol=rtol))


def outer(x1: Array, x2: Array, /) -> Array:
    """The products of all pairs."""
    return lift(nt.outer(*meet("outer", x1, x2)))


def pinv(x: Array, /, *, rtol: Any = None) -> Array:
    """The pseudo-inverse."""
    return lift(nt.linalg.pinv(x, rtol=rtol))


def qr(x: Array, /, *, mode: Any = "reduced") -> QRResult:
    """Orthogonal columns and a triangle whose product is x."""
    return QRResult(*lifted(tuple(nt.linalg.qr(x, mode))))


def slogdet(x: Array, /) -> SlogdetResult:
    """The sign of the determinant and the logarithm of its size."""
    return SlogdetResult(*lifted(tuple(nt.linalg.slogdet(x))))


def solve(x1: Array, x2: Array, /) -> Array:
    """The solution of x1 @ y = x2; x2 of one axis is a vector."""
    lhs, rhs = meet("solve", x1, x2)
    if rhs.ndim == 1:
        return lift(nt.linalg.solve(lhs, rhs.unsqueeze(-1)).squeeze(-1))
    return lift(nt.linalg.solve(lhs, rhs))


def svd(x: Array, /, *, full_matrices: Any = True) -> SVDResult:
    """Singular values and vectors."""
    return SVDResult(*lifted(tuple(nt.linalg.svd(x, full_matrices))))


def svdvals(x: Array, /) -> Array:
    """Singular values."""
    return lift(nt.linalg.svdvals(x))


def trace(x: Array, /, *, offset: int = 0, dtype: DType | None = None) -> Array:
    """The sum of a diagonal of each matrix."""
    return _sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def vector_norm(x: Array, /, *, axis: Any = None, keepdims: Any = False, ord: Any = 2) -> Array:
    """A norm over axes, all of them unless given."""
    if axis == () or (axis is None and not x.ndim):
        found = nt.abs(x) if ord != 0 else (x != 0).to(x.dtype.part)
        return lift(found)
    axes = tuple(range(x.ndim)) if axis is None else axis
    return lift(nt.linalg.vector_norm(x, ord, axes, keepdim=keepdims))
