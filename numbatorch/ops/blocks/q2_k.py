"""Q2_K: 256 codes of 2 bits, with a scale and a least value of 4 bits for each 16."""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import uint8
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import word_at


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """The low bits of the first 16 bytes."""
    return word_at(block, place) & 0x0F0F0F0F


@helper
def four_mins(block: Pointer[uint8], place: int) -> Any:
    """Their high bits."""
    return (word_at(block, place) >> 4) & 0x0F0F0F0F


Q2_K = register(
    BlockType(
        dtype.Q2_K,
        fields=(("scales", "u1", 16), ("qs", "u1", 64), ("d", "<f2"), ("dmin", "<f2")),
        codes=Packed((Bits("qs", 2, span=32),)),
        scale=Factor("d", Packed(four=four_scales), count=16),
        least=Factor("dmin", Packed(four=four_mins), count=16),
    )
)
