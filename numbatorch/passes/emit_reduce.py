"""Emit reductions: a prologue over the input, an accumulator, an epilogue over the result.

On the CPU there are three forms: `rows` walks the reduced elements of one result after the other,
`columns` keeps a block of neighbouring results where those lie closer in memory than the reduced
elements, `split` shares the reduced elements of few results among the team, in chunks that do not
depend on its size. On GPUs `rows` gives each result to a thread, and `group` to a group of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.language.kernel import EmittedKernel
from numbatorch.layout import Layout, collapse
from numbatorch.ops.reduction import Reduction
from numbatorch.passes.emit_program import Program, is_narrow, make_program
from numbatorch.passes.emit_text import fingerprint, header, indent, kernel_name
from numbatorch.passes.groups import Group, Load
from numbatorch.passes.target import Grid, Target
from numbatorch.shape import Shape, contiguous_strides, numel

BLOCK = 64  # results that `columns` keeps at a time
CHUNK = 16384  # reduced elements that one part of `split` takes at a time
# Results below which the reduced elements are shared; not a matter of the number of threads.
FEW = 32
GROUP = 256  # threads of a group at most
MAX_GROUPS = 65535  # groups of a launch; each takes several results beyond
MANY = 4096  # results that keep a GPU busy with a thread for each


@dataclass(eq=False)
class Plan:
    """A reduction's iteration: kept dimensions, then reduced ones, each collapsed by itself."""

    form: str
    kept: Shape
    reduced: Shape
    kept_strides: list[Shape]
    reduced_strides: list[Shape]


def reduction(
    target: Target,
    group: Group,
    operand: Callable[[Node, Layout], Any],
    writes: Sequence[tuple[Any, Layout, DType]],
    parts: int,
    scratch: Callable[[int], Any],
) -> tuple[EmittedKernel, list[Any], Grid]:
    """Kernel, arguments and grid of a group whose core is a reduction."""
    core = group.core
    assert core is not None
    assert group.prologue is not None
    source = make_program(
        target, "p", [group.prologue], core.inputs[0].shape, operand, [], {}, None
    )
    results = group.results or [Load(core, Layout.contiguous(group.space))]
    layouts = [(a, Layout.contiguous(group.space), d) for a, _l, d in writes]
    after = make_program(target, "e", results, group.space, operand, layouts, {}, core)
    plan = _plan(core, source)
    writer = _Writer(group, core, source, after, plan)
    extra = [numel(plan.kept) if plan.form != "columns" else numel(plan.kept[:-1])]
    if plan.form == "columns":
        extra = [extra[0], plan.kept[-1], scratch(parts * BLOCK * 8)]
    if plan.form == "split":
        chunks = (numel(plan.reduced) + CHUNK - 1) // CHUNK
        extra = [extra[0], chunks, scratch((extra[0] * chunks + 2) * 8)]
    spec = EmittedKernel(
        kernel_name(group),
        ("reduce", target.name, fingerprint(), plan.form, core.op.name, writer.key()),
        writer.signature(),
        writer.text,
    )
    return spec, [*writer.arguments(), *extra], _grid(plan)


def _grid(plan: Plan) -> Grid:
    """Threads for each result: one, or a group of them with a few elements each at least."""
    results, elements = numel(plan.kept), numel(plan.reduced)
    if plan.form != "group":
        return Grid(results)
    threads = 32
    while threads < min(GROUP, elements // 4):
        threads *= 2
    return Grid(groups=min(results, MAX_GROUPS), threads=threads)


def _plan(core: Node, source: Program) -> Plan:
    dims = core.attrs["dims"]
    shape = source.space
    kept_dims = [i for i in range(len(shape)) if i not in dims]
    strides = [a.layout.strides for a in source.accesses()]
    # The position of a result is one more stride to keep in step, so that it stays row-major.
    kept_shape = tuple(shape[i] for i in kept_dims)
    position = contiguous_strides(kept_shape)
    kept, kept_strides = collapse(
        kept_shape, [position, *(tuple(s[i] for i in kept_dims) for s in strides)]
    )
    order = contiguous_strides(tuple(shape[i] for i in dims))
    reduced, reduced_strides = collapse(
        tuple(shape[i] for i in dims), [order, *(tuple(s[i] for i in dims) for s in strides)]
    )
    selects = isinstance(core.op, Reduction) and core.op.selects
    inner = [s[-1] for s in reduced_strides[1:] if s]
    outer = [s[-1] for s in kept_strides[1:] if s]
    form = "rows"
    across = bool(kept) and sum(s == 1 for s in outer) > sum(s == 1 for s in inner)
    if source.target.groups:
        alone = numel(reduced) < FEW or (across and numel(kept) >= MANY)
        form = "rows" if alone else "group"
    elif not selects and across:
        form = "columns"
    elif not selects and numel(kept) < FEW and numel(reduced) >= 4 * CHUNK:
        form = "split"
    return Plan(form, kept, reduced, kept_strides[1:], reduced_strides[1:])


@dataclass(eq=False)
class _Writer:
    group: Group
    core: Node
    source: Program
    after: Program
    plan: Plan

    @property
    def op(self) -> Reduction:
        """The reduction."""
        assert isinstance(self.core.op, Reduction)
        return self.core.op

    @property
    def element(self) -> DType:
        """What is compared or combined: the accumulator's dtype, or the input's for argmax."""
        x = self.core.inputs[0].dtype
        kept = x if self.op.selects else self.op.accumulator(x)
        return dt.uint8 if kept is dt.bool_ else kept.compute

    def key(self) -> str:
        """All that the text depends on."""
        kinds = [
            f"{_kind(k)}{_kind(r)}"
            for k, r in zip(self.plan.kept_strides, self.plan.reduced_strides, strict=True)
        ]
        ranks = f"{len(self.plan.kept)},{len(self.plan.reduced)}"
        x = self.core.inputs[0].dtype.name
        combine = self.op.combine
        return f"{ranks}|{kinds}|{x}|{combine}|{self.source.key()}|{self.after.key()}"

    def _sizes(self) -> dict[str, int]:
        out = {f"k{i}": n for i, n in enumerate(self.plan.kept) if i > 0}
        out |= {f"r{i}": n for i, n in enumerate(self.plan.reduced)}
        if not self.plan.reduced:
            out["r0"] = 1
        for number in range(len(self.plan.kept_strides)):
            pairs = (("K", self.plan.kept_strides), ("R", self.plan.reduced_strides))
            for letter, strides in pairs:
                out |= {f"{letter}{number}_{i}": s for i, s in enumerate(strides[number])}
        return out

    def _source_parameters(self) -> tuple[list[str], list[str], list[Any]]:
        """Text, words and values of the prologue's pointers and scalars."""
        count = len(self.source.integers())
        keep = slice(0, len(self.source.parameters()) - count)
        at = {f"{a.name}_at": a.layout.offset for a in self.source.accesses() if a.iota}
        return (
            self.source.parameters()[keep] + [f"{name}: int" for name in at],
            self.source.signature()[keep] + ["int"] * len(at),
            self.source.arguments()[keep] + list(at.values()),
        )

    def _extra(self) -> list[str]:
        accumulator = f'acc: Pointer["{self.element.name}"]'
        return {
            "rows": ["total: int"],
            "group": ["total: int"],
            "columns": ["total: int", "width: int", accumulator],
            "split": ["total: int", "chunks: int", accumulator],
        }[self.plan.form]

    def signature(self) -> list[str]:
        """Words of the parameters."""
        words = ["pointer" if "Pointer" in p else "int" for p in self._extra()]
        sizes = ["int"] * len(self._sizes())
        return [*self._source_parameters()[1], *self.after.signature(), *sizes, *words]

    def arguments(self) -> list[Any]:
        """Values of the parameters but for the form's own."""
        sizes = list(self._sizes().values())
        return [*self._source_parameters()[2], *self.after.arguments(), *sizes]

    def text(self) -> str:
        """The kernel's module."""
        parameters = [
            *self._source_parameters()[0],
            *self.after.parameters(),
            *(f"{name}: int" for name in self._sizes()),
            *self._extra(),
            *([] if self.plan.form == "group" else ["part: int", "parts: int"]),
        ]
        body = {
            "rows": self._rows,
            "columns": self._columns,
            "split": self._split,
            "group": self._grouped,
        }
        lines = header(kernel_name(self.group), self.group)
        if self.plan.form == "split":
            lines.insert(-2, "from numbatorch.language.primitives import atomic_add")
            lines.insert(-2, "from numbatorch.language.kernel import view")
        if self.plan.form == "group":
            words = "barrier, group, groups, shared, thread, threads"
            lines.insert(-2, f"from numbatorch.language.groups import {words}")
        start = f"def kernel({', '.join(parameters)}) -> None:"
        return "\n".join([*lines, start, *indent(body[self.plan.form](), 1), ""])

    def _identity(self) -> str:
        """The first accumulator; for max and min the value that any other replaces."""
        dtype = self.element
        value = self.op.identity(self.core.inputs[0].dtype)
        if value is None:
            low = "max" in self.op.name
            if dtype.kind == "f":
                return f"{dtype.name}({'-inf' if low else 'inf'})"
            info = np.iinfo(dtype.numpy)
            value = info.min if low else info.max
        return f"{dtype.name}({value})"

    def _offsets(self, letter: str, index: Sequence[str]) -> list[str]:
        """Per access, the text of its offset from index names along kept or reduced dimensions."""
        out = []
        for number in range(len(self.plan.kept_strides)):
            terms = [f"{name} * {letter}{number}_{i}" for i, name in enumerate(index)]
            out.append(" + ".join(terms) or "0")
        return out

    def _place(self, row: str, names: list[str], letter: str, sizes: str) -> list[str]:
        """Split the row-major number `row` into one index per dimension."""
        lines = []
        rest = row
        for i in reversed(range(1, len(names))):
            lines += [f"{names[i]} = {rest} % {sizes}{i}", f"{letter}q{i} = {rest} // {sizes}{i}"]
            rest = f"{letter}q{i}"
        if names:
            lines.append(f"{names[0]} = {rest}")
        return lines

    def _bases(self, offsets: Sequence[str], prefix: str, base: str) -> list[str]:
        lines = []
        for number, (access, text) in enumerate(zip(self.source.accesses(), offsets, strict=True)):
            start = base or (f"{access.name}_at" if access.iota else access.name)
            name = start if not base else f"{base}{number}"
            lines.append(f"{prefix}{number} = {name} + ({text})")
        return lines

    def _inner_kinds(self, strides: list[Shape], letter: str) -> None:
        """Let the prologue read along the innermost of these dimensions."""
        last = len(strides[0]) - 1 if strides else 0
        for number, access in enumerate(self.source.accesses()):
            access.strides = strides[number][last:] or (1,)
            self._names[number] = f"{letter}{number}_{last}"

    def _step(self, strides: list[Shape], letter: str, index: str) -> tuple[list[str], str]:
        """Statements that compute the prologue at `index` of the innermost dimension."""
        self._names: dict[int, str] = {}
        self._inner_kinds(strides, letter)
        lines, (value,) = self.source.body(index)
        for number, name in self._names.items():
            old = f"ps{number}_i"
            lines = [line.replace(old, name) for line in lines]
        return lines, f"{self.element.name}({value})"

    def _combined(self, value: str, acc: str = "best") -> list[str]:
        if not self.op.selects:
            combine = self.op.combine
            if self.element.kind != "f":
                combine = _INTEGER_COMBINE.get(combine, combine)
            return [f"{acc} = {combine.format(acc=acc, x=value)}"]
        test = self.op.combine if self.element.kind == "f" else self.op.combine.split(" | ")[0]
        return [
            f"x = {value}",
            f"better = {test.format(acc=acc, x='x')}",
            "at = select(better, position, at)",
            f"{acc} = select(better, x, {acc})",
        ]

    def _merged(self) -> list[str]:
        """Statements that combine this thread's `best` with that of the thread `half` further."""
        if not self.op.selects:
            return [*self._combined("space[line + half]"), "space[line] = best"]
        test = self.op.combine if self.element.kind == "f" else self.op.combine.split(" | ")[0]
        return [
            "x = space[line + half]",
            f"better = {test.format(acc='best', x='x')}",
            f"worse = {test.format(acc='x', x='best')}",
            "other = places[line + half]",
            "if better or (not worse and other < at):",
            "    best = x",
            "    at = other",
            "space[line] = best",
            "places[line] = at",
        ]

    def _reduce_lines(self, combine_in: str = "best") -> list[str]:
        """Loops over all reduced elements of one result."""
        reduced = self.plan.reduced or (1,)
        strides = self.plan.reduced_strides if self.plan.reduced else _units(self.plan)
        names = [f"j{i}" for i in range(len(reduced))]
        lines = []
        for i, name in enumerate(names[:-1]):
            lines += indent([f"for {name} in range(r{i}):"], i)
        depth = len(names) - 1
        offsets = self._offsets("R", names[:-1]) if depth else ["0"] * len(strides)
        lines += indent(self._bases(offsets, "pp", "b"), depth)
        step, value = self._step(strides, "R", "i")
        lines += indent([f"for i in range(r{depth}):"], depth)
        count = ["position += 1"] if self.op.selects else []
        return lines + indent([*step, *self._combined(value, combine_in), *count], depth + 1)

    def _finish(self, value: str, index: str) -> list[str]:
        """Epilogue and stores of result number `index`."""
        dtype = dt.int64 if self.op.selects else self.element
        held = self.core.dtype.compute
        lines = []
        if held is dt.bool_:
            lines.append(f"result = {value} != 0")
        elif is_narrow(self.core.dtype):
            lines.append(f"result = round_{self.core.dtype.name}({value})")
        else:
            lines.append(f"result = {value}" if held is dtype else f"result = {held.name}({value})")
        last = len(self.after.sizes) - 1
        if last:
            lines += [f"row = {index} // en{last}", f"start = {index} - row * en{last}"]
        else:
            lines.append(f"start = {index}")
        lines += self.after.row_lines("row", "start")
        body, results = self.after.body("0", ("result", held))
        return [*lines, *body, *self.after.stores("0", results)]

    def _begin(self) -> list[str]:
        lines = [f"best = {self._identity()}"]
        if self.op.selects:
            lines += ["at = int64(0)", "position = int64(0)"]
        return lines

    def _grouped(self) -> list[str]:
        kept = [f"i{i}" for i in range(len(self.plan.kept))]
        reduced = self.plan.reduced or (1,)
        names = [*(f"j{i}" for i in range(len(reduced) - 1)), "i"]
        outer = names[:-1]
        offsets = self._offsets("R", outer) if outer else ["0"] * len(self.plan.kept_strides)
        step, value = self._step(self.plan.reduced_strides, "R", "i")
        space = [f"space = shared({self.element.name}, {GROUP})"]
        stored = ["space[line] = best"]
        if self.op.selects:
            space.append(f"places = shared(int64, {GROUP})")
            stored.append("places[line] = at")
        return [
            *space,
            "line = thread()",
            "width = threads()",
            f"size = {' * '.join(f'r{i}' for i in range(len(names)))}",
            "for result_number in range(group(), total, groups()):",
            *indent(self._place("result_number", kept, "k", "k"), 1),
            *indent(self._bases(self._offsets("K", kept), "b", ""), 1),
            *indent(self._begin()[:2], 1),
            "    for position in range(line, size, width):",
            *indent(self._place("position", names, "j", "r"), 2),
            *indent(self._bases(offsets, "pp", "b"), 2),
            *indent([*step, *self._combined(value)], 2),
            *indent(stored, 1),
            "    barrier()",
            "    half = width // 2",
            "    while half > 0:",
            "        if line < half:",
            *indent(self._merged(), 3),
            "        barrier()",
            "        half = half // 2",
            "    if line == 0:",
            *indent(self._finish("at" if self.op.selects else "best", "result_number"), 2),
            "    barrier()",
        ]

    def _rows(self) -> list[str]:
        kept = [f"i{i}" for i in range(len(self.plan.kept))]
        loop = [
            *self._place("result_number", kept, "k", "k"),
            *self._bases(self._offsets("K", kept), "b", ""),
            *self._begin(),
            *self._reduce_lines(),
            *self._finish("at" if self.op.selects else "best", "result_number"),
        ]
        head = ["lo, hi = share(total, part, parts)", "for result_number in range(lo, hi):"]
        return [*head, *indent(loop, 1)]

    def _columns(self) -> list[str]:
        kept = [f"i{i}" for i in range(len(self.plan.kept))]
        reduced = self.plan.reduced or (1,)
        names = [f"j{i}" for i in range(len(reduced))]
        inner = len(reduced)
        step, value = self._step(self.plan.kept_strides, "K", "i")
        offsets = self._offsets("R", names) if self.plan.reduced else ["0"] * len(_units(self.plan))
        lines = []
        for i, name in enumerate(names):
            lines += indent([f"for {name} in range(r{i}):"], i)
        lines += indent(self._bases(offsets, "pp", "b"), inner)
        lines += indent(["for i in range(count):"], inner)
        lines += indent([*step, *self._combined(value, "acc[i]")], inner + 1)
        last = kept[-1]
        return [
            f"acc = acc + part * {BLOCK}",
            f"blocks = (width + {BLOCK - 1}) // {BLOCK}",
            "lo, hi = share(total * blocks, part, parts)",
            "for unit in range(lo, hi):",
            "    line = unit // blocks",
            f"    {last} = (unit - line * blocks) * {BLOCK}",
            f"    count = min(width - {last}, {BLOCK})",
            *indent(self._place("line", kept[:-1], "k", "k"), 1),
            *indent(self._bases(self._offsets("K", kept), "b", ""), 1),
            "    for i in range(count):",
            f"        acc[i] = {self._identity()}",
            *indent(lines, 1),
            "    for i in range(count):",
            f"        result_number = line * width + {last} + i",
            *indent(self._finish("acc[i]", "result_number"), 2),
        ]

    def _split(self) -> list[str]:
        kept = [f"i{i}" for i in range(len(self.plan.kept))]
        names = [f"j{i}" for i in range(len(self.plan.reduced))]
        depth = len(names) - 1
        step, value = self._step(self.plan.reduced_strides, "R", "i")
        size = " * ".join(f"r{i}" for i in range(len(names)))
        return [
            f"size = {size}",
            "lo, hi = share(total * chunks, part, parts)",
            "for unit in range(lo, hi):",
            "    result_number = unit // chunks",
            f"    first = (unit - result_number * chunks) * {CHUNK}",
            f"    last = min(first + {CHUNK}, size)",
            *indent(self._place("result_number", kept, "k", "k"), 1),
            *indent(self._bases(self._offsets("K", kept), "b", ""), 1),
            *indent(self._begin(), 1),
            "    while first < last:",
            f"        line = first // r{depth}",
            f"        {names[-1]} = first - line * r{depth}",
            f"        count = min(r{depth} - {names[-1]}, last - first)",
            *indent(self._place("line", names[:-1], "j", "r"), 2),
            *indent(self._bases(self._offsets("R", names), "pp", "b"), 2),
            "        for i in range(count):",
            *indent([*step, *self._combined(value)], 3),
            "        first += count",
            "    acc[unit + 2] = best",
            "counter = view(acc, int64)",
            "if atomic_add(counter, 0, 1) == parts - 1:",
            "    counter[0] = 0",
            "    for result_number in range(total):",
            *indent(self._begin(), 2),
            "        for chunk in range(chunks):",
            *indent(self._combined("acc[result_number * chunks + chunk + 2]"), 3),
            *indent(self._finish("best", "result_number"), 2),
        ]


_INTEGER_COMBINE = {
    "add_reassoc({acc}, {x})": "{acc} + {x}",
    "maximum({acc}, {x})": "max({acc}, {x})",
    "minimum({acc}, {x})": "min({acc}, {x})",
}


def _units(plan: Plan) -> list[Shape]:
    return [(1,)] * len(plan.kept_strides)


def _kind(strides: Shape) -> str:
    return "-" if not strides else {1: "c", 0: "b"}.get(strides[-1], "s")
