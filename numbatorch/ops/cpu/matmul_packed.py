"""Matrix product of any strides: panels of rhs are packed, tiles of registers run along them.

The blocking is that of https://www.cs.utexas.edu/~flame/pubs/GotoTOMS_revision.pdf: a panel of rhs
stays in the second-level cache while a chunk of rows of lhs passes it.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.simd.tile import (
    tile_load,
    tile_outer,
    tile_store,
    tile_transpose,
    tile_vectors,
    tile_zero,
)
from numbatorch.language.simd.vectors import call_epilogue, lanes, narrow, view_held, vload, vstore
from numbatorch.language.words import uint8
from numbatorch.ops.portable.rows import place_in

FLOATS = ("float32", "float64", "float16", "bfloat16")

TILE = 6  # rows of a register tile
CHUNK = 48  # rows of lhs that meet one packed panel of rhs while it is in the cache
DEPTH = 1024  # k of a panel block, so that it fits the second-level cache
GROUP = 1 << 20  # elements of rhs packed at a time
PANEL = 64  # columns that every panel width divides


def matmul_workspace(N: int, K: int, parts: int, itemsize: int) -> int:
    """Bytes of scratch memory that `matmul` needs; `itemsize` is that of the type computed in."""
    return parts * _part_elements(_group_columns(N, K), K) * itemsize


def _group_columns(N: int, K: int) -> int:
    """Columns of rhs that are packed at a time."""
    fit = GROUP // max(K, 1) // PANEL * PANEL
    return max(PANEL, min((N + PANEL - 1) // PANEL * PANEL, fit))


def _part_elements(columns: int, K: int) -> int:
    """Scratch elements of one part: packed rhs, converted lhs, sums between blocks of k."""
    return columns * K + CHUNK * K + CHUNK * PANEL


group_columns = helper(_group_columns)
part_elements = helper(_part_elements)


@helper
def pack_panel(
    dst: Pointer[T],
    width: int,
    src: Any,
    src_row: int,
    src_col: int,
    K: int,
    cols: int,
) -> None:
    """dst[k * width + col] = src[k * src_row + col * src_col], 0 from `cols` on."""
    n = lanes(dst)
    wide = cols if src_col == 1 or src_row == 1 else 0
    for col in range(0, wide // n * n, n):
        if src_col == 1:
            for k in range(K):
                vstore(dst + (k * width + col), vload(src + (k * src_row + col), n))
        else:
            transpose_columns(dst + col, width, src + col * src_col, src_col, K)
    for col in range(wide // n * n, width):
        if col < cols:
            for k in range(K):
                dst[k * width + col] = src[k * src_row + col * src_col]
        else:
            for k in range(K):
                dst[k * width + col] = 0.0


@helper
def transpose_columns(dst: Pointer[T], width: int, src: Pointer[U], src_col: int, K: int) -> None:
    """One vector of columns that lie along k in memory."""
    n = lanes(dst)
    square = tile_zero(dst, n, 1)
    for k in range(0, K // n * n, n):
        columns = tile_transpose(tile_load(square, src + k, src_col))
        tile_store(dst + k * width, width, columns, n, n)
    for k in range(K // n * n, K):
        for col in range(n):
            dst[k * width + col] = src[k + col * src_col]


@helper
def panel_rows(
    out: Pointer[T],
    out_row: int,
    cols: int,
    sums: Pointer[T],
    a: Pointer[T],
    a_row: int,
    a_col: int,
    panel: Pointer[T],
    rows: int,
    K: int,
) -> None:
    """Some rows times one packed panel, block by block of k; `sums` carries between the blocks."""
    n = tile_vectors(out) * lanes(out)
    for start in range(0, max(K, 1), DEPTH):
        depth = min(DEPTH, K - start)
        for row in range(0, rows, TILE):
            tile = tile_zero(sums, TILE, tile_vectors(sums))
            if start > 0:
                tile = tile_load(tile, sums + row * n, n)
            x = a + (row * a_row + start * a_col)
            w = panel + start * n
            last = min(TILE, rows - row) - 1
            for _ in range(depth):
                tile = tile_outer(tile, x, a_row, last, w, n)
                x = x + a_col
                w = w + n
            if start + depth < K:
                tile_store(sums + row * n, n, tile, TILE, n)
            else:
                tile_store(out + row * out_row, out_row, tile, last + 1, cols)


@helper
def row_blocks(M: int, panels: int, parts: int) -> int:
    """Into how many blocks rows are cut for equal shares; rhs is packed for each."""
    chunks = (M + CHUNK - 1) // CHUNK
    if panels % parts == 0 or panels >= 8 * parts:
        return 1
    return max(1, min(chunks, (8 * parts + panels - 1) // panels))


@helper
def pack_group(
    dst: Pointer[T],
    width: int,
    src: Pointer[U],
    src_row: int,
    src_col: int,
    K: int,
    cols: int,
) -> None:
    """Pack panel after panel of `cols` columns."""
    for col in range(0, cols, width):
        place = dst + col * K
        pack_panel(place, width, src + col * src_col, src_row, src_col, K, min(width, cols - col))


@helper
def chunk_rows(
    out: Pointer[T],
    out_row: int,
    cols: int,
    held: Pointer[T],
    a: Pointer[T],
    a_row: int,
    a_col: int,
    panels: Pointer[T],
    rows: int,
    K: int,
) -> None:
    """Some rows times all packed panels; `held` has room for the rows as floats and for sums."""
    width = tile_vectors(out) * lanes(out)
    x = view_held(a, out)
    x_row, x_col = a_row, a_col
    if narrow(a) == 1:
        x = held
        if a_row == 1:
            x_row, x_col = 1, CHUNK
            pack_panel(x, CHUNK, a, a_col, a_row, K, rows)
        else:
            x_row, x_col = K, 1
            pack_panel(x, K, a, a_row, a_col, rows, K)
    sums = held + CHUNK * K
    for col in range(0, cols, width):
        panel = panels + col * K
        count = min(width, cols - col)
        panel_rows(out + col, out_row, count, sums, x, x_row, x_col, panel, rows, K)


@kernel(T=FLOATS, U=FLOATS)
def matmul(
    out: Pointer[T], lhs: Pointer[T], rhs: Pointer[U], workspace: Pointer[uint8],
    M: int, N: int, K: int, out_row: int, lhs_row: int, lhs_col: int, rhs_row: int, rhs_col: int,
    batch0: int, batch1: int, out_batch0: int, out_batch1: int, lhs_batch0: int, lhs_batch1: int,
    rhs_batch0: int, rhs_batch1: int, epilogue: int, epilogue_args: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out = lhs @ rhs for any strides; lhs is read in place unless it is narrow.

    Of many panels the chunks of rows are shared, so that a share may begin and end within a panel:
    then its first panel meets no chunk before `first`, its last none from `last` on.
    """
    width = tile_vectors(out) * lanes(out)
    panels = (N + width - 1) // width
    blocks = row_blocks(M, batch0 * batch1 * panels, parts)
    columns = group_columns(N, K)
    packed = view_held(workspace, out) + part * part_elements(columns, K)
    held = packed + columns * K
    chunks = (M + CHUNK - 1) // CHUNK
    known, known_col0, known_col1 = 0, 0, 0
    pieces = chunks if blocks == 1 else 1
    lo, hi = share(batch0 * batch1 * blocks * panels * pieces, part, parts)
    while lo < hi:
        place = lo // pieces
        block = place // panels
        panel = place - block * panels
        count = min((hi - 1) // pieces - place + 1, panels - panel, columns // width)
        first, last = lo - place * pieces, hi - (place + count - 1) * pieces
        lo = min(hi, (place + count) * pieces)
        batch = block // blocks
        col0 = panel * width
        col1 = min(N, col0 + count * width)
        start = place_in(batch, batch1, rhs_batch0, rhs_batch1)
        if known != start or known_col0 != col0 or known_col1 != col1:
            known, known_col0, known_col1 = start, col0, col1
            b = rhs + (start + col0 * rhs_col)
            pack_group(packed, width, b, rhs_row, rhs_col, K, col1 - col0)
        a = lhs + place_in(batch, batch1, lhs_batch0, lhs_batch1)
        c = out + place_in(batch, batch1, out_batch0, out_batch1)
        chunk_lo, chunk_hi = share(chunks, block - batch * blocks, blocks)
        for chunk in range(chunk_lo, chunk_hi):
            low = col0 + (width if pieces > 1 and chunk < first else 0)
            high = (panel + count - 1) * width if pieces > 1 and chunk >= last else col1
            if low < high:
                row = chunk * CHUNK
                rows, x = min(CHUNK, M - row), a + row * lhs_row
                y, w = c + (row * out_row + low), packed + (low - col0) * K
                chunk_rows(y, out_row, high - low, held, x, lhs_row, lhs_col, w, rows, K)
                if epilogue != 0:
                    call_epilogue(epilogue, epilogue_args, batch, row, row + rows, low, high)
