"""Matrix product kernels: out (M, N) = lhs (M, K) @ rhs (K, N), over up to two batch dimensions.

`matmul` packs rhs and takes any strides; `matmul_nt` reads rhs along k and `matmul_nn` along its
columns, in place. The three take the same arguments, so that shape and strides decide.
"""

from numbatorch.backends.cpu.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.backends.cpu.simd import (
    call_epilogue,
    lanes,
    narrow,
    prefetch,
    view_held,
    vload,
    vload_first,
    vstore,
)
from numbatorch.backends.cpu.simd_tile import (
    dots_rows,
    tile_dots,
    tile_dots_first,
    tile_load,
    tile_outer,
    tile_store,
    tile_store_sums,
    tile_transpose,
    tile_vectors,
    tile_zero,
)

FLOATS = ("float32", "float64", "float16", "bfloat16")

TILE = 6  # rows of a register tile
CHUNK = 48  # rows of lhs that meet one packed panel of rhs while it is in the cache
DEPTH = 1024  # k of a panel block, so that it fits the second-level cache
GROUP = 1 << 20  # elements of rhs packed at a time
PANEL = 64  # columns that every panel width divides


def matmul_workspace(M: int, N: int, K: int, parts: int, itemsize: int) -> int:
    """Bytes of scratch memory that `matmul` needs; `itemsize` is that of the type computed in."""
    return parts * _part_elements(N, K) * itemsize


def _group_columns(N: int, K: int) -> int:
    """Columns of rhs that are packed at a time."""
    fit = GROUP // max(K, 1) // PANEL * PANEL
    return max(PANEL, min((N + PANEL - 1) // PANEL * PANEL, fit))


def _part_elements(N: int, K: int) -> int:
    """Scratch elements of one part: packed rhs, converted lhs, sums between blocks of k."""
    return _group_columns(N, K) * K + CHUNK * K + CHUNK * PANEL


group_columns = helper(_group_columns)
part_elements = helper(_part_elements)


@helper
def small_tile(
    out: Pointer["T"],
    out_row: int,
    rows: int,
    cols: int,
    a: Pointer["T"],
    a_row: int,
    a_col: int,
    b: Pointer["T"],
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
    out: Pointer["T"],
    out_row: int,
    rows: int,
    a: Pointer["T"],
    a_row: int,
    a_col: int,
    b: Pointer["T"],
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
def row_tile(
    out: Pointer["T"], a: Pointer["T"], a_col: int, b: Pointer["T"], b_row: int, K: int
) -> None:
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
    out: Pointer["T"],
    out_row: int,
    a: Pointer["T"],
    a_row: int,
    a_col: int,
    b: Pointer["T"],
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
    out: Pointer["T"],
    lhs: Pointer["T"],
    rhs: Pointer["U"],
    workspace: Pointer["uint8"],
    M: int,
    N: int,
    K: int,
    out_row: int,
    lhs_row: int,
    lhs_col: int,
    rhs_row: int,
    rhs_col: int,
    batch0: int,
    batch1: int,
    out_batch0: int,
    out_batch1: int,
    lhs_batch0: int,
    lhs_batch1: int,
    rhs_batch0: int,
    rhs_batch1: int,
    epilogue: int,
    epilogue_args: int,
    part: int,
    parts: int,
) -> None:
    """out = lhs @ rhs for rhs_col = 1: small matrices, and a vector times a matrix."""
    blocks = (N + PANEL - 1) // PANEL
    lo, hi = share(batch0 * batch1 * blocks, part, parts)
    while lo < hi:
        batch = lo // blocks
        block = lo - batch * blocks
        count = min(hi - lo, blocks - block)
        if M > 1:
            count = min(count, 4)
        i = batch // batch1
        j = batch - i * batch1
        col0 = block * PANEL
        col1 = min(N, (block + count) * PANEL)
        nn_rows(
            out + (i * out_batch0 + j * out_batch1),
            out_row,
            lhs + (i * lhs_batch0 + j * lhs_batch1),
            lhs_row,
            lhs_col,
            rhs + (i * rhs_batch0 + j * rhs_batch1),
            rhs_row,
            M,
            K,
            col0,
            col1,
        )
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, batch, 0, M, col0, col1)
        lo += count


@helper
def dots_tile(
    out: Pointer["T"],
    out_row: int,
    rows: int,
    cols: int,
    a: Pointer["T"],
    a_row: int,
    b: Pointer["T"],
    b_row: int,
    K: int,
) -> None:
    """Up to four rows and four columns of results, summed along k in vectors."""
    n = lanes(out)
    tile = tile_zero(out, dots_rows(out), 4)
    whole = K // n * n
    for k in range(0, whole, n):
        tile = tile_dots(tile, a + k, a_row, rows - 1, b + k, b_row, cols - 1)
    if whole < K:
        tile = tile_dots_first(
            tile, a + whole, a_row, rows - 1, b + whole, b_row, cols - 1, K - whole
        )
    tile_store_sums(out, out_row, tile, rows, cols)


@helper
def dots_row(
    out: Pointer["T"], cols: int, a: Pointer["T"], b: Pointer["T"], b_row: int, K: int
) -> None:
    """Up to eight columns of one row: a matrix times a vector."""
    n = lanes(out)
    tile = tile_zero(out, 1, 8)
    whole = K // n * n
    for k in range(0, whole, n):
        tile = tile_dots(tile, a + k, 0, 0, b + k, b_row, cols - 1)
    if whole < K:
        tile = tile_dots_first(tile, a + whole, 0, 0, b + whole, b_row, cols - 1, K - whole)
    tile_store_sums(out, 0, tile, 1, cols)


@helper
def nt_columns(
    out: Pointer["T"],
    out_row: int,
    a: Pointer["T"],
    a_row: int,
    b: Pointer["T"],
    b_row: int,
    M: int,
    K: int,
    col0: int,
    col1: int,
) -> None:
    """Columns col0 to col1 of every row."""
    step = dots_rows(out)
    paired = M if M % step != 1 else M - 1
    for col in range(col0, col1, 4):
        cols = min(4, col1 - col)
        for row in range(0, paired, step):
            rows = min(step, paired - row)
            place = out + (row * out_row + col)
            dots_tile(place, out_row, rows, cols, a + row * a_row, a_row, b + col * b_row, b_row, K)
    if paired < M:
        for col in range(col0, col1, 8):
            cols = min(8, col1 - col)
            place = out + (paired * out_row + col)
            dots_row(place, cols, a + paired * a_row, b + col * b_row, b_row, K)


@kernel(T=FLOATS, U=FLOATS)
def matmul_nt(
    out: Pointer["T"],
    lhs: Pointer["T"],
    rhs: Pointer["U"],
    workspace: Pointer["uint8"],
    M: int,
    N: int,
    K: int,
    out_row: int,
    lhs_row: int,
    lhs_col: int,
    rhs_row: int,
    rhs_col: int,
    batch0: int,
    batch1: int,
    out_batch0: int,
    out_batch1: int,
    lhs_batch0: int,
    lhs_batch1: int,
    rhs_batch0: int,
    rhs_batch1: int,
    epilogue: int,
    epilogue_args: int,
    part: int,
    parts: int,
) -> None:
    """out = lhs @ rhs for lhs_col = rhs_row = 1 and few rows: x @ W.T reads each row of W once."""
    blocks = (N + 7) // 8
    lo, hi = share(batch0 * batch1 * blocks, part, parts)
    while lo < hi:
        batch = lo // blocks
        block = lo - batch * blocks
        count = min(hi - lo, blocks - block, 8)
        i = batch // batch1
        j = batch - i * batch1
        col0 = block * 8
        col1 = min(N, (block + count) * 8)
        nt_columns(
            out + (i * out_batch0 + j * out_batch1),
            out_row,
            lhs + (i * lhs_batch0 + j * lhs_batch1),
            lhs_row,
            rhs + (i * rhs_batch0 + j * rhs_batch1),
            rhs_col,
            M,
            K,
            col0,
            col1,
        )
        if epilogue != 0:
            call_epilogue(epilogue, epilogue_args, batch, 0, M, col0, col1)
        lo += count
