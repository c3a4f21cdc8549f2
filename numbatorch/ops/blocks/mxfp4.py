"""MXFP4: 32 numbers of 4 bits with a sign, two bits of exponent and one of mantissa, twice as
large, behind half of a power of 2 in a byte.

Source: https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import Table, int8, int32, uint8
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import Array, word_at

E2M1 = Table((0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12), int8)
# Bits of the float32 2 ** (e - 128) for each byte e; the first two have no exponent of their own.
E8M0 = Table((1 << 21, 1 << 22, *((e - 1) << 23 for e in range(2, 256))), int32)


@helper
def exponent(block: Pointer[uint8], group: int) -> Any:
    """The first byte."""
    return E8M0[word_at(block, 0) & 255]


def nearest(values: Array, scale: Array) -> Array:
    """The code of the number that times the scale is nearest, the smaller one of two.

    Scales have a few bits, so that what lies in the middle of two numbers is exact.
    """
    size = np.abs(values)
    codes = np.zeros(values.shape, np.uint8)
    for code in range(7):
        middle = np.float32((E2M1[code] + E2M1[code + 1]) / 2)
        codes += size > middle * scale
    codes *= scale > 0  # with none, all numbers are as near
    negative = (values < 0) & (codes > 0)
    return codes + (negative.view(np.uint8) << 3)


def encode(values: Array) -> Mapping[str, Array]:
    """e = floor(log2 max |x|) - 2 + 127; the nearest numbers."""
    largest = np.abs(values).max(axis=1, keepdims=True)
    exponents = np.where(largest > 0, np.floor(np.log2(largest)) - 2 + 127, 0).astype(np.uint8)
    scale = np.array(E8M0, np.int32)[exponents].view(np.float32)
    return {"e": exponents[:, 0], "codes": nearest(values, scale)}


MXFP4 = register(
    BlockType(
        dtype.MXFP4,
        fields=(("e", "u1"), ("qs", "u1", 16)),
        codes=Packed((Bits("qs", 4, span=16),), table=E2M1),
        scale=Factor(code=exponent),
        encode=encode,
    )
)
