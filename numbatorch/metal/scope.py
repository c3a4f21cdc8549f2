"""What a function has while it is printed: variables, and what it asks for of its surroundings."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any, Protocol

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.language.words import Table
from numbatorch.metal.msl import PointerType, Static, TupleType, Type, spelling, variable_name
from numbatorch.metal.sources import MISSING, Source
from numbatorch.metal.values import Expr, Refused, describe, unify


class Functions(Protocol):
    """The text that the function is part of.

    Attributes:
        epilogue: what `finish_tile` calls.
    """

    epilogue: Printed | None

    def label(self, node: ast.AST, name: str, taken: set[str]) -> str:
        """The constant that says where an array of the group lies, for each call of `shared`."""

    def table(self, table: Table) -> str:
        """The name of a table of constants."""

    def instance(self, function: Any, args: list[Expr]) -> Printed:
        """A helper, kernel or scalar function for arguments of these types."""


@dataclass(eq=False)
class Printed:
    """A function in the text.

    Attributes:
        name: in the text.
        parameters: types of the arguments; a Static one is not passed.
        result: the type it returns.
        uses: of `CONTEXT`, passed after the arguments.
        text: its definition.
        data: whether an integer that it returns is data, whose arithmetic wraps.
    """

    name: str
    parameters: list[Type]
    result: Type
    uses: tuple[str, ...]
    text: str
    data: bool
    scope: Scope

    def all(self, seen: dict[Printed, None]) -> dict[Printed, None]:
        """The functions that it needs, each after those it calls; itself last."""
        for callee in self.scope.callees:
            callee.all(seen)
        seen[self] = None
        return seen


@dataclass
class Variable:
    """A variable or parameter; see `Expr` for bits and positive.

    Attributes:
        name: in MSL.
        known: only numbers that are known have been assigned to it.
        array: elements, of an array that the thread declares.
    """

    name: str
    type: Type
    bits: int = 0
    positive: bool = False
    known: bool = False
    array: int | None = None

    @property
    def declaration(self) -> str:
        """Its type and name."""
        if self.array is not None:
            assert isinstance(self.type, PointerType)
            storage = self.type.text.removeprefix("thread ").rstrip("*")
            return f"{storage} {self.name}[{self.array}]"
        return f"{spelling(self.type)} {self.name}"


@dataclass
class Scope:
    """What expressions of one function see, and what they ask for.

    Attributes:
        uses: values of the thread that are passed to the function, see printer.CONTEXT.
        callees: printed functions it calls.
        arrays: bytes of the group's arrays, by the constant that says where each lies.
        tuples: structs it needs.
        cooperates: whether threads of a group meet in it.
        changed: whether a type has changed, so that the text has to be printed again.
        target: the variable that is assigned to.
        indexing: whether what is evaluated is an index.
    """

    module: Functions
    source: Source
    variables: dict[str, Variable] = field(default_factory=dict)
    uses: set[str] = field(default_factory=set)
    callees: list[Printed] = field(default_factory=list)
    arrays: dict[str, int] = field(default_factory=dict)
    tuples: set[TupleType] = field(default_factory=set)
    cooperates: bool = False
    changed: bool = False
    target: str = "array"
    indexing: bool = False
    _temporaries: dict[tuple[ast.AST, str], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = {n.id for n in ast.walk(self.source.tree) if isinstance(n, ast.Name)}

    def free(self, name: str) -> str:
        """A name near to `name` that the function does not use."""
        while name in self.names or name in self.variables:
            name += "_"
        return variable_name(name)

    def temporary(self, node: ast.AST, name: str) -> str:
        """As `free`, a name for one statement only."""
        if (node, name) not in self._temporaries:
            stem = found = self.free(name)
            number = 1
            while found in self._temporaries.values() or found in self.names:
                number += 1
                found = f"{stem}_{number}"
            self._temporaries[node, name] = found
        return self._temporaries[node, name]

    def use(self, name: str) -> str:
        """A value of the thread: its name, which is also the text."""
        self.uses.add(name)
        return name

    def assign(self, name: str, value: Expr) -> Variable:
        """The variable after `value` is assigned to it."""
        known = value.number is not None
        variable = self.variables.get(name)
        if variable is None:
            if isinstance(value.type, Static):
                raise Refused(f"{name} cannot be {describe(value.type)}")
            variable = Variable(variable_name(name), value.type, value.bits, value.positive, known)
            self.variables[name] = variable
            return variable
        before = (variable.type, variable.bits, variable.positive, variable.known)
        variable.type = self._unified(name, variable, value)
        variable.bits = variable.bits if value.bits <= variable.bits else 64
        variable.positive = variable.positive and value.positive
        variable.known = variable.known and known
        after = (variable.type, variable.bits, variable.positive, variable.known)
        self.changed = self.changed or after != before
        return variable

    def _unified(self, name: str, variable: Variable, value: Expr) -> Type:
        """The type after the assignment; a known integer does not keep a float from being one."""
        kinds = (variable.type, value.type)
        if dt.float32 in kinds and all(isinstance(k, DType) and k.kind in "iuf" for k in kinds):
            known = variable.known if value.type is dt.float32 else value.number is not None
            if known:
                return dt.float32
        try:
            return unify(*kinds)
        except Refused as err:
            raise Refused(f"{name} {err}", err.hint) from err

    def find(self, name: str) -> Any:
        """What a name that is no variable stands for."""
        found = self.source.lookup(name)
        if found is MISSING:
            raise Refused(f"{name} is not defined, or read before it is assigned")
        return found
