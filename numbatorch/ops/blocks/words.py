"""Words of four bytes: what helpers of layouts share, in kernels' language and in NumPy's."""

from typing import Any

from numbatorch.language.kernel import helper
from numbatorch.language.words import Table, uint8


@helper
def spread_nibbles(bits: int) -> Any:
    """The lowest four numbers of 4 bits, a byte each."""
    low = bits & 0xFFFF
    halves = (low | (low << 8)) & 0x00FF00FF
    return (halves | (halves << 4)) & 0x0F0F0F0F


@helper
def spread_pairs(bits: int) -> Any:
    """The lowest four numbers of 2 bits, a byte each."""
    low = bits & 0xFF
    halves = (low | (low << 12)) & 0x000F000F
    return (halves | (halves << 6)) & 0x03030303


@helper
def spread_bits(bits: int) -> Any:
    """The lowest four bits, a byte each."""
    low = bits & 15
    return (low | (low << 7) | (low << 14) | (low << 21)) & 0x01010101


@helper
def with_signs(word: int, signs: int) -> Any:
    """Four bytes from 1 to 127, negated where one of the lowest four bits is set."""
    ones = spread_bits(signs)
    return (word ^ (ones * 255)) + ones


SIGNS = Table([low | (low.bit_count() & 1) << 7 for low in range(128)], uint8)


@helper
def seven_signs(bits: int) -> Any:
    """Eight signs of the lowest 7 bits: an even number of them is set."""
    return SIGNS[bits & 127]
