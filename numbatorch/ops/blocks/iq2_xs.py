"""IQ2_XS: 32 groups of eight numbers of a grid with signs; two groups share a scale of 4 bits."""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import BlockType, Factor, Packed, register
from numbatorch.ops.blocks.grids import grid
from numbatorch.ops.blocks.iq2_xxs import grid_numbers
from numbatorch.ops.blocks.layout import word_at
from numbatorch.ops.blocks.words import seven_signs, spread_nibbles, with_signs

GRID = grid("IQ2_XS")
CODES, SCALES = 2, 66  # the bytes that they begin at


@helper
def four_codes(block: Pointer[uint8], place: int) -> Any:
    """Nine bits of a half are a code of the grid, seven are signs."""
    half = word_at(block, CODES + (place >> 3 << 1)) & 0xFFFF
    signs = seven_signs(half >> 9)
    return with_signs(grid_numbers(GRID[half & 511], place), signs >> (place & 4))


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """2 s + 1 for a scale s."""
    word = word_at(block, SCALES + (place >> 3 << 2)) >> ((place & 4) << 2)
    return (spread_nibbles(word) << 1) | 0x01010101


IQ2_XS = register(
    BlockType(
        dtype.IQ2_XS,
        fields=(("d", "<f2"), ("qs", "<u2", 32), ("scales", "u1", 8)),
        codes=Packed(four=four_codes, signed=True),
        scale=Factor("d", Packed(four=four_scales), count=16, times=0.125),
    )
)
