"""Q8_K: 256 int8 behind a scale in float32; the sums of 16 codes each are there for products."""

from collections.abc import Mapping

import numpy as np

from numbatorch import dtype
from numbatorch.ops.blocks import Bits, BlockType, Packed, register
from numbatorch.ops.blocks.layout import Array, reciprocal


def encode(values: Array) -> Mapping[str, Array]:
    """d = x / -127 at the x of largest magnitude; q = x / d, rounded to even."""
    extreme = np.take_along_axis(values, np.abs(values).argmax(axis=1, keepdims=True), axis=1)
    inverse = np.float32(-127) * reciprocal(extreme)
    codes = np.minimum(np.rint(values * inverse), np.float32(127))
    sums = codes.reshape(len(codes), 16, 16).sum(axis=2)
    return {"d": reciprocal(inverse)[:, 0], "codes": codes, "bsums": sums}


Q8_K = register(
    BlockType(
        dtype.Q8_K,
        fields=(("d", "<f4"), ("qs", "u1", 256), ("bsums", "<i2", 16)),
        codes=Packed((Bits("qs"),), signed=True),
        encode=encode,
    )
)
