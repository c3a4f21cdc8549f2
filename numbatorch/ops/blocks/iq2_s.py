"""IQ2_S: 32 groups of eight numbers of a grid with signs; two groups share a scale of 4 bits."""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import BlockType, Factor, Packed, register
from numbatorch.ops.blocks.grids import grid
from numbatorch.ops.blocks.iq2_xxs import grid_numbers
from numbatorch.ops.blocks.layout import word_at
from numbatorch.ops.blocks.words import spread_nibbles, with_signs

GRID = grid("IQ2_S")
CODES, SIGNS, HIGH, SCALES = 2, 34, 66, 74  # the bytes that they begin at


@helper
def four_codes(block: Pointer[uint8], place: int) -> Any:
    """A code of the grid has a byte and two bits of another; each value a bit for its sign."""
    group = place >> 3
    move = 8 * (group & 3)
    low = (word_at(block, CODES + (group & -4)) >> move) & 255
    high = (word_at(block, HIGH + (group >> 4 << 2)) >> (2 * (group & 15))) & 3
    signs = word_at(block, SIGNS + (group & -4)) >> (move + (place & 4))
    return with_signs(grid_numbers(GRID[low | (high << 8)], place), signs)


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """2 s + 1 for a scale s."""
    word = word_at(block, SCALES + (place >> 3 << 2)) >> ((place & 4) << 2)
    return (spread_nibbles(word) << 1) | 0x01010101


IQ2_S = register(
    BlockType(
        dtype.IQ2_S,
        fields=(
            *(("d", "<f2"), ("qs", "u1", 32), ("signs", "u1", 32)),
            *(("qh", "u1", 8), ("scales", "u1", 8)),
        ),
        codes=Packed(four=four_codes, signed=True),
        scale=Factor("d", Packed(four=four_scales), count=16, times=0.125),
    )
)
