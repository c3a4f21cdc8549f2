"""Functions of matrices: pseudoinverse, least squares, exponential, powers, ranks, chains."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import lapack, view
from numbatorch.ops.host import scipy
from numbatorch.ops.linalg import inv_, solve
from numbatorch.ops.matmul import multiplied
from numbatorch.ops.matrices import (
    DTYPES,
    Outputs,
    adjoint,
    any_sample,
    check,
    check_alike,
    each,
    identity,
    joint_batch,
    mirrored,
    product,
    square_sample,
    together,
    without_slope,
)
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduce import reduced, sum_
from numbatorch.ops.spectra import eigvalsh, svdvals, svdvals_
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, broadcast, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Number = int | float
Tolerance = float | Node | None


def _singular(A: Node, hermitian: bool) -> Node:
    """Sizes of the singular values, without a gradient; the largest is their maximum."""
    fixed = find("detach").apply(A)
    return find("abs").apply(eigvalsh(fixed)) if hermitian else svdvals(fixed)


def _tolerances(operator: str, A: Node, atol: Tolerance, rtol: Tolerance) -> tuple[Node, Node]:
    """What counts as zero among singular values, by itself and beside the largest."""
    real, epsilon = A.dtype.part, float(np.finfo(A.dtype.part.numpy).eps) * max(A.shape[-2:])

    def number(given: Tolerance, default: float) -> Node:
        if isinstance(given, Node):
            if given.dtype.is_complex:
                raise DTypeError(message(operator, f"a tolerance is {describe(given)}"))
            return find("detach").apply(as_node(given, real, A.device))
        value = default if given is None else given
        return const(float(value), real, A.device)

    if rtol is not None:
        return number(atol, 0.0), number(rtol, 0.0)
    if isinstance(atol, Node):
        above = find("gt").apply(number(atol, 0.0), 0)
        return number(atol, 0.0), find("where").apply(above, const(0.0, real, A.device), epsilon)
    return number(atol, 0.0), number(None, 0.0 if atol is not None and atol > 0 else epsilon)


@structured(dtypes=DTYPES, source="https://doi.org/10.1137/0710036", reports=True)
def pinv_(A: Array, atol: Array, rtol: Array) -> Array:
    """The pseudoinverse; singular values up to max(atol, rtol * the largest) count as zero."""
    U, S, Vh = lapack.svd(A, full_matrices=False)
    keep = S > np.maximum(atol, rtol * S.max(-1))[..., None]
    inverse = np.where(keep, 1 / np.where(keep, S, 1), 0)
    V, Uh = Vh.conj().swapaxes(-1, -2), U.conj().swapaxes(-1, -2)
    return np.asarray((V * inverse[..., None, :]) @ Uh, A.dtype)


@pinv_.infer
def _(A: Node, atol: Node, rtol: Node) -> tuple[Shape, DType]:
    batch, M, N = check("linalg.pinv", A)
    return (*batch, N, M), A.dtype


@pinv_.vjp
def _(g: Node, y: Node, A: Node, atol: Node, rtol: Node) -> tuple[Node, None, None]:
    return _pinv_gradient(g, y, A), None, None


def _pinv_gradient(g: Node, y: Node, A: Node) -> Node:
    """-Y^H g Y^H + (1 - A Y) g^H Y Y^H + Y^H Y g^H (1 - Y A), for a rank that stays."""
    turned = adjoint(g)
    found = -product(adjoint(y), g, adjoint(y))
    right = product(turned, y, adjoint(y))
    found = found + right - product(A, y, right)
    left = product(adjoint(y), y, turned)
    return found + left - product(left, y, A)


pinv_.peer = "torch.linalg.pinv"


@pinv_.samples
def _(rng: Draw) -> Any:
    (A,), _ = any_sample(rng)
    return [A, np.full(A.shape[:-2], 0.1), np.full(A.shape[:-2], 1e-3)], {}


@public("linalg")
def pinv(
    A: Node,
    rcond: float | Node | None = None,
    hermitian: bool = False,
    *,
    atol: float | Node | None = None,
    rtol: float | Node | None = None,
) -> Node:
    """The Moore-Penrose pseudoinverse of each matrix of A (..., M, N).

    Singular values up to max(atol, rtol * the largest) count as zero.

    Args:
        rcond: another name of rtol.
        hermitian: A is Hermitian, of which the lower triangle is read.
        rtol: max(M, N) times the distance from 1 to the next float unless given, 0 beside an atol.
    Returns:
        (..., N, M). The gradient is that of matrices of the same rank.

    >>> from numbatorch import tensor
    >>> pinv(tensor([[2.0], [0.0]])).tolist()
    [[0.5, 0.0]]
    """
    check("linalg.pinv", A, square=hermitian)
    whole = A
    if hermitian:
        whole = mirrored(A, True)
    if numel(A.shape) == 0:
        return adjoint(A) * 1.0
    relative = rtol if rcond is None else rcond
    limits = _tolerances("linalg.pinv", A, atol, relative)
    return pinv_.apply(whole, *(expanded(limit, A.shape[:-2]) for limit in limits))


@public("linalg")
def matrix_rank(
    A: Node,
    tol: float | Node | None = None,
    hermitian: bool = False,
    *,
    atol: float | Node | None = None,
    rtol: float | Node | None = None,
) -> Node:
    """How many singular values of each matrix are above max(atol, rtol * the largest), in int64.

    Args:
        tol: what counts as zero; another name of atol, with an rtol of 0.
        hermitian: A is Hermitian, of which the lower triangle is read.
        rtol: as `pinv` takes it.

    >>> from numbatorch import tensor
    >>> matrix_rank(tensor([[1.0, 0.0], [0.0, 0.0]])).item()
    1
    """
    check("linalg.matrix_rank", A, square=hermitian)
    values = _singular(A, hermitian)
    if tol is not None:
        atol, rtol = tol, 0.0
    if values.shape[-1] == 0:
        return const(0, dt.int64, A.device, A.shape[:-2])
    least, share = _tolerances("linalg.matrix_rank", A, atol, rtol)
    largest = reduced(find("max"), values, -1)  # type: ignore[arg-type]
    cut = find("maximum").apply(least, share * largest)
    shape = (*broadcast("linalg.matrix_rank", cut.shape, A.shape[:-2]), values.shape[-1])
    found = find("gt").apply(expanded(values, shape), expanded(view.unsqueeze(cut, -1), shape))
    return reduced(sum_, as_node(found, dt.int64, A.device), -1)


class LstsqResult(NamedTuple):
    """The solution, its squared residuals, the ranks and the singular values, where there are."""

    solution: Node
    residuals: Node
    rank: Node
    singular_values: Node


Driver = Literal["gels", "gelsy", "gelsd", "gelss"]


@structured(dtypes=DTYPES, source="https://doi.org/10.1137/0710036", reports=True)
def lstsq_(
    A: Array, B: Array, *, rcond: float | None, driver: Driver
) -> tuple[Array, Array, Array]:
    """X with the least |A X - B|, and of these the least X; ranks and singular values."""
    M, N = A.shape[-2:]
    routine = "gelsd" if driver == "gels" else driver

    def one(matrix: Array, right: Array) -> tuple[Array, int, Array]:
        if not (np.isfinite(matrix).all() and np.isfinite(right).all()):
            gone = np.full((N, right.shape[-1]), np.nan)
            return gone, 0, np.full((1, min(M, N)), np.nan)
        cut = float(np.finfo(A.dtype).eps) * max(M, N) if rcond is None else rcond
        cut = float(np.finfo(A.dtype).eps) if cut < 0 else cut
        found = scipy("linalg").lstsq(
            matrix, right, cond=cut, lapack_driver=routine, check_finite=False
        )
        values = found[3] if found[3] is not None else np.zeros(min(M, N))
        return found[0], found[2], values[None]

    if not A.size or not B.size:
        shape, K = (*A.shape[:-2], N, B.shape[-1]), min(M, N)
        ranks = np.zeros(A.shape[:-2], np.int64)
        return np.zeros(shape, A.dtype), ranks, np.zeros((*A.shape[:-2], K), A.real.dtype)
    found = each(one, A, B)
    return (
        together([x for x, *_ in found], (*A.shape[:-2], N, B.shape[-1]), A.dtype),
        np.array([rank for _, rank, _ in found], np.int64).reshape(A.shape[:-2]),
        together([s for *_, s in found], (*A.shape[:-2], min(M, N)), A.real.dtype),
    )


@lstsq_.infer
def _(A: Node, B: Node, *, rcond: float | None, driver: Driver) -> Outputs:
    batch, M, N = check("linalg.lstsq", A)
    return [
        ((*batch, N, B.shape[-1]), A.dtype),
        (batch, dt.int64),
        ((*batch, min(M, N)), A.dtype.part),
    ]


@lstsq_.vjp
def _(g: Any, y: Any, A: Node, B: Node, *, rcond: float | None, driver: Driver) -> Any:
    """As that of pinv(A) B."""
    found, back = None, None
    if g[0] is not None:
        inverse = pinv(A)
        back = product(adjoint(inverse), g[0])
        found = _pinv_gradient(product(g[0], adjoint(B)), inverse, A)
    if g[2] is not None:
        assert svdvals_.gradient is not None
        slope = svdvals_.gradient(g[2], y[2], A)
        found = slope if found is None else found + slope
    return found, back


@lstsq_.samples
def _(rng: Draw) -> Any:
    (A,), _ = any_sample(rng)
    attrs = {"rcond": None, "driver": "gelsd"}
    return [A, rng.standard_normal((2, A.shape[-2], int(rng.integers(1, 4))))], attrs


def least_squares(A: Node, b: Node, rcond: float | None, driver: Driver | None) -> LstsqResult:
    """`linalg.lstsq` as if every matrix had full rank, which residuals are given for."""
    _, M, N = check("linalg.lstsq", A)
    check_alike("linalg.lstsq", A, b, "b")
    vector = len(b.shape) == len(A.shape) - 1 and b.shape == A.shape[:-1]
    right = view.unsqueeze(b, -1) if vector else b
    if len(right.shape) < 2 or right.shape[-2] != M:
        rows = (f"A {describe(A)}", f"b {describe(b)}")
        raise ShapeError(message("linalg.lstsq", "A and b have different numbers of rows", *rows))
    A, right = joint_batch("linalg.lstsq", A, right)
    chosen: Driver = "gelsy" if driver is None else driver
    solution, rank, values = lstsq_.parts(A, right, rcond=rcond, driver=chosen)
    none = const(0.0, A.dtype.part, A.device, (0,))
    residuals = none
    if M > N and chosen != "gelsy":
        apart = find("abs").apply(product(A, solution) - right)
        residuals = reduced(sum_, apart * apart, -2)
    if vector:
        solution = view.reshape.apply(solution, shape=solution.shape[:-1])
    return LstsqResult(
        solution,
        residuals,
        const(0, dt.int64, A.device, (0,)) if chosen == "gels" else rank,
        values if chosen in ("gelsd", "gelss") else none,
    )


@structured(dtypes=DTYPES, source="https://doi.org/10.1137/080718024", reports=True)
def matrix_exp_(A: Array) -> Array:
    """1 + A + A^2 / 2 + A^3 / 6 + ... of each matrix."""
    if not A.size:
        return np.zeros(A.shape, A.dtype)
    if not np.isfinite(A).all():  # NaN spreads, where SciPy may not come to an end
        finite = np.isfinite(A).all((-1, -2), keepdims=True)
        found = scipy("linalg").expm(np.where(finite, A, 0))
        return np.where(finite, found, np.nan).astype(A.dtype)
    return np.asarray(scipy("linalg").expm(A), A.dtype)


@matrix_exp_.infer
def _(A: Node) -> tuple[Shape, DType]:
    check("linalg.matrix_exp", A, square=True)
    return A.shape, A.dtype


@matrix_exp_.vjp
def _(g: Node, y: Node, A: Node) -> Node:
    """The upper right part of exp([[A^H, g], [0, A^H]])."""
    N = A.shape[-1]
    turned = adjoint(A)
    zeros = const(0.0, A.dtype, A.device, A.shape)
    whole = view.cat([view.cat([turned, g], -1), view.cat([zeros, turned], -1)], -2)
    return view.narrow(view.narrow(matrix_exp_.apply(whole), -2, 0, N), -1, N, N)


matrix_exp_.samples(square_sample)
matrix_exp_.peer = "torch.linalg.matrix_exp"


@public("nt", "Tensor", "linalg")
def matrix_exp(A: Node) -> Node:
    """The exponential of each matrix of A (..., N, N): 1 + A + A^2 / 2 + A^3 / 6 + ...

    Source: https://doi.org/10.1137/080718024

    >>> from numbatorch import tensor
    >>> matrix_exp(tensor([[0.0, 1.0], [0.0, 0.0]])).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    half = A.dtype in (dt.float16, dt.bfloat16)
    found = matrix_exp_.apply(as_node(A, dt.float32, A.device) if half else A)
    return as_node(found, A.dtype, A.device)


@public("linalg")
def matrix_power(A: Node, n: int) -> Node:
    """Each matrix to the power of n: for n < 0 that of the inverse, for 0 the identity.

    >>> from numbatorch import tensor
    >>> matrix_power(tensor([[1.0, 1.0], [0.0, 1.0]]), 3).tolist()
    [[1.0, 3.0], [0.0, 1.0]]
    """
    if A.dtype.kind in "iu" and n >= 0 and len(A.shape) >= 2 and A.shape[-1] == A.shape[-2]:
        batch, N = A.shape[:-2], A.shape[-1]
    else:
        batch, _, N = check("linalg.matrix_power", A, square=True)
    if n == 0:
        return without_slope(expanded(identity(N, A), (*batch, N, N)), A)
    base, left = (inv_.apply(A) if n < 0 else A), abs(n)
    found: Node | None = None
    while left:
        if left % 2:
            found = base if found is None else multiplied(found, base)
        left //= 2
        base = multiplied(base, base) if left else base
    assert found is not None
    return found


@public("linalg")
def multi_dot(tensors: Sequence[Node]) -> Node:
    """The product of matrices, in the order that takes the fewest multiplications.

    The first may be a row (N,) and the last a column (N,).

    Raises:
        ShapeError: there are fewer than two tensors, or inner dimensions differ.

    >>> from numbatorch import tensor
    >>> multi_dot([tensor([[1, 2]]), tensor([[1], [1]]), tensor([[3]])]).tolist()
    [[9]]
    """
    if len(tensors) < 2:
        raise ShapeError(message("linalg.multi_dot", f"needs two tensors, not {len(tensors)}"))
    for place, x in enumerate(tensors):
        ends = place in (0, len(tensors) - 1)
        if len(x.shape) != 2 and not (ends and len(x.shape) == 1):
            problem = f"tensor {place} is not a matrix"
            raise ShapeError(message("linalg.multi_dot", problem, describe(x)))
        check_alike("linalg.multi_dot", tensors[0], x, f"tensor {place}")
    chain = list(tensors)
    row, column = len(chain[0].shape) == 1, len(chain[-1].shape) == 1
    chain[0] = view.unsqueeze(chain[0], 0) if row else chain[0]
    chain[-1] = view.unsqueeze(chain[-1], 1) if column else chain[-1]
    for lhs, rhs in itertools.pairwise(chain):
        if lhs.shape[1] != rhs.shape[0]:
            rows = (describe(lhs), describe(rhs))
            raise ShapeError(message("linalg.multi_dot", "inner dimensions differ", *rows))
    found = _in_order(chain)
    shape = found.shape[int(row) : 2 - int(column)]
    return found if shape == found.shape else view.reshape.apply(found, shape=shape)


def _in_order(chain: Sequence[Node]) -> Node:
    """Source: https://en.wikipedia.org/wiki/Matrix_chain_multiplication"""
    sizes = [chain[0].shape[0], *(x.shape[1] for x in chain)]

    @functools.cache
    def best(first: int, last: int) -> tuple[int, int]:
        """The multiplications that matrices first to last take, and where to split them."""
        if first == last:
            return 0, first
        return min(
            (
                best(first, k)[0]
                + best(k + 1, last)[0]
                + sizes[first] * sizes[k + 1] * sizes[last + 1],
                k,
            )
            for k in range(first, last)
        )

    def multiply(first: int, last: int) -> Node:
        if first == last:
            return chain[first]
        split = best(first, last)[1]
        return multiplied(multiply(first, split), multiply(split + 1, last))

    return multiply(0, len(chain) - 1)


@public("linalg")
def tensorinv(A: Node, ind: int = 2) -> Node:
    """The inverse for `tensordot`: of the first `ind` dimensions as rows, the others as columns.

    Raises:
        ShapeError: the first `ind` sizes multiply to another number than the rest.

    >>> from numbatorch import tensor
    >>> tensorinv(tensor([[2.0]]), 1).tolist()
    [[0.5]]
    """
    if ind <= 0:
        raise ShapeError(message("linalg.tensorinv", f"ind is {ind}, not above 0"))
    rows, columns = A.shape[:ind], A.shape[ind:]
    if numel(rows) != numel(columns):
        problem = f"{rows} are not as many as {columns}"
        raise ShapeError(message("linalg.tensorinv", problem, f"A {describe(A)}"))
    square = view.reshape.apply(A, shape=(numel(rows), numel(columns)))
    return view.reshape.apply(inv_.apply(square), shape=(*columns, *rows))


@public("linalg")
def tensorsolve(A: Node, other: Node, dims: Sequence[int] | None = None) -> Node:
    """X with tensordot(A, X, X.ndim) = other.

    Args:
        A: (*other.shape, *X.shape), once `dims` have been moved to the end.
    Raises:
        ShapeError: A is not square over `other`.

    >>> from numbatorch import tensor
    >>> tensorsolve(tensor([[2.0]]), tensor([4.0])).tolist()
    [2.0]
    """
    if dims is not None:
        rank = len(A.shape)
        last = [d % rank for d in dims]
        A = view.permute.apply(A, dims=(*[d for d in range(rank) if d not in last], *last))
    shape = A.shape[len(other.shape) :]
    if numel(shape) != numel(other.shape) or numel(A.shape) != numel(other.shape) ** 2:
        rows = (f"A {describe(A)}", f"other {describe(other)}")
        raise ShapeError(message("linalg.tensorsolve", "A is not square over other", *rows))
    square = view.reshape.apply(A, shape=(numel(other.shape), numel(shape)))
    found = solve(square, view.reshape.apply(other, shape=(numel(other.shape),)))
    return view.reshape.apply(found, shape=shape)
