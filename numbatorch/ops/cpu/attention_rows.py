"""CPU kernels of attention for few queries and many keys: decoding reads keys and values once.

Queries that share a group's keys stand together, (rows, D). Many keys are split into ranges of one
length, whose sums are then joined in order, so that few heads keep many threads busy and the bits
do not depend on how many.
"""

from numbatorch.language.kernel import Pointer, T, V, helper, kernel, share
from numbatorch.language.primitives import add_reassoc, inf, truncdiv
from numbatorch.language.simd.tile import (
    dots_rows,
    tile_dots,
    tile_dots_first,
    tile_load,
    tile_outer,
    tile_store,
    tile_sums,
    tile_zero,
    vstore_rows,
)
from numbatorch.language.simd.vectors import lanes, prefetch
from numbatorch.language.words import bool_
from numbatorch.ops.cpu.attention_tiles import clear, copy_row, finite, row_place, wide
from numbatorch.ops.cpu.rows import largest
from numbatorch.ops.portable.rows import FLOAT, WIDE, exp, place_in, tanh

CHUNK = 256  # keys whose scores are held at a time
NEAR = 16  # keys whose values stay in the first-level cache while columns are gone over
AHEAD = 16  # keys ahead of use that are asked for where several queries share the arithmetic
MOST_ROWS = 16  # queries of a group for which these kernels are the faster ones
MOST_RANGES = 64  # of the keys; so many threads are busy with a single head


def rows_with_spare(rows: int) -> int:
    """`rows` rounded up to whole register tiles."""
    return (rows + 3) & -4


row_room = helper(rows_with_spare)


@helper
def first_seen(ahead: int, window: int) -> int:
    """The first key that the first token sees."""
    return max(0, ahead - window)


@helper
def seen_keys(keys: int, ahead: int, window: int, tokens: int) -> int:
    """How many keys there are from the first that is seen on."""
    return max(0, min(keys, ahead + tokens - 1) - first_seen(ahead, window))


@helper
def ranges_of(seen: int, length: int) -> int:
    """Ranges of so many keys, at least one."""
    return max(1, int(truncdiv(seen + length - 1, length)))


@helper
def score_row(
    scores: Pointer[V], line: Pointer[V], keys: Pointer[T], keys_row: int, count: int, D: int
) -> None:
    """scores[key] = keys[key] . line, eight keys at a time."""
    n = lanes(scores)
    whole = D & -n
    for key in range(0, count, 8):
        left = count - key
        tile = tile_zero(scores, 1, 8)
        for i in range(0, whole, n):
            place = keys + (key * keys_row + i)
            tile = tile_dots(tile, line + i, 0, 0, place, keys_row, left - 1)
        if whole < D:
            place = keys + (key * keys_row + whole)
            tile = tile_dots_first(tile, line + whole, 0, 0, place, keys_row, left - 1, D - whole)
        vstore_rows(scores + key, 0, tile_sums(tile), 8, 1, left)


@helper
def score_rows(
    scores: Pointer[V],
    lines: Pointer[V],
    lines_row: int,
    keys: Pointer[T],
    keys_row: int,
    rows: int,
    count: int,
    D: int,
) -> None:
    """scores[row, key] = keys[key] . lines[row]."""
    n, step = lanes(scores), dots_rows(scores)
    whole = D & -n
    for key in range(0, count, 4):
        for row in range(0, rows, step):
            last_row, last = rows - 1 - row, count - 1 - key
            line, place = lines + row * lines_row, keys + key * keys_row
            tile = tile_zero(scores, step, 4)
            for i in range(0, whole, n):
                tile = tile_dots(tile, line + i, lines_row, last_row, place + i, keys_row, last)
                if row == 0:
                    for later in range(AHEAD, AHEAD + 4):
                        prefetch(place + (later * keys_row + i))
            if whole < D:
                line, place = line + whole, place + whole
                tile = tile_dots_first(
                    tile, line, lines_row, last_row, place, keys_row, last, D - whole
                )
            target = scores + (row * CHUNK + key)
            vstore_rows(target, CHUNK, tile_sums(tile), 4, last_row + 1, last + 1)


@helper
def add_values_to_row(
    sums: Pointer[V],
    scores: Pointer[V],
    values: Pointer[T],
    values_row: int,
    count: int,
    E: int,
) -> None:
    """sums += sum of scores[key] * values[key]."""
    n = lanes(sums)
    col = 0
    while col + 4 * n <= E:
        four = tile_load(tile_zero(sums, 1, 4), sums + col, 0)
        for key in range(count):
            four = tile_outer(four, scores + key, 0, 0, values + (key * values_row + col), -1)
        tile_store(sums + col, 0, four, 1, 4 * n)
        col += 4 * n
    while col + 2 * n <= E:
        pair = tile_load(tile_zero(sums, 1, 2), sums + col, 0)
        for key in range(count):
            pair = tile_outer(pair, scores + key, 0, 0, values + (key * values_row + col), -1)
        tile_store(sums + col, 0, pair, 1, 2 * n)
        col += 2 * n
    while col < E:
        last = tile_load(tile_zero(sums, 1, 1), sums + col, 0)
        for key in range(count):
            value = values + (key * values_row + col)
            last = tile_outer(last, scores + key, 0, 0, value, E - col)
        tile_store(sums + col, 0, last, 1, n)
        col += n


@helper
def add_values(
    sums: Pointer[V],
    sums_row: int,
    scores: Pointer[V],
    values: Pointer[T],
    values_row: int,
    rows: int,
    count: int,
    E: int,
) -> None:
    """sums[i] += sum of scores[i, key] * values[key]; rows of sums are rounded up to four."""
    n = lanes(sums)
    col = 0
    if rows == 1:
        add_values_to_row(sums, scores, values, values_row, count, E)
        return
    while col + 2 * n <= E:
        for row in range(0, rows, 4):
            place, weights = sums + (row * sums_row + col), scores + row * CHUNK
            pair = tile_load(tile_zero(sums, 4, 2), place, sums_row)
            for key in range(count):
                value = values + (key * values_row + col)
                pair = tile_outer(pair, weights + key, CHUNK, rows - 1 - row, value, -1)
                if row == 0:
                    prefetch(value + AHEAD * values_row)
                    prefetch(value + (AHEAD * values_row + n))
            tile_store(place, sums_row, pair, 4, 2 * n)
        col += 2 * n
    while col < E:
        for row in range(0, rows, 4):
            place, weights = sums + (row * sums_row + col), scores + row * CHUNK
            last = tile_load(tile_zero(sums, 4, 1), place, sums_row)
            for key in range(count):
                value = values + (key * values_row + col)
                last = tile_outer(last, weights + key, CHUNK, rows - 1 - row, value, E - col)
            tile_store(place, sums_row, last, 4, n)
        col += n


@helper
def hide_in_row(
    scores: Pointer[V],
    mask: Pointer[bool_],
    mask_key: int,
    count: int,
    window: int,
    later: int,
    hidden: float,
) -> None:
    """Only `window` scores before number `later` stay, where the mask allows the key."""
    for key in range(min(later - window, count)):
        scores[key] = hidden
    for key in range(max(later, 0), count):
        scores[key] = hidden
    if mask_key >= 0:
        for key in range(count):
            if mask[key * mask_key] == 0:
                scores[key] = hidden


@helper
def cap_row(scores: Pointer[V], count: int, cap: float) -> None:
    """Scores over their cap become cap * tanh(score)."""
    for key in range(count):
        scores[key] = cap * tanh(scores[key])


@helper
def weigh_row(
    sums: Pointer[V],
    sums_row: int,
    stats: Pointer[V],
    scores: Pointer[V],
    count: int,
    zero: float,
) -> None:
    """Scores become powers; sums, and in `stats` the maximum and the total, follow the maximum."""
    top = largest(scores, count, stats[0])
    shift = finite(top, zero)
    total = zero
    for key in range(count):
        power = exp(scores[key] - shift)
        scores[key] = power
        total = add_reassoc(total, power)
    factor = exp(stats[0] - shift)
    stats[0] = top
    stats[1] = stats[1] * factor + total
    for i in range(sums_row):
        sums[i] = sums[i] * factor


@helper
def join_row(
    out: Pointer[T],
    sums: Pointer[V],
    stats: Pointer[V],
    splits: int,
    sums_step: int,
    stats_step: int,
    E: int,
    one: float,
) -> None:
    """Sums over totals; ranges of keys lie a step apart and are joined into the first."""
    top = stats[0]
    for split in range(1, splits):
        other = stats[split * stats_step]
        top = other if other > top else top
    shift = finite(top, one - one)
    total = one - one
    for split in range(splits):
        factor = exp(stats[split * stats_step] - shift)
        total = total + stats[split * stats_step + 1] * factor
        added = sums + split * sums_step
        for i in range(E):
            scaled = added[i] * factor
            sums[i] = scaled if split == 0 else sums[i] + scaled
    scale = total
    if total != one - one:
        scale = one / total
    for i in range(E):
        out[i] = sums[i] * scale


@kernel(T=FLOAT, V=WIDE)
def attention_join(
    out: Pointer[T],
    sums: Pointer[V],
    stats: Pointer[V],
    groups: int,
    repeat: int,
    tokens: int,
    E: int,
    keys: int,
    ahead: int,
    window: int,
    length: int,
    part: int,
    parts: int,
) -> None:
    """out = sums / totals, over the ranges of keys in order; one range is in out already."""
    rows = repeat * tokens
    splits = ranges_of(seen_keys(keys, ahead, window, tokens), length)
    if splits == 1:
        return
    step, stat = row_room(rows) * wide(E), 2 * rows
    lo, hi = share(groups * rows, part, parts)
    for item in range(lo, hi):
        group = truncdiv(item, rows)
        row = item - group * rows
        place = group * rows * E + row_place(row, repeat, tokens * E, E)
        first = sums + (group * splits * step + row * wide(E))
        own = stats + (group * splits * stat + 2 * row)
        join_row(out + place, first, own, splits, step, stat, E, V(1.0))


@kernel(T=FLOAT, V=WIDE)
def attention_rows(
    out: Pointer[T], q: Pointer[T], k: Pointer[T], v: Pointer[T], mask: Pointer[bool_],
    sums: Pointer[V], stats: Pointer[V], lines: Pointer[V], scores: Pointer[V],
    repeat: int, groups: int, tokens: int, keys: int, D: int, E: int,
    q_batch: int, q_head: int, q_token: int, k_batch: int, k_group: int, k_row: int,
    v_batch: int, v_group: int, v_row: int,
    mask_batch: int, mask_head: int, mask_token: int, mask_key: int,
    ahead: int, window: int, length: int, batch: int, scale: float, cap: float,
    part: int, parts: int,
) -> None:  # fmt: skip
    """Each item is one range of the keys of one group; token t sees `window` below ahead + t.

    Where scores have a cap other than 0, `scale` is divided by it.
    """
    rows = tokens * repeat
    seen = seen_keys(keys, ahead, window, tokens)
    end = first_seen(ahead, window) + seen
    splits = ranges_of(seen, length)
    line, score = lines + part * MOST_ROWS * wide(D), scores + part * MOST_ROWS * CHUNK
    lo, hi = share(batch * groups * splits, part, parts)
    for item in range(lo, hi):
        group = truncdiv(item, splits)
        own, stat = sums + item * row_room(rows) * wide(E), stats + item * 2 * rows
        clear(own, row_room(rows) * wide(E), V(0.0))
        head = q + place_in(group, groups, q_batch, repeat * q_head)
        for row in range(rows):
            source = head + row_place(row, repeat, q_head, q_token)
            copy_row(line + row * wide(D), D, source, D, V(scale))
            stat[2 * row] = -V(inf)
            stat[2 * row + 1] = V(0.0)
        first = first_seen(ahead, window) + (item - group * splits) * length
        last = min(end, first + length)
        for start in range(first, last, CHUNK):
            count = min(CHUNK, last - start)
            left = k + (place_in(group, groups, k_batch, k_group) + start * k_row)
            if rows == 1:
                score_row(score, line, left, k_row, count, D)
            else:
                score_rows(score, line, wide(D), left, k_row, rows, count, D)
            allowed = place_in(group, groups, mask_batch, repeat * mask_head) + start * mask_key
            for row in range(rows):
                place, later = score + row * CHUNK, ahead - start + truncdiv(row, repeat)
                shown = mask + (allowed + row_place(row, repeat, mask_head, mask_token))
                if cap != 0.0:
                    cap_row(place, count, V(cap))
                hide_in_row(place, shown, mask_key, count, window, later, -V(inf))
                weigh_row(own + row * wide(E), wide(E), stat + 2 * row, place, count, V(0.0))
            right = v + (place_in(group, groups, v_batch, v_group) + start * v_row)
            for key in range(0, count, NEAR):
                near, value = min(NEAR, count - key), right + key * v_row
                add_values(own, wide(E), score + key, value, v_row, rows, near, E)
        if splits == 1:
            for row in range(rows):
                target = out + (group * rows * E + row_place(row, repeat, tokens * E, E))
                join_row(target, own + row * wide(E), stat + 2 * row, 1, 0, 0, E, V(1.0))
