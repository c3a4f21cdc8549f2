"""Q4_1: 32 codes of 4 bits behind their scale and the least value."""

from collections.abc import Mapping

import numpy as np

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import Array, reciprocal
from numbatorch.ops.blocks.search import line, over
from numbatorch.ops.blocks.two_levels import WIDE, columns, half, weighed


def encode(values: Array, most: int = 15) -> Mapping[str, Array]:
    """m = min x; d = (max x - m) / most; q = (x - m) / d, rounded to 0 .. most."""
    least = values.min(axis=1, keepdims=True)
    scale = (values.max(axis=1, keepdims=True) - least) / np.float32(most)
    codes = ((values - least) * reciprocal(scale) + np.float32(0.5)).astype(np.uint8)
    return {"d": scale[:, 0], "m": least[:, 0], "codes": np.minimum(codes, most)}


def weighted(
    values: Array, importance: Array, mean_square: Array, most: int = 15
) -> Mapping[str, Array]:
    """The best of several scales and least values for these weights."""
    weights = weighed(values, importance, mean_square)
    scale, least = line(columns(values, 32), columns(weights, 32), most, WIDE)
    d, m = half(scale), -half(least)
    above = values - m[:, None]
    codes = np.clip(np.rint(above * over(np.ones_like(d), d)[:, None]), 0, most)
    return {"d": d, "m": m, "codes": codes}


Q4_1 = register(
    BlockType(
        dtype.Q4_1,
        fields=(("d", "<f2"), ("m", "<f2"), ("qs", "u1", 16)),
        codes=Packed((Bits("qs", 4, span=16),)),
        least=Factor("m", negative=True),
        encode=encode,
        weighted=weighted,
    )
)
