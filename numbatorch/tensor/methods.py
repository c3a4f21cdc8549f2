"""Methods of Tensor: public functions, found when they are first used, and Python's operators.

`ops/surface.py` says where functions come from. methods.pyi lists them for type checkers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.backends.outcome import note_finished
from numbatorch.errors import DTypeError, message
from numbatorch.graph import find, runs
from numbatorch.ops import families
from numbatorch.ops.operands import describe
from numbatorch.ops.surface import as_method
from numbatorch.tensor.base import Handle

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor


class Found(type):
    """The class of Tensor: looks public functions up when they are first used."""

    def __getattr__(cls, name: str) -> Any:
        function = None if name.startswith("_") else families.function("Tensor", name)
        if function is None:
            raise AttributeError(f"'{cls.__name__}' has no attribute {name!r}", name=name, obj=cls)
        method = as_method(name, function)
        if families.is_kept("Tensor", name):
            setattr(Methods, name, method)
        return method

    def __dir__(cls) -> Iterable[str]:
        return sorted({*super().__dir__(), *families.names("Tensor")})


class Methods(Handle, metaclass=Found):
    """Operators with tensors and numbers broadcast and promote as in PyTorch."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        if name == "node":  # of a view whose base has changed
            return self._taken_again()
        try:
            return getattr(type(self), name).__get__(self)
        except AttributeError:
            problem = f"'{type(self).__name__}' object has no attribute {name!r}"
            raise AttributeError(problem, name=name, obj=self) from None

    def __dir__(self) -> Iterable[str]:
        return dir(type(self))

    def __pos__(self) -> Tensor:
        return self._of(self._noted())

    def __invert__(self) -> Tensor:
        if self._noted().dtype.kind == "f":
            raise DTypeError(message("~", f"needs integers or bool, not {describe(self.node)}"))
        name = "logical_not" if self.node.dtype is dt.bool_ else "bitwise_not"
        return self._of(find(name).apply(self.node))

    def __pow__(self, other: Any) -> Any:
        if runs:
            note_finished()
        op: Any = find("pow")
        node = None if isinstance(other, Handle) else op.with_number(self.node, other)
        if node is not None:
            return self._fresh(node)
        return self.pow(other) if _is_operand(other) else _refused("pow", other)

    def __rpow__(self, other: Any) -> Any:
        if not _is_operand(other):
            return _refused("pow", other)
        power: Any = families.function("nt", "pow")
        return power(_unwrapped(other), self)

    def __matmul__(self, other: Any) -> Any:
        return self.matmul(other) if isinstance(other, Handle) else _refused("matmul", other)

    def __rmatmul__(self, other: Any) -> Any:
        if not isinstance(other, Handle):
            return _refused("matmul", other)
        product: Any = families.function("nt", "matmul")
        return product(other, self)

    __hash__ = object.__hash__


def _unwrapped(value: Any) -> Any:
    """The node of a tensor; a NumPy scalar as a Python number; anything else as it is."""
    if isinstance(value, Handle):
        return value.node
    if isinstance(value, np.generic):
        return value.item()
    return value


_OPERANDS = (Handle, bool, int, float, complex, np.bool_, np.number)


def _is_operand(value: Any) -> bool:
    """Whether `value` may stand beside a tensor in an operator."""
    return isinstance(value, _OPERANDS)


def _refused(name: str, other: Any) -> Any:
    """Python tries the other operand, unless that is an array: NumPy would answer for it."""
    if isinstance(other, np.ndarray):
        problem = f"an operand is a NumPy array {other.shape} {other.dtype}"
        raise TypeError(message(name, problem, hint="nt.from_numpy(array) is a tensor"))
    return NotImplemented


def _unary(name: str) -> Callable[[Handle], Any]:
    def method(self: Handle) -> Any:
        if runs:
            note_finished()
        op: Any = find(name)
        node = op.of_one(self.node)
        return self._of(op.apply(self.node)) if node is None else self._fresh(node)

    return method


def _binary(name: str) -> Callable[[Handle, Any], Any]:
    op: Any = None

    def method(self: Handle, other: Any) -> Any:
        nonlocal op
        if runs:
            note_finished()
        op = op or find(name)
        if isinstance(other, Handle):  # the usual case, and so a quick one
            node = op.alike(self.node, other.node)
            if node is None:
                return self._tensor(op.promoted(self.node, other.node))
            return self._fresh(node)
        node = op.with_number(self.node, other)
        if node is not None:
            return self._fresh(node)
        if not _is_operand(other):
            return _refused(name, other)
        return self._tensor(op.promoted(self.node, _unwrapped(other)))

    return method


def _reflected(name: str) -> Callable[[Handle, Any], Any]:
    op: Any = None

    def method(self: Handle, other: Any) -> Any:
        nonlocal op
        if runs:
            note_finished()
        op = op or find(name)
        node = op.with_number(self.node, other, first=True)
        if node is not None:
            return self._fresh(node)
        if not _is_operand(other):
            return _refused(name, other)
        return self._tensor(op.promoted(_unwrapped(other), self.node))

    return method


_OPERATORS: dict[Callable[[str], Callable[..., Any]], dict[str, str]] = {
    _unary: {"neg": "neg", "abs": "abs"},
    _binary: {
        **dict.fromkeys(("and", "rand"), "bitwise_and"),
        **dict.fromkeys(("or", "ror"), "bitwise_or"),
        **dict.fromkeys(("xor", "rxor"), "bitwise_xor"),
        **{name: name for name in ("add", "sub", "mul", "eq", "ne", "lt", "le", "gt", "ge")},
        "truediv": "div",
        "floordiv": "floor_divide",
        "mod": "remainder",
        "lshift": "bitwise_left_shift",
        "rshift": "bitwise_right_shift",
    },
    _reflected: {
        **{f"r{name}": name for name in ("add", "sub", "mul")},
        **dict.fromkeys(("rtruediv", "rdiv"), "div"),  # the second is Python 2's, and PyTorch's
        "rfloordiv": "floor_divide",
        "rmod": "remainder",
        "rlshift": "bitwise_left_shift",
        "rrshift": "bitwise_right_shift",
    },
}


def operator_of(method: str) -> str:
    """What `__iadd__` and the like apply: the name of the operator."""
    name = method.strip("_")
    return _OPERATORS[_binary].get(name.removeprefix("i"), name.removeprefix("i"))


def _operators() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Python's operators: the name of the method, and a method that applies an operator of ours."""
    for make, names in _OPERATORS.items():
        for python, ours in names.items():
            method = make(ours)
            method.__name__ = f"__{python}__"
            method.__qualname__ = f"Tensor.__{python}__"
            yield method.__name__, method


for _name, _method in _operators():
    setattr(Methods, _name, _method)
