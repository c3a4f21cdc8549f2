"""Factors and solutions of matrices that may have none: a number for each matrix says so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch import dtype as dt
from numbatorch.graph import Node
from numbatorch.ops import lapack
from numbatorch.ops.factors import LUFactorExResult, LUFactorResult, lu_factor_ex
from numbatorch.ops.host import scipy
from numbatorch.ops.linalg import (
    GILES,
    cholesky,
    cholesky_gradient,
    solve,
    solve_,
    system,
)
from numbatorch.ops.matrices import (
    DTYPES,
    Outputs,
    adjoint,
    check,
    definite_sample,
    each,
    matrices,
    mirrored,
    product,
    together,
)
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


class SolveResult(NamedTuple):
    """The solution, and info (...): 0, or which pivot of a singular matrix is 0."""

    result: Node
    info: Node


@structured(dtypes=DTYPES, source=GILES, reports=True)
def solve_ex_(A: Array, B: Array) -> tuple[Array, Array]:
    """X with A X = B, which a singular matrix makes infinite or NaN, and which pivot is 0."""
    return _solutions(A, B)


@lapack.nan_of_nan
def _solutions(A: Array, B: Array) -> tuple[Array, Array]:
    getrf, getrs = scipy("linalg").lapack.get_lapack_funcs(("getrf", "getrs"), (A,))

    def one(matrix: Array, right: Array) -> tuple[Array, int]:
        if not matrix.size:
            return right, 0
        factors, pivots, info = getrf(matrix)
        return getrs(factors, pivots, right)[0] if right.size else right, info

    found = each(one, A, B)
    infos = np.array([info for _, info in found], np.int32).reshape(A.shape[:-2])
    return together([x for x, _ in found], B.shape, B.dtype), infos


@solve_ex_.infer
def _(A: Node, B: Node) -> Outputs:
    batch, _, _ = check("linalg.solve_ex", A, square=True)
    return [(B.shape, B.dtype), (batch, dt.int32)]


@solve_ex_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node, B: Node) -> Any:
    if g[0] is None:
        return None, None
    back = solve_.apply(adjoint(A), g[0])
    return -product(back, adjoint(y[0])), back


@solve_ex_.samples
def _(rng: Draw) -> Any:
    N, K = (int(n) for n in rng.integers(1, 5, 2))
    return [matrices(rng, 2, N, N), rng.standard_normal((2, N, K))], {}


solve_ex_.peer = "torch.linalg.solve_ex"


@public("linalg")
def solve_ex(A: Node, B: Node, *, left: bool = True, check_errors: bool = False) -> SolveResult:
    """As `linalg.solve` without an error for a singular matrix, whose solution is not finite.

    Args:
        check_errors: raise as `linalg.solve` does.

    >>> from numbatorch import ones
    >>> solve_ex(ones(2, 2), ones(2)).info.item()
    2
    """
    if check_errors:
        return SolveResult(solve(A, B, left=left), solve_ex(A, B, left=left).info)
    matrix, right, finish = system("linalg.solve_ex", A, B, left)
    found, info = solve_ex_.parts(matrix, right)
    return SolveResult(finish(found), info)


class CholeskyResult(NamedTuple):
    """The factor L, and info (...): 0, or the order of the first minor that is not positive."""

    L: Node
    info: Node


@structured(dtypes=DTYPES, source="https://arxiv.org/abs/1602.07527", reports=True)
def cholesky_ex_(A: Array) -> tuple[Array, Array]:
    """L of the Hermitian part of A, NaN if it is not positive-definite, and which minor is not."""
    (potrf,) = scipy("linalg").lapack.get_lapack_funcs(("potrf",), (A,))

    def one(matrix: Array) -> tuple[Array, int]:
        if not matrix.size:
            return matrix, 0
        factor, info = potrf(matrix, lower=True)
        if np.isnan(np.diagonal(factor)).any():  # which LAPACK may take for a number
            info = 1 + int(np.isnan(np.diagonal(factor)).argmax())
        return np.tril(np.full_like(matrix, np.nan)) if info else factor, info

    found = each(one, (A + A.conj().swapaxes(-1, -2)) / 2)
    infos = np.array([info for _, info in found], np.int32).reshape(A.shape[:-2])
    return together([factor for factor, _ in found], A.shape, A.dtype), infos


@cholesky_ex_.infer
def _(A: Node) -> Outputs:
    batch, _, _ = check("linalg.cholesky_ex", A, square=True)
    return [(A.shape, A.dtype), (batch, dt.int32)]


@cholesky_ex_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node) -> Node | None:
    return None if g[0] is None else cholesky_gradient(g[0], y[0])


cholesky_ex_.samples(definite_sample)
cholesky_ex_.peer = "torch.linalg.cholesky_ex"


@public("linalg")
def cholesky_ex(A: Node, *, upper: bool = False, check_errors: bool = False) -> CholeskyResult:
    """As `linalg.cholesky` without an error for a matrix that is not positive-definite.

    Where we differ from PyTorch: the factor of such a matrix is NaN, not what was done of it.

    Args:
        check_errors: raise as `linalg.cholesky` does.

    >>> from numbatorch import tensor
    >>> cholesky_ex(tensor([[1.0, 2.0], [2.0, 1.0]])).info.item()
    2
    """
    check("linalg.cholesky_ex", A, square=True)
    L, info = cholesky_ex_.parts(mirrored(A, lower=not upper))
    if check_errors:
        return CholeskyResult(cholesky(A, upper=upper), info)
    return CholeskyResult(adjoint(L) if upper else L, info)


@public("nt", "Tensor")
def lu(A: Node, pivot: bool = True, get_infos: bool = False) -> tuple[Node, ...]:
    """As `linalg.lu_factor_ex`, with its info if `get_infos` asks for it.

    >>> LU, pivots = lu(tensor([[0.0, 2.0], [1.0, 0.0]]))
    >>> pivots.tolist()
    [2, 2]
    """
    found: LUFactorExResult = lu_factor_ex(A, pivot=pivot)
    return found if get_infos else LUFactorResult(*found[:2])
