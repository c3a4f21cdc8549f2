"""Kernels of x @ weight.T with the weight in GGML blocks and x rounded to 8 bits a value.

x lies in scratch memory as three planes, made by `quantize_rows`. Rows come in tiles of R rows,
R = 1 for one row, otherwise `tile_height`; the last tile repeats its last row:
    codes: int8 (tiles, K / 4, R, 4)
    scales: float32 (tiles, K / 32, R), max |x| / 127 of 32 values
    sums: int32 (tiles, K / group, R), minus the sum of a group's codes, times the bias of the
        weight's codes if there is one; for weights with mins float32, and times the scale
A group of as many columns as a vector has lanes is decoded for a stretch of k into the thread's
workspace, in the first-level cache, and meets every tile of rows there.
"""

from numbatorch.backends.cpu.kernel import Pointer, T, address, helper, kernel, share, view
from numbatorch.backends.cpu.language import float32, int32, uint8, uint32
from numbatorch.backends.cpu.simd import call_epilogue, lanes, prefetch
from numbatorch.backends.cpu.simd_int8 import (
    add_outer,
    add_scaled,
    quantize_block,
    sums_add,
    sums_begin,
    tile_height,
    tile_rows,
)
from numbatorch.backends.cpu.simd_tile import tile_load, tile_store, tile_zero
from numbatorch.ops.cpu.quant_blocks import (
    BLOCKS,
    bias,
    block_bytes,
    decode,
    group,
    has_mins,
    units,
)

MAX_LANES = 16
MAX_HEIGHT = 8
ROWS = 256  # rows of x that meet a group of columns once it is decoded
DEPTH = 1024  # k that is decoded at a time
PANEL = 4  # groups of columns between two calls of the epilogue

CODES = DEPTH * MAX_LANES  # bytes of each part of a thread's workspace
SCALES = DEPTH // 16 * MAX_LANES * 4
MINS = DEPTH // 32 * MAX_LANES * 4
SUMS = ROWS * MAX_LANES * 4
WORKSPACE = CODES + SCALES + MINS + SUMS


def packed_bytes(M: int, K: int, group_size: int) -> int:
    """Bytes of the planes of x (M, K)."""
    rows = M if M == 1 else -(-M // MAX_HEIGHT) * MAX_HEIGHT
    return rows * (K + K // 32 * 4 + K // group_size * 4)


@helper
def quantize_tile(
    like: int,
    weight: Pointer[T],
    planes: Pointer[uint8],
    x: Pointer[float32],
    tile: int,
    tiles: int,
    rows: int,
    K: int,
    unit: int,
) -> None:
    """Round 32 values of each row of a tile; rows that are not there repeat the last."""
    R = tile_rows(like)
    sums_a_row = K // group(weight)
    q = view(planes, uint32) + (tile * (K // 4) + unit * 8) * R
    planes = planes + tiles * R * K
    scales = view(planes, float32) + (tile * (K // 32) + unit) * R
    planes = planes + tiles * R * (K // 32) * 4
    sums = view(planes, int32) + (tile * sums_a_row + unit * (32 // group(weight))) * R
    for r in range(R):
        row = x + min(r, rows - 1) * K + unit * 32
        d = quantize_block(like, q + r, sums + r, row, group(weight), bias(weight))
        scales[r] = d
        if has_mins(weight) != 0:
            total = sums[r]
            view(sums, float32)[r] = d * float32(total)


@kernel(T=BLOCKS)
def quantize_rows(
    planes: Pointer[uint8],
    x: Pointer[float32],
    weight: Pointer[T],
    M: int,
    K: int,
    part: int,
    parts: int,
) -> None:
    """The planes of x (M, K), M > 1; of the weight only the type counts."""
    like = tile_zero(x, tile_height(x), 1)
    R = tile_height(x)
    tiles = (M + R - 1) // R
    count = K // 32
    lo, hi = share(tiles * count, part, parts)
    for item in range(lo, hi):
        tile = item // count
        rows = min(R, M - tile * R)
        row = x + tile * R * K
        quantize_tile(like, weight, planes, row, tile, tiles, rows, K, item - tile * count)


@helper
def multiply(
    total: int,
    weight: Pointer[T],
    codes: Pointer[uint32],
    scales: Pointer[float32],
    mins: Pointer[float32],
    q: Pointer[uint32],
    x_scales: Pointer[float32],
    x_sums: Pointer[int32],
    count: int,
) -> int:
    """Add the products of a tile of rows with a decoded group of columns, over `count` units."""
    n = lanes(scales)
    R = tile_rows(total)
    for _ in range(count):
        for _ in range(32 // group(weight)):
            sums = sums_begin(total, x_sums, bias(weight))
            for _ in range(group(weight) // 4):
                sums = sums_add(sums, codes, q)
                codes = codes + n
                q = q + R
            total = add_scaled(total, sums, scales, x_scales)
            if has_mins(weight) != 0:
                total = add_outer(total, mins, view(x_sums, float32))
                mins = mins + n
            scales = scales + n
            x_sums = x_sums + R
        x_scales = x_scales + R
    return total


@helper
def decode_stretch(
    weight: Pointer[T],
    stride: int,
    last: int,
    depth: int,
    ahead: Pointer[uint8],
    codes: Pointer[uint32],
    scales: Pointer[float32],
    mins: Pointer[float32],
) -> None:
    """Decode `depth` values of each row of a group, and fetch as many bytes `ahead`."""
    n = lanes(scales)
    step = 32 * units(weight)
    for k in range(0, depth, step):
        for byte in range(0, n * block_bytes(weight), 64):
            prefetch(ahead + byte)
        ahead = ahead + n * block_bytes(weight)
        decode(
            weight + k // step,
            stride,
            last,
            codes + k // 4 * n,
            scales + k // group(weight) * n,
            mins + k // 32 * n,
        )


@helper
def group_product(
    zero: int,
    out: Pointer[float32],
    weight: Pointer[T],
    planes: Pointer[uint8],
    workspace: Pointer[uint8],
    row0: int,
    row1: int,
    tiles: int,
    M: int,
    N: int,
    K: int,
    col: int,
) -> None:
    """Columns from `col` on, as many as a vector has lanes, of the rows row0 to row1."""
    n = lanes(out)
    R = tile_rows(zero)
    columns = min(n, N - col)
    stride = K // (32 * units(weight)) * block_bytes(weight)
    codes = view(workspace, uint32)
    scales = view(workspace + CODES, float32)
    mins = view(workspace + (CODES + SCALES), float32)
    carried = view(workspace + (CODES + SCALES + MINS), float32)
    x_scales = view(planes + tiles * R * K, float32)
    x_sums = view(planes + tiles * R * (K + K // 32 * 4), int32)
    block = view(address(weight) + col * stride, uint8)
    for start in range(0, K, DEPTH):
        depth = min(DEPTH, K - start)
        at = weight + (col * K + start) // (32 * units(weight))
        ahead = block + (n * stride + n * (start // (32 * units(weight)) * block_bytes(weight)))
        decode_stretch(at, stride, columns - 1, depth, ahead, codes, scales, mins)
        for row in range(row0, row1, R):
            carry = carried + (row - row0) * n
            total = zero
            if start > 0:
                total = tile_load(zero, carry, n)
            total = multiply(
                total,
                weight,
                codes,
                scales,
                mins,
                view(planes, uint32) + (row * (K // 4) + start // 4 * R),
                x_scales + (row * (K // 32) + start // 32 * R),
                x_sums + (row * (K // group(weight)) + start // group(weight) * R),
                depth // 32,
            )
            if start + depth < K:
                tile_store(carry, n, total, R, n)
            else:
                tile_store(out + (row * N + col), N, total, min(R, M - row), columns)


@kernel(T=BLOCKS)
def quant_product(
    out: Pointer[float32],
    x: Pointer[float32],
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
    """out (M, N) = x (M, K) @ weight.T; for M = 1 each part makes planes of its own."""
    n = lanes(out)
    R = tile_height(out)
    workspace = workspace + part * WORKSPACE
    groups = (N + n - 1) // n
    if M == 1:
        zero = tile_zero(out, 1, 1)
        planes = planes + part * (K + K // 32 * 4 + K // group(weight) * 4)
        lo, hi = share(groups, part, parts)
        if lo < hi:
            for unit in range(K // 32):
                quantize_tile(zero, weight, planes, x, 0, 1, 1, K, unit)
            for i in range(lo, hi):
                group_product(zero, out, weight, planes, workspace, 0, 1, 1, M, N, K, i * n)
            if epilogue != 0:
                call_epilogue(epilogue, epilogue_args, 0, 0, 1, lo * n, min(N, hi * n))
    else:
        blank = tile_zero(out, tile_height(out), 1)
        tiles = (M + R - 1) // R
        lo, hi = share((M + ROWS - 1) // ROWS * groups, part, parts)
        while lo < hi:
            block = lo // groups
            first = lo - block * groups
            last = min(groups, first + hi - lo, first + PANEL)
            row0 = block * ROWS
            row1 = min(M, row0 + ROWS)
            for i in range(first, last):
                group_product(
                    blank, out, weight, planes, workspace, row0, row1, tiles, M, N, K, i * n
                )
            if epilogue != 0:
                columns = min(N, last * n)
                call_epilogue(epilogue, epilogue_args, 0, row0, row1, first * n, columns)
            lo += last - first
