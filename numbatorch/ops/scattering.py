"""Public functions that write at places: scatter, index_copy, put, and slices of a tensor."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import compare, strided
from numbatorch.ops import index as indexing
from numbatorch.ops import scatter as writing
from numbatorch.ops import scatter_reference as given
from numbatorch.ops import view as views
from numbatorch.ops.caller import explained
from numbatorch.ops.composed import composed
from numbatorch.ops.create import from_end
from numbatorch.ops.numbers import fitting, require_no_loss
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduction import highest, lowest
from numbatorch.ops.selecting import (
    axis_of,
    check_sizes,
    checked_index,
    cut,
    flat,
    require_places,
    to_back,
    to_front,
    with_dim,
)
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, broadcast, numel

Number = int | float | complex


@public(remembered=True)
def scatter(
    input: Node,
    dim: int,
    index: Node,
    src: Node | Number | None = None,
    *,
    value: Node | Number | None = None,
    reduce: Literal["add", "multiply"] | None = None,
) -> Node:
    """input with src[i][j][k] at [index[i][j][k]][j][k] for dim 0, and so on; the last one counts.

    Args:
        src: a tensor of the dtype of `input` that reaches as far as `index`, or a number.
        value: the number, by another name.
        reduce: add or multiply instead.

    >>> scatter(tensor([0, 0, 0]), 0, tensor([2, 0]), tensor([5, 7]))
    tensor([7, 0, 5])
    """
    source = src if src is not None else value
    if source is None or (src is not None and value is not None):
        raise TypeError(message("scatter", "takes src or value, one of them"))
    if not isinstance(source, Node) or (src is None and not source.shape):
        source = _filled("scatter", source, input, index.shape)
    way = {None: "set", "add": "sum", "multiply": "prod"}[reduce]
    return _scattered("scatter", input, dim, index, source, way)


@public(remembered=True)
def scatter_add(input: Node, dim: int, index: Node, src: Node) -> Node:
    """input with src[i][j][k] added at [index[i][j][k]][j][k] for dim 0, and so on.

    >>> scatter_add(tensor([1, 1, 1]), 0, tensor([2, 2]), tensor([5, 7]))
    tensor([ 1,  1, 13])
    """
    return _scattered("scatter_add", input, dim, index, src, "sum")


@composed(numpy=given.scatter_reduce, sample=given.draw_elements, dtypes=dt.NUMBERS, call=with_dim)
@public(remembered=True)
def scatter_reduce(
    input: Node,
    dim: int,
    index: Node,
    src: Node,
    reduce: Literal["sum", "prod", "mean", "amax", "amin"],
    *,
    include_self: bool = True,
) -> Node:
    """input with every src[i][j][k] taken into what is at [index[i][j][k]][j][k] for dim 0.

    Args:
        reduce: sum, prod, mean, amax or amin. Extremes share their gradient equally, and NaN wins.
        include_self: whether the elements of `input` that are written take part.

    >>> scatter_reduce(tensor([4, 1]), 0, tensor([0, 0]), tensor([5, 7]), "amax")
    tensor([7, 1])
    """
    return _reduced("scatter_reduce", input, dim, index, src, reduce, include_self)


@composed(numpy=given.index_reduce, sample=given.draw_slices, dtypes=dt.NUMBERS, call=with_dim)
@public(remembered=True)
def index_reduce(
    input: Node,
    dim: int,
    index: Node,
    source: Node,
    reduce: Literal["prod", "mean", "amax", "amin"],
    *,
    include_self: bool = True,
) -> Node:
    """input with each slice of `source` taken into the slice of dimension `dim` that index names.

    Args:
        reduce: prod, mean, amax or amin, as in `scatter_reduce`.
        include_self: whether the elements of `input` that are written take part.

    >>> index_reduce(tensor([4, 1]), 0, tensor([0, 0]), tensor([5, 7]), "prod")
    tensor([140,   1])
    """
    axis, x, rows, value = _slices("index_reduce", input, dim, index, source)
    shape = [1] * len(value.shape)
    shape[axis] = rows.shape[0]
    wide = expanded(views.reshape.apply(rows, shape=tuple(shape)), value.shape)
    out = _reduced("index_reduce", x, axis, wide, value, reduce, include_self)
    return views.reshape.apply(out, shape=input.shape)


@public(remembered=True)
def index_add(input: Node, dim: int, index: Node, source: Node, *, alpha: Number = 1) -> Node:
    """input with alpha * each slice of `source` added to the slice of `dim` that index names.

    >>> index_add(tensor([1, 1, 1]), 0, tensor([2, 2]), tensor([5, 7]), alpha=2)
    tensor([ 1,  1, 25])
    """
    axis, x, rows, value = _slices("index_add", input, dim, index, source)
    if alpha != 1:
        value = as_node(value * fitting("index_add", alpha, value.dtype), x.dtype, x.device)
    if x.dtype is dt.bool_:
        out = _along(or_rows, x, axis, rows, value)
    else:
        out = _along(indexing.index_add.apply, x, axis, rows, value)
    return views.reshape.apply(out, shape=input.shape)


@composed(numpy=given.index_copy, sample=given.draw_copied, dtypes=dt.PLAIN, call=with_dim)
@public(remembered=True)
def index_copy(input: Node, dim: int, index: Node, source: Node) -> Node:
    """input with the slices of `source` as those of dimension `dim` that index names.

    Of equal indices the last counts.

    >>> index_copy(tensor([1, 1, 1]), 0, tensor([2, 0]), tensor([5, 7]))
    tensor([7, 1, 5])
    """
    axis, x, rows, value = _slices("index_copy", input, dim, index, source)
    out = _along(writing.put_rows.apply, x, axis, rows, value)
    return views.reshape.apply(out, shape=input.shape)


@composed(numpy=given.index_fill, sample=given.draw_filled, dtypes=dt.PLAIN, call=with_dim)
@public(remembered=True)
def index_fill(input: Node, dim: int, index: Node, value: Node | Number) -> Node:
    """input with `value` in the slices of dimension `dim` that index names; -1 is the last.

    Raises:
        ShapeError: `value` is a tensor with dimensions.

    >>> index_fill(tensor([1, 1, 1]), 0, tensor([2, 0]), 5)
    tensor([5, 1, 5])
    """
    if isinstance(value, Node) and value.shape:
        raise ShapeError(message("index_fill", "value must be 0-d", f"value {describe(value)}"))
    axis, x = axis_of("index_fill", input, dim)
    require_places("index_fill", x.shape[axis], index)
    rows = from_end(flat(checked_index("index_fill", index)), x.shape[axis])
    hit = const(False, dt.bool_, x.device, (x.shape[axis],))
    truth = const(True, dt.bool_, x.device, rows.shape)
    hit = writing.put_rows.apply(hit, rows, truth)
    wide = views.reshape.apply(hit, shape=(x.shape[axis], *(1,) * (len(x.shape) - axis - 1)))
    filled = compare.where.apply(wide, _filled("index_fill", value, x, ()), x)
    return views.reshape.apply(filled, shape=input.shape)


@composed(numpy=given.put, sample=given.draw_flat, dtypes=dt.PLAIN)
@public(remembered=True)
def put(input: Node, index: Node, source: Node, accumulate: bool = False) -> Node:
    """input, as if it had one dimension, with source[i] at index[i]; -1 is the last element.

    Args:
        accumulate: add instead; otherwise of equal indices the last counts.
    Raises:
        ShapeError: `index` and `source` differ in their number of elements.

    >>> put(tensor([[1, 1], [1, 1]]), tensor([3, 0]), tensor([5, 7]))
    tensor([[7, 1],
            [1, 5]])
    """
    if numel(index.shape) != numel(source.shape):
        problem = "index and source must have as many elements"
        about = (f"index {describe(index)}", f"source {describe(source)}")
        raise ShapeError(message("put", problem, *about))
    _check_dtype("put", input, source)
    require_places("put", numel(input.shape), index)
    rows = from_end(flat(checked_index("put", index)), numel(input.shape))
    apply = writing.put_rows.apply
    if accumulate:
        apply = or_rows if input.dtype is dt.bool_ else indexing.index_add.apply
    out = apply(flat(input), rows, flat(source))
    return views.reshape.apply(out, shape=input.shape)


@composed(numpy=given.masked_scatter, sample=given.draw_masked, dtypes=dt.PLAIN)
@public(remembered=True)
def masked_scatter(input: Node, mask: Node, source: Node) -> Node:
    """input with the elements of `source`, in order, where the mask is True.

    Raises:
        OutOfRange: True stands more often than there are elements, when it is computed.

    >>> masked_scatter(tensor([1, 1, 1]), tensor([True, False, True]), tensor([5, 7]))
    tensor([5, 1, 7])
    """
    if mask.dtype is not dt.bool_:
        raise DTypeError(message("masked_scatter", f"the mask must be bool, not {describe(mask)}"))
    _check_dtype("masked_scatter", input, source)
    shape = broadcast("masked_scatter", input.shape, mask.shape)
    x, where = expanded(input, shape), expanded(mask, shape)
    if not numel(shape):
        return x
    # Element 0 is for places that take none, so that what is missing is out of range.
    given = views.cat([const(0, source.dtype, source.device, (1,)), flat(source)])
    number = find("cumsum").apply(as_node(flat(where), dt.int64, x.device), dims=(0,))
    number = compare.where.apply(flat(where), number, 0)
    problem = "the mask is True more often than the source has elements"
    found = explained("masked_scatter", problem, indexing.take.apply, given, number)
    taken = views.reshape.apply(found, shape=shape)
    return compare.where.apply(where, taken, x)


@composed(numpy=given.select_scatter, sample=given.draw_selected, dtypes=dt.PLAIN + dt.COMPLEX)
@public(remembered=True)
def select_scatter(input: Node, src: Node, dim: int, index: int) -> Node:
    """input with `src` as its element `index` of dimension `dim`.

    Raises:
        ShapeError: `src` is not in the shape of the element.
        OutOfRange: `index` is not in the dimension.

    >>> select_scatter(tensor([[1, 2], [3, 4]]), tensor([8, 9]), 0, 1).tolist()
    [[1, 2], [8, 9]]
    """
    axis, x = axis_of("select_scatter", input, dim)
    size, rank = x.shape[axis], len(x.shape)
    if not input.shape or not -size <= index < size:
        problem = f"index {index} is out of range for dimension {axis} of size {size}"
        raise OutOfRange(message("select_scatter", problem, describe(input)))
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    if src.shape != (*before, *after):
        raise _unlike("select_scatter", src, (*before, *after))
    value = _converted("select_scatter", src, x)
    value = views.reshape.apply(value, shape=(*before, 1, *after))
    starts = tuple(index % size if i == axis else 0 for i in range(rank))
    return views.slice_update.apply(x, value, starts=starts, steps=(1,) * rank)


@composed(numpy=given.slice_scatter, sample=given.draw_sliced, dtypes=dt.PLAIN + dt.COMPLEX)
@public(remembered=True)
def slice_scatter(
    input: Node,
    src: Node,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Node:
    """input with `src` in the place of input[start:end:step] of dimension `dim`.

    Raises:
        ShapeError: `src` is not in the shape of the slice.

    >>> slice_scatter(tensor([1, 2, 3, 4]), tensor([8, 9]), 0, 0, 4, 2)
    tensor([8, 2, 9, 4])
    """
    if not input.shape:
        raise ShapeError(message("slice_scatter", "needs a dimension", describe(input)))
    axis, x = axis_of("slice_scatter", input, dim)
    if step < 1:
        raise OutOfRange(message("slice_scatter", f"step is {step}, not 1 or more"))
    taken = range(x.shape[axis])[start:end:step]
    shape = (*x.shape[:axis], len(taken), *x.shape[axis + 1 :])
    if src.shape != shape:
        raise _unlike("slice_scatter", src, shape)
    if not numel(shape):
        return x
    starts = tuple(taken.start if i == axis else 0 for i in range(len(shape)))
    steps = tuple(step if i == axis else 1 for i in range(len(shape)))
    value = _converted("slice_scatter", src, x)
    return views.slice_update.apply(x, value, starts=starts, steps=steps)


@composed(numpy=given.diagonal_scatter, sample=given.draw_diagonal, dtypes=dt.PLAIN)
@public(remembered=True)
def diagonal_scatter(input: Node, src: Node, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Node:
    """input with `src` (..., n) as its diagonal of two dimensions.

    Args:
        offset: which diagonal, counted from the main one towards larger indices of `dim2`.
    Raises:
        ShapeError: `src` is not in the shape of the diagonal.

    >>> diagonal_scatter(tensor([[1, 2], [3, 4]]), tensor([8, 9])).tolist()
    [[8, 2], [3, 9]]
    """
    if len(input.shape) < 2:
        raise ShapeError(message("diagonal_scatter", "needs two dimensions", describe(input)))
    first, second = (axis_of("diagonal_scatter", input, dim)[0] for dim in (dim1, dim2))
    if first == second:
        raise ShapeError(
            message("diagonal_scatter", f"dim1 and dim2 are both {first}", describe(input))
        )
    shape = strided.diagonal.apply(input, offset=offset, dim1=first, dim2=second).shape
    if src.shape != shape:
        raise _unlike("diagonal_scatter", src, shape)
    value = _converted("diagonal_scatter", src, input)
    return strided.with_diagonal(input, value, offset, first, second)


def _scattered(op: str, input: Node, dim: int, index: Node, src: Node, way: str) -> Node:
    """`input` with `src` written or merged in at `index`, along any dimension."""
    axis, x = axis_of(op, input, dim)
    index = checked_index(op, index)
    _check_dtype(op, input, src)
    if numel(index.shape) == 0:
        return input
    where, value = (node if node.shape else flat(node) for node in (index, src))
    check_sizes(op, x.shape, where.shape, axis)
    require_places(op, x.shape[axis], where)
    check_sizes(op, value.shape, where.shape, None)
    part = cut(x, where.shape, axis)
    turned = [to_back(node, axis) for node in (part, where, cut(value, where.shape, None))]
    out = to_back(_written(way, *turned), axis)
    if part is not x:
        rank = len(x.shape)
        out = views.slice_update.apply(x, out, starts=(0,) * rank, steps=(1,) * rank)
    return views.reshape.apply(out, shape=input.shape)


def _written(way: str, base: Node, index: Node, value: Node) -> Node:
    if way == "set":
        return writing.scatter_set.apply(base, index, value)
    if way == "sum" and base.dtype is not dt.bool_:
        return indexing.scatter_add.apply(base, index, value)
    reduce = {"sum": "amax"}.get(way, way)  # of truths a sum is whether any is True
    return writing.scatter_merge.apply(base, index, value, reduce=reduce)


def _reduced(
    op: str, input: Node, dim: int, index: Node, src: Node, reduce: str, include_self: bool
) -> Node:
    merge = "sum" if reduce == "mean" else reduce
    dtype, base = input.dtype, input
    if not include_self and dtype.kind != "q":
        neutral: dict[str, Any] = {"sum": 0, "prod": 1}
        neutral |= {"amax": lowest(dtype), "amin": highest(dtype)}
        fill = const(neutral[merge], dtype, input.device, index.shape)
        base = _scattered(op, input, dim, index, fill, "set")
    out = _scattered(op, base, dim, index, src, merge)
    if reduce != "mean":
        return out
    ones = const(1, dt.int64, input.device, index.shape)
    counts = const(int(include_self), dt.int64, input.device, input.shape)
    counts = _scattered(op, counts, dim, index, ones, "sum")
    counts = compare.where.apply(compare.eq.apply(counts, 0), 1, counts)
    if dtype.kind in "fc":
        return out / as_node(counts, dtype, input.device)
    if dtype is dt.uint64:  # which does not promote with int64
        counts = as_node(counts, dtype, input.device)
    return as_node(find("floor_divide").apply(out, counts), dtype, input.device)


def _slices(
    op: str, input: Node, dim: int, index: Node, source: Node
) -> tuple[int, Node, Node, Node]:
    """Axis, input of a dimension at least, index (N,) and source with N slices along the axis."""
    axis, x = axis_of(op, input, dim)
    if len(index.shape) > 1:
        raise ShapeError(message(op, "index must be 1-d", f"index {describe(index)}"))
    rows = flat(checked_index(op, index))
    _check_dtype(op, input, source)
    shape = (*x.shape[:axis], rows.shape[0], *x.shape[axis + 1 :])
    value = source
    if not source.shape and numel(shape) == 1:
        value = views.reshape.apply(source, shape=shape)
    if value.shape != shape:
        raise _unlike(op, source, shape)
    require_places(op, x.shape[axis], rows)
    return axis, x, rows, value


def _along(apply: Any, x: Node, axis: int, rows: Node, value: Node) -> Node:
    """A writer of rows, along any dimension."""
    if not numel(value.shape):
        return x
    front, (moved, back) = to_front(value, axis)[0], to_front(x, axis)
    out: Node = apply(moved, rows, front)
    return out if axis == 0 else views.permute.apply(out, dims=back)


def or_rows(base: Node, index: Node, value: Node) -> Node:
    """Sums of truths: whether one of them is True."""
    counts = as_node(base, dt.int32, base.device)
    counts = indexing.index_add.apply(counts, index, as_node(value, dt.int32, base.device))
    return compare.ne.apply(counts, 0)


def _filled(op: str, value: Any, input: Node, shape: Shape) -> Node:
    """A number, or a 0-d tensor, in the dtype of `input` and in a shape."""
    if isinstance(value, Node):
        return expanded(_converted(op, value, input), shape)
    number = value.item() if isinstance(value, np.generic) else value
    return const(fitting(op, number, input.dtype), input.dtype, input.device, shape)


def _converted(op: str, src: Node, input: Node) -> Node:
    require_no_loss(op, src.dtype, input.dtype)
    return as_node(src, input.dtype, input.device)


def _check_dtype(op: str, input: Node, src: Node) -> None:
    if src.dtype is not input.dtype:
        about = (f"input {describe(input)}", f"source {describe(src)}")
        raise DTypeError(message(op, "the source has another dtype than the input", *about))


def _unlike(op: str, src: Node, shape: Shape) -> ShapeError:
    return ShapeError(message(op, f"the source must be {shape}", f"source {describe(src)}"))
