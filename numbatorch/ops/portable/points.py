"""Kernels of weighted sums of a few elements at given places, and of their gradients."""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, V, helper, kernel, share
from numbatorch.language.primitives import select, truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import points as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import FLOAT, WIDE, pieces_of, share_block
from numbatorch.shape import numel

SPREADING = 2**16  # threads that are worth looking through all the places


@helper
def weighted(source: Pointer[T], weight: Any, place: int, size: int, zero: Any) -> Any:
    """weight * source[place], 0 for a place beyond; without a branch, for vectors."""
    inside = (place >= 0) & (place < size)
    value = weight * source[select(inside, place, 0)]
    return select(inside, value, zero)


@kernel(T=FLOAT, U=FLOAT, V=WIDE)
def sum_point_rows(
    out: Pointer[V],
    x: Pointer[T],
    weights: Pointer[U],
    index: Pointer[int64],
    rows: int,
    channels: int,
    size: int,
    points: int,
    taps: int,
    part: int,
    parts: int,
) -> None:
    """out[n, c, p] = sum of weights[n, p, k] * x[n, c, index[n, p, k]]; elements are shared."""
    lo, hi = share(rows * points, part, parts)
    if lo >= hi:
        return
    if size == 0:  # `weighted` reads an element for places beyond
        for i in range(lo, hi):
            out[i] = V(0)
        return
    for row in range(truncdiv(lo, points), truncdiv(hi + points - 1, points)):
        source = x + row * size
        first = truncdiv(row, channels) * points
        start, end = max(lo - row * points, 0), min(hi - row * points, points)
        if taps == 4:
            for p in range(start, end):
                k = (first + p) * 4
                a = weighted(source, V(weights[k]), index[k], size, V(0))
                b = weighted(source, V(weights[k + 1]), index[k + 1], size, V(0))
                c = weighted(source, V(weights[k + 2]), index[k + 2], size, V(0))
                d = weighted(source, V(weights[k + 3]), index[k + 3], size, V(0))
                out[row * points + p] = ((a + b) + c) + d
        else:
            for p in range(start, end):
                total = V(0)
                for k in range((first + p) * taps, (first + p + 1) * taps):
                    total = total + weighted(source, V(weights[k]), index[k], size, V(0))
                out[row * points + p] = total


@kernel(T=FLOAT, U=FLOAT, V=WIDE)
def spread_point_rows(
    out: Pointer[V],
    g: Pointer[T],
    weights: Pointer[U],
    index: Pointer[int64],
    rows: int,
    channels: int,
    size: int,
    points: int,
    taps: int,
    part: int,
    parts: int,
) -> None:
    """out[n, c, s] = sum of weights[n, p, k] * g[n, c, p]; rows are shared, or columns of few."""
    pieces = pieces_of(rows, parts)
    first, last, lo, hi = share_block(rows, size, pieces, part, parts)
    for row in range(first, last):
        target = out + row * size
        for s in range(lo, hi):
            target[s] = V(0)
        begin = truncdiv(row, channels) * points
        for p in range(points):
            value = V(g[row * points + p])
            for k in range((begin + p) * taps, (begin + p + 1) * taps):
                place = index[k]
                if place >= lo and place < hi:
                    target[place] = target[place] + V(weights[k]) * value


@kernel(T=FLOAT, U=FLOAT, V=WIDE)
def weigh_point_rows(
    out: Pointer[V],
    g: Pointer[T],
    x: Pointer[U],
    index: Pointer[int64],
    images: int,
    channels: int,
    size: int,
    points: int,
    taps: int,
    part: int,
    parts: int,
) -> None:
    """out[n, p, k] = sum of g[n, c, p] * x[n, c, index[n, p, k]]; the points are shared."""
    lo, hi = share(images * points, part, parts)
    if lo >= hi:
        return
    for i in range(lo * taps, hi * taps):
        out[i] = V(0)
    for image in range(truncdiv(lo, points), truncdiv(hi + points - 1, points)):
        first, end = max(lo, image * points), min(hi, (image + 1) * points)
        for row in range(image * channels, (image + 1) * channels):
            source = x + row * size
            for p in range(first, end):
                value = V(g[row * points + p - image * points])
                for k in range(p * taps, (p + 1) * taps):
                    place = index[k]
                    if place >= 0 and place < size:
                        out[k] = out[k] + value * V(source[place])


def _launch(
    launcher: Launcher,
    kernel: Any,
    out: Operand,
    operands: tuple[Operand, Operand],
    index: Operand,
    sizes: tuple[int, ...],
    items: int,
) -> None:
    first, second = operands
    spec = kernel(T=first.dtype, U=second.dtype, V=out.dtype)
    work = 2 * numel(index.shape) * max(sizes[1], 1)
    launcher.launch(spec, out, first, second, index, *sizes, work=work, items=items)


@lower("portable", ops.sum_points)
def _(launcher: Launcher, out: Operand, x: Operand, weights: Operand, index: Operand) -> None:
    N, C, S = x.shape
    sizes = (N * C, C, S, *index.shape[1:])
    _launch(launcher, sum_point_rows, out, (x, weights), index, sizes, numel(out.shape))


@lower("portable", ops.spread_points)
def _(
    launcher: Launcher, out: Operand, g: Operand, weights: Operand, index: Operand, *, size: int
) -> None:
    rows = g.shape[0] * g.shape[1]
    sizes = (rows, g.shape[1], size, *index.shape[1:])
    items = min(rows * size, max(rows, SPREADING))
    _launch(launcher, spread_point_rows, out, (g, weights), index, sizes, items)


@lower("portable", ops.weigh_points)
def _(launcher: Launcher, out: Operand, g: Operand, x: Operand, index: Operand) -> None:
    N, C, S = x.shape
    sizes = (N, C, S, *index.shape[1:])
    _launch(launcher, weigh_point_rows, out, (g, x), index, sizes, N * index.shape[1])
