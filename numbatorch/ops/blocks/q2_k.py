"""Q2_K: 256 codes of 2 bits, with a scale and a least value of 4 bits for each 16."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import Array, word_at
from numbatorch.ops.blocks.two_levels import Line

LINE = Line(most=3, group=16, top=15, trials=(-0.5, 0.1, 15), rough=True)


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """The low bits of the first 16 bytes."""
    return word_at(block, place) & 0x0F0F0F0F


@helper
def four_mins(block: Pointer[uint8], place: int) -> Any:
    """Their high bits."""
    return (word_at(block, place) >> 4) & 0x0F0F0F0F


def fields(found: tuple[Array, Array, Array, Array, Array]) -> Mapping[str, Array]:
    """Of a block, from what `Line` gives."""
    d, dmin, scales, mins, codes = found
    both = scales.astype(np.uint8) | mins.astype(np.uint8) << 4
    return {"d": d, "dmin": dmin, "scales": both, "codes": codes}


def encode(values: Array) -> Mapping[str, Array]:
    """See `Line`."""
    return fields(LINE.encode(values))


def weighted(values: Array, importance: Array, mean_square: Array) -> Mapping[str, Array]:
    """See `Line`."""
    return fields(LINE.weighted(values, importance))


Q2_K = register(
    BlockType(
        dtype.Q2_K,
        fields=(("scales", "u1", 16), ("qs", "u1", 64), ("d", "<f2"), ("dmin", "<f2")),
        codes=Packed((Bits("qs", 2, span=32),)),
        scale=Factor("d", Packed(four=four_scales), count=16),
        least=Factor("dmin", Packed(four=four_mins), count=16),
        encode=encode,
        weighted=weighted,
    )
)
