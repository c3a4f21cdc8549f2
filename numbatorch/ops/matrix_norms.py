"""Norms and condition numbers of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType, Like
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import view
from numbatorch.ops.composed import composed
from numbatorch.ops.distance import find_norm
from numbatorch.ops.linalg import inv_ex_
from numbatorch.ops.matrices import DTYPES, any_sample, check, chosen, square_sample, without_slope
from numbatorch.ops.operands import as_node, const, describe
from numbatorch.ops.reduce import reduced, sum_
from numbatorch.ops.spectra import svdvals
from numbatorch.ops.surface import public
from numbatorch.shape import normalize_dim, normalize_dims

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Number = int | float
Order = Number | Literal["fro", "nuc"]
Dims = int | Sequence[int] | None


def _sample(rng: Draw) -> Any:
    order = ["fro", "nuc", 1, 2, -math.inf][int(rng.integers(5))]
    return any_sample(rng)[0], {"ord": order}


def _reference(A: Array, *, ord: Any) -> Array:
    return np.asarray(np.linalg.norm(A, ord, (-2, -1)))


@composed(
    numpy=_reference,
    sample=_sample,
    dtypes=DTYPES,
    name="linalg_matrix_norm",
    peer="torch.linalg.matrix_norm",
)
@public("linalg", remembered=True)
def matrix_norm(
    A: Node,
    ord: Number | Literal["fro", "nuc"] = "fro",
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Like | None = None,
) -> Node:
    """A norm of each matrix, taken in float32 at least.

    Args:
        ord: "fro" for the root of the sum of |x|^2, "nuc" for the sum of the singular values, 2 and
            -2 for the largest and the smallest of these, 1 and -1 for the largest and the smallest
            sum of |x| over a column, infinity and -infinity over a row.
        dim: the rows and the columns.
    Raises:
        ShapeError: A has fewer than two dimensions, or one is given twice.

    >>> from numbatorch import tensor
    >>> matrix_norm(tensor([[3.0, -4.0], [0.0, 0.0]]), 1).item()
    4.0
    """
    x, result = _floats("linalg.matrix_norm", A, dtype)
    rank = len(x.shape)
    if len(dim) != 2 or rank < 2:
        problem = f"needs two dimensions, not {tuple(dim)}"
        raise ShapeError(message("linalg.matrix_norm", problem, f"A {describe(A)}"))
    rows, columns = (normalize_dim("linalg.matrix_norm", d, rank) for d in dim)
    if rows == columns:
        raise ShapeError(message("linalg.matrix_norm", f"dim is {tuple(dim)}, one twice"))
    found = _norm(x, ord, rows, columns)
    shape = tuple(1 if d in (rows, columns) else n for d, n in enumerate(x.shape))
    if not keepdim:
        shape = tuple(n for d, n in enumerate(x.shape) if d not in (rows, columns))
    return as_node(view.reshape.apply(found, shape=shape), result, A.device)


def _floats(operator: str, A: Node, dtype: Like | None) -> tuple[Node, DType]:
    """The elements in what they are computed in, and the real dtype of the norm."""
    target = A.dtype if dtype is None else dt.named(operator, dtype)
    fits = A.dtype.kind in "fc" and target.kind in "fc"
    if not fits or (A.dtype.is_complex and not target.is_complex):
        problem = "takes floats or complex numbers, and a dtype that holds them"
        raise DTypeError(message(operator, problem, f"A {describe(A)}, dtype {target.name}"))
    return as_node(as_node(A, target, A.device), target.compute, A.device), target.part


def _norm(x: Node, order: Order, rows: int, columns: int) -> Node:
    """The norm over two dimensions, which stay or go with size 1."""
    if order == "fro":
        return _length(x, [rows, columns])
    size = abs(order) if not isinstance(order, str) else order
    if size in ("nuc", 2):
        rest = [d for d in range(len(x.shape)) if d not in (rows, columns)]
        values = svdvals(view.permute.apply(x, dims=(*rest, rows, columns)))
        if order == "nuc":
            return reduced(sum_, values, -1)
        return _extreme(values, -1, order == 2)
    if size not in (1, math.inf):
        raise ValueError(message("linalg.matrix_norm", f"there is no norm of order {order!r}"))
    summed, left = (rows, columns) if size == 1 else (columns, rows)
    sums = reduced(sum_, find("abs").apply(x), summed, True)
    return _extreme(sums, left, not isinstance(order, str) and order > 0)


def _length(x: Node, dims: Sequence[int]) -> Node:
    flat = find("abs").apply(x) if x.dtype.is_complex else x
    found: Node = find_norm()(flat, 2, list(dims))
    return found


def _extreme(x: Node, dim: int, largest: bool) -> Node:
    if x.shape[dim] == 0:
        if not largest:
            raise ShapeError(message("linalg.matrix_norm", "there is nothing to take the least of"))
        shape = tuple(n for d, n in enumerate(x.shape) if d != dim % len(x.shape))
        return const(0.0, x.dtype, x.device, shape)
    return reduced(find("max" if largest else "min"), x, dim)  # type: ignore[arg-type]


@public("linalg", remembered=True)
def norm(
    A: Node,
    ord: Number | Literal["fro", "nuc"] | None = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Like | None = None,
) -> Node:
    """The norm of vectors or of matrices.

    Args:
        ord: of `vector_norm` over one dimension, of `matrix_norm` over two; unless given, the root
            of the sum of |x|^2.
        dim: one dimension for vectors, two for matrices; unless given all, which have to be one
            or two if there is an `ord`.

    >>> from numbatorch import tensor
    >>> norm(tensor([[3.0, -4.0], [0.0, 0.0]])).item()
    5.0
    """
    dims = None if dim is None else normalize_dims("linalg.norm", dim, len(A.shape))
    if ord is not None and (isinstance(ord, str) or len(A.shape if dims is None else dims) == 2):
        given = tuple(range(len(A.shape))) if dim is None else dim
        pair = (given,) if isinstance(given, int) else tuple(given)
        if len(pair) != 2:
            problem = f"order {ord!r} is of matrices, over two dimensions, not {pair}"
            raise ShapeError(message("linalg.norm", problem, f"A {describe(A)}"))
        return matrix_norm(A, ord, pair, keepdim, dtype=dtype)
    if ord is not None and dims is None and len(A.shape) > 2:
        problem = "needs dim for an order of more than two dimensions"
        raise ShapeError(message("linalg.norm", problem, f"A {describe(A)}"))
    order: Any = 2 if ord is None else ord
    x, result = _floats("linalg.norm", A, dtype)
    flat = find("abs").apply(x) if x.dtype.is_complex else x
    found: Node = find_norm()(flat, order, dims, keepdim)
    if order == 0 and flat.requires_grad:
        found = without_slope(found, reduced(sum_, flat, dims, keepdim))
    return as_node(found, result, A.device)


def _cond_sample(rng: Draw) -> Any:
    return square_sample(rng)[0], {"p": [None, 2, -2, 1, "fro"][int(rng.integers(5))]}


@composed(
    numpy=lambda A, *, p: np.asarray(np.linalg.cond(A, p)),
    sample=_cond_sample,
    dtypes=DTYPES,
    name="linalg_cond",
    peer="torch.linalg.cond",
)
@public("linalg", remembered=True)
def cond(A: Node, p: Number | Literal["fro", "nuc"] | None = None) -> Node:
    """The condition number of each matrix: |A| |A^-1|, infinity of a singular one.

    Args:
        A: (..., N, N); (..., M, N) for a p of None, 2 or -2.
        p: the norm, of `matrix_norm`; 2 unless given.

    >>> from numbatorch import tensor
    >>> cond(tensor([[1.0, 0.0], [0.0, 2.0]])).item()
    2.0
    """
    if p is None or p in (2, -2):
        check("linalg.cond", A)
        values = svdvals(A)
        if values.shape[-1] == 0:
            return const(0.0, A.dtype.part, A.device, A.shape[:-2])
        first, last = (view.element(values, len(A.shape) - 2, i) for i in (0, values.shape[-1] - 1))
        return first / last if p != -2 else last / first
    check("linalg.cond", A, square=True)
    inverse, info = inv_ex_.parts(A)
    singular = find("ne").apply(info, 0)
    whole = chosen(view.reshape.apply(singular, shape=(*info.shape, 1, 1)), 0.0, inverse)
    found = matrix_norm(A, p) * matrix_norm(whole, p)
    return chosen(singular, math.inf, found)
