"""What the kernels of recurrences share: a weight in panels, rows times it, step after step.

Rows of a batch need nothing of each other, so a part takes some of them through all steps and no
part waits for another. The weight is packed once; each step reads it from the cache.
"""

from __future__ import annotations

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, kernel, share
from numbatorch.language.scalar_word import scalar_word
from numbatorch.language.simd.tile import tile_outer, tile_store, tile_zero
from numbatorch.language.simd.vectors import lanes
from numbatorch.language.words import int64
from numbatorch.ops import scalar_math
from numbatorch.ops.cpu.attention_tiles import pair_rows
from numbatorch.ops.cpu.packing import pack_panel
from numbatorch.ops.lowering import Launcher, Operand
from numbatorch.ops.portable.rows import WIDE, exp

tanh = scalar_word(scalar_math.tanh)


@kernel(T=WIDE)
def pack_weight(
    out: Pointer[T],
    x: Pointer[T],
    N: int,
    K: int,
    k_stride: int,
    n_stride: int,
    part: int,
    parts: int,
) -> None:
    """Panels of two vectors of columns: out[panel, k, col] = x[k * k_stride + n * n_stride]."""
    width = 2 * lanes(out)
    lo, hi = share((N + width - 1) // width, part, parts)
    for panel in range(lo, hi):
        col = panel * width
        source = x + col * n_stride
        pack_panel(out + col * K, width, source, k_stride, n_stride, K, min(width, N - col))


def packed(launcher: Launcher, weight: Operand, turned: bool) -> Any:
    """The weight (N, K) in panels for rows @ weight; for rows @ weight.T if `turned`."""
    rows, cols = weight.shape
    N, K, strides = (rows, cols, (1, cols)) if turned else (cols, rows, (cols, 1))
    room = launcher.scratch(weight.dtype.nbytes((N + 127) // 128 * 128 * K))
    spec = pack_weight(T=weight.dtype)
    launcher.launch(spec, room, weight, N, K, *strides, work=2 * N * K)
    return room


@helper
def one_row(
    out: Pointer[T], cols: int, a: Pointer[T], w: Pointer[T], panel: int, panels: int, K: int
) -> None:
    """A row times up to four panels, that lie `panel` elements apart; four hide latencies."""
    width = 2 * lanes(out)
    first = tile_zero(out, 1, 2)
    if panels == 4:
        second, third, fourth = tile_zero(out, 1, 2), tile_zero(out, 1, 2), tile_zero(out, 1, 2)
        for k in range(K):
            place = w + k * width
            first = tile_outer(first, a + k, 0, 0, place, -1)
            second = tile_outer(second, a + k, 0, 0, place + panel, -1)
            third = tile_outer(third, a + k, 0, 0, place + 2 * panel, -1)
            fourth = tile_outer(fourth, a + k, 0, 0, place + 3 * panel, -1)
        tile_store(out + width, 0, second, 1, width)
        tile_store(out + 2 * width, 0, third, 1, width)
        tile_store(out + 3 * width, 0, fourth, 1, cols - 3 * width)
    else:
        for k in range(K):
            first = tile_outer(first, a + k, 0, 0, w + k * width, -1)
    tile_store(out, 0, first, 1, cols)


@helper
def few_rows(
    out: Pointer[T],
    out_row: int,
    cols: int,
    a: Pointer[T],
    a_row: int,
    w: Pointer[T],
    rows: int,
    K: int,
) -> None:
    """Up to four rows times a panel."""
    width = 2 * lanes(out)
    tile = tile_zero(out, 4, 2)
    for k in range(K):
        tile = tile_outer(tile, a + k, a_row, rows - 1, w + k * width, -1)
    tile_store(out, out_row, tile, rows, cols)


@helper
def many_rows(
    out: Pointer[T],
    out_row: int,
    cols: int,
    a: Pointer[T],
    a_row: int,
    w: Pointer[T],
    rows: int,
    K: int,
) -> None:
    """Rows times a panel, as many as the registers have room for."""
    width = 2 * lanes(out)
    tile = tile_zero(out, pair_rows(out), 2)
    for k in range(K):
        tile = tile_outer(tile, a + k, a_row, rows - 1, w + k * width, -1)
    tile_store(out, out_row, tile, rows, cols)


@helper(inline=False)
def multiply(
    out: Pointer[T],
    out_row: int,
    a: Pointer[T],
    a_row: int,
    weight: Pointer[T],
    rows: int,
    N: int,
    K: int,
) -> None:
    """out = a @ weight in panels; a row has the same bits in whatever company."""
    width = 2 * lanes(out)
    height = pair_rows(out)
    if rows == 1:
        col = 0
        while col < N:
            panels = 4 if N - col > 3 * width else 1
            cols = min(panels * width, N - col)
            one_row(out + col, cols, a, weight + col * K, width * K, panels, K)
            col += panels * width
        return
    for col in range(0, N, width):
        for row in range(0, rows, height):
            place, x = out + (row * out_row + col), a + row * a_row
            left, cols = min(height, rows - row), min(width, N - col)
            if left > 4:
                many_rows(place, out_row, cols, x, a_row, weight + col * K, left, K)
            else:
                few_rows(place, out_row, cols, x, a_row, weight + col * K, left, K)


@helper
def sigmoid_of_sums(out: Pointer[T], x: Pointer[T], count: int, one: float) -> None:
    """out[j] = sigmoid(out[j] + x[j])."""
    for j in range(count):
        out[j] = one / (one + exp(-(out[j] + x[j])))


@helper
def tanh_of_sums(out: Pointer[T], x: Pointer[T], count: int) -> None:
    """out[j] = tanh(out[j] + x[j])."""
    for j in range(count):
        out[j] = tanh(out[j] + x[j])


@helper
def copy(out: Pointer[T], x: Pointer[T], count: int) -> None:
    """out[j] = x[j]."""
    for j in range(count):
        out[j] = x[j]


@helper
def clear(out: Pointer[T], count: int, zero: float) -> None:
    """`count` zeros."""
    for j in range(count):
        out[j] = zero


@helper
def has_step(lengths: Pointer[int64], limited: int, row: int, step: int) -> bool:
    """Whether a row has a step, which may be -1; all have where lengths do not limit them."""
    if limited == 0:
        return True
    return bool(step < lengths[row])


def limits(launcher: Launcher, lengths: tuple[Operand, ...]) -> tuple[Any, int]:
    """The lengths and 1, or a pointer that nobody reads and 0."""
    return (lengths[0], 1) if lengths else (launcher.scratch(8), 0)
