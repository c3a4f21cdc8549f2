"""IQ2_XXS: 32 groups of eight numbers of a grid with signs; four groups share a scale of 4 bits.

Eight bytes hold 32 values: four codes of the grid, then 7 signs of each group and the scale.
"""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import BlockType, Factor, Packed, register
from numbatorch.ops.blocks.grids import grid
from numbatorch.ops.blocks.layout import word_at
from numbatorch.ops.blocks.words import seven_signs, spread_pairs, with_signs

GRID = grid("IQ2_XXS")
CODES = 2  # the byte that they begin at


@helper
def grid_numbers(entry: int, place: int) -> Any:
    """Four of the eight numbers of a word: 8, 25 and 43 for 0, 1 and 2."""
    number = spread_pairs(entry >> ((place & 4) << 1))
    return 0x08080808 + 17 * number + ((number >> 1) & 0x01010101)


@helper
def four_codes(block: Pointer[uint8], place: int) -> Any:
    """See above."""
    byte = CODES + (place >> 5 << 3)
    number = (place >> 3) & 3
    entry = GRID[(word_at(block, byte) >> (8 * number)) & 255]
    signs = seven_signs(word_at(block, byte + 4) >> (7 * number))
    return with_signs(grid_numbers(entry, place), signs >> (place & 4))


@helper
def scale_bits(block: Pointer[uint8], group: int) -> Any:
    """The scale of 32 values."""
    return word_at(block, CODES + 4 + 8 * group) >> 28


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """2 s + 1 for a scale s."""
    low = scale_bits(block, place) | (scale_bits(block, place + 1) << 8)
    high = scale_bits(block, place + 2) | (scale_bits(block, place + 3) << 8)
    return ((low | (high << 16)) << 1) | 0x01010101


IQ2_XXS = register(
    BlockType(
        dtype.IQ2_XXS,
        fields=(("d", "<f2"), ("qs", "<u2", 32)),
        codes=Packed(four=four_codes, signed=True),
        scale=Factor("d", Packed(four=four_scales), count=8, times=0.125),
    )
)
