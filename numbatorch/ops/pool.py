"""The largest element of each window of an image or volume, where it stands, and the way back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.index import in_bounds, scatter_add
from numbatorch.ops.operands import const, describe
from numbatorch.ops.structured import structured
from numbatorch.ops.view import reshape
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


@structured(dtypes=dt.NUMBERS)
def max_windows(
    x: Array, planes: Array, rows: Array, cols: Array, *, dilation: tuple[int, ...]
) -> tuple[Array, Array]:
    """The largest element of each window, the first in row-major order, or the last NaN if any.

    Args:
        x: (R, D, H, W).
        planes, rows, cols: (., 2) of int64 for each dimension: where a window starts, and how many
            elements it has, one at least, `dilation` apart.
    Returns:
        (R, len(planes), len(rows), len(cols)) elements, and int64 positions in (D, H, W).
    """
    spans, shape = (planes, rows, cols), x.shape[1:]
    counts = [int(span[:, 1].max(initial=0)) for span in spans]
    found: Any = None
    for offset in np.ndindex(*counts):
        where, inside = [], []
        for span, k, step in zip(spans, offset, dilation, strict=True):
            inside.append(span[:, 1] > k)
            where.append(np.where(inside[-1], span[:, 0] + k * step, span[:, 0]))
        values = x[:, where[0][:, None, None], where[1][:, None], where[2]]
        places = (where[0][:, None, None] * shape[1] + where[1][:, None]) * shape[2] + where[2]
        if found is None:
            found = values.copy(), np.broadcast_to(places, values.shape).copy()
            continue
        seen = inside[0][:, None, None] & inside[1][:, None] & inside[2]
        better = seen & ((values > found[0]) | (values != values))
        np.copyto(found[0], values, where=better)
        np.copyto(found[1], places, where=better)
    empty = (len(x), *map(len, spans))
    return found or (np.empty(empty, x.dtype), np.empty(empty, np.int64))


@max_windows.infer
def _(
    x: Node, planes: Node, rows: Node, cols: Node, *, dilation: tuple[int, ...]
) -> list[tuple[Shape, DType]]:
    if x.dtype.kind not in "fiu":
        raise DTypeError(message("max_pool", f"has no meaning for {x.dtype.name}"))
    spans = (planes, rows, cols)
    if len(x.shape) != 4 or any(n.shape[1:] != (2,) or n.dtype is not dt.int64 for n in spans):
        raise ShapeError(message("max_windows", *map(describe, (x, *spans))))
    shape = (x.shape[0], *(node.shape[0] for node in spans))
    return [(shape, x.dtype), (shape, dt.int64)]


@max_windows.vjp
def _(
    g: tuple[Node, None], y: tuple[Node, ...], x: Node, *spans: Node, dilation: tuple[int, ...]
) -> tuple[Node | None, ...]:
    flat = (x.shape[0], numel(x.shape[1:]))
    index, value = (reshape.apply(n, shape=(flat[0], numel(n.shape[1:]))) for n in (y[1], g[0]))
    dx = scatter_add.apply(const(0.0, x.dtype, x.device, flat), index, value)
    return reshape.apply(dx, shape=x.shape), None, None, None


@max_windows.samples
def _(rng: Draw) -> Any:
    R, *sizes = rng.dims((0, 1, 1, 1), (4, 4, 7, 9), most=40_001)
    dilation = tuple(int(n) for n in rng.integers(1, 3, 3))
    spans = []
    for size, step in zip(sizes, dilation, strict=True):
        starts = rng.integers(0, size, min(size, int(rng.integers(0, 2 * size))))
        most = -(-(size - starts) // step)
        spans.append(np.stack([starts, np.minimum(most, rng.integers(1, 4, len(starts)))], -1))
    x = rng.permutation(R * int(np.prod(sizes))).reshape(R, *sizes) / 2
    return [x, *spans], {"dilation": dilation}


@structured(dtypes=dt.NUMBERS, reports=True)
def put_back(x: Array, index: Array, *, size: int) -> Array:
    """out[r, index[r, i]] = x[r, i], zeros elsewhere; of equal places the last counts.

    As in PyTorch the gradient of each x is that of its place, also where another one counts.

    Args:
        x, index: (R, N).
        size: of a row of the result.
    """
    out = np.zeros((len(x), size), x.dtype)
    for column, value in zip(in_bounds(index, size).T, x.T, strict=True):
        out[np.arange(len(x)), column] = value
    return out


@put_back.infer
def _(x: Node, index: Node, *, size: int) -> tuple[Shape, DType]:
    if len(x.shape) != 2 or index.shape != x.shape or index.dtype is not dt.int64:
        raise ShapeError(message("put_back", "operands do not fit", *map(describe, (x, index))))
    return (x.shape[0], size), x.dtype


@put_back.vjp
def _(g: Node, y: Node, x: Node, index: Node, *, size: int) -> tuple[Node, None]:
    return find("gather").apply(g, index), None


@put_back.fallback
def _(x: Node, index: Node, *, size: int) -> Node:
    zeros = const(0, x.dtype, x.device, (x.shape[0], size))
    return find("scatter_set").apply(zeros, index, x)


@put_back.samples
def _(rng: Draw) -> Any:
    R, N, more = rng.dims((0, 0, 1), (4, 9, 9), most=2001)
    index = np.argsort(rng.random((R, N + more)), -1)[:, :N].astype(np.int64)
    return [rng.standard_normal((R, N)), index], {"size": N + more}
