"""Python's operators of arrays: functions of the namespace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbatorch.array_api import elementwise, linalg
from numbatorch.array_api.array import Array
from numbatorch.errors import DTypeError, message
from numbatorch.tensor import Tensor

Call = Callable[..., Any]


def _operator(function: Call, swapped: bool = False) -> Call:
    def method(self: Array, other: Any) -> Any:
        if not isinstance(other, Tensor | bool | int | float | complex):
            return NotImplemented
        return function(other, self) if swapped else function(self, other)

    return method


def _one(function: Call) -> Call:
    def method(self: Array) -> Any:
        return function(self)

    return method


def _in_place(function: Call) -> Call:
    def method(self: Array, other: Any) -> Any:
        found = function(self, other)
        if found.dtype is not self.dtype or found.shape != self.shape:
            problem = (
                f"{self.shape} {self.dtype.name} would become {found.shape} {found.dtype.name}"
            )
            raise DTypeError(message(function.__name__, problem))
        return found

    return method


_NAMES = {
    "add": elementwise.add,
    "sub": elementwise.subtract,
    "mul": elementwise.multiply,
    "truediv": elementwise.divide,
    "floordiv": elementwise.floor_divide,
    "mod": elementwise.remainder,
    "pow": elementwise.pow,
    "matmul": linalg.matmul,
    "and": elementwise.bitwise_and,
    "or": elementwise.bitwise_or,
    "xor": elementwise.bitwise_xor,
    "lshift": elementwise.bitwise_left_shift,
    "rshift": elementwise.bitwise_right_shift,
}
_UNARY = {
    "neg": elementwise.negative,
    "pos": elementwise.positive,
    "abs": elementwise.abs,
    "invert": elementwise.bitwise_invert,
}
_COMPARISONS = {
    "eq": elementwise.equal,
    "ne": elementwise.not_equal,
    "lt": elementwise.less,
    "le": elementwise.less_equal,
    "gt": elementwise.greater,
    "ge": elementwise.greater_equal,
}
for _python, _ours in _NAMES.items():
    setattr(Array, f"__{_python}__", _operator(_ours))
    setattr(Array, f"__r{_python}__", _operator(_ours, swapped=True))
    setattr(Array, f"__i{_python}__", _in_place(_ours))
for _python, _ours in _COMPARISONS.items():
    setattr(Array, f"__{_python}__", _operator(_ours))
for _python, _ours in _UNARY.items():
    setattr(Array, f"__{_python}__", _one(_ours))
