"""Q8_0: 32 int8 behind their scale."""

from collections.abc import Mapping

import numpy as np

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Packed, register
from numbatorch.ops.blocks.layout import Array, reciprocal


def encode(values: Array) -> Mapping[str, Array]:
    """d = max |x| / 127; q = x / d, halves away from zero."""
    scale = np.abs(values).max(axis=1, keepdims=True) / np.float32(127)
    scaled = values * reciprocal(scale)
    magnitude = np.floor(np.abs(scaled))
    magnitude += np.abs(scaled) - magnitude >= 0.5
    return {"d": scale[:, 0], "codes": np.sign(scaled) * magnitude}


Q8_0 = register(
    BlockType(
        dtype.Q8_0,
        fields=(("d", "<f2"), ("qs", "u1", 32)),
        codes=Packed((Bits("qs"),), signed=True),
        encode=encode,
    )
)
