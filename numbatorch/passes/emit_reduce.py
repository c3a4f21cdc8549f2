"""Emit reductions: a prologue over the input, a state for each result, an epilogue over them.

On the CPU `rows` walks the elements of one result after the other, `columns` keeps states of a
block of neighbouring results where those lie closer in memory than the reduced elements, and
`split` shares the elements of few results among the team, in chunks that do not depend on its
size. On GPUs `rows` gives each result to a thread, and `group` to a group of threads.
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
    column_block,
    find_block,
    group_element,
    group_grid,
    group_head,
)
from numbatorch.passes.emit_text import indent
from numbatorch.passes.emit_walk import CHUNK, FEW, MANY, Walk
from numbatorch.passes.groups import Group, Load
from numbatorch.passes.target import Grid, Target
from numbatorch.shape import numel

FAR = 1024  # elements of a column that one state takes in
ROWS = 4  # that are taken into the states of columns at once
SHORT = 12  # statements of a row at most, to be written down for each of them


def reduction(
    target: Target,
    group: Group,
    operand: Callable[[Load], Any],
    writes: Sequence[tuple[Any, Layout, DType]],
    parts: int,
    scratch: Scratch,
) -> list[Kernel]:
    """Kernels, arguments and grids of a group whose core is a reduction."""
    walk = Walk(target, group, operand, writes)
    kept = numel(walk.extents.kept)
    if target.groups:
        alone = walk.size < FEW or (walk.extents.across and kept >= MANY)
        return [_rows(walk, parts, scratch) if alone else _group(walk)]
    if walk.extents.across:
        return [_columns(walk, parts, scratch)]
    if kept < FEW and walk.size >= 4 * CHUNK:
        return [_split(walk, parts, scratch)]
    return [_rows(walk, parts, scratch)]


def _rows(walk: Walk, parts: int, scratch: Scratch) -> Kernel:
    row = Row(walk, parts, scratch)

    def body() -> list[str]:
        names = walk.reduced_names()[:-1]
        counted = ["position_0 = 0"] if walk.state.needs_position() else []
        lines: list[str] = []
        for i, name in enumerate(names):
            lines += indent([f"for {name} in range(r{i}):"], i)
        lines += indent(walk.at_elements(names), len(names))
        lines += indent(row.stretch(f"r{walk.depth}", "position_0"), len(names))
        if counted:
            lines += indent([f"position_0 += r{walk.depth}"], len(names))
        return [
            *row.thread(),
            "lo, hi = share(total, part, parts)",
            "for result_number in range(lo, hi):",
            *indent([*walk.find_result(), *row.begin(), *counted, *lines, *row.end()], 1),
            *indent(walk.store_result(row.best, "size", "result_number"), 1),
        ]

    total = numel(walk.extents.kept)
    extra = [("total: int", total), ("size: int", walk.size), *row.extra]
    return *walk.kernel("rows" + row.form, extra, body), Grid(total)


def _columns(walk: Walk, parts: int, scratch: Scratch) -> Kernel:
    state, best = walk.state, walk.state.names("best")
    kept = walk.kept_names()
    block = column_block(walk, parts)

    def body() -> list[str]:
        places = walk.places("side", "i")
        counted = state.needs_position()
        whole = walk.places("whole", "i")
        return [
            *(f"{name} = {name} + part * block" for stem in stems for name in state.names(stem)),
            *find_block(walk, "block"),
            "    for i in range(count):",
            *indent(state.begin(places), 2),
            *(indent(state.begin(whole), 2) if far else []),
            *(["    position_0 = 0"] if counted else []),
            *(["    pending = 0"] if far else []),
            *indent(_down_columns(walk, far, counted), 1),
            "    for i in range(count):",
            f"        result_number = line * width + {kept[-1]} + i",
            *indent(state.load(best, places), 2),
            *(indent(_merged(walk, whole), 2) if far else []),
            *indent(walk.store_result(best, "size", "result_number"), 2),
        ]

    far = walk.size > FAR
    stems = ("side", "whole") if far else ("side",)
    extra = [*block_parameters(walk), ("size: int", walk.size), ("block: int", block)]
    for stem in stems:
        extra += [(text, scratch(parts * block * 8)) for text in walk.memory(stem)]
    form = "columns, far" if far else "columns"
    return *walk.kernel(form, extra, body), Grid(numel(walk.extents.kept))


def _down_columns(walk: Walk, far: bool, counted: bool) -> list[str]:
    """Statements that take all elements into the states of a block of columns, rows at a time.

    A state is read and written once for several rows where the statements of a row are few.
    """
    names = walk.reduced_names()
    at, size = names[-1], f"r{walk.depth}"
    together = ROWS if len(walk.visit(walk.state.names("best"), "i", "0", True)) <= SHORT else 1

    def rows(count: int) -> list[str]:
        return [
            *_take_rows(walk, count),
            *([f"position_0 += {count}"] if counted else []),
            *(_fold(walk, count) if far else []),
            f"{at} += {count}",
        ]

    lines = [f"{at} = 0"]
    for count in dict.fromkeys((together, 1)):
        lines += [f"while {at} + {count} <= {size}:", *indent(rows(count), 1)]
    for i, name in reversed(list(enumerate(names[:-1]))):
        lines = [f"for {name} in range(r{i}):", *indent(lines, 1)]
    return lines


def _take_rows(walk: Walk, count: int) -> list[str]:
    """Statements that take `count` rows, from the innermost index on, into a block of states."""
    state, best = walk.state, walk.state.names("best")
    *outer, at = walk.reduced_names()
    places = walk.places("side", "i")
    pointers = range(len(walk.extents.reduced_strides))
    starts, steps = [], []
    for row in range(count):
        starts += [*walk.at_elements([*outer, f"({at} + {row})"])]
        starts += [f"row{row}_{n} = pp{n}" for n in pointers]
        steps += [f"pp{n} = row{row}_{n}" for n in pointers]
        steps += walk.visit(best, "i", f"position_0 + {row}", along_kept=True)
    return [
        *starts,
        "for i in range(count):",
        *indent([*state.load(best, places), *steps, *state.store(places, best)], 1),
    ]


def _merged(walk: Walk, places: Sequence[str]) -> list[str]:
    """Statements that merge the states at these places into `best<w>`."""
    other = walk.state.names("other")
    return [*walk.state.load(other, places), *walk.state.merge(walk.state.names("best"), other)]


def _fold(walk: Walk, count: int) -> list[str]:
    """Statements after `count` elements: the states of FAR of them merge into those before.

    Roundings add up over as many elements as go into one state.
    """
    state, best = walk.state, walk.state.names("best")
    places, whole = walk.places("side", "i"), walk.places("whole", "i")
    return [
        f"pending += {count}",
        f"if pending >= {FAR}:",
        "    pending = 0",
        "    for i in range(count):",
        *indent(state.load(best, places), 2),
        *indent(_merged(walk, whole), 2),
        *indent(state.store(whole, best), 2),
        *indent(state.begin(places), 2),
    ]


def _split(walk: Walk, parts: int, scratch: Scratch) -> Kernel:
    state, other = walk.state, walk.state.names("other")
    row = Row(walk, parts, scratch)
    total = numel(walk.extents.kept)
    chunks = (walk.size + CHUNK - 1) // CHUNK

    def body() -> list[str]:
        return [
            *chunk_states(walk, row),
            "if atomic_add(counter, 0, 1) == parts - 1:",
            "    counter[0] = 0",
            "    for result_number in range(total):",
            *indent(state.begin(row.best), 2),
            "        for unit in range(result_number * chunks, (result_number + 1) * chunks):",
            *indent(state.load(other, walk.places("partial", "unit")), 3),
            *indent(state.merge(row.best, other), 3),
            *indent(walk.store_result(row.best, "size", "result_number"), 2),
        ]

    extra = [("total: int", total), ("chunks: int", chunks), ("size: int", walk.size)]
    extra += [('counter: Pointer["int64"]', scratch(16)), *row.extra]
    extra += [(text, scratch(total * chunks * 8)) for text in walk.memory("partial")]
    return *walk.kernel("split" + row.form, extra, body), Grid(total)


def _group(walk: Walk) -> Kernel:
    state = walk.state
    best, other = state.names("best"), state.names("other")

    def body() -> list[str]:
        own = walk.places("space", "line")
        return [
            *group_head(walk),
            *indent(state.begin(best), 1),
            "    for position_0 in range(line, size, width):",
            *indent(group_element(walk, best), 2),
            *indent(state.store(own, best), 1),
            "    barrier()",
            "    half = width // 2",
            "    while half > 0:",
            "        if line < half:",
            *indent(state.load(other, walk.places("space", "line + half")), 3),
            *indent(state.merge(best, other), 3),
            *indent(state.store(own, best), 3),
            "        barrier()",
            "        half = half // 2",
            "    if line == 0:",
            *indent(walk.store_result(best, "size", "result_number"), 2),
            "    barrier()",
        ]

    extra = [("total: int", numel(walk.extents.kept)), ("size: int", walk.size)]
    return *walk.kernel("group", extra, body, grouped=True), group_grid(walk)
