"""Public functions of diagonals and triangles of matrices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import compare, strided
from numbatorch.ops import view as views
from numbatorch.ops.composed import composed
from numbatorch.ops.create import iota
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.surface import public
from numbatorch.shape import normalize_dim, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
ANY = dt.PLAIN + dt.COMPLEX


@public()
def diagonal(input: Node, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Node:
    """Elements (i, i + offset) of two dimensions, which go, along a new last one: a view.

    Raises:
        ShapeError: `input` has fewer than two dimensions, or one is given twice.

    >>> diagonal(tensor([[1, 2], [3, 4]])).tolist()
    [1, 4]
    """
    rank = len(input.shape)
    first, second = (normalize_dim("diagonal", dim, rank) for dim in (dim1, dim2))
    if rank < 2 or first == second:
        problem = f"needs two dimensions, not {dim1} and {dim2}"
        raise ShapeError(message("diagonal", problem, f"input {describe(input)}"))
    return strided.diagonal.apply(input, offset=offset, dim1=first, dim2=second)


def _sample(rng: Draw) -> Any:
    shape = rng.dims((0, 0), (5, 6))
    return [rng.standard_normal(shape)], {"diagonal": int(rng.integers(-3, 4))}


@composed(numpy=lambda x, *, diagonal: np.diag(x, diagonal), sample=_sample, dtypes=ANY)
@public(remembered=True)
def diag(input: Node, diagonal: int = 0) -> Node:
    """A copy of a diagonal of a matrix; or the matrix that has a vector as that.

    Raises:
        ShapeError: `input` is neither a vector nor a matrix.

    >>> diag(tensor([1, 2])).tolist()
    [[1, 0], [0, 2]]
    """
    if len(input.shape) == 1:
        return diag_embed(input, diagonal)
    if len(input.shape) != 2:
        raise ShapeError(message("diag", "needs a vector or a matrix", f"input {describe(input)}"))
    found = strided.diagonal.apply(input, offset=diagonal, dim1=0, dim2=1)
    return views.clone.apply(found)


def _embedded(x: Array, *, offset: int, dim1: int, dim2: int) -> Array:
    size = x.shape[-1] + abs(offset)
    out = np.zeros((*x.shape[:-1], size, size), x.dtype)
    place = np.arange(x.shape[-1])
    out[..., place + max(-offset, 0), place + max(offset, 0)] = x
    return np.moveaxis(out, (-2, -1), (dim1, dim2))


def _embed_sample(rng: Draw) -> Any:
    attrs = {"offset": int(rng.integers(-2, 3)), "dim1": 0, "dim2": int(rng.integers(1, 3))}
    return [rng.standard_normal(rng.dims((0, 0), (4, 5), most=300))], attrs


@composed(numpy=_embedded, sample=_embed_sample, dtypes=ANY, peer="torch.diag_embed")
@public(remembered=True)
def diag_embed(input: Node, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Node:
    """Matrices with the vectors of the last dimension as a diagonal, zeros elsewhere.

    Args:
        dim1, dim2: where the rows and the columns stand in the result.

    >>> diag_embed(tensor([1, 2]), offset=1).tolist()
    [[0, 1, 0], [0, 0, 2], [0, 0, 0]]
    """
    rank = len(input.shape) + 1
    first, second = (normalize_dim("diag_embed", dim, rank) for dim in (dim1, dim2))
    if first == second or not input.shape:
        problem = f"needs a vector and two dimensions, not {dim1} and {dim2}"
        raise ShapeError(message("diag_embed", problem, f"input {describe(input)}"))
    size = input.shape[-1] + abs(offset)
    shape = list(input.shape[:-1])
    for dim in sorted((first, second)):
        shape.insert(dim, size)
    zeros = const(0, input.dtype, input.device, tuple(shape))
    return strided.with_diagonal(zeros, input, offset, first, second)


@public(remembered=True)
def diagflat(input: Node, offset: int = 0) -> Node:
    """The matrix with all elements, in row-major order, as a diagonal.

    >>> diagflat(tensor([[1], [2]])).tolist()
    [[1, 0], [0, 2]]
    """
    return diag_embed(views.reshape.apply(input, shape=(numel(input.shape),)), offset)


@public(remembered=True)
def tril(input: Node, diagonal: int = 0) -> Node:
    """Zeros above a diagonal of the last two dimensions, counted upwards from the main one.

    Args:
        input: (..., M, N).

    >>> tril(nt.ones(2, 3)).tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]
    """
    return compare.where.apply(below("tril", input, diagonal), input, _zero(input))


@public(remembered=True)
def triu(input: Node, diagonal: int = 0) -> Node:
    """Zeros below a diagonal of the last two dimensions, counted upwards from the main one.

    Args:
        input: (..., M, N).

    >>> triu(nt.ones(2, 3), diagonal=1).tolist()
    [[0.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    """
    return compare.where.apply(below("triu", input, diagonal - 1), _zero(input), input)


def _zero(input: Node) -> bool | int:
    """0 as a number that does not change the dtype."""
    return False if input.dtype is dt.bool_ else 0


def below(operator: str, input: Node, diagonal: int) -> Node:
    """(M, N) bool: whether a place is on a diagonal or below it."""
    if len(input.shape) < 2:
        raise ShapeError(message(operator, "needs two dimensions", describe(input)))
    M, N = input.shape[-2:]
    rows = views.reshape.apply(iota(M, input.device) + diagonal, shape=(M, 1))
    return compare.ge.apply(rows, iota(N, input.device))


def _vander_sample(rng: Draw) -> Any:
    attrs = {"N": int(rng.integers(0, 5)), "increasing": bool(rng.integers(2))}
    return [rng.standard_normal(rng.dims((0,), (6,), most=300))], attrs


@composed(numpy=lambda x, *, N, increasing: np.vander(x, N, increasing), sample=_vander_sample)
@public("nt")
def vander(x: Node, N: int | None = None, increasing: bool = False) -> Node:
    """(len(x), N): powers of each element, from N - 1 down to 0, or from 0 on if `increasing`.

    Args:
        N: len(x) unless given.
    Raises:
        ShapeError: `x` is no vector.

    >>> vander(tensor([2, 3]), 3).tolist()
    [[4, 2, 1], [9, 3, 1]]
    """
    if len(x.shape) != 1:
        raise ShapeError(message("vander", "needs a vector", f"x {describe(x)}"))
    count = x.shape[0] if N is None else N
    if count < 0:
        raise ShapeError(message("vander", f"N is {count}, not 0 or more", f"x {describe(x)}"))
    x = as_node(x, dt.int64, x.device) if x.dtype is dt.bool_ else x
    return powers(x, count, increasing)


def powers(x: Node, count: int, increasing: bool = True) -> Node:
    """The powers 0 to `count` - 1 of each element along a new last dimension, by doubling."""
    found, power = const(1, x.dtype, x.device, (*x.shape, 1)), views.unsqueeze(x, -1)
    if count < 2:
        return views.clone.apply(views.narrow(found, -1, 0, count))
    while (size := found.shape[-1]) < count:  # powers x^0 to x^(k - 1), and x^k
        fewer = min(size, count - size)
        lowest = views.narrow(found, -1, 0 if increasing else size - fewer, fewer)
        higher = lowest * expanded(power, lowest.shape)
        found = views.cat([found, higher] if increasing else [higher, found], -1)
        power = power * power
    return found
