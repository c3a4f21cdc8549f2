"""CPU kernels of normalisation over the last dimension, and of its gradient in one pass.

Weight gradients are summed by block of rows, then over the blocks: whoever takes a block, the bits
are the same.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, V, kernel, share
from numbatorch.language.primitives import add_reassoc, sqrt, truncdiv
from numbatorch.ops import norm as ops
from numbatorch.ops.cpu.rows import dot, total_of
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.norm import blocks_of, launch_sums, weights_in
from numbatorch.ops.portable.rows import FLOAT, WIDE, sizes_of


@kernel(T=FLOAT, U=FLOAT, V=WIDE)
def rms_norm_rows(
    out: Pointer[T],
    x: Pointer[T],
    weight: Pointer[U],
    rows: int,
    cols: int,
    eps: float,
    part: int,
    parts: int,
) -> None:
    """x / sqrt(mean(x^2) + eps) * weight of each row."""
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        source = x + row * cols
        target = out + row * cols
        scale = V(1.0) / sqrt(dot(source, source, cols, V(0.0)) / V(cols) + V(eps))
        for i in range(cols):
            target[i] = source[i] * scale * weight[i]


@kernel(T=FLOAT, U=FLOAT, V=WIDE)
def layer_norm_rows(
    out: Pointer[T],
    x: Pointer[T],
    weight: Pointer[U],
    bias: Pointer[U],
    rows: int,
    cols: int,
    eps: float,
    part: int,
    parts: int,
) -> None:
    """(x - mean) / sqrt(var + eps) * weight + bias of each row."""
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        source = x + row * cols
        target = out + row * cols
        mean = total_of(source, cols, V(0.0)) / V(cols)
        squares = V(0.0)
        for i in range(cols):
            centred = source[i] - mean
            squares = add_reassoc(squares, centred * centred)
        scale = V(1.0) / sqrt(squares / V(cols) + V(eps))
        for i in range(cols):
            target[i] = (source[i] - mean) * scale * weight[i] + bias[i]


@kernel(T=FLOAT, U=FLOAT, V=WIDE)
def rms_norm_backward_rows(
    out: Pointer[T],
    sums: Pointer[V],
    g: Pointer[T],
    x: Pointer[T],
    weight: Pointer[U],
    rows: int,
    cols: int,
    height: int,
    blocks: int,
    eps: float,
    part: int,
    parts: int,
) -> None:
    """Cotangent of x into out, and of the weight by block of rows into sums (blocks, cols)."""
    lo, hi = share(blocks, part, parts)
    for i in range(lo * cols, hi * cols):
        sums[i] = V(0.0)
    for row in range(lo * height, min(hi * height, rows)):
        total = sums + truncdiv(row, height) * cols
        source = x + row * cols
        cotangent = g + row * cols
        target = out + row * cols
        scale = V(1.0) / sqrt(dot(source, source, cols, V(0.0)) / V(cols) + V(eps))
        inner = V(0.0)
        for i in range(cols):
            inner = add_reassoc(inner, cotangent[i] * weight[i] * source[i])
        along = inner * scale * scale / V(cols)
        for i in range(cols):
            target[i] = scale * (cotangent[i] * weight[i] - source[i] * along)
            total[i] = total[i] + cotangent[i] * (source[i] * scale)


@kernel(T=FLOAT, U=FLOAT, V=WIDE)
def layer_norm_backward_rows(
    out: Pointer[T],
    sums: Pointer[V],
    g: Pointer[T],
    x: Pointer[T],
    weight: Pointer[U],
    rows: int,
    cols: int,
    height: int,
    blocks: int,
    eps: float,
    part: int,
    parts: int,
) -> None:
    """Cotangent of x into out, of weight and bias by block of rows into sums (blocks, 2, cols)."""
    lo, hi = share(blocks, part, parts)
    for i in range(lo * 2 * cols, hi * 2 * cols):
        sums[i] = V(0.0)
    for row in range(lo * height, min(hi * height, rows)):
        total = sums + truncdiv(row, height) * 2 * cols
        source = x + row * cols
        cotangent = g + row * cols
        target = out + row * cols
        mean = total_of(source, cols, V(0.0)) / V(cols)
        squares = V(0.0)
        across = V(0.0)
        inner = V(0.0)
        for i in range(cols):
            centred = source[i] - mean
            weighted = cotangent[i] * weight[i]
            squares = add_reassoc(squares, centred * centred)
            across = add_reassoc(across, weighted)
            inner = add_reassoc(inner, weighted * centred)
        scale = V(1.0) / sqrt(squares / V(cols) + V(eps))
        along = inner * scale * scale / V(cols)
        across = across / V(cols)
        for i in range(cols):
            centred = source[i] - mean
            target[i] = scale * (cotangent[i] * weight[i] - across - centred * along)
            total[i] = total[i] + cotangent[i] * (centred * scale)
            total[cols + i] = total[cols + i] + cotangent[i]


@lower("cpu", ops.rms_norm)
def _(launcher: Launcher, out: Operand, x: Operand, weight: Operand, *, eps: float) -> None:
    rows, cols = sizes_of(x)
    kind, weights = weights_in(launcher, x.dtype, weight)
    spec = rms_norm_rows(T=x.dtype, U=kind, V=x.dtype.compute)
    launcher.launch(spec, out, x, *weights, rows, cols, eps, work=rows * cols)


@lower("cpu", ops.layer_norm)
def _(
    launcher: Launcher, out: Operand, x: Operand, weight: Operand, bias: Operand, *, eps: float
) -> None:
    rows, cols = sizes_of(x)
    kind, weights = weights_in(launcher, x.dtype, weight, bias)
    spec = layer_norm_rows(T=x.dtype, U=kind, V=x.dtype.compute)
    launcher.launch(spec, out, x, *weights, rows, cols, eps, work=1.5 * rows * cols)


def _backward(
    launcher: Launcher,
    spec: Any,
    outs: tuple[Operand, ...],
    g: Operand,
    x: Operand,
    weight: Operand,
    eps: float,
) -> None:
    rows, cols = sizes_of(x)
    wide = x.dtype.compute
    kind, weights = weights_in(launcher, x.dtype, weight)
    dx, *others = outs
    height, blocks = blocks_of(rows)
    sums = launcher.scratch(wide.nbytes(blocks * len(others) * cols))
    words = (rows, cols, height, blocks, eps)
    bound = spec(T=x.dtype, U=kind, V=wide)
    launcher.launch(bound, dx, sums, g, x, *weights, *words, work=3 * rows * cols)
    launch_sums(launcher, tuple(others), sums, wide, blocks)


@lower("cpu", ops.rms_norm_backward)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    g: Operand,
    x: Operand,
    weight: Operand,
    *,
    eps: float,
) -> None:
    _backward(launcher, rms_norm_backward_rows, outs, g, x, weight, eps)


@lower("cpu", ops.layer_norm_backward)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    g: Operand,
    x: Operand,
    weight: Operand,
    *,
    eps: float,
) -> None:
    _backward(launcher, layer_norm_backward_rows, outs, g, x, weight, eps)
