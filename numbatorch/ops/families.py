"""Families of operators load when a name of theirs is first used: nothing else imports them.

`table.py`, which `make surface` writes, says in which module an operator or a public function
stands. A name that it lacks may be that of a plugin.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

from numbatorch import entry_points, graph
from numbatorch.apart import import_module
from numbatorch.graph import Arithmetic, Elementary, Op
from numbatorch.ops import surface
from numbatorch.ops.registry import Elementwise

RECORDS = "records"


@cache
def table(place: str) -> dict[str, str]:
    """The module of each name of the library at a place of `surface.PLACES`, or in RECORDS."""
    from numbatorch.ops.table import FAMILIES

    return {
        name: f"numbatorch.{module}"
        for module, names in FAMILIES.items()
        for name in names.get(place, "").split()
    }


@contextmanager
def _import_whole() -> Iterator[None]:
    """What a family that an interrupt cuts short within the block has registered is forgotten."""
    try:
        yield
    except BaseException:
        for op in graph.registered():
            if _is_cut_short(getattr(op, "function", op.reference)):
                graph.forget(op.name)
        for place in surface.PLACES:
            entered = surface.entered(place)
            for name in [name for name, found in entered.items() if _is_cut_short(found)]:
                del entered[name]
        raise


def load(module: str) -> None:
    """Import a family, whole or not at all."""
    with _import_whole():
        import_module(module)


def _is_cut_short(function: Callable[..., Any]) -> bool:
    """Whether the module of the library that defines a function was not imported to its end."""
    module = str(function.__module__)
    return module.startswith("numbatorch.") and module not in sys.modules


def load_record(name: str) -> None:
    """Import what registers the operator `name`, if anything does."""
    module = table(RECORDS).get(name)
    if module is not None:
        load(module)
    elif find_spec(f"numbatorch.{name}") is None:  # `from numbatorch import module` asks here first
        entry_points.load(entry_points.OPERATORS)


def load_own(place: str, name: str) -> None:
    """Import what the library has at a place under a name."""
    module = table(place).get(name)
    if module is not None:
        load(module)


def all_ops() -> tuple[Op, ...]:
    """Every operator by name, a user's own among them; loads those of the library."""
    for module in sorted({*table(RECORDS).values(), *table("nt").values()}):
        load(module)
    return tuple(sorted(graph.registered(), key=lambda op: op.name))


def function(place: str, name: str) -> Callable[..., Any] | None:
    """The public function `name` of a place, or None.

    A written one comes first; then that of an elementwise operator which needs no other.
    """
    found = surface.entered(place).get(name)
    if found is None and name in table(place):
        load(table(place)[name])
        found = surface.entered(place).get(name)
    if found is None:
        try:
            op: Op | None = graph.find(name)
        except KeyError:
            op = None
        found = surface.entered(place).get(name)  # a plugin may have brought it
        if found is None and isinstance(op, Elementwise) and place in op.places:
            found = op.public
    return found


def in_place(place: str, name: str) -> Callable[..., Any] | None:
    """The function of a place that changes its first argument, such as relu_, or None.

    At the top there are those of methods, and of functions that have `inplace` in nn.functional.
    """
    stem = name.removesuffix("_")
    if stem == name or stem.endswith("_") or place not in ("nt", "nn.functional"):
        return None
    own, layer = (
        function(where, stem) if is_kept(where, stem) else None
        for where in (place, "nn.functional")
    )
    flagged = layer is not None and "inplace" in inspect.signature(layer).parameters
    return surface.in_place(place, name, own, flagged) if flagged or place == "nt" else None


def is_kept(place: str, name: str) -> bool:
    """Whether the function of a name stays what it is: a user's operator may be defined anew."""
    return name in table(place)


def names(place: str) -> Iterable[str]:
    """Names of a place: those of the library, loaded or not, and a user's own."""
    own = (
        op.name for op in graph.registered() if isinstance(op, Elementwise) and place in op.places
    )
    return {*table(place), *surface.entered(place), *own}


def namespace(
    place: str, scope: dict[str, Any]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of the module with globals `scope`, whose names are a place's."""

    def get(name: str) -> Any:
        found = None if name.startswith("_") else function(place, name)
        kept = is_kept(place, name)
        if found is None and not name.startswith("_"):
            found = in_place(place, name)
            kept = True
        if found is None:
            raise AttributeError(f"module {scope['__name__']!r} has no attribute {name!r}")
        if kept:
            scope[name] = found
        return found

    def names_here() -> list[str]:
        return sorted(names(place))

    return get, names_here


@cache
def _arithmetic() -> Arithmetic:
    load("numbatorch.ops.binary")
    from numbatorch.ops import binary
    from numbatorch.ops.unary import neg

    return Arithmetic(binary.add, binary.sub, binary.mul, binary.div, binary.pow_, neg)


@cache
def _cast() -> Op:
    load("numbatorch.ops.cast")
    from numbatorch.ops.cast import cast

    return cast


@cache
def _expand() -> Op:
    load("numbatorch.ops.reduce")
    from numbatorch.ops.reduce import expand

    return expand


@cache
def _divisor() -> Op:
    load("numbatorch.ops.demanded")
    from numbatorch.ops.demanded import divisor

    return divisor


graph.loads_unknown(load_record, load_own)
graph.builds_with(Elementary(_arithmetic, _cast, _expand, _divisor))
