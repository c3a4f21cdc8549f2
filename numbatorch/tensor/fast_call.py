"""A generated function for the calls of one trace: it looks at what the trace depends on, and runs.

It gives `NotImplemented` for any other call, which goes the long way, as do calls that debug tools
watch.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Mapping
from operator import is_
from typing import Any

import numpy as np

from numbatorch import settings
from numbatorch.backends.planned import PlanBackend
from numbatorch.backends.watched import is_watched
from numbatorch.debugging import thread_flags
from numbatorch.graph import runs, thread_mode
from numbatorch.nest import name_key
from numbatorch.tensor.base import Handle
from numbatorch.tensor.classes import argument_key, is_mutable
from numbatorch.tensor.fast_run import Arguments, Scope, statements
from numbatorch.tensor.guards import ABSENT, ATTRIBUTES, PLAIN, Place
from numbatorch.tensor.trace import Trace
from numbatorch.tensor.tracked import Changes
from numbatorch.variable import attribute_key

FastCall = Callable[..., Any]

_made = itertools.count()


def _as_int(value: Any) -> int | None:
    return int(value) if isinstance(value, np.integer) else None


def _as_float(value: Any) -> float | None:
    return float(value) if isinstance(value, float | np.floating) else None


_AS: dict[Any, Callable[[Any], Any]] = {int: _as_int, float: _as_float}


def fast_call(
    trace: Trace,
    count: int,
    given: Mapping[str, Any],
    values: Mapping[str, Any],
    dynamic: tuple[str, ...],
    runner: PlanBackend,
    grad: bool,
) -> FastCall | None:
    """The function of arguments like these; None where a look at one of them would take long.

    Args:
        count: of its arguments, which are called a0, a1 and so on.
        given: the names of these, in the nest in which each parameter gets them; parameters that
            have their default are left out.
        values: what parameters got, in the order in which the function has them.
        dynamic: names of those that may change.
        grad: whether gradients are recorded.
    """
    writer = _Checks(trace, runner)
    for name, value in values.items():
        source = given[name] if name in given else writer.scope.name(value, "default")
        if not writer.argument(source, value, name if name in dynamic else ""):
            return None
    if not all(map(writer.guard, trace.guards.places)):
        return None
    lines = [*writer.lines(grad), *statements(trace, writer.scope, writer.arguments)]
    head = f"def fast({', '.join(f'a{i}' for i in range(count))}):"
    text = "\n".join([head, *(f"    {line}" for line in lines), ""])
    if settings.debug() >= 3:
        print(text, file=sys.stderr)
    return writer.scope.function("fast", text, f"numbatorch call {next(_made)}")


class _Checks:
    """Writes what is looked at before a run."""

    def __init__(self, trace: Trace, runner: PlanBackend) -> None:
        self.arguments = Arguments()
        self._checks: list[str] = []
        self._cells: list[str] = []
        self._locals = itertools.count()
        self._runner = runner
        debug, variables = settings.debug_variable()
        self.scope = Scope(
            ABSENT=ABSENT,
            CHANGES=Changes,
            DEBUG=debug,
            DEVICE=trace.device,
            FLAGS=thread_flags(),
            GUARDS=trace.guards,
            MODE=thread_mode(),
            RUNS=runs,
            SHARING=runner.sharing,
            VARIABLES=variables,
            is_=is_,
            is_watched=is_watched,
            key=attribute_key,
            key_name=name_key,
            whole_key=argument_key,
        )

    def argument(self, source: Any, value: Any, dynamic: str = "") -> bool:
        """Look at what a parameter got; False where its kind is not foreseen.

        Args:
            source: an expression, or a tuple or dict of such for a tuple or dict of values.
            dynamic: the parameter's name if it may change.
        """
        kind: Any = type(value)
        if isinstance(source, tuple):
            return all(map(self.argument, source, value))
        if isinstance(source, dict):
            return all(self.argument(source[name], value[name]) for name in value)
        if dynamic:
            return self._number(source, kind, dynamic)
        if isinstance(value, Handle):
            return self._tensor(source, value)
        if isinstance(value, list | tuple | dict):
            return self._nest(source, value)
        constant = self.scope.name(value, "value")
        check = f"{source} is {constant}"
        if not is_mutable(kind):
            key_of, how = (attribute_key, "key") if kind in PLAIN else (argument_key, "whole_key")
            type_, key = self.scope.name(kind, "type"), self.scope.name(key_of(value), "key")
            check = f"({check} or type({source}) is {type_} and {how}({source}) == {key})"
        self._checks.append(check)
        return True

    def _number(self, source: str, kind: Any, name: str) -> bool:
        """A plan variable, which NumPy's numbers may be given for, as in a trace."""
        plain = float if issubclass(kind, float | np.floating) else int
        given, other = f"v{next(self._locals)}", self.scope.name(_AS[plain], "number")
        self._checks.append(
            f"({given} := {source} if type({source}) is {plain.__name__} else {other}({source}))"
            " is not None"
        )
        self.arguments.numbers[name] = given
        return issubclass(kind, int | float | np.integer | np.floating)

    def _nest(self, source: str, value: Any) -> bool:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        whole = f"v{next(self._locals)}"
        self._checks.append(f"type({whole} := {source}) is {self.scope.name(type(value), 'type')}")
        self._checks.append(f"len({whole}) == {len(value)}")
        if isinstance(value, dict):
            named = all(type(key) is str for key in keys)
            known = keys if named else list(map(name_key, keys))
            found = f"list({whole})" if named else f"list(map(key_name, {whole}))"
            self._checks.append(f"{found} == {self.scope.name(known, 'keys')}")
        names = [f"v{next(self._locals)}" for _key in keys]
        places = [self.scope.name(key, "at") for key in keys]
        if names:  # a tuple that is bound, and true
            taken = (f"{name} := {whole}[{at}], " for name, at in zip(names, places, strict=True))
            self._checks.append(f"({''.join(taken)})")
        return all(map(self.argument, names, (value[key] for key in keys)))

    def _tensor(self, source: str, value: Handle) -> bool:
        node, name = value.node, f"n{len(self.arguments.tensors)}"
        kind = self.scope.name(type(value), "type")
        self._checks += [
            f"type({source}) is {kind}",
            f"({name} := {source}.node).dtype is {self.scope.name(node.dtype, 'dtype')}",
            f"{name}.shape == {self.scope.name(node.shape, 'shape')}",
            f"({name}.device is DEVICE or {name}.device == DEVICE)",
            f"{name}.requires_grad is {node.requires_grad}",
            f"{name}.ends_gradient is {node.ends_gradient}",
        ]
        self.arguments.tensors.append((source, name))
        return True

    def guard(self, place: Place) -> bool:
        """Look at a place that the trace depends on; False where no look tells."""
        name = self.scope.name
        owner, expected = name(place.owner, "owner"), name(place.expected, "expected")
        if place.kind == "variable":
            self._cells.append(f"{owner}.cell_contents is {expected}")
        elif place.kind in ("global", "entry"):
            self._checks.append(f"{owner}.get({name(place.key, 'key')}, ABSENT) is {expected}")
        elif place.kind == "attribute":
            found = f"{owner}.__dict__.get({name(place.key, 'key')}, ABSENT)"
            self._checks.append(f"{found} is {expected}")
        elif place.kind == "member":
            self._checks.append(f"getattr({owner}, {name(place.key, 'key')}, ABSENT) is {expected}")
        elif place.kind == ATTRIBUTES and not place.key:
            self._checks.append(f"(*{owner}.__dict__,) == {expected}")
        elif place.kind == "absent":
            self._checks.append(f"{owner}.keys().isdisjoint({name(place.key, 'names')})")
        elif place.kind == "elements":
            size = len(place.expected)
            self._checks.append(f"len({owner}) == {size} and all(map(is_, {owner}, {expected}))")
        else:
            self._checks.append(f"{name(place, 'place')}.holds()")
        return place.kind != "iterator"

    def lines(self, grad: bool) -> list[str]:
        """Statements that leave the function where a call is not foreseen."""
        checks = [
            *self._checks,
            "(CHANGES.last == GUARDS.seen or GUARDS.changed() is None)",
            f"MODE.grad is {grad}",
            "not MODE.trace",
            "(DEBUG not in VARIABLES or not is_watched())",
            "FLAGS.tolerance is None",
            f"FLAGS.fuse is {thread_flags().fuse}",
            f"SHARING.parts == {self._runner.parts()}",
            "not RUNS",
        ]
        found = [f"if not ({' and '.join(checks)}):", "    return NotImplemented"]
        if not self._cells:
            return found
        return [
            "try:",
            f"    if not ({' and '.join(self._cells)}):",
            "        return NotImplemented",
            "except ValueError:  # a variable that holds nothing now",
            "    return NotImplemented",
            *found,
        ]
