"""Q5_K: 256 codes of 5 bits, the fifth bits apart, with scales and least values as Q4_K has."""

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.q4_k import four_mins, four_scales

Q5_K = register(
    BlockType(
        dtype.Q5_K,
        fields=(
            *(("d", "<f2"), ("dmin", "<f2"), ("scales", "u1", 12)),
            *(("qh", "u1", 32), ("qs", "u1", 128)),
        ),
        codes=Packed((Bits("qs", 4, span=32), Bits("qh", 1, span=32))),
        scale=Factor("d", Packed(four=four_scales), count=8),
        least=Factor("dmin", Packed(four=four_mins), count=8),
    )
)
