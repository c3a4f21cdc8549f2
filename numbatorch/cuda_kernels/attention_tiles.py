"""What the attention kernels share: tiles of queries and keys in the memory of a group.

Row i of the queries of one group of heads is token i // repeat of head i % repeat. A tile has TILE
rows; columns pass through shared memory in pieces, so every head size is served.
"""

from typing import Any

from numbatorch.language.groups import barrier, thread, threads
from numbatorch.language.kernel import Pointer, T, V, helper
from numbatorch.language.primitives import fabs, inf, select
from numbatorch.language.words import bool_, int64
from numbatorch.ops.portable.rows import exp

TILE = 16  # queries, or keys, that meet at a time
PIECE = 64  # columns of them in shared memory at a time
STEP = PIECE + 1  # between rows of keys, so that neighbouring threads read different banks
COLS = 128  # columns of the result of one group
SCORES = TILE * TILE
LEFT = TILE * PIECE
RIGHT = TILE * STEP
SUMS = TILE * COLS
PLACES = 6 * TILE
THREADS = 64


@helper
def finite(top: float, zero: float) -> Any:
    """What to take off the scores before exp: the largest of them, unless that is infinite."""
    return select(fabs(top) < inf, top, zero)


@helper
def clear(tile: Pointer[V], count: int, zero: float) -> None:
    """`count` zeros."""
    for i in range(thread(), count, threads()):
        tile[i] = zero


@helper
def place_rows(
    places: Pointer[int64], first: int, repeat: int, head_stride: int, token_stride: int
) -> None:
    """places[i] = elements from the first query of a group of heads to row `first + i`."""
    for i in range(thread(), TILE, threads()):
        row = first + i
        places[i] = row % repeat * head_stride + row // repeat * token_stride


@helper
def limit_rows(
    limits: Pointer[int64], first: int, rows: int, repeat: int, ahead: int, keys: int
) -> None:
    """limits[i] = the first key that row `first + i` does not see; nothing seen from `rows` on."""
    for i in range(thread(), TILE, threads()):
        limits[i] = 0
        if i < rows:
            limits[i] = min(keys, ahead + (first + i) // repeat)


@helper
def place_tile(
    places: Pointer[int64],
    first: int,
    rows: int,
    repeat: int,
    ahead: int,
    keys: int,
    q_head: int,
    q_token: int,
    k_row: int,
    v_row: int,
    mask_head: int,
    mask_token: int,
) -> None:
    """Where rows of q, k, v and the mask start, TILE of each, and the limits of the queries."""
    place_rows(places, first, repeat, q_head, q_token)
    place_rows(places + TILE, 0, 1, 0, k_row)
    place_rows(places + 2 * TILE, 0, 1, 0, v_row)
    place_rows(places + 3 * TILE, first, repeat, mask_head, mask_token)
    limit_rows(places + 4 * TILE, first, rows, repeat, ahead, keys)


@helper
def load_rows(
    tile: Pointer[V],
    tile_row: int,
    x: Pointer[T],
    places: Pointer[int64],
    x_col: int,
    rows: int,
    cols: int,
    scale: float,
) -> None:
    """A piece of rows of x times scale, with zeros behind it."""
    for i in range(thread(), LEFT, threads()):
        row = i // PIECE
        col = i % PIECE
        value = scale - scale
        if row < rows and col < cols:
            value = x[places[row] + col * x_col] * scale
        tile[row * tile_row + col] = value


@helper
def add_product(
    out: Pointer[V],
    out_row: int,
    a: Pointer[V],
    a_row: int,
    a_col: int,
    b: Pointer[V],
    b_row: int,
    b_col: int,
    M: int,
    N: int,
    K: int,
) -> None:
    """out[m, n] += sum of a[m, k] * b[k, n]; M is rounded up to fours, N divides the threads."""
    n = thread() % N
    for m in range(thread() // N * 4, M, threads() // N * 4):
        place = m * out_row + n
        sum0 = out[place]
        sum1 = out[place + out_row]
        sum2 = out[place + 2 * out_row]
        sum3 = out[place + 3 * out_row]
        for k in range(K):
            value = b[k * b_row + n * b_col]
            left = m * a_row + k * a_col
            sum0 = sum0 + a[left] * value
            sum1 = sum1 + a[left + a_row] * value
            sum2 = sum2 + a[left + 2 * a_row] * value
            sum3 = sum3 + a[left + 3 * a_row] * value
        out[place] = sum0
        out[place + out_row] = sum1
        out[place + 2 * out_row] = sum2
        out[place + 3 * out_row] = sum3


@helper
def dot_rows(
    out: Pointer[V],
    left: Pointer[V],
    right: Pointer[V],
    x: Pointer[T],
    x_places: Pointer[int64],
    x_col: int,
    y: Pointer[T],
    y_places: Pointer[int64],
    y_col: int,
    rows: int,
    count: int,
    size: int,
    scale: float,
    one: float,
) -> None:
    """out[i, j] = scale * x[i] . y[j], of rows of `size` elements."""
    barrier()
    clear(out, SCORES, one - one)
    for start in range(0, size, PIECE):
        cols = min(PIECE, size - start)
        barrier()
        load_rows(left, PIECE, x + start * x_col, x_places, x_col, rows, cols, scale)
        load_rows(right, STEP, y + start * y_col, y_places, y_col, count, cols, one)
        barrier()
        add_product(out, TILE, left, PIECE, 1, right, 1, STEP, rows, TILE, cols)
    barrier()


@helper
def add_weighted(
    sums: Pointer[V],
    weights: Pointer[V],
    weights_row: int,
    weights_col: int,
    right: Pointer[V],
    x: Pointer[T],
    places: Pointer[int64],
    x_col: int,
    rows: int,
    count: int,
    cols: int,
    scale: float,
) -> None:
    """sums[i] += sum of weights[i, j] * scale * x[j], over `count` rows of `cols` elements."""
    for start in range(0, cols, PIECE):
        width = min(PIECE, cols - start)
        barrier()
        load_rows(right, STEP, x + start * x_col, places, x_col, count, width, scale)
        barrier()
        target = sums + start
        add_product(
            target, COLS, weights, weights_row, weights_col, right, STEP, 1, rows, PIECE, count
        )
    barrier()


@helper
def hide(
    scores: Pointer[V],
    places: Pointer[int64],
    mask: Pointer[bool_],
    mask_key: int,
    start: int,
    hidden: float,
) -> None:
    """Scores of the keys from `start` on that a query may not see become `hidden`."""
    mask_places = places + 3 * TILE
    limits = places + 4 * TILE
    for i in range(thread(), SCORES, threads()):
        row = i // TILE
        key = start + i % TILE
        if key >= limits[row]:
            scores[i] = hidden
        elif mask_key >= 0:
            if mask[mask_places[row] + key * mask_key] == 0:
                scores[i] = hidden


@helper
def weigh(
    scores: Pointer[V], top: Pointer[V], total: Pointer[V], factor: Pointer[V], zero: float
) -> None:
    """Scores become powers; top and total of each row follow, and the factor for older sums."""
    barrier()
    for row in range(thread(), TILE, threads()):
        larger = top[row]
        for key in range(TILE):
            score = scores[row * TILE + key]
            if score > larger:
                larger = score
        factor[row] = exp(top[row] - finite(larger, zero))
        top[row] = larger
    barrier()
    for i in range(thread(), SCORES, threads()):
        scores[i] = exp(scores[i] - finite(top[i // TILE], zero))
    barrier()
    for row in range(thread(), TILE, threads()):
        found = total[row] * factor[row]
        for key in range(TILE):
            found = found + scores[row * TILE + key]
        total[row] = found
