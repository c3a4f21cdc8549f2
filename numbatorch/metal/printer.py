"""Prints kernels as Metal Shading Language: the text of one kernel with all that it calls.

A kernel is Python in kernels' language (language/); its statements are translated one by one
(statements.py, expressions.py), with types that follow from the kernel's parameters.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, KernelError, message
from numbatorch.language import primitives
from numbatorch.language.kernel import (
    SHARE,
    TILE,
    EmittedKernel,
    Kernel,
    KernelSpec,
    call_parameters,
    with_types,
)
from numbatorch.language.source import parse
from numbatorch.language.words import Epilogue, Helper, PointerTo, Table
from numbatorch.metal import prelude
from numbatorch.metal.expressions import Expressions
from numbatorch.metal.msl import (
    METAL_FUNCTIONS,
    RESERVED,
    PointerType,
    Static,
    Type,
    literal,
    spelling,
    type_name,
    variable_name,
)
from numbatorch.metal.scope import Printed, Scope, Variable
from numbatorch.metal.sources import Source, of_function, of_text
from numbatorch.metal.statements import Body
from numbatorch.metal.values import NOTHING, Expr, Refused
from numbatorch.metal.words import checked
from numbatorch.ops.scalar import ScalarFunction
from numbatorch.ops.scalar_program import print_numba
from numbatorch.ops.scalar_reader import Builder

# What Metal gives each thread: passed on to the functions that use it.
CONTEXT = {
    "args": "constant Arguments& args",
    "shared": "threadgroup uchar* shared",
    "thread_index": "uint thread_index",
    "group_index": "uint group_index",
    "thread_count": "uint thread_count",
    "group_count": "uint group_count",
    "lane": "uint lane",
    "simdgroup": "uint simdgroup",
}
ATTRIBUTES = {
    "args": "buffer(0)",
    "shared": "threadgroup(0)",
    "thread_index": "thread_position_in_threadgroup",
    "group_index": "threadgroup_position_in_grid",
    "thread_count": "threads_per_threadgroup",
    "group_count": "threadgroups_per_grid",
    "lane": "thread_index_in_simdgroup",
    "simdgroup": "simdgroup_index_in_threadgroup",
}
SHARED_LIMIT = 32 << 10  # bytes a group may have
GROUP_THREADS = 256  # at most; the compiler leaves registers for so many
FINISH = "finish_"  # before the epilogue's words among the arguments


@dataclass(frozen=True)
class MetalSource:
    """A printed kernel.

    Attributes:
        text: a whole MSL file.
        symbol: the name of its kernel function.
        shared_bytes: memory of the group that a launch gives it.
        uses_groups: whether the threads of a group meet, so that they have to run together.
    """

    text: str
    symbol: str
    shared_bytes: int
    uses_groups: bool


@dataclass(eq=False)
class Module:
    """The functions of one text.

    Attributes:
        epilogue: what `finish_tile` calls.
        tables: of constants, and their names.
    """

    epilogue: Printed | None = None
    tables: dict[tuple[str, Table], str] = field(default_factory=dict)
    _instances: dict[Any, Printed | None] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)
    _labels: dict[ast.AST, str] = field(default_factory=dict)

    def label(self, node: ast.AST, name: str, taken: set[str]) -> str:
        """The constant that says where an array of the group lies, for each call of `shared`."""
        if node not in self._labels:
            self._labels[node] = self.name(name, taken)
        return self._labels[node]

    def name(self, name: str, taken: set[str] | None = None) -> str:
        """A global name like `name` that nothing else has."""
        if name in RESERVED or name in METAL_FUNCTIONS:
            name += "_"
        stem, number = name, 1
        while name in self._names or name in (taken or ()):
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name

    def table(self, table: Table) -> str:
        """The name of a table of constants."""
        key = table.element, table
        if key not in self.tables:
            self.tables[key] = self.name("table")
        return self.tables[key]

    def instance(self, function: Any, args: list[Expr]) -> Printed:
        """A helper, kernel or scalar function for arguments of these types."""
        kinds = tuple(arg.type for arg in args)
        key = (_identity(function), kinds)
        if key in self._instances:
            found = self._instances[key]
            if found is None:
                raise Refused(f"{function.__name__} calls itself; kernels have no recursion")
            return found
        self._instances[key] = None
        if isinstance(function, ScalarFunction):
            printed = self._scalar(function, kinds)
        else:
            printed = self._function(function, kinds)
        self._instances[key] = printed
        return printed

    def _function(self, function: Any, kinds: tuple[Type, ...]) -> Printed:
        if isinstance(function, Kernel):
            bound = _bound(function, kinds)
        else:
            assert isinstance(function, Helper)
            bound = function.function
        return self.define(self.name(function.__name__), of_function(bound), kinds)

    def _scalar(self, function: ScalarFunction, kinds: tuple[Type, ...]) -> Printed:
        """A function of the scalar language; its integers are data."""
        builder = Builder("metal")
        args = []
        for i, kind in enumerate(kinds):
            if not isinstance(kind, dt.DType):
                raise Refused(f"{function.name} takes numbers")
            args.append(builder.input(f"x{i}", kind))
        try:
            result = builder.call(function, args)
        except (DTypeError, ValueError) as err:
            raise Refused(" ".join(str(err).split()), dtype=isinstance(err, DTypeError)) from err
        lines = [*print_numba(builder, [result]), f"return {result.name}"]
        names = ", ".join(a.name for a in args)
        text = "\n    ".join([f"def {function.name}({names}):", *lines])
        described = (function.__doc__ or "").strip().partition("\n")[0]
        source = of_text(text, vars(primitives), described)
        return self.define(self.name(f"scalar_{function.name}"), source, kinds, data=True)

    def define(
        self, name: str, source: Source, kinds: tuple[Type, ...], data: bool = False
    ) -> Printed:
        """Print a function for arguments of these types."""
        names = source.parameters
        if len(names) != len(kinds):
            raise Refused(f"{source.name} takes {len(names)} arguments, not {len(kinds)}")
        scope = Expressions(self, source)
        for parameter, kind in zip(names, kinds, strict=True):
            bits = 8 * kind.itemsize if data and isinstance(kind, dt.DType) else 0
            scope.variables[parameter] = Variable(variable_name(parameter), kind, bits)
        body = Body(scope)
        lines = body.lines()
        result = body.result or NOTHING.type
        parameters = [
            scope.variables[p].declaration
            for p, kind in zip(names, kinds, strict=True)
            if not isinstance(kind, Static)
        ]
        uses = tuple(word for word in CONTEXT if word in scope.uses)
        parameters += [CONTEXT[word] for word in uses]
        returned = "void" if isinstance(result, Static) else spelling(result)
        text = _definition(f"static inline {returned} {name}", parameters, lines)
        if source.described:
            text = f"// {source.described}\n{text}"
        return Printed(name, list(kinds), result, uses, text, data, scope)


def print_kernel(spec: KernelSpec, epilogue: KernelSpec | None = None) -> MetalSource:
    """A kernel as Metal Shading Language.

    Args:
        spec: the kernel.
        epilogue: what its `finish_tile` applies; a kernel with the tail `TILE`.
    Raises:
        DTypeError: it has float64, which Metal lacks.
        KernelError: a name or statement that cannot be printed.
    """
    try:
        return _print(spec, epilogue)
    except Refused as err:
        kind = DTypeError if err.dtype else KernelError
        raise kind(message(spec.name, str(err), spec.path(), hint=err.hint)) from err


def _print(spec: KernelSpec, epilogue: KernelSpec | None) -> MetalSource:
    module = Module()
    symbol = spec.symbol
    if epilogue is not None:
        module.epilogue = _entry(module, epilogue, FINISH, TILE)
        symbol += f"_{epilogue.key[:8]}"
    main = _entry(module, spec, "", None)
    functions = list(main.all({}))
    offsets, total = _offsets(functions)
    body = [*offsets, *(f.text for f in functions[:-1]), _kernel(symbol, main)]
    tuples = {kind: None for f in functions for kind in f.scope.tuples}
    text = "\n\n".join(
        [
            _header(spec, epilogue),
            "#include <metal_stdlib>\nusing namespace metal;",
            *(kind.definition for kind in sorted(tuples, key=lambda kind: kind.text)),
            *prelude.used("\n".join(body)),
            *(_table(name, *found) for found, name in module.tables.items()),
            _struct(spec, epilogue),
            *body,
        ]
    )
    meets = any(f.scope.cooperates for f in functions)
    return MetalSource(text + "\n", symbol, total, meets)


def _table(name: str, element: str, table: Table) -> str:
    dtype = dt.by_name[element]
    numbers = ", ".join(literal(number, dtype) for number in table)
    return f"constant {type_name(dtype)} {name}[{len(table)}] = {{ {numbers} }};"


def _entry(module: Module, spec: KernelSpec, prefix: str, tail: tuple[str, ...] | None) -> Printed:
    """A kernel or epilogue as a function of the arguments; a kernel's text is its statements."""
    function, words = spec.bind()
    source = of_function(function)
    found = call_parameters(function)
    if (found == TILE) != (tail == TILE):
        what = "is no epilogue" if tail == TILE else "is an epilogue"
        raise Refused(f"{what}: its last parameters are {', '.join(found) or 'its own'}")
    scope = Expressions(module, source)
    names = source.parameters
    for name, word in zip(names, words, strict=False):
        scope.variables[name] = Variable(variable_name(name), _word_type(word))
    for name in found:
        scope.variables[name] = Variable(variable_name(name), dt.int64, positive=name == "parts")
    body = Body(scope)
    lines = body.lines()
    if body.result not in (None, NOTHING.type):
        raise Refused("a kernel returns nothing")
    lines = [*_parameter_lines(scope, names[: len(words)], words, prefix), *lines]
    if found == SHARE:
        lines = [*_share_lines(scope), *lines]
    if tail != TILE:
        return Printed(spec.symbol, [], NOTHING.type, (), "\n".join(lines), False, scope)
    uses = tuple(word for word in CONTEXT if word in scope.uses)
    parameters = [scope.variables[n].declaration for n in TILE] + [CONTEXT[u] for u in uses]
    name = "finish_epilogue"
    text = _definition(f"static inline void {name}", parameters, lines)
    return Printed(name, [dt.int64] * len(TILE), NOTHING.type, uses, text, False, scope)


def _word_type(word: str) -> Type:
    if word == "epilogue":
        return Static(Epilogue)
    if word in ("int", "float"):
        return dt.int64 if word == "int" else dt.float32
    return PointerType(checked(dt.by_name[word]), "device")


def _parameter_lines(
    scope: Scope, names: list[str], words: tuple[str, ...], prefix: str
) -> Iterator[str]:
    """Variables for the arguments that are used."""
    for name, word in zip(names, words, strict=True):
        if word != "epilogue" and name in scope.names:
            variable = scope.variables[name]
            yield f"{variable.declaration} = {scope.use('args')}.{prefix}{variable.name};"


def _share_lines(scope: Scope) -> Iterator[str]:
    """This thread's number and the number of threads of the grid."""
    for name, first, last in (
        ("part", "group_index", " + thread_index"),
        ("parts", "group_count", ""),
    ):
        if name in scope.names:
            text = f"long({first}) * thread_count{last}"
            yield f"{scope.variables[name].declaration} = {text};"


def _fields(spec: KernelSpec, epilogue: KernelSpec | None, prefix: str = "") -> Iterator[str]:
    """The words of a kernel, those of the epilogue in its place, eight bytes each."""
    function, words = spec.bind()
    names = function.__code__.co_varnames
    if epilogue is not None and "epilogue" not in words:
        raise Refused("takes no epilogue: it has no parameter `finish: Epilogue`")
    for name, word in zip(names, words, strict=False):
        kind, field_name = _word_type(word), prefix + variable_name(name)
        if isinstance(kind, Static):
            yield from _fields(epilogue, None, FINISH) if epilogue is not None else ()
        else:
            padding = f" uint {field_name}_pad;" if kind is dt.float32 else ""
            yield f"{spelling(kind)} {field_name};{padding}"


def _struct(spec: KernelSpec, epilogue: KernelSpec | None) -> str:
    lines = list(_fields(spec, epilogue)) or ["long unused;"]
    return "\n".join(["struct Arguments {", *(f"    {line}" for line in lines), "};"])


def _offsets(functions: list[Printed]) -> tuple[list[str], int]:
    """Constants that say where the arrays of the group lie, and the bytes of all."""
    lines = []
    total = 0
    for label, size in {k: v for f in functions for k, v in f.scope.arrays.items()}.items():
        lines.append(f"constant uint {label} = {total};")
        total += -(-size // 16) * 16
    if total > SHARED_LIMIT:
        raise Refused(f"a group shares {total} bytes, Metal gives it {SHARED_LIMIT}")
    return ["\n".join(lines)] if lines else [], total


def _kernel(symbol: str, main: Printed) -> str:
    parameters = [f"{CONTEXT[name]} [[{ATTRIBUTES[name]}]]" for name in CONTEXT]
    text = _definition(f"kernel void {symbol}", parameters, main.text.splitlines())
    return f"[[max_total_threads_per_threadgroup({GROUP_THREADS})]]\n{text}"


def _definition(head: str, parameters: list[str], lines: list[str]) -> str:
    start = f"{head}({', '.join(parameters)}) {{"
    if len(start) > 100:
        start = "\n".join([f"{head}(", *_wrapped(parameters), ") {"])
    return "\n".join([start, *(f"    {line}" if line else "" for line in lines), "}"])


def _wrapped(parameters: list[str]) -> Iterator[str]:
    """Parameters in lines of up to 100 characters."""
    line = "   "
    for i, parameter in enumerate(parameters):
        text = f" {parameter}{',' if i + 1 < len(parameters) else ''}"
        if len(line) + len(text) > 100:
            yield line
            line = "   "
        line += text
    yield line


def _header(spec: KernelSpec, epilogue: KernelSpec | None) -> str:
    """What the kernel computes or fuses."""
    lines = [f"// {_described(spec)}"]
    if epilogue is not None:
        lines.append(f"// Epilogue: {_described(epilogue)}")
    return "\n".join(lines)


def _described(spec: KernelSpec) -> str:
    if isinstance(spec, EmittedKernel):
        found = ast.get_docstring(parse(spec.source())) or spec.name
        return " ".join(found.split())
    function, _words = spec.bind()
    described = (function.__doc__ or "").strip().partition("\n")[0]
    return f"{spec.name}: {described}" if described else spec.name


def _identity(function: Any) -> Any:
    return function if isinstance(function, ScalarFunction) else id(function)


def _bound(kernel: Kernel, kinds: tuple[Type, ...]) -> FunctionType:
    """A kernel that a kernel calls, with the types of the pointers it is given."""
    types = {
        word.element: kind.element.name
        for word, kind in zip(kernel.words, kinds, strict=False)
        if isinstance(word, PointerTo) and isinstance(kind, PointerType)
    }
    return with_types(kernel.function, types)
