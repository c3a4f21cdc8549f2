"""What the attention kernels share: tiles of queries and keys in the memory of a group.

Row i of the queries of one group of heads, an item, is token i // repeat of head i % repeat. A
tile has TILE rows; their columns pass through shared memory in pieces, so any head size is served.
"""

from typing import Any

from numbatorch.language.groups import barrier, thread, threads
from numbatorch.language.kernel import Pointer, T, V, helper
from numbatorch.language.primitives import fabs, inf, select
from numbatorch.language.words import bool_, int64
from numbatorch.ops.portable.rows import exp, tanh

TILE = 16  # queries, or keys, that meet at a time
PIECE = 64  # columns of them in shared memory at a time
STEP = PIECE + 1  # between their rows, so that neighbouring threads read different banks
COLS = 128  # columns of the result of one group
THREADS = 64  # a multiple of PIECE

# Shared by a group: scores, a piece of either operand of a product, and dP where it is asked for.
SCORES = TILE * TILE
LEFT = SCORES
RIGHT = LEFT + TILE * STEP
CHANGES = RIGHT + TILE * STEP
ONE_PRODUCT = CHANGES
TWO_PRODUCTS = CHANGES + SCORES
SUMS = TILE * COLS

# Of each query the largest score, the total of powers, the factor that takes sums of powers to a
# new largest score, and the sum of powers times dP.
TOTAL = TILE
FACTOR = 2 * TILE
INNER = 3 * TILE
STATS = 4 * TILE

# Where rows of q, k, v, the mask and g start; the first key that each query sees, the first one
# behind those.
KEYS = TILE
VALUES = 2 * TILE
ALLOWED = 3 * TILE
COTANGENTS = 4 * TILE
FIRSTS = 5 * TILE
LIMITS = 6 * TILE
PLACES = 7 * TILE


@helper
def finite(top: float, zero: float) -> Any:
    """What to take off the scores before exp: the largest of them, unless that is infinite."""
    return select(fabs(top) < inf, top, zero)


@helper
def clear(out: Pointer[V], count: int, value: float) -> None:
    """`count` times the value."""
    for i in range(thread(), count, threads()):
        out[i] = value


@helper
def place_rows(
    places: Pointer[int64],
    item: int,
    G: int,
    repeat: int,
    first: int,
    last: int,
    batch_stride: int,
    head_stride: int,
    token_stride: int,
) -> None:
    """Where TILE rows of an item from `first` on start; the last one stands for those behind it."""
    base = item // G * batch_stride + item % G * repeat * head_stride
    for i in range(thread(), TILE, threads()):
        row = min(first + i, last)
        places[i] = base + row % repeat * head_stride + row // repeat * token_stride


@helper
def limit_rows(
    places: Pointer[int64],
    repeat: int,
    first: int,
    last: int,
    ahead: int,
    window: int,
    keys: int,
) -> None:
    """FIRSTS and LIMITS of TILE rows; those behind the last see nothing."""
    for i in range(thread(), TILE, threads()):
        places[FIRSTS + i] = 0
        places[LIMITS + i] = 0
        if first + i <= last:
            limit = ahead + (first + i) // repeat
            places[FIRSTS + i] = limit - window
            places[LIMITS + i] = min(keys, limit)


@helper
def load_rows(
    out: Pointer[V], x: Pointer[T], places: Pointer[int64], x_col: int, cols: int, scale: float
) -> None:
    """A piece of TILE rows of x, times scale, with zeros behind its columns."""
    for i in range(thread(), TILE * PIECE, threads()):
        row = i // PIECE
        col = i % PIECE
        value = scale - scale
        if col < cols:
            value = x[places[row] + col * x_col] * scale
        out[row * STEP + col] = value


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
    tiles: Pointer[V],
    x: Pointer[T],
    x_places: Pointer[int64],
    x_col: int,
    y: Pointer[T],
    y_places: Pointer[int64],
    y_col: int,
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
        load_rows(tiles + LEFT, x + start * x_col, x_places, x_col, cols, scale)
        load_rows(tiles + RIGHT, y + start * y_col, y_places, y_col, cols, one)
        barrier()
        add_product(out, TILE, tiles + LEFT, STEP, 1, tiles + RIGHT, 1, STEP, TILE, TILE, cols)
    barrier()


@helper
def add_weighted(
    sums: Pointer[V],
    weights: Pointer[V],
    weights_row: int,
    weights_col: int,
    tiles: Pointer[V],
    x: Pointer[T],
    places: Pointer[int64],
    x_col: int,
    rows: int,
    cols: int,
    scale: float,
) -> None:
    """sums[i] += scale * sum of weights[i, j] * x[j], over TILE rows of `cols` elements."""
    right = tiles + RIGHT
    for start in range(0, cols, PIECE):
        width = min(PIECE, cols - start)
        out = sums + start
        barrier()
        load_rows(right, x + start * x_col, places, x_col, width, scale)
        barrier()
        add_product(out, COLS, weights, weights_row, weights_col, right, STEP, 1, rows, PIECE, TILE)
    barrier()


@helper
def cap_and_hide(
    scores: Pointer[V],
    places: Pointer[int64],
    mask: Pointer[bool_],
    mask_key: int,
    start: int,
    cap: float,
    zero: float,
) -> None:
    """Scores over their cap, if it is not 0, become cap * tanh(score); those of the keys from
    `start` on that a query may not see are hidden."""
    for i in range(thread(), SCORES, threads()):
        row = i // TILE
        key = start + i % TILE
        if cap != zero:
            scores[i] = cap * tanh(scores[i])
        if key >= places[LIMITS + row] or key < places[FIRSTS + row]:
            scores[i] = -inf
        elif mask_key >= 0:
            if mask[places[ALLOWED + row] + key * mask_key] == 0:
                scores[i] = -inf


@helper
def start_stats(stats: Pointer[V], least: float, zero: float) -> None:
    """The least maximum, and nothing summed."""
    clear(stats, TILE, least)
    clear(stats + TILE, STATS - TILE, zero)


@helper
def weigh(scores: Pointer[V], stats: Pointer[V], zero: float) -> None:
    """Scores become powers, and the first three of the stats of their queries follow."""
    barrier()
    for row in range(thread(), TILE, threads()):
        top = stats[row]
        for key in range(TILE):
            score = scores[row * TILE + key]
            if score > top:
                top = score
        stats[FACTOR + row] = exp(stats[row] - finite(top, zero))
        stats[row] = top
    barrier()
    for i in range(thread(), SCORES, threads()):
        scores[i] = exp(scores[i] - finite(stats[i // TILE], zero))
    barrier()
    for row in range(thread(), TILE, threads()):
        total = stats[TOTAL + row] * stats[FACTOR + row]
        for key in range(TILE):
            total = total + scores[row * TILE + key]
        stats[TOTAL + row] = total
