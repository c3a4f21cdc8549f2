"""Q3_K: 256 codes of 3 bits less 4, in 2 bits and 1, with a scale of 6 bits less 32 for each 16."""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import word_at

SCALES = 96  # the byte that they begin at


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """Low four bits: those of eight bytes, then the high ones of them; high two bits: of four."""
    low = word_at(block, SCALES + (place & 4)) >> (place >> 3 << 2)
    high = word_at(block, SCALES + 8) >> (place >> 1)
    return (low & 0x0F0F0F0F) | ((high & 0x03030303) << 4)


Q3_K = register(
    BlockType(
        dtype.Q3_K,
        fields=(("hmask", "u1", 32), ("qs", "u1", 64), ("scales", "u1", 12), ("d", "<f2")),
        codes=Packed((Bits("qs", 2, span=32), Bits("hmask", 1, span=32)), bias=4),
        scale=Factor("d", Packed(four=four_scales, bias=32), count=16),
    )
)
