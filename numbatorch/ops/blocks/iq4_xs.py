"""IQ4_XS: 256 codes of 4 bits, numbers of IQ4_NL's codebook, with a scale of 6 bits for each 32."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import Table, int8, uint8
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.iq4_nl import CODEBOOK, NEAREST
from numbatorch.ops.blocks.layout import Array, word_at
from numbatorch.ops.blocks.search import book_scale, over
from numbatorch.ops.blocks.two_levels import block_mean_square, columns, signed_parts, weighed
from numbatorch.ops.blocks.words import spread_nibbles, spread_pairs

HIGH, LOW = 2, 4  # the bytes that the scales' upper two and lower four bits begin at


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """Four of eight, each with 4 bits of a word and 2 of a half."""
    low = spread_nibbles(word_at(block, LOW) >> (4 * place))
    high = spread_pairs(word_at(block, HIGH) >> (2 * place))
    return low | (high << 4)


def encode(values: Array) -> Mapping[str, Array]:
    """The best of several scales for each group; errors weigh x^2."""
    return _searched(values, values * values)


def weighted(values: Array, importance: Array, mean_square: Array) -> Mapping[str, Array]:
    """The best of several scales for each group."""
    return _searched(values, weighed(values, importance, block_mean_square(values, 2)))


def _searched(values: Array, weights: Array) -> Mapping[str, Array]:
    scale = book_scale(columns(values, 32), columns(weights, 32), NEAREST).reshape(-1, 8)
    d, numbers = signed_parts(scale, 32)
    scales = (d[:, None] * numbers)[:, :, None]
    grouped = values.reshape(-1, 8, 32)
    codes = NEAREST.code(grouped * over(np.ones_like(scales), scales)).reshape(values.shape)
    bits = (numbers + 32).astype(np.uint16)
    low = (bits[:, ::2] & 15 | (bits[:, 1::2] & 15) << 4).astype(np.uint8)
    high = np.bitwise_or.reduce((bits >> 4) << np.arange(0, 16, 2, dtype=np.uint16), axis=1)
    return {"d": d, "scales_l": low, "scales_h": high, "codes": codes}


IQ4_XS = register(
    BlockType(
        dtype.IQ4_XS,
        fields=(("d", "<f2"), ("scales_h", "<u2"), ("scales_l", "u1", 4), ("qs", "u1", 128)),
        codes=Packed((Bits("qs", 4, span=16),), table=Table(CODEBOOK, int8)),
        scale=Factor("d", Packed(four=four_scales, bias=32), count=8),
        encode=encode,
        weighted=weighted,
    )
)
