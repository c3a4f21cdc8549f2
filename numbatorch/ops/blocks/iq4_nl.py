"""IQ4_NL: 32 codes of 4 bits that are numbers of a codebook, behind their scale."""

from numbatorch import dtype
from numbatorch.language.words import Table, int8
from numbatorch.ops.blocks import Bits, BlockType, Packed, register

CODEBOOK = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)

IQ4_NL = register(
    BlockType(
        dtype.IQ4_NL,
        fields=(("d", "<f2"), ("qs", "u1", 16)),
        codes=Packed((Bits("qs", 4, span=16),), table=Table(CODEBOOK, int8)),
    )
)
