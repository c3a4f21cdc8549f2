"""What a trace depends on beside its arguments: variables, attributes and containers that it reads.

A trace is replayed while in each place stands what stood there before it; reachable.py finds them.
"""

from __future__ import annotations

import functools
from abc import get_cache_token
from collections.abc import Callable, Iterable, Iterator
from operator import is_
from types import CellType, ModuleType
from typing import Any, NamedTuple

import numpy as np

from numbatorch import determinism, dtype, settings
from numbatorch.gradients import Hooks
from numbatorch.graph import Node
from numbatorch.tensor.base import host_array
from numbatorch.tensor.tracked import Changes, Tracked
from numbatorch.tensor.views import moved_to
from numbatorch.variable import attribute_key


class _Absent:
    def __repr__(self) -> str:
        return "nothing"


ABSENT = _Absent()


def in_cell(owner: CellType, _key: str) -> Any:
    """What a variable of an enclosing function holds, or `ABSENT`."""
    try:
        return owner.cell_contents
    except ValueError:
        return ABSENT


def _state_of(generator: Any, _key: str) -> bytes:
    """Where Python's or NumPy's generator of random numbers has got to."""
    import pickle  # which few programs need

    if hasattr(generator, "getstate"):
        return pickle.dumps(generator.getstate())
    if hasattr(generator, "get_state"):
        return pickle.dumps(generator.get_state(legacy=False))
    return pickle.dumps(getattr(generator, "bit_generator", generator).state)


def _contents_of(memory: Any, _key: str) -> Any:
    """What an array or anything else that shows its memory holds."""
    if not isinstance(memory, np.ndarray):
        return memoryview(memory).tobytes()
    held = tuple(memory.flat) if memory.dtype.hasobject else memory.tobytes()
    return memory.shape, memory.dtype.str, held


def _attributes_of(owner: Any, left_out: frozenset[str]) -> tuple[str, ...]:
    """Names of the attributes that an object has itself, in order."""
    if left_out:
        return tuple(name for name in vars(owner) if name not in left_out)
    return tuple(vars(owner))


ATTRIBUTES = "names of attributes"

# What objects of Python's classes say of themselves that they keep where no attribute shows it.
_TELLERS: dict[str, Callable[[Any], Any]] = {
    "logging.Logger": lambda x: (x.getEffectiveLevel(), x.manager.disable, x.disabled),
    "_io.StringIO": lambda x: x.closed or (x.getvalue(), x.tell()),
    "_io.BytesIO": lambda x: x.closed or (x.getvalue(), x.tell()),
    "decimal.Context": lambda x: (x.prec, x.rounding, x.Emin, x.Emax, x.capitals, x.clamp),
    "statistics.NormalDist": repr,
}


@functools.lru_cache
def teller_of(kind: type) -> Callable[[Any], Any] | None:
    """What tells the hidden state of objects of a class, if anything does."""
    names = (f"{base.__module__}.{base.__name__}" for base in kind.__mro__)
    return next((_TELLERS[name] for name in names if name in _TELLERS), None)


def _state_told(owner: Any, _key: str) -> Any:
    kind: Any = type(owner)
    teller = teller_of(kind)
    return ABSENT if teller is None else teller(owner)


# How what stands in a place is read.
READERS: dict[str, Callable[[Any, Any], Any]] = {
    "variable": in_cell,
    "global": lambda owner, key: owner.get(key, ABSENT),
    "entry": lambda owner, key: owner.get(key, ABSENT),
    "attribute": lambda owner, key: vars(owner).get(key, ABSENT),
    "member": lambda owner, key: getattr(owner, key, ABSENT),
    "elements": lambda owner, _key: tuple(owner),
    "entries": lambda owner, _key: (*owner.keys(), *owner.values()),
    "keys": lambda owner, _key: tuple(owner),
    ATTRIBUTES: _attributes_of,
    "absent": lambda owner, names: owner.keys().isdisjoint(names),
    "array": _contents_of,
    "context": lambda owner, _key: owner.get(ABSENT),
    "generator": _state_of,
    "state": _state_told,
    "registered": lambda _owner, _key: get_cache_token(),
    "iterator": lambda _owner, _key: object(),  # nobody can tell where it is
    "value": lambda owner, _key: host_array(moved_to(owner)).tobytes(),
}


class Place(NamedTuple):
    """Where code reads something, and what stood there before the trace.

    Attributes:
        kind: how it is read, a key of `READERS`.
        owner: the cell, dict, object, list, array, generator of random numbers, or node of a
            tensor.
        key: name or key in the owner; what names the place to people where there is none.
        expected: what stood there; for all elements or entries a tuple of them.
    """

    kind: str
    owner: Any
    key: Any
    expected: Any

    def read(self) -> Any:
        """What stands there now."""
        return READERS[self.kind](self.owner, self.key)

    def holds(self) -> bool:
        """Whether what stands there is what stood there before the trace."""
        found = self.read()
        return found is self.expected or same(found, self.expected)

    def restore(self) -> None:
        """Put back what stood there before the trace; whole containers stay as they are."""
        if self.kind in ("global", "entry"):
            self.owner[self.key] = self.expected
        elif self.kind in ("attribute", "member"):
            setattr(self.owner, self.key, self.expected)
        elif self.kind == "variable":
            self.owner.cell_contents = self.expected

    def __str__(self) -> str:
        if self.kind in ("attribute", "member"):
            owner = self.owner
            kind = owner.__name__ if isinstance(owner, type | ModuleType) else type(owner).__name__
            return f"attribute {self.key} of {kind}"
        if self.kind in ("variable", "global", "entry"):
            return f"{self.kind} {self.key}"
        if self.kind == "absent":
            return f"a global among {', '.join(sorted(self.key))}"
        if self.kind == "registered":
            return "what counts as a subclass"
        if self.kind == ATTRIBUTES:
            return f"attributes of {getattr(self.owner, '__name__', type(self.owner).__name__)}"
        return f"{self.kind} of {type(self.owner).__name__} {self.key}".rstrip()

    def problem(self) -> str:
        """What changed there, for a warning."""
        if self.kind == "iterator":
            return f"{self} may have moved on"
        if self.kind in ("absent", ATTRIBUTES):
            return f"{self} came or went"
        if self.kind in ("elements", "entries", "keys", "array", "generator", "value", "state"):
            return f"{self} changed"
        before, now = _shown(self.expected), _shown(self.read())
        return f"{self} was {before} and is {now if now != before else 'another'}"


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, PLAIN) or value is ABSENT else ""
    return text if 0 < len(text) <= 40 else f"a {type(value).__name__}"


PLAIN = (type(None), bool, int, float, complex, str, bytes)


def same(found: Any, expected: Any) -> bool:
    """Whether two values count as one: the same object, equal numbers or texts, tuples of such."""
    if found is expected:
        return True
    if type(found) is not type(expected):
        return False
    if isinstance(found, tuple):
        if len(found) != len(expected):
            return False
        return all(map(is_, found, expected)) or all(map(same, found, expected))
    if isinstance(found, np.generic):
        return bool(found.tobytes() == expected.tobytes())
    plain = isinstance(found, PLAIN)
    return plain and bool(attribute_key(found) == attribute_key(expected))


class Guards:
    """The places that a trace depends on.

    Attributes:
        places: those that are looked at before each replay.
        tracked: attributes of `Tracked` objects, looked at when one of them has changed.
        seen: `Changes.last` when they were looked at last.
    """

    def __init__(self, places: Iterable[Place], seen: int) -> None:
        self.places: list[Place] = []
        self.tracked: list[Place] = []
        for place in places:
            (self.tracked if isinstance(place.owner, Tracked) else self.places).append(place)
        self.seen = seen

    def changed(self) -> Place | None:
        """A place where something else stands than before the trace, or None."""
        seen = Changes.last
        if seen != self.seen:
            for place in self.tracked:
                if not place.holds():
                    return place
            self.seen = seen
        for place in self.places:
            if not place.holds():
                return place
        return None

    def restore(self) -> None:
        """Put back what the function has bound; whole containers stay as they are."""
        for place in self.all():
            if not place.holds():
                place.restore()

    def values_of(self, nodes: Iterable[Node]) -> None:
        """Depend on the values of tensors too, which the function read."""
        for node in dict.fromkeys(nodes):
            self.places.append(Place("value", node, "", READERS["value"](node, "")))

    def defaults(self) -> None:
        """Depend on what a program may set for all that it calls."""
        for kind, owner, key in (
            ("entry", settings.VARIABLES, settings.DEVICE),
            ("attribute", determinism.State, "deterministic"),
            ("attribute", dtype.Default, "dtype"),
            ("attribute", Hooks, "changes"),
        ):
            self.places.append(Place(kind, owner, key, READERS[kind](owner, key)))

    def all(self) -> Iterator[Place]:
        """All places."""
        yield from self.tracked
        yield from self.places
