"""Q4_K: 256 codes of 4 bits, with a scale and a least value of 6 bits for each 32."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import Array, word_at
from numbatorch.ops.blocks.two_levels import Line

SCALES = 4  # the byte that they begin at
LINE = Line(most=15, group=32, top=63, trials=(-1.0, 0.1, 20))


@helper
def six_bits(block: Pointer[uint8], place: int, byte: int, shift: int) -> Any:
    """Four of eight numbers of 6 bits.

    Bytes 0 .. 3 hold scales 0 .. 3 in their low six bits, bytes 4 .. 7 mins 0 .. 3; scales and
    mins 4 .. 7 have their low four bits in bytes 8 .. 11 and their high two bits atop the others.
    """
    low = word_at(block, SCALES + byte)
    found = low & 0x3F3F3F3F
    if place > 0:
        rest = word_at(block, SCALES + 8) >> shift
        found = (rest & 0x0F0F0F0F) | ((low >> 2) & 0x30303030)
    return found


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """See `six_bits`."""
    return six_bits(block, place, 0, 0)


@helper
def four_mins(block: Pointer[uint8], place: int) -> Any:
    """See `six_bits`."""
    return six_bits(block, place, 4, 4)


def packed_scales(scales: Array, mins: Array) -> Array:
    """(n, 8) numbers of 6 bits each to (n, 12) bytes, see `six_bits`."""
    both = np.stack([scales, mins], axis=1).astype(np.uint8)
    low, high = both[:, :, :4], both[:, :, 4:]
    first = (low | (high >> 4) << 6).reshape(-1, 8)
    return np.concatenate([first, high[:, 0] & 15 | (high[:, 1] & 15) << 4], axis=1)


def fields(found: tuple[Array, Array, Array, Array, Array]) -> Mapping[str, Array]:
    """Of a block of Q4_K or Q5_K from what `Line` gives."""
    d, dmin, scales, mins, codes = found
    return {"d": d, "dmin": dmin, "scales": packed_scales(scales, mins), "codes": codes}


def encode(values: Array) -> Mapping[str, Array]:
    """See `Line`."""
    return fields(LINE.encode(values))


def weighted(values: Array, importance: Array, mean_square: Array) -> Mapping[str, Array]:
    """See `Line`."""
    return fields(LINE.weighted(values, importance))


Q4_K = register(
    BlockType(
        dtype.Q4_K,
        fields=(("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", 128)),
        codes=Packed((Bits("qs", 4, span=32),)),
        scale=Factor("d", Packed(four=four_scales), count=8),
        least=Factor("dmin", Packed(four=four_mins), count=8),
        encode=encode,
        weighted=weighted,
    )
)
