"""IQ4_XS: 256 codes of 4 bits, numbers of IQ4_NL's codebook, with a scale of 6 bits for each 32."""

from typing import Any

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import Table, int8, uint8
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.iq4_nl import CODEBOOK
from numbatorch.ops.blocks.layout import word_at
from numbatorch.ops.blocks.words import spread_nibbles, spread_pairs

HIGH, LOW = 2, 4  # the bytes that the scales' upper two and lower four bits begin at


@helper
def four_scales(block: Pointer[uint8], place: int) -> Any:
    """Four of eight, each with 4 bits of a word and 2 of a half."""
    low = spread_nibbles(word_at(block, LOW) >> (4 * place))
    high = spread_pairs(word_at(block, HIGH) >> (2 * place))
    return low | (high << 4)


IQ4_XS = register(
    BlockType(
        dtype.IQ4_XS,
        fields=(("d", "<f2"), ("scales_h", "<u2"), ("scales_l", "u1", 4), ("qs", "u1", 128)),
        codes=Packed((Bits("qs", 4, span=16),), table=Table(CODEBOOK, int8)),
        scale=Factor("d", Packed(four=four_scales, bias=32), count=8),
    )
)
