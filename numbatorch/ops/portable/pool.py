"""Kernels of pooling: the elements of the result are shared, a row of them at a time."""

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, kernel, share
from numbatorch.language.primitives import select, truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import pool as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import FLOAT, INDEX
from numbatorch.shape import numel


@helper
def largest_place(
    x: Any, first: int, planes: int, rows: int, cols: int, plane: int, row: int, step: int
) -> int:
    """Where the largest of planes * rows * cols elements from `first` on stands, or the last NaN.

    Planes lie `plane` apart, rows `row` and columns `step`.
    """
    place = first
    best = x[first]
    for a in range(planes):
        for b in range(rows):
            at = first + a * plane + b * row
            for _ in range(cols):
                value = x[at]
                better = (value > best) | (value != value)
                best = select(better, value, best)
                place = select(better, at, place)
                at = at + step
    return place


@kernel(T=(*FLOAT, *INDEX))
def max_window_rows(
    values: Pointer[T], places: Pointer[int64], x: Pointer[T],
    plane_spans: Pointer[int64], row_spans: Pointer[int64], col_spans: Pointer[int64],
    planes: int, rows: int, cols: int, depth: int, height: int, width: int, images: int,
    plane_step: int, row_step: int, col_step: int, part: int, parts: int,
) -> None:  # fmt: skip
    """The largest of each window of images (depth, height, width), and its place in the image."""
    lo, hi = share(images * planes * rows * cols, part, parts)
    if lo >= hi:
        return
    for line in range(truncdiv(lo, cols), truncdiv(hi + cols - 1, cols)):
        group = truncdiv(line, rows)
        b = line - group * rows
        image = truncdiv(group, planes)
        a = group - image * planes
        source = x + image * depth * height * width
        first = (plane_spans[2 * a] * height + row_spans[2 * b]) * width
        deep, high = plane_spans[2 * a + 1], row_spans[2 * b + 1]
        for c in range(max(lo - line * cols, 0), min(hi - line * cols, cols)):
            place = largest_place(
                source, first + col_spans[2 * c], deep, high, col_spans[2 * c + 1],
                plane_step, row_step, col_step,
            )  # fmt: skip
            values[line * cols + c] = source[place]
            places[line * cols + c] = place


@lower("portable", ops.max_windows)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    x: Operand,
    *spans: Operand,
    dilation: tuple[int, ...],
) -> None:
    images, depth, height, width = x.shape
    sizes = outs[0].shape[1:]
    apart = (dilation[0] * height * width, dilation[1] * width, dilation[2])
    size = numel(outs[0].shape)
    launcher.launch(
        max_window_rows(T=x.dtype),
        *(*outs, x, *spans, *sizes, depth, height, width, images, *apart),
        work=8 * size,
        items=size,
    )
