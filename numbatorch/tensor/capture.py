"""`numbatorch.compile`: trace a function of tensors once, then replay its plan."""

from __future__ import annotations

import inspect
import sys
import warnings
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial, update_wrapper
from operator import index
from types import MethodType
from typing import Any

import numpy as np

from numbatorch.apart import import_module
from numbatorch.backends.outcome import note_finished
from numbatorch.backends.planned import PlanBackend
from numbatorch.device import Device, device
from numbatorch.errors import DTypeError, GradientError, message
from numbatorch.graph import Node, grad_enabled, thread_mode, toposort, trace_mode
from numbatorch.locks import Lock
from numbatorch.nest import map_leaves, structure
from numbatorch.ops.operands import BUFFER, describe
from numbatorch.settings import note_question
from numbatorch.tensor.argnums import require_callable
from numbatorch.tensor.base import (
    Handle,
    LeafNode,
    is_leaf,
    is_tracing,
    realize_nodes,
    running,
    tracing,
)
from numbatorch.tensor.between import nothing_in_between
from numbatorch.tensor.classes import argument_key, unkeyed
from numbatorch.tensor.draws import recorded_draws, take_back
from numbatorch.tensor.guards import Guards
from numbatorch.tensor.reachable import declarations_of, guards_of
from numbatorch.tensor.results import rebuilder, tensors_of
from numbatorch.tensor.trace import Trace, plans_on, refuse_history
from numbatorch.tensor.traced import (
    LEAVES_NONE,
    STAYS,
    Changed,
    Gradient,
    Traced,
    kind_of,
    refuse_changed,
    refuse_kept,
)
from numbatorch.tensor.tracked import Tracked
from numbatorch.tensor.views import Updates
from numbatorch.variable import variable


def compile(function: Callable[..., Any] | None = None, *, dynamic: Sequence[str] = ()) -> Any:
    """A function that traces `function` once per signature and then replays its plan.

    The signature is the shapes and dtypes of tensor arguments and the values of all others.
    Tensors that the function uses from outside, such as weights, are read at each call; those it
    changes (`cache[...] = x`, an optimizer's state, `.grad`) keep their changes, in place where
    nothing else reads the old value. Python code of the function runs during the trace only; when
    a variable, attribute or container that it reads has changed, it is traced again. Gradients
    flow through its results. 64 traces are kept, and the eighth warns. On device "numpy", which
    has no plans, and with tensors of several devices the function itself is called. Other threads
    compute nothing during a trace, so a function may not wait there for what one of them computes.

    Args:
        function: takes and returns tensors, in nests of lists, tuples and dicts.
        dynamic: names of int and float arguments that change from call to call without a new
            trace. An int may be given to `position` of rope and attention and to starts of slices
            that are assigned to, plus or minus an int; a float to operators, after arithmetic with
            numbers.

    >>> import numbatorch as nt
    >>> double = nt.compile(lambda x: x + x)
    >>> double(nt.tensor([1.0, 2.0])).tolist()
    [2.0, 4.0]
    """
    names = (dynamic,) if isinstance(dynamic, str) else dynamic
    if not isinstance(names, list | tuple | set | frozenset) or not all(
        isinstance(name, str) for name in names
    ):
        problem = f"dynamic is {dynamic!r}, not names of int and float arguments"
        hint = "shapes need none: each has a trace of its own"
        raise TypeError(message("compile", problem, hint=hint))
    if function is None:
        return lambda found: Compiled(found, tuple(names))
    return Compiled(function, tuple(names))


SOON = 2  # replays of a trace after which the next ones take a short way
QUICK = 16  # traces that are tried for it
KEPT = 64  # traces of a function that are kept
MANY = 8  # traces of a function at which it is warned
_MODE = thread_mode()


class Compiled:
    """What `numbatorch.compile` returns.

    Attributes:
        traces: number of traces that are kept.
    """

    def __init__(
        self, function: Callable[..., Any], dynamic: tuple[str, ...], kept: int = KEPT
    ) -> None:
        """`kept` traces; more than usual means that many are no surprise."""
        require_callable("compile", function)
        update_wrapper(self, function, updated=())
        self._function = function
        self._dynamic = dynamic
        self._declare()
        self._kept = kept
        self._made = 0
        self._traces: dict[Any, list[Trace]] = {}  # by signature
        self._keys: OrderedDict[Trace, Any] = OrderedDict()  # the last used last
        self._eager: set[Any] = set()  # signatures whose tensors are on several devices
        self._lock = Lock()
        # By the number of positional arguments, and the names of the others.
        self._fast: dict[Any, list[tuple[Trace, Callable[..., Any]]]] = {}

    def _declare(self) -> None:
        """Look at which arguments the function takes, and what it takes for those left out."""
        self._declared = declarations_of(self._function)
        self._signature = inspect.signature(self._function)
        unknown = [name for name in self._dynamic if name not in self._signature.parameters]
        if unknown:
            raise TypeError(message("compile", f"the function has no parameter {unknown[0]!r}"))

    def _is_as_declared(self) -> bool:
        return all(place.holds() for place in self._declared)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
        """The arguments by name, with what the function takes for those left out."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:
            if self._is_as_declared():
                raise
            self._declare()
            bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound

    @property
    def traces(self) -> int:
        """Number of traces that are kept."""
        return len(self._keys)

    def __getattr__(self, name: str) -> Any:
        """What the function has by this name, so that a compiled module has `eval` and the like."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._function, name)

    def __reduce__(self) -> Any:
        """As a function, by its name where it is found by that; else without traces."""
        found: Any = sys.modules.get(self.__module__)
        for name in self.__dict__.get("__qualname__", "").split("."):
            found = getattr(found, name, None)
        if found is self:
            return self.__qualname__
        return type(self), (self._function, self._dynamic, self._kept)

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        """As of the function: one of a class is a method of its objects."""
        if owner is None or not hasattr(type(self._function), "__get__"):
            return self
        return MethodType(self, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Replay the plan of this signature, tracing it first if it is new or state has changed.

        Within vmap nothing is computed, so there the function is called as it was written.
        """
        if _MODE.maps:
            return self._function(*args, **kwargs)
        form = (len(args), *kwargs) if kwargs else len(args)
        for _trace, fast in self._fast.get(form, ()):
            result = fast(*args, *kwargs.values()) if kwargs else fast(*args)
            if result is not NotImplemented:  # as for a call that is not foreseen
                return result
        bound = self._bind(args, kwargs)
        values = bound.arguments
        numbers = {name: _number(name, values[name]) for name in self._dynamic}
        tensors: list[Any] = []
        rest = {k: v for k, v in values.items() if k not in self._dynamic}
        kinds = [(name, type(number)) for name, number in numbers.items()]
        signature = _flatten(rest, tensors)
        where = tensors[0].node.device if tensors else device(None)
        runner = plans_on(where)
        if is_tracing() or runner is None or _elsewhere(where, [t.node for t in tensors]):
            return self._function(*args, **kwargs)
        if running._is_owned():  # type: ignore[attr-defined]  # also by the one who waits for it
            note_finished()
            return self._function(*args, **kwargs)  # a finalizer must not wait for who traces
        key = (signature, *kinds, grad_enabled(), where, runner.state())
        with self._lock:
            while key not in self._eager:
                found = self._find(key, bound, tensors, numbers)
                if found is None or found.overlaps(tensors):
                    break
                with suppress(Changed):
                    with running:
                        result = found.replay(tensors, numbers)
                    if found.replays >= SOON and form not in found.quickened:
                        found.quickened.add(form)
                        self._quicken(found, form, args, kwargs, runner)
                    return result
        return self._function(*args, **kwargs)

    def _quicken(
        self,
        trace: Trace,
        form: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        runner: PlanBackend,
    ) -> None:
        """Have calls like this one take a short way from now on."""
        import_module("numbatorch.tensor.fast_call")
        from numbatorch.tensor.fast_call import fast_call  # which a first call does not wait for

        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        count = len(args) + len(kwargs)
        names = [f"a{i}" for i in range(count)]
        by_name = dict(zip(kwargs, names[len(args) :], strict=True))
        given = self._signature.bind(*names[: len(args)], **by_name).arguments
        values = bound.arguments
        made = fast_call(trace, count, given, values, self._dynamic, runner, grad_enabled())
        if made is not None:
            known = [entry for entry in self._fast.get(form, ()) if entry[0] is not trace]
            self._fast[form] = [(trace, made), *known[: QUICK - 1]]

    def _find(
        self, key: Any, bound: inspect.BoundArguments, tensors: list[Any], numbers: dict[str, Any]
    ) -> Trace | None:
        """The trace for a signature in which all is as it was; a new one if there is none.

        None where the function has to be called, as its tensors are on several devices or it takes
        other arguments by now.
        """
        reason = ""
        for found in reversed(self._traces.get(key, [])):
            reason, before = found.problem(tensors)
            if not reason:
                self._keys[found] = key
                self._keys.move_to_end(found)
                return found
            if isinstance(before, Handle | Tracked | Node):
                self._drop(found)  # it would keep memory that nobody may need any more
        if not self._is_as_declared():
            self._declare()
            return None
        made = self._trace(bound, tensors, numbers)
        if made is None:
            self._eager.add(key)
            return None
        place = made.guards.changed()
        if place is None:
            self._keys[made] = key
            self._traces[key] = [*self._traces.get(key, ()), made]
            if len(self._keys) > self._kept:
                self._drop(self._least_used())
        else:  # by the function itself, which has to run again for that where this stands again
            reason = f"the function changes what it reads: {place.problem()}"
        if made.overlaps(tensors):  # then the function itself is called
            made.take_back_draws()
            made.guards.restore()
        self._made += 1
        if self._made == MANY and self._kept == KEPT:
            self._warn(reason, bound)
        return made

    def _least_used(self) -> Trace:
        """The trace whose last use is longest ago; calls on a short way do not note theirs."""
        quick = {trace for known in self._fast.values() for trace, _fast in known}
        return next((trace for trace in self._keys if trace not in quick), next(iter(self._keys)))

    def _drop(self, trace: Trace) -> None:
        """Forget a trace; a call from a signal handler may have forgotten it meanwhile."""
        for form, known in list(self._fast.items()):
            _put(self._fast, form, [entry for entry in known if entry[0] is not trace])
        key = self._keys.get(trace)
        _put(self._traces, key, [x for x in self._traces.get(key, ()) if x is not trace])
        self._keys.pop(trace, None)

    def _warn(self, reason: str, bound: inspect.BoundArguments) -> None:
        name = getattr(self._function, "__qualname__", type(self._function).__name__)
        given = ", ".join(f"{k}={_described(v)}" for k, v in bound.arguments.items())
        row = f"now because {reason}" if reason else f"now for {name}({given})"
        hint = "name numbers that change in dynamic=, keep shapes the same, leave state as it is"
        problem = f"{name} is traced for the {MANY}th time; {self._kept} traces are kept"
        warnings.warn(message("compile", problem, row, hint=hint), RuntimeWarning, stacklevel=4)

    def _trace(
        self, bound: inspect.BoundArguments, tensors: list[Any], numbers: dict[str, Any]
    ) -> Trace | None:
        guards = guards_of(self._function, bound.arguments.values())
        traced = self._run(bound, tensors, numbers, guards)
        changed = traced.changed
        refuse_history(node for _handle, old, new in changed for node in (old, new))
        given = [t.node for t in tensors]
        outside = [*traced.returned, *traced.left, *(old for _handle, old, _new in changed)]
        used = [*given, *outside]
        if used and (plans_on(used[0].device) is None or _elsewhere(used[0].device, used)):
            take_back(traced.draws)
            guards.restore()
            return None
        roots = [*traced.returned, *traced.left, *(new for _h, _o, new in changed)]
        realize_nodes(_captured_pending(roots, traced.number))
        return Trace(traced, guards)

    def _run(
        self,
        bound: inspect.BoundArguments,
        tensors: list[Any],
        numbers: dict[str, Any],
        guards: Guards,
    ) -> Traced:
        """Run the function on stand-ins for its arguments.

        What it changes holds other values until it ends. So no other thread may compute meanwhile:
        a replay there would read these, and what it changed itself would be put back.
        """
        stand_ins = [_stand_in(t) for t in tensors]
        inputs = [t.node for t in stand_ins]
        rest = iter(stand_ins)
        variables = {name: variable(name, value) for name, value in numbers.items()}
        arguments = {
            name: variables[name]
            if name in variables
            else map_leaves(lambda x: next(rest) if isinstance(x, Handle) else x, value)
            for name, value in bound.arguments.items()
        }
        call = inspect.BoundArguments(self._signature, arguments)
        before = {name: structure(id, value) for name, value in arguments.items()}
        with (
            running,
            nothing_in_between(),
            trace_mode() as trace,
            tracing() as updates,
            recorded_draws() as draws,
        ):
            question = note_question()
            result = self._function(*call.args, **call.kwargs)
            if note_question() != question + 1:
                guards.defaults()
            nodes = [t.node for t in tensors_of(result)]
            build, single = rebuilder(result), isinstance(result, Handle)
            del result  # what nobody holds now is a value on the way, and no state
            changed = [(handle, old, handle.node) for handle, old in updates.held()]
            gradients, found, left = _gradients(updates, tensors, stand_ins, len(nodes))
            own = {id(t) for handle, old, _ in updates.gradients() for t in (old, handle._grad)}
        changed = [entry for entry in changed if id(entry[0]) not in own]
        nests = [name for name, x in arguments.items() if structure(id, x) != before[name]]
        refuse_changed(changed, stand_ins, nests)
        guards.values_of(updates.read)
        refuse_kept(guards, trace)
        return Traced(
            trace,
            inputs,
            variables,
            build,
            nodes,
            changed,
            gradients,
            found,
            left,
            draws,
            updates.before,
            single,
        )


def _put(lists: dict[Any, list[Any]], key: Any, kept: list[Any]) -> None:
    """Keep a list, unless it is empty."""
    if kept:
        lists[key] = kept
    else:
        lists.pop(key, None)


def _stand_in(tensor: Any) -> Any:
    """A tensor of the class and kind of an argument, without a value."""
    kind = LeafNode if is_leaf(tensor.node) else Node
    node = kind(BUFFER, (), {}, tensor.shape, tensor.dtype, tensor.device)
    found = object.__new__(type(tensor))
    Handle.__init__(found, node)
    found._grad = tensor._grad
    node.requires_grad = tensor.node.requires_grad and grad_enabled()
    if isinstance(node, LeafNode):
        node.owner = weakref.ref(found)
    return found


def _gradients(
    updates: Updates, tensors: list[Any], stand_ins: list[Any], first: int
) -> tuple[list[Gradient], list[Node | None], list[Node]]:
    """What a traced function does with gradients, whose results are counted from `first`.

    Returns:
        that; the node of each gradient before; and the nodes that are left behind.
    """
    position = {id(handle): i for i, handle in enumerate(stand_ins)}
    was = {id(handle): node for handle, node in updates.held()}
    found: list[Gradient] = []
    before: list[Node | None] = []
    left: list[Node] = []
    for handle, old, read in updates.gradients():
        argument = position.get(id(handle))
        if any(handle is given for given in tensors):
            problem = "the gradient of an argument is used, which the function has from outside too"
            raise TypeError(message("compile", problem, describe(handle.node)))
        node = None if old is None else was.get(id(old), old.node)
        changed = old is not None and handle._grad is old and node is not old.node
        after = STAYS
        if handle._grad is None:
            after = STAYS if old is None and read else LEAVES_NONE
        elif handle._grad is not old or changed:
            after = first + len(left)
            left.append(handle._grad.node)
        of = handle if argument is None else argument
        kind = None if node is None else kind_of(node)
        found.append(Gradient(of, kind if read else "any", changed, after))
        before.append(node)
    for node in left:
        if node.requires_grad:
            problem = "a gradient that has a gradient itself is left in .grad"
            raise GradientError(message("compile", problem, describe(node), hint="return it"))
    return found, before, left


def _captured_pending(roots: list[Node], trace: int) -> list[Node]:
    """Values from outside of a trace that were not computed yet: they are read at each call."""
    order = toposort(roots)
    read = [x for node in order if node.trace == trace for x in node.inputs]
    outside = [x for x in (*roots, *read) if x.trace != trace]
    return [x for x in dict.fromkeys(outside) if x.buffer is None and x.op is not BUFFER]


def _elsewhere(where: Device, nodes: Sequence[Node]) -> bool:
    """Whether some of the values are on another device."""
    return any(node.device is not where and node.device != where for node in nodes)


def _number(name: str, value: Any) -> int | float:
    """A dynamic argument as an int or a float."""
    if isinstance(value, float | np.floating):
        return float(value)
    with suppress(TypeError, ValueError):
        if not isinstance(value, bool):
            return index(value)
    problem = f"dynamic argument {name} must be an int or a float: {_described(value)}"
    raise DTypeError(message("compile", problem))


def _described(value: Any) -> str:
    if isinstance(value, Handle):
        return f"({describe(value.node)})"
    text = repr(value)
    return text if len(text) <= 40 else type(value).__name__


def _flatten(arguments: dict[str, Any], tensors: list[Any]) -> Any:
    """Append the tensors of arguments; returns their structure, with what else they hold."""
    try:
        return structure(partial(_leaf_key, tensors), arguments)
    except TypeError:
        for name, argument in arguments.items():
            try:
                structure(partial(_leaf_key, []), argument)
            except TypeError:
                raise unkeyed(name, argument) from None
        raise


def _leaf_key(tensors: list[Any], value: Any) -> Any:
    if isinstance(value, Handle):
        tensors.append(value)
        node = value.node
        return (type(value), node.shape, node.dtype, node.requires_grad, node.ends_gradient)
    return argument_key(value)
