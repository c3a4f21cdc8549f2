"""GPU kernels of normalisation over the last dimension, and of its gradient.

A group of threads works on a row. Weight gradients are summed over blocks of rows, whose height
depends on the number of rows only, and then over the blocks in order: always the same sum.
"""

from typing import Any

from numbatorch.cuda_kernels.rows import groups_of_rows
from numbatorch.language.groups import group, group_sum, groups, thread, threads
from numbatorch.language.kernel import Pointer, T, U, V, kernel, share
from numbatorch.language.primitives import sqrt, truncdiv
from numbatorch.ops import norm as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.norm import blocks_of, launch_sums, weights_in
from numbatorch.ops.portable.rows import FLOAT, WIDE, sizes_of


@kernel(T=FLOAT, U=FLOAT, V=WIDE)
def rms_norm_rows(
    out: Pointer[T], x: Pointer[T], weight: Pointer[U], rows: int, cols: int, eps: float
) -> None:
    """x / sqrt(mean(x^2) + eps) * weight of each row."""
    for row in range(group(), rows, groups()):
        source = x + row * cols
        target = out + row * cols
        squares = V(0.0)
        for i in range(thread(), cols, threads()):
            squares = squares + source[i] * source[i]
        scale = V(1.0) / sqrt(group_sum(squares) / V(cols) + V(eps))
        for i in range(thread(), cols, threads()):
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
) -> None:
    """(x - mean) / sqrt(var + eps) * weight + bias of each row."""
    for row in range(group(), rows, groups()):
        source = x + row * cols
        target = out + row * cols
        total = V(0.0)
        for i in range(thread(), cols, threads()):
            total = total + source[i]
        mean = group_sum(total) / V(cols)
        squares = V(0.0)
        for i in range(thread(), cols, threads()):
            centred = source[i] - mean
            squares = squares + centred * centred
        scale = V(1.0) / sqrt(group_sum(squares) / V(cols) + V(eps))
        for i in range(thread(), cols, threads()):
            target[i] = (source[i] - mean) * scale * weight[i] + bias[i]


@kernel(T=FLOAT, U=FLOAT, V=WIDE)
def rms_norm_backward_rows(
    out: Pointer[T],
    scales: Pointer[V],
    g: Pointer[T],
    x: Pointer[T],
    weight: Pointer[U],
    rows: int,
    cols: int,
    eps: float,
) -> None:
    """Cotangent of x into out, and what each row was multiplied by into scales (rows,)."""
    for row in range(group(), rows, groups()):
        source = x + row * cols
        cotangent = g + row * cols
        target = out + row * cols
        squares = V(0.0)
        inner = V(0.0)
        for i in range(thread(), cols, threads()):
            squares = squares + source[i] * source[i]
            inner = inner + cotangent[i] * weight[i] * source[i]
        scale = V(1.0) / sqrt(group_sum(squares) / V(cols) + V(eps))
        along = group_sum(inner) * scale * scale / V(cols)
        if thread() == 0:
            scales[row] = scale
        for i in range(thread(), cols, threads()):
            target[i] = scale * (cotangent[i] * weight[i] - source[i] * along)


@kernel(T=FLOAT, V=WIDE)
def rms_norm_sums(
    sums: Pointer[V],
    scales: Pointer[V],
    g: Pointer[T],
    x: Pointer[T],
    rows: int,
    cols: int,
    height: int,
    blocks: int,
    part: int,
    parts: int,
) -> None:
    """Cotangent of the weight from each block of `height` rows, into sums (blocks, cols)."""
    lo, hi = share(blocks * cols, part, parts)
    for item in range(lo, hi):
        block = truncdiv(item, cols)
        col = item - block * cols
        total = V(0.0)
        for row in range(block * height, min((block + 1) * height, rows)):
            place = row * cols + col
            total = total + g[place] * (x[place] * scales[row])
        sums[item] = total


@kernel(T=FLOAT, U=FLOAT, V=WIDE)
def layer_norm_backward_rows(
    out: Pointer[T],
    scales: Pointer[V],
    g: Pointer[T],
    x: Pointer[T],
    weight: Pointer[U],
    rows: int,
    cols: int,
    eps: float,
) -> None:
    """Cotangent of x into out, and each row's scale and mean into scales (rows, 2)."""
    for row in range(group(), rows, groups()):
        source = x + row * cols
        cotangent = g + row * cols
        target = out + row * cols
        total = V(0.0)
        for i in range(thread(), cols, threads()):
            total = total + source[i]
        mean = group_sum(total) / V(cols)
        squares = V(0.0)
        across = V(0.0)
        inner = V(0.0)
        for i in range(thread(), cols, threads()):
            centred = source[i] - mean
            weighted = cotangent[i] * weight[i]
            squares = squares + centred * centred
            across = across + weighted
            inner = inner + weighted * centred
        scale = V(1.0) / sqrt(group_sum(squares) / V(cols) + V(eps))
        along = group_sum(inner) * scale * scale / V(cols)
        across = group_sum(across) / V(cols)
        if thread() == 0:
            scales[2 * row] = scale
            scales[2 * row + 1] = mean
        for i in range(thread(), cols, threads()):
            centred = source[i] - mean
            target[i] = scale * (cotangent[i] * weight[i] - across - centred * along)


@kernel(T=FLOAT, V=WIDE)
def layer_norm_sums(
    sums: Pointer[V],
    scales: Pointer[V],
    g: Pointer[T],
    x: Pointer[T],
    rows: int,
    cols: int,
    height: int,
    blocks: int,
    part: int,
    parts: int,
) -> None:
    """Cotangents of weight and bias from each block of rows, into sums (blocks, 2, cols)."""
    lo, hi = share(blocks * cols, part, parts)
    for item in range(lo, hi):
        block = truncdiv(item, cols)
        col = item - block * cols
        total = V(0.0)
        plain = V(0.0)
        for row in range(block * height, min((block + 1) * height, rows)):
            place = row * cols + col
            centred = x[place] - scales[2 * row + 1]
            total = total + g[place] * (centred * scales[2 * row])
            plain = plain + g[place]
        target = sums + block * 2 * cols
        target[col] = total
        target[cols + col] = plain


@lower("gpu", ops.rms_norm)
def _(launcher: Launcher, out: Operand, x: Operand, weight: Operand, *, eps: float) -> None:
    rows, cols = sizes_of(x)
    kind, weights = weights_in(launcher, x.dtype, weight)
    spec = rms_norm_rows(T=x.dtype, U=kind, V=x.dtype.compute)
    grid = groups_of_rows(rows, cols)
    launcher.launch(spec, out, x, *weights, rows, cols, eps, work=rows * cols, **grid)


@lower("gpu", ops.layer_norm)
def _(
    launcher: Launcher, out: Operand, x: Operand, weight: Operand, bias: Operand, *, eps: float
) -> None:
    rows, cols = sizes_of(x)
    kind, weights = weights_in(launcher, x.dtype, weight, bias)
    spec = layer_norm_rows(T=x.dtype, U=kind, V=x.dtype.compute)
    grid = groups_of_rows(rows, cols)
    launcher.launch(spec, out, x, *weights, rows, cols, eps, work=1.5 * rows * cols, **grid)


def _backward(
    launcher: Launcher,
    of_rows: Any,
    of_columns: Any,
    outs: tuple[Operand, ...],
    g: Operand,
    x: Operand,
    weight: Operand,
    eps: float,
) -> None:
    """Launch the kernel over rows, that over blocks of rows and columns, and the sum of these.

    The first kernel keeps as many numbers for a row as there are weights that have gradients.
    """
    rows, cols = sizes_of(x)
    wide = x.dtype.compute
    height, blocks = blocks_of(rows)
    dx, *others = outs
    kind, weights = weights_in(launcher, x.dtype, weight)
    scales = launcher.scratch(wide.nbytes(len(others) * rows))
    sums = launcher.scratch(wide.nbytes(blocks * len(others) * cols))
    launcher.launch(
        of_rows(T=x.dtype, U=kind, V=wide),
        *(dx, scales, g, x, *weights, rows, cols, eps),
        work=2 * rows * cols,
        **groups_of_rows(rows, cols),
    )
    launcher.launch(
        of_columns(T=x.dtype, V=wide),
        *(sums, scales, g, x, rows, cols, height, blocks),
        work=rows * cols,
        items=blocks * cols,
    )
    launch_sums(launcher, tuple(others), sums, wide, blocks)


@lower("gpu", ops.rms_norm_backward)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    g: Operand,
    x: Operand,
    weight: Operand,
    *,
    eps: float,
) -> None:
    _backward(launcher, rms_norm_backward_rows, rms_norm_sums, outs, g, x, weight, eps)


@lower("gpu", ops.layer_norm_backward)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    g: Operand,
    x: Operand,
    weight: Operand,
    *,
    eps: float,
) -> None:
    _backward(launcher, layer_norm_backward_rows, layer_norm_sums, outs, g, x, weight, eps)
