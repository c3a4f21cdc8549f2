"""CPU kernels of normalisation over groups and of its gradient: groups are read again in the cache.

A tensor lies as (images, groups, channels, length), where a group is one of `groups` over all
images. Weights (period, channels) repeat from group to group. Where images hold one element of a
group, as rows of a batch do, groups stand side by side and are taken in strips.
"""

from typing import Any, NamedTuple

from numbatorch.language.kernel import Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import add_reassoc, sqrt, truncdiv
from numbatorch.language.words import float64
from numbatorch.ops import standardize as ops
from numbatorch.ops.cpu.rows import total_of
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.norm import launch_sums
from numbatorch.ops.portable.rows import FLOAT, WIDE, in_type
from numbatorch.shape import numel

PIECE = 4096  # elements that are added up in their own type; such sums are added in float64
STRIP = 64  # groups side by side
STRIP_ROWS = 128  # that are added up in their own type


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
def standardize_columns(
    out: Pointer[T], means: Pointer[V], variances: Pointer[V], x: Pointer[T], weight: Pointer[V],
    bias: Pointer[V], room: Pointer[V], rows: int, groups: int, eps: float, part: int, parts: int,
) -> None:  # fmt: skip
    """As `standardize_groups` of (rows, groups)."""
    lo, hi = share(truncdiv(groups + STRIP - 1, STRIP), part, parts)
    for strip in range(lo, hi):
        first = strip * STRIP
        width = min(STRIP, groups - first)
        mean, variance, block = means + first, variances + first, room + first
        for i in range(width):
            mean[i] = V(0.0)
            variance[i] = V(0.0)
        for start in range(0, rows, STRIP_ROWS):
            for i in range(width):
                block[i] = V(0.0)
            for row in range(start, min(start + STRIP_ROWS, rows)):
                source = x + row * groups + first
                for i in range(width):
                    block[i] = block[i] + source[i]
            for i in range(width):
                mean[i] = mean[i] + block[i]
        for i in range(width):
            mean[i] = mean[i] / V(rows)
        for start in range(0, rows, STRIP_ROWS):
            for i in range(width):
                block[i] = V(0.0)
            for row in range(start, min(start + STRIP_ROWS, rows)):
                source = x + row * groups + first
                for i in range(width):
                    centred = source[i] - mean[i]
                    block[i] = block[i] + centred * centred
            for i in range(width):
                variance[i] = variance[i] + block[i]
        for i in range(width):
            variance[i] = variance[i] / V(rows)
            block[i] = weight[first + i] / sqrt(variance[i] + V(eps))
        for row in range(rows):
            source, target = x + row * groups + first, out + row * groups + first
            for i in range(width):
                target[i] = (source[i] - mean[i]) * block[i] + bias[first + i]


@kernel(T=FLOAT, V=WIDE)
def standardize_columns_backward(
    out: Pointer[T], sums: Pointer[V], g: Pointer[T], x: Pointer[T], weight: Pointer[V],
    means: Pointer[V], variances: Pointer[V], room: Pointer[V], rows: int, groups: int,
    eps: float, part: int, parts: int,
) -> None:  # fmt: skip
    """As `standardize_groups_backward` of (rows, groups); one round."""
    lo, hi = share(truncdiv(groups + STRIP - 1, STRIP), part, parts)
    for strip in range(lo, hi):
        first = strip * STRIP
        width = min(STRIP, groups - first)
        mean, d_weight, d_bias = means + first, sums + first, sums + groups + first
        plain, product = room + first, room + groups + first
        for i in range(width):
            d_weight[i] = V(0.0)
            d_bias[i] = V(0.0)
        for start in range(0, rows, STRIP_ROWS):
            for i in range(width):
                plain[i] = V(0.0)
                product[i] = V(0.0)
            for row in range(start, min(start + STRIP_ROWS, rows)):
                cotangent, source = g + row * groups + first, x + row * groups + first
                for i in range(width):
                    plain[i] = plain[i] + cotangent[i]
                    product[i] = product[i] + cotangent[i] * (source[i] - mean[i])
            for i in range(width):
                d_bias[i] = d_bias[i] + plain[i]
                d_weight[i] = d_weight[i] + product[i]
        for i in range(width):
            scale = V(1.0) / sqrt(variances[first + i] + V(eps))
            d_weight[i] = d_weight[i] * scale
            plain[i] = weight[first + i] * scale
            product[i] = scale * d_weight[i] / V(rows)
        for row in range(rows):
            cotangent, source = g + row * groups + first, x + row * groups + first
            target = out + row * groups + first
            for i in range(width):
                level = cotangent[i] - d_bias[i] / V(rows)
                target[i] = plain[i] * (level - (source[i] - mean[i]) * product[i])


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
    work = 4 * numel(x.shape)
    if layout.is_columns:
        room = launcher.scratch(wide.nbytes(layout.groups))
        words = (layout.images, layout.groups, eps)
        spec = standardize_columns(T=x.dtype, V=wide)
        launcher.launch(spec, *outs, x, *affine, room, *words, work=work)
    else:
        spec = standardize_groups(T=x.dtype, V=wide)
        launcher.launch(spec, *outs, x, *affine, *layout, eps, work=work)


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
    dx, *of_affine = outs
    wide, layout = x.dtype.compute, _layout(x, weight, dims)
    rounds, weights = -(-layout.groups // layout.period), layout.period * layout.channels
    sums = launcher.scratch(wide.nbytes(rounds * 2 * weights))
    operands = (g, x, *(in_type(launcher, n, wide) for n in (weight, mean, var)))
    work = 5 * numel(x.shape)
    if layout.is_columns:
        room = launcher.scratch(wide.nbytes(2 * layout.groups))
        words = (layout.images, layout.groups, eps)
        spec = standardize_columns_backward(T=x.dtype, V=wide)
        launcher.launch(spec, dx, sums, *operands, room, *words, work=work)
    else:
        spec = standardize_groups_backward(T=x.dtype, V=wide)
        launcher.launch(spec, dx, sums, *operands, *layout, eps, work=work)
    launch_sums(launcher, tuple(of_affine), sums, wide, rounds)
