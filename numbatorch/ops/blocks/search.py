"""Searches for the scales of groups of values: what encoders of block types share.

Groups are columns, (values of a group, groups), so that NumPy's loops are long ones. All searches
try scales around the obvious one, round the values with each to integers, and find the scale that
is best for these integers in closed form, by weighted least squares. They give the scales alone:
encoders round the values again, once scales have been rounded to what a block stores.

Formulas: https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c, make_qx_quants,
make_qkx2_quants, make_qkx3_quants, make_qp_quants, make_q3_quants and quantize_row_iq4_nl_impl.
"""

from collections.abc import Iterable

import numpy as np

from numbatorch.ops.blocks.layout import Array

SMALLEST = np.float32(1e-15)  # groups below it in magnitude are zeros
ROUNDS = 5  # of changing one integer after the other


def over(numerator: Array | float, denominator: Array) -> Array:
    """The quotient, 0 where the denominator is; errors of NumPy are ignored by who encodes."""
    found: Array = np.where(denominator != 0, numerator / denominator, np.float32(0))
    return found


def extremes(x: Array) -> Array:
    """The value of largest magnitude in each group, (groups,); of zeros 0."""
    low, high = x.min(axis=0), x.max(axis=0)
    found = np.where(-low > high, low, high)
    return np.where(np.abs(found) < SMALLEST, np.float32(0), found)


def symmetric_scale(x: Array, weights: Array, most: int) -> Array:
    """The scale of integers from -most to most - 1.

    Args:
        x, weights: (n, groups) float32.
    Returns:
        (groups,) float32.
    """
    extreme = extremes(x)
    weighted, codes = weights * x, np.empty_like(x)
    best, scale = np.zeros_like(extreme), np.zeros_like(extreme)
    for number in (0, *range(-9, 0), *range(1, 10)):
        inverse = over(np.full_like(extreme, -(most + np.float32(0.1) * number)), extreme)
        np.rint(np.multiply(x, inverse, out=codes), out=codes)
        np.clip(codes, -most, most - 1, out=codes)
        both = np.einsum("ng,ng->g", weighted, codes)
        square = np.einsum("ng,ng,ng->g", weights, codes, codes)
        found = over(both, square)
        better = found * both > best
        best, scale = np.where(better, found * both, best), np.where(better, found, scale)
    return scale


def book_scale(x: Array, weights: Array, nearest: "Nearest") -> Array:
    """The scale of numbers of a codebook, whose first is the one of largest magnitude."""
    extreme = extremes(x)
    first = nearest.numbers[0]
    weighted = weights * x
    best, scale = np.zeros_like(extreme), np.zeros_like(extreme)
    for number in (-first - first, *range(-7, 8)):
        inverse = over(np.full_like(extreme, number + first), extreme)
        codes = nearest.number(x * inverse)
        both = np.einsum("ng,ng->g", weighted, codes)
        square = np.einsum("ng,ng,ng->g", weights, codes, codes)
        found = over(both, square)
        better = found * both > best
        best, scale = np.where(better, found * both, best), np.where(better, found, scale)
    return scale


class Nearest:
    """The nearest entry of a rising list of integers within -128 to 127; of two the greater one."""

    def __init__(self, numbers: Iterable[int]) -> None:
        self.numbers = tuple(numbers)
        halves = np.arange(-256, 256)[:, None]  # a midpoint is a multiple of a half
        apart = np.abs(halves + 0.5 - 2 * np.array(self.numbers))
        self._codes = apart.argmin(axis=1).astype(np.uint8)
        self._found = np.array(self.numbers, np.float32)[self._codes]

    def code(self, x: Array) -> Array:
        """Which entry it is."""
        found: Array = self._codes[self._place(x)]
        return found

    def number(self, x: Array) -> Array:
        """The entry, float32."""
        found: Array = self._found[self._place(x)]
        return found

    def _place(self, x: Array) -> Array:
        place = np.clip(np.floor(x * np.float32(2)) + np.float32(256), 0, 511)
        return place.astype(np.int16)


def line(
    x: Array,
    weights: Array,
    most: int,
    trials: tuple[float, float, int],
    absolute: bool = False,
) -> tuple[Array, Array]:
    """The scale of integers from 0 to `most`, and what is subtracted, which is not negative.

    Args:
        x, weights: (n, groups) float32.
        trials: the first, the step and the last number of what is added to `most`.
        absolute: errors count by size, not by square.
    Returns:
        scale and least, (groups,) float32.
    """
    least, high = np.minimum(x.min(axis=0), np.float32(0)), x.max(axis=0)
    codes, part = np.empty_like(x), np.empty_like(x)
    total, total_x = weights.sum(axis=0), np.einsum("ng,ng->g", weights, x)
    weighted = weights * x
    square_x = np.einsum("ng,ng->g", weighted, x)

    def measured(levels: float) -> tuple[Array, Array, Array]:
        span = high - least
        np.multiply(np.subtract(x, least, out=codes), over(np.full_like(span, levels), span), codes)
        np.clip(np.rint(codes, out=codes), 0, np.float32(most), out=codes)
        np.multiply(weights, codes, out=part)
        return (
            part.sum(axis=0),
            np.einsum("ng,ng->g", part, codes),
            np.einsum("ng,ng->g", weighted, codes),
        )

    def error(scale: Array, least: Array, sums: tuple[Array, Array, Array]) -> Array:
        if absolute:
            np.multiply(codes, scale, out=part)
            np.subtract(np.add(part, least, out=part), x, out=part)
            sizes: Array = np.einsum("ng,ng->g", weights, np.abs(part, out=part))
            return sizes
        one, two, both = (found.astype(np.float64) for found in sums)
        pairs = 2 * scale.astype(np.float64) * (least * one - both)
        ends = scale * (scale * two) + least * (least * total - 2 * total_x.astype(np.float64))
        squares: Array = ends + pairs + square_x
        return squares

    scale = (high - least) / np.float32(most)
    best = error(scale, least, measured(most))
    first, step, last = trials
    for number in range(last + 1):
        sums = measured(first + step * number + most)  # from the best least value so far
        one, two, both = sums
        size = total * two - one * one
        slope = over(total * both - total_x * one, size)
        shift = over(two * total_x - one * both, size)
        slope = np.where(shift > 0, over(both, two), slope)
        shift = np.minimum(shift, np.float32(0))
        found = error(slope, shift, sums)
        better = (found < best) & (size > 0)
        best = np.where(better, found, best)
        scale, least = np.where(better, slope, scale), np.where(better, shift, least)
    return scale, -least


def positive_scale(x: Array, weights: Array, most: int) -> tuple[Array, Array]:
    """The scale of integers from 0 to `most`, and these.

    Args:
        x, weights: (n, groups) float32, from 0 on.
    Returns:
        (groups,) and (n, groups) float32.
    """
    largest = x.max(axis=0)
    largest = np.where(largest < SMALLEST, np.float32(0), largest)
    inverse = over(np.full_like(largest, most), largest)
    best = None
    for number in (0, *range(-4, 0), *range(1, 5)):
        trial = over(np.full_like(largest, most + np.float32(0.1) * number), largest)
        codes = np.minimum(np.rint(trial * x), np.float32(most))
        error = np.einsum("ng,ng->g", weights, (x - over(np.ones_like(trial), trial) * codes) ** 2)
        better = error < (error + 1 if best is None else best)
        inverse = np.where(better, trial, inverse)
        best = error if best is None else np.minimum(best, error)
    codes = np.minimum(np.rint(inverse * x), np.float32(most))
    return changed(x, weights, codes, 0, most)


def changed(x: Array, weights: Array, codes: Array, least: int, most: int) -> tuple[Array, Array]:
    """Integers that are changed one by one as long as that is better, and their scale."""
    both = np.einsum("ng,ng,ng->g", weights, x, codes)
    square = np.einsum("ng,ng,ng->g", weights, codes, codes)
    moving = np.arange(x.shape[1])  # groups of which the last round has changed an integer
    own_x, own_weights, own_codes = x, weights, codes
    for _ in range(ROUNDS):
        before = own_codes.copy()
        both[moving], square[moving] = _one_round(
            own_x, own_weights, own_codes, both[moving], square[moving], least, most
        )
        codes[:, moving] = own_codes
        place = np.flatnonzero((before != own_codes).any(axis=0))
        if not place.size:
            break
        moving = moving[place]
        own_x, own_weights, own_codes = x[:, moving], weights[:, moving], codes[:, moving]
    return over(both, square), codes


def _one_round(
    x: Array, weights: Array, codes: Array, both: Array, square: Array, least: int, most: int
) -> tuple[Array, Array]:
    """Each integer changed where that is better, in place, and the sums with it."""
    for value, weight, code in zip(x, weights, codes, strict=True):
        weighted = weight * value
        rest = both - weighted * code
        rest_square = square - weight * code * code
        wanted = np.rint(over(value * rest_square, rest))
        np.minimum(np.maximum(wanted, least, out=wanted), most, out=wanted)
        new = rest + weighted * wanted
        new_square = rest_square + weight * wanted * wanted
        better = (rest > 0) & (new_square > 0) & (new * new * square > both * both * new_square)
        np.copyto(code, wanted, where=better)
        np.copyto(both, new, where=better)
        np.copyto(square, new_square, where=better)
    return both, square
