"""Plan variables: numbers that change between replays of a plan (position, learning rate)."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

Values = Mapping[str, Any]  # of the variables of a replay, by name
NO_VALUES: Values = {}


class Variable(int):
    """An int whose value in a plan is patched at each replay: `cell[0] + offset`.

    `int(v)` is the value of the trace, which shape rules check; they are asked again at each
    replay. Adding an int keeps it variable. Any other use would freeze its value and is refused.

    >>> position = Variable.fresh("position", 3)
    >>> int(position + 2), (position + 2).offset
    (5, 2)
    """

    name: str
    cell: list[int]
    offset: int

    @staticmethod
    def fresh(name: str, value: int) -> Variable:
        """A new variable with `value` during the trace."""
        return Variable._make(name, [int(value)], 0, int(value))

    @staticmethod
    def _make(name: str, cell: list[int], offset: int, value: int) -> Variable:
        made = Variable(value)
        made.name = name
        made.cell = cell
        made.offset = offset
        return made

    def __add__(self, other: int) -> Variable:
        if isinstance(other, Variable) or not isinstance(other, int):
            raise TypeError(f"variable {self.name}: only an int can be added to a plan variable")
        return Variable._make(
            self.name, self.cell, self.offset + int(other), int(self) + int(other)
        )

    __radd__ = __add__

    def __sub__(self, other: int) -> Variable:
        return self + -other

    def __repr__(self) -> str:
        return f"{self.name}{self.offset:+d}" if self.offset else self.name

    def at(self, values: Values) -> int:
        """The value in a replay whose variables have these values; in none that of the trace."""
        found: int = values.get(self.name, self.cell[0])
        return found + self.offset

    def _frozen(self, *others: Any) -> Any:
        raise TypeError(
            f"variable {self.name}: this would freeze a value that changes between replays; pass "
            "it to an operator as it is, plus or minus a constant (int(v) is the traced value)"
        )


# What would take the traced value for the value of every replay.
for _name in (
    "mul rmul rsub floordiv rfloordiv mod rmod pow rpow truediv rtruediv divmod rdivmod neg abs "
    "lshift rlshift rshift rrshift and rand or ror xor rxor invert lt le gt ge eq ne bool index "
    "float round"
).split():
    setattr(Variable, f"__{_name}__", Variable._frozen)
Variable.__hash__ = object.__hash__  # type: ignore[method-assign]


class FloatVariable:
    """A float whose value in a plan is patched at each replay.

    Arithmetic with numbers gives another one, which is computed anew at each replay. It passes for
    a float where an operator takes one, and has no value that code could freeze: asking for it, by
    a branch or `float`, is an error.

    >>> rate = FloatVariable("rate", [0.5])
    >>> isinstance(rate, float), (1 - rate * 0.5).at({"rate": 0.25})
    (True, 0.875)
    """

    __slots__ = ("_compute", "cell", "name")

    def __init__(
        self, name: str, cell: list[Any], compute: Callable[[Values], float] | None = None
    ) -> None:
        self.name = name
        self.cell = cell
        self._compute = compute

    __class__ = property(lambda self: float)

    @property
    def is_computed(self) -> bool:
        """Whether it is not the variable itself, but comes of arithmetic with it."""
        return self._compute is not None

    def at(self, values: Values) -> float:
        """The value in a replay whose variables have these values; in none that of the trace."""
        if self._compute is not None:
            return self._compute(values)
        return float(values.get(self.name, self.cell[0]))

    def __repr__(self) -> str:
        return self.name

    def __neg__(self) -> FloatVariable:
        return FloatVariable(self.name, self.cell, lambda values: -self.at(values))

    def _frozen(self, *_others: Any) -> Any:
        raise TypeError(
            f"variable {self.name}: this would freeze a value that changes between replays; pass "
            "it to an operator, by itself or after arithmetic with numbers"
        )


def _computed(function: Callable[[Any, Any], Any], swapped: bool) -> Callable[[Any, Any], Any]:
    """The method of a float variable that applies `function` to it and another number."""

    def method(self: FloatVariable, other: Any) -> Any:
        if not isinstance(other, int | float):
            return NotImplemented
        lhs, rhs = (other, self) if swapped else (self, other)

        def compute(values: Values) -> float:
            return float(function(current(lhs, values), current(rhs, values)))

        return FloatVariable(self.name, self.cell, compute)

    return method


for _name in ("add", "sub", "mul", "truediv", "pow"):
    for _prefix in ("", "r"):
        _method = _computed(getattr(operator, _name), bool(_prefix))
        setattr(FloatVariable, f"__{_prefix}{_name}__", _method)
for _name in (
    "floordiv rfloordiv mod rmod divmod rdivmod abs lt le gt ge eq ne bool int float round trunc "
    "floor ceil index complex format"
).split():
    setattr(FloatVariable, f"__{_name}__", FloatVariable._frozen)
FloatVariable.__hash__ = object.__hash__  # type: ignore[method-assign]


def variable(name: str, value: Any) -> Variable | FloatVariable:
    """A new variable, an int or a float as `value` is, with that value during the trace."""
    if isinstance(value, int):
        return Variable.fresh(name, value)
    return FloatVariable(name, [value])


def is_variable(value: Any) -> bool:
    """Whether an attribute is a plan variable or holds one."""
    if isinstance(value, tuple):
        return any(map(is_variable, value))
    return isinstance(value, Variable | FloatVariable)


def current(value: Any, values: Values) -> Any:
    """An attribute as it is in a replay: a plan variable, or a tuple with some, as numbers."""
    if isinstance(value, Variable | FloatVariable):
        return value.at(values)
    if isinstance(value, tuple):
        return tuple([x if type(x) is int else current(x, values) for x in value])
    return value


_ITSELF: set[type] = {int, bool, str, type(None)}


def counts_as_itself(kind: type) -> None:
    """Attributes of this class are compared as what they are."""
    _ITSELF.add(kind)


def attribute_key(value: Any) -> Any:
    """What an attribute counts as when graphs are compared: itself, or a variable's identity."""
    kind = type(value)  # a variable says of its class that it is int or float
    if kind in _ITSELF:
        return value
    if kind is tuple:
        for item in value:
            if type(item) is not int:
                return tuple([attribute_key(item) for item in value])
        return value
    if kind is float:  # a fraction equals nothing but itself, and 0.0 equals -0.0 and 0
        return value if value % 1.0 and value - value == 0.0 else repr(value)
    if isinstance(value, Variable):
        return ("variable", id(value.cell), value.offset)
    if isinstance(value, FloatVariable):
        return ("variable", id(value))
    if isinstance(value, tuple):
        return tuple(map(attribute_key, value))
    if isinstance(value, float | complex):
        return repr(value)
    return value
