"""IQ3_S: 64 groups of four numbers of a grid with signs; eight groups share a scale of 4 bits."""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import BlockType, Factor, Packed, register
from numbatorch.ops.blocks.grids import grid
from numbatorch.ops.blocks.layout import word_at
from numbatorch.ops.blocks.words import spread_nibbles, with_signs

GRID = grid("IQ3_S")
CODES, HIGH, SIGNS, SCALES = 2, 66, 74, 106  # the bytes that they begin at


@helper
def four_codes(block: Pointer[uint8], place: int) -> Any:
    """A code of the grid, whose numbers are 2 n + 1, has a byte and a bit; each value a sign."""
    group = place >> 2
    low = (word_at(block, CODES + (group & -4)) >> (8 * (group & 3))) & 255
    high = (word_at(block, HIGH + (group >> 5 << 2)) >> (group & 31)) & 1
    numbers = (spread_nibbles(GRID[low | (high << 8)]) << 1) | 0x01010101
    byte = place >> 3
    signs = word_at(block, SIGNS + (byte & -4)) >> (8 * (byte & 3) + (place & 4))
    return with_signs(numbers, signs)


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """2 s + 1 for a scale s."""
    return (spread_nibbles(word_at(block, SCALES) >> (4 * place)) << 1) | 0x01010101


IQ3_S = register(
    BlockType(
        dtype.IQ3_S,
        fields=(
            *(("d", "<f2"), ("qs", "u1", 64), ("qh", "u1", 8)),
            *(("signs", "u1", 32), ("scales", "u1", 4)),
        ),
        codes=Packed(four=four_codes, signed=True),
        scale=Factor("d", Packed(four=four_scales), count=8),
    )
)
