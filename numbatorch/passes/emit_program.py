"""The elementwise part of a kernel: its pointers, scalars and terms, with their key and text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.language.kernel import function_digest
from numbatorch.layout import Layout, collapse
from numbatorch.ops.registry import Elementwise
from numbatorch.ops.scalar_program import Pair, Value, print_numba
from numbatorch.passes.emit_text import indent
from numbatorch.passes.groups import Apply, Load, Number, Term, sorted_terms
from numbatorch.passes.target import Target
from numbatorch.shape import Shape
from numbatorch.variable import is_variable

if TYPE_CHECKING:
    from numbatorch.ops.scalar_reader import Builder

# Constants that are printed as literals; all others are arguments, so that a new learning rate
# does not compile a new kernel.
LITERALS = (0, 1, -1, 2, 0.5)


# Strides that are printed as literals, because LLVM makes vectors and shuffles of such loads.
SHUFFLED = (-1, 2, 3, 4)


def stride_kind(stride: int, words: int) -> str:
    """c: consecutive, b: one value for the whole row, a multiple of c in `SHUFFLED`, s: strided."""
    if stride == words:
        return "c"
    if stride == 0:
        return "b"
    return next((str(n) for n in SHUFFLED if stride == n * words), "s")


@dataclass(eq=False)
class Access:
    """A pointer of the kernel, read or written at one place of the iteration space.

    Attributes:
        name: of the parameter.
        dtype: of the elements.
        layout: over the space; of complex numbers in units of their parts.
        operand: the argument that it becomes; None for iota.
        strides: of the collapsed space, outermost first.
        parameter: False for iota, which has no pointer.
        step: name of the innermost stride where it is not an argument of the program.
        beside: how many numbers after the first write this one lies, between whose elements it
            writes, through one pointer; else 0.
    """

    name: str
    dtype: DType
    layout: Layout
    operand: Any
    strides: Shape = ()
    parameter: bool = True
    iota: bool = False
    step: str = ""
    beside: int = 0

    @property
    def kind(self) -> str:
        """How the elements of a row lie: see `stride_kind`."""
        return stride_kind(self.strides[-1], self.words)

    @property
    def words(self) -> int:
        """Numbers in an element: 2 of a complex one."""
        return 2 if self.dtype.is_complex else 1


@dataclass(eq=False)
class Program:
    """The elementwise part of a kernel: accesses, scalars and terms, with their text.

    Attributes:
        stem: prefix of the names, so that two programs can share a kernel.
        reads: by term.
        scalars: (name, dtype, value) of constants and attributes that are arguments.
    """

    target: Target
    stem: str
    roots: Sequence[Term]
    space: Shape
    writes: list[Access] = field(default_factory=list)
    reads: dict[int, Access] = field(default_factory=dict)
    scalars: list[tuple[str, DType, Any]] = field(default_factory=list)
    sizes: Shape = ()
    given: dict[tuple[int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.terms = sorted_terms(self.roots)
        self._attributes: dict[tuple[int, str], str] = {}
        self._cores: dict[Node, int] = {}

    def bind(
        self,
        operand: Callable[[Load], Any],
        shared: dict[Node, str],
        cores: Sequence[Node],
    ) -> None:
        """Give every load its access: a pointer, an output read in place, or an index.

        Args:
            operand: the argument for what a load reads.
            shared: nodes whose memory is that of an output, by the output's name.
            cores: nodes whose values the kernel already holds.
        """
        self._cores = {node: number for number, node in enumerate(cores)}
        for term in self.terms:
            if isinstance(term, Load) and term.node not in self._cores:
                self._bind_load(term, operand, shared)
            elif isinstance(term, Number):
                self._bind_number(term)
            elif isinstance(term, Apply):
                self._bind_attributes(term)

    def _bind_load(
        self, term: Load, operand: Callable[[Load], Any], shared: dict[Node, str]
    ) -> None:
        name = f"{self.stem}x{len(self.reads)}"
        dtype = term.dtype
        if term.computes:
            access = Access(name, dtype, term.layout, None, parameter=False, iota=True)
        elif term.node in shared:
            access = next(a for a in self.writes if a.name == shared[term.node])
        else:
            places = _in_words(term.layout, dtype)
            access = Access(name, dtype, places, operand(term))
        self.reads[id(term)] = access

    def _bind_number(self, term: Number) -> None:
        for part, value in enumerate(_parts(term)):
            if not is_variable(value) and (value in LITERALS or isinstance(value, bool)):
                continue
            name = f"{self.stem}c{len(self.scalars)}"
            self.given[id(term), part] = name
            self.scalars.append((name, term.node.dtype.part, value))

    def _bind_attributes(self, term: Apply) -> None:
        for key, value in term.node.attrs.items():
            if is_number(value):
                name = f"{self.stem}c{len(self.scalars)}"
                self._attributes[id(term), key] = name
                self.scalars.append((name, self._argument_dtype(isinstance(value, float)), value))

    def accesses(self) -> list[Access]:
        """Writes, then reads; a read of an output in place is that write's access."""
        return [*self.writes, *(a for a in self.reads.values() if a not in self.writes)]

    def collapse(self) -> None:
        """Merge the dimensions of the space that all accesses walk as one."""
        found = self.accesses()
        sizes, strides = collapse(self.space, [a.layout.strides for a in found])
        if not sizes:
            sizes, strides = (1,), [(1,)] * len(found)
        self.sizes = sizes
        for access, stride in zip(found, strides, strict=True):
            access.strides = stride
        for access in self.writes[1:]:
            self._join(access, self.writes[0])

    def _join(self, access: Access, first: Access) -> None:
        """Write through the pointer of the first where elements of both take turns in memory.

        Of one pointer LLVM knows that the stores are side by side, and makes vectors of them.
        """
        distance = access.layout.offset - first.layout.offset
        step = first.strides[-1]
        if access.operand.buffer is first.operand.buffer and access.strides == first.strides:
            if first.words <= distance < step and access.dtype is first.dtype:
                access.beside, access.parameter = distance, False

    def key(self) -> str:
        """All that the text depends on."""
        number = {id(t): i for i, t in enumerate(self.terms)}
        rows = [f"rank{len(self.sizes)}"]
        rows += [f"{a.name}:{a.dtype.name}:{a.kind}:{a.beside}" for a in self.writes]
        for term in self.terms:
            rows.append(self._term_key(term, number))
        rows.append(",".join(str(number[id(r)]) for r in self.roots))
        return ";".join(rows)

    def _term_key(self, term: Term, number: dict[int, int]) -> str:
        if isinstance(term, Number):
            texts = (self.given.get((id(term), i)) or repr(v) for i, v in enumerate(_parts(term)))
            return f"{','.join(texts)}:{term.node.dtype.name}"
        if isinstance(term, Load):
            access = self.reads.get(id(term))
            if access is None:
                return f"core{self._cores[term.node]}:{term.node.dtype.name}"
            return f"{access.name}:{access.dtype.name}:{access.kind}:{access.iota:d}"
        op = term.node.op
        assert isinstance(op, Elementwise)
        attrs = [
            f"{k}={self._attributes.get((id(term), k), v)}" for k, v in term.node.attrs.items()
        ]
        operands = ",".join(str(number[id(t)]) for t in term.terms)
        return (
            f"{op.name}:{function_digest(op.function)}:{term.node.dtype.name}({operands}|{attrs})"
        )

    def parameters(self) -> list[str]:
        """Text of the parameters, in the order of `arguments`."""
        out = [f'{a.name}: Pointer["{a.dtype.part.name}"]' for a in self.accesses() if a.parameter]
        out += [f"{name}: {scalar_word(dtype)}" for name, dtype, _value in self.scalars]
        out += [f"{name}: int" for name in self.integers()]
        return out

    def signature(self) -> list[str]:
        """Words of the parameters."""
        out = ["pointer" for a in self.accesses() if a.parameter]
        out += [scalar_word(dtype) for _name, dtype, _value in self.scalars]
        return out + ["int"] * len(self.integers())

    def arguments(self) -> list[Any]:
        """Values of the parameters."""
        out: list[Any] = [a.operand for a in self.accesses() if a.parameter]
        out += [scalar_argument(value, dtype) for _name, dtype, value in self.scalars]
        return [*out, *self.integers().values()]

    def integers(self) -> dict[str, int]:
        """Sizes and strides by parameter name; sizes from the second dimension on."""
        s = self.stem
        out = {f"{s}n{i}": size for i, size in enumerate(self.sizes) if i > 0}
        for number, access in enumerate(self.accesses()):
            if access.beside:
                continue
            for i, stride in enumerate(access.strides[:-1]):
                out[f"{s}s{number}_{i}"] = stride
            if access.kind == "s":
                out[f"{s}s{number}_i"] = access.strides[-1]
            if access.iota:
                out[f"{access.name}_at"] = access.layout.offset
        return out

    def row_lines(self, row: str, start: str) -> list[str]:
        """Statements that set each access's position in row `row`, element `start`."""
        return [*self.index_lines(row), *self.position_lines(start)]

    def next_row_lines(self) -> list[str]:
        """Statements that set the indices of the next row; dividing for each would cost more."""
        s = self.stem
        lines = []
        for level, i in enumerate(reversed(range(len(self.sizes) - 1))):
            lines += indent([f"{s}i{i} += 1"], level)
            if i > 0:
                lines += indent([f"if {s}i{i} == {s}n{i}:", f"    {s}i{i} = 0"], level)
        return lines

    def index_lines(self, row: str) -> list[str]:
        """Statements that set the indices of row `row`."""
        s = self.stem
        outer = len(self.sizes) - 1
        lines = []
        rest = row
        for i in reversed(range(1, outer)):
            lines += [f"{s}i{i} = {rest} % {s}n{i}", f"{s}r{i} = {rest} // {s}n{i}"]
            rest = f"{s}r{i}"
        if outer:
            lines.append(f"{s}i0 = {rest}")
        return lines

    def position_lines(self, start: str) -> list[str]:
        """Statements that set each access's position at element `start` of the row with indices."""
        s = self.stem
        outer = len(self.sizes) - 1
        lines = []
        for number, access in enumerate(self.accesses()):
            if access.beside:
                continue
            parts = [f"{s}i{i} * {s}s{number}_{i}" for i in range(outer)]
            parts.append(_times(start, self._inner(number, access)))
            where = " + ".join(p for p in parts if p != "0") or "0"
            base = f"{access.name}_at" if access.iota else access.name
            lines.append(f"{s}p{number} = {base} + ({where})")
        return lines

    def _inner(self, number: int, access: Access) -> str:
        if access.kind == "s":
            return access.step or f"{self.stem}s{number}_i"
        return str(access.strides[-1])

    def body(self, index: str, cores: Sequence[str] = ()) -> tuple[list[str], list[str]]:
        """Statements that compute the terms at element `index` of the row, and the results' text.

        Args:
            cores: names of the values that the kernel holds, in the order of `bind`.
        """
        lines, builder, roots = self._built(index, cores)
        return lines + print_numba(builder, roots), [root.name for root in roots]

    def usual_body(self, index: str) -> tuple[list[str], list[str], list[str], str] | None:
        """As `body`, without what is rarely computed; None where nothing is.

        Returns:
            the statements and results, the statements that find out whether an element needs the
            whole body, and the text of that condition.
        """
        lines, builder, roots = self._built(index, (), usual=True)
        if not builder.rare:
            return None
        found = builder.rare[0]
        for condition in builder.rare[1:]:
            found = builder.op("or", found, condition)
        body = lines + print_numba(builder, roots)
        return body, [x.name for x in roots], lines + print_numba(builder, [found]), found.name

    def _built(
        self, index: str, cores: Sequence[str], usual: bool = False
    ) -> tuple[list[str], Builder, list[Value]]:
        """Statements that load elements, and the program that computes the values after them."""
        import_module("numbatorch.ops.scalar_reader")
        from numbatorch.ops.scalar_reader import Builder  # which a warm start does not wait for

        # One kernel has both bodies, so their variables have names of their own.
        prefix = f"{self.stem}{'u' if usual else 'v'}"
        builder = Builder(self.target.scalars, prefix=prefix, usual=usual)
        values: dict[int, Any] = {}
        lines: list[str] = []
        for term in self.terms:
            if isinstance(term, Load):
                access = self.reads.get(id(term))
                if access is None:
                    held = cores[self._cores[term.node]]
                    values[id(term)] = builder.input(held, term.node.dtype.compute)
                    continue
                name = f"{self.stem}a{len(lines)}"
                lines += self._read(name, access, index)
                values[id(term)] = builder.operand(name, access.dtype.compute)
            elif isinstance(term, Number):
                values[id(term)] = self._number(builder, term)
            else:
                values[id(term)] = self._call(builder, term, values)
        return lines, builder, [x for root in self.roots for x in words_of(values[id(root)])]

    def _number(self, builder: Builder, term: Number) -> Any:
        dtype = term.node.dtype.compute.part
        kind = self._argument_dtype(dtype.kind == "f")
        found = []
        for part, value in enumerate(_parts(term)):
            name = self.given.get((id(term), part))
            if name is None:
                found.append(builder.const(value, dtype))
            else:
                found.append(builder.cast(builder.input(name, kind), dtype))
        return found[0] if len(found) == 1 else Pair(*found)

    def _argument_dtype(self, real: bool) -> DType:
        return self.target.real if real else dt.int64

    def _call(self, builder: Any, term: Apply, values: dict[int, Any]) -> Any:
        attrs = {}
        for key, value in term.node.attrs.items():
            name = self._attributes.get((id(term), key))
            kind = self._argument_dtype(isinstance(value, float))
            attrs[key] = value if name is None else builder.input(name, kind)
        value = builder.call(term.node.op, [values[id(t)] for t in term.terms], attrs)
        # A half type is rounded after every operator, so that fusing changes no value.
        return builder.cast(value, term.node.dtype) if is_narrow(term.node.dtype) else value

    def _read(self, name: str, access: Access, index: str) -> list[str]:
        """Statements that load an element as `name`, see Program.operand of scalar_program.py."""
        number = self.accesses().index(access)
        inner = self._inner(number, access)
        position = f"{self.stem}p{number}"
        where = _times(index, inner)
        if access.iota:
            return [f"{name} = {position} + {where}"]
        if access.dtype.is_complex:
            return [f"{name}r = {position}[{where}]", f"{name}i = {position}[{where} + 1]"]
        test = " != 0" if access.dtype is dt.bool_ else ""
        return [f"{name} = {position}[{where}]{test}"]

    def stores(self, index: str, results: list[str]) -> list[str]:
        """Statements that write what `body` gives at element `index` of the row."""
        lines = []
        rest = iter(results)
        for number, access in enumerate(self.writes):
            pointer = 0 if access.beside else number
            where = _times(index, self._inner(pointer, access))
            for word in range(access.words):
                value = next(rest)
                stored = f"uint8({value})" if access.dtype is dt.bool_ else value
                distance = access.beside + word
                place = f"{where} + {distance}" if distance else where
                lines.append(f"{self.stem}p{pointer}[{place}] = {stored}")
        assert next(rest, None) is None
        return lines


def _parts(term: Number) -> tuple[Any, ...]:
    """The number, or of a complex one the real and the imaginary part."""
    value = term.node.attrs["value"]
    if term.node.dtype.kind != "c":
        return (value,)
    return (value, 0) if is_variable(value) else (complex(value).real, complex(value).imag)


def words_of(value: Any) -> tuple[Value, ...]:
    """The values that a number of a program is: two if it is complex."""
    return (value.real, value.imag) if isinstance(value, Pair) else (value,)


def _in_words(layout: Layout, dtype: DType) -> Layout:
    """The layout of elements in units of the numbers that they consist of."""
    if not dtype.is_complex:
        return layout
    return layout.component(0)


def _times(index: str, factor: str) -> str:
    if factor == "0" or index == "0":
        return "0"
    return index if factor == "1" else f"{index} * {factor}"


def is_number(value: Any) -> bool:
    """Whether an attribute's value is an argument of the kernel."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def scalar_word(dtype: DType) -> str:
    """The word of a parameter that holds a number."""
    return "float" if dtype.kind == "f" else "int"


def scalar_argument(value: Any, dtype: DType) -> Any:
    """The value of a parameter that holds a number."""
    if is_variable(value):
        return value
    return float(value) if dtype.kind == "f" else int(value)


def is_narrow(dtype: DType) -> bool:
    """Whether values are held in a wider type than they are stored in."""
    return dtype.compute is not dtype


def make_program(
    target: Target,
    stem: str,
    roots: Sequence[Term],
    space: Shape,
    operand: Callable[[Load], Any],
    writes: Sequence[tuple[Any, Layout, DType]],
    shared: dict[Node, int],
    cores: Sequence[Node],
) -> Program:
    """A program with its accesses bound and its space collapsed."""
    program = Program(target, stem, roots, space)
    program.writes = [
        Access(f"{stem}o{i}", dtype, _in_words(layout, dtype), argument)
        for i, (argument, layout, dtype) in enumerate(writes)
    ]
    program.bind(operand, {node: f"{stem}o{i}" for node, i in shared.items()}, cores)
    program.collapse()
    return program
