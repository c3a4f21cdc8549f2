"""Plan variables: integers that change between replays of a plan (position, length)."""

from __future__ import annotations

from typing import Any


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

    @property
    def current(self) -> int:
        """The value at this replay."""
        return self.cell[0] + self.offset

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


def is_variable(value: Any) -> bool:
    """Whether an attribute is a plan variable or holds one."""
    if isinstance(value, tuple):
        return any(isinstance(x, Variable) for x in value)
    return isinstance(value, Variable)


def current(value: Any) -> Any:
    """An attribute as it is at this replay: a plan variable, or a tuple with some, as numbers."""
    if isinstance(value, Variable):
        return value.current
    if isinstance(value, tuple):
        return tuple(map(current, value))
    return value


def attribute_key(value: Any) -> Any:
    """What an attribute counts as when graphs are compared: itself, or a variable's identity."""
    if isinstance(value, Variable):
        return ("variable", id(value.cell), value.offset)
    if isinstance(value, tuple):
        return tuple(map(attribute_key, value))
    if isinstance(value, float):
        return repr(value)
    return value
