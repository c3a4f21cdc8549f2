"""Q6_K: 256 codes of 6 bits less 32, in 4 and 2 bits, with an int8 scale for each 16."""

from collections.abc import Mapping

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import Array
from numbatorch.ops.blocks.search import symmetric_scale
from numbatorch.ops.blocks.two_levels import columns, rounded, signed_parts


def encode(values: Array) -> Mapping[str, Array]:
    """Errors weigh x^2."""
    return _searched(values, values * values)


def weighted(values: Array, importance: Array, mean_square: Array) -> Mapping[str, Array]:
    """Errors weigh the importance."""
    return _searched(values, importance)


def _searched(values: Array, weights: Array) -> Mapping[str, Array]:
    scale = symmetric_scale(columns(values, 16), columns(weights, 16), 32)
    d, numbers = signed_parts(scale.reshape(len(values), 16), 128)
    codes = rounded(values, d[:, None] * numbers, 32)
    return {"d": d, "scales": numbers, "codes": codes}


Q6_K = register(
    BlockType(
        dtype.Q6_K,
        fields=(("ql", "u1", 128), ("qh", "u1", 64), ("scales", "u1", 16), ("d", "<f2")),
        codes=Packed((Bits("ql", 4, span=64), Bits("qh", 2, span=32)), bias=32),
        scale=Factor("d", Packed((Bits("scales"),), signed=True), count=16),
        encode=encode,
        weighted=weighted,
    )
)
