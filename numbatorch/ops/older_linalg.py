"""Linear algebra under the older names, of `nt` and of Tensor's methods."""

from __future__ import annotations

from typing import NamedTuple

from numbatorch.graph import Node
from numbatorch.ops import determinant, factors, linalg, matrix_functions, spectra
from numbatorch.ops.determinant import SlogdetResult
from numbatorch.ops.diagonals import diagonal as diagonal_of
from numbatorch.ops.factors import QRResult
from numbatorch.ops.matrices import adjoint
from numbatorch.ops.operands import const
from numbatorch.ops.surface import public


@public("linalg")
def diagonal(A: Node, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Node:
    """Elements (i, i + offset) of each matrix, as a view: `nt.diagonal` of the last two dimensions.

    >>> from numbatorch import tensor
    >>> diagonal(tensor([[1, 2], [3, 4]])).tolist()
    [1, 4]
    """
    return diagonal_of(A, offset, dim1, dim2)


@public()
def det(input: Node) -> Node:
    """As `linalg.det`."""
    return determinant.det(input)


@public()
def slogdet(input: Node) -> SlogdetResult:
    """As `linalg.slogdet`."""
    return determinant.slogdet(input)


@public()
def pinverse(input: Node, rcond: float = 1e-15) -> Node:
    """As `linalg.pinv`."""
    return matrix_functions.pinv(input, rcond)


@public()
def matrix_power(input: Node, n: int) -> Node:
    """As `linalg.matrix_power`."""
    return matrix_functions.matrix_power(input, n)


@public()
def cholesky(input: Node, upper: bool = False) -> Node:
    """As `linalg.cholesky`."""
    return linalg.cholesky(input, upper=upper)


@public()
def qr(input: Node, some: bool = True) -> QRResult:
    """As `linalg.qr`, complete unless `some`."""
    return factors.qr(input, "reduced" if some else "complete")


class SVDResult(NamedTuple):
    """U, S descending, and V, of A = U diag(S) V^H."""

    U: Node
    S: Node
    V: Node


@public()
def svd(input: Node, some: bool = True, compute_uv: bool = True) -> SVDResult:
    """As `linalg.svd`, with V for V^H, full unless `some`.

    Args:
        compute_uv: whether U and V are wanted; zeros if not.
    """
    if not compute_uv:
        values = spectra.svdvals(input)
        *batch, M, N = input.shape
        zeros = (const(0.0, input.dtype, input.device, (*batch, n, n)) for n in (M, N))
        U, V = zeros
        return SVDResult(U, values, V)
    U, S, Vh = spectra.svd(input, full_matrices=not some)
    return SVDResult(U, S, adjoint(Vh))


@public("nt")
def chain_matmul(*matrices: Node) -> Node:
    """As `linalg.multi_dot`."""
    return matrices[0] if len(matrices) == 1 else matrix_functions.multi_dot(matrices)
