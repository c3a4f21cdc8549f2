"""TQ1_0: 256 codes from 0 to 2 less 1, five of them a byte, behind their scale.

A byte is the first digits of a fraction in base 3, rounded up, in 256ths: times 3 ** n, and what is
above a byte left away, the digit n is what times 3 lies above a byte.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from numbatorch import dtype
from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.words import Table, uint8
from numbatorch.ops.blocks import BlockType, Packed, register
from numbatorch.ops.blocks.layout import Array, reciprocal, word_at

POWERS = Table((1, 3, 9, 27, 81), uint8)
RUNS = ((0, 32, 5), (160, 16, 5), (240, 4, 4))  # the first value, bytes, digits in each


@helper
def digits(block: Pointer[uint8], byte: int, number: int) -> Any:
    """One digit of four bytes."""
    word = word_at(block, byte)
    power = POWERS[number]
    even = ((word & 0x00FF00FF) * power) & 0x00FF00FF
    odd = (((word >> 8) & 0x00FF00FF) * power) & 0x00FF00FF
    return (((even * 3) >> 8) & 0x00FF00FF) | ((odd * 3) & 0xFF00FF00)


@helper
def four_codes(block: Pointer[uint8], place: int) -> Any:
    """32 bytes hold 160 of them, 16 bytes 80 and 4 bytes the last 16."""
    byte = place & 31
    number = place >> 5
    if place >= 160:
        byte = 32 + (place & 15)
        number = (place - 160) >> 4
    if place >= 240:
        byte = 48
        number = (place - 240) >> 2
    return digits(block, byte, number)


def ternary(values: Array) -> tuple[Array, Array]:
    """The scale of each block, and its codes from 0 on."""
    scale = np.abs(values).max(axis=1, keepdims=True)
    scaled = values * reciprocal(scale)
    rounded = np.sign(scaled) * (np.abs(scaled) >= 0.5)
    return scale[:, 0], (rounded + 1).astype(np.uint8)


def encode(values: Array) -> Mapping[str, Array]:
    """d = max |x|; q = x / d, halves away from zero."""
    scale, codes = ternary(values)
    found = []
    for start, count, digits in RUNS:
        numbers = codes[:, start : start + count * digits].reshape(-1, digits, count)
        weights = 3 ** np.arange(4, 4 - digits, -1)
        total = (numbers * weights[:, None]).sum(axis=1)
        found.append((total * 256 + 242) // 243)
    return {"d": scale, "qs": np.concatenate(found, axis=1)}


TQ1_0 = register(
    BlockType(
        dtype.TQ1_0,
        fields=(("qs", "u1", 52), ("d", "<f2")),
        codes=Packed(four=four_codes, bias=1),
        encode=encode,
    )
)
