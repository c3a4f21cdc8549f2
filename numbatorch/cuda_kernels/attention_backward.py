"""GPU kernels of attention's gradient: the softmax is computed again, tile by tile.

With P the weights, dP = g v^T and dS = P (dP - sum(P dP)): dq = dS k, dk = dS^T q, dv = P^T g.
Scores with a cap s = cap * tanh(x) have the slope cap - s^2 / cap.
Each sum has one group that adds it in order, so results do not depend on when groups run.
"""

from numbatorch.cuda_kernels.attention_tiles import (
    ALLOWED,
    CHANGES,
    COLS,
    COTANGENTS,
    FACTOR,
    INNER,
    KEYS,
    PLACES,
    SCORES,
    STATS,
    SUMS,
    TILE,
    TOTAL,
    TWO_PRODUCTS,
    VALUES,
    add_weighted,
    cap_and_hide,
    clear,
    dot_rows,
    finite,
    limit_rows,
    place_rows,
    start_stats,
    weigh,
)
from numbatorch.language.groups import barrier, group, shared, thread, threads
from numbatorch.language.kernel import Pointer, T, V, helper, kernel
from numbatorch.language.primitives import inf
from numbatorch.language.words import bool_, int64
from numbatorch.ops.portable.rows import FLOAT, WIDE, exp

# What is kept of a query: what to take off its scores, 1 / total of their powers, sum(P dP).
LINE = 3
LINES = LINE * TILE


@helper
def score_pair(
    tiles: Pointer[V],
    places: Pointer[int64],
    g: Pointer[T],
    q: Pointer[T],
    q_col: int,
    k: Pointer[T],
    k_col: int,
    v: Pointer[T],
    v_col: int,
    D: int,
    E: int,
    scale: float,
    one: float,
) -> None:
    """Scores, and dP at CHANGES, of a tile of queries by one of keys."""
    changes = tiles + CHANGES
    g_places = places + COTANGENTS
    dot_rows(tiles, tiles, q, places, q_col, k, places + KEYS, k_col, D, scale, one)
    dot_rows(changes, tiles, g, g_places, 1, v, places + VALUES, v_col, E, one, one)


@helper
def follow(stats: Pointer[V], powers: Pointer[V], changes: Pointer[V]) -> None:
    """The sums of powers times dP take another tile in."""
    for row in range(thread(), TILE, threads()):
        inner = stats[INNER + row] * stats[FACTOR + row]
        for key in range(TILE):
            inner = inner + powers[row * TILE + key] * changes[row * TILE + key]
        stats[INNER + row] = inner


@helper
def finish_lines(lines: Pointer[V], stats: Pointer[V], one: float) -> None:
    """The LINE of each query; one that sees nothing gets no weights."""
    for row in range(thread(), TILE, threads()):
        portion = one - one
        if stats[TOTAL + row] != one - one:
            portion = one / stats[TOTAL + row]
        lines[row * LINE] = finite(stats[row], one - one)
        lines[row * LINE + 1] = portion
        lines[row * LINE + 2] = stats[INNER + row] * portion


@helper
def copy_lines(out: Pointer[V], x: Pointer[V], rows: int) -> None:
    """The LINE of each of `rows` queries."""
    for i in range(thread(), rows * LINE, threads()):
        out[i] = x[i]


@helper
def score_cotangents(
    tiles: Pointer[V], lines: Pointer[V], rows: int, cap: float, zero: float
) -> None:
    """Scores become P, and dP becomes dS; zeros behind the rows."""
    for i in range(thread(), SCORES, threads()):
        line = i // TILE * LINE
        weight = zero
        change = zero
        if i // TILE < rows:
            weight = exp(tiles[i] - lines[line]) * lines[line + 1]
            change = weight * (tiles[CHANGES + i] - lines[line + 2])
            if cap != zero and weight != zero:
                change = change * (cap - tiles[i] * (tiles[i] / cap))
        tiles[i] = weight
        tiles[CHANGES + i] = change


@helper
def store_sums(
    out: Pointer[T], places: Pointer[int64], sums: Pointer[V], rows: int, cols: int
) -> None:
    """Rows of sums, to their places."""
    for i in range(thread(), rows * COLS, threads()):
        if i % COLS < cols:
            out[places[i // COLS] + i % COLS] = sums[i]


@kernel(T=FLOAT, V=WIDE)
def attention_backward_queries(
    out: Pointer[T], g: Pointer[T], q: Pointer[T], k: Pointer[T], v: Pointer[T],
    mask: Pointer[bool_], all_lines: Pointer[V],
    repeat: int, G: int, tokens: int, keys: int, D: int, E: int,
    q_batch: int, q_head: int, q_token: int, q_col: int,
    k_batch: int, k_group: int, k_row: int, k_col: int,
    v_batch: int, v_group: int, v_row: int, v_col: int,
    mask_batch: int, mask_head: int, mask_token: int, mask_key: int, ahead: int, window: int,
    scale: float, cap: float,
) -> None:  # fmt: skip
    """dq, and the LINE of each query: a group for each tile of queries and COLS of D.

    It goes over the keys twice, for their statistics and for the cotangents of the scores.
    """
    tiles = shared(V, TWO_PRODUCTS)
    sums = shared(V, SUMS)
    stats = shared(V, STATS)
    lines = shared(V, LINES)
    places = shared(int64, PLACES)
    one = V(1.0)
    by = V(scale)
    most = V(cap)
    rows = tokens * repeat
    blocks = (rows + TILE - 1) // TILE
    pieces = max(1, (D + COLS - 1) // COLS)
    col = group() % pieces * COLS
    cols = min(COLS, D - col)
    item = group() // pieces // blocks
    first = group() // pieces % blocks * TILE
    last = min(first + TILE, rows) - 1
    count = last + 1 - first
    clear(sums, SUMS, V(0.0))
    start_stats(stats, -V(inf), V(0.0))
    place_rows(places, item, G, repeat, first, last, q_batch, q_head, q_token)
    place_rows(places + ALLOWED, item, G, repeat, first, last, mask_batch, mask_head, mask_token)
    place_rows(places + COTANGENTS, item, G, repeat, first, last, G * rows * E, tokens * E, E)
    limit_rows(places, repeat, first, last, ahead, window, keys)
    begin = max(0, ahead + first // repeat - window)
    end = min(keys, ahead + last // repeat)
    turns = (end - begin + TILE - 1) // TILE
    for turn in range(2 * turns):
        start = begin + turn % turns * TILE
        place_rows(places + KEYS, item, G, 1, start, end - 1, k_batch, k_group, k_row)
        place_rows(places + VALUES, item, G, 1, start, end - 1, v_batch, v_group, v_row)
        score_pair(tiles, places, g, q, q_col, k, k_col, v, v_col, D, E, by, one)
        cap_and_hide(tiles, places, mask, mask_key, start, most, V(0.0))
        if turn < turns:
            weigh(tiles, stats, V(0.0))
            follow(stats, tiles, tiles + CHANGES)
            finish_lines(lines, stats, one)
        else:
            score_cotangents(tiles, lines, count, most, V(0.0))
            changes = tiles + CHANGES
            x = k + col * k_col
            add_weighted(sums, changes, TILE, 1, tiles, x, places + KEYS, k_col, count, cols, by)
    barrier()
    place_rows(places, item, G, repeat, first, last, G * rows * D, tokens * D, D)
    barrier()
    store_sums(out + col, places, sums, count, cols)
    if col == 0:
        copy_lines(all_lines + (item * rows + first) * LINE, lines, count)


@kernel(T=FLOAT, V=WIDE)
def attention_backward_keys(
    out_k: Pointer[T], out_v: Pointer[T], g: Pointer[T], q: Pointer[T], k: Pointer[T],
    v: Pointer[T], mask: Pointer[bool_], all_lines: Pointer[V],
    repeat: int, G: int, tokens: int, keys: int, D: int, E: int,
    q_batch: int, q_head: int, q_token: int, q_col: int,
    k_batch: int, k_group: int, k_row: int, k_col: int,
    v_batch: int, v_group: int, v_row: int, v_col: int,
    mask_batch: int, mask_head: int, mask_token: int, mask_key: int, ahead: int, window: int,
    scale: float, cap: float,
) -> None:  # fmt: skip
    """dk and dv: a group for each tile of keys and COLS of D, then of E."""
    tiles = shared(V, TWO_PRODUCTS)
    sums = shared(V, SUMS)
    lines = shared(V, LINES)
    places = shared(int64, PLACES)
    one = V(1.0)
    by = V(scale)
    rows = tokens * repeat
    blocks = (keys + TILE - 1) // TILE
    pieces = (D + COLS - 1) // COLS
    all_pieces = pieces + (E + COLS - 1) // COLS
    piece = group() % all_pieces
    item = group() // all_pieces // blocks
    start = group() // all_pieces % blocks * TILE
    end = min(start + TILE, keys)
    size = D
    col = piece * COLS
    target = out_k
    if piece >= pieces:
        size = E
        col = (piece - pieces) * COLS
        target = out_v
    cols = min(COLS, size - col)
    clear(sums, SUMS, V(0.0))
    place_rows(places + KEYS, item, G, 1, start, end - 1, k_batch, k_group, k_row)
    place_rows(places + VALUES, item, G, 1, start, end - 1, v_batch, v_group, v_row)
    until = min(rows, (end - ahead + window) * repeat)
    for first in range(max(0, start + 1 - ahead) * repeat // TILE * TILE, until, TILE):
        last = min(first + TILE, rows) - 1
        place_rows(places, item, G, repeat, first, last, q_batch, q_head, q_token)
        place_rows(
            places + ALLOWED, item, G, repeat, first, last, mask_batch, mask_head, mask_token
        )
        place_rows(places + COTANGENTS, item, G, repeat, first, last, G * rows * E, tokens * E, E)
        limit_rows(places, repeat, first, last, ahead, window, keys)
        copy_lines(lines, all_lines + (item * rows + first) * LINE, last + 1 - first)
        score_pair(tiles, places, g, q, q_col, k, k_col, v, v_col, D, E, by, one)
        cap_and_hide(tiles, places, mask, mask_key, start, V(cap), V(0.0))
        score_cotangents(tiles, lines, last + 1 - first, V(cap), V(0.0))
        if piece < pieces:
            changes = tiles + CHANGES
            x = q + col * q_col
            add_weighted(sums, changes, 1, TILE, tiles, x, places, q_col, end - start, cols, by)
        else:
            right = places + COTANGENTS
            add_weighted(sums, tiles, 1, TILE, tiles, g + col, right, 1, end - start, cols, one)
    barrier()
    place_rows(places, item, G, 1, start, end - 1, G * keys * size, keys * size, size)
    barrier()
    store_sums(target + col, places, sums, end - start, cols)
