"""GPU kernels of attention: a group of threads takes a tile of queries over the tiles of keys.

Source of the running maximum and sum: https://arxiv.org/abs/2205.14135
"""

from dataclasses import dataclass
from typing import Any

from numbatorch.cuda_kernels.attention_backward import (
    LINE,
    attention_backward_keys,
    attention_backward_queries,
)
from numbatorch.cuda_kernels.attention_tiles import (
    COLS,
    LEFT,
    PLACES,
    RIGHT,
    SCORES,
    SUMS,
    THREADS,
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
from numbatorch.dtype import DType
from numbatorch.language.groups import barrier, group, shared, thread, threads
from numbatorch.language.kernel import Pointer, T, V, helper, kernel
from numbatorch.language.primitives import inf
from numbatorch.language.words import bool_, int64, share
from numbatorch.ops import attention as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import FLOAT, WIDE, exp

STATS = 2 * TILE
ENOUGH = 256  # groups that keep a GPU busy
RANGE = 8 * TILE  # fewest keys worth a group of their own


@helper
def start_rows(
    sums: Pointer[V], top: Pointer[V], total: Pointer[V], least: float, zero: float
) -> None:
    """No sums, no total, the least maximum."""
    clear(sums, SUMS, zero)
    clear(total, TILE, zero)
    clear(top, TILE, least)


@helper
def rescale(sums: Pointer[V], factor: Pointer[V], rows: int) -> None:
    """Take sums from the old maxima to the new ones."""
    for i in range(thread(), rows * COLS, threads()):
        sums[i] = sums[i] * factor[i // COLS]


@helper
def store_rows(
    out: Pointer[T],
    places: Pointer[int64],
    sums: Pointer[V],
    total: Pointer[V],
    rows: int,
    cols: int,
    zero: float,
) -> None:
    """Sums over totals; zeros where nothing was seen."""
    for i in range(thread(), rows * COLS, threads()):
        row = i // COLS
        col = i % COLS
        if col < cols:
            value = sums[i]
            if total[row] != zero:
                value = value / total[row]
            out[places[row] + col] = value


@helper
def keep_rows(
    parts: Pointer[V], stats: Pointer[V], sums: Pointer[V], top: Pointer[V], total: Pointer[V]
) -> None:
    """Sums, maxima and totals of one range of keys, for `attention_join`."""
    for i in range(thread(), SUMS, threads()):
        parts[i] = sums[i]
    for i in range(thread(), TILE, threads()):
        stats[i] = top[i]
        stats[TILE + i] = total[i]


@kernel(T=FLOAT, V=WIDE)
def attention_blocks(
    out: Pointer[T],
    q: Pointer[T],
    k: Pointer[T],
    v: Pointer[T],
    mask: Pointer[bool_],
    ranges: Pointer[V],
    stats: Pointer[V],
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
    splits: int,
    scale: float,
) -> None:
    """A group for each tile of queries, COLS of E and range of keys; t sees keys below ahead + t.

    With more than one range of keys, `attention_join` makes the result of what each has found.
    """
    scores = shared(V, SCORES)
    left = shared(V, LEFT)
    right = shared(V, RIGHT)
    sums = shared(V, SUMS)
    top = shared(V, TILE)
    total = shared(V, TILE)
    factor = shared(V, TILE)
    places = shared(int64, PLACES)
    tiles = (tokens * repeat + TILE - 1) // TILE
    pieces = (E + COLS - 1) // COLS
    first_col = group() // splits % pieces * COLS
    cols = min(COLS, E - first_col)
    item = group() // splits // pieces // tiles
    first = group() // splits // pieces % tiles * TILE
    rows = min(TILE, tokens * repeat - first)
    batch = item // G
    head = item % G
    start_rows(sums, top, total, -V(inf), V(0.0))
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
    k_places = places + TILE
    v_places = places + 2 * TILE
    queries = q + (batch * q_batch + head * repeat * q_head)
    allowed = mask + (batch * mask_batch + head * repeat * mask_head)
    end = min(keys, ahead + (first + rows - 1) // repeat)
    lo, hi = share((end + TILE - 1) // TILE, group() % splits, splits)
    for block in range(lo, hi):
        start = block * TILE
        count = min(TILE, end - start)
        found = k + (batch * k_batch + head * k_group + start * k_row)
        values = v + (batch * v_batch + head * v_group + start * v_row + first_col * v_col)
        dot_rows(
            scores,
            left,
            right,
            queries,
            places,
            q_col,
            found,
            k_places,
            k_col,
            rows,
            count,
            D,
            V(scale),
            V(1.0),
        )
        hide(scores, places, allowed, mask_key, start, -V(inf))
        weigh(scores, top, total, factor, V(0.0))
        rescale(sums, factor, rows)
        add_weighted(
            sums, scores, TILE, 1, right, values, v_places, v_col, rows, count, cols, V(1.0)
        )
    barrier()
    if splits > 1:
        keep_rows(ranges + group() * SUMS, stats + group() * STATS, sums, top, total)
    else:
        place_rows(places, first, repeat, tokens * E, E)
        barrier()
        target = out + (item * repeat * tokens * E + first_col)
        store_rows(target, places, sums, total, rows, cols, V(0.0))


@kernel(T=FLOAT, V=WIDE)
def attention_join(
    out: Pointer[T],
    ranges: Pointer[V],
    stats: Pointer[V],
    repeat: int,
    tokens: int,
    E: int,
    splits: int,
) -> None:
    """out = sums / totals, over the ranges of keys in order; a group as in `attention_blocks`."""
    tiles = (tokens * repeat + TILE - 1) // TILE
    pieces = (E + COLS - 1) // COLS
    first_col = group() % pieces * COLS
    first = group() // pieces % tiles * TILE
    rows = min(TILE, tokens * repeat - first)
    target = out + (group() // pieces // tiles * repeat * tokens * E + first_col)
    parts = ranges + group() * splits * SUMS
    for i in range(thread(), rows * COLS, threads()):
        row = i // COLS
        col = i % COLS
        tops = stats + (group() * splits * STATS + row)
        top = tops[0]
        for split in range(1, splits):
            if tops[split * STATS] > top:
                top = tops[split * STATS]
        value = V(0.0)
        total = V(0.0)
        for split in range(splits):
            factor = exp(tops[split * STATS] - finite(top, V(0.0)))
            value = value + parts[split * SUMS + i] * factor
            total = total + tops[split * STATS + TILE] * factor
        if total != V(0.0):
            value = value / total
        if first_col + col < E:
            place = (first + row) % repeat * tokens * E + (first + row) // repeat * E
            target[place + col] = value


@dataclass
class Problem:
    """What the kernels of one attention have in common.

    Attributes:
        operands: q, k, v, mask; 0 if there is no mask.
        sizes: heads of a group, groups of heads, tokens, keys, D, E, then four strides of each of
            q, k, v and the mask, whose last is -1 if there is none, then the keys that token 0
            sees.
        batch: B * G.
        work: products of numbers.
    """

    operands: tuple[Any, ...]
    sizes: tuple[int, ...]
    dtype: DType
    batch: int
    work: float

    @staticmethod
    def of(q: Operand, k: Operand, v: Operand, *mask: Operand, **attrs: Any) -> "Problem":
        """The problem of an operator's operands and attributes."""
        B, H, tokens, D = q.shape
        G, S, E = k.shape[1], k.shape[2], v.shape[3]
        strides = (*q.strides, *k.strides, *v.strides)
        mask_strides = mask[0].strides if mask else (0, 0, 0, -1)
        ahead = attrs["position"] + 1 if attrs["causal"] else S
        return Problem(
            operands=(q, k, v, mask[0] if mask else 0),
            sizes=(H // G, G, tokens, S, D, E, *strides, *mask_strides, ahead),
            dtype=q.dtype,
            batch=B * G,
            work=B * H * tokens * S * (D + E),
        )

    @property
    def types(self) -> dict[str, DType]:
        """Of the elements and of what is computed with."""
        return {"T": self.dtype, "V": self.dtype.compute}

    @property
    def tiles(self) -> int:
        """Tiles of the queries of one group of heads."""
        return -(-self.sizes[0] * self.sizes[2] // TILE)


@lower("gpu", ops.attention_)
def _(launcher: Launcher, out: Operand, *operands: Operand, scale: float, **attrs: Any) -> None:
    problem = Problem.of(*operands, **attrs)
    repeat, _, tokens, S, _, E = problem.sizes[:6]
    results = problem.batch * problem.tiles * -(-E // COLS)
    splits = max(1, min(S // RANGE, ENOUGH // max(results, 1)))
    size = problem.dtype.compute.itemsize
    ranges = launcher.scratch(results * splits * SUMS * size) if splits > 1 else 0
    stats = launcher.scratch(results * splits * STATS * size) if splits > 1 else 0
    launcher.launch(
        attention_blocks(**problem.types),
        *(out, *problem.operands, ranges, stats, *problem.sizes, splits, scale),
        work=problem.work,
        groups=results * splits,
        threads=THREADS,
    )
    if splits > 1:
        launcher.launch(
            attention_join(**problem.types),
            *(out, ranges, stats, repeat, tokens, E, splits),
            work=results * splits * SUMS,
            groups=results,
            threads=THREADS,
        )


@lower("gpu", ops.attention_backward)
def _(
    launcher: Launcher, out: Operand, g: Operand, *operands: Operand, scale: float, **attrs: Any
) -> None:
    problem = Problem.of(*operands, **attrs)
    repeat, _, tokens, S, D, E = problem.sizes[:6]
    rows = problem.batch * repeat * tokens
    lines = launcher.scratch(rows * LINE * problem.dtype.compute.itemsize)
    launcher.launch(
        attention_backward_queries(**problem.types),
        *(out, g, *problem.operands, lines, *problem.sizes, scale),
        work=2 * problem.work,
        groups=problem.batch * problem.tiles * max(1, -(-D // COLS)),
        threads=THREADS,
    )
    launcher.launch(
        attention_backward_keys(**problem.types),
        *(out, g, *problem.operands, lines, *problem.sizes, problem.batch, scale),
        work=3 * problem.work,
        groups=problem.batch * -(-S // TILE) * (-(-D // COLS) + -(-E // COLS)),
        threads=THREADS,
    )
