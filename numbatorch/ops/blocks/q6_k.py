"""Q6_K: 256 codes of 6 bits less 32, in 4 and 2 bits, with an int8 scale for each 16."""

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register

Q6_K = register(
    BlockType(
        dtype.Q6_K,
        fields=(("ql", "u1", 128), ("qh", "u1", 64), ("scales", "u1", 16), ("d", "<f2")),
        codes=Packed((Bits("ql", 4, span=64), Bits("qh", 2, span=32)), bias=32),
        scale=Factor("d", Packed((Bits("scales"),), signed=True), count=16),
    )
)
