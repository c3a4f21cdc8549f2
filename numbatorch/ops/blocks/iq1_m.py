"""IQ1_M: as IQ1_S, but each group is more or less, and two groups share a scale of 3 bits.

The float16 for the block stands in the highest four bits of four halves, whose others are scales.
"""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import BlockType, Factor, Packed, register
from numbatorch.ops.blocks.iq1_s import eighths
from numbatorch.ops.blocks.layout import word_at

HIGH, SCALES = 32, 48  # the bytes that the codes' high bits and the scales begin at


@helper
def four_codes(block: Pointer[uint8], place: int) -> Any:
    """A code of the grid has a byte and three bits; the next bit is whether it is less."""
    number = place >> 3
    low = (word_at(block, number & -4) >> (8 * (number & 3))) & 255
    high = word_at(block, HIGH + (number >> 3 << 2)) >> (4 * (number & 7))
    return eighths(low | ((high & 7) << 8), (high >> 3) & 1, place)


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """2 s + 1 for a scale s; a half has four."""
    half = word_at(block, SCALES + (place >> 3 << 2)) >> ((place & 4) << 2)
    low = (half & 7) | ((half & 0x38) << 5)
    high = ((half & 0x1C0) << 10) | ((half & 0xE00) << 15)
    return ((low | high) << 1) | 0x01010101


@helper
def scale_code(block: Pointer[uint8], group: int) -> Any:
    """The bits of the float16."""
    first = word_at(block, SCALES)
    last = word_at(block, SCALES + 4)
    low = ((first >> 12) & 0x000F) | ((first >> 24) & 0x00F0)
    return low | ((last >> 4) & 0x0F00) | ((last >> 16) & 0xF000)


IQ1_M = register(
    BlockType(
        dtype.IQ1_M,
        fields=(("qs", "u1", 32), ("qh", "u1", 16), ("scales", "<u2", 4)),
        codes=Packed(four=four_codes, bias=9),
        scale=Factor(
            code=scale_code,
            half=True,
            numbers=Packed(four=four_scales),
            count=16,
            times=0.125,
        ),
    )
)
