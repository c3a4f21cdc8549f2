"""Matrix product kernels: out (M, N) = lhs (M, K) @ rhs (K, N), over up to two batch dimensions.

`matmul` packs rhs and takes any strides; `matmul_nt` reads rhs along k and `matmul_nn` along its
columns, in place. The three take the same arguments, so that shape and strides decide.
"""

from numbatorch.backends.cpu.kernel import Kernel, Pointer, T, U, helper, kernel, share
from numbatorch.backends.cpu.simd import (
    call_epilogue,
    lanes,
    narrow,
    view_held,
    vload,
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

from numbatorch.layout import collapse
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.matmul import matmul_

FLOATS = ("float32", "float64", "float16", "bfloat16")

TILE = 6  # rows of a register tile
CHUNK = 48  # rows of lhs that meet one packed panel of rhs while it is in the cache
DEPTH = 1024  # k of a panel block, so that it fits the second-level cache
GROUP = 1 << 20  # elements of rhs packed at a time
PANEL = 64  # columns that every panel width divides


def matmul_workspace(M: int, N: int, K: int, parts: int, itemsize: int) -> int:
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
    dst: Pointer["T"],
    width: int,
    src: Pointer["U"],
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
def transpose_columns(
    dst: Pointer["T"], width: int, src: Pointer["U"], src_col: int, K: int
) -> None:
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
    out: Pointer["T"],
    out_row: int,
    cols: int,
    sums: Pointer["T"],
    a: Pointer["T"],
    a_row: int,
    a_col: int,
    panel: Pointer["T"],
    rows: int,
    K: int,
) -> None:
    """Some rows times one packed panel, a block of k after the other; `sums` carries between them."""
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
    """Into how many blocks rows are cut so that the parts get equal shares; rhs is packed for each."""
    chunks = (M + CHUNK - 1) // CHUNK
    if panels % parts == 0 or panels >= 8 * parts:
        return 1
    return max(1, min(chunks, (8 * parts + panels - 1) // panels))


@kernel(T=FLOATS, U=FLOATS)
def matmul(
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
    """out = lhs @ rhs for any strides: panels of rhs are packed, lhs is read in place unless it is narrow."""
    width = tile_vectors(out) * lanes(out)
    panels = (N + width - 1) // width
    blocks = row_blocks(M, batch0 * batch1 * panels, parts)
    columns = group_columns(N, K)
    packed = view_held(workspace, out) + part * part_elements(columns, K)
    rows_held = packed + columns * K
    sums = rows_held + CHUNK * K
    chunks = (M + CHUNK - 1) // CHUNK
    packed_from = -1
    lo, hi = share(batch0 * batch1 * blocks * panels, part, parts)
    while lo < hi:
        row_block = lo // panels
        first = lo - row_block * panels
        count = min(hi - lo, panels - first, columns // width)
        batch = row_block // blocks
        row_block -= batch * blocks
        i = batch // batch1
        j = batch - i * batch1
        b = rhs + (i * rhs_batch0 + j * rhs_batch1)
        if packed_from != (batch * panels + first) * panels + count:
            packed_from = (batch * panels + first) * panels + count
            for p in range(count):
                col = (first + p) * width
                place = packed + p * width * K
                cols = min(width, N - col)
                pack_panel(place, width, b + col * rhs_col, rhs_row, rhs_col, K, cols)
        a = lhs + (i * lhs_batch0 + j * lhs_batch1)
        c = out + (i * out_batch0 + j * out_batch1)
        chunk_lo, chunk_hi = share(chunks, row_block, blocks)
        for row in range(chunk_lo * CHUNK, min(M, chunk_hi * CHUNK), CHUNK):
            rows = min(CHUNK, M - row)
            x = view_held(a + row * lhs_row, out)
            x_row, x_col = lhs_row, lhs_col
            if narrow(lhs) == 1:
                x = rows_held
                if lhs_row == 1:
                    x_row, x_col = 1, CHUNK
                    pack_panel(x, CHUNK, a + row * lhs_row, lhs_col, lhs_row, K, rows)
                else:
                    x_row, x_col = K, 1
                    pack_panel(x, K, a + row * lhs_row, lhs_row, lhs_col, rows, K)
            for p in range(count):
                col = (first + p) * width
                cols = min(width, N - col)
                panel = packed + p * width * K
                place = c + (row * out_row + col)
                panel_rows(place, out_row, cols, sums, x, x_row, x_col, panel, rows, K)
                if epilogue != 0:
                    call_epilogue(
                        epilogue, epilogue_args, batch, row, row + rows, col, col + cols
                    )
        lo += count


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


SMALL = 1 << 15  # products M * N * K up to which operands are read in place
FEW_ROWS = 64  # rows up to which x @ W.T reads W in place


def choose(M: int, N: int, K: int, lhs: tuple[int, int], rhs: tuple[int, int]) -> Kernel:
    """The kernel for a product of these sizes; `lhs` and `rhs` are (row, column) strides."""
    if rhs[0] == 1 and lhs[1] == 1 and M <= FEW_ROWS:
        return matmul_nt
    if rhs[1] == 1 and (M == 1 or M * N * K <= SMALL):
        return matmul_nn
    return matmul


@lower("cpu", matmul_)
def _(launcher: Launcher, out: Operand, lhs: Operand, rhs: Operand) -> None:
    M, N = out.shape[-2:]
    K = lhs.shape[-1]
    batch, strides = collapse(out.shape[:-2], [x.strides[:-2] for x in (out, lhs, rhs)])
    pad = (1,) * (2 - len(batch))
    batch0, batch1 = (*pad, *batch)
    walks = [(0,) * len(pad) + s for s in strides]
    left, right = lhs.strides[-2:], rhs.strides[-2:]
    chosen = choose(M, N, K, left, right)  # type: ignore[arg-type]
    itemsize = out.dtype.compute.itemsize
    wanted = matmul_workspace(M, N, K, launcher.parts, itemsize) if chosen is matmul else 0
    launcher.launch(
        chosen(T=out.dtype, U=rhs.dtype),
        out,
        lhs,
        rhs,
        launcher.scratch(wanted),
        M,
        N,
        K,
        out.strides[-2],
        *left,
        *right,
        batch0,
        batch1,
        *(step for walk in walks for step in walk),
        *launcher.epilogue,
        work=0.5 * M * N * K * batch0 * batch1,
    )
