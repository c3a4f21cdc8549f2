"""Kernel of one row times weight.T with the weight in GGML blocks: the step of decoding a text.

Every thread rounds the row of x for itself first: to 8 bits, and to 16 where there are large
values, for few are large and have most of what rounding loses. Then it reads each row of the weight
once, as fast as memory gives them: of four rows the scales, and then the codes, so that products
need not wait for scales. All pairs of 32 values meet the codes by their upper bytes, and the few
that have lower ones again by these. A thread's planes are as long as whole steps:
    high, low: int8 (K), the only byte or the upper one, and the lower one
    scales: float32 (K / 32), of the upper bytes; of the lower ones it is a part in 256 of that
    totals: float32 (K / group), minus the sum of a group's rounded values
    fine: int32 (1 + K / 64), how many pairs have lower bytes, and which
and, of a thread alone:
    factors: float32 (4, K / group), scales of four rows of the weight times those of x
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, share, view
from numbatorch.language.simd.int8 import (
    SMALLEST,
    add_dots,
    quantize_block,
    quantize_finely,
)
from numbatorch.language.simd.packed import STEP
from numbatorch.language.simd.tile import four_sums, tile_zero, vstore_rows
from numbatorch.language.simd.vectors import (
    call_epilogue,
    fma,
    prefetch,
    splat,
    vload,
    vpad,
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
    SIGNED,
    bias,
    codes_of,
    mins_of,
    scales_of,
    vector_kernel,
)
from numbatorch.ops.cpu.rows import dot

ROWS = 16  # rows that are shared between threads together
AHEAD = 8192  # bytes from what is computed on to what is fetched
LARGE = 32.0  # square of the largest of 64 values, in mean squares of the row, for 16 bits


def row_planes_bytes(K: int) -> int:
    """Bytes of the planes of one row of x."""
    padded = -(-K // STEP) * STEP
    return 2 * padded + padded // 8 + padded // 4 + 4 * (1 + padded // 64)


def factors_bytes(K: int) -> int:
    """Bytes of the factors of a thread."""
    return -(-K // STEP) * STEP


@helper
def scales_in(planes: Pointer[uint8], padded: int) -> Pointer[float32]:
    """The plane of scales."""
    found: Pointer[float32] = view(planes + 2 * padded, float32)
    return found


@helper
def totals_in(planes: Pointer[uint8], padded: int) -> Pointer[float32]:
    """The plane of sums of groups."""
    found: Pointer[float32] = view(planes + (2 * padded + padded // 8), float32)
    return found


@helper
def fine_in(planes: Pointer[uint8], padded: int) -> Pointer[int32]:
    """The list of pairs that have lower bytes."""
    found: Pointer[int32] = view(planes + (2 * padded + padded // 8 + padded // 4), int32)
    return found


@helper
def quantize_unit(
    planes: Pointer[uint8], x: Pointer[float32], padded: int, i: int, is_fine: int
) -> None:
    """Round values 32 * i to 32 * i + 31 of x."""
    like = tile_zero(x, 1, 1)
    high = view(planes + 32 * i, uint32)
    scales, totals = scales_in(planes, padded), totals_in(planes, padded) + 32 // GROUP * i
    sums = view(totals, int32)
    if is_fine != 0:
        low = view(planes + (padded + 32 * i), uint32)
        d = quantize_finely(like, high, low, sums, x + 32 * i, GROUP, 0)
        scales[i] = d * float32(256.0)
    else:
        d = quantize_block(like, high, sums, x + 32 * i, GROUP, 0)
        scales[i] = d
    for j in range(32 // GROUP):
        total = sums[j]
        totals[j] = d * float32(total)


@helper
def quantize_row(planes: Pointer[uint8], x: Pointer[float32], K: int, padded: int) -> None:
    """Make the planes of x; values beyond K are 0."""
    scales, totals = scales_in(planes, padded), totals_in(planes, padded)
    fine = fine_in(planes, padded)
    square = dot(x, x, K, float32(0.0)) / float32(max(K, 1))
    large = float32(LARGE) * max(square, float32(SMALLEST))
    for i in range(K // 32, padded // 32):
        vstore(view(planes + 32 * i, uint32), splat(uint32(0), 8))
        vstore(view(planes + (padded + 32 * i), uint32), splat(uint32(0), 8))
        scales[i] = 0.0
        for j in range(32 // GROUP):
            totals[32 // GROUP * i + j] = 0.0
    fine[0] = 0
    for pair in range((K + 63) // 64):
        most = float32(0.0)
        for i in range(2 * pair, min(2 * pair + 2, K // 32)):
            quantize_unit(planes, x, padded, i, 0)
            most = max(most, scales[i] * float32(127.0))
        if most * most > large:
            fine[0] += 1
            fine[fine[0]] = pair
            for i in range(2 * pair, min(2 * pair + 2, K // 32)):
                quantize_unit(planes, x, padded, i, 1)


@helper
def scale_step(
    taken: Any,
    block: Pointer[T],
    last: int,
    factors: Pointer[float32],
    scales: Pointer[float32],
    totals: Pointer[float32],
) -> Any:
    """Store the factors of a step; add what its bias and mins take off, times the sums of x.

    Args:
        last: as in simd/packed.py.
    """
    found = scales_of(block, last)
    vstore(factors, found * repeat_to(vload(scales, 8), found))
    sums = vload(totals, GROUPS)
    if bias(block) != 0:
        taken = fma(found * splat(float32(bias(block)), GROUPS), sums, taken)
    if HAS_MINS != 0:
        taken = fma(mins_of(block, last), sums, taken)
    return taken


@helper
def scale_row(
    block: Pointer[T], factors: Pointer[float32], planes: Pointer[uint8], K: int, padded: int
) -> Any:
    """`scale_step` of all steps of a row."""
    scales, totals = scales_in(planes, padded), totals_in(planes, padded)
    taken = splat(float32(0.0), GROUPS)
    for _ in range(K // STEP):
        taken = scale_step(taken, block, 7, factors, scales, totals)
        block, factors = block + STEP // BLOCK_VALUES, factors + GROUPS
        scales, totals = scales + 8, totals + GROUPS
    if K < padded:
        last = (K - (padded - STEP)) // 32 - 1
        taken = scale_step(taken, block, last, factors, scales, totals)
    return taken


@helper
def dot_row(
    total: Any,
    block: Pointer[T],
    ahead: int,
    factors: Pointer[float32],
    planes: Pointer[uint8],
    K: int,
    padded: int,
) -> Any:
    """Add the products of a row of the weight with the upper bytes of x.

    Args:
        ahead: bytes from what is computed on to what is fetched.
    """
    codes = view(planes, uint32)
    for _ in range(K // STEP):
        for byte in range(0, STEP // BLOCK_VALUES * BLOCK_BYTES, 64):
            prefetch(view(block, uint8) + (ahead + byte))
        step = splat(float32(0.0), 16)  # so that the steps need not wait for each other
        step = add_dots(step, codes_of(block, 7, 0), codes, factors, 0, GROUP, SIGNED)
        step = add_dots(step, codes_of(block, 7, 1), codes, factors, 1, GROUP, SIGNED)
        step = add_dots(step, codes_of(block, 7, 2), codes, factors, 2, GROUP, SIGNED)
        total = total + add_dots(step, codes_of(block, 7, 3), codes, factors, 3, GROUP, SIGNED)
        block, codes, factors = block + STEP // BLOCK_VALUES, codes + STEP // 4, factors + GROUPS
    if K < padded:
        last = (K - (padded - STEP)) // 32 - 1
        total = add_dots(total, codes_of(block, last, 0), codes, factors, 0, GROUP, SIGNED)
        if last > 1:
            total = add_dots(total, codes_of(block, last, 1), codes, factors, 1, GROUP, SIGNED)
        if last > 3:
            total = add_dots(total, codes_of(block, last, 2), codes, factors, 2, GROUP, SIGNED)
        if last > 5:
            total = add_dots(total, codes_of(block, last, 3), codes, factors, 3, GROUP, SIGNED)
    return total


@helper
def dot_low(
    block: Pointer[T], factors: Pointer[float32], planes: Pointer[uint8], K: int, padded: int
) -> Any:
    """256 times the products of a row of the weight with the lower bytes of x."""
    total, low = splat(float32(0.0), 16), view(planes + padded, uint32)
    fine = fine_in(planes, padded)
    rest = (K - 1) % STEP // 32
    for n in range(fine[0]):
        step, pair = fine[1 + n] // 4, fine[1 + n] % 4
        at, last = block + step * (STEP // BLOCK_VALUES), 7 if (step + 1) * STEP < padded else rest
        codes, own = low + STEP // 4 * step, factors + GROUPS * step
        if pair == 0:
            total = add_dots(total, codes_of(at, last, 0), codes, own, 0, GROUP, SIGNED)
        elif pair == 1:
            total = add_dots(total, codes_of(at, last, 1), codes, own, 1, GROUP, SIGNED)
        elif pair == 2:
            total = add_dots(total, codes_of(at, last, 2), codes, own, 2, GROUP, SIGNED)
        else:
            total = add_dots(total, codes_of(at, last, 3), codes, own, 3, GROUP, SIGNED)
    return total


@helper
def four_products(
    block: Pointer[T],
    length: int,
    last_row: int,
    ahead: int,
    planes: Pointer[uint8],
    factors: Pointer[float32],
    K: int,
    padded: int,
) -> Any:
    """The products of four rows of the weight with x; those after `last_row` repeat it.

    Args:
        block: of the first row.
        length: of a row, in blocks.
        ahead: bytes from what is computed on to what is fetched.
    """
    a = b = c = d = splat(float32(0.0), 16)
    for i in range(4):
        own, row = factors + i * (padded // GROUP), block + min(i, last_row) * length
        a, b, c, d = b, c, d, vpad(scale_row(row, own, planes, K, padded), 16)
    for i in range(4):
        own, row = factors + i * (padded // GROUP), block + min(i, last_row) * length
        total = dot_row(a, row, ahead, own, planes, K, padded)
        if fine_in(planes, padded)[0] > 0:
            low = dot_low(row, own, planes, K, padded)
            total = fma(low, splat(float32(1 / 256), 16), total)
        a, b, c, d = b, c, d, total
    return four_sums(a, b, c, d)


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
    size = 2 * padded + padded // 8 + padded // 4 + 4 * (1 + padded // 64)
    planes = planes + part * (size + padded)
    factors = view(planes + size, float32)
    lo, hi = share((N + ROWS - 1) // ROWS, part, parts)
    if lo < hi:
        start = lo * ROWS
        end = min(N, hi * ROWS)
        length = K // BLOCK_VALUES
        line = length * BLOCK_BYTES
        for byte in range(0, min(AHEAD, (end - start) * line), 64):  # while x is rounded
            prefetch(view(weight + start * length, uint8) + byte)
        quantize_row(planes, x, K, padded)
        rows_ahead = (AHEAD + 4 * line - 1) // max(1, 4 * line) * 4
        for row in range(start, end, 4):
            ahead = rows_ahead * line if row + rows_ahead < end else 0
            last = min(3, end - 1 - row)
            block = weight + row * length
            found = four_products(block, length, last, ahead, planes, factors, K, padded)
            vstore_rows(out + row, 0, found, 4, 1, last + 1)
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, 0, 0, 1, start, end)
