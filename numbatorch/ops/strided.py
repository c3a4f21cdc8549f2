"""Views with strides of their own: diagonals, windows, and elements at places that strides give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.layout import Layout
from numbatorch.ops.create import iota
from numbatorch.ops.operands import describe, expanded, zeros_like
from numbatorch.ops.registry import View, view
from numbatorch.ops.view import permute, reject_blocks, reshape, slice_update
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


def _on_diagonal(rows: int, columns: int, offset: int) -> tuple[int, int, int]:
    """(row, column) of the first element of a diagonal, and how many it has."""
    row, column = max(-offset, 0), max(offset, 0)
    return row, column, max(min(rows - row, columns - column), 0)


def _diagonal_layout(layout: Layout, *, offset: int, dim1: int, dim2: int) -> Layout:
    shape, strides, start = layout
    row, column, count = _on_diagonal(shape[dim1], shape[dim2], offset)
    rest = [i for i in range(len(shape)) if i not in (dim1, dim2)]
    if count:
        start += row * strides[dim1] + column * strides[dim2]
    return Layout(
        (*(shape[i] for i in rest), count),
        (*(strides[i] for i in rest), strides[dim1] + strides[dim2]),
        start,
    )


@view(_diagonal_layout)
def diagonal(x: Array, *, offset: int, dim1: int, dim2: int) -> Array:
    """Elements (i, i + offset) of two dimensions, in a new last one in their place."""
    return np.diagonal(x, offset, dim1, dim2)


@diagonal.infer
def _(x: Node, *, offset: int, dim1: int, dim2: int) -> tuple[Shape, DType]:
    reject_blocks("diagonal", x)
    if dim1 == dim2:
        raise ShapeError(message("diagonal", f"dimension {dim1} twice", f"input {describe(x)}"))
    whole = Layout.contiguous(x.shape)
    return _diagonal_layout(whole, offset=offset, dim1=dim1, dim2=dim2).shape, x.dtype


@diagonal.vjp
def _(g: Node, y: Node, x: Node, *, offset: int, dim1: int, dim2: int) -> Node:
    return with_diagonal(zeros_like(x), g, offset, dim1, dim2)


@diagonal.writes
def _(x: Node, value: Node, *, offset: int, dim1: int, dim2: int) -> Node:
    return with_diagonal(x, value, offset, dim1, dim2)


@diagonal.samples
def _(rng: Draw) -> Any:
    shape = rng.dims((0, 0, 0), (4, 5, 6))
    dim1, dim2 = (int(d) for d in rng.permutation(3)[:2])
    attrs = {"offset": int(rng.integers(-4, 5)), "dim1": dim1, "dim2": dim2}
    return [rng.standard_normal(shape)], attrs


def with_diagonal(base: Node, value: Node, offset: int, dim1: int, dim2: int) -> Node:
    """`base` with `value` as its diagonal, one slice of rows that stand in a row."""
    rows, columns = base.shape[dim1], base.shape[dim2]
    row, column, count = _on_diagonal(rows, columns, offset)
    if not numel(value.shape):
        return base
    rank = len(base.shape)
    order = (*[i for i in range(rank) if i not in (dim1, dim2)], dim1, dim2)
    last = order == tuple(range(rank))  # where they stand already
    turned = base if last else permute.apply(base, dims=order)
    lead = turned.shape[:-2]
    flat = reshape.apply(turned, shape=(*lead, rows * columns))
    starts = (*(0 for _ in lead), row * columns + column)
    steps = (*(1 for _ in lead), columns + 1 if count > 1 else 1)
    flat = slice_update.apply(flat, value, starts=starts, steps=steps)
    whole = reshape.apply(flat, shape=turned.shape)
    if last:
        return whole
    return permute.apply(whole, dims=tuple(sorted(range(rank), key=order.__getitem__)))


def _windows_layout(layout: Layout, *, dim: int, size: int, step: int) -> Layout:
    shape, strides, start = layout
    if not shape:
        return Layout((size,), (1,), start)
    count = (shape[dim] - size) // step + 1
    return Layout(
        (*shape[:dim], count, *shape[dim + 1 :], size),
        (*strides[:dim], strides[dim] * step, *strides[dim + 1 :], strides[dim]),
        start,
    )


@view(_windows_layout)
def sliding(x: Array, *, dim: int, size: int, step: int) -> Array:
    """Windows of `size` elements of a dimension, `step` apart, along a new last dimension."""
    if not x.ndim:
        return x.reshape(1)[:size]
    count = (x.shape[dim] - size) // step + 1
    places = step * np.arange(count)[:, None] + np.arange(size)
    return np.moveaxis(np.take(x, places, dim), dim + 1, -1)


@sliding.infer
def _(x: Node, *, dim: int, size: int, step: int) -> tuple[Shape, DType]:
    reject_blocks("unfold", x)
    most = x.shape[dim] if x.shape else 1
    if not 0 <= size <= most:
        problem = f"windows of {size} elements do not fit a dimension of {most}"
        raise ShapeError(message("unfold", problem, f"input {describe(x)}, dim {dim}"))
    if step <= 0:
        raise ShapeError(message("unfold", f"windows cannot stand {step} apart"))
    whole = Layout.contiguous(x.shape)
    return _windows_layout(whole, dim=dim, size=size, step=step).shape, x.dtype


@sliding.vjp
def _(g: Node, y: Node, x: Node, *, dim: int, size: int, step: int) -> Node:
    if not x.shape:
        return reshape.apply(g, shape=()) if size else zeros_like(x)
    return _added(x, g, _places_in_windows(x, dim, size, step))


@sliding.writes
def _(x: Node, value: Node, *, dim: int, size: int, step: int) -> Node:
    if not x.shape:
        return reshape.apply(value, shape=())
    return put(x, value, _places_in_windows(x, dim, size, step))


@sliding.samples
def _(rng: Draw) -> Any:
    shape = rng.dims((1, 1, 1), (5, 6, 7))
    dim = int(rng.integers(3))
    size = int(rng.integers(1, min(shape[dim], 9) + 1))
    return [rng.standard_normal(shape)], {"dim": dim, "size": size, "step": int(rng.integers(1, 4))}


def _places_in_windows(x: Node, dim: int, size: int, step: int) -> Node:
    """Where each element of the windows stands in row-major x."""
    whole = reshape.apply(iota(numel(x.shape), x.device), shape=x.shape)
    return sliding.apply(whole, dim=dim, size=size, step=step)


def places_of(x: Node, steps: Sequence[tuple[View, dict[str, Any]]]) -> Node:
    """Where each element of a view stands in row-major x."""
    places = reshape.apply(iota(numel(x.shape), x.device), shape=x.shape)
    for op, attrs in steps:
        places = op.apply(places, **attrs)
    return places


def _added(x: Node, g: Node, places: Node) -> Node:
    """Zeros like x with the elements of g added at places of it."""
    count, size = numel(g.shape), numel(x.shape)
    zeros = reshape.apply(zeros_like(x), shape=(size,))
    if not count:
        return zeros_like(x)
    flat, index = (reshape.apply(node, shape=(count,)) for node in (g, places))
    return reshape.apply(find("index_add").apply(zeros, index, flat), shape=x.shape)


def put(x: Node, value: Node, places: Node) -> Node:
    """x with the elements of value at places of it, no two of which are one."""
    count, size = numel(value.shape), numel(x.shape)
    if not count:
        return x
    flat, index = (reshape.apply(node, shape=(count,)) for node in (value, places))
    none = expanded(iota(1, x.device), (size,))
    source = find("index_add").apply(none, index, iota(count, x.device) + 1)
    source = reshape.apply(source, shape=x.shape)
    taken = find("take").apply(flat, find("maximum").apply(source - 1, 0))
    return find("where").apply(find("gt").apply(source, 0), taken, x)


def _strided_layout(layout: Layout, *, size: Shape, stride: Shape, offset: int) -> Layout | None:
    if not layout.is_contiguous:
        return None
    return Layout(size, stride, layout.offset + offset if numel(size) else layout.offset)


@view(_strided_layout)
def as_strided(x: Array, *, size: Shape, stride: Shape, offset: int) -> Array:
    """Element (i, j, ...) is that at place offset + i * stride[0] + j * stride[1] + ... of x.

    Args:
        x: in row-major order.
        stride: no less than 0, in elements.
    """
    places = np.full(size, offset)
    for axis, step in enumerate(stride):
        along = np.arange(size[axis]) * step
        places += along.reshape((-1,) + (1,) * (len(size) - axis - 1))
    found: Array = x.reshape(-1)[places]
    return found


@as_strided.infer
def _(x: Node, *, size: Shape, stride: Shape, offset: int) -> tuple[Shape, DType]:
    reject_blocks("as_strided", x)
    if len(size) != len(stride):
        raise ShapeError(message("as_strided", f"sizes {size} and strides {stride} differ in rank"))
    if any(n < 0 for n in size):
        raise ShapeError(message("as_strided", f"{size} is not a shape"))
    if any(step < 0 for step in stride) or offset < 0:
        problem = f"strides and offset are not negative: {stride}, {offset}"
        raise ShapeError(message("as_strided", problem))
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if numel(size) and last >= numel(x.shape):
        problem = f"the last element would stand at place {last}"
        whole = f"the memory of {describe(x)} has {numel(x.shape)} places"
        raise OutOfRange(message("as_strided", problem, whole))
    return tuple(size), x.dtype


@as_strided.vjp
def _(g: Node, y: Node, x: Node, *, size: Shape, stride: Shape, offset: int) -> Node:
    return _added(x, g, _strided_places(x, size, stride, offset))


def put_strided(x: Node, value: Node, *, size: Shape, stride: Shape, offset: int) -> Node:
    """x with `value` where `as_strided` reads, at no place twice."""
    return put(x, value, _strided_places(x, size, stride, offset))


as_strided.writes(put_strided)


@as_strided.samples
def _(rng: Draw) -> Any:
    rows, columns = rng.dims((0, 0), (4, 5))
    stride, offset = tuple(int(n) for n in rng.integers(0, 4, 2)), int(rng.integers(0, 3))
    places = 1 + offset + max(rows - 1, 0) * stride[0] + max(columns - 1, 0) * stride[1]
    attrs = {"size": (rows, columns), "stride": stride, "offset": offset}
    return [rng.standard_normal((2, places))], attrs


def _strided_places(x: Node, size: Shape, stride: Shape, offset: int) -> Node:
    places = iota(numel(x.shape), x.device)
    return as_strided.apply(places, size=size, stride=stride, offset=offset)


sliding.peer = "torch.Tensor.unfold"


@diagonal.batches
def _(node: Node, operands: tuple[Node, ...]) -> dict[str, Any]:
    attrs = node.attrs
    return {**attrs, "dim1": attrs["dim1"] + 1, "dim2": attrs["dim2"] + 1}


@sliding.batches
def _(node: Node, operands: tuple[Node, ...]) -> dict[str, Any] | None:
    return {**node.attrs, "dim": node.attrs["dim"] + 1} if node.inputs[0].shape else None


@as_strided.batches
def _(node: Node, operands: tuple[Node, ...]) -> dict[str, Any]:
    """Each example lies behind the one before."""
    (batch,), attrs = operands, node.attrs
    size, stride = (batch.shape[0], *attrs["size"]), (numel(batch.shape[1:]), *attrs["stride"])
    return {"size": size, "stride": stride, "offset": attrs["offset"]}
