"""NVFP4: 64 numbers as MXFP4 has, behind a scale for each 16 in a byte: 4 bits of exponent and 3.

Source: https://docs.nvidia.com/cutlass/latest/media/docs/cpp/blackwell_functionality.html
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numbatorch import dtype
from numbatorch.errors import FormatError, message
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import Table, int32, uint8
from numbatorch.ops.blocks import Bits, BlockType, Factor, Packed, register
from numbatorch.ops.blocks.layout import Array, word_at
from numbatorch.ops.blocks.mxfp4 import E2M1, nearest

LARGEST = 126  # the code of 448


def _half(code: int) -> float:
    """Half of the number of a byte, whose highest bit does not count; 127 is read as 0."""
    exponent, mantissa = code >> 3 & 15, code & 7
    if code == 127:
        return 0.0
    return mantissa * 2.0**-10 if exponent == 0 else (8 + mantissa) * 2.0 ** (exponent - 11)


UE4M3 = Table(np.array([_half(c) for c in range(256)], np.float32).view(np.int32).tolist(), int32)


@helper
def four_bits_of_exponent(block: Pointer[uint8], group: int) -> Any:
    """A byte for each group."""
    return UE4M3[(word_at(block, 0) >> (8 * group)) & 255]


def rounded(values: Array) -> Array:
    """The codes of numbers from 0 on, halves up; from 256 on all are the largest, as in ggml."""
    bits = np.minimum(values, np.float32(448)).view(np.int32)
    normal = ((bits + (1 << 19)) >> 20) - (120 << 3)
    small = np.minimum((values * np.float32(512) + np.float32(0.5)).astype(np.int32), 7)
    return np.where(bits >> 23 <= 120, small, np.where(normal < 120, normal, LARGEST)).astype(
        np.uint8
    )


def encode(values: Array) -> Mapping[str, Array]:
    """d = max |x| / 6, rounded; the nearest numbers."""
    groups = values.reshape(-1, 4, 16)
    largest = np.abs(groups).max(axis=2)
    if (largest > 448 * 6).any():
        rule = f"there is {largest.max()}, where 448 * 6 is the largest"
        raise FormatError(message("quantize", "values are too large for the scales of NVFP4", rule))
    codes = rounded(largest / np.float32(6))
    scale = np.array(UE4M3, np.int32)[codes].view(np.float32)
    found = nearest(groups, scale[:, :, None])
    return {"d": codes, "codes": found.reshape(values.shape)}


NVFP4 = register(
    BlockType(
        dtype.NVFP4,
        fields=(("d", "u1", 4), ("qs", "u1", 32)),
        codes=Packed((Bits("qs", 4, span=8),), table=E2M1),
        scale=Factor(code=four_bits_of_exponent, count=4),
        encode=encode,
    )
)
