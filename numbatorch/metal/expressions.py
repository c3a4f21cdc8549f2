"""Expressions of kernels, evaluated into MSL: names, operators, subscripts, calls."""

import ast
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.language.kernel import Kernel
from numbatorch.language.scalar_word import Definition
from numbatorch.language.words import Helper, Intrinsic, Table, Word
from numbatorch.metal import arithmetic, words
from numbatorch.metal.msl import PointerType, Static, TupleType
from numbatorch.metal.scope import Scope
from numbatorch.metal.values import (
    NOTHING,
    Expr,
    Refused,
    assigned,
    constant,
    convert,
    describe,
    element_of,
    load,
)

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.LShift: "<<",
    ast.RShift: ">>",
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
}
_UNARY: dict[type[ast.unaryop], str] = {
    ast.USub: "-",
    ast.UAdd: "+",
    ast.Invert: "~",
    ast.Not: "not",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}


class Expressions(Scope):
    """A function's expressions."""

    def evaluate(self, node: ast.expr) -> Expr:
        """The MSL of an expression."""
        match node:
            case ast.Constant(value=value):
                return known_value(value)
            case ast.Name(id=name):
                return self.name(name)
            case ast.Attribute(value=value, attr=attr):
                owner = self.evaluate(value)
                if not isinstance(owner.type, Static) or not hasattr(owner.type.value, attr):
                    raise Refused(f"{ast.unparse(node)} is not defined")
                return known_value(getattr(owner.type.value, attr))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                lhs = self.evaluate(left)
                moves = isinstance(lhs.type, PointerType)
                rhs = self.index(right) if moves else self.evaluate(right)
                return arithmetic.binary(_BINARY[type(op)], lhs, rhs, not self.indexing)
            case ast.UnaryOp(op=op, operand=operand):
                return arithmetic.unary(_UNARY[type(op)], self.evaluate(operand))
            case ast.Compare():
                return self.compare(node)
            case ast.BoolOp(op=op, values=values):
                sign = "&&" if isinstance(op, ast.And) else "||"
                result = self.evaluate(values[0])
                for value in values[1:]:
                    result = arithmetic.both(sign, result, self.evaluate(value))
                return result
            case ast.IfExp(test=test, body=chosen, orelse=other):
                parts = (self.evaluate(n) for n in (test, chosen, other))
                return arithmetic.choice(*parts)
            case ast.Subscript(value=value, slice=index):
                return self.subscript(self.evaluate(value), self.index(index))
            case ast.Tuple(elts=elements):
                return self.display([self.evaluate(e) for e in elements])
            case ast.Call():
                return self.call(node)
            case _:
                raise Refused(f"{ast.unparse(node)} is not in the language of kernels")

    def index(self, node: ast.expr) -> Expr:
        """An expression that says where in memory, and so does not overflow."""
        before, self.indexing = self.indexing, True
        found = self.evaluate(node)
        self.indexing = before
        return found

    def name(self, name: str) -> Expr:
        """A variable, or what is global."""
        variable = self.variables.get(name)
        if variable is None:
            return known_value(self.find(name))
        return Expr(variable.name, variable.type, bits=variable.bits, positive=variable.positive)

    def compare(self, node: ast.Compare) -> Expr:
        """A comparison, or a chain of them."""
        terms = [self.evaluate(e) for e in (node.left, *node.comparators)]
        result = constant(True)
        for op, lhs, rhs in zip(node.ops, terms, terms[1:], strict=False):
            if type(op) not in _COMPARE:
                raise Refused(f"{ast.unparse(node)} is not in the language of kernels")
            step = arithmetic.compare(_COMPARE[type(op)], lhs, rhs)
            result = arithmetic.both("&&", result, step)
        return result

    def subscript(self, value: Expr, index: Expr) -> Expr:
        """An element of memory, or of a tuple."""
        if isinstance(value.type, PointerType):
            return load(value, index)
        if isinstance(value.type, Static) and isinstance(value.type.value, Table):
            table = value.type.value
            kind = dt.by_name[table.element]
            text = f"{self.module.table(table)}[{convert(index, dt.int64).text}]"
            return Expr(text, kind, bits=8 * kind.itemsize)
        if not isinstance(index.number, int):
            raise Refused("the index into a tuple is not known")
        if isinstance(value.type, TupleType):
            return Expr(f"{value.text}.item{index.number}", value.type.items[index.number])
        if isinstance(value.type, Static) and isinstance(value.type.value, tuple):
            return known_value(value.type.value[index.number])
        raise Refused(f"{describe(value.type)} has no elements")

    def display(self, items: list[Expr]) -> Expr:
        """Values as one tuple."""
        kind = TupleType(tuple(item.type for item in items))
        self.tuples.add(kind)
        texts = [i.text if i.number is None else i.exact for i in items]
        return Expr(f"{{{', '.join(texts)}}}", kind)

    def call(self, node: ast.Call) -> Expr:
        """A conversion, a word, or a function that is printed for its arguments' types."""
        if node.keywords:
            raise Refused("calls have no keyword arguments here")
        callee = self.evaluate(node.func)
        if not isinstance(callee.type, Static):
            raise Refused(f"{callee.text} is no function")
        function = callee.type.value
        args = [self.evaluate(a) for a in node.args]
        element = element_of(function)
        if element is not None:
            return convert(_one(args), element)
        if isinstance(function, Helper | Kernel):
            return self.called(function, args)
        if isinstance(function, Intrinsic) and isinstance(function.definition, Definition):
            return self.called(function.definition.function, args)
        name = getattr(function, "__name__", str(function))
        if isinstance(function, Intrinsic | Word) and name in words.WORDS:
            return words.WORDS[name](self, node, args)
        if function in (min, max) and len(args) > 1:
            return arithmetic.extreme(name, args)
        if function is abs:
            return arithmetic.absolute(_one(args))
        raise Refused(f"{ast.unparse(node.func)} is no word that Metal's printer knows")

    def called(self, function: Any, args: list[Expr]) -> Expr:
        """A call of a function that is printed too."""
        printed = self.module.instance(function, args)
        self.callees.append(printed)
        texts = []
        for arg, kind in zip(args, printed.parameters, strict=True):
            if not isinstance(kind, Static):
                texts.append(assigned(arg, kind) if isinstance(kind, DType) else arg.text)
        texts += [self.use(name) for name in printed.uses]
        if isinstance(printed.result, TupleType):
            self.tuples.add(printed.result)
        bits = 64 if printed.data else 0
        return Expr(f"{printed.name}({', '.join(texts)})", printed.result, bits=bits)


def _one(args: list[Expr]) -> Expr:
    if len(args) != 1:
        raise Refused(f"takes 1 argument, not {len(args)}")
    return args[0]


def known_value(value: Any) -> Expr:
    """What a Python object is in a kernel."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | int | float):
        return constant(value)
    return NOTHING if value is None else Expr("", Static(value))
