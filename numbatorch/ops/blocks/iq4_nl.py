"""IQ4_NL: 32 codes of 4 bits that are numbers of a codebook, behind their scale."""

from collections.abc import Mapping

import numpy as np

from numbatorch import dtype
from numbatorch.language.words import Table, int8
from numbatorch.ops.blocks import Bits, BlockType, Packed, register
from numbatorch.ops.blocks.layout import Array
from numbatorch.ops.blocks.search import Nearest, book_scale, over
from numbatorch.ops.blocks.two_levels import block_mean_square, columns, half, weighed

CODEBOOK = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

NEAREST = Nearest(CODEBOOK)


def encode(values: Array) -> Mapping[str, Array]:
    """The best of several scales; errors weigh x^2."""
    return _searched(values, values * values)


def weighted(values: Array, importance: Array, mean_square: Array) -> Mapping[str, Array]:
    """The best of several scales."""
    return _searched(values, weighed(values, importance, block_mean_square(values, 2)))


def _searched(values: Array, weights: Array) -> Mapping[str, Array]:
    d = half(book_scale(columns(values, 32), columns(weights, 32), NEAREST))
    return {"d": d, "codes": NEAREST.code(values * over(np.ones_like(d), d)[:, None])}


IQ4_NL = register(
    BlockType(
        dtype.IQ4_NL,
        fields=(("d", "<f2"), ("qs", "u1", 16)),
        codes=Packed((Bits("qs", 4, span=16),), table=Table(CODEBOOK, int8)),
        encode=encode,
        weighted=weighted,
    )
)
