"""IQ1_S: 32 groups of eight of -1, 0 and 1 from a grid, all of them an eighth more or less.

Four groups share a scale of 3 bits, and whether it is more. Codes count eighths, from -9 on.
"""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import BlockType, Factor, Packed, register
from numbatorch.ops.blocks.grids import grid
from numbatorch.ops.blocks.layout import word_at
from numbatorch.ops.blocks.words import spread_pairs

GRID = grid("IQ1_S")
CODES, HIGH = 2, 34  # the bytes that they begin at


@helper
def eighths(code: int, less: int, place: int) -> Any:
    """Four of the eight numbers of a code, and what all of them are off."""
    numbers = spread_pairs(GRID[code] >> ((place & 4) << 1))
    return (numbers << 3) + 0x02020202 * (1 - less)


@helper
def half_of_group(block: Pointer[uint8], group: int) -> Any:
    """Three high bits of each code, the scale and whether it is less."""
    return word_at(block, HIGH + (group >> 1 << 2)) >> ((group & 1) << 4)


@helper
def four_codes(block: Pointer[uint8], place: int) -> Any:
    """A code of the grid has a byte and three bits."""
    number = place >> 3
    low = (word_at(block, CODES + (number & -4)) >> (8 * (number & 3))) & 255
    half = half_of_group(block, place >> 5)
    high = (half >> (3 * (number & 3))) & 7
    return eighths(low | (high << 8), (half >> 15) & 1, place)


@helper
def two_scales(block: Pointer[uint8], group: int) -> Any:
    """Those of two groups."""
    bits = (word_at(block, HIGH + 2 * group) >> 12) & 0x00070007
    return (bits | (bits >> 8)) & 0x0707


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """2 s + 1 for a scale s."""
    found = two_scales(block, place) | (two_scales(block, place + 2) << 16)
    return (found << 1) | 0x01010101


IQ1_S = register(
    BlockType(
        dtype.IQ1_S,
        fields=(("d", "<f2"), ("qs", "u1", 32), ("qh", "<u2", 8)),
        codes=Packed(four=four_codes, bias=9),
        scale=Factor("d", Packed(four=four_scales), count=8, times=0.125),
    )
)
