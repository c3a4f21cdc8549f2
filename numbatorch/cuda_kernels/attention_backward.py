"""GPU kernels of attention's gradient: the softmax is computed again, tile by tile.

With P the weights, dP = g v^T and dS = P (dP - sum(P dP)): dq = dS k, dk = dS^T q, dv = P^T g.
Each sum has one group that adds it in order, so results do not depend on when groups run.
"""

from numbatorch.cuda_kernels.attention_tiles import (
    COLS,
    LEFT,
    PLACES,
    RIGHT,
    SCORES,
    SUMS,
    TILE,
    add_weighted,
    clear,
    dot_rows,
    finite,
    hide,
    place_rows,
    place_tile,
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
    scores: Pointer[V],
    changes: Pointer[V],
    left: Pointer[V],
    right: Pointer[V],
    places: Pointer[int64],
    g: Pointer[T],
    q: Pointer[T],
    q_col: int,
    k: Pointer[T],
    k_col: int,
    v: Pointer[T],
    v_col: int,
    mask: Pointer[bool_],
    mask_key: int,
    start: int,
    rows: int,
    count: int,
    D: int,
    E: int,
    scale: float,
    hidden: float,
    one: float,
) -> None:
    """Scores and dP of a tile of queries by the `count` keys from `start` on."""
    g_places = places + 5 * TILE
    k_places = places + TILE
    v_places = places + 2 * TILE
    dot_rows(scores, left, right, q, places, q_col, k, k_places, k_col, rows, count, D, scale, one)
    dot_rows(changes, left, right, g, g_places, 1, v, v_places, v_col, rows, count, E, one, one)
    hide(scores, places, mask, mask_key, start, hidden)


@helper
def follow(inner: Pointer[V], factor: Pointer[V], powers: Pointer[V], changes: Pointer[V]) -> None:
    """inner, the sum of powers times dP, takes another tile in."""
    for row in range(thread(), TILE, threads()):
        found = inner[row] * factor[row]
        for key in range(TILE):
            found = found + powers[row * TILE + key] * changes[row * TILE + key]
        inner[row] = found


@helper
def finish_lines(
    lines: Pointer[V], top: Pointer[V], total: Pointer[V], inner: Pointer[V], one: float
) -> None:
    """The LINE of each row; one that sees nothing gets no weights."""
    for row in range(thread(), TILE, threads()):
        portion = one - one
        if total[row] != one - one:
            portion = one / total[row]
        lines[row * LINE] = finite(top[row], one - one)
        lines[row * LINE + 1] = portion
        lines[row * LINE + 2] = inner[row] * portion


@helper
def copy_line(out: Pointer[V], x: Pointer[V], rows: int) -> None:
    """The LINE of each of `rows` rows."""
    for i in range(thread(), rows * LINE, threads()):
        out[i] = x[i]


@helper
def score_cotangents(
    scores: Pointer[V], changes: Pointer[V], lines: Pointer[V], rows: int, zero: float
) -> None:
    """Scores become P, and dP becomes dS; zeros behind the rows."""
    for i in range(thread(), SCORES, threads()):
        line = i // TILE * LINE
        weight = zero
        change = zero
        if i // TILE < rows:
            weight = exp(scores[i] - lines[line]) * lines[line + 1]
            change = weight * (changes[i] - lines[line + 2])
        scores[i] = weight
        changes[i] = change


@helper
def store_sums(
    out: Pointer[V], places: Pointer[int64], sums: Pointer[V], rows: int, cols: int
) -> None:
    """Rows of sums, to their places."""
    for i in range(thread(), rows * COLS, threads()):
        if i % COLS < cols:
            out[places[i // COLS] + i % COLS] = sums[i]


@kernel(T=FLOAT, V=WIDE)
def attention_backward_queries(
    out: Pointer[V],
    g: Pointer[T],
    q: Pointer[T],
    k: Pointer[T],
    v: Pointer[T],
    mask: Pointer[bool_],
    lines: Pointer[V],
    repeat: int,
    G: int,
    tokens: int,
    keys: int,
    D: int,
    E: int,
    q_batch: int,
    q_head: int,
    q_token: int,
    q_col: int,
    k_batch: int,
    k_group: int,
    k_row: int,
    k_col: int,
    v_batch: int,
    v_group: int,
    v_row: int,
    v_col: int,
    mask_batch: int,
    mask_head: int,
    mask_token: int,
    mask_key: int,
    ahead: int,
    scale: float,
) -> None:
    """dq, and the LINE of each query: a group for each tile of queries and COLS of D."""
    scores = shared(V, SCORES)
    changes = shared(V, SCORES)
    left = shared(V, LEFT)
    right = shared(V, RIGHT)
    sums = shared(V, SUMS)
    top = shared(V, TILE)
    total = shared(V, TILE)
    factor = shared(V, TILE)
    inner = shared(V, TILE)
    line = shared(V, LINES)
    places = shared(int64, PLACES)
    tiles = (tokens * repeat + TILE - 1) // TILE
    pieces = max(1, (D + COLS - 1) // COLS)
    first_col = group() % pieces * COLS
    item = group() // pieces // tiles
    first = group() // pieces % tiles * TILE
    rows = min(TILE, tokens * repeat - first)
    batch = item // G
    head = item % G
    clear(top, TILE, -V(inf))
    clear(total, TILE, V(0.0))
    clear(inner, TILE, V(0.0))
    clear(sums, SUMS, V(0.0))
    place_tile(
        places,
        first,
        rows,
        repeat,
        ahead,
        keys,
        q_head,
        q_token,
        k_row,
        v_row,
        mask_head,
        mask_token,
    )
    place_rows(places + 5 * TILE, first, repeat, tokens * E, E)
    queries = q + (batch * q_batch + head * repeat * q_head)
    cotangents = g + item * repeat * tokens * E
    allowed = mask + (batch * mask_batch + head * repeat * mask_head)
    end = min(keys, ahead + (first + rows - 1) // repeat)
    for start in range(0, end, TILE):
        count = min(TILE, end - start)
        found = k + (batch * k_batch + head * k_group + start * k_row)
        values = v + (batch * v_batch + head * v_group + start * v_row)
        score_pair(
            scores,
            changes,
            left,
            right,
            places,
            cotangents,
            queries,
            q_col,
            found,
            k_col,
            values,
            v_col,
            allowed,
            mask_key,
            start,
            rows,
            count,
            D,
            E,
            V(scale),
            -V(inf),
            V(1.0),
        )
        weigh(scores, top, total, factor, V(0.0))
        follow(inner, factor, scores, changes)
    finish_lines(line, top, total, inner, V(1.0))
    barrier()
    for start in range(0, end, TILE):
        count = min(TILE, end - start)
        found = k + (batch * k_batch + head * k_group + start * k_row)
        values = v + (batch * v_batch + head * v_group + start * v_row)
        score_pair(
            scores,
            changes,
            left,
            right,
            places,
            cotangents,
            queries,
            q_col,
            found,
            k_col,
            values,
            v_col,
            allowed,
            mask_key,
            start,
            rows,
            count,
            D,
            E,
            V(scale),
            -V(inf),
            V(1.0),
        )
        score_cotangents(scores, changes, line, rows, V(0.0))
        columns = found + first_col * k_col
        cols = min(COLS, D - first_col)
        add_weighted(
            sums,
            changes,
            TILE,
            1,
            right,
            columns,
            places + TILE,
            k_col,
            rows,
            count,
            cols,
            V(scale),
        )
    barrier()
    if first_col == 0:
        copy_line(lines + (item * repeat * tokens + first) * LINE, line, rows)
    place_rows(places, first, repeat, tokens * D, D)
    barrier()
    target = out + (item * repeat * tokens * D + first_col)
    store_sums(target, places, sums, rows, min(COLS, D - first_col))


@kernel(T=FLOAT, V=WIDE)
def attention_backward_keys(
    out: Pointer[V],
    g: Pointer[T],
    q: Pointer[T],
    k: Pointer[T],
    v: Pointer[T],
    mask: Pointer[bool_],
    lines: Pointer[V],
    repeat: int,
    G: int,
    tokens: int,
    keys: int,
    D: int,
    E: int,
    q_batch: int,
    q_head: int,
    q_token: int,
    q_col: int,
    k_batch: int,
    k_group: int,
    k_row: int,
    k_col: int,
    v_batch: int,
    v_group: int,
    v_row: int,
    v_col: int,
    mask_batch: int,
    mask_head: int,
    mask_token: int,
    mask_key: int,
    ahead: int,
    items: int,
    scale: float,
) -> None:
    """dk and, behind it, dv: a group for each tile of keys and COLS of D, then of E."""
    scores = shared(V, SCORES)
    changes = shared(V, SCORES)
    left = shared(V, LEFT)
    right = shared(V, RIGHT)
    sums = shared(V, SUMS)
    line = shared(V, LINES)
    places = shared(int64, PLACES)
    tiles = (keys + TILE - 1) // TILE
    key_pieces = (D + COLS - 1) // COLS
    pieces = key_pieces + (E + COLS - 1) // COLS
    piece = group() % pieces
    item = group() // pieces // tiles
    start = group() // pieces % tiles * TILE
    count = min(TILE, keys - start)
    batch = item // G
    head = item % G
    queries = q + (batch * q_batch + head * repeat * q_head)
    cotangents = g + item * repeat * tokens * E
    allowed = mask + (batch * mask_batch + head * repeat * mask_head)
    found = k + (batch * k_batch + head * k_group + start * k_row)
    values = v + (batch * v_batch + head * v_group + start * v_row)
    size = D
    first_col = piece * COLS
    target = out + (items * repeat * tokens * D + (item * keys + start) * D)
    if piece >= key_pieces:
        size = E
        first_col = (piece - key_pieces) * COLS
        target = out + (items * (repeat * tokens + keys) * D + (item * keys + start) * E)
    cols = min(COLS, size - first_col)
    clear(sums, SUMS, V(0.0))
    seen_from = max(0, start + 1 - ahead) * repeat // TILE * TILE
    for first in range(seen_from, tokens * repeat, TILE):
        rows = min(TILE, tokens * repeat - first)
        barrier()
        place_tile(
            places,
            first,
            rows,
            repeat,
            ahead,
            keys,
            q_head,
            q_token,
            k_row,
            v_row,
            mask_head,
            mask_token,
        )
        place_rows(places + 5 * TILE, first, repeat, tokens * E, E)
        copy_line(line, lines + (item * repeat * tokens + first) * LINE, rows)
        score_pair(
            scores,
            changes,
            left,
            right,
            places,
            cotangents,
            queries,
            q_col,
            found,
            k_col,
            values,
            v_col,
            allowed,
            mask_key,
            start,
            rows,
            count,
            D,
            E,
            V(scale),
            -V(inf),
            V(1.0),
        )
        score_cotangents(scores, changes, line, rows, V(0.0))
        if piece < key_pieces:
            columns = queries + first_col * q_col
            add_weighted(
                sums,
                changes,
                1,
                TILE,
                right,
                columns,
                places,
                q_col,
                count,
                rows,
                cols,
                V(scale),
            )
        else:
            columns = cotangents + first_col
            add_weighted(
                sums,
                scores,
                1,
                TILE,
                right,
                columns,
                places + 5 * TILE,
                1,
                count,
                rows,
                cols,
                V(1.0),
            )
    barrier()
    place_rows(places, 0, 1, 0, size)
    barrier()
    store_sums(target + first_col, places, sums, count, cols)
