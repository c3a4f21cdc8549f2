"""Walk the elements that a reduction or a scan goes over: kept dimensions, then reduced ones.

A form, in emit_reduce.py or emit_scan.py, is a way to share that walk among threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from numbatorch.dtype import DType
from numbatorch.graph import Node, TupleNode
from numbatorch.language.kernel import EmittedKernel
from numbatorch.layout import Layout, collapse
from numbatorch.passes.emit_program import Program, make_program, stride_kind
from numbatorch.passes.emit_state import StateText
from numbatorch.passes.emit_text import fingerprint, header, indent, kernel_name
from numbatorch.passes.groups import Group, Load
from numbatorch.passes.target import Target
from numbatorch.shape import Shape, contiguous_strides, numel

BLOCK = 64  # states that a CPU thread keeps at a time, of neighbouring results or of one
CHUNK = 16384  # reduced elements that are one part where threads share them
# Results below which the reduced elements are shared; not a matter of the number of threads.
FEW = 32
GROUP = 256  # threads of a group at most
MAX_GROUPS = 65535  # groups of a launch; each takes several results beyond
MANY = 4096  # results that keep a GPU busy with a thread for each


@dataclass(eq=False)
class Extents:
    """Kept and reduced dimensions, each collapsed by themselves, and per access their strides.

    Attributes:
        places: strides of the results along the kept dimensions.
    """

    kept: Shape
    reduced: Shape
    places: Shape
    kept_strides: list[Shape]
    reduced_strides: list[Shape]

    @property
    def across(self) -> bool:
        """Whether neighbouring results lie closer together than the elements of one."""
        inner = [s[-1] for s in self.reduced_strides]
        outer = [s[-1] for s in self.kept_strides if s]
        return bool(self.kept) and sum(s == 1 for s in outer) > sum(s == 1 for s in inner)


def extents(core: Node, source: Program) -> Extents:
    """Those of a reduction with the prologue `source`."""
    dims = core.attrs["dims"]
    results = contiguous_strides(core.shape)
    shape = source.space
    kept_dims = [i for i in range(len(shape)) if i not in dims]
    strides = [a.layout.strides for a in source.accesses()]
    # Positions are one more stride to keep in step, so that they stay row-major.
    kept, (places, *kept_strides) = collapse(
        tuple(shape[i] for i in kept_dims),
        [tuple(s[i] for i in kept_dims) for s in (results, *strides)],
    )
    order = contiguous_strides(tuple(shape[i] for i in dims))
    reduced, (_, *reduced_strides) = collapse(
        tuple(shape[i] for i in dims), [order, *(tuple(s[i] for i in dims) for s in strides)]
    )
    if not reduced:
        reduced, reduced_strides = (1,), [(1,)] * len(strides)
    return Extents(kept, reduced, places, kept_strides, reduced_strides)


class Walk:
    """The parts of which kernels over the elements of a group's core are put together.

    Text names the pointers of the prologue `b<n>` at a result, `pp<n>` in a row of elements; the
    reduced dimensions have the sizes `r<i>` and the indices `j<i>`, the kept ones `k<i>`, `i<i>`.
    """

    def __init__(
        self,
        target: Target,
        group: Group,
        operand: Callable[[Load], Any],
        writes: Sequence[tuple[Any, Layout, DType]],
    ) -> None:
        core = group.core
        assert core is not None
        assert group.prologue is not None
        self.target = target
        self.group = group
        self.core = core
        shape = core.inputs[0].shape
        self.source = make_program(target, "p", [group.prologue], shape, operand, [], {}, ())
        whole = Layout.contiguous(group.space)
        cores = group.outputs if isinstance(core, TupleNode) else [core]
        results = group.results or [Load(node, whole, node.dtype) for node in cores]
        layouts = [(a, whole, d) for a, _l, d in writes]
        self.after = make_program(target, "e", results, group.space, operand, layouts, {}, cores)
        self.state = StateText(target, core)
        self.extents = extents(core, self.source)
        self.size = numel(self.extents.reduced)
        self.depth = len(self.extents.reduced) - 1

    def kernel(
        self,
        form: str,
        extra: Sequence[tuple[str, Any]],
        body: Callable[[], list[str]],
        grouped: bool = False,
    ) -> tuple[EmittedKernel, list[Any]]:
        """A kernel and its arguments.

        Args:
            form: names the kind of kernel.
            extra: parameters of the form, as text, and their values: integers or memory.
            body: gives the statements.
            grouped: whether the threads of a group share a result.
        """
        names, signature, values = self._source_parameters()
        sizes = self._sizes()
        parameters = [
            *names,
            *self.after.parameters(),
            *(f"{name}: int" for name in sizes),
            *self.state.parameters(),
            *(text for text, _value in extra),
            *([] if grouped else ["part: int", "parts: int"]),
        ]
        kinds = ["int" if isinstance(value, int) else "pointer" for _text, value in extra]

        def text() -> str:
            lines = header(kernel_name(self.group), self.group)
            if grouped:
                words = "barrier, group, groups, shared, thread, threads"
                lines.insert(-2, f"from numbatorch.language.groups import {words}")
            start = f"def kernel({', '.join(parameters)}) -> None:"
            return "\n".join([*lines, start, *indent(body(), 1), ""])

        spec = EmittedKernel(
            kernel_name(self.group),
            ("reduce", self.target.name, fingerprint(), form, self.core.op.name, self._key()),
            [
                *signature,
                *self.after.signature(),
                *["int"] * len(sizes),
                *self.state.signature(),
                *kinds,
            ],
            text,
        )
        arguments = [
            *values,
            *self.after.arguments(),
            *sizes.values(),
            *self.state.arguments(),
            *(value for _text, value in extra),
        ]
        return spec, arguments

    def _key(self) -> str:
        found = self.extents
        rows = zip(self.source.accesses(), found.kept_strides, found.reduced_strides, strict=True)
        kinds = [f"{_kind(kept, a.words)},{_kind(reduced, a.words)}" for a, kept, reduced in rows]
        ranks = f"{len(self.extents.kept)},{len(self.extents.reduced)}"
        element = self.state.element.name
        rest = (self.state.key(), self.source.key(), self.after.key())
        return "|".join((ranks, repr(kinds), element, *rest))

    def _sizes(self) -> dict[str, int]:
        kept, reduced = self.extents.kept, self.extents.reduced
        out = {f"k{i}": n for i, n in enumerate(kept) if i > 0}
        out |= {f"r{i}": n for i, n in enumerate(reduced)}
        pairs = (("K", self.extents.kept_strides), ("R", self.extents.reduced_strides))
        for number in range(len(self.extents.kept_strides)):
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

    def kept_names(self) -> list[str]:
        """Indices of the kept dimensions."""
        return [f"i{i}" for i in range(len(self.extents.kept))]

    def reduced_names(self) -> list[str]:
        """Indices of the reduced dimensions."""
        return [f"j{i}" for i in range(len(self.extents.reduced))]

    def split_number(self, number: str, names: Sequence[str], letter: str, sizes: str) -> list[str]:
        """Split a row-major number into one index per dimension."""
        lines = []
        rest = number
        for i in reversed(range(1, len(names))):
            lines += [f"{names[i]} = {rest} % {sizes}{i}", f"{letter}q{i} = {rest} // {sizes}{i}"]
            rest = f"{letter}q{i}"
        if names:
            lines.append(f"{names[0]} = {rest}")
        return lines

    def at_result(self, names: Sequence[str]) -> list[str]:
        """Statements that put `b<n>` at the result with these indices."""
        lines = []
        for number, access in enumerate(self.source.accesses()):
            terms = [f"{name} * K{number}_{i}" for i, name in enumerate(names)]
            start = f"{access.name}_at" if access.iota else access.name
            lines.append(f"b{number} = {start} + ({' + '.join(terms) or '0'})")
        return lines

    def find_result(self, number: str = "result_number") -> list[str]:
        """Statements that put `b<n>` at the result of this row-major number."""
        names = self.kept_names()
        return [*self.split_number(number, names, "k", "k"), *self.at_result(names)]

    def at_elements(self, names: Sequence[str]) -> list[str]:
        """Statements that put `pp<n>` at the elements with these indices, the outermost first."""
        lines = []
        for number in range(len(self.extents.reduced_strides)):
            terms = [f"{name} * R{number}_{i}" for i, name in enumerate(names)]
            lines.append(f"pp{number} = b{number} + ({' + '.join(terms) or '0'})")
        return lines

    def element(self, index: str, along_kept: bool = False) -> tuple[list[str], str]:
        """Statements that compute the prologue at an index of the innermost dimension."""
        letter = "K" if along_kept else "R"
        strides = self.extents.kept_strides if along_kept else self.extents.reduced_strides
        last = len(self.extents.kept if along_kept else self.extents.reduced) - 1
        for number, access in enumerate(self.source.accesses()):
            access.strides = strides[number][-1:]
            access.step = f"{letter}{number}_{last}"
        lines, (value,) = self.source.body(index)
        return lines, value

    def visit(
        self,
        words: Sequence[str],
        index: str,
        position: str,
        along_kept: bool = False,
        ordered: bool = False,
    ) -> list[str]:
        """Statements that take the element at `index` into the words of a state.

        Neighbouring results are each in order: which of them share a vector, and which are left
        over, depends on how many threads there are.
        """
        lines, value = self.element(index, along_kept)
        return [*lines, *self.state.step(words, value, position, ordered or along_kept)]

    def store_result(self, words: Sequence[str], count: str, number: str) -> list[str]:
        """Statements that finish a state, then epilogue and stores of result number `number`."""
        lines, finished = self.state.finish(words, count)
        last = len(self.after.sizes) - 1
        if last:
            lines += [f"row = {number} // en{last}", f"start = {number} - row * en{last}"]
        else:
            lines.append(f"start = {number}")
        lines += self.after.row_lines("row", "start")
        body, results = self.after.body("0", finished)
        return [*lines, *body, *self.after.stores("0", results)]

    def memory(self, stem: str) -> list[str]:
        """Text of parameters that point to states."""
        names = self.state.names(stem)
        return [
            f'{name}: Pointer["{word.name}"]'
            for name, word in zip(names, self.state.words, strict=True)
        ]

    def places(self, stem: str, index: str) -> list[str]:
        """Where the words of a state stand in memory."""
        return [f"{name}[{index}]" for name in self.state.names(stem)]


def _kind(strides: Shape, words: int) -> str:
    return "-" if not strides else stride_kind(strides[-1], words)
