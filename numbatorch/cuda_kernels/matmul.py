"""Matrix products on GPUs: out (M, N) = lhs (M, K) @ rhs (K, N), over two batch dimensions.

The three kernels take the same arguments, so that shape and strides decide between them. Half types
are summed in float32.
"""

from typing import Any

from numbatorch.language.groups import (
    barrier,
    finish_tile,
    group,
    group_sum,
    local,
    shared,
    thread,
    threads,
)
from numbatorch.language.kernel import Epilogue, Kernel, Pointer, T, U, V, helper, kernel
from numbatorch.language.primitives import select, truncdiv
from numbatorch.layout import collapse
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.matmul import Compute, matmul_
from numbatorch.ops.portable.rows import place_in

FLOATS = ("float32", "float64", "float16", "bfloat16")
WIDE = ("float32", "float64")

TILE = 32  # rows and columns that a group of `matmul` computes
DEPTH = 16  # k that are in shared memory at a time
LINE = TILE + 1  # elements from one k to the next there, so that threads meet different banks
CELLS = DEPTH * LINE
ELEMENTS = TILE * DEPTH
SIDE = 4  # rows and columns that a thread computes
SQUARE = SIDE * SIDE
ACROSS = TILE // SIDE
THREADS = ACROSS * ACROSS

FEW = 4  # rows or columns for which threads share the sums instead of the results
PANEL = 32  # columns of a group of `matmul_nn`
SLICES = 8  # shares of k that its threads sum
ROOM = PANEL * SLICES


@helper
def element(x: Pointer[U], index: int) -> Any:
    """What rhs is read through: a weight in blocks is decoded here."""
    return x[index]


@kernel(T=FLOATS, U=FLOATS, V=WIDE)
def matmul(
    out: Pointer[T], lhs: Pointer[T], rhs: Pointer[U],
    M: int, N: int, K: int, out_row: int, lhs_row: int, lhs_col: int, rhs_row: int, rhs_col: int,
    batch1: int, out_batch0: int, out_batch1: int, lhs_batch0: int, lhs_batch1: int,
    rhs_batch0: int, rhs_batch1: int, finish: Epilogue,
) -> None:  # fmt: skip
    """A group computes a tile, and takes both operands through shared memory, k after k."""
    lhs_tile = shared(V, CELLS)
    rhs_tile = shared(V, CELLS)
    total = local(V, SQUARE)
    for i in range(SQUARE):
        total[i] = V(0.0)
    tiles_across = truncdiv(N + TILE - 1, TILE)
    tiles = truncdiv(M + TILE - 1, TILE) * tiles_across
    batch = truncdiv(group(), tiles)
    tile = group() - batch * tiles
    row0 = truncdiv(tile, tiles_across) * TILE
    col0 = (tile - truncdiv(tile, tiles_across) * tiles_across) * TILE
    left = lhs + place_in(batch, batch1, lhs_batch0, lhs_batch1)
    right = rhs + place_in(batch, batch1, rhs_batch0, rhs_batch1)
    down = truncdiv(thread(), ACROSS) * SIDE
    across = (thread() & (ACROSS - 1)) * SIDE
    for start in range(0, K, DEPTH):
        # Neighbouring threads read neighbouring elements, along k or across it.
        for step in range(0, ELEMENTS, THREADS):
            item = step + thread()
            k = select(lhs_col == 1, item & (DEPTH - 1), truncdiv(item, TILE))
            line = select(lhs_col == 1, truncdiv(item, DEPTH), item & (TILE - 1))
            value = V(0.0)
            if row0 + line < M and start + k < K:
                value = V(left[(row0 + line) * lhs_row + (start + k) * lhs_col])
            lhs_tile[k * LINE + line] = value
            k = select(rhs_row == 1, item & (DEPTH - 1), truncdiv(item, TILE))
            line = select(rhs_row == 1, truncdiv(item, DEPTH), item & (TILE - 1))
            value = V(0.0)
            if col0 + line < N and start + k < K:
                value = V(element(right, (start + k) * rhs_row + (col0 + line) * rhs_col))
            rhs_tile[k * LINE + line] = value
        barrier()
        for k in range(DEPTH):
            for i in range(SIDE):
                factor = lhs_tile[k * LINE + down + i]
                for j in range(SIDE):
                    place = i * SIDE + j
                    total[place] = total[place] + factor * rhs_tile[k * LINE + across + j]
        barrier()
    row = row0 + down
    col = col0 + across
    rows = min(SIDE, M - row)
    cols = min(SIDE, N - col)
    target = out + (place_in(batch, batch1, out_batch0, out_batch1) + row * out_row + col)
    for i in range(SIDE):
        for j in range(SIDE):
            if i < rows and j < cols:
                target[i * out_row + j] = total[i * SIDE + j]
    if rows > 0 and cols > 0:
        finish_tile(finish, batch, row, row + rows, col, col + cols)


@kernel(T=FLOATS, U=FLOATS, V=WIDE)
def matmul_nt(
    out: Pointer[T], lhs: Pointer[T], rhs: Pointer[U],
    M: int, N: int, K: int, out_row: int, lhs_row: int, lhs_col: int, rhs_row: int, rhs_col: int,
    batch1: int, out_batch0: int, out_batch1: int, lhs_batch0: int, lhs_batch1: int,
    rhs_batch0: int, rhs_batch1: int, finish: Epilogue,
) -> None:  # fmt: skip
    """A group computes four columns of a row, its threads share k."""
    panels = truncdiv(N + 3, 4)
    panel = truncdiv(group(), M)  # groups that read the same of rhs are neighbours
    row = group() - panel * M
    batch = truncdiv(panel, panels)
    col = (panel - batch * panels) * 4
    left = lhs + (place_in(batch, batch1, lhs_batch0, lhs_batch1) + row * lhs_row)
    right = rhs + place_in(batch, batch1, rhs_batch0, rhs_batch1)
    right0 = right + col * rhs_col
    right1 = right + min(col + 1, N - 1) * rhs_col
    right2 = right + min(col + 2, N - 1) * rhs_col
    right3 = right + min(col + 3, N - 1) * rhs_col
    total0 = V(0.0)
    total1 = V(0.0)
    total2 = V(0.0)
    total3 = V(0.0)
    for k in range(thread(), K, threads()):
        factor = V(left[k * lhs_col])
        total0 += factor * V(right0[k * rhs_row])
        total1 += factor * V(right1[k * rhs_row])
        total2 += factor * V(right2[k * rhs_row])
        total3 += factor * V(right3[k * rhs_row])
    total0 = group_sum(total0)
    total1 = group_sum(total1)
    total2 = group_sum(total2)
    total3 = group_sum(total3)
    if thread() == 0:
        target = out + (place_in(batch, batch1, out_batch0, out_batch1) + row * out_row + col)
        target[0] = total0
        if col + 1 < N:
            target[1] = total1
        if col + 2 < N:
            target[2] = total2
        if col + 3 < N:
            target[3] = total3
        finish_tile(finish, batch, row, row + 1, col, min(N, col + 4))


@kernel(T=FLOATS, U=FLOATS, V=WIDE)
def matmul_nn(
    out: Pointer[T], lhs: Pointer[T], rhs: Pointer[U],
    M: int, N: int, K: int, out_row: int, lhs_row: int, lhs_col: int, rhs_row: int, rhs_col: int,
    batch1: int, out_batch0: int, out_batch1: int, lhs_batch0: int, lhs_batch1: int,
    rhs_batch0: int, rhs_batch1: int, finish: Epilogue,
) -> None:  # fmt: skip
    """A group computes a panel of columns of a row, a thread one column for a share of k."""
    partial = shared(V, ROOM)
    panels = truncdiv(N + PANEL - 1, PANEL)
    panel = truncdiv(group(), M)
    row = group() - panel * M
    batch = truncdiv(panel, panels)
    share = truncdiv(thread(), PANEL)
    shares = truncdiv(threads(), PANEL)
    col = (panel - batch * panels) * PANEL + (thread() & (PANEL - 1))
    left = lhs + (place_in(batch, batch1, lhs_batch0, lhs_batch1) + row * lhs_row)
    right = rhs + place_in(batch, batch1, rhs_batch0, rhs_batch1)
    total = V(0.0)
    if col < N:
        for k in range(share, K, shares):
            total += V(left[k * lhs_col]) * V(right[k * rhs_row + col * rhs_col])
    partial[thread()] = total
    barrier()
    if share == 0 and col < N:
        for other in range(1, shares):
            total += partial[other * PANEL + thread()]
        out[place_in(batch, batch1, out_batch0, out_batch1) + row * out_row + col] = total
        finish_tile(finish, batch, row, row + 1, col, col + 1)


def choose(M: int, N: int, rhs: tuple[int, int]) -> Kernel:
    """The kernel for a product of these sizes; `rhs` is its (row, column) strides."""
    if min(M, N) > FEW:
        return matmul
    return matmul_nt if rhs[0] <= rhs[1] else matmul_nn


def grid(chosen: Kernel, M: int, N: int, K: int) -> tuple[int, int]:
    """Groups for each product of a batch, and threads in a group."""
    if chosen is matmul:
        return -(-M // TILE) * -(-N // TILE), THREADS
    if chosen is matmul_nt:
        return M * -(-N // 4), threads_along(K)
    return M * -(-N // PANEL), max(PANEL, min(ROOM, threads_along(K) * 2))


def threads_along(K: int) -> int:
    """Threads that share a sum of K products: each has 16 at least, as the sharing costs."""
    return 32 if K < 1024 else 64 if K < 2048 else 128


@lower("gpu", matmul_, dtypes=FLOATS)
def _(
    launcher: Launcher,
    out: Operand,
    lhs: Operand,
    rhs: Operand,
    compute: Compute | None = None,  # float32 at any rate
) -> None:
    M, N = out.shape[-2:]
    K = lhs.shape[-1]
    batch, strides = collapse(out.shape[:-2], [x.strides[:-2] for x in (out, lhs, rhs)])
    pad = (1,) * (2 - len(batch))
    batch0, batch1 = (*pad, *batch)
    walks = [(0,) * len(pad) + s for s in strides]
    chosen = choose(M, N, rhs.strides[-2:])  # type: ignore[arg-type]
    groups, in_group = grid(chosen, M, N, K)
    launcher.launch(
        chosen(T=out.dtype, U=rhs.dtype, V=out.dtype.compute),
        *(out, lhs, rhs, M, N, K, out.strides[-2]),
        *(*lhs.strides[-2:], *rhs.strides[-2:], batch1),
        *(step for walk in walks for step in walk),
        launcher.epilogue,
        work=2.0 * M * N * K * batch0 * batch1,
        groups=groups * batch0 * batch1,
        threads=in_group,
    )
