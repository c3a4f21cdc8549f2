"""QR and LU factors of matrices, determinants, and what is solved with factors; by LAPACK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, GradientError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import lapack
from numbatorch.ops.host import scipy
from numbatorch.ops.index import in_bounds
from numbatorch.ops.linalg import triangular
from numbatorch.ops.matrices import (
    DTYPES,
    Outputs,
    adjoint,
    any_sample,
    check,
    check_alike,
    each,
    identity,
    on_diagonal,
    or_zeros,
    product,
    together,
    triangle,
    turned,
    within,
)
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.parts import real_
from numbatorch.ops.strided import diagonal
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat, narrow
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]

MANUAL = "https://github.com/pytorch/pytorch/blob/main/torch/csrc/autograd/FunctionsManual.cpp"


class QRResult(NamedTuple):
    """Q with orthonormal columns and R, upper triangular."""

    Q: Node
    R: Node


@structured(dtypes=DTYPES, source="https://arxiv.org/abs/1710.08717", reports=True)
def qr_(A: Array, *, mode: Literal["reduced", "complete"]) -> tuple[Array, Array]:
    """A = Q R with orthonormal columns in Q and R upper triangular."""
    return lapack.qr(A, mode)


@qr_.infer
def _(A: Node, *, mode: str) -> Outputs:
    batch, M, N = check("linalg.qr", A)
    inner = min(M, N) if mode == "reduced" else M
    return [((*batch, M, inner), A.dtype), ((*batch, inner, N), A.dtype)]


@qr_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node, *, mode: str) -> Node:
    Q, R = y
    M, N = A.shape[-2:]
    gQ, gR = (or_zeros(part, like) for part, like in zip(g, y, strict=True))
    if M > N and mode == "complete" and within(g[0], -1, N) and within(g[1], -2, N):
        Q, R, gQ, gR = (narrow(x, d, 0, N) for x, d in ((Q, -1), (R, -2), (gQ, -1), (gR, -2)))
    elif M > N and mode == "complete":
        problem = "the columns of Q beyond those of A have no gradient"
        raise GradientError(message("linalg.qr", problem, describe(A), "mode is 'complete'"))
    if M >= N:
        return _qr_gradient(gQ, gR, Q, R)
    left, right = narrow(A, -1, 0, M), narrow(A, -1, M, N - M)
    gR_left, gR_right = narrow(gR, -1, 0, M), narrow(gR, -1, M, N - M)
    gQ = gQ + product(right, adjoint(gR_right))
    g_left = _qr_gradient(gQ, gR_left, Q, narrow(R, -1, 0, left.shape[-1]))
    return cat([g_left, product(Q, gR_right)], -1)


def _qr_gradient(gQ: Node, gR: Node, Q: Node, R: Node) -> Node:
    """Of A with no more columns than rows: (gQ + Q symmetric(gR R^H - Q^H gQ)) R^-H."""
    inner = product(gR, adjoint(R)) - product(adjoint(Q), gQ)
    above = triangle(inner, False, False)
    along = diagonal.apply(inner, offset=0, dim1=len(inner.shape) - 2, dim2=len(inner.shape) - 1)
    if along.dtype.is_complex:
        along = as_node(real_.apply(along), inner.dtype, inner.device)
    inner = above + adjoint(above) + on_diagonal(along)
    return adjoint(triangular(R, adjoint(gQ + product(Q, inner)), True))


def _qr_sample(rng: Draw) -> Any:
    return any_sample(rng)[0], {"mode": "reduced"}


qr_.samples(_qr_sample)


@public("linalg")
def qr(A: Node, mode: Literal["reduced", "complete", "r"] = "reduced") -> QRResult:
    """The decomposition A = Q R, Q with orthonormal columns, R upper triangular.

    Args:
        A: (..., M, N).
        mode: "reduced" for Q (..., M, K) and R (..., K, N); "complete" for (..., M, M) and
            (..., M, N); "r" for the R of "reduced" alone, and an empty Q.

    >>> from numbatorch import tensor
    >>> Q, R = qr(tensor([[0.0, 2.0], [1.0, 0.0]]))
    >>> (Q @ R).tolist()
    [[0.0, 2.0], [1.0, 0.0]]
    """
    found = QRResult(*qr_.parts(A, mode="reduced" if mode == "r" else mode))
    if mode != "r":
        return found
    return QRResult(const(0.0, A.dtype, A.device, (0,)), found.R)


class LUResult(NamedTuple):
    """A permutation P (..., M, M), L (..., M, K) unit lower, U (..., K, N) upper triangular."""

    P: Node
    L: Node
    U: Node


@structured(dtypes=DTYPES, source=MANUAL, reports=True)
def lu_(A: Array) -> tuple[Array, Array, Array]:
    """A = P L U with partial pivoting."""
    if not A.size:
        M, N = A.shape[-2:]
        shapes = ((M, min(M, N)), (min(M, N), N))
        P = np.broadcast_to(np.eye(M, dtype=A.dtype), (*A.shape[:-1], M))
        L, U = (np.zeros((*A.shape[:-2], *shape), A.dtype) for shape in shapes)
        return P, L, U
    P, L, U = scipy("linalg").lu(A, check_finite=False)
    return P.astype(A.dtype), L, U


@lu_.infer
def _(A: Node) -> Outputs:
    batch, M, N = check("linalg.lu", A)
    K = min(M, N)
    return [((*batch, *size), A.dtype) for size in ((M, M), (M, K), (K, N))]


@lu_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node) -> Node:
    P, L, U = y
    return lu_gradient(or_zeros(g[1], L), or_zeros(g[2], U), P, L, U)


def lu_gradient(gL: Node, gU: Node, P: Node, L: Node, U: Node) -> Node:
    """P L^-H (lower half of L^H gL + upper half of gU U^H) U^-H, for matrices of any sizes."""
    M, N, K = L.shape[-2], U.shape[-1], L.shape[-1]
    L1, gL1, U1, gU1 = (narrow(x, d, 0, K) for x, d in ((L, -2), (gL, -2), (U, -1), (gU, -1)))
    below, above = product(adjoint(L1), gL1), product(gU1, adjoint(U1))
    rest = []
    if N > K:
        gU2 = narrow(gU, -1, K, N - K)
        below = below - product(gU2, adjoint(narrow(U, -1, K, N - K)))
        rest.append(triangular(adjoint(L1), gU2, True, True))
    if M > K:
        gL2 = narrow(gL, -2, K, M - K)
        above = above - product(adjoint(narrow(L, -2, K, M - K)), gL2)
        rest.append(adjoint(triangular(U1, adjoint(gL2), True)))
    inner = triangle(below, True, False) + triangle(above, False, True)
    inner = adjoint(triangular(U1, adjoint(inner), True))
    found = cat([triangular(adjoint(L1), inner, True, True), *rest], -1 if N > K else -2)
    return product(P, found)


lu_.samples(any_sample)
lu_.peer = "torch.linalg.lu"


def _pivoting(operator: str, pivot: bool) -> None:
    if not pivot:
        problem = "needs pivots: LAPACK has no decomposition without them"
        raise NotImplementedError(message(operator, problem))


@public("linalg")
def lu(A: Node, *, pivot: bool = True) -> LUResult:
    """The decomposition A = P L U with partial pivoting.

    Args:
        A: (..., M, N).
        pivot: it has to be True, as on PyTorch's CPUs.
    Returns:
        a permutation P (..., M, M), L (..., M, K) with ones on its diagonal, U (..., K, N).

    >>> from numbatorch import tensor
    >>> lu(tensor([[0.0, 2.0], [1.0, 0.0]])).P.tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    _pivoting("linalg.lu", pivot)
    return LUResult(*lu_.parts(A))


class LUFactorResult(NamedTuple):
    """L below the diagonal and U (..., M, N), and the row (from 1) that row i changed with."""

    LU: Node
    pivots: Node


@structured(dtypes=DTYPES, source=MANUAL, reports=True)
def lu_factor_(A: Array, *, check_errors: bool) -> tuple[Array, Array, Array]:
    """L and U in one matrix, pivots counted from 1, and the number of the first zero pivot or 0.

    Args:
        check_errors: a zero pivot is an error.
    """
    (getrf,) = scipy("linalg").lapack.get_lapack_funcs(("getrf",), (A,))
    K = min(A.shape[-2:])
    found = each(getrf, A) if K else []
    pivots = [(places + 1).astype(np.int32)[None] for _, places, _ in found]
    infos = np.array([info for *_, info in found] or np.zeros(A.shape[:-2]), np.int32)
    if check_errors and infos.any():
        raise np.linalg.LinAlgError(f"pivot {infos[infos > 0][0]} of a matrix is zero")
    return (
        together([factors for factors, *_ in found], A.shape, A.dtype),
        together(pivots, (*A.shape[:-2], K), np.int32),
        infos.reshape(A.shape[:-2]),
    )


@lu_factor_.infer
def _(A: Node, *, check_errors: bool) -> Outputs:
    batch, M, N = check("linalg.lu_factor", A)
    return [(A.shape, A.dtype), ((*batch, min(M, N)), dt.int32), (batch, dt.int32)]


@lu_factor_.vjp
def _(
    g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node, *, check_errors: bool
) -> Node | None:
    if g[0] is None:
        return None
    M, N = A.shape[-2:]
    K = min(M, N)
    P, L, U = unpacked(y[0], y[1])
    gL = triangle(narrow(g[0], -1, 0, K), True, False)
    return lu_gradient(gL, triangle(narrow(g[0], -2, 0, K), False, True), P, L, U)


lu_factor_.samples(lambda rng: (any_sample(rng)[0], {"check_errors": False}))
lu_factor_.peer = "torch.linalg.lu_factor_ex"


@public("linalg")
def lu_factor(A: Node, *, pivot: bool = True) -> LUFactorResult:
    """The decomposition of `lu` as LAPACK keeps it, for `lu_solve`.

    Args:
        A: (..., M, N).
    Returns:
        LU (..., M, N), and pivots (..., K) of int32: row i was exchanged with row pivots[i] - 1.
    Raises:
        nt.LinAlgError: a pivot is zero; raised when the value is computed.

    >>> from numbatorch import tensor
    >>> lu_factor(tensor([[0.0, 2.0], [1.0, 0.0]])).pivots.tolist()
    [2, 2]
    """
    _pivoting("linalg.lu_factor", pivot)
    return LUFactorResult(*lu_factor_.parts(A, check_errors=True)[:2])


class LUFactorExResult(NamedTuple):
    """As LUFactorResult, and info (...): 0, or which pivot of a singular matrix is 0."""

    LU: Node
    pivots: Node
    info: Node


@public("linalg")
def lu_factor_ex(A: Node, *, pivot: bool = True, check_errors: bool = False) -> LUFactorExResult:
    """As `lu_factor` without an error for a zero pivot: info has the number of the first, or 0.

    Args:
        check_errors: raise as `lu_factor` does.

    >>> lu_factor_ex(tensor([[0.0, 0.0], [0.0, 1.0]])).info
    tensor(1, dtype=numbatorch.int32)
    """
    _pivoting("linalg.lu_factor_ex", pivot)
    return LUFactorExResult(*lu_factor_.parts(A, check_errors=check_errors))


@structured(dtypes=(dt.int32,), differentiable=False, reports=True)
def pivots_to_permutation_(pivots: Array, *, size: int) -> Array:
    """P as the places of its rows: row perm[i] of the product P X is row i of X."""
    flat = in_bounds(pivots, size + 1, 1).reshape(-1, pivots.shape[-1]) - 1
    found = np.tile(np.arange(size), (len(flat), 1))
    rows = np.arange(len(flat))
    for i in range(flat.shape[1]):
        other = found[rows, flat[:, i]]
        found[rows, flat[:, i]] = found[:, i].copy()
        found[:, i] = other
    return np.ascontiguousarray(found.reshape(*pivots.shape[:-1], size))


@pivots_to_permutation_.infer
def _(pivots: Node, *, size: int) -> tuple[Shape, DType]:
    return (*pivots.shape[:-1], size), dt.int64


@pivots_to_permutation_.samples
def _(rng: Draw) -> Any:
    size = int(rng.integers(1, 5))
    pivots = [rng.integers(i, size, 2) + 1 for i in range(size)]
    return [np.stack(pivots, -1).astype(np.int32)], {"size": size}


def _permutation(pivots: Node, size: int, like: Node) -> Node:
    """(..., M, M) in the dtype of `like`."""
    return permutation(pivots_to_permutation_.apply(pivots, size=size), like)


def permutation(places: Node, like: Node) -> Node:
    """P (..., M, M), of whose product P X row places[i] is row i of X, in the dtype of `like`."""
    from numbatorch.ops.compare import eq
    from numbatorch.ops.create import iota
    from numbatorch.ops.view import unsqueeze

    size = places.shape[-1]
    shape = (*places.shape, size)
    rows = expanded(unsqueeze(iota(size, like.device), -1), shape)
    ones = eq.apply(rows, expanded(unsqueeze(places, -2), shape))
    return as_node(ones, like.dtype, like.device)


def unpacked(LU: Node, pivots: Node) -> tuple[Node, Node, Node]:
    """P, L and U of what `lu_factor` gives."""
    M, N = LU.shape[-2:]
    K = min(M, N)
    L = triangle(narrow(LU, -1, 0, K), True, False)
    one = narrow(identity(M, LU, LU.shape[:-2]), -1, 0, K)
    return _permutation(pivots, M, LU), L + one, triangle(narrow(LU, -2, 0, K), False, True)


@public("nt")
def lu_unpack(
    LU_data: Node, LU_pivots: Node, unpack_data: bool = True, unpack_pivots: bool = True
) -> LUResult:
    """P, L and U of what `linalg.lu_factor` gives; empty ones for what is not asked for.

    Returns:
        P (..., M, M), L (..., M, K) and U (..., K, N), K the lesser of M and N: A = P L U.

    >>> P, L, U = lu_unpack(*nt.linalg.lu_factor(tensor([[0.0, 2.0], [4.0, 0.0]])))
    >>> (P @ L @ U).tolist()
    [[0.0, 2.0], [4.0, 0.0]]
    """
    check("lu_unpack", LU_data)
    check_pivots("lu_unpack", LU_data, LU_pivots)
    P, L, U = unpacked(LU_data, LU_pivots)
    none = const(0.0, LU_data.dtype, LU_data.device, (0,))
    P = P if unpack_pivots else none
    return LUResult(P, *((L, U) if unpack_data else (none, none)))


def check_pivots(operator: str, LU: Node, pivots: Node) -> None:
    """Raise unless pivots are int32, one for each row that was exchanged."""
    rows = (f"LU {describe(LU)}", f"pivots {describe(pivots)}")
    if pivots.dtype is not dt.int32:
        raise DTypeError(message(operator, "pivots must be int32", *rows))
    if not pivots.shape or pivots.shape[-1] != min(LU.shape[-2:]):
        raise ShapeError(message(operator, "there is not one pivot for each row", *rows))


@public("linalg")
def lu_solve_(LU: Node, pivots: Node, B: Node, *, left: bool = True, adjoint: bool = False) -> Node:
    """X with A X = B, or X A = B if not `left`, A given by `lu_factor`; batches broadcast.

    Args:
        LU, pivots: (..., N, N) and (..., N).
        B: (..., N, K), or (..., K, N) if not `left`.
        adjoint: solve with A^H for A.

    >>> from numbatorch import linalg, tensor
    >>> LU, pivots = lu_factor(tensor([[2.0, 0.0], [0.0, 4.0]]))
    >>> linalg.lu_solve(LU, pivots, tensor([[2.0], [2.0]])).tolist()
    [[1.0], [0.5]]
    """
    check("linalg.lu_solve", LU, square=True)
    check("linalg.lu_solve", B)
    check_alike("linalg.lu_solve", LU, B)
    check_pivots("linalg.lu_solve", LU, pivots)
    return _lu_solved(LU, pivots, B, left, adjoint)


def _lu_solved(LU: Node, pivots: Node, B: Node, left: bool, conjugate: bool) -> Node:
    if not left:
        return adjoint(_lu_solved(LU, pivots, adjoint(B), True, not conjugate))
    P = _permutation(pivots, LU.shape[-1], LU)
    if conjugate:  # A^H = U^H L^H P^H
        inner = triangular(adjoint(LU), B, False)
        return product(P, triangular(adjoint(LU), inner, True, True))
    inner = triangular(LU, product(turned(P), B), False, True)
    return triangular(LU, inner, True)


@public("nt", "Tensor")
def lu_solve(b: Node, LU_data: Node, LU_pivots: Node) -> Node:
    """X (..., N, K) with A X = b, from what `linalg.lu_factor` gives; as `linalg.lu_solve`.

    >>> LU, pivots = nt.linalg.lu_factor(tensor([[0.0, 2.0], [4.0, 0.0]]))
    >>> lu_solve(tensor([[2.0], [4.0]]), LU, pivots)
    tensor([[1.],
            [1.]])
    """
    check("lu_solve", LU_data, square=True)
    check("lu_solve", b)
    check_alike("lu_solve", LU_data, b)
    check_pivots("lu_solve", LU_data, LU_pivots)
    return _lu_solved(LU_data, LU_pivots, b, True, False)
