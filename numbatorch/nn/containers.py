"""Modules and parameters in sequences and under names. What is neither is refused."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Self, overload

from numbatorch.errors import OutOfRange, message
from numbatorch.nn.module import Module, Parameter, check_module, tree
from numbatorch.tensor import Tensor


class _Numbered(Module):
    """Entries under names, read by their place; the names are 0, 1, ... unless others are given."""

    def _entries(self) -> dict[str, Any]:
        return dict(self._child_entries())

    def _check(self, name: str, value: object) -> Any:
        check_module(type(self).__name__, f"entry {name!r}", value)
        return value

    def _enter(self, values: Iterable[Any]) -> None:
        """Have these entries, under the numbers of their places, in place of all."""
        checked = [self._check(str(i), value) for i, value in enumerate(values)]
        for name in self._entries():
            delattr(self, name)
        for i, value in enumerate(checked):
            setattr(self, str(i), value)

    def _name(self, index: int) -> str:
        names = list(self._entries())
        place = operator.index(index)
        if not -len(names) <= place < len(names):
            problem = f"index {place} is out of range for {len(names)} entries"
            raise OutOfRange(message(type(self).__name__, problem))
        return names[place]

    def __len__(self) -> int:
        return len(self._entries())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._entries().values())

    def __setitem__(self, index: int, value: Any) -> None:
        name = self._name(index)
        setattr(self, name, self._check(name, value))

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._entries())
        for name in names[index] if isinstance(index, slice) else [self._name(index)]:
            delattr(self, name)
        self._enter(list(self))  # by number from now on, as in PyTorch

    def append(self, value: Any) -> Self:
        """Add an entry at the end."""
        name = str(len(self))
        setattr(self, name, self._check(name, value))
        return self

    def extend(self, values: Any) -> Self:
        """Add entries at the end."""
        if not isinstance(values, Iterable) or isinstance(values, Tensor):
            problem = f"extend takes an iterable, not {type(values).__name__}"
            raise TypeError(message(type(self).__name__, problem))
        first = len(self)
        for i, value in enumerate([self._check(str(first + i), x) for i, x in enumerate(values)]):
            setattr(self, str(first + i), value)
        return self

    def insert(self, index: int, value: Any) -> Self:
        """Add an entry before another; those behind it change their names."""
        entries = list(self)
        if not -len(entries) <= index <= len(entries):
            problem = f"index {index} is out of range for {len(entries)} entries"
            raise OutOfRange(message(type(self).__name__, problem))
        entries.insert(index, self._check(str(index), value))
        self._enter(entries)
        return self

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            kind: Any = type(self)
            return kind(list(self)[index])
        return self._entries()[self._name(index)]

    def pop(self, index: int | slice = -1) -> Any:
        """Take out an entry or a slice, and give it."""
        found = self[index]
        del self[index]
        return found


class Sequential(_Numbered):
    """Modules that are applied one after the other.

    Args:
        modules: one after the other, or one dict of them by the names that they are to have.
            Where we differ from PyTorch: any dict will do, and None is refused.
    Raises:
        TypeError: something is no module.

    >>> Sequential(nt.nn.Linear(3, 2), nt.nn.ReLU())(nt.zeros(5, 3)).shape
    (5, 2)
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        if len(modules) == 1 and isinstance(modules[0], Mapping):
            for name, module in modules[0].items():
                self.add_module(name, self._check(name, module))
        else:
            self._enter(modules)

    def forward(self, input: Any) -> Any:
        """The last module of ... of the first of the input."""
        for module in self:
            input = module(input)
        return input

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(dict(list(self._entries().items())[index]))
        return self._entries()[self._name(index)]

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            return NotImplemented
        return Sequential(*self, *other)

    def __iadd__(self, other: Sequential) -> Self:
        if not isinstance(other, Sequential):
            return NotImplemented
        return self.extend(list(other))

    def __mul__(self, times: int) -> Sequential:
        if not isinstance(times, int):
            return NotImplemented
        if times <= 0:
            problem = f"is repeated a positive number of times, not {times}"
            raise ValueError(message("Sequential", problem))
        return Sequential(*list(self) * times)

    __rmul__ = __mul__

    def __imul__(self, times: int) -> Self:
        again = self * times
        self._enter(list(again))
        return self


class ModuleList(_Numbered):
    """A list of modules.

    Raises:
        TypeError: something is no module.

    >>> layers = ModuleList([nt.nn.ReLU(), nt.nn.Linear(2, 3)])
    >>> len(layers), [name for name, _ in layers.named_parameters()]
    (2, ['1.weight', '1.bias'])
    """

    def __init__(self, modules: Iterable[Module] | None = None) -> None:
        super().__init__()
        if modules is not None:
            self.extend(modules)

    def __add__(self, other: Iterable[Module]) -> ModuleList:
        return ModuleList(chain(self, other))

    def __iadd__(self, modules: Iterable[Module]) -> Self:
        return self.extend(modules)

    def __repr__(self) -> str:
        """Neighbours that look alike stand in one row, with their number."""
        rows: list[tuple[str, str, int, str]] = []  # first name, last name, how many, text
        for name, value in self._entries().items():
            text = repr(value)
            if rows and rows[-1][3] == text:
                first, _, count, _ = rows[-1]
                rows[-1] = (first, name, count + 1, text)
            else:
                rows.append((name, name, 1, text))
        lines = [
            f"({first}): {text}" if count == 1 else f"({first}-{last}): {count} x {text}"
            for first, last, count, text in rows
        ]
        return tree(type(self).__name__, self.extra_repr(), lines)


class ParameterList(_Numbered):
    """A list of parameters; plain tensors become parameters.

    >>> ParameterList([nt.zeros(2), nt.zeros(3)])
    ParameterList(
      (0): Parameter (2,) float32
      (1): Parameter (3,) float32
    )
    """

    def __init__(self, values: Iterable[Any] | None = None) -> None:
        super().__init__()
        if values is not None:
            self.extend(values)

    def _entries(self) -> dict[str, Any]:
        return {name: x for name, x in self.__dict__.items() if name.isdecimal()}

    def _check(self, name: str, value: object) -> Any:
        if isinstance(value, Tensor) and not isinstance(value, Parameter):
            return Parameter(value)
        return value

    def __iadd__(self, values: Iterable[Any]) -> Self:
        return self.extend(values)

    def __repr__(self) -> str:
        lines = [f"({name}): {_shown(x)}" for name, x in self._entries().items()]
        return tree(type(self).__name__, "", lines)


class _Named(Module):
    """Entries under names that need not be identifiers."""

    def _entries(self) -> dict[str, Any]:
        raise NotImplementedError

    def _check(self, name: str, value: object) -> Any:
        raise NotImplementedError

    def __getitem__(self, key: str) -> Any:
        if key not in self._entries():
            raise KeyError(message(type(self).__name__, f"has no entry {key!r}"))
        return self._entries()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._set(key, value)

    def _set(self, key: str, value: Any) -> None:
        raise NotImplementedError

    def __delitem__(self, key: str) -> None:
        self[key]
        delattr(self, key)

    def __len__(self) -> int:
        return len(self._entries())

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __contains__(self, key: object) -> bool:
        return key in self._entries()

    def keys(self) -> Iterable[str]:
        """The names."""
        return self._entries().keys()

    def items(self) -> Iterable[tuple[str, Any]]:
        """Pairs of name and entry."""
        return self._entries().items()

    def values(self) -> Iterable[Any]:
        """The entries."""
        return self._entries().values()

    def clear(self) -> None:
        """Take out all entries."""
        for key in list(self):
            del self[key]

    def pop(self, key: str) -> Any:
        """Take out an entry, and give it."""
        found = self[key]
        del self[key]
        return found

    def _pairs(self, entries: Any) -> Any:
        return entries.items() if hasattr(entries, "items") else entries

    def update(self, entries: Any) -> None:
        """Set entries from a mapping, from pairs, or from another of this class."""
        pairs = self._pairs(entries)
        if isinstance(pairs, str) or not isinstance(pairs, Iterable):
            problem = f"update takes a mapping or pairs, not {type(entries).__name__}"
            raise TypeError(message(type(self).__name__, problem))
        checked = []
        for i, pair in enumerate(pairs):
            if not isinstance(pair, Iterable) or len(both := tuple(pair)) != 2:
                problem = f"entry {i} is no pair of a name and a value, but {pair!r}"
                raise ValueError(message(type(self).__name__, problem))
            checked.append((both[0], self._check(both[0], both[1])))
        for key, value in checked:
            self[key] = value


class ModuleDict(_Named):
    """A dict of modules by name.

    Raises:
        TypeError: something is no module.

    >>> both = ModuleDict({"first": nt.nn.ReLU(), "second": nt.nn.Linear(2, 3)})
    >>> list(both), [name for name, _ in both.named_parameters()]
    (['first', 'second'], ['second.weight', 'second.bias'])
    """

    def __init__(self, modules: Any = None) -> None:
        super().__init__()
        if modules is not None:
            self.update(modules)

    def _entries(self) -> dict[str, Any]:
        return dict(self._child_entries())

    def _check(self, name: str, value: object) -> Any:
        check_module("ModuleDict", f"entry {name!r}", value)
        return value

    def _set(self, key: str, value: Any) -> None:
        self.add_module(key, self._check(key, value))


class ParameterDict(_Named):
    """A dict of parameters by name; plain tensors become parameters.

    Entries of a dict are set in the order of their names, as in PyTorch, those of an OrderedDict or
    of pairs in their own. A name that is not there is a KeyError, where PyTorch has
    an AttributeError.

    >>> both = ParameterDict({"scale": nt.ones(2)})
    >>> both.scale.requires_grad, list(both)
    (True, ['scale'])
    """

    def __init__(self, parameters: Any = None) -> None:
        super().__init__()
        self._keys: dict[str, None] = {}
        if parameters is not None:
            self.update(parameters)

    def _entries(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self._keys}

    def _check(self, name: str, value: object) -> Any:
        if isinstance(value, Tensor) and not isinstance(value, Parameter):
            return Parameter(value)
        return value

    def _pairs(self, entries: Any) -> Any:
        if isinstance(entries, Mapping) and not isinstance(entries, OrderedDict):
            return sorted(entries.items(), key=lambda pair: str(pair[0]))
        return super()._pairs(entries)

    def _set(self, key: str, value: Any) -> None:
        if key not in self._keys:
            self._check_name("ParameterDict", key, Parameter)
        self._keys = {**self._keys, key: None}
        setattr(self, key, self._check(key, value))

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._keys = {name: None for name in self._keys if name != key}

    @overload
    def get(self, key: str) -> Any: ...
    @overload
    def get(self, key: str, default: Any) -> Any: ...
    def get(self, key: str, default: Any = None) -> Any:
        """The entry, or what stands for one that is not there."""
        return self._entries().get(key, default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The entry, which is set first if it is not there."""
        if key not in self:
            self[key] = default
        return self[key]

    def popitem(self) -> tuple[str, Any]:
        """Take out the entry that was set last."""
        if not self._keys:
            raise KeyError(message("ParameterDict", "is empty"))
        key = list(self._keys)[-1]
        return key, self.pop(key)

    def copy(self) -> ParameterDict:
        """Another dict of the same parameters."""
        return ParameterDict(self.items())

    def fromkeys(self, keys: Iterable[str], default: Any = None) -> ParameterDict:
        """Another dict with one value under all keys."""
        return ParameterDict((key, default) for key in keys)

    def __or__(self, other: ParameterDict) -> ParameterDict:
        both = self.copy()
        both.update(other)
        return both

    def __ror__(self, other: Any) -> Any:
        both = other.copy()
        both.update(self.items())
        return both

    def __ior__(self, other: ParameterDict) -> Self:
        self.update(other)
        return self

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self._keys))

    def __repr__(self) -> str:
        lines = [f"({name}): {_shown(x)}" for name, x in self._entries().items()]
        return tree("ParameterDict", "", lines)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{type(value).__name__} {value.shape} {value.dtype.name}"
    return repr(value)
