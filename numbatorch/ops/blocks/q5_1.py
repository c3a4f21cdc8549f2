"""Q5_1: 32 codes of 5 bits, the fifth bits apart, behind their scale and the least value."""

from collections.abc import Mapping

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, q4_1, register
from numbatorch.ops.blocks.layout import Array


def encode(values: Array) -> Mapping[str, Array]:
    """As Q4_1, with 31 for 15."""
    return q4_1.encode(values, 31)


def weighted(values: Array, importance: Array, mean_square: Array) -> Mapping[str, Array]:
    """As Q4_1, with 31 for 15."""
    return q4_1.weighted(values, importance, mean_square, 31)


Q5_1 = register(
    BlockType(
        dtype.Q5_1,
        fields=(("d", "<f2"), ("m", "<f2"), ("qh", "u1", 4), ("qs", "u1", 16)),
        codes=Packed((Bits("qs", 4, span=16), Bits("qh", 1))),
        least=Factor("m", negative=True),
        encode=encode,
        weighted=weighted,
    )
)
