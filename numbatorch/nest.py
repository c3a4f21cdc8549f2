"""Nests of lists, tuples, named tuples and dicts: what functions of tensors take and return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbatorch.variable import attribute_key


def map_leaves(function: Callable[[Any], Any], nest: Any) -> Any:
    """The nest with `function(leaf)` in place of all that is no list, tuple or dict.

    >>> map_leaves(lambda x: x + 1, {"a": [1, 2], "b": (3,)})
    {'a': [2, 3], 'b': (4,)}
    """
    if isinstance(nest, dict):
        return {key: map_leaves(function, value) for key, value in nest.items()}
    if isinstance(nest, list | tuple):
        values = [map_leaves(function, value) for value in nest]
        kind: Any = type(nest)
        return kind._make(values) if hasattr(nest, "_fields") else kind(values)
    return function(nest)


def structure(key: Callable[[Any], Any], nest: Any) -> Any:
    """What two nests of one form and of leaves with equal `key(leaf)` have in common; hashable.

    >>> structure(type, [1, (2.0,)])
    (<class 'list'>, <class 'int'>, (<class 'tuple'>, <class 'float'>))
    """
    if isinstance(nest, dict):
        items = nest.items()
        return (dict, *((name_key(name), structure(key, value)) for name, value in items))
    if isinstance(nest, list | tuple):
        return (type(nest), *(structure(key, value) for value in nest))
    return key(nest)


def name_key(name: Any) -> Any:
    """What a key of a dict counts as: 1, 1.0 and True, which compare equal, are three."""
    if isinstance(name, tuple):
        return (type(name), *map(name_key, name))
    return type(name), attribute_key(name)
