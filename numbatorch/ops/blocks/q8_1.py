"""Q8_1: 32 int8 behind their scale and, for products, the scale times the sum of the codes."""

from collections.abc import Mapping

import numpy as np

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Packed, q8_0, register
from numbatorch.ops.blocks.layout import Array


def encode(values: Array) -> Mapping[str, Array]:
    """As Q8_0, and s = d * the sum of q."""
    fields = dict(q8_0.encode(values))
    return {**fields, "s": fields["codes"].sum(axis=1, dtype=np.float32) * fields["d"]}


Q8_1 = register(
    BlockType(
        dtype.Q8_1,
        fields=(("d", "<f2"), ("s", "<f2"), ("qs", "u1", 32)),
        codes=Packed((Bits("qs"),), signed=True),
        encode=encode,
    )
)
