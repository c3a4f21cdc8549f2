"""What the walk before a trace knows of classes and modules: whose they are, what may change."""

from __future__ import annotations

import functools
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from types import CodeType, FunctionType, MemberDescriptorType
from typing import Any, NamedTuple

import numpy as np

from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.errors import message
from numbatorch.tensor.guards import PLAIN
from numbatorch.tensor.tracked import Tracked
from numbatorch.variable import attribute_key

_OURS = "numbatorch"
_READ_AS_USERS = ("nn", "optim", "models", "generation", "pipelines")  # packages that hold state
_LIBRARIES = frozenset(("builtins", "numpy", "numba", "llvmlite", "torch", "jax"))
_LEAVES = (*PLAIN, DType, Device, np.generic, range, slice, CodeType)

# Modules of Python's and NumPy, whose objects hold what users give them.
_CONTAINERS = frozenset(
    "_thread argparse collections configparser contextlib functools numpy queue string threading "
    "types weakref".split()
)

# Containers that a function may add to and not read.
GROWING = (list, set, deque)


@functools.lru_cache
def is_leaf(kind: type) -> bool:
    """Whether nothing in objects of a class can change."""
    return issubclass(kind, _LEAVES) and (kind in _LEAVES or is_opaque(kind.__module__))


@functools.lru_cache
def is_mutable(kind: type) -> bool:
    """Whether objects of a class may change while they compare equal to others."""
    if is_leaf(kind) or issubclass(kind, type | FunctionType) or is_frozen(kind):
        return False
    return "__dict__" in dir(kind) or "__slots__" in dir(kind)


def argument_key(value: Any) -> Any:
    """What an argument that is no tensor counts as: the object if it may change, else its value."""
    hash(value)  # raises TypeError for what has none
    kind = value.__class__
    if is_mutable(kind):
        return _Same(value)
    if is_frozen(kind):
        return kind, tuple(_field_key(getattr(value, field.name)) for field in fields(value))
    if isinstance(value, tuple):
        return kind, tuple(map(argument_key, value))
    if isinstance(value, frozenset):
        return kind, frozenset(map(argument_key, value))
    if isinstance(value, np.generic):
        return kind, value.dtype, value.tobytes()
    if kind.__module__ == "decimal":
        return kind, str(value)
    return kind, attribute_key(value)


_UNCHANGING: dict[type, str] = {set: "frozenset", bytearray: "bytes", list: "a tuple"}


def unkeyed(name: str, argument: Any) -> TypeError:
    """The error for an argument that is, or holds, what no trace can be told by."""
    value = next((x for x in _keyed_parts(argument) if type(x).__hash__ is None), argument)
    kind = type(value).__name__
    verb = "is" if value is argument else "holds a value"
    problem = f"argument {name} {verb} of type {kind}, which has no hash to tell traces by"
    hint = "give tensors, numbers or texts, or lists, tuples and dicts of them"
    if isinstance(value, np.ndarray):
        hint = "nt.from_numpy(array) is a tensor of its elements"
    elif is_dataclass(value):
        hint = f"@dataclass(frozen=True) of {kind} counts by its fields, eq=False as itself"
    elif type(value) in _UNCHANGING:
        hint = f"{_UNCHANGING[type(value)]} has one"
    return TypeError(message("compile", problem, hint=hint))


def _keyed_parts(argument: Any) -> Iterator[Any]:
    """What an argument is made of, whose values count; lists and dicts count by their elements."""
    if isinstance(argument, dict | list | tuple):
        for part in argument.values() if isinstance(argument, dict) else argument:
            yield from _keyed_parts(part)
    else:
        yield argument
        if is_frozen(type(argument)):
            yield from (getattr(argument, field.name) for field in fields(argument))


def _field_key(value: Any) -> Any:
    """As of an argument; what has no hash counts as itself."""
    try:
        return argument_key(value)
    except TypeError:
        return _Same(value)


class _Same:
    """Stands for an object that counts as itself alone, whatever it compares equal to."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


@functools.lru_cache
def is_opaque(module: str | None) -> bool:
    """Whether the code of a module is not looked into: it keeps no state that traces read."""
    if module is None:  # of code that was executed outside of any module
        return False
    names = module.split(".")
    if names[0] == _OURS:
        return len(names) < 2 or names[1] not in _READ_AS_USERS
    return names[0] in _LIBRARIES or is_standard(module)


def is_standard(module: str) -> bool:
    """Whether a module is one of Python's."""
    return module.split(".")[0] in sys.stdlib_module_names


def package_of(module: str | None) -> str:
    """The outermost package that a module is of."""
    return (module or "").split(".")[0]


@functools.lru_cache
def is_installed(module: str | None) -> bool:
    """Whether a module is of a package that was installed, and not of a program's own files."""
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return not is_ours(module) and ("site-packages" in file or "dist-packages" in file)


@functools.lru_cache
def is_ours(module: str | None) -> bool:
    """Whether a module is of this package."""
    return module is not None and package_of(module) == _OURS


def is_frozen(kind: type) -> bool:
    """Whether objects of a class are dataclasses that do not change."""
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


@functools.lru_cache
def holds_any(kind: type) -> bool:
    """Whether code that is not looked into reads the attributes of a class's objects."""
    return any(package_of(base.__module__) in _CONTAINERS for base in kind.__mro__)


def may_change(array: np.ndarray[Any, Any]) -> bool:
    """Whether anybody can write to the memory of an array."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return True
        base = base.base
    return base is not None and not isinstance(base, bytes)


@functools.lru_cache
def may_hide(kind: type) -> bool:
    """Whether a class has state of one of Python's or a library's, which no attribute may show."""
    modules = (base.__module__ for base in kind.__mro__ if base is not object)
    return any(is_opaque(module) and not is_ours(module) for module in modules)


def has_bytes(value: Any) -> bool:
    """Whether an object shows its memory, as a bytearray does."""
    try:
        memoryview(value).release()
    except (TypeError, ValueError, BufferError):
        return False
    return True


class Shape(NamedTuple):
    """What the classes of an object say about its attributes.

    Attributes:
        ours: whether the class is of this package, whose code spells all that it reads.
        tracked: whether it counts changes.
        any: whether attributes are read whose names no code spells that is looked into.
        untraced: those that a trace does not depend on.
        slots: those that are no entries of a dict.
        data: those that the classes have values for.
    """

    ours: bool
    tracked: bool
    any: bool
    untraced: frozenset[str]
    slots: frozenset[str]
    data: frozenset[str]


def shape_of(kind: type) -> Shape:
    """What a class says about the attributes of its objects, as it is now."""
    bases = [vars(base) for base in kind.__mro__ if not is_opaque(base.__module__)]
    items = [(name, value) for base in bases for name, value in base.items()]
    untraced: frozenset[str] = getattr(kind, "untraced", frozenset())
    return Shape(
        is_ours(kind.__module__),
        issubclass(kind, Tracked),
        holds_any(kind),
        untraced,
        frozenset(name for name, value in items if isinstance(value, MemberDescriptorType))
        - untraced,
        frozenset(name for name, value in items if _is_data(value)),
    )


def _is_data(value: Any) -> bool:
    """Whether an attribute of a class is a value, which an object's own may stand in for."""
    return not hasattr(type(value), "__get__")
