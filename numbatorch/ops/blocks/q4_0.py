"""Q4_0: 32 codes of 4 bits less 8, behind their scale."""

from collections.abc import Mapping

import numpy as np

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Packed, register
from numbatorch.ops.blocks.layout import Array, reciprocal
from numbatorch.ops.blocks.search import over, symmetric_scale
from numbatorch.ops.blocks.two_levels import columns, half, weighed


def encode(values: Array, bias: int = 8) -> Mapping[str, Array]:
    """d = x / -bias at the x of largest magnitude; q = x / d + bias, rounded to 0 .. 2 bias - 1."""
    extreme = values[np.arange(len(values)), np.abs(values).argmax(axis=1)]
    scale = extreme[:, None] / np.float32(-bias)
    codes = (values * reciprocal(scale) + np.float32(bias + 0.5)).astype(np.uint8)
    return {"d": scale[:, 0], "codes": np.minimum(codes, 2 * bias - 1)}


def weighted(
    values: Array, importance: Array, mean_square: Array, bias: int = 8
) -> Mapping[str, Array]:
    """The best of several scales for these weights."""
    weights = weighed(values, importance, mean_square)
    d = half(symmetric_scale(columns(values, 32), columns(weights, 32), bias))
    codes = np.clip(np.rint(values * over(np.ones_like(d), d)[:, None]), -bias, bias - 1)
    return {"d": d, "codes": codes + bias}


Q4_0 = register(
    BlockType(
        dtype.Q4_0,
        fields=(("d", "<f2"), ("qs", "u1", 16)),
        codes=Packed((Bits("qs", 4, span=16),), bias=8),
        encode=encode,
        weighted=weighted,
    )
)
