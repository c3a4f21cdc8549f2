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
    """The determinant of each matrix (..., N, N), as `linalg.det`.

    >>> det(tensor([[1.0, 2.0], [3.0, 4.0]])).round(decimals=4)
    tensor(-2.)
    """
    return determinant.det(input)


@public()
def slogdet(input: Node) -> SlogdetResult:
    """The sign of each determinant and log(|det|), as `linalg.slogdet`.

    >>> [x.item() for x in slogdet(tensor([[0.0, 1.0], [1.0, 0.0]]))]
    [-1.0, 0.0]
    """
    return determinant.slogdet(input)


@public()
def pinverse(input: Node, rcond: float = 1e-15) -> Node:
    """The pseudoinverse (..., N, M) of matrices (..., M, N), as `linalg.pinv`.

    Args:
        rcond: singular values up to this times the largest one count as 0.

    >>> pinverse(tensor([[2.0, 0.0]])).shape
    (2, 1)
    """
    return matrix_functions.pinv(input, rcond)


@public()
def matrix_power(input: Node, n: int) -> Node:
    """A @ A @ ... @ A, n times, of the inverse where n is negative; as `linalg.matrix_power`.

    >>> matrix_power(tensor([[1.0, 1.0], [0.0, 1.0]]), 3).tolist()
    [[1.0, 3.0], [0.0, 1.0]]
    """
    return matrix_functions.matrix_power(input, n)


@public()
def cholesky(input: Node, upper: bool = False) -> Node:
    """L with A = L L^H, or its conjugate transpose if `upper`, as `linalg.cholesky`.

    >>> cholesky(tensor([[4.0, 2.0], [2.0, 5.0]])).tolist()
    [[2.0, 0.0], [1.0, 2.0]]
    """
    return linalg.cholesky(input, upper=upper)


@public()
def qr(input: Node, some: bool = True) -> QRResult:
    """As `linalg.qr`, complete unless `some`.

    >>> qr(nt.ones(3, 2)).Q.shape, qr(nt.ones(3, 2), some=False).Q.shape
    ((3, 2), (3, 3))
    """
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

    >>> svd(nt.ones(3, 2)).V.shape, svd(nt.ones(3, 2), some=False).U.shape
    ((2, 2), (3, 3))
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
    """As `linalg.multi_dot`.

    >>> chain_matmul(nt.ones(2, 3), nt.ones(3, 4), nt.ones(4, 1)).shape
    (2, 1)
    """
    return matrices[0] if len(matrices) == 1 else matrix_functions.multi_dot(matrices)
