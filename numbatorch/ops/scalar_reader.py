"""Reads the bodies of the scalar language: the syntax tree of a Python function, never called.

A body may assign to names and tuples of names and must end in `return`, without loops or
branches: `a if c else b` selects, and a condition known from literals chooses.
"""

import ast
import builtins
import inspect
import textwrap
from collections.abc import Callable
from functools import cache
from types import FunctionType, ModuleType
from typing import Any, NoReturn

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.language.source import is_text_of, parse
from numbatorch.ops import scalar_exp_double, scalar_math
from numbatorch.ops.scalar import Form, ScalarFunction, absolute
from numbatorch.ops.scalar_complex import RULES
from numbatorch.ops.scalar_double import RULES as DOUBLE_RULES
from numbatorch.ops.scalar_program import Double, Operand, Pair, Program, Value

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.BitAnd: "and",
    ast.BitOr: "or",
    ast.BitXor: "xor",
    ast.LShift: "shl",
    ast.RShift: "shr",
}
_FUNCTIONS: dict[type[ast.operator], str] = {ast.FloorDiv: "floor_divide", ast.Mod: "remainder"}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "lt",
    ast.LtE: "le",
    ast.Gt: "gt",
    ast.GtE: "ge",
    ast.Eq: "eq",
    ast.NotEq: "ne",
}
_UNARY: dict[type[ast.unaryop], str] = {ast.USub: "neg", ast.Invert: "invert", ast.Not: "not"}
_MISSING = object()


class Body:
    """A body as read from its file: parameters, defaults, statements and the names it can see."""

    def __init__(self, function: FunctionType) -> None:
        self.name = function.__name__
        self.file = function.__code__.co_filename
        self.first_line = function.__code__.co_firstlineno
        try:
            lines, _ = inspect.getsourcelines(function)
            tree = parse(textwrap.dedent("".join(lines))).body[0]
        except (OSError, SyntaxError, IndexError) as err:
            problem = "its source cannot be read, and a scalar body is read, not called"
            raise ValueError(message(self.name, problem, self.file)) from err
        if not isinstance(tree, ast.FunctionDef):
            hint = "write it with def"
            raise ValueError(message(self.name, "a scalar body is a function", hint=hint))
        if not is_text_of(tree, function):
            problem = "its file has changed since it was defined, and a scalar body is read from it"
            raise ValueError(message(self.name, problem, self.file))
        self.statements = tree.body
        parameters = inspect.signature(function).parameters.values()
        self.operands = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.attributes = {p.name: p.default for p in keywords}
        if len(self.operands) + len(keywords) != len(parameters):
            raise self.error(tree, "a scalar body has no *args, **kwargs")
        self.function = function

    def error(self, node: ast.AST, problem: str, kind: type[Exception] = ValueError) -> Exception:
        """The exception for `node`, which names its line."""
        line = self.first_line + getattr(node, "lineno", 1) - 1
        row = ast.unparse(node) if isinstance(node, ast.expr | ast.stmt) else ""
        return kind(message(self.name, problem, f"{self.file}:{line}", row.partition("\n")[0]))

    def lookup(self, name: str) -> Any:
        """What `name` stands for outside of the body: closure, module, or a builtin."""
        free = self.function.__code__.co_freevars
        if name in free and self.function.__closure__ is not None:
            return self.function.__closure__[free.index(name)].cell_contents
        found = self.function.__globals__.get(name, _MISSING)
        if found is _MISSING:
            found = {"abs": absolute}.get(name, _MISSING)
        return found


read = cache(Body)
assert scalar_exp_double  # it registers bodies


class Builder(Program):
    """A program made by expanding bodies; what is done to complex numbers, by expanding a rule."""

    _depth = 0

    def op(self, name: str, *operands: Operand) -> Any:
        """The primitive `name`; literals among the operands take the type of the others."""
        pair = next((x for x in operands if isinstance(x, Pair)), None)
        if pair is None and any(isinstance(x, Double) for x in operands):
            return self._of_doubles(name, operands)
        if pair is None:
            return super().op(name, *operands)
        if name not in RULES:
            raise DTypeError(message(name, f"no meaning for {pair.dtype.name}"))
        first = 1 if name == "select" else 0
        pairs = [self.paired(x, pair.dtype) for x in operands[first:]]
        return self.expand(RULES[name], [*operands[:first], *pairs], {})

    def _of_doubles(self, name: str, operands: tuple[Operand, ...]) -> Any:
        if name not in DOUBLE_RULES:
            raise DTypeError(message(name, "no meaning for a float64 made of float32"))
        first = 1 if name == "select" else 0
        wide = [self.cast(x, dt.float64) for x in operands[first:]]
        return self.expand(DOUBLE_RULES[name], [*operands[:first], *wide], {})

    def expand(self, function: Any, args: list[Operand], attrs: dict[str, Operand]) -> Operand:
        """As `call`, but the result may also be a literal or a tuple."""
        if isinstance(function, Form):
            return function.build(self, *args, **attrs)
        dtypes = [a.dtype for a in args if isinstance(a, Value | Pair | Double)]
        body: Any = getattr(function, "body", None)
        if isinstance(function, ScalarFunction):
            body = function.body_for(dtypes[0] if dtypes else dt.float64, self.target)
        if self._depth > 40:
            raise ValueError(message(str(body.__name__), "the scalar language has no recursion"))
        real = next((d.part for d in dtypes if d.kind in "fc"), None)
        attrs = {name: self._as_attribute(value, real) for name, value in attrs.items()}
        self._depth += 1
        try:
            return _expand_body(self, body, args, attrs)
        finally:
            self._depth -= 1

    def _as_attribute(self, value: Operand, real: DType | None) -> Operand:
        if isinstance(value, Value) and value.dtype.kind == "f" and real is not None:
            return self.cast(value, real)
        return value


def _expand_body(
    builder: Program,
    function: Callable[..., Any],
    args: list[Operand],
    attrs: dict[str, Operand],
) -> Operand:
    """Expand one body: a Value, a literal, or a tuple of these."""
    assert isinstance(function, FunctionType), function
    body = read(function)
    if len(args) != len(body.operands):
        problem = f"takes {len(body.operands)} operands, not {len(args)}"
        raise ValueError(message(body.name, problem))
    unknown = set(attrs) - set(body.attributes)
    missing = {n for n, v in body.attributes.items() if v is inspect.Parameter.empty} - set(attrs)
    if unknown or missing:
        names = ", ".join(sorted(unknown or missing))
        problem = f"has no attribute {names}" if unknown else f"attribute {names} is missing"
        raise ValueError(message(body.name, problem))
    operands = dict(zip(body.operands, args, strict=True))
    return _Expansion(builder, body, {**operands, **body.attributes, **attrs}).run()


class _Expansion:
    def __init__(self, builder: Program, body: Body, names: dict[str, Operand]) -> None:
        self.builder = builder
        self.body = body
        self.names = names

    def run(self) -> Operand:
        for statement in self.body.statements:
            match statement:
                case ast.Expr(value=ast.Constant(value=str())):
                    continue
                case ast.Return(value=ast.expr() as value):
                    return self.evaluate(value)
                case ast.Assign(targets=[target], value=value):
                    self.assign(target, self.evaluate(value))
                case ast.AnnAssign(target=target, value=ast.expr() as value):
                    self.assign(target, self.evaluate(value))
                case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
                    load = ast.copy_location(ast.Name(name, ast.Load()), statement)
                    whole = ast.copy_location(ast.BinOp(load, op, value), statement)
                    self.names[name] = self.evaluate(whole)
                case _:
                    self.refuse(statement)
        raise self.body.error(self.body.statements[-1], "a scalar body ends in return")

    def refuse(self, node: ast.AST) -> NoReturn:
        kind = type(node).__name__
        raise self.body.error(node, f"{kind} is not in the scalar language")

    def assign(self, target: ast.expr, value: Operand) -> None:
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Tuple(elts=targets) if isinstance(value, tuple):
                if len(targets) != len(value):
                    problem = f"{len(value)} values for {len(targets)} names"
                    raise self.body.error(target, problem)
                for part, item in zip(targets, value, strict=True):
                    self.assign(part, item)
            case _:
                raise self.body.error(target, "assignments are to names")

    def evaluate(self, node: ast.expr) -> Operand:
        """The operand that an expression stands for; errors of primitives get their line here."""
        match node:
            case ast.Constant(value=bool() | int() | float() as value):
                return value
            case ast.Name(id=name):
                return self.name(node, name)
            case ast.Attribute():
                return self.constant(node, self.object(node))
            case ast.Tuple(elts=elements):
                return tuple(self.evaluate(e) for e in elements)
            case ast.BinOp(left=left, op=op, right=right):
                return self.binary(node, op, left, right)
            case ast.UnaryOp(op=op, operand=operand):
                value = self.evaluate(operand)
                if isinstance(op, ast.UAdd):
                    return value
                return self.primitive(node, _UNARY[type(op)], value)
            case ast.Compare():
                return self.compare(node)
            case ast.BoolOp(op=op, values=values):
                return self.logical(node, op, values)
            case ast.IfExp(test=test, body=chosen, orelse=other):
                condition = self.evaluate(test)
                if not isinstance(condition, Value | Pair | Double):
                    return self.evaluate(chosen if condition else other)
                lhs, rhs = self.evaluate(chosen), self.evaluate(other)
                return self.primitive(node, "select", condition, lhs, rhs)
            case ast.Call():
                return self.call(node)
            case _:
                return self.refuse(node)

    def name(self, node: ast.expr, name: str) -> Operand:
        if name in self.names:
            return self.names[name]
        return self.constant(node, self.object(node))

    def constant(self, node: ast.expr, value: Any) -> Operand:
        if isinstance(value, bool | int | float | tuple | DType):
            return value
        raise self.body.error(node, f"{type(value).__name__} is no number of the scalar language")

    def object(self, node: ast.expr) -> Any:
        """What a name, or a name in a module, stands for outside of the body."""
        match node:
            case ast.Name(id=name):
                found = self.body.lookup(name)
                if found is _MISSING:
                    known = hasattr(builtins, name)
                    problem = f"{name} is not " + ("in the scalar language" if known else "defined")
                    raise self.body.error(node, problem)
                return found
            case ast.Attribute(value=value, attr=attr):
                module = self.object(value)
                if not isinstance(module, ModuleType) or not hasattr(module, attr):
                    raise self.body.error(node, f"{ast.unparse(node)} is not defined")
                return getattr(module, attr)
            case _:
                return self.refuse(node)

    def binary(self, node: ast.expr, op: ast.operator, left: ast.expr, right: ast.expr) -> Operand:
        lhs, rhs = self.evaluate(left), self.evaluate(right)
        if isinstance(op, ast.Pow):
            if isinstance(lhs, Value | Pair | Double):
                return self.power(node, lhs, rhs)
            if isinstance(rhs, Value):
                raise self.body.error(node, "** takes an integer literal on its right")
            return lhs**rhs
        if type(op) in _FUNCTIONS:
            function = getattr(scalar_math, _FUNCTIONS[type(op)])
            return self.guarded(node, lambda: self.builder.expand(function, [lhs, rhs], {}))
        if type(op) not in _BINARY:
            self.refuse(node)
        return self.primitive(node, _BINARY[type(op)], lhs, rhs)

    def power(self, node: ast.expr, base: Value | Pair | Double, exponent: Operand) -> Operand:
        if not isinstance(exponent, int) or abs(exponent) > 64:
            raise self.body.error(node, "** takes an integer literal on its right; else call pow")
        if exponent == 0:
            return self.builder.number(1, base.dtype)
        result: Operand = 1
        square: Operand = base
        for place, digit in enumerate(reversed(f"{abs(exponent):b}")):
            if place:
                square = self.primitive(node, "mul", square, square)
            if digit == "1":
                result = self.primitive(node, "mul", result, square)
        return self.primitive(node, "div", 1, result) if exponent < 0 else result

    def compare(self, node: ast.Compare) -> Operand:
        terms = [self.evaluate(e) for e in (node.left, *node.comparators)]
        result: Operand = True
        for op, lhs, rhs in zip(node.ops, terms, terms[1:], strict=False):
            if type(op) not in _COMPARE:
                self.refuse(node)
            step = self.primitive(node, _COMPARE[type(op)], lhs, rhs)
            result = step if result is True else self.primitive(node, "and", result, step)
        return result

    def logical(self, node: ast.expr, op: ast.boolop, values: list[ast.expr]) -> Operand:
        result = self.evaluate(values[0])
        for value in values[1:]:
            name = "and" if isinstance(op, ast.And) else "or"
            result = self.primitive(node, name, result, self.evaluate(value))
        return result

    def call(self, node: ast.Call) -> Operand:
        function = self.object(node.func)
        if not isinstance(function, Form | ScalarFunction) and not hasattr(function, "body"):
            name = ast.unparse(node.func)
            problem = f"{name} is neither an elementwise operator nor a @scalar_function"
            raise self.body.error(node, problem)
        args = [self.evaluate(a) for a in node.args]
        attrs = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                self.refuse(node)
            attrs[keyword.arg] = self.evaluate(keyword.value)
        return self.guarded(node, lambda: self.builder.expand(function, args, attrs))

    def primitive(self, node: ast.expr, name: str, *operands: Operand) -> Any:
        return self.guarded(node, lambda: self.builder.op(name, *operands))

    def guarded(self, node: ast.expr, make: Callable[[], Operand]) -> Operand:
        """Run `make`; an error of the innermost body gets the line it stands on."""
        try:
            return make()
        except (DTypeError, ValueError) as err:
            if getattr(err, "_located", False):
                raise
            problem = str(err).replace("\n  ", "; ")
            kind = DTypeError if isinstance(err, DTypeError) else ValueError
            located = self.body.error(node, problem, kind)
            located._located = True  # type: ignore[attr-defined]
            raise located from err
