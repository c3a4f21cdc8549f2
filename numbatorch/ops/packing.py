"""Packed batches: the steps of all rows one after the other, `batch_sizes` rows at each step.

T steps, B rows of descending lengths, N the sum of the sizes.
"""

from __future__ import annotations

from numbatorch.dtype import int64
from numbatorch.graph import Node, find
from numbatorch.ops import caller
from numbatorch.ops.create import iota
from numbatorch.ops.index import take
from numbatorch.ops.operands import as_node, const, expanded
from numbatorch.ops.reduce import all_, reduced, sum_
from numbatorch.ops.scan import cumsum_
from numbatorch.ops.searching import search_rows
from numbatorch.ops.view import cat, element, narrow, reshape, unsqueeze


def _ends(sizes: Node) -> Node:
    """(T,): behind the rows of each step."""
    return cumsum_.apply(sizes, dims=(0,))


def _fits(sizes: Node, rows: int, count: int) -> Node:
    """Whether sizes are positive, begin with `rows`, do not increase and have `count` as sum."""
    both, T = find("logical_and"), sizes.shape[0]
    first = const(rows, int64, sizes.device, (1,))
    before = cat([first, narrow(sizes, 0, 0, T - 1)])
    falling = both.apply(find("le").apply(sizes, before), find("gt").apply(sizes, 0))
    fits = find("eq").apply(element(sizes, 0, 0), rows)
    fits = both.apply(fits, find("eq").apply(element(_ends(sizes), 0, T - 1), count))
    return both.apply(fits, reshape.apply(reduced(all_, falling, 0), shape=()))


def padded(name: str, data: Node, sizes: Node, rows: int) -> tuple[Node, Node]:
    """The batch (T, B, ...) of packed data (N, ...), and the lengths (B,) of its rows.

    Behind the end of a row stands the first of the data. A run finds wrong sizes.

    Args:
        name: of the public function.
        sizes: (T,) int64.
    """
    T, count = sizes.shape[0], data.shape[0]
    column = expanded(iota(rows, data.device), (T, rows))
    tall = (expanded(unsqueeze(x, 1), (T, rows)) for x in (sizes, _ends(sizes) - sizes))
    size, start = tall
    live = find("lt").apply(column, size)
    place = find("where").apply(live, start + column, 0)
    fits = expanded(_fits(sizes, rows, count), (T, rows))
    place = find("where").apply(fits, place, count)
    problem = (
        f"batch_sizes must begin with {rows}, never increase, stay positive and sum to {count}"
    )
    x = caller.explained(name, problem, take.apply, data, place)
    return x, reduced(sum_, as_node(live, int64, data.device), 0)


def packed_again(x: Node, sizes: Node, count: int) -> Node:
    """The packed rows (N, ...) of a batch (T, B, ...)."""
    T, B = x.shape[:2]
    number, ends = iota(count, x.device), _ends(sizes)
    lines = (reshape.apply(line, shape=(1, line.shape[0])) for line in (ends, number))
    step = reshape.apply(search_rows.apply(*lines, right=True), shape=(count,))
    step = find("minimum").apply(step, T - 1)  # of wrong sizes, which are told elsewhere
    place = step * B + number - take.apply(ends - sizes, step)
    place = find("maximum").apply(find("minimum").apply(place, T * B - 1), 0)
    return take.apply(reshape.apply(x, shape=(T * B, *x.shape[2:])), place)
