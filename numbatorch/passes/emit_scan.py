"""Emit scans: a reduction's prologue, state and epilogue, with a result for every element.

The forms are those of reductions. On the CPU `split` takes two launches: the first gives the state
of each chunk, the second goes on from the states of all chunks before. On GPUs a group of threads
scans as many elements at a time: W. D. Hillis and G. L. Steele, "Data parallel algorithms",
Communications of the ACM 29 (1986), https://doi.org/10.1145/7902.7903
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from numbatorch.dtype import DType
from numbatorch.layout import Layout
from numbatorch.passes.emit_share import (
    Kernel,
    Row,
    Scratch,
    block_parameters,
    chunk_states,
    find_block,
    find_chunk,
    group_element,
    group_grid,
    group_head,
)
from numbatorch.passes.emit_text import indent
from numbatorch.passes.emit_walk import BLOCK, CHUNK, FEW, MANY, Walk
from numbatorch.passes.groups import Group, Load
from numbatorch.passes.target import Grid, Target
from numbatorch.shape import contiguous_strides, numel

ROWS = 4  # rows that a CPU thread scans side by side
SHORT = 24  # statements of an element at most, to be written down for each of them


def scan(
    target: Target,
    group: Group,
    operand: Callable[[Load], Any],
    writes: Sequence[tuple[Any, Layout, DType]],
    parts: int,
    scratch: Scratch,
) -> list[Kernel]:
    """Kernels, arguments and grids of a group whose core is a scan."""
    walk = Walk(target, group, operand, writes)
    kept = numel(walk.extents.kept)
    if target.groups:
        return [_rows(walk) if walk.size < FEW or kept >= MANY else _group(walk)]
    if walk.extents.across:
        return [_columns(walk, parts, scratch)]
    if kept < FEW and walk.size >= 4 * CHUNK:
        return _split(walk, parts, scratch)
    return [_rows(walk)]


def _parameters(walk: Walk) -> list[tuple[str, Any]]:
    """Number of elements of a row, and how far apart results and rows stand."""
    (dim,) = walk.core.attrs["dims"]
    step = contiguous_strides(walk.core.shape)[dim]
    rows = [(f"E{i}: int", stride) for i, stride in enumerate(walk.extents.places)]
    return [("size: int", walk.size), ("step: int", step), *rows]


def _first(walk: Walk) -> str:
    """Statement that gives the number of the first result of a row."""
    terms = [f"{name} * E{i}" for i, name in enumerate(walk.kept_names())]
    return f"first_result = {' + '.join(terms) or '0'}"


def _visit_and_store(walk: Walk, words: Sequence[str], position: str) -> list[str]:
    visit = walk.visit(words, position, position, ordered=True)
    return [*visit, *_store(walk, words, position)]


def _store(walk: Walk, words: Sequence[str], position: str) -> list[str]:
    return [
        f"result_at = first_result + {position} * step",
        f"seen = {position} + 1",
        *walk.store_result(words, "seen", "result_at"),
    ]


def _rows(walk: Walk) -> Kernel:
    words = walk.state.names("best")
    steps = len(_visit_and_store(walk, words, "i"))
    together = ROWS if steps <= SHORT and not walk.target.groups else 1

    def body() -> list[str]:
        lines = ["lo, hi = share(total, part, parts)", "result_number = lo"]
        for count in dict.fromkeys((together, 1)):
            lines += [f"while result_number + {count} <= hi:"]
            lines += indent([*_take_rows(walk, count), f"result_number += {count}"], 1)
        return lines

    total = numel(walk.extents.kept)
    extra = [("total: int", total), *_parameters(walk)]
    return *walk.kernel("scan rows", extra, body), Grid(total)


def _take_rows(walk: Walk, count: int) -> list[str]:
    """Statements that scan `count` rows side by side, so that none waits for its own last sum."""
    state = walk.state
    pointers = range(len(walk.extents.reduced_strides))
    starts, steps = [], []
    for row in range(count):
        words = state.names(f"row{row}_best")
        starts += walk.find_result(f"(result_number + {row})")
        starts += [_first(walk), f"first{row} = first_result", *walk.at_elements([])]
        starts += [f"row{row}_{n} = pp{n}" for n in pointers]
        starts += state.begin(words)
        steps += [f"first_result = first{row}", *(f"pp{n} = row{row}_{n}" for n in pointers)]
        steps += _visit_and_store(walk, words, "i")
    return [*starts, "for i in range(size):", *indent(steps, 1)]


def _columns(walk: Walk, parts: int, scratch: Scratch) -> Kernel:
    state, best = walk.state, walk.state.names("best")
    last = len(walk.extents.kept) - 1

    def body() -> list[str]:
        places = walk.places("side", "i")
        return [
            *(f"{name} = {name} + part * {BLOCK}" for name in state.names("side")),
            *find_block(walk),
            f"    {_first(walk)}",
            "    for i in range(count):",
            *indent(state.begin(places), 2),
            "    for j0 in range(size):",
            *indent(walk.at_elements(["j0"]), 2),
            "        seen = j0 + 1",
            "        for i in range(count):",
            *indent(state.load(best, places), 3),
            *indent(walk.visit(best, "i", "j0", along_kept=True), 3),
            *indent(state.store(places, best), 3),
            f"            result_at = first_result + i * E{last}",
            *indent(walk.store_result(best, "seen", "result_at"), 3),
            "        first_result += step",
        ]

    extra = [*block_parameters(walk), *_parameters(walk)]
    extra += [(text, scratch(parts * BLOCK * 8)) for text in walk.memory("side")]
    return *walk.kernel("scan columns", extra, body), Grid(numel(walk.extents.kept))


def _split(walk: Walk, parts: int, scratch: Scratch) -> list[Kernel]:
    state = walk.state
    row = Row(walk, parts, scratch)
    best, before = row.best, state.names("before")
    total = numel(walk.extents.kept)
    chunks = (walk.size + CHUNK - 1) // CHUNK
    shared = [("total: int", total), ("chunks: int", chunks), *_parameters(walk)]
    shared += [(text, scratch(total * chunks * 8)) for text in walk.memory("partial")]

    def states() -> list[str]:
        return chunk_states(walk, row)

    def results() -> list[str]:
        lines = [
            *state.begin(best),
            "for earlier in range(result_number * chunks, unit):",
            *indent(state.load(before, walk.places("partial", "earlier")), 1),
            *indent(state.merge(best, before), 1),
            _first(walk),
            *walk.at_elements([]),
            "for i in range(first, last):",
            *indent(_visit_and_store(walk, best, "i"), 1),
        ]
        return [*find_chunk(walk), *indent(lines, 1)]

    grid = Grid(total * chunks)
    return [
        (*walk.kernel("scan states" + row.form, [*shared, *row.extra], states), grid),
        (*walk.kernel("scan split", shared, results), grid),
    ]


def _group(walk: Walk) -> Kernel:
    state = walk.state
    best, other, carried = state.names("best"), state.names("other"), state.names("carried")

    def body() -> list[str]:
        own = walk.places("space", "line")
        return [
            *group_head(walk),
            *indent([_first(walk), *state.begin(carried)], 1),
            "    for ahead in range(0, size, width):",
            "        position_0 = ahead + line",
            *indent(state.begin(best), 2),
            "        if position_0 < size:",
            *indent(group_element(walk, best), 3),
            *indent(state.store(own, best), 2),
            "        barrier()",
            "        half = 1",
            "        while half < width:",
            *indent(state.begin(other), 3),
            "            if line >= half:",
            *indent(state.load(other, walk.places("space", "line - half")), 4),
            "            barrier()",
            *indent(state.merge(best, best, other), 3),
            *indent(state.store(own, best), 3),
            "            barrier()",
            "            half = half * 2",
            *indent(state.load(other, walk.places("space", "width - 1")), 2),
            "        barrier()",
            "        if position_0 < size:",
            *indent(state.merge(best, best, carried), 3),
            *indent(_store(walk, best, "position_0"), 3),
            *indent(state.merge(carried, other), 2),
        ]

    extra = [("total: int", numel(walk.extents.kept)), *_parameters(walk)]
    return *walk.kernel("group scan", extra, body, grouped=True), group_grid(walk)
