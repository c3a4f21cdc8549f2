"""Packing of the operands of a matrix product: words along k side by side, as tiles read them.

A word is a number, or two of bfloat16 (simd/pairs.py), which `dst` says. Of two, a row or column
has a whole number of `WHOLE` words, the last of zeros.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, helper
from numbatorch.language.simd.pairs import WHOLE, numbers, vwords, word_of
from numbatorch.language.simd.tile import (
    tile_across,
    tile_load,
    tile_store,
    tile_transpose,
    tile_zero,
)
from numbatorch.language.simd.vectors import lanes, vstore

ROWS = 32  # of so many rows `pack_rows` makes a whole number


@helper
def words_in(words: Any, K: int) -> int:
    """Words of K numbers."""
    whole: int = (K + 2 * WHOLE - 1) // (2 * WHOLE) * WHOLE
    return K if numbers(words) == 1 else whole


@helper
def word_at(words: Any, src: Any, step: int, left: int) -> Any:
    """The word of src[0] and src[step], of which `left` are there."""
    return word_of(words, src[0], src[step if left > 1 else 0], left)


@helper
def pack_panel(
    dst: Any,
    width: int,
    src: Any,
    src_row: int,
    src_col: int,
    K: int,
    cols: int,
) -> None:
    """dst[k * width + col] = src[k * src_row + col * src_col], 0 from `cols` on."""
    n, each, words = lanes(dst), numbers(dst), words_in(dst, K)
    wide = cols if src_col == 1 or src_row == 1 else 0
    for col in range(0, wide // n * n, n):
        if src_col == 1:
            copy_columns(dst + col, width, src + col, src_row, K)
        else:
            transpose_columns(dst + col, width, src + col * src_col, src_col, K)
    for col in range(wide // n * n, width):
        if col < cols:
            for k in range(words):
                left = K - k * each
                place = src + ((k * each if left > 0 else 0) * src_row + col * src_col)
                dst[k * width + col] = word_at(dst, place, src_row, left)
        else:
            for k in range(words):
                dst[k * width + col] = 0


@helper
def copy_columns(dst: Any, width: int, src: Pointer[U], src_row: int, K: int) -> None:
    """One vector of columns that lie side by side in memory."""
    for k in range(K // numbers(dst)):
        vstore(dst + k * width, vwords(dst, src + k * numbers(dst) * src_row, src_row))
    end_columns(dst, width, src, src_row, 1, K, K // numbers(dst))


@helper
def transpose_columns(dst: Any, width: int, src: Pointer[U], src_col: int, K: int) -> None:
    """One vector of columns that lie along k in memory."""
    n, each = lanes(dst), numbers(dst)
    square = tile_zero(dst, n, 1)
    whole = K // each // n * n
    for k in range(0, whole, n):
        columns = tile_transpose(tile_load(square, src + k * each, src_col))
        tile_store(dst + k * width, width, columns, n, n)
    end_columns(dst, width, src, 1, src_col, K, whole)


@helper
def end_columns(
    dst: Any, width: int, src: Pointer[U], src_row: int, src_col: int, K: int, start: int
) -> None:
    """The words of a vector of columns from `start` on, one by one."""
    for k in range(start, words_in(dst, K)):
        left = K - k * numbers(dst)
        for col in range(lanes(dst)):
            place = src + ((k * numbers(dst) if left > 0 else 0) * src_row + col * src_col)
            dst[k * width + col] = word_at(dst, place, src_row, left)


@helper
def pack_group(
    dst: Any,
    width: int,
    src: Pointer[U],
    src_row: int,
    src_col: int,
    K: int,
    cols: int,
    room: Any,
) -> None:
    """Pack panel after panel of `cols` columns.

    Args:
        room: memory that `pack_blocks`, which takes the place of this, decodes columns into.
    """
    for col in range(0, cols, width):
        place = dst + col * words_in(dst, K)
        pack_panel(place, width, src + col * src_col, src_row, src_col, K, min(width, cols - col))


@helper
def pack_rows(dst: Any, a: Pointer[T], a_row: int, a_col: int, K: int, rows: int) -> None:
    """Rows of words, and rows of zeros until there are a multiple of `ROWS`."""
    n, words = lanes(dst), words_in(dst, K)
    square = tile_zero(dst, n, 1)
    end_row = rows // n * n if a_row == 1 or a_col == 1 else 0
    end = K // numbers(dst) // n * n
    for row in range(0, end_row, n):
        for k in range(0, end, n):
            place = a + (row * a_row + k * numbers(dst) * a_col)
            block = square
            if a_col == 1:
                block = tile_load(square, place, a_row)
            else:
                block = tile_transpose(tile_across(square, place, a_col))
            tile_store(dst + (row * words + k), words, block, n, n)
    for row in range((rows + ROWS - 1) // ROWS * ROWS):
        for k in range(end if row < end_row else 0, words):
            left = K - k * numbers(dst) if row < rows else 0
            place = a + (row * a_row + k * numbers(dst) * a_col if left > 0 else 0)
            dst[row * words + k] = word_at(dst, place, a_col, left)
