"""CPU kernels of normalisation over groups and of its gradient: groups are read again in the cache.

A tensor lies as (images, groups, channels, length), where a group is one of `groups` over all
images. Weights (period, channels) repeat from group to group. Where images hold one element of a
group, as rows of a batch do, groups are columns, which are added up by block of rows: whoever takes
a block, the bits are the same.
"""

from typing import Any, NamedTuple

from numbatorch.language.kernel import Kernel, Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import add_reassoc, sqrt, truncdiv
from numbatorch.language.words import float64
from numbatorch.ops import standardize as ops
from numbatorch.ops.cpu.rows import total_of
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.norm import blocks_of, launch_sums
from numbatorch.ops.portable.rows import FLOAT, WIDE, in_type
from numbatorch.shape import numel

PIECE = 4096  # elements that are added up in their own type; such sums are added in float64


@helper
def total_in_pieces(x: Any, count: int, zero: float) -> float:
    """Sum of x[i], of any number of them."""
    total: float = float64(0.0)
    for i in range(0, count, PIECE):
        total += float64(total_of(x + i, min(PIECE, count - i), zero))
    return total


@helper
def squares_in_pieces(x: Any, count: int, mean: float, zero: float) -> float:
    """Sum of (x[i] - mean)**2."""
    total: float = float64(0.0)
    for i in range(0, count, PIECE):
        squares = zero
        for j in range(i, min(i + PIECE, count)):
            centred = x[j] - mean
            squares = add_reassoc(squares, centred * centred)
        total += float64(squares)
    return total


@kernel(T=FLOAT, V=WIDE)
def standardize_groups(
    out: Pointer[T], means: Pointer[V], variances: Pointer[V], x: Pointer[T], weight: Pointer[V],
    bias: Pointer[V], images: int, groups: int, channels: int, length: int, period: int,
    eps: float, part: int, parts: int,
) -> None:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias of each group, its mean and variance."""
    lo, hi = share(groups, part, parts)
    size = channels * length
    for group in range(lo, hi):
        total, squares = float64(0.0), float64(0.0)
        for image in range(images):
            total += total_in_pieces(x + (image * groups + group) * size, size, V(0.0))
        mean = V(total / float64(images * size))
        for image in range(images):
            run = x + (image * groups + group) * size
            squares += squares_in_pieces(run, size, mean, V(0.0))
        variance = V(squares / float64(images * size))
        scale = V(1.0) / sqrt(variance + V(eps))
        means[group] = mean
        variances[group] = variance
        first = (group % period) * channels
        for image in range(images):
            run = x + (image * groups + group) * size
            target = out + (image * groups + group) * size
            if length == 1:
                for c in range(channels):
                    target[c] = (run[c] - mean) * scale * weight[first + c] + bias[first + c]
            else:
                for c in range(channels):
                    factor, shift = scale * weight[first + c], bias[first + c]
                    for i in range(c * length, (c + 1) * length):
                        target[i] = (run[i] - mean) * factor + shift


@kernel(T=FLOAT, V=WIDE)
def standardize_groups_backward(
    out: Pointer[T], sums: Pointer[V], g: Pointer[T], x: Pointer[T], weight: Pointer[V],
    means: Pointer[V], variances: Pointer[V], images: int, groups: int, channels: int,
    length: int, period: int, eps: float, part: int, parts: int,
) -> None:  # fmt: skip
    """Cotangent of x, and those of weight and bias by round of the period (rounds, 2, weights)."""
    lo, hi = share(groups, part, parts)
    size, weights = channels * length, period * channels
    for group in range(lo, hi):
        mean, count = means[group], V(images * size)
        scale = V(1.0) / sqrt(variances[group] + V(eps))
        first = (group % period) * channels
        of_round = sums + truncdiv(group, period) * 2 * weights + first
        across, inner = float64(0.0), float64(0.0)
        for c in range(channels):
            total, total_centred = float64(0.0), float64(0.0)
            for image in range(images):
                start = (image * groups + group) * size + c * length
                for i in range(start, start + length, PIECE):
                    plain, centred = V(0.0), V(0.0)
                    for j in range(i, min(i + PIECE, start + length)):
                        plain = add_reassoc(plain, g[j])
                        centred = add_reassoc(centred, g[j] * (x[j] - mean))
                    total += float64(plain)
                    total_centred += float64(centred)
            of_round[c] = V(total_centred) * scale
            of_round[weights + c] = V(total)
            across += total * float64(weight[first + c])
            inner += total_centred * float64(weight[first + c])
        along = V(inner) * scale * scale / count
        level = V(across) / count
        for image in range(images):
            start = (image * groups + group) * size
            for c in range(channels):
                factor = weight[first + c]
                for i in range(start + c * length, start + (c + 1) * length):
                    out[i] = scale * (g[i] * factor - level - (x[i] - mean) * along)


@kernel(T=FLOAT, V=WIDE)
def column_sums(
    sums: Pointer[V], x: Pointer[T], rows: int, cols: int, height: int, blocks: int,
    part: int, parts: int,
) -> None:  # fmt: skip
    """sums (blocks, cols) of x (rows, cols), by block of rows."""
    lo, hi = share(blocks, part, parts)
    for block in range(lo, hi):
        total = sums + block * cols
        for i in range(cols):
            total[i] = V(0.0)
        for row in range(block * height, min((block + 1) * height, rows)):
            source = x + row * cols
            for i in range(cols):
                total[i] = total[i] + source[i]


@kernel(T=FLOAT, V=WIDE)
def column_squares(
    sums: Pointer[V], x: Pointer[T], means: Pointer[V], rows: int, cols: int, height: int,
    blocks: int, part: int, parts: int,
) -> None:  # fmt: skip
    """As `column_sums`, of (x - mean)**2."""
    lo, hi = share(blocks, part, parts)
    for block in range(lo, hi):
        total = sums + block * cols
        for i in range(cols):
            total[i] = V(0.0)
        for row in range(block * height, min((block + 1) * height, rows)):
            source = x + row * cols
            for i in range(cols):
                centred = source[i] - means[i]
                total[i] = total[i] + centred * centred


@kernel(T=FLOAT, V=WIDE)
def column_products(
    sums: Pointer[V], g: Pointer[T], x: Pointer[T], means: Pointer[V], rows: int, cols: int,
    height: int, blocks: int, part: int, parts: int,
) -> None:  # fmt: skip
    """As `column_sums`, of g and of g * (x - mean): sums (blocks, 2, cols)."""
    lo, hi = share(blocks, part, parts)
    for block in range(lo, hi):
        total = sums + block * 2 * cols
        for i in range(2 * cols):
            total[i] = V(0.0)
        for row in range(block * height, min((block + 1) * height, rows)):
            cotangent, source = g + row * cols, x + row * cols
            for i in range(cols):
                total[i] = total[i] + cotangent[i]
                total[cols + i] = total[cols + i] + cotangent[i] * (source[i] - means[i])


@kernel(V=WIDE)
def means_of_blocks(
    out: Pointer[V], sums: Pointer[V], rows: int, cols: int, blocks: int, part: int, parts: int
) -> None:
    """out[i] = the sum of sums[block, i], over rows."""
    lo, hi = share(cols, part, parts)
    for i in range(lo, hi):
        out[i] = sums[i]
    for block in range(1, blocks):
        for i in range(lo, hi):
            out[i] = out[i] + sums[block * cols + i]
    for i in range(lo, hi):
        out[i] = out[i] / V(rows)


@kernel(T=FLOAT, V=WIDE)
def standardize_columns(
    out: Pointer[T], x: Pointer[T], weight: Pointer[V], bias: Pointer[V], means: Pointer[V],
    variances: Pointer[V], scales: Pointer[V], rows: int, cols: int, eps: float,
    part: int, parts: int,
) -> None:  # fmt: skip
    """(x - mean) / sqrt(var + eps) * weight + bias of each column; scales are (parts, cols)."""
    lo, hi = share(rows, part, parts)
    scale = scales + part * cols
    for i in range(cols):
        scale[i] = weight[i] / sqrt(variances[i] + V(eps))
    for row in range(lo, hi):
        source, target = x + row * cols, out + row * cols
        for i in range(cols):
            target[i] = (source[i] - means[i]) * scale[i] + bias[i]


@kernel(T=FLOAT, V=WIDE)
def standardize_columns_backward(
    out: Pointer[T], g: Pointer[T], x: Pointer[T], weight: Pointer[V], means: Pointer[V],
    variances: Pointer[V], sums: Pointer[V], factors: Pointer[V], rows: int, cols: int,
    eps: float, part: int, parts: int,
) -> None:  # fmt: skip
    """Cotangent of x, of means of g and of g * (x - mean), sums (2, cols).

    Factors are (parts, 2, cols).
    """
    lo, hi = share(rows, part, parts)
    scale, along = factors + part * 2 * cols, factors + (part * 2 + 1) * cols
    for i in range(cols):
        inverse = V(1.0) / sqrt(variances[i] + V(eps))
        scale[i] = weight[i] * inverse
        along[i] = sums[cols + i] * inverse * inverse
    for row in range(lo, hi):
        cotangent, source, target = g + row * cols, x + row * cols, out + row * cols
        for i in range(cols):
            level = cotangent[i] - sums[i]
            target[i] = scale[i] * (level - (source[i] - means[i]) * along[i])


@kernel(T=FLOAT, V=WIDE)
def weights_of_columns(
    d_weight: Pointer[T], d_bias: Pointer[T], sums: Pointer[V], variances: Pointer[V], rows: int,
    cols: int, eps: float, part: int, parts: int,
) -> None:  # fmt: skip
    """Cotangents of weight and bias, of the means that `standardize_columns_backward` has."""
    lo, hi = share(cols, part, parts)
    for i in range(lo, hi):
        d_bias[i] = sums[i] * V(rows)
        d_weight[i] = sums[cols + i] * V(rows) / sqrt(variances[i] + V(eps))


class _Layout(NamedTuple):
    """What a tensor lies as."""

    images: int
    groups: int
    channels: int
    length: int
    period: int

    @property
    def is_columns(self) -> bool:
        return self.channels == self.length == 1 and self.images > 1


def _layout(x: Operand, weight: Operand, dims: tuple[int, ...]) -> _Layout:
    groups = numel([n for d, n in enumerate(x.shape) if d not in dims])
    images = x.shape[0] if 0 in dims and dims != tuple(range(len(x.shape))) else 1
    channels = numel([weight.shape[d] for d in dims])
    size = numel(x.shape) // max(images * groups, 1)
    period = max(numel(weight.shape) // channels, 1)
    return _Layout(images, groups, channels, size // channels, period)


def _launch_means(
    launcher: Launcher, of_blocks: Kernel, out: Any, operands: Any, x: Operand, sums: int
) -> None:
    """Means of the columns of x, of what a kernel sums up by block of rows: (sums, cols)."""
    wide, (rows, *_) = x.dtype.compute, x.shape
    cols = numel(x.shape) // rows
    height, blocks = blocks_of(rows)
    found = launcher.scratch(wide.nbytes(blocks * sums * cols))
    spec, of_blocks_means = of_blocks(T=x.dtype, V=wide), means_of_blocks(V=wide)
    launcher.launch(spec, found, *operands, rows, cols, height, blocks, work=numel(x.shape))
    words = (rows, sums * cols, blocks)
    launcher.launch(of_blocks_means, out, found, *words, work=blocks * sums * cols)


def _columns(
    launcher: Launcher, outs: tuple[Operand, ...], x: Operand, affine: Any, eps: float
) -> None:
    out, mean, var = outs
    wide, rows, cols = x.dtype.compute, x.shape[0], numel(mean.shape)
    _launch_means(launcher, column_sums, mean, (x,), x, 1)
    _launch_means(launcher, column_squares, var, (x, mean), x, 1)
    scales = launcher.scratch(wide.nbytes(launcher.parts * cols))
    spec = standardize_columns(T=x.dtype, V=wide)
    operands = (out, x, *affine, mean, var, scales)
    launcher.launch(spec, *operands, rows, cols, eps, work=numel(x.shape))


def _columns_backward(
    launcher: Launcher, outs: tuple[Operand, ...], x: Operand, operands: Any, eps: float
) -> None:
    dx, d_weight, d_bias = outs
    g, _, weight, mean, var = operands
    wide, rows, cols = x.dtype.compute, x.shape[0], numel(d_bias.shape)
    sums = launcher.scratch(wide.nbytes(2 * cols))
    _launch_means(launcher, column_products, sums, (g, x, mean), x, 2)
    factors = launcher.scratch(wide.nbytes(launcher.parts * 2 * cols))
    words = (rows, cols, eps)
    spec = standardize_columns_backward(T=x.dtype, V=wide)
    given = (dx, g, x, weight, mean, var, sums, factors)
    launcher.launch(spec, *given, *words, work=2 * numel(x.shape))
    of_affine = weights_of_columns(T=d_bias.dtype, V=wide)
    launcher.launch(of_affine, d_weight, d_bias, sums, var, *words, work=4 * cols)


@lower("cpu", ops.standardize)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    x: Operand,
    weight: Operand,
    bias: Operand,
    *,
    dims: tuple[int, ...],
    eps: float,
) -> None:
    wide, layout = x.dtype.compute, _layout(x, weight, dims)
    affine = [in_type(launcher, n, wide) for n in (weight, bias)]
    if layout.is_columns:
        _columns(launcher, outs, x, affine, eps)
    else:
        spec = standardize_groups(T=x.dtype, V=wide)
        launcher.launch(spec, *outs, x, *affine, *layout, eps, work=4 * numel(x.shape))


@lower("cpu", ops.standardize_backward)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    g: Operand,
    x: Operand,
    weight: Operand,
    mean: Operand,
    var: Operand,
    *,
    dims: tuple[int, ...],
    eps: float,
) -> None:
    wide, layout = x.dtype.compute, _layout(x, weight, dims)
    operands = (g, x, *(in_type(launcher, n, wide) for n in (weight, mean, var)))
    if layout.is_columns:
        _columns_backward(launcher, outs, x, operands, eps)
        return
    dx, *of_affine = outs
    rounds, weights = -(-layout.groups // layout.period), layout.period * layout.channels
    sums = launcher.scratch(wide.nbytes(rounds * 2 * weights))
    spec = standardize_groups_backward(T=x.dtype, V=wide)
    launcher.launch(spec, dx, sums, *operands, *layout, eps, work=5 * numel(x.shape))
    launch_sums(launcher, tuple(of_affine), sums, wide, rounds)
