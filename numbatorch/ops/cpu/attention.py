"""CPU kernels of attention: blocks of queries by blocks of keys, never all scores at once.

Source of the running maximum and sum: https://arxiv.org/abs/2205.14135
"""

from dataclasses import dataclass
from typing import Any

from numbatorch.dtype import DType
from numbatorch.language.kernel import Pointer, T, V, helper, kernel
from numbatorch.language.primitives import inf, truncdiv
from numbatorch.language.words import bool_
from numbatorch.ops import attention as ops
from numbatorch.ops.cpu.attention_backward import (
    attention_backward_groups,
    backward_elements,
    tile_keys,
)
from numbatorch.ops.cpu.attention_rows import (
    CHUNK,
    MOST_RANGES,
    MOST_ROWS,
    attention_join,
    attention_rows,
    rows_with_spare,
)
from numbatorch.ops.cpu.attention_tiles import (
    BLOCK,
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
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import FLOAT, WIDE, exp, place_in, unit_rows


@helper
def rescale(
    sums: Pointer[V], sums_row: int, stats: Pointer[V], rows: int, width: int, zero: float
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
def start_block(sums: Pointer[V], sums_size: int, stats: Pointer[V], least: float) -> None:
    """No sums, no total, the least maximum."""
    zero = exp(least)
    clear(sums, sums_size, zero)
    for i in range(TILE):
        stats[i] = least
        stats[TILE + i] = zero


@helper
def store_rows(
    out: Pointer[T],
    out_head: int,
    sums: Pointer[V],
    total: Pointer[V],
    repeat: int,
    first: int,
    rows: int,
    cols: int,
    one: float,
) -> None:
    """Sums over totals, to rows of out that are `cols` apart by token and `out_head` by head."""
    sums_row = wide(cols)
    for i in range(rows):
        row = out + row_place(first + i, repeat, out_head, cols)
        scale = total[i]
        if scale != one - one:
            scale = one / scale
        for j in range(cols):
            row[j] = sums[i * sums_row + j] * scale


@helper
def add_keys(
    work: Pointer[V],
    scores: Pointer[V],
    stats: Pointer[V],
    values: Pointer[T],
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
def score_block(
    scores: Pointer[V],
    block: Pointer[V],
    keys: Pointer[T],
    keys_row: int,
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
    """scores[key, i] = keys[key] . query i, or -inf where it may not be seen."""
    least = -inf * one
    clear(scores, BLOCK * TILE, one - one)
    copy_keys(block, wide(D), keys, keys_row, count, D, one)
    add_product(scores, TILE, block, wide(D), 1, queries, TILE, count, wide(rows), D)
    if cap != one - one:
        cap_scores(scores, wide(rows), count, cap)
    hide_later(scores, rows, count, ahead, repeat, first, least)
    hide_earlier(scores, rows, count, ahead + window - 1, repeat, first, least)
    if mask_key >= 0:
        hide_masked(
            scores, mask, mask_head, mask_token, mask_key, repeat, first, rows, count, least
        )


@kernel(T=FLOAT, V=WIDE)
def attention_blocks(
    out: Pointer[T], q: Pointer[T], k: Pointer[T], v: Pointer[T], mask: Pointer[bool_],
    work: Pointer[V], scores: Pointer[V], stats: Pointer[V],
    repeat: int, groups: int, tokens: int, keys: int, D: int, E: int,
    q_batch: int, q_head: int, q_token: int, k_batch: int, k_group: int, k_row: int,
    v_batch: int, v_group: int, v_row: int,
    mask_batch: int, mask_head: int, mask_token: int, mask_key: int,
    ahead: int, window: int, span: int, items: int, scale: float, cap: float,
    part: int, parts: int,
) -> None:  # fmt: skip
    """Each block of queries goes over the blocks of keys; token t sees `window` below ahead + t.

    Where scores have a cap other than 0, `scale` is divided by it.
    """
    tiles = truncdiv(tokens * repeat + TILE - 1, TILE)
    own, stat = scores + part * BLOCK * TILE, stats + part * 4 * TILE
    sums = work + part * span
    block = sums + TILE * wide(E)
    queries = block + BLOCK * max(wide(D), wide(E))
    for item in range(part, items * tiles, parts):
        group = truncdiv(item, tiles)
        first = (item - group * tiles) * TILE
        rows = min(TILE, tokens * repeat - first)
        source = q + place_in(group, groups, q_batch, repeat * q_head)
        turn_queries(queries, source, q_head, q_token, repeat, first, rows, D, V(scale))
        start_block(sums, TILE * wide(E), stat, -V(inf))
        end = max(0, min(keys, ahead + truncdiv(first + rows - 1, repeat)))
        begin = max(0, ahead + truncdiv(first, repeat) - window)
        for start in range(begin, end, BLOCK):
            count = min(BLOCK, end - start)
            left = k + (place_in(group, groups, k_batch, k_group) + start * k_row)
            right = v + (place_in(group, groups, v_batch, v_group) + start * v_row)
            head = mask + place_in(group, groups, mask_batch, repeat * mask_head)
            allowed = head + start * mask_key
            score_block(
                *(own, block, left, k_row, queries, allowed, mask_head, mask_token, mask_key),
                *(start + 1 - ahead, window, repeat, first, rows, count, D, V(cap), V(1.0)),
            )
            add_keys(sums, own, stat, right, v_row, rows, count, D, E, V(1.0))
        target = out + group * repeat * tokens * E
        store_rows(target, tokens * E, sums, stat + TILE, repeat, first, rows, E, V(1.0))


def block_elements(D: int, E: int) -> int:
    """Numbers of a part's blocks: sums, keys or values, queries both ways."""
    D, E = padded(D), padded(E)
    return TILE * E + BLOCK * max(D, E) + 2 * TILE * D


@dataclass
class Problem:
    """What the kernels of one attention have in common.

    Attributes:
        operands: q, k, v, mask; 0 if there is no mask.
        sizes: heads of a group, groups, tokens, keys, D, E, then strides: three of q, k, v each,
            four of the mask, whose last is -1 if there is none, then the key that token 0 does
            not see any more, and how many before that it sees at most.
        scale: factor on the scores, and their cap, by which it is divided; 0: none.
        seen: keys that all tokens together see at most.
        work: products of numbers.
    """

    operands: tuple[Any, ...]
    sizes: tuple[int, ...]
    scale: tuple[float, float]
    seen: int
    dtype: DType
    batch: int
    work: float

    @staticmethod
    def of(
        launcher: Launcher, q: Operand, k: Operand, v: Operand, *mask: Operand, **attrs: Any
    ) -> "Problem":
        """Operands whose rows do not lie in one piece are copied."""
        B, H, tokens, D = q.shape
        G, S, E = k.shape[1], k.shape[2], v.shape[3]
        found = [unit_rows(launcher, x) for x in (q, k, v)]
        strides = [stride for _, three in found for stride in three]
        mask_strides = mask[0].strides if mask else (0, 0, 0, -1)
        ahead = attrs["position"] + 1 if attrs["causal"] else S
        window, cap = attrs["window"] or S + tokens, attrs["softcap"] or 0.0
        return Problem(
            operands=(*(x for x, _ in found), mask[0] if mask else 0),
            sizes=(H // G, G, tokens, S, D, E, *strides, *mask_strides, ahead, window),
            scale=(attrs["scale"] / (cap or 1.0), cap),
            seen=min(S, window + tokens - 1),
            dtype=q.dtype,
            batch=B,
            work=B * H * tokens * ops.most_keys(S, window) * (D + E),
        )


@lower("cpu", ops.attention_)
def _(launcher: Launcher, out: Operand, *operands: Operand, **attrs: Any) -> None:
    problem = Problem.of(launcher, *operands, **attrs)
    repeat, _, tokens = problem.sizes[:3]
    launch = _launch_rows if tokens * repeat <= MOST_ROWS else _launch_blocks
    launch(launcher, out, problem)


def _launch_rows(launcher: Launcher, out: Operand, problem: Problem) -> None:
    """The kernels for few queries; the ranges of the keys depend on how many may be seen."""
    repeat, G, tokens, S, D, E = problem.sizes[:6]
    types = {"T": problem.dtype, "V": problem.dtype.compute}
    groups, rows, parts = problem.batch * G, tokens * repeat, launcher.parts
    length = CHUNK * max(1, -(-problem.seen // (CHUNK * MOST_RANGES)))
    splits = max(1, -(-problem.seen // length))
    size = problem.dtype.compute.itemsize
    sums = launcher.scratch(groups * splits * rows_with_spare(rows) * padded(E) * size)
    stats = launcher.scratch(groups * splits * 2 * rows * size)
    lines = launcher.scratch(parts * MOST_ROWS * padded(D) * size)
    scores = launcher.scratch(parts * MOST_ROWS * CHUNK * size)
    launcher.launch(
        attention_rows(**types),
        *(out, *problem.operands, sums, stats, lines, scores),
        *(*problem.sizes, length, problem.batch, *problem.scale),
        work=problem.work,
    )
    if splits > 1:
        joined = (groups, repeat, tokens, E, S, *problem.sizes[-2:], length)
        work = 2 * groups * rows * E * splits
        launcher.launch(attention_join(**types), out, sums, stats, *joined, work=work)


def _launch_blocks(launcher: Launcher, out: Operand, problem: Problem) -> None:
    """The kernel for many queries."""
    G, D, E = problem.sizes[1], problem.sizes[4], problem.sizes[5]
    size = launcher.parts * problem.dtype.compute.itemsize
    span = block_elements(D, E)
    scratch = [launcher.scratch(n * size) for n in (span, BLOCK * TILE, 4 * TILE)]
    launcher.launch(
        attention_blocks(T=problem.dtype, V=problem.dtype.compute),
        *(out, *problem.operands, *scratch),
        *(*problem.sizes, span, problem.batch * G, *problem.scale),
        work=problem.work,
    )


@lower("cpu", ops.attention_backward)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    g: Operand,
    *operands: Operand,
    **attrs: Any,
) -> None:
    problem = Problem.of(launcher, *operands, **attrs)
    G, S, D, E = problem.sizes[1], *problem.sizes[3:6]
    size = launcher.parts * problem.dtype.compute.itemsize
    span = backward_elements(S, D, E)
    room = tile_keys(S, problem.sizes[-1]) * TILE
    rooms = (span, room, room, 2 * TILE)
    scratch = [launcher.scratch(n * size) for n in rooms]
    scratch.append(launcher.scratch(room * size) if problem.scale[1] else 0)
    launcher.launch(
        attention_backward_groups(T=problem.dtype, V=problem.dtype.compute),
        *(*outs, g, *problem.operands, *scratch),
        *(*problem.sizes, room, span, problem.batch * G, *problem.scale),
        work=3 * problem.work,
    )
