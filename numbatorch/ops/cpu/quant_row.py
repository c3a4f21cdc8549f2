"""Kernel of one row times weight.T with the weight in GGML blocks: the step of decoding a text.

Every thread rounds the row of x for itself first: to 8 bits, and to 16 where there are large
values, for few are large and have most of what rounding loses. Then it reads each row of the weight
once, as fast as memory gives them, four rows side by side, so that they share what is read of x.
All runs of 32 values meet the codes by their upper bytes, and the few that have lower ones again by
these. A thread's planes are as long as an even number of runs:
    high, low: int8 (K), the only byte or the upper one, and the lower one
    scales: float32 (K / 32), of the upper bytes; of the lower ones it is a part in 256 of that
    totals: float32 (K / group), minus the sum of a group's rounded values, times the codes' bias
    fine: int32 (1 + K / 32), how many runs have lower bytes, and which
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, share, view
from numbatorch.language.simd.block_dots import row_sums_begin, row_sums_end
from numbatorch.language.simd.int8 import SMALLEST, quantize_block, quantize_finely
from numbatorch.language.simd.tile import tile_zero, vstore_rows
from numbatorch.language.simd.vectors import call_epilogue, prefetch, splat, vstore
from numbatorch.language.words import float32, int32, int64, uint8, uint32
from numbatorch.ops.cpu.quant_blocks import (
    BLOCK_BYTES,
    BLOCK_VALUES,
    GROUP,
    HAS_MINS,
    TOGETHER,
    add_block,
    add_run,
    bias,
    vector_kernel,
)
from numbatorch.ops.cpu.rows import dot

ROWS = 16  # rows that are shared between threads together
AHEAD = 8192  # bytes from what is computed on to what is fetched
LARGE = 32.0  # square of the largest of 32 values, in mean squares of the row, for 16 bits


def row_planes_bytes(K: int) -> int:
    """Bytes of the planes of one row of x."""
    padded = -(-K // 64) * 64
    return 2 * padded + padded // 8 + padded // 4 + 4 * (1 + padded // 32)


@helper
def padded_length(K: int) -> int:
    """Values of planes, with those of the run that may be missing of the last two."""
    return (K + 63) // 64 * 64


@helper
def scales_in(planes: Pointer[uint8], K: int) -> Pointer[float32]:
    """The plane of scales."""
    found: Pointer[float32] = view(planes + 2 * padded_length(K), float32)
    return found


@helper
def totals_in(planes: Pointer[uint8], K: int) -> Pointer[float32]:
    """The plane of sums of groups."""
    padded = padded_length(K)
    found: Pointer[float32] = view(planes + (2 * padded + padded // 8), float32)
    return found


@helper
def fine_in(planes: Pointer[uint8], K: int) -> Pointer[int32]:
    """The list of runs that have lower bytes."""
    padded = padded_length(K)
    found: Pointer[int32] = view(planes + (2 * padded + padded // 8 + padded // 4), int32)
    return found


@helper
def quantize_run(
    planes: Pointer[uint8], x: Pointer[float32], weight: Pointer[T], K: int, i: int, is_fine: int
) -> None:
    """Round values 32 * i to 32 * i + 31 of x."""
    like = tile_zero(x, 1, 1)
    high = view(planes + 32 * i, uint32)
    scales, totals = scales_in(planes, K), totals_in(planes, K) + 32 // GROUP * i
    sums = view(totals, int32)
    if is_fine != 0:
        low = view(planes + (padded_length(K) + 32 * i), uint32)
        d = quantize_finely(like, high, low, sums, x + 32 * i, GROUP, 0)
        scales[i] = d * float32(256.0)
    else:
        d = quantize_block(like, high, sums, x + 32 * i, GROUP, 0)
        scales[i] = d
    factor = d if HAS_MINS != 0 else d * float32(bias(weight))
    for j in range(32 // GROUP):
        total = sums[j]
        totals[j] = factor * float32(total)


@helper
def quantize_row(planes: Pointer[uint8], x: Pointer[float32], weight: Pointer[T], K: int) -> None:
    """Make the planes of x for a weight, of which only the type counts."""
    scales, fine = scales_in(planes, K), fine_in(planes, K)
    square = dot(x, x, K, float32(0.0)) / float32(max(K, 1))
    large = float32(LARGE) * max(square, float32(SMALLEST))
    fine[0] = 0
    for i in range(K // 32, padded_length(K) // 32):
        vstore(view(planes + 32 * i, uint32), splat(uint32(0), 8))
        scales[i] = 0.0
        for j in range(32 // GROUP):
            totals_in(planes, K)[32 // GROUP * i + j] = 0.0
    for i in range(K // 32):
        quantize_run(planes, x, weight, K, i, 0)
        most = scales[i] * float32(127.0)
        if most * most > large:
            fine[0] += 1
            fine[fine[0]] = i
            quantize_run(planes, x, weight, K, i, 1)


@helper
def four_products(
    block: Pointer[T], length: int, last_row: int, ahead: int, planes: Pointer[uint8], K: int
) -> Any:
    """The products of four rows of the weight with x; those after `last_row` repeat it.

    Args:
        block: of the first row.
        length: of a row, in blocks.
        ahead: bytes from what is computed on to what is fetched.
    """
    first, stride = block, length * BLOCK_BYTES
    x, scales, totals = view(planes, uint32), scales_in(planes, K), totals_in(planes, K)
    fetched, left = view(block, uint8) + ahead, 4 * stride
    sums = row_sums_begin(4)
    values, lines = TOGETHER * BLOCK_VALUES, (4 * TOGETHER * BLOCK_BYTES + 63) // 64
    for n in range(0, length, TOGETHER):
        if left > 0:
            for line in range(lines):
                prefetch(fetched + 64 * line)
            fetched, left = fetched + 64 * lines, left - 64 * lines
        sums = add_block(sums, block, stride, last_row, length - n, x, scales, totals)
        block, x = block + TOGETHER, x + values // 4
        scales, totals = scales + values // 32, totals + values // GROUP
    fine, runs = fine_in(planes, K), BLOCK_VALUES // 32
    for n in range(fine[0]):
        i = int64(fine[1 + n])
        low, scale = view(planes + (padded_length(K) + 32 * i), uint32), scales_in(planes, K)[i]
        at = first + i // runs
        sums = add_run(sums, at, stride, last_row, i % runs, low, scale * float32(1 / 256))
    return row_sums_end(sums)


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
    padded = padded_length(K)
    planes = planes + part * (2 * padded + padded // 8 + padded // 4 + 4 * (1 + padded // 32))
    lo, hi = share((N + ROWS - 1) // ROWS, part, parts)
    if lo < hi:
        start = lo * ROWS
        end = min(N, hi * ROWS)
        length = K // BLOCK_VALUES
        line = length * BLOCK_BYTES
        for byte in range(0, min(AHEAD, (end - start) * line), 64):  # while x is rounded
            prefetch(view(weight + start * length, uint8) + byte)
        quantize_row(planes, x, weight, K)
        rows_ahead = (AHEAD + 4 * line - 1) // max(1, 4 * line) * 4
        for row in range(start, end, 4):
            ahead = rows_ahead * line if row + rows_ahead < end else 0
            last = min(3, end - 1 - row)
            block = weight + row * length
            found = four_products(block, length, last, ahead, planes, K)
            vstore_rows(out + row, 0, found, 4, 1, last + 1)
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, 0, 0, 1, start, end)
