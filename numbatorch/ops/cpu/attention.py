"""CPU kernels of attention: blocks of queries by blocks of keys, never all scores at once.

Source of the running maximum and sum: https://arxiv.org/abs/2205.14135
"""

from typing import Any

from numbatorch.backends.cpu.kernel import Pointer, T, V, helper, kernel
from numbatorch.backends.cpu.primitives import inf
from numbatorch.ops import attention as ops
from numbatorch.ops.cpu.attention_tiles import (
    BLOCK,
    TILE,
    add_product,
    clear,
    column_sums,
    column_tops,
    copy_keys,
    copy_queries,
    finite,
    hide_later,
    hide_masked,
    padded,
    powers,
    transpose,
    wide,
)
from numbatorch.ops.cpu.rows import FLOAT, WIDE, exp
from numbatorch.ops.lowering import Launcher, Operand, lower


@helper
def rescale(
    sums: Pointer["V"], sums_row: int, stats: Pointer["V"], rows: int, width: int, zero: float
) -> None:
    """Take sums and total from the old maximum to the one that `stats` now ends with."""
    top, total = stats, stats + TILE
    shift, larger = stats + 2 * TILE, stats + 3 * TILE
    for i in range(width):
        shift[i] = finite(larger[i], zero)
    for i in range(width):
        factor = exp(top[i] - shift[i])
        top[i] = larger[i]
        larger[i] = factor
        total[i] = total[i] * factor
    for i in range(rows):
        row = sums + i * sums_row
        factor = larger[i]
        for j in range(sums_row):
            row[j] = row[j] * factor


@helper
def start_block(sums: Pointer["V"], sums_size: int, stats: Pointer["V"], least: float) -> None:
    """No sums, no total, the least maximum."""
    zero = exp(least)
    clear(sums, sums_size, zero)
    for i in range(TILE):
        stats[i] = least
        stats[TILE + i] = zero


@helper
def store_rows(
    out: Pointer["T"],
    out_head: int,
    sums: Pointer["V"],
    total: Pointer["V"],
    repeat: int,
    first: int,
    rows: int,
    cols: int,
    one: float,
) -> None:
    """Sums over totals, to rows of out that are `cols` apart by token and `out_head` by head."""
    sums_row = wide(cols)
    for i in range(rows):
        token = (first + i) // repeat
        head = first + i - token * repeat
        row = out + (head * out_head + token * cols)
        scale = total[i]
        if scale != one - one:
            scale = one / scale
        for j in range(cols):
            row[j] = sums[i * sums_row + j] * scale


@helper
def add_keys(
    work: Pointer["V"],
    scores: Pointer["V"],
    stats: Pointer["V"],
    values: Pointer["T"],
    values_row: int,
    rows: int,
    count: int,
    D: int,
    E: int,
    one: float,
) -> None:
    """The softmax of a block of scores, on top of that of the blocks before, times its values."""
    sums, block = work, work + TILE * wide(E)
    width = wide(rows)
    column_tops(stats + 3 * TILE, stats, scores, width, count)
    rescale(sums, wide(E), stats, rows, width, one - one)
    powers(scores, stats + 2 * TILE, width, count)
    column_sums(stats + TILE, scores, width, count)
    copy_keys(block, wide(E), values, values_row, count, E, one)
    add_product(sums, wide(E), scores, 1, TILE, block, wide(E), rows, wide(E), count)


@helper
def score_keys(
    scores: Pointer["V"],
    block: Pointer["V"],
    keys: Pointer["T"],
    keys_row: int,
    queries: Pointer["V"],
    rows: int,
    count: int,
    D: int,
    one: float,
) -> None:
    """scores[key, i] = keys[key] . query i."""
    clear(scores, BLOCK * TILE, one - one)
    copy_keys(block, wide(D), keys, keys_row, count, D, one)
    add_product(scores, TILE, block, wide(D), 1, queries, TILE, count, wide(rows), D)


@kernel(T=FLOAT, V=WIDE)
def attention_blocks(
    out: Pointer["T"],
    q: Pointer["T"],
    k: Pointer["T"],
    v: Pointer["T"],
    mask: Pointer["bool"],
    work: Pointer["V"],
    scores: Pointer["V"],
    stats: Pointer["V"],
    batch: int,
    heads: int,
    groups: int,
    tokens: int,
    keys: int,
    D: int,
    E: int,
    q_batch: int,
    q_head: int,
    q_token: int,
    k_batch: int,
    k_group: int,
    k_row: int,
    v_batch: int,
    v_group: int,
    v_row: int,
    mask_batch: int,
    mask_head: int,
    mask_token: int,
    mask_key: int,
    masked: int,
    causal: int,
    position: int,
    span: int,
    scale: float,
    part: int,
    parts: int,
) -> None:
    """Each block of queries of a group goes over the blocks of keys that it may see."""
    repeat = heads // groups
    tiles = (tokens * repeat + TILE - 1) // TILE
    sums = work + part * span
    block = sums + TILE * wide(E)
    lines = block + BLOCK * max(wide(D), wide(E))
    turned = lines + TILE * wide(D)
    own, stat = scores + part * BLOCK * TILE, stats + part * 4 * TILE
    for item in range(part, batch * groups * tiles, parts):
        group = item // tiles
        first = (item - group * tiles) * TILE
        b = group // groups
        head = (group - b * groups) * repeat
        rows = min(TILE, tokens * repeat - first)
        source = q + (b * q_batch + head * q_head)
        copy_queries(lines, wide(D), source, q_head, q_token, repeat, first, rows, D, V(scale))
        transpose(turned, TILE, lines, wide(D), wide(rows), wide(D))
        start_block(sums, TILE * wide(E), stat, -V(inf))
        end = keys
        if causal:
            end = min(keys, position + (first + rows - 1) // repeat + 1)
        for start in range(0, end, BLOCK):
            count = min(BLOCK, end - start)
            left = k + (b * k_batch + (group - b * groups) * k_group + start * k_row)
            score_keys(own, block, left, k_row, turned, rows, count, D, V(1.0))
            if causal:
                hide_later(own, rows, count, start - position, repeat, first, -V(inf))
            if masked:
                allowed = mask + (b * mask_batch + head * mask_head + start * mask_key)
                hide_masked(
                    own, allowed, mask_head, mask_token, mask_key, repeat, first, rows, count, -V(inf)
                )
            right = v + (b * v_batch + (group - b * groups) * v_group + start * v_row)
            add_keys(sums, own, stat, right, v_row, rows, count, D, E, V(1.0))
        target = out + (b * heads + head) * tokens * E
        store_rows(target, tokens * E, sums, stat + TILE, repeat, first, rows, E, V(1.0))


def block_elements(D: int, E: int) -> int:
    """Numbers of a part's blocks: sums, keys or values, queries both ways."""
    D, E = padded(D), padded(E)
    return TILE * E + BLOCK * max(D, E) + 2 * TILE * D


def _contiguous(x: Operand) -> bool:
    return x.strides[-1] == 1 or x.shape[-1] == 1


@lower("cpu", ops.attention_)
def _(
    launcher: Launcher,
    out: Operand,
    q: Operand,
    k: Operand,
    v: Operand,
    *mask: Operand,
    scale: float,
    causal: bool,
    position: int,
) -> None:
    B, H, T_, D = q.shape
    G, S, E = k.shape[1], k.shape[2], v.shape[3]
    wide_ = q.dtype.compute
    span = block_elements(D, E)
    size = launcher.parts * wide_.itemsize
    work = launcher.scratch(span * size)
    scores = launcher.scratch(BLOCK * TILE * size)
    stats = launcher.scratch(4 * TILE * size)
    mask_strides = mask[0].strides if mask else (0, 0, 0, 0)
    launcher.launch(
        attention_blocks(T=q.dtype, V=wide_),
        *(out, q, k, v, mask[0] if mask else 0, work, scores, stats),
        *(B, H, G, T_, S, D, E, *q.strides[:3], *k.strides[:3], *v.strides[:3], *mask_strides),
        *(len(mask), int(causal), position, span, scale),
        work=B * H * T_ * S * (D + E),
    )
