"""CPU kernel of attention's gradient: a group of heads at a time, the softmax computed again.

With P the weights, dP = g v^T and dS = P (dP - sum(P dP)): dq = dS k, dk = dS^T q, dv = P^T g.
Scores with a cap s = cap * tanh(x) have the slope cap - s^2 / cap.
"""

from numbatorch.language.kernel import Pointer, T, V, helper, kernel
from numbatorch.language.primitives import inf, truncdiv
from numbatorch.language.simd.vectors import fma, lanes, vload, vstore
from numbatorch.language.words import bool_
from numbatorch.ops.cpu.attention_tiles import (
    TILE,
    add_product,
    cap_scores,
    clear,
    column_sums,
    column_tops,
    copy_keys,
    finite,
    hide_earlier,
    hide_later,
    hide_masked,
    padded,
    powers,
    row_place,
    turn_queries,
    wide,
)
from numbatorch.ops.portable.rows import FLOAT, WIDE, place_in

UNIT = 32  # keys, as many as `padded` rounds to


@helper
def weigh_columns(
    scores: Pointer[V], stats: Pointer[V], width: int, count: int, one: float
) -> None:
    """Softmax of each column; zeros in a column that sees nothing and in rows of rounding."""
    zero = one - one
    for i in range(width):
        stats[i] = -inf * one
        stats[TILE + i] = zero
    column_tops(stats, stats, scores, width, count)
    for i in range(width):
        stats[i] = finite(stats[i], zero)
    powers(scores, stats, width, count)
    column_sums(stats + TILE, scores, width, count)
    for i in range(width):
        total = stats[TILE + i]
        if total != zero:
            total = one / total
        stats[TILE + i] = total
    for key in range(count):
        row = scores + key * TILE
        for i in range(width):
            row[i] = row[i] * stats[TILE + i]
    clear(scores + count * TILE, (wide(count) - count) * TILE, zero)


@helper
def slopes_of(out: Pointer[V], scores: Pointer[V], count: int, cap: float) -> None:
    """The slopes of `count` scores with a cap."""
    for i in range(count):
        out[i] = cap - scores[i] * (scores[i] / cap)


@helper
def times(x: Pointer[V], factors: Pointer[V], count: int) -> None:
    """x[i] *= factors[i]."""
    for i in range(count):
        x[i] = x[i] * factors[i]


@helper
def score_cotangents(
    change: Pointer[V],
    weights: Pointer[V],
    stats: Pointer[V],
    width: int,
    count: int,
    one: float,
) -> None:
    """P (dP - sum over keys of P dP) in place of dP, column by column."""
    n = lanes(change)
    for i in range(width):
        stats[i] = one - one
    for i in range(0, width, n):
        total = vload(stats + i, n)
        for key in range(count):
            place = key * TILE + i
            total = fma(vload(weights + place, n), vload(change + place, n), total)
        vstore(stats + i, total)
    for key in range(count):
        row, weight = change + key * TILE, weights + key * TILE
        for i in range(width):
            row[i] = weight[i] * (row[i] - stats[i])
    clear(change + count * TILE, (wide(count) - count) * TILE, one - one)


@helper
def store_tokens(
    out: Pointer[T],
    out_head: int,
    x: Pointer[V],
    repeat: int,
    first: int,
    rows: int,
    cols: int,
    scale: float,
) -> None:
    """Rows of queries times scale, to rows `cols` apart by token and `out_head` by head."""
    for i in range(rows):
        target = out + row_place(first + i, repeat, out_head, cols)
        for j in range(cols):
            target[j] = x[i * wide(cols) + j] * scale


@helper
def add_tile(
    blocks: Pointer[V],
    weights: Pointer[V],
    change: Pointer[V],
    slopes: Pointer[V],
    stats: Pointer[V],
    keys: int,
    rows: int,
    begin: int,
    end: int,
    D: int,
    E: int,
    cap: float,
    one: float,
) -> None:
    """dk and dv of one tile of queries, of keys from begin to end, added to those before; its dq.

    Cotangents of scores are multiplied by `slopes` where those have a cap.
    """
    k, dk = blocks, blocks + wide(keys) * wide(D)
    v = dk + wide(keys) * wide(D)
    dv = v + wide(keys) * wide(E)
    turned_q = dv + wide(keys) * wide(E)
    q = turned_q + TILE * wide(D)
    turned_g = q + TILE * wide(D)
    g = turned_g + TILE * wide(E)
    dq = g + TILE * wide(E)
    width, count = wide(rows), end - begin
    at_k, at_v = begin * wide(D), begin * wide(E)
    clear(change, wide(count) * TILE, one - one)
    add_product(change, TILE, v + at_v, wide(E), 1, turned_g, TILE, count, width, E)
    add_product(dv + at_v, wide(E), weights, TILE, 1, g, wide(E), count, wide(E), rows)
    score_cotangents(change, weights, stats, width, count, one)
    if cap != one - one:
        times(change, slopes, count * TILE)
    add_product(dk + at_k, wide(D), change, TILE, 1, q, wide(D), count, wide(D), rows)
    clear(dq, TILE * wide(D), one - one)
    add_product(dq, wide(D), change, 1, TILE, k + at_k, wide(D), rows, wide(D), count)


@helper
def start_group(
    blocks: Pointer[V],
    k: Pointer[T],
    k_row: int,
    v: Pointer[T],
    v_row: int,
    keys: int,
    D: int,
    E: int,
    one: float,
) -> None:
    """Keys and values as blocks, each with zeros behind it for its cotangent."""
    room, turns = wide(keys) * wide(D), wide(keys) * wide(E)
    copy_keys(blocks, wide(D), k, k_row, keys, D, one)
    clear(blocks + room, room, one - one)
    copy_keys(blocks + 2 * room, wide(E), v, v_row, keys, E, one)
    clear(blocks + (2 * room + turns), turns, one - one)


@helper
def finish_group(
    own: Pointer[T], other: Pointer[T], blocks: Pointer[V], keys: int, D: int, E: int
) -> None:
    """Cotangents of keys and values of one group, to where they belong."""
    room, turns = wide(keys) * wide(D), wide(keys) * wide(E)
    dk, dv = blocks + room, blocks + (2 * room + turns)
    for key in range(keys):
        for i in range(D):
            own[key * D + i] = dk[key * wide(D) + i]
        for i in range(E):
            other[key * E + i] = dv[key * wide(E) + i]


@helper
def score_keys(
    scores: Pointer[V],
    slopes: Pointer[V],
    keys: Pointer[V],
    queries: Pointer[V],
    mask: Pointer[bool_],
    mask_head: int,
    mask_token: int,
    mask_key: int,
    ahead: int,
    window: int,
    repeat: int,
    first: int,
    rows: int,
    count: int,
    D: int,
    cap: float,
    one: float,
) -> None:
    """scores[key, i] = keys[key] . query i, or -inf where it may not be seen; slopes of a cap."""
    least = -inf * one
    clear(scores, wide(count) * TILE, one - one)
    add_product(scores, TILE, keys, wide(D), 1, queries, TILE, count, wide(rows), D)
    if cap != one - one:
        cap_scores(scores, wide(rows), count, cap)
        slopes_of(slopes, scores, count * TILE, cap)
    hide_later(scores, rows, count, ahead, repeat, first, least)
    hide_earlier(scores, rows, count, ahead + window - 1, repeat, first, least)
    if mask_key >= 0:
        hide_masked(
            scores, mask, mask_head, mask_token, mask_key, repeat, first, rows, count, least
        )


def tile_keys(keys: int, window: int) -> int:
    """How many keys the queries of a tile see at most, from a whole unit of keys on."""
    return min(padded(keys), padded(window + TILE - 1 + UNIT))


def backward_elements(keys: int, D: int, E: int) -> int:
    """Numbers of a part's blocks: keys, values and their cotangents, five tiles of queries."""
    D, E = padded(D), padded(E)
    return 2 * padded(keys) * (D + E) + TILE * (3 * D + 2 * E)


@kernel(T=FLOAT, V=WIDE)
def attention_backward_groups(
    out: Pointer[T], out_k: Pointer[T], out_v: Pointer[T], g: Pointer[T], q: Pointer[T],
    k: Pointer[T], v: Pointer[T], mask: Pointer[bool_], work: Pointer[V], scores: Pointer[V],
    changes: Pointer[V], stats: Pointer[V], slopes: Pointer[V],
    repeat: int, groups: int, tokens: int, keys: int, D: int, E: int,
    q_batch: int, q_head: int, q_token: int, k_batch: int, k_group: int, k_row: int,
    v_batch: int, v_group: int, v_row: int,
    mask_batch: int, mask_head: int, mask_token: int, mask_key: int,
    ahead: int, window: int, room: int, span: int, items: int, scale: float, cap: float,
    part: int, parts: int,
) -> None:  # fmt: skip
    """out = dq, out_k = dk, out_v = dv; g lies row-major. Token t sees `window` below ahead + t.

    Where scores have a cap other than 0, `scale` is divided by it.
    """
    total = tokens * repeat
    blocks, stat = work + part * span, stats + part * 2 * TILE
    score, change, slope = scores + part * room, changes + part * room, slopes + part * room
    turned_q = blocks + 2 * wide(keys) * (wide(D) + wide(E))
    turned_g = turned_q + 2 * TILE * wide(D)
    for item in range(part, items, parts):
        left = k + place_in(item, groups, k_batch, k_group)
        right = v + place_in(item, groups, v_batch, v_group)
        start_group(blocks, left, k_row, right, v_row, keys, D, E, V(1.0))
        for first in range(0, total, TILE):
            rows = min(TILE, total - first)
            end = max(0, min(keys, ahead + truncdiv(first + rows - 1, repeat)))
            begin = max(0, ahead + truncdiv(first, repeat) - window) & -UNIT
            source = q + place_in(item, groups, q_batch, repeat * q_head)
            turn_queries(turned_q, source, q_head, q_token, repeat, first, rows, D, V(scale))
            source = g + item * total * E
            turn_queries(turned_g, source, tokens * E, E, repeat, first, rows, E, V(1.0))
            allowed = mask + (place_in(item, groups, mask_batch, repeat * mask_head))
            score_keys(
                *(score, slope, blocks + begin * wide(D), turned_q, allowed + begin * mask_key),
                *(mask_head, mask_token, mask_key, begin + 1 - ahead, window),
                *(repeat, first, rows, end - begin, D, V(cap), V(1.0)),
            )
            weigh_columns(score, stat, wide(rows), end - begin, V(1.0))
            add_tile(
                *(blocks, score, change, slope, stat, keys, rows, begin, end, D, E),
                *(V(cap), V(1.0)),
            )
            target = out + item * total * D
            dq = turned_g + 2 * TILE * wide(E)
            store_tokens(target, tokens * D, dq, repeat, first, rows, D, V(scale))
        finish_group(out_k + item * keys * D, out_v + item * keys * E, blocks, keys, D, E)
