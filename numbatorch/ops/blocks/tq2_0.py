"""TQ2_0: 256 codes of 2 bits less 1, behind their scale: -1, 0 and 1."""

from collections.abc import Mapping

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Packed, register, tq1_0
from numbatorch.ops.blocks.layout import Array


def encode(values: Array) -> Mapping[str, Array]:
    """d = max |x|; q = x / d, halves away from zero."""
    scale, codes = tq1_0.ternary(values)
    return {"d": scale, "codes": codes}


TQ2_0 = register(
    BlockType(
        dtype.TQ2_0,
        fields=(("qs", "u1", 64), ("d", "<f2")),
        codes=Packed((Bits("qs", 2, span=32),), bias=1),
        encode=encode,
    )
)
