"""The places that a function may read beside its arguments, found by a walk before it is traced.

The walk goes from the function to all that its code can reach, by the names that the code spells.
It looks at names and not at what runs, so it may find more than is read.
"""

from __future__ import annotations

import functools
import operator
import sys
import weakref
from abc import ABCMeta
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from contextvars import ContextVar
from importlib.util import resolve_name
from types import (
    BuiltinMethodType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)
from typing import Any

import numpy as np

from numbatorch import settings
from numbatorch.tensor.base import Handle
from numbatorch.tensor.classes import (
    GROWING,
    Shape,
    has_bytes,
    is_frozen,
    is_installed,
    is_leaf,
    is_opaque,
    is_ours,
    is_standard,
    may_change,
    may_hide,
    package_of,
    shape_of,
)
from numbatorch.tensor.guards import ATTRIBUTES, READERS, Guards, Place, in_cell, teller_of
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


def declarations_of(function: Any) -> list[Place]:
    """The places that say which arguments a function takes, and what stands for those left out."""
    found: list[Place] = []

    def note(kind: str, owner: Any, *keys: str) -> None:
        found.extend(Place(kind, owner, key, READERS[kind](owner, key)) for key in keys)

    while function is not None:
        inner = getattr(function, "__func__", None)
        if isinstance(function, functools.partial):
            note("member", function, "func", "args")
            note("entries", function.keywords, "")
            inner = function.func
        elif isinstance(function, FunctionType):
            note("member", function, "__code__", "__defaults__", "__kwdefaults__", "__wrapped__")
            if function.__kwdefaults__:
                note("entries", function.__kwdefaults__, "")
            inner = getattr(function, "__wrapped__", None)
        elif inner is None and not isinstance(function, type | BuiltinMethodType):
            note("member", type(function), "__call__")
            called = found[-1].expected
            inner = called if isinstance(called, FunctionType) else None
        function = inner
    return found


_CONSTRUCTORS = frozenset(("__init__", "__new__", "__post_init__"))
_NOT_CALLED = frozenset(
    "__init_subclass__ __del__ __delattr__ __getstate__ __setstate__ __reduce__ "
    "__reduce_ex__".split()
)
_OURS_NOT_CALLED = frozenset(("__repr__", "__str__", "__hash__", "__setattr__"))
_STATE = (Tracked, Handle)
_METHODS = (MethodType, classmethod, staticmethod)  # a tuple is found sooner than a union
_VIEWS: tuple[type, ...] = (type({}.keys()), type({}.values()), type({}.items()))


class _Walk:
    """Goes from objects to what they hold under the names that the code found so far spells."""

    def __init__(self) -> None:
        self.places: dict[tuple[str, int, Any], Place] = {}
        self._names: set[str] = set()
        self._grown: set[str] = set()  # names of what code adds to; read unless it is a container
        self._spelled: set[str] = set()  # those that a program's own code spells
        self._partly: list[dict[Any, Any]] = []  # dicts of which not all is looked at
        self._any_attribute = False
        self._any_class = False  # whether code may make objects of the classes of others
        self._seen: dict[int, Any] = {}  # and what has the id is held, so that it stays its own
        self._todo: list[Any] = []
        self._own: set[str] = set()  # packages that what is traced is part of
        self._instances: list[Any] = []
        self._seeded: list[Any] = []  # generators of random numbers of ours
        self._modules: list[ModuleType] = []
        self._classes: dict[type, None] = {}
        self._constructed: set[type] = set()  # classes that code may call
        self._absent: dict[int, tuple[dict[str, Any], set[str]]] = {}  # names of no global
        self._shapes: dict[type, Shape] = {}

    def visit(self, value: Any) -> None:
        """Look into a value later."""
        kind: Any = type(value)
        if not is_leaf(kind) and id(value) not in self._seen:
            self._seen[id(value)] = value
            self._todo.append(value)

    def visit_first(self, value: Any) -> None:
        """Look into a value later, and into all code of its package."""
        self._own.add(package_of(getattr(value, "__module__", None)))
        self.visit(value)

    def run(self) -> None:
        """Look into everything until no new name leads to something new."""
        known: set[str] = set()
        instances: list[Any] = []
        looked_for: tuple[int, int, bool] | None = None
        while self._todo:
            while self._todo:
                self._look_into(self._todo.pop())
            # What was looked into under the names that are known is so under new ones only.
            fresh, known = self._names - known, set(self._names)
            any_name = self._any_attribute
            before, looked_for = looked_for, (len(known), len(self._grown), any_name)
            for instance in instances if looked_for != before else ():
                self._attributes(instance, None if any_name else fresh)
            for instance in self._instances:
                self._parts(instance)
                self._attributes(instance, None if any_name else known)
            instances += self._instances
            self._instances = []
            for module in self._modules:
                self._of_names(module)
            for kind in self._classes:
                self._class(kind)
        for instance in instances:
            shape = self._shape(type(instance))
            left_out = shape.untraced
            if shape.ours or not self._any_attribute:  # else their order counts too
                left_out |= shape.data & self._names
            if hasattr(instance, "__dict__"):
                self._place(ATTRIBUTES, instance, left_out)
        for generator in self._seeded if "initial_seed" in self._names else ():
            self._place("attribute", generator, "_seed")
        for group in self._partly:  # what ours reads from tensors, others may read there
            for key in self._spelled & group.keys():
                self._place("entry", group, key)
        for variables, names in self._absent.values():
            self._place("absent", variables, frozenset(names))

    def _shape(self, kind: type) -> Shape:
        found = self._shapes.get(kind)
        if found is None:
            found = self._shapes[kind] = shape_of(kind)
        return found

    def _place(self, kind: str, owner: Any, key: Any, look: bool = True) -> Any:
        """Note a place, and `look` into what stands there later; returns that."""
        index = kind, id(owner), key
        if index not in self.places:
            expected = READERS[kind](owner, key)
            self.places[index] = Place(kind, owner, key, expected)
            if look:
                self.visit(expected)
        return self.places[index].expected

    def _look_into(self, value: Any) -> None:
        if type(value) in weakref.ProxyTypes:
            with suppress(ReferenceError):
                self.visit(value.__init__.__self__)
        elif isinstance(value, _STATE) or not (self._calls(value) or self._holds(value)):
            self._object(value)

    def _calls(self, value: Any) -> bool:
        """Look into what may be called, or has what is called; False for anything else."""
        if isinstance(value, FunctionType):
            self._function(value)
        elif isinstance(value, _METHODS):
            self.visit(value.__func__)
            self.visit(getattr(value, "__self__", None))
        elif isinstance(value, BuiltinMethodType):
            if not isinstance(value.__self__, ModuleType):
                self.visit(value.__self__)
        elif isinstance(value, property):
            self.visit(value.fget)
        elif isinstance(value, functools.partial):
            self._place("member", value, "func")
            self._place("member", value, "args")
            self.visit(value.keywords)
            self._instances.append(value)
        elif isinstance(value, (operator.attrgetter, operator.methodcaller)):
            self._any_attribute = True
        elif isinstance(value, type):
            self._constructed.add(value)
            self._kind(value)
        elif isinstance(value, ModuleType):
            self._module(value)
        else:
            return False
        return True

    def _holds(self, value: Any) -> bool:
        """Look into a container; False for anything else."""
        if isinstance(value, (tuple, frozenset)):
            self._each(value)
        elif isinstance(value, (*GROWING, *_VIEWS)):
            self._each(self._place("elements", value, ""))
        elif isinstance(value, dict):
            self._dict(value)
        elif isinstance(value, MappingProxyType):
            self._each(self._place("entries", value, ""))
        elif isinstance(value, np.ndarray):
            if may_change(value):
                self._place("array", value, "")
            if value.dtype.hasobject:
                self._each(value.flat)
        elif isinstance(value, weakref.ref):
            self.visit(value())
        else:
            return False
        if not is_opaque(type(value).__module__):
            self._object(value)
        return True

    def _module(self, module: ModuleType) -> None:
        name = module.__name__
        if name == "random":
            self.visit(module.random.__self__)
        elif name == "numpy.random":
            self.visit(module.mtrand._rand)
        elif is_standard(name) or not (is_ours(name) or self._is_foreign(name)):
            self._modules.append(module)

    def _is_foreign(self, module: str | None) -> bool:
        """Whether code is not looked into: that of libraries which what is traced is no part of."""
        if is_opaque(module):
            return True
        return is_installed(module) and package_of(module) not in self._own

    def _each(self, values: Iterable[Any]) -> None:
        for value in values:
            self.visit(value)

    def _dict(self, value: dict[Any, Any]) -> None:
        untraced = getattr(type(value), "untraced", None)
        if untraced is None:
            self._each(self._place("entries", value, ""))
            if isinstance(value, defaultdict):
                self._place("member", value, "default_factory")
            return
        for key in value:
            if key not in untraced:
                self._place("entry", value, key)
        self._partly.append(value)

    def _function(self, function: FunctionType) -> None:
        code, module = function.__code__, function.__module__
        cells = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
        self._each(function.__defaults__ or ())
        self._each((function.__kwdefaults__ or {}).values())
        if self._is_foreign(module):
            self._each(in_cell(cell, name) for name, cell in cells.items())
            if settings.reads_variables(function):
                self.visit(settings.VARIABLES)
        elif is_ours(module):
            names = names_of(code)
            self._names |= names
            for name, cell in cells.items():
                self._place("variable", cell, name)
            for name in names & function.__globals__.keys():
                self.visit(function.__globals__[name])
        else:
            self._users(function, cells)

    def _users(self, function: FunctionType, cells: dict[str, Any]) -> None:
        """Look into a function of a program, which may be given other code."""
        self._place("member", function, "__code__")
        for name in ("__defaults__", "__kwdefaults__"):
            if getattr(function, name) is not None:
                self._place("member", function, name)
        if vars(function):
            self._instances.append(function)
        reads, variables = reads_of(function.__code__), function.__globals__
        self._names |= reads.attributes
        self._spelled |= reads.attributes
        self._grown |= reads.grown
        self._any_attribute = self._any_attribute or reads.any_attribute
        self._any_class = self._any_class or "type" in reads.variables
        for name, cell in cells.items():
            if name in reads.cells or self._is_grown(name, in_cell(cell, name), reads.grown):
                self._place("variable", cell, name)
        wanted = reads.variables & variables.keys()
        if reads.any_variable:
            wanted = set(self._place("keys", variables, ""))
        grown = reads.grown & variables.keys()
        wanted |= {name for name in grown if self._is_grown(name, variables[name], grown)}
        for name in wanted:
            found = self._place("global", variables, name)
            if found is np and "random" in reads.attributes:
                self.visit(np.random)
        absent = reads.variables - variables.keys()
        if absent:
            self._absent.setdefault(id(variables), (variables, set()))[1].update(absent)
        for level, name in reads.imports:
            self._imported(level, name, variables)

    @staticmethod
    def _is_grown(name: str, value: Any, grown: set[str]) -> bool:
        """Whether code calls `append` or `add` of something that is no container."""
        return name in grown and not isinstance(value, GROWING)

    def _imported(self, level: int, name: str, variables: dict[str, Any]) -> None:
        """Look into a module that a function imports, and into those that it is in."""
        if level:
            name = resolve_name("." * level + name, variables.get("__package__") or "")
        parts = name.split(".")
        for count in range(1, len(parts) + 1):
            outer = ".".join(parts[:count])
            if is_opaque(outer) or (outer in sys.modules and self._is_foreign(outer)):
                self.visit(sys.modules.get(outer))
            else:
                self._place("entry", sys.modules, outer)

    def _object(self, value: Any) -> None:
        kind: Any = type(value)
        module = kind.__module__
        if isinstance(value, Handle):
            if hasattr(value, "__dict__") and (value.__dict__ or self._any_attribute):
                self._instances.append(value)
        elif module.startswith("numpy"):
            if not {"bit_generator", "state", "get_state"}.isdisjoint(dir(kind)):
                self._place("generator", value, "")
            elif hasattr(value, "__dict__"):
                self._instances.append(value)
        elif hasattr(kind, "getstate"):
            self._place("generator", value, "")
        elif kind is ContextVar:
            self._place("context", value, "")
        elif hasattr(kind, "__next__") and is_opaque(module) and not hasattr(kind, "write"):
            self._place("iterator", value, "")  # it is no file
        elif is_ours(module) and is_opaque(module):
            self._wrapped(value)
            if hasattr(kind, "initial_seed"):
                self._seeded.append(value)
        elif settings.reads_variables(value):
            self.visit(settings.VARIABLES)
        elif is_frozen(kind):
            slots = self._shape(kind).slots
            self._each(getattr(value, "__dict__", {}).values())
            self._each(getattr(value, name, None) for name in slots)
            self._kind(kind)
        else:
            if may_hide(kind):
                self._hidden(value, kind)
            if isinstance(value, Tracked):
                self._own.add(package_of(module))
            if not isinstance(value, tuple) and not self._is_foreign(module):
                self._place("member", value, "__class__", look=False)
            self._wrapped(value)
            self._instances.append(value)
            self._kind(kind)

    def _hidden(self, value: Any, kind: type) -> None:
        """What an object keeps where no attribute shows it."""
        if has_bytes(value):
            self._place("array", value, "")
        if teller_of(kind) is not None:
            self._place("state", value, "")

    def _wrapped(self, value: Any) -> None:
        """The function that a compiled or cached one calls."""
        self.visit(getattr(value, "__dict__", {}).get("__wrapped__"))

    def _parts(self, value: Any) -> None:
        """What an object may go through without naming it: its parameters and modules."""
        shape = self._shape(type(value))
        if shape.tracked:
            for name, held in vars(value).items():
                if isinstance(held, _STATE) and name not in shape.untraced:
                    self._place("attribute", value, name)

    def _attributes(self, value: Any, names: set[str] | None) -> None:
        """The attributes of an object under some names, or under any where that is None."""
        shape = self._shape(type(value))
        own = getattr(value, "__dict__", {})
        wanted = self._names if names is None and shape.ours else names
        found = set(own) if wanted is None or shape.any else own.keys() & wanted
        grown = own.keys() & self._grown
        found |= {name for name in grown if self._is_grown(name, own[name], grown)}
        for name in found - shape.untraced:
            self._place("attribute", value, name)
        members = shape.data - own.keys() if hasattr(value, "__dict__") else frozenset()
        for name in (members & self._names) | shape.slots:
            if wanted is None or name in wanted or name in self._grown:
                self._place("member", value, name)

    def _of_names(self, module: ModuleType) -> None:
        """What a module holds under the names; of one of Python's what can change in place."""
        held = vars(module)
        standard = is_standard(module.__name__)
        if "__getattr__" in held and not standard:
            self._place("attribute", module, "__getattr__")
            absent = self._names - held.keys()
            self._absent.setdefault(id(held), (held, set()))[1].update(absent)
        for name in (self._names | self._grown) & held.keys():
            value = held[name]
            if not standard:
                if name in self._names or self._is_grown(name, value, self._grown):
                    self._place("attribute", module, name)
            elif value is not sys.modules and (
                isinstance(value, (*GROWING, dict)) or settings.reads_variables(value)
            ):
                self.visit(value)

    def _kind(self, kind: type) -> None:
        """Look into a class, those that it inherits from, and its own class."""
        if kind in self._classes or self._is_foreign(kind.__module__):
            return
        for base in kind.__mro__:
            if not self._is_foreign(base.__module__):
                self._classes[base] = None
        self._kind(type(kind))

    def _class(self, kind: type) -> None:
        ours = is_ours(kind.__module__)
        if not ours:
            self._place("member", kind, "__mro__", look=False)
            self._place(ATTRIBUTES, kind, frozenset())
            if isinstance(kind, ABCMeta):
                self._place("registered", ABCMeta, "")
        constructs = not ours and (kind in self._constructed or self._any_class)
        for name, value in list(vars(kind).items()):
            if name.startswith("__") and name.endswith("__"):
                skipped = name in _NOT_CALLED or (name in _CONSTRUCTORS and not constructs)
                skipped = skipped or (ours and name in _OURS_NOT_CALLED)
                read = isinstance(value, FunctionType) and not skipped
            else:
                any_name = self._any_attribute and not ours
                read = any_name or name in self._names
                read = read or self._is_grown(name, value, self._grown)
            if read and ours:
                self.visit(value)
            elif read:
                self._place("attribute", kind, name)
