"""Q3_K: 256 codes of 3 bits less 4, in 2 bits and 1, with a scale of 6 bits less 32 for each 16."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import Array, word_at
from numbatorch.ops.blocks.search import changed, extremes, over, symmetric_scale
from numbatorch.ops.blocks.two_levels import (
    block_mean_square,
    columns,
    half,
    rounded,
    signed_parts,
    weighed,
)

SCALES = 96  # the byte that they begin at


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """Low four bits: those of eight bytes, then the high ones of them; high two bits: of four."""
    low = word_at(block, SCALES + (place & 4)) >> (place >> 3 << 2)
    high = word_at(block, SCALES + 8) >> (place >> 1)
    return (low & 0x0F0F0F0F) | ((high & 0x03030303) << 4)


def packed_scales(numbers: Array) -> Array:
    """(n, 16) integers from -32 to 31 to (n, 12) bytes, see `four_scales`."""
    both = (numbers + 32).astype(np.uint8)
    low = both[:, :8] & 15 | (both[:, 8:] & 15) << 4
    high = (both >> 4).reshape(-1, 4, 4) << np.arange(0, 8, 2, dtype=np.uint8)[:, None]
    return np.concatenate([low, np.bitwise_or.reduce(high, axis=1)], axis=1)


def encode(values: Array) -> Mapping[str, Array]:
    """Each group's codes are changed one by one while that is better; errors weigh x^2."""
    x = columns(values, 16)
    inverse = over(np.full(x.shape[1], -4, np.float32), extremes(x))
    codes = np.clip(np.rint(inverse * x), -4, 3)
    scale, _ = changed(x, x * x, codes, -4, 3)
    d, numbers = signed_parts(scale.reshape(len(values), 16), 32)
    return _fields(values, d, numbers)


def weighted(values: Array, importance: Array, mean_square: Array) -> Mapping[str, Array]:
    """The best of several scales for each group, and then for the block."""
    weights = weighed(values, importance, block_mean_square(values, 2))
    x, w = columns(values, 16), columns(weights, 16)
    scale = symmetric_scale(x, w, 4).reshape(len(values), 16)
    d = half(symmetric_scale(scale.T, w.sum(axis=0).reshape(len(values), 16).T, 32))
    numbers = np.clip(np.rint(scale * over(np.ones_like(d), d)[:, None]), -32, 31)
    return _fields(values, d, numbers)


def _fields(values: Array, d: Array, numbers: Array) -> Mapping[str, Array]:
    codes = rounded(values, d[:, None] * numbers, 4)
    return {"d": d, "scales": packed_scales(numbers), "codes": codes}


Q3_K = register(
    BlockType(
        dtype.Q3_K,
        fields=(("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), ("d", "<f2")),
        codes=Packed((Bits("qs", 2, span=32), Bits("hmask", 1, span=32)), bias=4),
        scale=Factor("d", Packed(four=four_scales, bias=32), count=16),
        encode=encode,
        weighted=weighted,
    )
)
