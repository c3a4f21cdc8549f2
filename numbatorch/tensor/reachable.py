"""The places that a function may read beside its arguments, found by a walk before it is traced.

The walk goes from the function to all that its code can reach, by the names that the code spells.
It looks at names and not at what runs, so it may find more than is read.
"""

from __future__ import annotations

import enum
import functools
import sys
import weakref
from collections import deque
from collections.abc import Iterable
from types import BuiltinMethodType, FunctionType, MethodType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.tensor.base import Handle
from numbatorch.tensor.guards import ATTRIBUTES, PLAIN, READERS, Guards, Place, in_cell
from numbatorch.tensor.reads import names_of, reads_of
from numbatorch.tensor.tracked import Changes, Tracked


def guards_of(function: Any, arguments: Iterable[Any]) -> Guards:
    """The places that `function` may read, by itself and through its arguments."""
    seen = Changes.last
    walk = _Walk()
    for value in (function, *arguments):
        walk.visit_first(value)
    walk.run()
    return Guards(walk.places.values(), seen)


_OURS = "numbatorch"
_READ_AS_USERS = ("nn", "optim", "models", "generation", "pipelines")  # packages that hold state
_LIBRARIES = frozenset(("builtins", "numpy", "numba", "llvmlite", "torch", "jax"))
_LEAVES = (*PLAIN, DType, Device, np.generic, enum.Enum, range, slice)
_NOT_CALLED = frozenset(
    "__init__ __new__ __init_subclass__ __del__ __repr__ __str__ __hash__ __setattr__ __delattr__ "
    "__getstate__ __setstate__ __reduce__ __reduce_ex__".split()
)


@functools.lru_cache
def is_mutable(kind: Any) -> bool:
    """Whether objects of a class may change while they compare equal to others."""
    if issubclass(kind, (*_LEAVES, type, FunctionType)) or _is_frozen(kind):
        return False
    return "__dict__" in dir(kind) or "__slots__" in dir(kind)


@functools.lru_cache
def _is_leaf(kind: Any) -> bool:
    return issubclass(kind, _LEAVES)


@functools.lru_cache
def _is_opaque(module: str | None) -> bool:
    """Whether the code of a module is not looked into: it keeps no state that traces read."""
    if module is None:  # of code that was executed outside of any module
        return False
    names = module.split(".")
    if names[0] == _OURS:
        return len(names) < 2 or names[1] not in _READ_AS_USERS
    return names[0] in _LIBRARIES or names[0] in sys.stdlib_module_names


def _top(module: str | None) -> str:
    return (module or "").split(".")[0]


@functools.lru_cache
def _is_installed(module: str | None) -> bool:
    """Whether a module is of a package that was installed, and not of a program's own files."""
    file = getattr(sys.modules.get(module or ""), "__file__", None) or ""
    return not _is_ours(module) and ("site-packages" in file or "dist-packages" in file)


@functools.lru_cache
def _is_ours(module: str | None) -> bool:
    return module is not None and module.split(".")[0] == _OURS


def _is_data(value: Any) -> bool:
    """Whether an attribute of a class is a value, which an object's own may stand in for."""
    return not hasattr(type(value), "__get__")


def _is_frozen(kind: type) -> bool:
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and bool(parameters.frozen)


class _Shape(NamedTuple):
    """What the classes of an object say about its attributes.

    Attributes:
        ours: whether the class is of this package, whose code spells all that it reads.
        tracked: whether it counts changes.
        untraced: those that a trace does not depend on.
        slots: those that are no entries of a dict.
        data: those that the classes have values for.
    """

    ours: bool
    tracked: bool
    untraced: frozenset[str]
    slots: frozenset[str]
    data: frozenset[str]


def _shape(kind: type) -> _Shape:
    known, size = _shapes.get(kind), sum(len(vars(base)) for base in kind.__mro__)
    if known is None or known[0] != size:
        bases = [vars(base) for base in kind.__mro__ if not _is_opaque(base.__module__)]
        slots = [base.get("__slots__", ()) for base in bases]
        untraced: frozenset[str] = getattr(kind, "untraced", frozenset())
        found = _Shape(
            _is_ours(kind.__module__),
            issubclass(kind, Tracked),
            untraced,
            frozenset(name for s in slots for name in ((s,) if isinstance(s, str) else s))
            - untraced
            - {"__dict__", "__weakref__"},
            frozenset(name for base in bases for name, value in base.items() if _is_data(value)),
        )
        _shapes[kind] = known = size, found
    return known[1]


_shapes: weakref.WeakKeyDictionary[type, tuple[int, _Shape]] = weakref.WeakKeyDictionary()


class _Walk:
    """Goes from objects to what they hold under the names that the code found so far spells."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, int, Any], Place] = {}
        self._names: set[str] = set()
        self._any_attribute = False
        self._seen: dict[int, Any] = {}  # and what has the id is held, so that it stays its own
        self._todo: list[Any] = []
        self._own: set[str] = set()  # packages that what is traced is part of
        self._instances: list[Any] = []
        self._modules: list[ModuleType] = []
        self._classes: list[type] = []

    def visit(self, value: Any) -> None:
        """Look into a value later."""
        kind: Any = type(value)
        if not _is_leaf(kind) and id(value) not in self._seen:
            self._seen[id(value)] = value
            self._todo.append(value)

    def visit_first(self, value: Any) -> None:
        """Look into a value later, and into all code of its package."""
        self._own.add(_top(getattr(value, "__module__", None)))
        self.visit(value)

    def run(self) -> None:
        """Look into everything until no new name leads to something new."""
        known: set[str] = set()
        instances: list[Any] = []
        while self._todo:
            while self._todo:
                self._look_into(self._todo.pop())
            # What was looked into under the names that are known is so under new ones only.
            fresh, known = self._names - known, set(self._names)
            any_name = self._any_attribute
            for instance in instances:
                self._attributes(instance, None if any_name else fresh)
            for instance in self._instances:
                self._attributes(instance, None if any_name else known)
            instances += self._instances
            self._instances = []
            for module in self._modules:
                self._of_names(module)
            for kind in self._classes:
                self._class(kind)
        for instance in instances:
            shape = _shape(type(instance))
            if hasattr(instance, "__dict__"):
                self._place(ATTRIBUTES, instance, (shape.data & self._names) | shape.untraced)

    def _place(self, kind: str, owner: Any, key: Any) -> Any:
        """Note a place, and look into what stands there later; returns that."""
        index = kind, id(owner), key
        if index not in self.places:
            expected = READERS[kind](owner, key)
            self.places[index] = Place(kind, owner, key, expected)
            self.visit(expected)
        return self.places[index].expected

    def _look_into(self, value: Any) -> None:
        if isinstance(value, Tracked | Handle):
            self._object(value)
        elif isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, MethodType | classmethod | staticmethod):
            self.visit(value.__func__)
            self.visit(getattr(value, "__self__", None))
        elif isinstance(value, BuiltinMethodType):
            if not isinstance(value.__self__, ModuleType):
                self.visit(value.__self__)
        elif isinstance(value, weakref.ref):
            self.visit(value())
        elif isinstance(value, property):
            self.visit(value.fget)
        elif isinstance(value, functools.partial):
            self._each((value.func, *value.args, *value.keywords.values()))
        elif isinstance(value, tuple | frozenset):
            self._each(value)
        elif isinstance(value, list | deque | set):
            self._each(self._place("elements", value, ""))
        elif isinstance(value, dict):
            self._dict(value)
        elif isinstance(value, np.ndarray):
            if value.flags.writeable:
                self._place("array", value, value.shape)
        elif isinstance(value, type):
            if not self._is_foreign(value.__module__):
                self._classes += [kind for kind in value.__mro__ if self._is_new(kind, value)]
        elif isinstance(value, ModuleType):
            self._module(value)
        else:
            self._object(value)

    def _module(self, module: ModuleType) -> None:
        name = module.__name__
        if name == "random":
            self.visit(module.random.__self__)
        elif name == "numpy.random":
            self.visit(module.mtrand._rand)
        elif not _is_ours(name) and not self._is_foreign(name):
            self._modules.append(module)

    def _is_new(self, kind: type, of: type) -> bool:
        if kind is not of and id(kind) in self._seen:
            return False
        self._seen[id(kind)] = kind
        return not self._is_foreign(kind.__module__)

    def _is_foreign(self, module: str | None) -> bool:
        """Whether code is not looked into: that of libraries which what is traced is no part of."""
        if _is_opaque(module):
            return True
        return _is_installed(module) and _top(module) not in self._own

    def _each(self, values: Iterable[Any]) -> None:
        for value in values:
            self.visit(value)

    def _dict(self, value: dict[Any, Any]) -> None:
        untraced = getattr(type(value), "untraced", None)
        if untraced is None:
            self._each(self._place("entries", value, ""))
            return
        for key in value:
            if key not in untraced:
                self._place("entry", value, key)

    def _function(self, function: FunctionType) -> None:
        code, module = function.__code__, function.__module__
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        self._each(function.__defaults__ or ())
        self._each((function.__kwdefaults__ or {}).values())
        if self._is_foreign(module):
            self._each(in_cell(cell, name) for name, cell in cells.items())
        elif _is_ours(module):
            names = names_of(code)
            self._names |= names
            for name, cell in cells.items():
                self._place("variable", cell, name)
            for name in names & function.__globals__.keys():
                self.visit(function.__globals__[name])
        else:
            reads = reads_of(code)
            self._names |= reads.attributes
            self._any_attribute = self._any_attribute or reads.any_attribute
            for name in reads.cells & cells.keys():
                self._place("variable", cells[name], name)
            for name in reads.variables & function.__globals__.keys():
                found = self._place("global", function.__globals__, name)
                if found is np and "random" in reads.attributes:
                    self.visit(np.random)

    def _object(self, value: Any) -> None:
        kind = type(value)
        if isinstance(value, Handle):
            if hasattr(value, "__dict__") and (value.__dict__ or self._any_attribute):
                self._instances.append(value)
        elif kind.__module__.startswith("numpy"):
            if not {"bit_generator", "state", "get_state"}.isdisjoint(dir(kind)):
                self._place("generator", value, "")
        elif hasattr(kind, "getstate"):
            self._place("generator", value, "")
        elif hasattr(kind, "__next__") and _is_opaque(kind.__module__):
            if not hasattr(kind, "write"):  # it is no file
                self._place("iterator", value, "")
        elif _is_ours(kind.__module__) and _is_opaque(kind.__module__):
            self._wrapped(value)
        elif _is_frozen(kind):
            self._each(getattr(value, "__dict__", {}).values())
            self.visit(kind)
        else:
            if isinstance(value, Tracked):
                self._own.add(_top(kind.__module__))
            self._wrapped(value)
            self._instances.append(value)
            self.visit(kind)

    def _wrapped(self, value: Any) -> None:
        """The function that a compiled or cached one calls."""
        self.visit(getattr(value, "__dict__", {}).get("__wrapped__"))

    def _attributes(self, value: Any, names: set[str] | None) -> None:
        """The attributes of an object under some names, or under any where that is None."""
        shape = _shape(type(value))
        own = getattr(value, "__dict__", {})
        wanted = self._names if names is None and shape.ours else names
        found = set(own) if wanted is None else own.keys() & wanted
        if shape.tracked:  # it may go through its parameters and modules without naming them
            found |= {name for name, held in own.items() if isinstance(held, Handle | Tracked)}
        for name in found - shape.untraced:
            self._place("attribute", value, name)
        members = shape.data - own.keys() if hasattr(value, "__dict__") else frozenset()
        for name in (members & self._names) | shape.slots:
            if wanted is None or name in wanted:
                self._place("member", value, name)

    def _of_names(self, module: ModuleType) -> None:
        for name in self._names & vars(module).keys():
            self._place("attribute", module, name)

    def _class(self, kind: type) -> None:
        for name, value in list(vars(kind).items()):
            special = name.startswith("__") and name.endswith("__")
            if special and name not in _NOT_CALLED and isinstance(value, FunctionType):
                self.visit(value)
            elif not special and name in self._names:
                if _is_ours(kind.__module__):
                    self.visit(value)
                else:
                    self._place("attribute", kind, name)
        for base in kind.__mro__[1:]:  # what a class inherits it may have itself later
            if not _is_ours(kind.__module__) and base in self._classes:
                for name in (self._names & vars(base).keys()) - vars(kind).keys():
                    self._place("attribute", kind, name)
