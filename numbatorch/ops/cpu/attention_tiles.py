"""What the attention kernels share: blocks of rows in the type computed in, their products.

A block of scores stands keys by queries, (keys, TILE): so keys and values are used as they lie,
and a vector runs along queries, whose maxima and sums need nothing across its lanes.
Row i of the queries of one group is token i // repeat of head i % repeat.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, V, helper, intrinsic
from numbatorch.language.primitives import fabs, inf, select, truncdiv
from numbatorch.language.simd import vectors as simd
from numbatorch.language.simd.tile import (
    tile_load,
    tile_outer,
    tile_store,
    tile_transpose,
    tile_zero,
)
from numbatorch.language.simd.vectors import lanes, vload, vmax, vstore
from numbatorch.language.words import bool_
from numbatorch.ops.portable.rows import exp, tanh

TILE = 64  # queries of a block, divisible by two vectors of any width
BLOCK = 64  # keys that meet them at a time

EVERY = 1 << 30  # no row of a register tile is the last


@intrinsic
def pair_rows(typingctx: Any, pointer: Any) -> Any:
    """Rows of a register tile two vectors wide, a constant."""
    return simd.constant_result(8 if simd.vector_registers() == 32 else 4, pointer)


def padded(size: int) -> int:
    """`size` rounded up so that two vectors of any width divide it."""
    return (size + 31) & -32


wide = helper(padded)


@helper
def row_place(row: int, repeat: int, head_stride: int, token_stride: int) -> int:
    """Elements from the first query of a group to row `row`."""
    token: int = truncdiv(row, repeat)
    return (row - token * repeat) * head_stride + token * token_stride


@helper(inline=False)
def add_product(
    out: Pointer[V],
    out_row: int,
    a: Pointer[V],
    a_row: int,
    a_col: int,
    b: Pointer[V],
    b_row: int,
    M: int,
    N: int,
    K: int,
) -> None:
    """out[m, n] += sum of a[m, k] * b[k, n]; M and N are rounded up to whole register tiles."""
    width = 2 * lanes(out)
    height = pair_rows(out)
    for col in range(0, N, width):
        for row in range(0, M, height):
            place = out + (row * out_row + col)
            tile = tile_load(tile_zero(out, height, 2), place, out_row)
            left = a + row * a_row
            right = b + col
            for _ in range(K):
                tile = tile_outer(tile, left, a_row, EVERY, right, -1)
                left = left + a_col
                right = right + b_row
            tile_store(place, out_row, tile, height, width)


@helper
def transpose(
    out: Pointer[V], out_row: int, x: Pointer[V], x_row: int, rows: int, cols: int
) -> None:
    """out[j, i] = x[i, j]; rows and cols are rounded up to whole vectors."""
    n = lanes(out)
    for row in range(0, rows, n):
        for col in range(0, cols, n):
            square = tile_load(tile_zero(out, n, 1), x + (row * x_row + col), x_row)
            tile_store(out + (col * out_row + row), out_row, tile_transpose(square), n, n)


@helper
def clear(out: Pointer[V], count: int, zero: float) -> None:
    """`count` zeros."""
    for i in range(count):
        out[i] = zero


@helper
def copy_row(out: Pointer[V], out_row: int, x: Pointer[T], cols: int, scale: float) -> None:
    """x times scale, and zeros up to `out_row`."""
    for i in range(cols):
        out[i] = x[i] * scale
    for i in range(cols, out_row):
        out[i] = scale - scale


@helper
def copy_keys(
    out: Pointer[V], out_row: int, x: Pointer[T], x_row: int, rows: int, cols: int, one: float
) -> None:
    """Rows of x that lie `x_row` apart, in the type of out."""
    for row in range(rows):
        copy_row(out + row * out_row, out_row, x + row * x_row, cols, one)


@helper
def copy_queries(
    out: Pointer[V],
    out_row: int,
    x: Pointer[T],
    x_head: int,
    x_token: int,
    repeat: int,
    first: int,
    rows: int,
    cols: int,
    scale: float,
) -> None:
    """Rows `first` to `first + rows` of a group times scale, and zeros up to whole vector pairs."""
    for i in range(rows):
        place = row_place(first + i, repeat, x_head, x_token)
        copy_row(out + i * out_row, out_row, x + place, cols, scale)
    clear(out + rows * out_row, (wide(rows) - rows) * out_row, scale - scale)


@helper
def turn_queries(
    out: Pointer[V],
    x: Pointer[T],
    x_head: int,
    x_token: int,
    repeat: int,
    first: int,
    rows: int,
    cols: int,
    scale: float,
) -> None:
    """Queries in columns, (cols, TILE); behind them they stand in rows, as `copy_queries` gives."""
    lines = out + TILE * wide(cols)
    copy_queries(lines, wide(cols), x, x_head, x_token, repeat, first, rows, cols, scale)
    transpose(out, TILE, lines, wide(cols), wide(rows), wide(cols))


@helper
def hide_later(
    scores: Pointer[V],
    width: int,
    count: int,
    ahead: int,
    repeat: int,
    first: int,
    hidden: float,
) -> None:
    """Key j, which is the key of token `ahead + j`, is hidden from queries of earlier tokens."""
    for key in range(count):
        row = scores + key * TILE
        for i in range(min(width, (ahead + key) * repeat - first)):
            row[i] = hidden


@helper
def hide_earlier(
    scores: Pointer[V],
    width: int,
    count: int,
    last: int,
    repeat: int,
    first: int,
    hidden: float,
) -> None:
    """Key j, which token `last + j` is the last to see, is hidden from queries of later tokens."""
    for key in range(count):
        row = scores + key * TILE
        for i in range(max(0, (last + key + 1) * repeat - first), width):
            row[i] = hidden


@helper
def cap_scores(scores: Pointer[V], width: int, count: int, cap: float) -> None:
    """Scores over their cap become cap * tanh(score)."""
    for key in range(count):
        row = scores + key * TILE
        for i in range(width):
            row[i] = cap * tanh(row[i])


@helper
def hide_masked(
    scores: Pointer[V],
    mask: Pointer[bool_],
    mask_head: int,
    mask_token: int,
    mask_key: int,
    repeat: int,
    first: int,
    rows: int,
    count: int,
    hidden: float,
) -> None:
    """Scores of keys that the mask, which starts at the first key, does not allow."""
    if mask_head == 0 and mask_token == 0:
        for key in range(count):
            if mask[key * mask_key] == 0:
                row = scores + key * TILE
                for i in range(rows):
                    row[i] = hidden
    else:
        for i in range(rows):
            allowed = mask + row_place(first + i, repeat, mask_head, mask_token)
            for key in range(count):
                if allowed[key * mask_key] == 0:
                    scores[key * TILE + i] = hidden


@helper
def column_tops(
    out: Pointer[V], top: Pointer[V], scores: Pointer[V], width: int, count: int
) -> None:
    """out[i] = the larger of top[i] and of column i."""
    n = lanes(out)
    for i in range(0, width, n):
        found = vload(top + i, n)
        for key in range(count):
            found = vmax(vload(scores + (key * TILE + i), n), found)
        vstore(out + i, found)


@helper
def column_sums(total: Pointer[V], scores: Pointer[V], width: int, count: int) -> None:
    """total[i] += the sum of column i."""
    n = lanes(total)
    for i in range(0, width, n):
        found = vload(total + i, n)
        for key in range(count):
            found = found + vload(scores + (key * TILE + i), n)
        vstore(total + i, found)


@helper
def powers(scores: Pointer[V], shift: Pointer[V], width: int, count: int) -> None:
    """Column i becomes exp(column - shift[i])."""
    for key in range(count):
        row = scores + key * TILE
        for i in range(width):
            row[i] = exp(row[i] - shift[i])


@helper
def finite(top: float, zero: float) -> Any:
    """What to take off the scores before exp: the largest of them, unless that is infinite."""
    return select(fabs(top) < inf, top, zero)
