"""Kernels of maps by bands: along the last dimension, or of lines side by side."""

from typing import Any

from numbatorch.language.kernel import Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import bands as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import FLOAT, INDEX, WIDE, in_type
from numbatorch.shape import numel

SUMS = (*WIDE, "int64")


@helper
def weigh_lines(
    out: Pointer[V],
    x: Any,
    weights: Pointer[V],
    count: int,
    apart: int,
    first: int,
    end: int,
    zero: Any,
) -> None:
    """The weighted sum of `count` lines of x, which lie `apart`, from element first to end."""
    if count == 1:
        a = weights[0]
        for j in range(first, end):
            out[j] = a * x[j]
    elif count == 2:
        a, b = weights[0], weights[1]
        for j in range(first, end):
            out[j] = a * x[j] + b * x[apart + j]
    elif count == 3:
        a, b, c = weights[0], weights[1], weights[2]
        for j in range(first, end):
            out[j] = a * x[j] + b * x[apart + j] + c * x[2 * apart + j]
    else:
        for j in range(first, end):
            out[j] = zero
        for k in range(count):
            a = weights[k]
            for j in range(first, end):
                out[j] = out[j] + a * x[k * apart + j]


@kernel(T=(*FLOAT, *INDEX), V=SUMS)
def band_lines(
    out: Pointer[V],
    x: Pointer[T],
    spans: Pointer[int64],
    weights: Pointer[V],
    rows: int,
    outs: int,
    length: int,
    cols: int,
    width: int,
    part: int,
    parts: int,
) -> None:
    """out[r, i, :] = sum of weights[i, k] * x[r, start of i + k, :]; elements are shared."""
    lo, hi = share(rows * outs * cols, part, parts)
    if lo >= hi:
        return
    for line in range(truncdiv(lo, cols), truncdiv(hi + cols - 1, cols)):
        row = truncdiv(line, outs)
        i = line - row * outs
        first, end = max(lo - line * cols, 0), min(hi - line * cols, cols)
        source = x + (row * length + spans[2 * i]) * cols
        count = spans[2 * i + 1]
        w = weights + i * width
        weigh_lines(out + line * cols, source, w, count, cols, first, end, V(0))


@kernel(T=(*FLOAT, *INDEX), V=SUMS)
def band_rows(
    out: Pointer[V],
    x: Pointer[T],
    spans: Pointer[int64],
    weights: Pointer[V],
    rows: int,
    outs: int,
    length: int,
    width: int,
    part: int,
    parts: int,
) -> None:
    """out[r, i] = sum of weights[i, k] * x[r, start of i + k]; elements are shared."""
    lo, hi = share(rows * outs, part, parts)
    if lo >= hi:
        return
    for row in range(truncdiv(lo, outs), truncdiv(hi + outs - 1, outs)):
        source = x + row * length
        target = out + row * outs
        first, end = max(lo - row * outs, 0), min(hi - row * outs, outs)
        if width == 2:
            for i in range(first, end):
                start, count = spans[2 * i], spans[2 * i + 1]
                if count == 0:
                    target[i] = V(0)
                elif count == 1:
                    target[i] = weights[2 * i] * source[start]
                else:
                    total = weights[2 * i] * source[start]
                    target[i] = total + weights[2 * i + 1] * source[start + 1]
        else:
            for i in range(first, end):
                total = V(0)
                for k in range(spans[2 * i + 1]):
                    total = total + weights[width * i + k] * source[spans[2 * i] + k]
                target[i] = total


@lower("portable", ops.banded)
def _(
    launcher: Launcher,
    out: Operand,
    x: Operand,
    spans: Operand,
    weights: Operand,
    back_spans: Operand,
    back_weights: Operand,
) -> None:
    rows, length, cols = x.shape
    outs, width = weights.shape
    factors = in_type(launcher, weights, out.dtype)
    size = numel(out.shape)
    spec = band_rows if cols == 1 else band_lines
    sizes = (rows, outs, length) if cols == 1 else (rows, outs, length, cols)
    launcher.launch(
        spec(T="int64" if x.dtype.name == "uint64" else x.dtype, V=out.dtype),
        *(out, x, spans, factors, *sizes, width),
        work=2 * size * width,
        items=size,
    )
