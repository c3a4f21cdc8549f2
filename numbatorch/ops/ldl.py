"""LDL factors of Hermitian and symmetric matrices that need not be definite, and what they solve.

LAPACK keeps L below D, which lies in blocks of 1x1 and 2x2 on the diagonal. Where it exchanges rows
it leaves the columns of L before as they are; they follow where L is taken out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import compare
from numbatorch.ops.create import iota
from numbatorch.ops.factors import check_pivots, permutation
from numbatorch.ops.host import scipy
from numbatorch.ops.linalg import solved, triangular
from numbatorch.ops.matrices import (
    DTYPES,
    Outputs,
    adjoint,
    check,
    check_alike,
    identity,
    mirrored,
    product,
    together,
    turned,
)
from numbatorch.ops.operands import describe, expanded
from numbatorch.ops.parts import conjugated
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import reshape, unsqueeze
from numbatorch.shape import numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]

LAPACK = "https://www.netlib.org/lapack/explore-html/d8/d0e/group__hetrf.html"


class LDLFactorResult(NamedTuple):
    """D in blocks on the diagonal, L below them (..., N, N), and which rows were exchanged."""

    LD: Node
    pivots: Node


class LDLFactorExResult(NamedTuple):
    """As LDLFactorResult, and info (...): 0, or which element of D is 0."""

    LD: Node
    pivots: Node
    info: Node


@structured(dtypes=DTYPES, source=LAPACK, reports=True)
def ldl_factor_(A: Array, *, hermitian: bool, check_errors: bool) -> tuple[Array, Array, Array]:
    """L and D of the Hermitian or symmetric part of A, pivots, and which element of D is 0.

    Args:
        check_errors: such an element is an error.
    """
    name = "hetrf" if hermitian and A.dtype.kind == "c" else "sytrf"
    (factor,) = scipy("linalg").lapack.get_lapack_funcs((name,), (A,))
    N = A.shape[-1]
    other = A.swapaxes(-1, -2)
    whole = (A + (other.conj() if hermitian else other)) / 2
    found = [factor(matrix, lower=True) for matrix in whole.reshape(-1, N, N)] if A.size else []
    infos = np.array([info for *_, info in found] or np.zeros(A.shape[:-2]), np.int32)
    if check_errors and infos.any():
        raise np.linalg.LinAlgError(f"element {infos[infos > 0][0]} of D is zero")
    return (
        together([np.tril(LD) for LD, *_ in found], A.shape, A.dtype),
        together([pivots for _, pivots, _ in found], A.shape[:-1], np.int32),
        infos.reshape(A.shape[:-2]),
    )


@ldl_factor_.infer
def _(A: Node, *, hermitian: bool, check_errors: bool) -> Outputs:
    batch, _, N = check("linalg.ldl_factor", A, square=True)
    return [(A.shape, A.dtype), ((*batch, N), dt.int32), (batch, dt.int32)]


@ldl_factor_.vjp
def _(
    g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node, *, hermitian: bool, check_errors: bool
) -> Node | None:
    """P L^-H G (L'^-1)^H P^T, its Hermitian or symmetric part, where L' is L^H or L^T.

    Of P^T dA P = dL D L' + L dD L' + L D dL', the blocks of L^-1 P^T dA P L'^-1 on the diagonal are
    those of dD, and what is below them is L^-1 dL D. So G is gD, and below it L^H gL D^-H.
    """
    if g[0] is None:
        return None
    order, places, paired = ldl_places_.parts(y[1])
    masks = _masks(paired)
    L, D = _lower(y[0], places, masks), _whole(y[0], masks, hermitian)
    gL = compare.where.apply(masks.below, _taken(g[0], places), 0.0)
    gD = compare.where.apply(masks.blocks, g[0], 0.0)
    below = adjoint(solved("linalg.ldl_factor", D, adjoint(product(adjoint(L), gL))))
    inner = triangular(adjoint(L), compare.where.apply(masks.below, below, 0.0) + gD, True, True)
    right = L if hermitian else conjugated(L)
    inner = adjoint(triangular(adjoint(right), adjoint(inner), True, True))
    P = permutation(order, A)
    found = product(P, inner, turned(P))
    return (found + (adjoint(found) if hermitian else turned(found))) * 0.5


@ldl_factor_.samples
def _(rng: Draw) -> Any:
    N = int(rng.integers(1, 6))
    vectors = np.linalg.qr(rng.standard_normal((2, N, N)))[0]
    values = np.arange(1, N + 1) * np.where(np.arange(N) % 2, 1, -1)
    A = (vectors * values) @ vectors.swapaxes(-1, -2)
    return [A], {"hermitian": bool(rng.integers(2)), "check_errors": False}


@structured(dtypes=(dt.int32,), differentiable=False, source=LAPACK, reports=True)
def ldl_places_(pivots: Array) -> tuple[Array, Array, Array]:
    """Where rows of P^T A stand in A, where elements of L stand in LD, and where blocks of 2 begin.

    Args:
        pivots: as LAPACK gives them: that row k was exchanged with row pivots[k] - 1, or row k + 1
            with row -pivots[k] - 1, where it is negative in both rows of a block.
    """
    N = pivots.shape[-1]
    flat = pivots.reshape(-1, N)
    order = np.tile(np.arange(N), (len(flat), 1))
    places = np.arange(flat.size * N).reshape(len(flat), N, N)
    paired = np.zeros(flat.shape, bool)
    for pivot, rows, place, pairs in zip(flat, order, places, paired, strict=True):
        k = 0
        while k < N:
            pairs[k] = pivot[k] < 0 and k + 1 < N
            here, there = k + int(pairs[k]), abs(int(pivot[k])) - 1
            rows[[here, there]] = rows[[there, here]]
            place[[here, there], :k] = place[[there, here], :k]
            k = here + 1
    shape = pivots.shape
    return order.reshape(shape), places.reshape(*shape, N), paired.reshape(shape)


@ldl_places_.infer
def _(pivots: Node) -> Outputs:
    (N,) = pivots.shape[-1:]
    return [(pivots.shape, dt.int64), ((*pivots.shape, N), dt.int64), (pivots.shape, dt.bool_)]


@ldl_places_.samples
def _(rng: Draw) -> Any:
    size = int(rng.integers(1, 5))
    pivots = [rng.integers(i, size, 2) + 1 for i in range(size)]
    return [np.stack(pivots, -1).astype(np.int32)], {}


class _Masks(NamedTuple):
    """Which elements (..., N, N) are of L, and which of the lower half of D."""

    below: Node
    blocks: Node


def _masks(paired: Node) -> _Masks:
    shape = (*paired.shape, *paired.shape[-1:])
    places = iota(shape[-1], paired.device)
    rows, columns = expanded(unsqueeze(places, -1), shape), expanded(places, shape)
    second = compare.logical_and.apply(
        expanded(unsqueeze(paired, -2), shape), compare.eq.apply(rows, columns + 1)
    )
    below = compare.logical_and.apply(
        compare.gt.apply(rows, columns), compare.logical_not.apply(second)
    )
    return _Masks(below, compare.logical_or.apply(second, compare.eq.apply(rows, columns)))


def _taken(LD: Node, places: Node) -> Node:
    """The elements with their rows in the order of P^T A."""
    return find("take").apply(reshape.apply(LD, shape=(numel(LD.shape),)), places)


def _lower(LD: Node, places: Node, masks: _Masks) -> Node:
    """L, with ones on its diagonal."""
    below = compare.where.apply(masks.below, _taken(LD, places), 0.0)
    return below + identity(LD.shape[-1], LD, LD.shape[:-2])


def _whole(LD: Node, masks: _Masks, hermitian: bool) -> Node:
    """D, of its lower half."""
    half = compare.where.apply(masks.blocks, LD, 0.0)
    diagonal = compare.where.apply(compare.ne.apply(identity(LD.shape[-1], LD), 0.0), half, 0.0)
    strict = half - diagonal
    return half + (adjoint(strict) if hermitian else turned(strict))


@public("linalg")
def ldl_factor_ex(
    A: Node, *, hermitian: bool = False, check_errors: bool = False
) -> LDLFactorExResult:
    """As `ldl_factor` without an error for a singular D: info says which element of it is 0.

    Args:
        check_errors: raise as `ldl_factor` does.

    >>> ldl_factor_ex(tensor([[0.0, 0.0], [0.0, 1.0]])).info
    tensor(1, dtype=numbatorch.int32)
    """
    check("linalg.ldl_factor_ex", A, square=True)
    attrs = {"hermitian": hermitian, "check_errors": check_errors}
    return LDLFactorExResult(*ldl_factor_.parts(mirrored(A, True, conjugate=hermitian), **attrs))


@public("linalg")
def ldl_factor(A: Node, *, hermitian: bool = False) -> LDLFactorResult:
    """The decomposition P^T A P = L D L^T of symmetric matrices as LAPACK keeps it.

    Args:
        A: (..., N, N), of which the lower triangle is read.
        hermitian: complex matrices are Hermitian, and L D L^H; real ones are both.
    Returns:
        LD (..., N, N): blocks of D, 1x1 and 2x2, on the diagonal, and L below them; and pivots
        (..., N) of int32, negative in both rows of a block of two. `ldl_solve` takes both.
    Raises:
        nt.LinAlgError: D is singular; raised when the value is computed.

    >>> from numbatorch import tensor
    >>> ldl_factor(tensor([[2.0, 0.0], [2.0, 1.0]])).LD.tolist()
    [[2.0, 0.0], [1.0, -1.0]]
    """
    check("linalg.ldl_factor", A, square=True)
    found: LDLFactorExResult = ldl_factor_ex(A, hermitian=hermitian, check_errors=True)
    return LDLFactorResult(*found[:2])


@public("linalg")
def ldl_solve(LD: Node, pivots: Node, B: Node, *, hermitian: bool = False) -> Node:
    """X with A X = B, A given by `ldl_factor`; batches broadcast.

    Args:
        LD, pivots: (..., N, N) and (..., N).
        B: (..., N, K).
        hermitian: as it was for `ldl_factor`.
    Raises:
        nt.LinAlgError: D is singular; raised when the value is computed.

    >>> from numbatorch import tensor
    >>> LD, pivots = ldl_factor(tensor([[0.0, 2.0], [2.0, 0.0]]))
    >>> ldl_solve(LD, pivots, tensor([[2.0], [4.0]])).tolist()
    [[2.0], [1.0]]
    """
    batch, _, N = check("linalg.ldl_solve", LD, square=True)
    check("linalg.ldl_solve", B)
    check_alike("linalg.ldl_solve", LD, B)
    check_pivots("linalg.ldl_solve", LD, pivots)
    if pivots.shape != (*batch, N) or B.shape[-2] != N:
        rows = [f"LD {describe(LD)}", f"pivots {describe(pivots)}", f"B {describe(B)}"]
        problem = "shapes must be (..., N, N), (..., N) and (..., N, K)"
        raise ShapeError(message("linalg.ldl_solve", problem, *rows))
    order, places, paired = ldl_places_.parts(pivots)
    masks, P = _masks(paired), permutation(order, LD)
    L = _lower(LD, places, masks)
    found = triangular(L, product(turned(P), B), False, True)
    found = solved("linalg.ldl_solve", _whole(LD, masks, hermitian), found)
    return product(P, triangular(adjoint(L) if hermitian else turned(L), found, True, True))
