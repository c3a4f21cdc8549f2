"""CPU kernels of products with chosen ones of stacked weights, for many rows: those that ask for
one expert stand together, and are multiplied as one matrix.

`expert_order` sorts rows by expert. `order` has the row that each place is for, `starts` (E + 1)
the first place of each expert, a multiple of `unit`; places that are left over hold -1 - row of
the last row before them, which is computed again and not kept.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.simd.amx import has_tiles, tiles_begin, tiles_end
from numbatorch.language.simd.int8 import tile_height
from numbatorch.language.simd.pairs import numbers, view_words
from numbatorch.language.simd.tile import tile_vectors
from numbatorch.language.simd.vectors import lanes
from numbatorch.language.words import bfloat16, float32, int64, uint8, view
from numbatorch.ops.blocks.kernel import block_kernel
from numbatorch.ops.cpu.blocking import ROWS as CHUNK
from numbatorch.ops.cpu.matmul_direct import DOTS_DEPTH, nn_rows, nt_blocked
from numbatorch.ops.cpu.matmul_packed import add_panels
from numbatorch.ops.cpu.packing import pack_group
from numbatorch.ops.cpu.quant_blocks import BLOCK_VALUES, meanings, vector_kernel
from numbatorch.ops.cpu.quant_decode import decode_values
from numbatorch.ops.cpu.quant_pairs import PACKED
from numbatorch.ops.cpu.quant_rows import ROWS, WORKSPACE, group_product, quantize_tile

FLOATS = ("float32", "float64")
WEIGHTS = ("float32", "float64", "float16", "bfloat16")
ROUNDED = ("float32", "float16", "bfloat16")  # weights beside rows of float32, to bfloat16
PANEL = 64  # rows of a weight that meet an expert's rows of x at a time
FEW_ROWS = 48  # for which packing rows of a weight does not pay


def most_places(M: int, experts: int, unit: int) -> int:
    """Places that rows take where each expert begins at a multiple of `unit`."""
    return M + min(M, experts) * (unit - 1)


def panel_elements(K: int, each: int = 1) -> int:
    """Words of a part's scratch memory: packed rows of a weight, and sums between blocks of k.

    Args:
        each: numbers in a word, which divide K.
    """
    return PANEL * (K // each) + each * CHUNK * PANEL


@kernel
def expert_order(
    order: Pointer[int64],
    starts: Pointer[int64],
    index: Pointer[int64],
    status: Pointer[int64],
    M: int,
    experts: int,
    unit: int,
    part: int,
    parts: int,
) -> None:
    """Sort rows by expert; an index that no expert has is told of and left out."""
    for expert in range(experts + 1):
        starts[expert] = 0
    for row in range(M):
        expert = index[row]
        if expert < 0 or expert >= experts:
            status[0] = 1
            status[1] = expert
        else:
            starts[expert + 1] += 1
    for expert in range(experts):
        starts[expert + 1] = starts[expert] + (starts[expert + 1] + unit - 1) // unit * unit
    for place in range(starts[experts]):
        order[place] = -1
    for row in range(M):
        expert = index[row]
        if expert >= 0 and expert < experts:
            order[starts[expert]] = row
            starts[expert] += 1
    end: int = 0
    for expert in range(experts):
        found = starts[expert]
        starts[expert] = end
        end += (found - end + unit - 1) // unit * unit
        for place in range(found, end):
            order[place] = -1 - order[found - 1]


@kernel(T=(*FLOATS, "bfloat16"), U=FLOATS)
def gather_rows(
    out: Pointer[T],
    x: Pointer[U],
    order: Pointer[int64],
    starts: Pointer[int64],
    experts: int,
    K: int,
    x_row: int,
    part: int,
    parts: int,
) -> None:
    """out[place] = x[order[place]], and the row that stands for it where nothing is kept."""
    lo, hi = share(starts[experts], part, parts)
    for place in range(lo, hi):
        row = order[place]
        if row < 0:
            row = -1 - row
        for i in range(K):
            out[place * K + i] = x[row * x_row + i]


@kernel(T=FLOATS)
def scatter_rows(
    out: Pointer[T],
    y: Pointer[T],
    order: Pointer[int64],
    starts: Pointer[int64],
    experts: int,
    N: int,
    part: int,
    parts: int,
) -> None:
    """out[order[place]] = y[place]."""
    lo, hi = share(starts[experts], part, parts)
    for place in range(lo, hi):
        row = order[place]
        if row >= 0:
            for i in range(N):
                out[row * N + i] = y[place * N + i]


@helper
def own_blocks(
    starts: Pointer[int64], experts: int, expert: int, blocks: int, part: int, parts: int
) -> tuple[int, int]:
    """Which of an expert's blocks of columns a part computes: what begins in its share of all rows
    by all blocks."""
    first: int = starts[expert]
    rows: int = starts[expert + 1] - first
    lo, hi = share(starts[experts] * blocks, part, parts)
    begin = min(blocks, max(0, lo - first * blocks + rows - 1) // max(rows, 1))
    end = min(blocks, max(0, hi - first * blocks + rows - 1) // max(rows, 1))
    return begin, end


@helper
def panel_product(
    y: Any, N: int, x: Any, weight: Any, rows: int, cols: int, K: int, depth: int, work: Any
) -> None:
    """y (rows, cols), rows N apart, = x (rows, K) @ weight (cols, K).T for up to PANEL columns.

    Many rows take `depth` of k at a time.
    """
    if rows <= FEW_ROWS:
        nt_blocked(y, N, x, K, weight, K, rows, K, cols, work, DOTS_DEPTH)
        return
    sums = work + PANEL * K
    pack_group(work, tile_vectors(y) * lanes(y), weight, 1, K, K, cols, sums)
    for row in range(0, rows, CHUNK):
        many = min(CHUNK, rows - row)
        add_panels(y + row * N, N, cols, sums, x + row * K, K, 1, work, many, CHUNK, depth, K)


@kernel(T=FLOATS, U=WEIGHTS)
def grouped_rows(
    y: Pointer[T], x: Pointer[T], weight: Pointer[U], starts: Pointer[int64], work: Pointer[T],
    span: int, depth: int, N: int, K: int, experts: int, part: int, parts: int,
) -> None:  # fmt: skip
    """y = x @ weight.T of each expert's rows; `span` numbers of `work` are a part's."""
    work = work + part * span
    for expert in range(experts):
        first = starts[expert]
        rows = starts[expert + 1] - first
        begin, end = own_blocks(starts, experts, expert, (N + PANEL - 1) // PANEL, part, parts)
        for block in range(begin, end):
            col = block * PANEL
            cols = min(PANEL, N - col)
            own = weight + (expert * N + col) * K
            panel_product(y + (first * N + col), N, x + first * K, own, rows, cols, K, depth, work)


@kernel(U=ROUNDED)
def grouped_pairs(
    y: Pointer[float32], x: Pointer[bfloat16], weight: Pointer[U], starts: Pointer[int64],
    work: Pointer[bfloat16], span: int, row: int, depth: int, N: int, K: int, experts: int,
    part: int, parts: int,
) -> None:  # fmt: skip
    """As `grouped_rows`, in words of two bfloat16; rows of the weight are `row` elements apart.

    Memory of x goes on for a square of tiles; K is a multiple of 32.
    """
    panels, rows_of_x = view_words(work) + part * span, view_words(x)
    words, chunk = K // numbers(panels), CHUNK * numbers(panels)
    sums = view(panels + PANEL * words, float32)
    width = tile_vectors(y) * lanes(y)
    if has_tiles(panels) == 1:
        tiles_begin()
    for expert in range(experts):
        first, last = starts[expert], starts[expert + 1]
        begin, end = own_blocks(starts, experts, expert, (N + PANEL - 1) // PANEL, part, parts)
        for block in range(begin, end):
            col = block * PANEL
            cols = min(PANEL, N - col)
            own = weight + (expert * N + col) * row
            pack_group(panels, width, own, 1, row, K, cols, sums)
            for m in range(first, last, chunk):
                many, left = min(chunk, last - m), rows_of_x + m * words
                place: Any = y + (m * N + col)
                add_panels(place, N, cols, sums, left, words, 1, panels, many, chunk, depth, words)
    if has_tiles(panels) == 1:
        tiles_end()


grouped_quant_pairs = block_kernel(
    grouped_pairs.function,
    meanings,
    place=(__name__, "grouped_quant_pairs"),
    types={"U": "T"},
    **PACKED,
)


@kernel(T=FLOATS, U=FLOATS)
def grouped_input(
    y: Pointer[T], g: Pointer[T], weight: Pointer[U], starts: Pointer[int64],
    N: int, K: int, experts: int, part: int, parts: int,
) -> None:  # fmt: skip
    """y = g @ weight of each expert's rows."""
    for expert in range(experts):
        first = starts[expert]
        rows = starts[expert + 1] - first
        begin, end = own_blocks(starts, experts, expert, (K + PANEL - 1) // PANEL, part, parts)
        own, left = weight + expert * N * K, g + first * N
        if begin < end:
            col0, col1 = begin * PANEL, min(K, end * PANEL)
            nn_rows(y + first * K, K, left, N, 1, own, K, rows, N, col0, col1)


@kernel(T=FLOATS, U=FLOATS)
def grouped_weight(
    out: Pointer[T], g: Pointer[T], x: Pointer[U], starts: Pointer[int64],
    N: int, K: int, experts: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out = g.T @ x of each expert's rows, one expert below the other."""
    blocks = (N + CHUNK - 1) // CHUNK
    lo, hi = share(experts * blocks, part, parts)
    for item in range(lo, hi):
        expert = item // blocks
        row = (item - expert * blocks) * CHUNK
        first = starts[expert]
        rows = starts[expert + 1] - first
        place, left = out + (expert * N + row) * K, g + (first * N + row)
        nn_rows(place, K, left, 1, N, x + first * K, K, min(CHUNK, N - row), rows, 0, K)


@vector_kernel
def grouped_exact(
    y: Pointer[float32], x: Pointer[float32], weight: Pointer[T], starts: Pointer[int64],
    work: Pointer[float32], span: int, depth: int, N: int, K: int, experts: int,
    part: int, parts: int,
) -> None:  # fmt: skip
    """As `grouped_rows`, of a weight in blocks, whose rows are decoded to float32."""
    values = work + part * (span + PANEL * K)
    length = K // BLOCK_VALUES
    for expert in range(experts):
        first = starts[expert]
        rows = starts[expert + 1] - first
        begin, end = own_blocks(starts, experts, expert, (N + PANEL - 1) // PANEL, part, parts)
        for block in range(begin, end):
            col = block * PANEL
            cols = min(PANEL, N - col)
            for i in range(cols):
                decode_values(values + i * K, weight + (expert * N + col + i) * length, K)
            place, own = y + (first * N + col), values + PANEL * K
            panel_product(place, N, x + first * K, values, rows, cols, K, depth, own)


@vector_kernel
def grouped_planes(
    planes: Pointer[uint8], x: Pointer[float32], weight: Pointer[T], starts: Pointer[int64],
    places: int, K: int, experts: int, part: int, parts: int,
) -> None:  # fmt: skip
    """The planes of x, which has so many places; of the weight only the type counts."""
    R = tile_height(x)
    tiles = (places + R - 1) // R
    lo, hi = share((starts[experts] + R - 1) // R, part, parts)
    for tile in range(lo, hi):
        rows = min(R, places - tile * R)
        quantize_tile(weight, planes, x + tile * R * K, tiles, tile, rows, K)


@vector_kernel
def grouped_blocks(
    y: Pointer[float32], weight: Pointer[T], planes: Pointer[uint8], starts: Pointer[int64],
    workspace: Pointer[uint8], places: int, N: int, K: int, experts: int, part: int, parts: int,
) -> None:  # fmt: skip
    """As `grouped_rows`, of a weight in blocks and planes of x, which has so many places."""
    n = lanes(y)
    workspace = workspace + part * WORKSPACE
    length = K // BLOCK_VALUES
    for expert in range(experts):
        first, last = starts[expert], starts[expert + 1]
        own = weight + expert * N * length
        begin, end = own_blocks(starts, experts, expert, (N + n - 1) // n, part, parts)
        for row in range(first, last, ROWS):
            until = min(last, row + ROWS)
            for block in range(begin, end):
                group_product(y, own, planes, workspace, row, until, places, N, K, block * n)
