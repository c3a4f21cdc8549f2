"""How kernels read each GGML block type: one row of the table a type, one helper that decodes.

A helper takes the same block, or 256 values, of as many rows as a vector has lanes, and stores it
with a row in each lane. A weight is (code - bias) * scale - min. What it stores, in this order of
vectors:
    codes: per four values a word of four unsigned codes; of a type with signed codes, `words_signed`
    scales: per `group` values a float32
    mins: per 32 values a float32, of types that have them
Sources of the layouts and formulas stand in quantized/blocks.py, which the tests compare with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numbatorch import dtype as dtypes
from numbatorch.backends.cpu.kernel import Pointer, helper
from numbatorch.backends.cpu.language import float32, int32, uint8, uint32
from numbatorch.backends.cpu.simd import lanes, vconvert, vstore
from numbatorch.backends.cpu.simd_int8 import (
    bits_in_bytes,
    constant_by_element,
    helper_by_element,
    low_halves,
    row_halves,
    row_words,
    signed_bias,
    tile_vector,
    words_field,
    words_or,
    words_signed,
    words_store,
)


@dataclass(frozen=True)
class BlockForm:
    """How kernels read a block type.

    Attributes:
        name: of the dtype.
        decode: the helper, see the head of this file.
        units: runs of 32 values that one call of it decodes.
        group: values that share a scale, 16 or 32.
        bias: of the codes; a function where it depends on the processor.
        mins: 1 if the type has mins, else 0.
    """

    name: str
    decode: Any
    units: int
    group: int
    bias: int | Callable[[], int]
    mins: int = 0


@helper
def decode_q8_0(
    weight: Pointer[uint8],
    stride: int,
    last: int,
    codes: Pointer[uint32],
    scales: Pointer[float32],
    mins: Pointer[float32],
) -> None:
    """float16 scale, 32 int8."""
    words_store(codes, words_signed(row_words(weight + 2, stride, last, 8)))
    vstore(scales, row_halves(weight, stride, last))


@helper
def decode_q4_0(
    weight: Pointer[uint8],
    stride: int,
    last: int,
    codes: Pointer[uint32],
    scales: Pointer[float32],
    mins: Pointer[float32],
) -> None:
    """float16 scale, 16 bytes of two codes; the high halves are values 16 to 31."""
    both = row_words(weight + 2, stride, last, 4)
    words_store(codes, words_field(both, 0, 0x0F0F0F0F))
    words_store(codes + 4 * lanes(scales), words_field(both, 4, 0x0F0F0F0F))
    vstore(scales, row_halves(weight, stride, last))


@helper
def decode_q5_0(
    weight: Pointer[uint8],
    stride: int,
    last: int,
    codes: Pointer[uint32],
    scales: Pointer[float32],
    mins: Pointer[float32],
) -> None:
    """float16 scale, the fifth bits of 32 codes in 4 bytes, then as Q4_0."""
    both = row_words(weight + 6, stride, last, 4)
    fifth = tile_vector(row_words(weight + 2, stride, last, 1), 0)
    low = words_or(bits_in_bytes(fifth, 0), words_field(both, 0, 0x0F0F0F0F))
    high = words_or(bits_in_bytes(fifth, 16), words_field(both, 4, 0x0F0F0F0F))
    words_store(codes, low)
    words_store(codes + 4 * lanes(scales), high)
    vstore(scales, row_halves(weight, stride, last))


@helper
def decode_q4_k(
    weight: Pointer[uint8],
    stride: int,
    last: int,
    codes: Pointer[uint32],
    scales: Pointer[float32],
    mins: Pointer[float32],
) -> None:
    """float16 d and dmin, 8 scales and 8 mins of 6 bits in 12 bytes, 4 runs of 64 codes.

    Bytes 0 to 3 hold scales 0 to 3 in their low six bits, bytes 4 to 7 mins 0 to 3; scales and mins
    4 to 7 have their low four bits in bytes 8 to 11 and their high two bits atop the others.
    """
    n = lanes(scales)
    head = row_words(weight, stride, last, 4)
    d = low_halves(tile_vector(head, 0))
    dmin = low_halves(tile_vector(head, 0) >> 16)
    first = vconvert(tile_vector(head, 1), int32)
    second = vconvert(tile_vector(head, 2), int32)
    third = vconvert(tile_vector(head, 3), int32)
    for j in range(4):
        scale = (first >> 8 * j) & 63
        least = (second >> 8 * j) & 63
        vstore(scales + j * n, d * vconvert(scale, float32))
        vstore(mins + j * n, dmin * vconvert(least, float32))
        scale = ((third >> 8 * j) & 15) | (((first >> (8 * j + 6)) & 3) << 4)
        least = ((third >> (8 * j + 4)) & 15) | (((second >> (8 * j + 6)) & 3) << 4)
        vstore(scales + (j + 4) * n, d * vconvert(scale, float32))
        vstore(mins + (j + 4) * n, dmin * vconvert(least, float32))
    for run in range(4):
        both = row_words(weight + (16 + 32 * run), stride, last, 8)
        words_store(codes + 16 * run * n, words_field(both, 0, 0x0F0F0F0F))
        words_store(codes + (16 * run + 8) * n, words_field(both, 4, 0x0F0F0F0F))


@helper
def decode_q6_k(
    weight: Pointer[uint8],
    stride: int,
    last: int,
    codes: Pointer[uint32],
    scales: Pointer[float32],
    mins: Pointer[float32],
) -> None:
    """128 bytes of low four bits, 64 of high two bits, 16 int8 scales, float16 d.

    Of every 128 values the low bits stand in 64 bytes and the high ones in 32: value 32 * i + j has
    bits 4 * (i // 2) of byte 32 * (i % 2) + j, and bits 2 * i of byte j.
    """
    n = lanes(scales)
    d = row_halves(weight + 208, stride, last)
    for j in range(4):
        four = vconvert(tile_vector(row_words(weight + (192 + 4 * j), stride, last, 1), 0), int32)
        for i in range(4):
            scale = (four << (24 - 8 * i)) >> 24
            vstore(scales + (4 * j + i) * n, d * vconvert(scale, float32))
    for half in range(2):
        low = row_words(weight + 64 * half, stride, last, 8)
        more = row_words(weight + (64 * half + 32), stride, last, 8)
        high = row_words(weight + (128 + 32 * half), stride, last, 8)
        out = codes + 32 * half * n
        bits = words_field(high, -4, 0x30303030)
        words_store(out, words_or(words_field(low, 0, 0x0F0F0F0F), bits))
        bits = words_field(high, -2, 0x30303030)
        words_store(out + 8 * n, words_or(words_field(more, 0, 0x0F0F0F0F), bits))
        bits = words_field(high, 0, 0x30303030)
        words_store(out + 16 * n, words_or(words_field(low, 4, 0x0F0F0F0F), bits))
        bits = words_field(high, 2, 0x30303030)
        words_store(out + 24 * n, words_or(words_field(more, 4, 0x0F0F0F0F), bits))


FORMS = (
    BlockForm("Q8_0", decode_q8_0, units=1, group=32, bias=signed_bias),
    BlockForm("Q4_0", decode_q4_0, units=1, group=32, bias=8),
    BlockForm("Q5_0", decode_q5_0, units=1, group=32, bias=16),
    BlockForm("Q4_K", decode_q4_k, units=8, group=32, bias=0, mins=1),
    BlockForm("Q6_K", decode_q6_k, units=8, group=16, bias=32),
)
BLOCKS = tuple(form.name for form in FORMS)

decode = helper_by_element("decode", [(form.name, form.decode) for form in FORMS])
units = constant_by_element("units", [(form.name, form.units) for form in FORMS])
group = constant_by_element("group", [(form.name, form.group) for form in FORMS])
bias = constant_by_element("bias", [(form.name, form.bias) for form in FORMS])
has_mins = constant_by_element("has_mins", [(form.name, form.mins) for form in FORMS])
block_bytes = constant_by_element(
    "block_bytes", [(form.name, dtypes.by_name[form.name].itemsize) for form in FORMS]
)

GROUPS = {form.name: form.group for form in FORMS}
