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
    ALLOWED,
    COLS,
    FACTOR,
    KEYS,
    ONE_PRODUCT,
    PLACES,
    STATS,
    SUMS,
    THREADS,
    TILE,
    TOTAL,
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
from numbatorch.dtype import DType
from numbatorch.language.groups import barrier, group, shared, thread, threads
from numbatorch.language.kernel import Pointer, T, V, helper, kernel
from numbatorch.language.primitives import inf
from numbatorch.language.words import bool_, int64, share
from numbatorch.ops import attention as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import FLOAT, WIDE, exp

ENOUGH = 256  # groups that keep a GPU busy
RANGE = 8 * TILE  # fewest keys worth a group of their own


@helper
def rescale(sums: Pointer[V], stats: Pointer[V], rows: int) -> None:
    """Take sums from the old maxima to the new ones."""
    for i in range(thread(), rows * COLS, threads()):
        sums[i] = sums[i] * stats[FACTOR + i // COLS]


@helper
def store_rows(
    out: Pointer[T],
    places: Pointer[int64],
    sums: Pointer[V],
    stats: Pointer[V],
    rows: int,
    cols: int,
    zero: float,
) -> None:
    """Sums over totals; zeros where nothing was seen."""
    for i in range(thread(), rows * COLS, threads()):
        row = i // COLS
        if i % COLS < cols:
            value = sums[i]
            if stats[TOTAL + row] != zero:
                value = value / stats[TOTAL + row]
            out[places[row] + i % COLS] = value


@helper
def copy_all(out: Pointer[V], x: Pointer[V], count: int) -> None:
    """`count` numbers."""
    for i in range(thread(), count, threads()):
        out[i] = x[i]


@kernel(T=FLOAT, V=WIDE)
def attention_blocks(
    out: Pointer[T], q: Pointer[T], k: Pointer[T], v: Pointer[T], mask: Pointer[bool_],
    all_sums: Pointer[V], all_stats: Pointer[V],
    repeat: int, G: int, tokens: int, keys: int, D: int, E: int,
    q_batch: int, q_head: int, q_token: int, q_col: int,
    k_batch: int, k_group: int, k_row: int, k_col: int,
    v_batch: int, v_group: int, v_row: int, v_col: int,
    mask_batch: int, mask_head: int, mask_token: int, mask_key: int,
    ahead: int, window: int, splits: int, scale: float, cap: float,
) -> None:  # fmt: skip
    """A group for each tile of queries, COLS of E, range of keys; t sees `window` below ahead + t.

    Where scores have a cap other than 0, `scale` is divided by it. With more than one range of
    keys, `attention_join` makes the result of what each has found.
    """
    tiles = shared(V, ONE_PRODUCT)
    sums = shared(V, SUMS)
    stats = shared(V, STATS)
    places = shared(int64, PLACES)
    rows = tokens * repeat
    blocks = (rows + TILE - 1) // TILE
    pieces = (E + COLS - 1) // COLS
    col = group() // splits % pieces * COLS
    item = group() // splits // pieces // blocks
    first = group() // splits // pieces % blocks * TILE
    last = min(first + TILE, rows) - 1
    clear(sums, SUMS, V(0.0))
    start_stats(stats, -V(inf), V(0.0))
    place_rows(places, item, G, repeat, first, last, q_batch, q_head, q_token)
    place_rows(places + ALLOWED, item, G, repeat, first, last, mask_batch, mask_head, mask_token)
    limit_rows(places, repeat, first, last, ahead, window, keys)
    begin = max(0, ahead + first // repeat - window)
    end = min(keys, ahead + last // repeat)
    lo, hi = share((end - begin + TILE - 1) // TILE, group() % splits, splits)
    for block in range(lo, hi):
        start = begin + block * TILE
        place_rows(places + KEYS, item, G, 1, start, end - 1, k_batch, k_group, k_row)
        place_rows(places + VALUES, item, G, 1, start, end - 1, v_batch, v_group, v_row)
        dot_rows(tiles, tiles, q, places, q_col, k, places + KEYS, k_col, D, V(scale), V(1.0))
        cap_and_hide(tiles, places, mask, mask_key, start, V(cap), V(0.0))
        weigh(tiles, stats, V(0.0))
        rescale(sums, stats, last + 1 - first)
        add_weighted(
            sums,
            tiles,
            TILE,
            1,
            tiles,
            v + col * v_col,
            places + VALUES,
            v_col,
            last + 1 - first,
            min(COLS, E - col),
            V(1.0),
        )
    barrier()
    if splits > 1:
        copy_all(all_sums + group() * SUMS, sums, SUMS)
        copy_all(all_stats + group() * STATS, stats, STATS)
    else:
        place_rows(places, item, G, repeat, first, last, G * rows * E, tokens * E, E)
        barrier()
        store_rows(out + col, places, sums, stats, last + 1 - first, min(COLS, E - col), V(0.0))


@kernel(T=FLOAT, V=WIDE)
def attention_join(
    out: Pointer[T],
    all_sums: Pointer[V],
    all_stats: Pointer[V],
    repeat: int,
    tokens: int,
    E: int,
    splits: int,
) -> None:
    """out = sums / totals, over the ranges of keys in order; a group as in `attention_blocks`."""
    rows = tokens * repeat
    blocks = (rows + TILE - 1) // TILE
    pieces = (E + COLS - 1) // COLS
    col = group() % pieces * COLS
    item = group() // pieces // blocks
    first = group() // pieces % blocks * TILE
    sums = all_sums + group() * splits * SUMS
    for i in range(thread(), min(TILE, rows - first) * COLS, threads()):
        stats = all_stats + (group() * splits * STATS + i // COLS)
        top = stats[0]
        for split in range(1, splits):
            if stats[split * STATS] > top:
                top = stats[split * STATS]
        value = V(0.0)
        total = V(0.0)
        for split in range(splits):
            factor = exp(stats[split * STATS] - finite(top, V(0.0)))
            value = value + sums[split * SUMS + i] * factor
            total = total + stats[split * STATS + TOTAL] * factor
        if total != V(0.0):
            value = value / total
        if col + i % COLS < E:
            row = first + i // COLS
            place = (item * repeat + row % repeat) * tokens + row // repeat
            out[place * E + (col + i % COLS)] = value


@dataclass
class Problem:
    """What the kernels of one attention have in common.

    Attributes:
        operands: q, k, v, mask; 0 if there is no mask.
        sizes: heads of a group, groups of heads, tokens, keys, D, E, then four strides of each of
            q, k, v and the mask, whose last is -1 if there is none, then the key that token 0 does
            not see any more, and how many before that it sees at most.
        scale: factor on the scores, and their cap, by which it is divided; 0: none.
        batch: B * G.
        work: products of numbers.
    """

    operands: tuple[Any, ...]
    sizes: tuple[int, ...]
    scale: tuple[float, float]
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
        window, cap = attrs["window"] or S + tokens, attrs["softcap"] or 0.0
        return Problem(
            operands=(q, k, v, mask[0] if mask else 0),
            sizes=(H // G, G, tokens, S, D, E, *strides, *mask_strides, ahead, window),
            scale=(attrs["scale"] / (cap or 1.0), cap),
            dtype=q.dtype,
            batch=B * G,
            work=B * H * tokens * ops.most_keys(S, window) * (D + E),
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
def _(launcher: Launcher, out: Operand, *operands: Operand, **attrs: Any) -> None:
    problem = Problem.of(*operands, **attrs)
    repeat, _, tokens, S, _, E = problem.sizes[:6]
    results = problem.batch * problem.tiles * -(-E // COLS)
    seen = min(S, problem.sizes[-1] + min(tokens, TILE) - 1)  # by the queries of a tile
    splits = max(1, min(seen // RANGE, ENOUGH // max(results, 1)))
    size = problem.dtype.compute.itemsize
    sums = launcher.scratch(results * splits * SUMS * size) if splits > 1 else 0
    stats = launcher.scratch(results * splits * STATS * size) if splits > 1 else 0
    launcher.launch(
        attention_blocks(**problem.types),
        *(out, *problem.operands, sums, stats, *problem.sizes, splits, *problem.scale),
        work=problem.work,
        groups=results * splits,
        threads=THREADS,
    )
    if splits > 1:
        launcher.launch(
            attention_join(**problem.types),
            *(out, sums, stats, repeat, tokens, E, splits),
            work=results * splits * SUMS,
            groups=results,
            threads=THREADS,
        )


@lower("gpu", ops.attention_backward)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    g: Operand,
    *operands: Operand,
    **attrs: Any,
) -> None:
    dq, dk, dv = outs
    problem = Problem.of(*operands, **attrs)
    repeat, _, tokens, S, D, E = problem.sizes[:6]
    rows = problem.batch * repeat * tokens
    lines = launcher.scratch(rows * LINE * problem.dtype.compute.itemsize)
    launcher.launch(
        attention_backward_queries(**problem.types),
        *(dq, g, *problem.operands, lines, *problem.sizes, *problem.scale),
        work=2 * problem.work,
        groups=problem.batch * problem.tiles * max(1, -(-D // COLS)),
        threads=THREADS,
    )
    launcher.launch(
        attention_backward_keys(**problem.types),
        *(dk, dv, g, *problem.operands, lines, *problem.sizes, *problem.scale),
        work=3 * problem.work,
        groups=problem.batch * -(-S // TILE) * (-(-D // COLS) + -(-E // COLS)),
        threads=THREADS,
    )
