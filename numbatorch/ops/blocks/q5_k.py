"""Q5_K: 256 codes of 5 bits, the fifth bits apart, with scales and least values as Q4_K has."""

from collections.abc import Mapping

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import Array
from numbatorch.ops.blocks.q4_k import fields, four_mins, four_scales
from numbatorch.ops.blocks.two_levels import Line

LINE = Line(most=31, group=32, top=63, trials=(-0.5, 0.1, 15))


def encode(values: Array) -> Mapping[str, Array]:
    """See `Line`."""
    return fields(LINE.encode(values))


def weighted(values: Array, importance: Array, mean_square: Array) -> Mapping[str, Array]:
    """See `Line`."""
    return fields(LINE.weighted(values, importance))


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
        encode=encode,
        weighted=weighted,
    )
)
