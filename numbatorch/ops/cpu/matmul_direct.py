"""Matrix products that read their operands in place.

`matmul_nn` reads rhs along its columns: small matrices, a vector times a matrix. `matmul_nt` reads
both along k: few rows of x times W.T, where each row of W comes from memory once.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, V, helper, kernel, share
from numbatorch.language.simd.pairs import as_words, numbers, view_as, view_words, word_of
from numbatorch.language.simd.tile import (
    dots_rows,
    four_sums,
    tile_along,
    tile_dots,
    tile_dots_first,
    tile_load,
    tile_outer,
    tile_store,
    tile_sums,
    tile_total,
    tile_vectors,
    tile_zero,
    vstore_rows,
)
from numbatorch.language.simd.vectors import (
    call_epilogue,
    lanes,
    prefetch,
    view_held,
    vload_like,
    vstore,
)
from numbatorch.language.words import uint8
from numbatorch.ops.cpu.blocking import PANEL, TILE
from numbatorch.ops.cpu.blocking import ROWS as CHUNK
from numbatorch.ops.portable.rows import place_in

FLOATS = ("float32", "float64", "float16", "bfloat16")
MULTIPLIED = ("float32", "float64", "bfloat16")  # what products are made of

WORTH = 4096  # elements of rhs from which on a chunk of rows is worth sharing
DOTS_ROWS = 16  # rows of `matmul_nt` that share a block of k
DOTS_COLUMNS = 16  # columns that they share it for
DOTS_DEPTH = 512  # k of such a block, so that the rows fit the first-level cache; bits depend on it


def matmul_nt_workspace(M: int, K: int, parts: int, itemsize: int, each: int = 1) -> int:
    """Bytes of scratch memory that `matmul_nt` needs; `matmul_nn` needs none.

    Args:
        itemsize: of the type that sums have.
        each: numbers in a word; rows of words of two stand there.
    """
    rows = M * K // 2 if each == 2 else 0
    return parts * (DOTS_ROWS * DOTS_COLUMNS + rows) * itemsize


@helper
def small_tile(
    out: Pointer[T],
    out_row: int,
    rows: int,
    cols: int,
    a: Pointer[T],
    a_row: int,
    a_col: int,
    b: Pointer[U],
    b_row: int,
    K: int,
) -> None:
    """A tile one vector wide; eight rows hide the latency of the sums."""
    tile = tile_zero(out, 8, 1)
    for _ in range(K):
        tile = tile_outer(tile, a, a_row, rows - 1, b, cols)
        a = a + a_col
        b = b + b_row
    tile_store(out, out_row, tile, rows, cols)


@helper
def wide_tile(
    out: Pointer[T],
    out_row: int,
    rows: int,
    a: Pointer[T],
    a_row: int,
    a_col: int,
    b: Pointer[U],
    b_row: int,
    K: int,
) -> None:
    """A tile that fills the registers: up to six rows, all columns."""
    width = tile_vectors(out) * lanes(out)
    tile = tile_zero(out, TILE, tile_vectors(out))
    for _ in range(K):
        tile = tile_outer(tile, a, a_row, rows - 1, b, -1)
        a = a + a_col
        b = b + b_row
    tile_store(out, out_row, tile, rows, width)


@helper
def row_tile(out: Pointer[T], a: Pointer[T], a_col: int, b: Pointer[U], b_row: int, K: int) -> None:
    """One row, eight vectors of columns: a vector times a matrix."""
    width = 8 * lanes(out)
    tile = tile_zero(out, 1, 8)
    for _ in range(K):
        tile = tile_outer(tile, a, 0, 0, b, -1)
        a = a + a_col
        b = b + b_row
    tile_store(out, 0, tile, 1, width)


@helper
def nn_rows(
    out: Pointer[T],
    out_row: int,
    a: Pointer[T],
    a_row: int,
    a_col: int,
    b: Pointer[U],
    b_row: int,
    M: int,
    K: int,
    col0: int,
    col1: int,
) -> None:
    """Columns col0 to col1 of every row."""
    width = tile_vectors(out) * lanes(out)
    col = col0
    while M == 1 and col + 8 * lanes(out) <= col1:
        row_tile(out + col, a, a_col, b + col, b_row, K)
        col += 8 * lanes(out)
    while col + width <= col1:
        for row in range(0, M, TILE):
            place = out + (row * out_row + col)
            wide_tile(
                place, out_row, min(TILE, M - row), a + row * a_row, a_row, a_col, b + col, b_row, K
            )
        col += width
    while col < col1:
        cols = min(lanes(out), col1 - col)
        for row in range(0, M, 8):
            place = out + (row * out_row + col)
            small_tile(
                place,
                out_row,
                min(8, M - row),
                cols,
                a + row * a_row,
                a_row,
                a_col,
                b + col,
                b_row,
                K,
            )
        col += cols


@kernel(T=FLOATS, U=FLOATS)
def matmul_nn(
    out: Pointer[T], lhs: Pointer[T], rhs: Pointer[U], workspace: Pointer[uint8],
    M: int, N: int, K: int, out_row: int, lhs_row: int, lhs_col: int, rhs_row: int, rhs_col: int,
    batch0: int, batch1: int, out_batch0: int, out_batch1: int, lhs_batch0: int, lhs_batch1: int,
    rhs_batch0: int, rhs_batch1: int, epilogue: int, epilogue_args: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out = lhs @ rhs for rhs_col = 1: small matrices, and a vector times a matrix.

    What is shared are tiles of rows, by blocks of columns within each chunk of rows: whole chunks
    would leave 72 rows of 100 to one of two shares. A matrix of few rows is not taken apart.
    """
    blocks = (N + PANEL - 1) // PANEL
    step = TILE if M > 2 * TILE and N * K >= WORTH else CHUNK
    tiles, high = (M + step - 1) // step, CHUNK // step
    lo, hi = share(batch0 * batch1 * tiles * blocks, part, parts)
    while lo < hi:
        batch = lo // (tiles * blocks)
        place = lo - batch * tiles * blocks
        top = place // (high * blocks) * high
        height = min(high, tiles - top)
        place -= top * blocks
        block = place // height
        first = place - block * height
        last, count = min(height, first + hi - lo), 1
        if first == 0 and last == height:
            count = min((hi - lo) // height, blocks - block, 4 if M > 1 else blocks)
        lo += count * (last - first)
        row0, row1 = (top + first) * step, min(M, (top + last) * step)
        col0, col1 = block * PANEL, min(N, (block + count) * PANEL)
        nn_rows(
            out + (place_in(batch, batch1, out_batch0, out_batch1) + row0 * out_row),
            out_row,
            lhs + (place_in(batch, batch1, lhs_batch0, lhs_batch1) + row0 * lhs_row),
            lhs_row,
            lhs_col,
            rhs + place_in(batch, batch1, rhs_batch0, rhs_batch1),
            rhs_row,
            row1 - row0,
            K,
            col0,
            col1,
        )
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, batch, row0, row1, col0, col1)


@helper
def dots_tile(
    out: Pointer[T],
    out_row: int,
    rows: int,
    cols: int,
    a: Any,
    a_row: int,
    b: Any,
    b_row: int,
    K: int,
    sums: Pointer[T],
    first: bool,
    last: bool,
    ahead: Any,
    fetched: int,
) -> None:
    """Up to four rows and columns of results over one block of k; `sums` carries between blocks.

    Meanwhile up to four rows that lie `ahead` are fetched.
    """
    n = lanes(out)
    tile = tile_zero(out, dots_rows(out), 4)
    whole = K // n * n
    for k in range(0, whole, n):
        prefetch(ahead + k)
        if fetched > 1:
            prefetch(ahead + (k + b_row))
        if fetched > 2:
            prefetch(ahead + (k + 2 * b_row))
            prefetch(ahead + (k + 3 * b_row))
        tile = tile_dots(tile, a + k, a_row, rows - 1, b + k, b_row, cols - 1)
    if whole < K:
        tile = tile_dots_first(
            tile, a + whole, a_row, rows - 1, b + whole, b_row, cols - 1, K - whole
        )
    total = tile_sums(tile)
    if not first:
        total = total + vload_like(sums, total)
    if last:
        vstore_rows(out, out_row, total, 4, rows, cols)
    else:
        vstore(sums, total)


@helper
def row_sums(out: Pointer[T], a: Any, b: Any, K: int) -> Any:
    """A vector whose lanes add up to the products of whole vectors of two rows."""
    n = lanes(out)
    tile = tile_zero(out, 1, 4)
    whole = K // (4 * n) * (4 * n)
    for k in range(0, whole, 4 * n):
        tile = tile_along(tile, a + k, b + k)
    rest = tile_zero(out, 1, 1)
    for k in range(whole, K // n * n, n):
        rest = tile_along(rest, a + k, b + k)
    return tile_total(tile) + tile_total(rest)


@helper
def dots_row(out: Pointer[T], cols: int, a: Any, b: Any, b_row: int, K: int) -> None:
    """One row of the product: a matrix times a vector, four columns at a time.

    One row of the matrix is read after the other, so that memory is read in its order: eight at
    once of 768 elements come from it at 12 to 20 GB/s where this takes 31.
    """
    whole = K // lanes(out) * lanes(out)
    for col in range(0, cols, 4):
        w, last = b + col * b_row, min(3, cols - 1 - col)
        total = four_sums(
            row_sums(out, a, w, K),
            row_sums(out, a, w + min(1, last) * b_row, K),
            row_sums(out, a, w + min(2, last) * b_row, K),
            row_sums(out, a, w + last * b_row, K),
        )
        if whole < K:
            tile = tile_zero(out, 1, 4)
            tile = tile_dots_first(tile, a + whole, 0, 0, w + whole, b_row, last, K - whole)
            total = total + tile_sums(tile)
        vstore_rows(out + col, 0, total, 4, 1, last + 1)


@helper
def dots_group(
    out: Pointer[T],
    out_row: int,
    a: Any,
    a_row: int,
    b: Any,
    b_row: int,
    rows: int,
    cols: int,
    K: int,
    sums: Pointer[T],
    block: int,
    tile: int,
    tiles: int,
) -> None:
    """A few rows, which stay in the first-level cache block by block of k, with a few columns.

    `tile` of `tiles` is the first of these among all the tiles of the columns; each fetches its
    share of the next columns.
    """
    step = dots_rows(out)
    for start in range(0, max(K, 1), block):
        depth = min(block, K - start)
        first = start == 0
        last = start + depth == K
        at = tile
        for col in range(0, cols, 4):
            w = b + (col * b_row + start)
            width = min(4, cols - col)
            for row in range(0, rows, step):
                near, far = share(DOTS_COLUMNS, at, tiles)
                at += 1
                ahead = b + ((DOTS_COLUMNS + near) * b_row + start)
                place = out + (row * out_row + col)
                x = a + (row * a_row + start)
                carry = sums + (col * DOTS_ROWS + row * 4)
                dots_tile(
                    place, out_row, min(step, rows - row), width, x, a_row, w, b_row, depth,
                    carry, first, last, ahead, far - near,
                )  # fmt: skip


@helper
def nt_blocked(
    out: Pointer[T],
    out_row: int,
    a: Any,
    a_row: int,
    b: Any,
    b_row: int,
    M: int,
    K: int,
    cols: int,
    sums: Pointer[T],
    block: int,
) -> None:
    """out = a @ b.T for some columns and all rows; `sums` carries between blocks of k."""
    step = dots_rows(out)
    even = M if M % step != 1 else M - 1
    tiles = (even + step - 1) // step * (DOTS_COLUMNS // 4)
    for col in range(0, cols, DOTS_COLUMNS):
        count = min(DOTS_COLUMNS, cols - col)
        w = b + col * b_row
        for row in range(0, even, DOTS_ROWS):
            rows = min(DOTS_ROWS, even - row)
            place = out + (row * out_row + col)
            x = a + row * a_row
            tile = row // step * (DOTS_COLUMNS // 4)
            dots_group(place, out_row, x, a_row, w, b_row, rows, count, K, sums, block, tile, tiles)
        if even < M:
            dots_row(out + (even * out_row + col), count, a + even * a_row, w, b_row, K)


@helper
def copy_pairs(dst: Any, src: Pointer[T], src_row: int, rows: int, words: int) -> None:
    """Rows of words of two numbers each, rounded to bfloat16."""
    n = lanes(dst)
    whole = words // n * n
    square = tile_zero(dst, 1, 1)
    for row in range(rows):
        x, y = src + row * src_row, dst + row * words
        for k in range(0, whole, n):
            tile_store(y + k, 0, tile_load(square, x + 2 * k, 0), 1, n)
        for k in range(whole, words):
            y[k] = word_of(dst, x[2 * k], x[2 * k + 1], 2)


@kernel(T=FLOATS, U=FLOATS, V=MULTIPLIED)
def matmul_nt(
    out: Pointer[T], lhs: Pointer[T], rhs: Pointer[U], workspace: Pointer[V],
    M: int, N: int, K: int, out_row: int, lhs_row: int, lhs_col: int, rhs_row: int, rhs_col: int,
    batch0: int, batch1: int, out_batch0: int, out_batch1: int, lhs_batch0: int, lhs_batch1: int,
    rhs_batch0: int, rhs_batch1: int, epilogue: int, epilogue_args: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out = lhs @ rhs for lhs_col = rhs_row = 1 and few rows: x @ W.T reads each row of W once.

    With V = bfloat16 that is U, too, K and the other strides of rhs are even, and each part rounds
    the rows of lhs for itself, which takes little beside the products.
    """
    blocks = (N + 7) // 8
    room = view_words(workspace)
    each = numbers(room)
    words, w_row, x_row = K // each, rhs_col // each, lhs_row
    carried, ready, known = DOTS_ROWS * DOTS_COLUMNS, False, 0
    room = room + part * (carried + (M * words if each == 2 else 0))
    sums = view_held(room, out)
    lo, hi = share(batch0 * batch1 * blocks, part, parts)
    while lo < hi:
        batch = lo // blocks
        block = lo - batch * blocks
        count = min(hi - lo, blocks - block, PANEL // 8)
        col0 = block * 8
        col1 = min(N, (block + count) * 8)
        start = place_in(batch, batch1, lhs_batch0, lhs_batch1)
        x = as_words(lhs + start, room)
        if each == 2:
            x, x_row = view_as(room + carried, x), words
            if not ready or known != start:
                copy_pairs(room + carried, lhs + start, lhs_row, M, words)
                ready, known = True, start
        right = rhs + (place_in(batch, batch1, rhs_batch0, rhs_batch1) + col0 * rhs_col)
        w = as_words(right, room)
        place = out + (place_in(batch, batch1, out_batch0, out_batch1) + col0)
        nt_blocked(place, out_row, x, x_row, w, w_row, M, words, col1 - col0, sums, DOTS_DEPTH)
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, batch, 0, M, col0, col1)
        lo += count
