"""Singular values of matrices of low rank, by products with a few random vectors."""

from __future__ import annotations

from typing import NamedTuple

from numbatorch.errors import OutOfRange, message
from numbatorch.graph import Node
from numbatorch.ops import create
from numbatorch.ops.factors import qr_
from numbatorch.ops.matrices import adjoint, check, check_alike, product
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.spectra import svd_
from numbatorch.ops.statistics import mean
from numbatorch.ops.surface import public


class LowRankResult(NamedTuple):
    """U (..., M, q), S (..., q) descending and V (..., N, q), of A = U diag(S) V^H."""

    U: Node
    S: Node
    V: Node


@public("nt")
def svd_lowrank(
    A: Node, q: int | None = 6, niter: int | None = 2, M: Node | None = None
) -> LowRankResult:
    """The largest singular values of A, or of A - M, and their vectors, which are exact for rank q.

    An orthonormal basis Q of A X, with q random vectors X, is turned `niter` times towards the
    largest ones; then Q^H A is decomposed. The gradient needs a rank of q at least.

    Args:
        A: (..., M, N).
        q: how many; no more than M or N are given.
        niter: how often to take the basis of A A^H Q for Q.
        M: broadcasts to A.
    Source: https://arxiv.org/abs/0909.4061 (algorithms 4.4 and 5.1)

    >>> from numbatorch import ones
    >>> svd_lowrank(ones(3, 12), q=1).S.round(decimals=4).tolist()
    [6.0]
    """
    return _decomposed("svd_lowrank", A, 6 if q is None else q, 2 if niter is None else niter, M)


def _decomposed(operator: str, A: Node, q: int, niter: int, M: Node | None) -> LowRankResult:
    _, rows, columns = check(operator, A)
    if q < 0 or niter < 0:
        problem = f"q is {q} and niter {niter}, which are no less than 0"
        raise OutOfRange(message(operator, problem, f"A {describe(A)}"))
    if M is not None:
        check_alike(operator, A, M, "M")
        A = A - expanded(M, A.shape)
    wide = rows < columns
    matrix = adjoint(A) if wide else A  # (..., L, K), L >= K
    K, key = matrix.shape[-1], create.next_key(A.device)
    vectors = create.drawn("random_normal", (K, min(q, K)), key)
    basis = _orthonormal(product(matrix, as_node(vectors, A.dtype, A.device)))
    for _ in range(niter):
        basis = _orthonormal(product(adjoint(matrix), basis))
        basis = _orthonormal(product(matrix, basis))
    inner, S, Vh = svd_.parts(product(adjoint(basis), matrix), full_matrices=False)
    U, V = product(basis, inner), adjoint(Vh)
    return LowRankResult(V, S, U) if wide else LowRankResult(U, S, V)


def _orthonormal(x: Node) -> Node:
    return qr_.parts(x, mode="reduced")[0]


@public("nt")
def pca_lowrank(
    A: Node, q: int | None = None, center: bool = True, niter: int = 2
) -> LowRankResult:
    """The principal components of observations, the rows of A: `svd_lowrank` of A minus their mean.

    Args:
        A: (..., M, N).
        q: how many, min(6, M, N) unless given.
        center: whether to subtract the mean of the rows.
    Returns:
        U, S and V: the columns of V are the directions, S^2 / (M - 1) the variances along them.
    Raises:
        OutOfRange: q is negative, or larger than the sizes of A.

    >>> from numbatorch import tensor
    >>> V = pca_lowrank(tensor([[3.0, 0.0], [-3.0, 0.0], [0.0, 0.0]]), q=1).V
    >>> V.abs().round(decimals=4).tolist()
    [[1.0], [0.0]]
    """
    _, rows, columns = check("pca_lowrank", A)
    least = min(rows, columns)
    count = min(6, least) if q is None else q
    if not 0 <= count <= least:
        problem = f"q is {count}, not from 0 to {least}"
        raise OutOfRange(message("pca_lowrank", problem, f"A {describe(A)}"))
    middle = mean(A, -2, True) if center else None
    return _decomposed("pca_lowrank", A, count, niter, middle)
