"""Q4_K: 256 codes of 4 bits, with a scale and a least value of 6 bits for each 32."""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import word_at

SCALES = 4  # the byte that they begin at


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


Q4_K = register(
    BlockType(
        dtype.Q4_K,
        fields=(("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12), ("qs", "u1", 128)),
        codes=Packed((Bits("qs", 4, span=32),)),
        scale=Factor("d", Packed(four=four_scales), count=8),
        least=Factor("dmin", Packed(four=four_mins), count=8),
    )
)
