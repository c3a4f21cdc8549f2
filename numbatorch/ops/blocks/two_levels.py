"""How K types are encoded: a scale for each group, rounded to so many times the block's scale.

Formulas: https://github.com/ggml-org/ggml/blob/master/src/ggml-quants.c, quantize_row_q4_K_ref and
quantize_row_q4_K_impl and those of the other types.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from numbatorch.ops.blocks.layout import Array
from numbatorch.ops.blocks.search import extremes, line, over, positive_scale

WIDE = (-0.9, 0.05, 36)  # trials where importance is given


def columns(values: Array, group: int) -> Array:
    """(n, block) values as (group, groups)."""
    return np.ascontiguousarray(values.reshape(-1, group).T)


def weighed(values: Array, importance: Array, mean_square: Array) -> Array:
    """Weights of errors: the importance times sqrt(mean square + x^2)."""
    found: Array = importance * np.sqrt(mean_square + values * values)
    return found


def block_mean_square(values: Array, times: int) -> Array:
    """(n, 1), of each block."""
    found: Array = np.float32(times) * np.square(values).mean(axis=1, keepdims=True)
    return found


def half(numbers: Array) -> Array:
    """As float16 holds them, in float32; those beyond its range stay infinite."""
    found: Array = numbers.astype(np.float16).astype(np.float32)
    return found


@dataclass(frozen=True)
class Line:
    """Codes from 0 on with a scale and a least value for each group.

    Attributes:
        most: the largest code.
        group: values of one.
        top: the largest scale and least value of a group.
        trials: see search.line.
        rough: small codes, whose errors count by size times the size of the value.
    """

    most: int
    group: int
    top: int
    trials: tuple[float, float, int]
    rough: bool = False

    def encode(self, values: Array) -> tuple[Array, Array, Array, Array, Array]:
        """(n, block) to d, dmin (n,), scales, mins (n, groups) and codes (n, block)."""
        x = columns(values, self.group)
        size = np.abs(x)
        weights = size if self.rough else np.sqrt(np.square(x).mean(axis=0)) + size
        scale, least = (
            found.reshape(len(values), -1)
            for found in line(x, weights, self.most, self.trials, absolute=self.rough)
        )
        d, numbers = self._parts(scale)
        dmin, mins = self._parts(least)
        return self._rounded(values, d, dmin, numbers, mins)

    def weighted(
        self, values: Array, importance: Array
    ) -> tuple[Array, Array, Array, Array, Array]:
        """As `encode`, with how much the error of each value counts."""
        mean_square = block_mean_square(values, 1 if self.rough else 2)
        weights = weighed(values, importance, mean_square)
        x, w = columns(values, self.group), columns(weights, self.group)
        scale, least = line(x, w, self.most, WIDE)
        total = w.sum(axis=0).reshape(len(values), -1).T
        d, numbers = positive_scale(scale.reshape(len(values), -1).T, total, self.top)
        dmin, mins = positive_scale(least.reshape(len(values), -1).T, total, self.top)
        return self._rounded(values, half(d), half(dmin), numbers.T, mins.T)

    def _parts(self, factors: Array) -> tuple[Array, Array]:
        largest = factors.max(axis=1, keepdims=True)
        numbers = np.rint(over(np.full_like(largest, self.top), largest) * factors)
        return half(largest[:, 0] / np.float32(self.top)), np.minimum(numbers, self.top)

    def _rounded(
        self, values: Array, d: Array, dmin: Array, numbers: Array, mins: Array
    ) -> tuple[Array, Array, Array, Array, Array]:
        grouped = values.reshape(len(values), -1, self.group)
        scale, least = (d[:, None] * numbers)[..., None], (dmin[:, None] * mins)[..., None]
        codes = np.clip(np.rint((grouped + least) * over(np.ones_like(scale), scale)), 0, self.most)
        return d, dmin, numbers, mins, codes.reshape(values.shape)


def rounded(values: Array, scales: Array, most: int) -> Array:
    """Codes of (n, block) values, from 0 on: the codes less `most`, times scales (n, groups)."""
    grouped = values.reshape(*scales.shape, -1)
    inverse = over(np.ones_like(scales), scales)[..., None]
    codes = np.clip(np.rint(grouped * inverse), -most, most - 1) + np.float32(most)
    found: Array = codes.reshape(values.shape)
    return found


def signed_parts(scales: Array, most: int) -> tuple[Array, Array]:
    """The block's scale, and integers from -most to most - 1 times which it is a group's.

    Args:
        scales: (n, groups).
    Returns:
        (n,) as float16 holds it, (n, groups).
    """
    inverse = over(np.full((len(scales),), -most, np.float32), extremes(scales.T))
    numbers = np.clip(np.rint(inverse[:, None] * scales), -most, most - 1)
    return half(over(np.ones_like(inverse), inverse)), numbers


def by_rows(
    found: Callable[[Array, Array], Array], values: Array, weights: Array, group: int
) -> Array:
    """A search for the scales of groups: (n, block) values and weights to (n, groups)."""
    return found(columns(values, group), columns(weights, group)).reshape(len(values), -1)
