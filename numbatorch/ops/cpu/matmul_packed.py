"""Matrix product of any strides: panels of rhs are packed, tiles of registers run along them.

What is packed are words along k, each a number or two of bfloat16 (simd/pairs.py); `words` counts
these, `K` numbers. Where the processor multiplies tiles of them (simd/amx.py), a square of four
tiles takes the place of a tile of registers.

The blocking is that of https://www.cs.utexas.edu/~flame/pubs/GotoTOMS_revision.pdf: a panel of rhs
stays in the second-level cache while a chunk of rows of lhs passes it. `blocking.py` says the
sizes, which kernels are told when they run. Sums go on from block to block of k, so their bits do
not depend on these.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, V, helper, kernel, share
from numbatorch.language.simd.amx import SIDE, has_tiles, tiles_begin, tiles_end
from numbatorch.language.simd.pairs import in_place, numbers, view_words, words_for
from numbatorch.language.simd.tile import (
    tile_load,
    tile_outer,
    tile_store,
    tile_vectors,
    tile_zero,
)
from numbatorch.language.simd.vectors import call_epilogue, lanes, view_held
from numbatorch.ops.cpu.blocking import ROWS, TILE, Blocks
from numbatorch.ops.cpu.packing import pack_group, pack_panel, pack_rows, words_in
from numbatorch.ops.cpu.squares import add_square
from numbatorch.ops.portable.rows import place_in

FLOATS = ("float32", "float64", "float16", "bfloat16")
MULTIPLIED = ("float32", "float64", "bfloat16")  # what products are made of


def matmul_workspace(blocks: Blocks, K: int, parts: int, itemsize: int, each: int = 1) -> int:
    """Bytes of scratch memory that `matmul` needs.

    Args:
        blocks: of the product.
        itemsize: of the type that sums have.
        each: numbers in a word.
    """
    words = words_for(K, each)
    return parts * _part_words(blocks.columns, words, each) * itemsize


def _part_words(columns: int, words: int, each: int) -> int:
    """Scratch words of one part: packed rhs, packed lhs, sums between blocks of k."""
    return columns * words + each * ROWS * (words + columns)


part_words = helper(_part_words)


@helper
def panel_squares(
    out: Pointer[T],
    out_row: int,
    cols: int,
    sums: Any,
    a: Any,
    a_row: int,
    panel: Any,
    rows: int,
    depth: int,
    first: bool,
    last: bool,
) -> None:
    """As `panel_rows`, by tiles; rows of a are there up to the next square."""
    n = tile_vectors(out) * lanes(out)
    for row in range(0, rows, SIDE):
        for col in range(0, cols, SIDE):
            place = sums + (row * n + col)
            add_square(place, n, a + row * a_row, a_row, panel + col, n, depth, first)
    if last:
        for row in range(0, rows, TILE):
            tile = tile_load(tile_zero(sums, TILE, tile_vectors(sums)), sums + row * n, n)
            tile_store(out + row * out_row, out_row, tile, min(TILE, rows - row), cols)


@helper
def panel_rows(
    out: Pointer[T],
    out_row: int,
    cols: int,
    sums: Any,
    a: Any,
    a_row: int,
    a_col: int,
    panel: Any,
    rows: int,
    depth: int,
    first: bool,
    last: bool,
) -> None:
    """Some rows times a block of k of a packed panel; `sums` carries from the first to the last."""
    n = tile_vectors(out) * lanes(out)
    for row in range(0, rows, TILE):
        tile = tile_zero(sums, TILE, tile_vectors(sums))
        if not first:
            tile = tile_load(tile, sums + row * n, n)
        x, w, last_row = a + row * a_row, panel + 0, min(TILE, rows - row) - 1
        for _ in range(depth):
            tile = tile_outer(tile, x, a_row, last_row, w, n)
            x = x + a_col
            w = w + n
        if last:
            tile_store(out + row * out_row, out_row, tile, last_row + 1, cols)
        else:
            tile_store(sums + row * n, n, tile, TILE, n)


@helper
def add_panels(
    out: Pointer[T],
    out_row: int,
    cols: int,
    sums: Any,
    x: Any,
    x_row: int,
    x_col: int,
    panels: Any,
    rows: int,
    chunk: int,
    block: int,
    words: int,
) -> None:
    """Some rows times all packed panels, block by block of k; `sums` has `chunk` rows of each."""
    width = tile_vectors(out) * lanes(out)
    for start in range(0, max(words, 1), block):
        depth = min(block, words - start)
        first, last, a = start == 0, start + depth >= words, x + start * x_col
        for col in range(0, cols, width):
            place, own, count = out + col, sums + chunk * col, min(width, cols - col)
            panel = panels + (col * words + start * width)
            if has_tiles(panels) == 1:
                panel_squares(place, out_row, count, own, a, x_row, panel, rows, depth, first, last)
            else:
                panel_rows(
                    place, out_row, count, own, a, x_row, x_col, panel, rows, depth, first, last
                )


@helper
def row_blocks(chunks: int, panels: int, parts: int) -> int:
    """Into how many blocks chunks of rows are cut for equal shares; rhs is packed for each."""
    if panels % parts == 0 or panels >= 8 * parts:
        return 1
    return max(1, min(chunks, (8 * parts + panels - 1) // panels))


@helper
def chunk_rows(
    out: Pointer[T],
    out_row: int,
    cols: int,
    held: Any,
    a: Pointer[T],
    a_row: int,
    a_col: int,
    panels: Any,
    rows: int,
    block: int,
    K: int,
) -> None:
    """Some rows times all packed panels; `held` has room for the rows as words and for sums."""
    words = words_in(panels, K)
    chunk, tiled = ROWS * numbers(panels), has_tiles(panels) == 1
    each = in_place(a, panels)
    x, x_row, x_col = view_held(a, panels), a_row // max(each, 1), a_col
    lies = each == 1 or (each == 2 and a_col == 1 and a_row % 2 == 0 and K == 2 * words)
    if not lies or (tiled and rows % SIDE > 0):
        x = held
        if tiled:
            x_row, x_col = words, 1
            pack_rows(x, a, a_row, a_col, K, rows)
        elif a_row == 1 or numbers(panels) > 1:
            x_row, x_col = 1, chunk
            pack_panel(x, chunk, a, a_col, a_row, K, rows)
        else:
            x_row, x_col = K, 1
            pack_panel(x, K, a, a_row, a_col, rows, K)
    sums = view_held(held + chunk * words, out)
    add_panels(out, out_row, cols, sums, x, x_row, x_col, panels, rows, chunk, block, words)


@kernel(T=FLOATS, U=FLOATS, V=MULTIPLIED)
def matmul(
    out: Pointer[T], lhs: Pointer[T], rhs: Pointer[U], workspace: Pointer[V],
    M: int, N: int, K: int, out_row: int, lhs_row: int, lhs_col: int, rhs_row: int, rhs_col: int,
    batch0: int, batch1: int, out_batch0: int, out_batch1: int, lhs_batch0: int, lhs_batch1: int,
    rhs_batch0: int, rhs_batch1: int, depth: int, columns: int,
    epilogue: int, epilogue_args: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out = lhs @ rhs for any strides; lhs is read in place unless V is another type.

    A block of k has `depth` words, and `columns` are packed at a time (blocking.py).

    Of many panels the chunks of rows are shared, so that a share may begin and end within a panel:
    then its first panel meets no chunk before `first`, its last none from `last` on.
    """
    width = tile_vectors(out) * lanes(out)
    panels = (N + width - 1) // width
    room = view_words(workspace)
    chunk_height = ROWS * numbers(room)
    chunks = (M + chunk_height - 1) // chunk_height
    blocks = row_blocks(chunks, batch0 * batch1 * panels, parts)
    words = words_in(room, K)
    packed = room + part * part_words(columns, words, numbers(room))
    held = packed + columns * words
    known, known_col0, known_col1 = 0, 0, 0
    pieces = chunks if blocks == 1 else 1
    if has_tiles(room) == 1:
        tiles_begin()
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
            pack_group(packed, width, b, rhs_row, rhs_col, K, col1 - col0, held)
        a = lhs + place_in(batch, batch1, lhs_batch0, lhs_batch1)
        c = out + place_in(batch, batch1, out_batch0, out_batch1)
        chunk_lo, chunk_hi = share(chunks, block - batch * blocks, blocks)
        for chunk in range(chunk_lo, chunk_hi):
            low = col0 + (width if pieces > 1 and chunk < first else 0)
            high = (panel + count - 1) * width if pieces > 1 and chunk >= last else col1
            if low < high:
                row = chunk * chunk_height
                rows, x = min(chunk_height, M - row), a + row * lhs_row
                y, w = c + (row * out_row + low), packed + (low - col0) * words
                chunk_rows(y, out_row, high - low, held, x, lhs_row, lhs_col, w, rows, depth, K)
                if epilogue != 0:
                    call_epilogue(epilogue, epilogue_args, batch, row, row + rows, low, high)
    if has_tiles(room) == 1:
        tiles_end()


packed_product = helper(matmul.function)
