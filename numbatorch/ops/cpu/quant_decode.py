"""Kernels that decode weights in GGML blocks to float32: whole tensors, and chosen rows."""

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, share
from numbatorch.language.simd.packed import STEP
from numbatorch.language.simd.vectors import vslice, vstore
from numbatorch.language.simd.words import code_values, lane_runs
from numbatorch.language.words import float32, int64
from numbatorch.ops.cpu.quant_blocks import (
    BLOCK_VALUES,
    HAS_MINS,
    bias,
    codes_of,
    mins_of,
    scales_of,
    vector_kernel,
)


@helper
def store_values(out: Pointer[float32], values: Any, last: int, pair: int) -> None:
    """Store two runs of 32 values, of those up to run `last` of a step."""
    if 2 * pair + 1 <= last:
        vstore(out + 64 * pair, values)
    elif 2 * pair <= last:
        vstore(out + 64 * pair, vslice(values, 0, 32))


@helper
def decode_step(out: Pointer[float32], block: Pointer[T], last: int) -> None:
    """The 32 * (last + 1) values of a step."""
    scales = scales_of(block, last)
    first = code_values(codes_of(block, last, 0), bias(block)) * lane_runs(scales, 0, 64)
    second = code_values(codes_of(block, last, 1), bias(block)) * lane_runs(scales, 1, 64)
    third = code_values(codes_of(block, last, 2), bias(block)) * lane_runs(scales, 2, 64)
    fourth = code_values(codes_of(block, last, 3), bias(block)) * lane_runs(scales, 3, 64)
    if HAS_MINS != 0:
        mins = mins_of(block, last)
        first = first - lane_runs(mins, 0, 64)
        second = second - lane_runs(mins, 1, 64)
        third = third - lane_runs(mins, 2, 64)
        fourth = fourth - lane_runs(mins, 3, 64)
    store_values(out, first, last, 0)
    store_values(out, second, last, 1)
    store_values(out, third, last, 2)
    store_values(out, fourth, last, 3)


@helper(inline=False)
def decode_values(out: Pointer[float32], block: Pointer[T], count: int) -> None:
    """The `count` values from a block on."""
    for start in range(0, count, STEP):
        last = min(STEP, count - start) // 32 - 1
        decode_step(out + start, block + start // BLOCK_VALUES, last)


@vector_kernel
def decode_blocks(
    out: Pointer[float32], weight: Pointer[T], size: int, part: int, parts: int
) -> None:
    """out[i] is value i of a weight of `size` values."""
    lo, hi = share((size + STEP - 1) // STEP, part, parts)
    if lo < hi:
        start = lo * STEP
        block = weight + start // BLOCK_VALUES
        decode_values(out + start, block, min(size, hi * STEP) - start)


@vector_kernel
def take_decoded(
    out: Pointer[float32],
    weight: Pointer[T],
    index: Pointer[int64],
    status: Pointer[int64],
    rows: int,
    K: int,
    bound: int,
    part: int,
    parts: int,
) -> None:
    """out[i, :] is row index[i] of a weight of `bound` rows."""
    lo, hi = share(rows, part, parts)
    for i in range(lo, hi):
        row = index[i]
        if row < 0 or row >= bound:
            status[0] = 1
            status[1] = row
        else:
            decode_values(out + i * K, weight + row * (K // BLOCK_VALUES), K)
