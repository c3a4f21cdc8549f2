"""Q5_0: 32 codes of 5 bits less 16, the fifth bits apart, behind their scale."""

from collections.abc import Mapping

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Packed, q4_0, register
from numbatorch.ops.blocks.layout import Array


def encode(values: Array) -> Mapping[str, Array]:
    """As Q4_0, with 16 for 8."""
    return q4_0.encode(values, 16)


def weighted(values: Array, importance: Array, mean_square: Array) -> Mapping[str, Array]:
    """As Q4_0, with 16 for 8."""
    return q4_0.weighted(values, importance, mean_square, 16)


Q5_0 = register(
    BlockType(
        dtype.Q5_0,
        fields=(("d", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)),
        codes=Packed((Bits("qs", 4, span=16), Bits("qh", 1)), bias=16),
        encode=encode,
        weighted=weighted,
    )
)
