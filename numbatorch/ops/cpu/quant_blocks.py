"""How kernels read each GGML block type: one row of the table a type, helpers that decode.

They decode steps of 256 values of a row, that is one block of 256 or eight of 32, as
(code - bias) * scale - min. Sources of layouts and formulas stand in quantized/blocks.py, which the
tests compare with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numbatorch import dtype as dtypes
from numbatorch.language.kernel import Pointer, helper, view
from numbatorch.language.simd.int8 import signed_bias
from numbatorch.language.simd.vectors import splat, vconcat, vconvert, vload
from numbatorch.language.simd.words import (
    block_halves,
    constant_by_element,
    helper_by_element,
    scattered_bits,
    shift_runs,
    vbits,
    words_at,
    words_signed,
)
from numbatorch.language.words import float16, float32, int8, uint8

STEP = 256  # values that are decoded together


@dataclass(frozen=True)
class BlockForm:
    """How kernels read a block type.

    Blocks of 32 get `last`, the last of the eight blocks that there is; those after it repeat it.

    Attributes:
        name: of the dtype.
        codes: (block, last, pair) -> the codes of values 64 * pair to 64 * pair + 63 of a step in
            order, as 16 words of four bytes; of signed codes `words_signed`.
        scales: (block, last) -> float32, one for each group of values.
        group: values that share a scale, 16 or 32.
        bias: of the codes; a function where it depends on the processor.
        mins: (block) -> float32, one for each 32 values, or None.
    """

    name: str
    codes: Any
    scales: Any
    group: int
    bias: int | Callable[[], int]
    mins: Any = None


@helper
def codes_q8_0(block: Pointer[uint8], last: int, pair: int) -> Any:
    """Behind a float16 scale 32 int8."""
    low = block + (34 * min(2 * pair, last) + 2)
    high = block + (34 * min(2 * pair + 1, last) + 2)
    return words_signed(vconcat(words_at(low, 8), words_at(high, 8)))


@helper
def scales_q8_0(block: Pointer[uint8], last: int) -> Any:
    """At the start of each block."""
    return block_halves(block, 34, last)


@helper
def codes_q4_0(block: Pointer[uint8], last: int, pair: int) -> Any:
    """Behind a float16 scale 16 bytes of two codes; values 16 to 31 in their high halves."""
    low = words_at(block + (18 * min(2 * pair, last) + 2), 4)
    high = words_at(block + (18 * min(2 * pair + 1, last) + 2), 4)
    both = vconcat(vconcat(low, low), vconcat(high, high))
    return shift_runs(both, 4, 4) & 0x0F0F0F0F


@helper
def scales_q4_0(block: Pointer[uint8], last: int) -> Any:
    """At the start of each block."""
    return block_halves(block, 18, last)


@helper
def codes_q5_0(block: Pointer[uint8], last: int, pair: int) -> Any:
    """Behind a float16 scale the fifth bits of 32 codes in 4 bytes, then as Q4_0."""
    low = block + 22 * min(2 * pair, last)
    high = block + 22 * min(2 * pair + 1, last)
    first = words_at(low + 6, 4)
    second = words_at(high + 6, 4)
    both = vconcat(vconcat(first, first), vconcat(second, second))
    fifth = scattered_bits(low + 2, high + 2, 16)
    return (shift_runs(both, 4, 4) & 0x0F0F0F0F) | fifth


@helper
def scales_q5_0(block: Pointer[uint8], last: int) -> Any:
    """At the start of each block."""
    return block_halves(block, 22, last)


@helper
def codes_q4_k(block: Pointer[uint8], last: int, pair: int) -> Any:
    """Behind 16 bytes of scales 4 runs of 32 bytes; values 32 to 63 in their high halves."""
    run = words_at(block + (16 + 32 * pair), 8)
    return shift_runs(vconcat(run, run), 8, 4) & 0x0F0F0F0F


@helper
def six_bits(low: Any, high: Any, shift: int) -> Any:
    """Eight numbers of 6 bits: four of `low`, then four bits of `high` each, the rest of `low`."""
    first = low & 0x3F3F3F3F
    rest = ((high >> shift) & 0x0F0F0F0F) | ((low >> 2) & 0x30303030)
    return vconvert(vbits(vconcat(first, rest), uint8), float32)


@helper
def scales_q4_k(block: Pointer[uint8], last: int) -> Any:
    """float16 d and dmin, then 8 scales and 8 mins of 6 bits.

    Bytes 0 to 3 hold scales 0 to 3 in their low six bits, bytes 4 to 7 mins 0 to 3; scales and mins
    4 to 7 have their low four bits in bytes 8 to 11 and their high two bits atop the others.
    """
    d = view(block, float16)[0]
    return six_bits(words_at(block + 4, 1), words_at(block + 12, 1), 0) * d


@helper
def mins_q4_k(block: Pointer[uint8]) -> Any:
    """See `scales_q4_k`."""
    dmin = view(block + 2, float16)[0]
    return six_bits(words_at(block + 8, 1), words_at(block + 12, 1), 4) * dmin


@helper
def codes_q6_k(block: Pointer[uint8], last: int, pair: int) -> Any:
    """128 bytes of low four bits, 64 of high two bits.

    Of every 128 values the low bits stand in 64 bytes and the high ones in 32: value 32 * i + j has
    bits 4 * (i // 2) of byte 32 * (i % 2) + j, and bits 2 * i of byte j.
    """
    half = pair >> 1
    shift = 4 * (pair & 1)
    low = words_at(block + 64 * half, 16) >> shift
    two = words_at(block + (128 + 32 * half), 8) >> shift
    high = shift_runs(vconcat(two, two), 8, 2) & 0x03030303
    return (low & 0x0F0F0F0F) | (high << 4)


@helper
def scales_q6_k(block: Pointer[uint8], last: int) -> Any:
    """16 int8, then float16 d."""
    scales = vload(view(block + 192, int8), 16)
    return vconvert(scales, float32) * view(block + 208, float16)[0]


@helper
def no_mins(block: Pointer[uint8]) -> Any:
    """Of types without mins."""
    return splat(float32(0.0), 8)


FORMS = (
    BlockForm("Q8_0", codes_q8_0, scales_q8_0, group=32, bias=signed_bias),
    BlockForm("Q4_0", codes_q4_0, scales_q4_0, group=32, bias=8),
    BlockForm("Q5_0", codes_q5_0, scales_q5_0, group=32, bias=16),
    BlockForm("Q4_K", codes_q4_k, scales_q4_k, group=32, bias=0, mins=mins_q4_k),
    BlockForm("Q6_K", codes_q6_k, scales_q6_k, group=16, bias=32),
)
BLOCKS = tuple(form.name for form in FORMS)
GROUPS = {form.name: form.group for form in FORMS}

# Words of kernels: what the form says for the element type of a pointer.
codes_of = helper_by_element("codes_of", [(form.name, form.codes) for form in FORMS])
scales_of = helper_by_element("scales_of", [(form.name, form.scales) for form in FORMS])
mins_of = helper_by_element("mins_of", [(form.name, form.mins or no_mins) for form in FORMS])
group = constant_by_element("group", GROUPS.items())
bias = constant_by_element("bias", [(form.name, form.bias) for form in FORMS])
has_mins = constant_by_element("has_mins", [(f.name, int(f.mins is not None)) for f in FORMS])
block_values = constant_by_element("block_values", [(n, dtypes.by_name[n].block) for n in BLOCKS])
block_bytes = constant_by_element("block_bytes", [(n, dtypes.by_name[n].itemsize) for n in BLOCKS])
