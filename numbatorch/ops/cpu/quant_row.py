"""Kernel of one row times weight.T with the weight in GGML blocks: the step of decoding a text.

It reads each row of the weight once, four at a time, as fast as memory gives them. Every thread
rounds the row of x for itself first: to 8 bits, and to 16 where there are large values, for few are
large and have most of what rounding loses. The planes that it makes are as long as whole steps:
    high, low: int8 (K), the only byte or the upper one, and the lower one
    fine: int32 (K / 64), whether there are two bytes
    sums: int32 (K / 4), how much the bias of the weight's codes adds to what four codes give,
        negated and shared among the lanes of a group
    scales: float32 (K / 32), max |x| / 127 of 32 values, or / (127 * 256)
    mins: float32 (K / group), minus the sum of a group's values, for weights with mins
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, share, view
from numbatorch.language.simd.int8 import SMALLEST, add_dots, quantize_block, quantize_finely
from numbatorch.language.simd.packed import STEP
from numbatorch.language.simd.tile import four_sums, tile_zero, vstore_rows
from numbatorch.language.simd.vectors import (
    call_epilogue,
    fma,
    prefetch,
    splat,
    vload,
    vstore,
)
from numbatorch.language.simd.words import repeat_to
from numbatorch.language.words import float32, int32, uint8, uint32
from numbatorch.ops.cpu.quant_blocks import (
    BLOCK_BYTES,
    BLOCK_VALUES,
    GROUP,
    GROUPS,
    HAS_MINS,
    bias,
    codes_of,
    mins_of,
    pair_scales_of,
    scales_of,
    vector_kernel,
)
from numbatorch.ops.cpu.rows import dot

ROWS = 16  # rows that are shared between threads together
AHEAD = 8192  # bytes from what is computed on to what is fetched
LARGE = 8.0  # square of the largest of 64 values, in mean squares of the row, for 16 bits


def row_planes_bytes(K: int) -> int:
    """Bytes of the planes of one row of x."""
    padded = -(-K // STEP) * STEP
    return 3 * padded + padded // 8 + padded // 4 + padded // 16


@helper
def fine_in(planes: Pointer[uint8], padded: int) -> Pointer[int32]:
    """The plane that tells which pairs have 16 bits."""
    found: Pointer[int32] = view(planes + (3 * padded + padded // 8 + padded // 4), int32)
    return found


@helper
def quantize_row(
    weight: Pointer[T], planes: Pointer[uint8], x: Pointer[float32], K: int, padded: int
) -> None:
    """Make the planes of x; values beyond K are 0."""
    like = tile_zero(x, 1, 1)
    sums = view(planes + 2 * padded, int32)
    scales = view(planes + 3 * padded, float32)
    mins = scales + padded // 32
    fine = fine_in(planes, padded)
    square = dot(x, x, K, float32(0.0)) / float32(max(K, 1))
    large = float32(LARGE) * max(square, float32(SMALLEST))
    for i in range(K // 32):
        high = view(planes + 32 * i, uint32)
        scales[i] = quantize_block(like, high, sums + 8 * i, x + 32 * i, GROUP, bias(weight))
    for pair in range(padded // 64):
        most = float32(0.0)
        for i in range(2 * pair, min(2 * pair + 2, K // 32)):
            most = max(most, scales[i] * float32(127.0))
        is_fine = most * most > large
        fine[pair] = 1 if is_fine else 0
        if is_fine:
            for i in range(2 * pair, min(2 * pair + 2, K // 32)):
                high, low = view(planes + 32 * i, uint32), view(planes + (padded + 32 * i), uint32)
                d = quantize_finely(like, high, low, sums + 8 * i, x + 32 * i, GROUP, bias(weight))
                scales[i] = d
    for i in range(K // 32):
        for j in range(32 // GROUP):
            mins[(32 // GROUP) * i + j] = scales[i] * float32(sums[8 * i + j])
    for i in range(K // 32, padded // 32):
        vstore(view(planes + 32 * i, uint32), splat(uint32(0), 8))
        vstore(view(planes + (padded + 32 * i), uint32), splat(uint32(0), 8))
        vstore(sums + 8 * i, splat(int32(0), 8))
        scales[i] = 0.0
        for j in range(32 // GROUP):
            mins[(32 // GROUP) * i + j] = 0.0


@helper
def dot_step(
    total: Any,
    block: Pointer[T],
    high: Pointer[uint32],
    low: Pointer[uint32],
    fine: Pointer[int32],
    sums: Pointer[int32],
    scales: Pointer[float32],
) -> Any:
    """Add the products of a step of a row of the weight with one of x."""
    first = codes_of(block, 7, 0)
    second = codes_of(block, 7, 1)
    third = codes_of(block, 7, 2)
    fourth = codes_of(block, 7, 3)
    found = scales_of(block, 7)
    both = found * repeat_to(vload(scales, 8), found)
    step = splat(float32(0.0), 16)  # so that the steps need not wait for each other
    step = add_dots(step, first, high, low, fine, sums, both, 0, bias(block))
    step = add_dots(step, second, high, low, fine, sums, both, 1, bias(block))
    step = add_dots(step, third, high, low, fine, sums, both, 2, bias(block))
    return total + add_dots(step, fourth, high, low, fine, sums, both, 3, bias(block))


@helper
def dot_rest(
    total: Any,
    block: Pointer[T],
    last: int,
    high: Pointer[uint32],
    low: Pointer[uint32],
    fine: Pointer[int32],
    sums: Pointer[int32],
    scales: Pointer[float32],
) -> Any:
    """As `dot_step`, for less than a step; `last` is as in simd/packed.py."""
    found = pair_scales_of(block, last, 0)
    both = found * repeat_to(vload(scales, 8), found)
    total = add_dots(total, codes_of(block, last, 0), high, low, fine, sums, both, 0, bias(block))
    if last > 1:
        found = pair_scales_of(block, last, 1)
        both = found * repeat_to(vload(scales, 8), found)
        total = add_dots(
            total, codes_of(block, last, 1), high, low, fine, sums, both, 1, bias(block)
        )
    if last > 3:
        found = pair_scales_of(block, last, 2)
        both = found * repeat_to(vload(scales, 8), found)
        total = add_dots(
            total, codes_of(block, last, 2), high, low, fine, sums, both, 2, bias(block)
        )
    if last > 5:
        found = pair_scales_of(block, last, 3)
        both = found * repeat_to(vload(scales, 8), found)
        total = add_dots(
            total, codes_of(block, last, 3), high, low, fine, sums, both, 3, bias(block)
        )
    return total


@helper
def add_mins(least: Any, block: Pointer[T], last: int, mins: Pointer[float32]) -> Any:
    """Add the products of a step's mins with the sums of x."""
    if HAS_MINS != 0:
        return fma(mins_of(block, last), vload(mins, GROUPS), least)
    return least


@helper
def four_products(
    block: Pointer[T],
    length: int,
    last_row: int,
    ahead: int,
    planes: Pointer[uint8],
    K: int,
    padded: int,
) -> Any:
    """The products of four rows of the weight with x; those after `last_row` repeat it.

    Args:
        block: of the first row.
        length: of a row, in blocks.
        ahead: bytes from what is computed on to what is fetched.
    """
    high, low = view(planes, uint32), view(planes + padded, uint32)
    sums = view(planes + 2 * padded, int32)
    scales = view(planes + 3 * padded, float32)
    mins = scales + padded // 32
    fine = fine_in(planes, padded)
    first = second = third = fourth = splat(float32(0.0), 16)
    least = least_2 = least_3 = least_4 = splat(float32(0.0), GROUPS)
    row_2, row_3, row_4 = min(1, last_row) * length, min(2, last_row) * length, last_row * length
    blocks = STEP // BLOCK_VALUES
    for _ in range(K // STEP):
        for row in range(4):
            for byte in range(0, blocks * BLOCK_BYTES, 64):
                prefetch(view(block + row * length, uint8) + (ahead + byte))
        first = dot_step(first, block, high, low, fine, sums, scales)
        second = dot_step(second, block + row_2, high, low, fine, sums, scales)
        third = dot_step(third, block + row_3, high, low, fine, sums, scales)
        fourth = dot_step(fourth, block + row_4, high, low, fine, sums, scales)
        least = add_mins(least, block, 7, mins)
        least_2 = add_mins(least_2, block + row_2, 7, mins)
        least_3 = add_mins(least_3, block + row_3, 7, mins)
        least_4 = add_mins(least_4, block + row_4, 7, mins)
        block, high, low, sums = block + blocks, high + 64, low + 64, sums + 64
        fine, scales, mins = fine + 4, scales + 8, mins + GROUPS
    if K < padded:
        last = (K - (padded - STEP)) // 32 - 1
        first = dot_rest(first, block, last, high, low, fine, sums, scales)
        second = dot_rest(second, block + row_2, last, high, low, fine, sums, scales)
        third = dot_rest(third, block + row_3, last, high, low, fine, sums, scales)
        fourth = dot_rest(fourth, block + row_4, last, high, low, fine, sums, scales)
        least = add_mins(least, block, last, mins)
        least_2 = add_mins(least_2, block + row_2, last, mins)
        least_3 = add_mins(least_3, block + row_3, last, mins)
        least_4 = add_mins(least_4, block + row_4, last, mins)
    return four_sums(first, second, third, fourth) + four_sums(least, least_2, least_3, least_4)


@vector_kernel
def quant_row(
    out: Pointer[float32],
    x: Pointer[float32],
    weight: Pointer[T],
    planes: Pointer[uint8],
    N: int,
    K: int,
    epilogue: int,
    epilogue_args: int,
    part: int,
    parts: int,
) -> None:
    """out (N) = x (K) @ weight.T."""
    padded = (K + STEP - 1) // STEP * STEP
    planes = planes + part * (3 * padded + padded // 8 + padded // 4 + padded // 16)
    lo, hi = share((N + ROWS - 1) // ROWS, part, parts)
    if lo < hi:
        start = lo * ROWS
        end = min(N, hi * ROWS)
        length = K // BLOCK_VALUES
        line = length * BLOCK_BYTES
        for byte in range(0, min(AHEAD, (end - start) * line), 64):  # while x is rounded
            prefetch(view(weight + start * length, uint8) + byte)
        quantize_row(weight, planes, x, K, padded)
        rows_ahead = (AHEAD + 4 * line - 1) // max(1, 4 * line) * 4
        for row in range(start, end, 4):
            ahead = rows_ahead * line if row + rows_ahead < end else 0
            last = min(3, end - 1 - row)
            block = weight + row * length
            found = four_products(block, length, last, ahead, planes, K, padded)
            vstore_rows(out + row, 0, found, 4, 1, last + 1)
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, 0, 0, 1, start, end)
