"""Kernels of rows of x times weight.T with the weight in GGML blocks, x rounded to 8 bits a value.

Few units of 32 values hold the large ones, and most of what rounding loses: those are rounded to 16
bits. Rows of x come in tiles of R, `tile_height`, the last one filled up with its last row.
`quantize_rows` makes planes of them:
    codes: int8 (2, tiles, K / 4, R, 4), and the lower bytes where there are 16 bits
    scales: float32 (tiles, K / 32, R), max |x| / 127 of 32 values, or / (127 * 256)
    sums: int32 (tiles, K / group, R), minus the sum of a group's codes, times the bias of the
        weight's codes; for weights with mins, which have the bias in them, instead float32, minus
        the sum of the group's values
    fine: int32 (tiles, K / 32), whether there are 16 bits
    squares: float32 (tiles, R), the mean of those of a row
A group of as many rows of the weight as a vector has lanes is decoded for a stretch of k into the
thread's workspace, in the first-level cache, turned so that each lane has a row, and meets every
tile there.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, share, view
from numbatorch.language.simd.int8 import (
    SMALLEST,
    add_outer,
    add_scaled,
    quantize_block,
    quantize_finely,
    sums_add,
    sums_begin,
    sums_up,
    tile_height,
    tile_rows,
)
from numbatorch.language.simd.packed import STEP
from numbatorch.language.simd.tile import tile_load, tile_store, tile_zero
from numbatorch.language.simd.vectors import call_epilogue, fma, lanes, prefetch, splat, vstore
from numbatorch.language.simd.words import turn_words
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
    summed_bias,
    vector_kernel,
)
from numbatorch.ops.cpu.rows import dot

MAX_LANES = 16
MAX_HEIGHT = 8
ROWS = 256  # rows of x that meet a group of columns once it is decoded
DEPTH = 768  # k that is decoded at a time
PANEL = 4  # groups of columns between two calls of the epilogue
AHEAD = 8192  # bytes from what is decoded to what is fetched
LARGE = 16.0  # mean square of the largest of a unit, in mean squares of its row, for 16 bits

# Bytes of the parts of a thread's workspace, and of a row in each: decoded and then turned.
CODES, SCALES, MINS = DEPTH, DEPTH // 16 * 4, DEPTH // 16 * 4
LINE = CODES + SCALES + MINS + 64
DECODED = MAX_LANES * LINE
TURNED = MAX_LANES * (CODES + SCALES + MINS)
CARRIED = MAX_LANES * ROWS * 4
WORKSPACE = DECODED + TURNED + CARRIED


def planes_bytes(M: int, K: int, group: int) -> int:
    """Bytes of the planes of x (M, K) for weights with a scale for each group of values."""
    rows = -(-M // MAX_HEIGHT) * MAX_HEIGHT
    return rows * (2 * K + K // 32 * 8 + K // group * 4 + 4)


@helper
def scales_in(planes: Pointer[uint8], rows: int, K: int) -> Pointer[float32]:
    """The plane of scales; `rows` are those of all tiles."""
    found: Pointer[float32] = view(planes + 2 * rows * K, float32)
    return found


@helper
def sums_in(planes: Pointer[uint8], rows: int, K: int) -> Pointer[int32]:
    """The plane of sums."""
    found: Pointer[int32] = view(planes + rows * (2 * K + K // 32 * 4), int32)
    return found


@helper
def fine_in(planes: Pointer[uint8], rows: int, K: int) -> Pointer[int32]:
    """Which units have 16 bits."""
    found: Pointer[int32] = view(planes + rows * (2 * K + K // 32 * 4 + K // GROUP * 4), int32)
    return found


@helper
def squares_in(planes: Pointer[uint8], tiles: int, R: int, K: int) -> Pointer[float32]:
    """The plane of mean squares."""
    found: Pointer[float32] = view(fine_in(planes, tiles * R, K) + tiles * (K // 32), float32)
    return found


@helper
def quantize_unit(
    weight: Pointer[T],
    planes: Pointer[uint8],
    x: Pointer[float32],
    tiles: int,
    tile: int,
    rows: int,
    K: int,
    unit: int,
) -> None:
    """Round 32 values of each row of a tile; x is its first row."""
    like = tile_zero(x, tile_height(x), 1)
    R = tile_height(x)
    per_unit = 32 // GROUP
    codes = view(planes, uint32) + (tile * (K // 4) + unit * 8) * R
    low = codes + tiles * R * (K // 4)
    scales = scales_in(planes, tiles * R, K) + (tile * (K // 32) + unit) * R
    sums = sums_in(planes, tiles * R, K) + (tile * (K // 32) + unit) * per_unit * R
    fine, squares = fine_in(planes, tiles * R, K), squares_in(planes, tiles, R, K) + tile * R
    large = float32(0.0)
    for r in range(R):
        row = x + (min(r, rows - 1) * K + unit * 32)
        scales[r] = quantize_block(like, codes + 8 * r, sums + r, row, GROUP, summed_bias(weight))
        most = scales[r] * float32(127.0)
        large += most * most / max(squares[r], float32(SMALLEST))
    is_fine = large > float32(LARGE) * float32(R)
    fine[tile * (K // 32) + unit] = 1 if is_fine else 0
    if is_fine:
        for r in range(R):
            row = x + (min(r, rows - 1) * K + unit * 32)
            high_r, low_r = codes + 8 * r, low + 8 * r
            d = quantize_finely(like, high_r, low_r, sums + r, row, GROUP, summed_bias(weight))
            scales[r] = d
        turn_words(low, low, 32, tile_height(x))
    if HAS_MINS != 0:
        for i in range(per_unit * R):
            total = sums[i]
            view(sums, float32)[i] = scales[i % R] * float32(total)
    turn_words(codes, codes, 32, tile_height(x))


@helper
def quantize_tile(
    weight: Pointer[T],
    planes: Pointer[uint8],
    x: Pointer[float32],
    tiles: int,
    tile: int,
    rows: int,
    K: int,
) -> None:
    """The planes of a tile; x is its first row."""
    R = tile_height(x)
    squares = squares_in(planes, tiles, R, K) + tile * R
    for r in range(R):
        values = x + min(r, rows - 1) * K
        squares[r] = dot(values, values, K, float32(0.0)) / float32(max(K, 1))
    for unit in range(K // 32):
        quantize_unit(weight, planes, x, tiles, tile, rows, K, unit)


@vector_kernel
def quantize_rows(
    planes: Pointer[uint8],
    x: Pointer[float32],
    weight: Pointer[T],
    M: int,
    K: int,
    part: int,
    parts: int,
) -> None:
    """The planes of x (M, K); of the weight only the type counts."""
    R = tile_height(x)
    tiles = (M + R - 1) // R
    lo, hi = share(tiles, part, parts)
    for tile in range(lo, hi):
        row = tile * R
        quantize_tile(weight, planes, x + row * K, tiles, tile, min(R, M - row), K)


@helper
def decode_step(block: Pointer[T], last: int, line: Pointer[uint8], step: int) -> None:
    """Decode step number `step` of a row into its line; see BlockForm for `last`."""
    codes = view(line + step * STEP, uint32)
    vstore(codes, codes_of(block, last, 0))
    vstore(codes + 16, codes_of(block, last, 1))
    vstore(codes + 32, codes_of(block, last, 2))
    vstore(codes + 48, codes_of(block, last, 3))
    scales = view(line + CODES, float32) + step * GROUPS
    vstore(scales, scales_of(block, last))
    if HAS_MINS != 0:
        mins = view(line + (CODES + SCALES), float32) + step * GROUPS
        least = mins_of(block, last)
        if bias(block) != 0:
            least = fma(scales_of(block, last), splat(float32(bias(block)), GROUPS), least)
        vstore(mins, least)


@helper
def decode_row(block: Pointer[T], line: Pointer[uint8], depth: int) -> None:
    """Decode `depth` values of a row of the weight into its line."""
    blocks = STEP // BLOCK_VALUES
    whole = depth // STEP
    for step in range(whole):
        for byte in range(0, blocks * BLOCK_BYTES, 64):
            prefetch(view(block, uint8) + (AHEAD + byte))
        decode_step(block, 7, line, step)
        block = block + blocks
    if whole * STEP < depth:
        decode_step(block, (depth - whole * STEP) // 32 - 1, line, whole)


@helper
def turn(out: Pointer[uint8], decoded: Pointer[uint8], nbytes: int, like: Pointer[float32]) -> None:
    """Turn so many bytes of each line, a multiple of 32, so that each lane has a row."""
    for byte in range(0, nbytes, 32):
        turn_words(view(out + byte * lanes(like), uint32), decoded + byte, LINE, lanes(like))


@helper
def decode_group(
    weight: Pointer[T],
    length: int,
    last: int,
    depth: int,
    workspace: Pointer[uint8],
    like: Pointer[float32],
) -> None:
    """Decode a stretch of rows of `length` blocks; those after `last` repeat it."""
    n = lanes(like)
    for row in range(n):
        decode_row(weight + min(row, last) * length, workspace + row * LINE, depth)
    steps = (depth + STEP - 1) // STEP
    turned = workspace + DECODED
    turn(turned, workspace, depth, like)
    factors = steps * GROUPS * 4
    turn(turned + CODES * n, workspace + CODES, factors, like)
    if HAS_MINS != 0:
        at = CODES + SCALES
        turn(turned + at * n, workspace + at, factors, like)


@helper
def multiply(
    total: Any,
    weight: Pointer[T],
    turned: Pointer[uint8],
    codes: Pointer[uint32],
    low: Pointer[uint32],
    scales: Pointer[float32],
    sums: Pointer[int32],
    fine: Pointer[int32],
    units: int,
) -> Any:
    """Add the products of a tile of x, whose planes come last, with a decoded group."""
    n = lanes(scales)
    R = tile_rows(total)
    found = view(turned, uint32)
    factors = view(turned + CODES * n, float32)
    mins = view(turned + (CODES + SCALES) * n, float32)
    for unit in range(units):
        for _ in range(32 // GROUP):
            if fine[unit] == 0:
                dots = sums_begin(total, sums, summed_bias(weight))
                for i in range(GROUP // 4):
                    dots = sums_add(dots, found + i * n, codes + i * R, SIGNED)
            else:
                dots = sums_begin(total, sums, 0)
                for i in range(GROUP // 4):
                    dots = sums_add(dots, found + i * n, codes + i * R, SIGNED)
                dots = sums_up(dots, sums, summed_bias(weight))
                for i in range(GROUP // 4):
                    dots = sums_add(dots, found + i * n, low + i * R, SIGNED)
            found = found + GROUP // 4 * n
            codes, low = codes + GROUP // 4 * R, low + GROUP // 4 * R
            total = add_scaled(total, dots, factors, scales)
            if HAS_MINS != 0:
                total = add_outer(total, mins, view(sums, float32))
            mins = mins + n
            factors = factors + n
            sums = sums + R
        scales = scales + R
    return total


@helper
def group_product(
    out: Pointer[float32],
    weight: Pointer[T],
    planes: Pointer[uint8],
    workspace: Pointer[uint8],
    row0: int,
    row1: int,
    M: int,
    N: int,
    K: int,
    col: int,
) -> None:
    """Columns from `col` on, as many as a vector has lanes, of the rows row0 to row1."""
    n = lanes(out)
    R = tile_height(out)
    tiles = (M + R - 1) // R
    columns = min(n, N - col)
    length = K // BLOCK_VALUES
    carried = view(workspace + (DECODED + TURNED), float32)
    turned = workspace + DECODED
    scales, sums = scales_in(planes, tiles * R, K), sums_in(planes, tiles * R, K)
    fine = fine_in(planes, tiles * R, K)
    for start in range(0, max(K, 1), DEPTH):
        depth = min(DEPTH, K - start)
        block = weight + (col * length + start // BLOCK_VALUES)
        decode_group(block, length, columns - 1, depth, workspace, out)
        for row in range(row0, row1, R):
            carry = carried + (row - row0) * n
            total = tile_zero(out, tile_height(out), 1)
            if start > 0:
                total = tile_load(total, carry, n)
            codes = view(planes, uint32) + (row * (K // 4) + start // 4 * R)
            total = multiply(
                total,
                weight,
                turned,
                codes,
                codes + tiles * R * (K // 4),
                scales + (row * (K // 32) + start // 32 * R),
                sums + (row * (K // GROUP) + start // GROUP * R),
                fine + (row // R * (K // 32) + start // 32),
                depth // 32,
            )
            if start + depth < K:
                tile_store(carry, n, total, R, n)
            else:
                tile_store(out + (row * N + col), N, total, min(R, M - row), columns)


@vector_kernel
def quant_rows(
    out: Pointer[float32],
    weight: Pointer[T],
    planes: Pointer[uint8],
    workspace: Pointer[uint8],
    M: int,
    N: int,
    K: int,
    epilogue: int,
    epilogue_args: int,
    part: int,
    parts: int,
) -> None:
    """out (M, N) = x (M, K) @ weight.T from the planes of x."""
    n = lanes(out)
    workspace = workspace + part * WORKSPACE
    groups = (N + n - 1) // n
    lo, hi = share((M + ROWS - 1) // ROWS * groups, part, parts)
    while lo < hi:
        chunk = lo // groups
        first = lo - chunk * groups
        end = min(groups, first + hi - lo, first + PANEL)
        row0 = chunk * ROWS
        row1 = min(M, row0 + ROWS)
        for i in range(first, end):
            group_product(out, weight, planes, workspace, row0, row1, M, N, K, i * n)
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, 0, row0, row1, first * n, min(N, end * n))
        lo += end - first
