"""Indexing by integer tensors: take rows, add rows, gather and scatter along the last dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.caller import Outside
from numbatorch.ops.create import from_end as counted_from_end
from numbatorch.ops.operands import as_node, const, describe
from numbatorch.ops.registry import over_last_dimensions
from numbatorch.ops.structured import structured
from numbatorch.ops.view import narrow, permute
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


def check_index(op: str, x: Node, index: Node) -> None:
    """Raise DTypeError unless indices are integers, of elements that have places of their own."""
    if index.dtype.kind not in "iu":
        raise DTypeError(message(op, f"indices must be integers, not {index.dtype.name}"))
    if x.dtype.kind == "q":
        raise DTypeError(message(op, f"{describe(x)} is packed in blocks: dequantize it first"))


def _check_sum(op: str, base: Node) -> None:
    if base.dtype.kind == "b":
        raise DTypeError(message(op, "has no meaning for bool"))


def in_bounds(index: Array, bound: int, least: int = 0) -> Array:
    """`index`, all of which must be in [least, bound)."""
    wrong = index[(index < least) | (index >= bound)]
    if wrong.size:
        raise Outside(int(wrong.flat[0]), bound, least)
    return index


@structured(dtypes=dt.PLAIN, by_parts=True, reports=True)
def take(x: Array, index: Array) -> Array:
    """out[i..., :] = x[index[i...], :]; negative indices are out of range.

    Args:
        x: (V, ...).
        index: integers, any shape.
    Returns:
        (*index.shape, *x.shape[1:]).
    """
    return x[in_bounds(index, x.shape[0])]


take.batches(over_last_dimensions, shared=(0,))


@take.infer
def _(x: Node, index: Node) -> tuple[Shape, DType]:
    check_index("take", x, index)
    if not x.shape:
        raise ShapeError(message("take", "a 0-d tensor has no rows"))
    if not x.shape[0] and numel(index.shape):
        problem = "there is nothing to take from a dimension of size 0"
        raise OutOfRange(message("take", problem, f"x {describe(x)}", f"index {describe(index)}"))
    return (*index.shape, *x.shape[1:]), x.dtype


@take.vjp
def _(g: Node, y: Node, x: Node, index: Node) -> tuple[Node, None]:
    return index_add.apply(const(0.0, g.dtype, g.device, x.shape), index, g), None


@take.samples
def _(rng: Draw) -> Any:
    V, C, N = rng.dims((1, 0, 0), (6, 4, 4))
    return [rng.standard_normal((V, C)), rng.indices(V, (2, N))], {}


@structured(dtypes=dt.NUMBERS, inplace=0, by_parts=True, reports=True)
def index_add(base: Array, index: Array, value: Array) -> Array:
    """base with value[i..., :] added to row index[i...], in order of i, so always the same sum."""
    out = base.copy()
    rows = in_bounds(index, base.shape[0]).reshape(-1)
    np.add.at(out, rows, value.reshape(rows.size, *base.shape[1:]))
    return out


@index_add.infer
def _(base: Node, index: Node, value: Node) -> tuple[Shape, DType]:
    check_index("index_add", base, index)
    _check_sum("index_add", base)
    fits = bool(base.shape) and value.shape == (*index.shape, *base.shape[1:])
    if not fits or value.dtype is not base.dtype:
        raise ShapeError(
            message(
                "index_add",
                "value must be (*index.shape, *base.shape[1:]) in the dtype of base",
                f"base {describe(base)}",
                f"index {describe(index)}",
                f"value {describe(value)}",
            )
        )
    return base.shape, base.dtype


@index_add.vjp
def _(g: Node, y: Node, base: Node, index: Node, value: Node) -> Any:
    return g, None, take.apply(g, index)


@index_add.samples
def _(rng: Draw) -> Any:
    V, C, N = rng.dims((1, 0, 0), (6, 4, 4))
    index = rng.indices(V, (2, N))
    return [rng.standard_normal((V, C)), index, rng.standard_normal((2, N, C))], {}


@structured(dtypes=dt.PLAIN, by_parts=True, reports=True)
def gather(x: Array, index: Array) -> Array:
    """out[..., j] = x[..., index[..., j]] along the last dimension."""
    return np.take_along_axis(x, in_bounds(index, x.shape[-1]), -1)


gather.batches(over_last_dimensions)


@gather.infer
def _(x: Node, index: Node) -> tuple[Shape, DType]:
    check_index("gather", x, index)
    if not x.shape or len(index.shape) != len(x.shape) or index.shape[:-1] != x.shape[:-1]:
        raise ShapeError(
            message(
                "gather",
                "all dimensions but the last must agree",
                f"x {describe(x)}",
                f"index {describe(index)}",
            )
        )
    return index.shape, x.dtype


@gather.vjp
def _(g: Node, y: Node, x: Node, index: Node) -> tuple[Node, None]:
    return scatter_add.apply(const(0.0, g.dtype, g.device, x.shape), index, g), None


@gather.samples
def _(rng: Draw) -> Any:
    R, C, N = rng.dims((0, 1, 0), (4, 6, 4))
    return [rng.standard_normal((R, C)), rng.indices(C, (R, N))], {}


@structured(dtypes=dt.NUMBERS, inplace=0, by_parts=True, reports=True)
def scatter_add(base: Array, index: Array, value: Array) -> Array:
    """base with value[..., j] added at index[..., j] of the last dimension, in order of j."""
    out, rows = base.copy(), numel(base.shape[:-1])
    count = index.shape[-1]
    columns = in_bounds(index, base.shape[-1]).reshape(rows, count)
    np.add.at(
        out.reshape(rows, base.shape[-1]),
        (np.arange(rows)[:, None], columns),
        value.reshape(rows, count),
    )
    return out


@scatter_add.infer
def _(base: Node, index: Node, value: Node) -> tuple[Shape, DType]:
    check_index("scatter_add", base, index)
    _check_sum("scatter_add", base)
    fits = bool(base.shape) and len(base.shape) == len(index.shape)
    fits = fits and base.shape[:-1] == index.shape[:-1] and index.shape == value.shape
    if not fits or value.dtype is not base.dtype:
        raise ShapeError(
            message(
                "scatter_add",
                "index and value must have one shape, and that of base but for the last dimension",
                f"base {describe(base)}",
                f"index {describe(index)}",
                f"value {describe(value)}",
            )
        )
    return base.shape, base.dtype


@scatter_add.vjp
def _(g: Node, y: Node, base: Node, index: Node, value: Node) -> Any:
    return g, None, gather.apply(g, index)


@scatter_add.samples
def _(rng: Draw) -> Any:
    R, C, N = rng.dims((0, 1, 0), (4, 6, 5))
    return [rng.standard_normal((R, C)), rng.indices(C, (R, N)), rng.standard_normal((R, N))], {}


@structured(dtypes=dt.PLAIN, by_parts=True, reports=True)
def take_within(x: Array, index: Array, *, from_end: bool = False) -> Array:
    """out[r, i, :] = x[r, index[i], :], the same places in each of the blocks.

    Args:
        x: (R, V, C).
        index: (N,), integers.
        from_end: whether V is added to those below 0.
    Returns:
        (R, N, C).
    """
    V = x.shape[1]
    return np.take(x, in_bounds(index, V, -V if from_end else 0), 1)


@take_within.infer
def _(x: Node, index: Node, *, from_end: bool) -> tuple[Shape, DType]:
    check_index("take_within", x, index)
    if len(x.shape) != 3 or len(index.shape) != 1 or (index.shape[0] and not x.shape[1]):
        problem = "takes (R, V, C) and (N,), and nothing where V is 0"
        about = (f"x {describe(x)}", f"index {describe(index)}")
        raise ShapeError(message("take_within", problem, *about))
    return (x.shape[0], index.shape[0], x.shape[2]), x.dtype


@take_within.fallback
def _(x: Node, index: Node, *, from_end: bool) -> Node:
    index = counted_from_end(index, x.shape[1]) if from_end else index
    return permute.apply(take.apply(permute.apply(x, dims=(1, 0, 2)), index), dims=(1, 0, 2))


@take_within.samples
def _(rng: Draw) -> Any:
    R, V, C, N = rng.dims((0, 1, 0, 0), (4, 6, 3, 5))
    from_end = bool(rng.integers(2))
    index = rng.indices(V, (N,)) - V * int(from_end and rng.integers(2))
    return [rng.standard_normal((R, V, C)), index], {"from_end": from_end}


@structured(dtypes=dt.INTEGERS, differentiable=False)
def count_numbers(index: Array, *, size: int) -> Array:
    """(size,) int64: how often each number below `size` occurs; others are not counted.

    Args:
        index: (N,), integers.
    """
    return np.bincount(index[(index >= 0) & (index < size)], minlength=size)[:size]


@count_numbers.infer
def _(index: Node, *, size: int) -> tuple[Shape, DType]:
    if index.dtype.kind not in "iu" or len(index.shape) != 1:
        raise DTypeError(message("count_numbers", f"takes (N,) integers, not {describe(index)}"))
    return (size,), dt.int64


@count_numbers.fallback
def _(index: Node, *, size: int) -> Node:
    wide = as_node(index, dt.int64, index.device)
    inside = find("logical_and").apply(find("ge").apply(wide, 0), find("lt").apply(wide, size))
    zeros = const(0, dt.int64, index.device, (size + 1,))
    ones = const(1, dt.int64, index.device, wide.shape)
    counts = index_add.apply(zeros, find("where").apply(inside, wide, size), ones)
    return narrow(counts, 0, 0, size)


@count_numbers.samples
def _(rng: Draw) -> Any:
    (size,) = rng.dims((0,), (6,))
    return [rng.indices(size + 2, rng.dims((0,), (9,)))], {"size": size}


take_within.peer, count_numbers.peer = "torch.index_select", "torch.bincount"
