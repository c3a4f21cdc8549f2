"""IQ3_XXS: 64 groups of four numbers of a grid with signs; eight groups share a scale of 4 bits.

A word for 32 values has their scale and, for each eight, seven signs.
"""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import BlockType, Factor, Packed, register
from numbatorch.ops.blocks.grids import grid
from numbatorch.ops.blocks.layout import word_at
from numbatorch.ops.blocks.words import seven_signs, spread_nibbles, with_signs

GRID = grid("IQ3_XXS")
CODES, SIGNS = 2, 66  # the bytes that they begin at


@helper
def four_codes(block: Pointer[uint8], place: int) -> Any:
    """The numbers of a grid word are 4 + 8 n, but 62 for 7."""
    group = place >> 2
    code = (word_at(block, CODES + (group & -4)) >> (8 * (group & 3))) & 255
    number = spread_nibbles(GRID[code])
    last = ((number + 0x01010101) >> 3) & 0x01010101
    word = word_at(block, SIGNS + (place >> 5 << 2))
    signs = seven_signs(word >> (7 * ((place >> 3) & 3)))
    return with_signs(0x04040404 + 8 * number + 2 * last, signs >> (place & 4))


@helper
def scale_bits(block: Pointer[uint8], group: int) -> Any:
    """The scale of 32 values."""
    return word_at(block, SIGNS + 4 * group) >> 28


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """2 s + 1 for a scale s."""
    low = scale_bits(block, place) | (scale_bits(block, place + 1) << 8)
    high = scale_bits(block, place + 2) | (scale_bits(block, place + 3) << 8)
    return ((low | (high << 16)) << 1) | 0x01010101


IQ3_XXS = register(
    BlockType(
        dtype.IQ3_XXS,
        fields=(("d", "<f2"), ("qs", "u1", 64), ("signs", "<u4", 8)),
        codes=Packed(four=four_codes, signed=True),
        scale=Factor("d", Packed(four=four_scales), count=8, times=0.25),
    )
)
