"""`numbatorch.compile`: trace a function of tensors once, then replay its plan."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial, update_wrapper
from typing import Any

from numbatorch.backends.base import backend
from numbatorch.backends.outcome import Outcome
from numbatorch.backends.planned import PlanBackend, placeholder_graph
from numbatorch.device import Device, device
from numbatorch.dtype import DType, uint32
from numbatorch.errors import DTypeError, GradientError, message
from numbatorch.graph import Node, grad_enabled, toposort, trace_mode
from numbatorch.locks import Lock
from numbatorch.nest import map_leaves, structure
from numbatorch.ops.operands import BUFFER, COMPILED, describe
from numbatorch.references import owns_node
from numbatorch.shape import Shape
from numbatorch.tensor.base import (
    Handle,
    buffer_node,
    has_history,
    host_node,
    is_tracing,
    pending_leaves,
    realize_nodes,
    running,
    tracing,
)
from numbatorch.tensor.random import Generator, recorded_keys
from numbatorch.tensor.views import moved_to, moves
from numbatorch.variable import Variable, attribute_key, current


def compile(function: Callable[..., Any] | None = None, *, dynamic: Sequence[str] = ()) -> Any:
    """A function that traces `function` once per signature and then replays its plan.

    The signature is the shapes and dtypes of tensor arguments and the values of all others.
    Tensors that the function uses from outside, such as weights, are read at each call; those it
    changes (`cache[...] = x`, an optimizer's state) keep their changes, in place where nothing
    else reads the old value. Python code of the function runs during the trace only. On device
    "numpy", which has no plans, and with tensors of several devices the function itself is called.

    Args:
        function: takes and returns tensors, in nests of lists, tuples and dicts.
        dynamic: names of int arguments that change from call to call without a new trace. They
            may be given to `position` of rope and attention and to starts of slices that are
            assigned to, plus or minus an int.

    >>> import numbatorch as nt
    >>> double = nt.compile(lambda x: x + x)
    >>> double(nt.tensor([1.0, 2.0])).tolist()
    [2.0, 4.0]
    """
    if function is None:
        return lambda found: Compiled(found, tuple(dynamic))
    return Compiled(function, tuple(dynamic))


@dataclass(eq=False)
class _Trace:
    """One traced signature: its program, and what each leaf and result belongs to."""

    device: Device
    program: Any
    arguments: list[int]  # per leaf of the program: number of the tensor argument, or -1
    captured: list[Node | None]
    states: list[Handle | None]
    updated: list[tuple[Handle, bool]]  # handle, whether it is written in place
    build: Callable[[list[Node]], Any]
    results: list[tuple[Shape, DType, bool]]  # and whether a gradient would flow through it
    variables: dict[str, Variable] = field(default_factory=dict)
    checks: list[Node] = field(default_factory=list)
    keys: list[tuple[int, Generator]] = field(default_factory=list)  # number of the leaf
    seen: int = -1
    replayed: bool = False


class Compiled:
    """What `numbatorch.compile` returns.

    Attributes:
        traces: number of signatures traced so far.
    """

    def __init__(self, function: Callable[..., Any], dynamic: tuple[str, ...]) -> None:
        update_wrapper(self, function)
        self._function = function
        self._signature = inspect.signature(function)
        unknown = [name for name in dynamic if name not in self._signature.parameters]
        if unknown:
            raise TypeError(message("compile", f"the function has no parameter {unknown[0]!r}"))
        self._dynamic = dynamic
        self._traces: dict[Any, _Trace] = {}
        self._eager: set[Any] = set()  # signatures whose tensors are on several devices
        self._lock = Lock()

    @property
    def traces(self) -> int:
        """Number of signatures traced so far."""
        return len(self._traces)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Replay the plan of this signature, tracing it first if it is new."""
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values = bound.arguments
        numbers = {name: _integer(name, values[name]) for name in self._dynamic}
        tensors: list[Any] = []
        rest = {k: v for k, v in values.items() if k not in self._dynamic}
        structure = _flatten(rest, tensors)
        where = tensors[0].node.device if tensors else device(None)
        runner = _plans_on(where)
        if is_tracing() or runner is None or _elsewhere(where, [t.node for t in tensors]):
            return self._function(*args, **kwargs)
        key = (structure, grad_enabled(), where, runner.state())
        with self._lock:
            found = self._traces.get(key)
            if key not in self._eager and (found is None or _has_moved(found)):
                found = self._trace(bound, tensors, numbers)
                if found is None:
                    self._eager.add(key)
                else:
                    self._traces[key] = found
            if key in self._eager or found is None:
                return self._function(*args, **kwargs)
            with running:
                return _replay(found, tensors, numbers)

    def _trace(
        self, bound: inspect.BoundArguments, tensors: list[Any], numbers: dict[str, int]
    ) -> _Trace | None:
        inputs = [Node(BUFFER, (), {}, t.shape, t.dtype, t.device) for t in tensors]
        stand_ins = [type(t)._tensor(node) for t, node in zip(tensors, inputs, strict=True)]
        rest = iter(stand_ins)

        def stand_in(value: Any) -> Any:
            return next(rest) if isinstance(value, Handle) else value

        variables = {name: Variable.fresh(name, value) for name, value in numbers.items()}
        arguments = {
            name: variables[name] if name in variables else map_leaves(stand_in, value)
            for name, value in bound.arguments.items()
        }
        call = inspect.BoundArguments(self._signature, arguments)
        with trace_mode() as trace, tracing() as updates, recorded_keys() as keys:
            result = self._function(*call.args, **call.kwargs)
            returned: list[Any] = []
            _flatten(result, returned)
            nodes = [t.node for t in returned]
            build = _rebuilder(result)
            del result, returned  # what nobody holds now is a value on the way, and no state
            changed = [(handle, old, handle.node) for handle, old in updates.held()]
        for handle, old, _new in changed:
            if any(handle is given for given in stand_ins):
                problem = "an argument is changed in place: return its new value"
                raise TypeError(message("compile", problem, describe(old)))
        _refuse_history(node for _handle, old, new in changed for node in (old, new))
        used = [*(t.node for t in tensors), *nodes, *(old for _handle, old, _new in changed)]
        if used and (_plans_on(used[0].device) is None or _elsewhere(used[0].device, used)):
            return None
        realize_nodes(_captured_pending([*nodes, *(new for _h, _o, new in changed)], trace))
        found = _make(trace, inputs, variables, build, nodes, changed)
        sources = dict(keys)
        captured = enumerate(found.captured)
        found.keys = [(i, sources[node]) for i, node in captured if node in sources]
        return found


def _refuse_history(changed: Iterable[Node]) -> None:
    """Raise if a gradient flows through a value before or after a compiled function changes it.

    A plan may write to the memory that the gradient would read, and records nothing.
    """
    for node in changed:
        if has_history(node):
            problem = "a tensor that a gradient flows through is changed in place"
            hint = "detach() it, or what it is given, or return its new value"
            raise GradientError(message("compile", problem, f"tensor {describe(node)}", hint=hint))


def _captured_pending(roots: list[Node], trace: int) -> list[Node]:
    """Values from outside of a trace that were not computed yet: they are read at each call."""
    order = toposort(roots)
    read = [x for node in order if node.trace == trace for x in node.inputs]
    outside = [x for x in (*roots, *read) if x.trace != trace]
    return [x for x in dict.fromkeys(outside) if x.buffer is None and x.op is not BUFFER]


def _make(
    trace: int,
    inputs: list[Node],
    variables: dict[str, Variable],
    build: Callable[[list[Node]], Any],
    returned: list[Node],
    changed: list[tuple[Handle, Node, Node]],
) -> _Trace:
    """Plan a traced graph."""
    roots = [*returned, *(new for _h, _old, new in changed)]
    fresh = [leaf for leaf in pending_leaves(roots) if leaf.trace != trace]
    realize_nodes([*(old for _h, old, _n in changed), *fresh])
    order = toposort(roots)
    copies, placeholders = placeholder_graph(order)
    leaves = [node for node in order if node.buffer is not None or node.op is BUFFER]
    state_of = {old: handle for handle, old, _new in changed}
    donated = frozenset(copies[old] for old in state_of if old in copies)
    where = roots[0].device if roots else device(None)
    runner = _plans_on(where)
    assert runner is not None, where
    plan = runner.plan([copies[root] for root in roots], donated)
    number = {node: i for i, node in enumerate(placeholders)}
    used = [leaves[number[leaf]] for leaf in plan.leaves]
    position = {node: i for i, node in enumerate(inputs)}
    in_place = [
        memory.kind == "leaf" and used[memory.index] is old
        for memory, (_h, old, _n) in zip(plan.outputs[len(returned) :], changed, strict=True)
    ]
    return _Trace(
        where,
        runner.program(plan),
        [position.get(node, -1) for node in used],
        [None if node in position or node in state_of else node for node in used],
        [state_of.get(node) for node in used],
        [(handle, kept) for (handle, _o, _n), kept in zip(changed, in_place, strict=True)],
        build,
        [(node.shape, node.dtype, node.requires_grad) for node in returned],
        variables,
        _distinct(plan.variable_nodes),
    )


def _distinct(nodes: Sequence[Node]) -> list[Node]:
    """One node of each kind whose shape rule has to be asked again when variables change."""
    found: dict[Any, Node] = {}
    for node in nodes:
        attrs = tuple((k, attribute_key(v)) for k, v in node.attrs.items())
        shapes = tuple(x.shape for x in node.inputs)
        found.setdefault((node.op, attrs, shapes), node)
    return list(found.values())


def _replay(trace: _Trace, tensors: list[Any], numbers: dict[str, int]) -> Any:
    for name, variable in trace.variables.items():
        variable.cell[0] = numbers[name]
    for node in trace.checks:
        _check_variables(node)
    _refuse_history(handle.node for handle, _kept in trace.updated)
    realize_nodes([t.node for t in tensors])
    seen = moves()
    if trace.seen != seen:
        trace.captured = [None if node is None else _current(node) for node in trace.captured]
        trace.seen = seen
    leaves = [
        _owned(state)
        if state is not None
        else (tensors[argument].node if node is None else node).buffer
        for argument, state, node in zip(trace.arguments, trace.states, trace.captured, strict=True)
    ]
    if trace.replayed:
        for number, generator in trace.keys:
            leaves[number] = host_node(generator.key(), uint32, trace.device).buffer
    trace.replayed = True
    outcome = Outcome()
    outcome.settle(
        lambda buffers: _hold_updates(trace, buffers),
        partial(trace.program.run, leaves, outcome),
    )
    buffers = outcome.buffers
    del leaves
    nodes = []
    flows = grad_enabled() and any(t.node.requires_grad for t in tensors)
    for buffer, (shape, dtype, required) in zip(buffers, trace.results, strict=False):
        node = buffer_node(buffer, shape, dtype, trace.device)
        if (required or flows) and dtype.kind in "fc":
            node.op, node.requires_grad = COMPILED, True
        nodes.append(node)
    return trace.build(nodes)


def _hold_updates(trace: _Trace, buffers: list[Any]) -> None:
    """Give the tensors that the function changes their new values, but for those in place."""
    for (handle, kept), buffer in zip(trace.updated, buffers[len(trace.results) :], strict=True):
        if kept:
            handle.let_views_go()
        else:
            node = handle.node
            handle.hold(buffer_node(buffer, node.shape, node.dtype, node.device))


def _plans_on(where: Device) -> PlanBackend | None:
    """The backend of a device if it runs plans."""
    runner = backend(where)
    return runner if isinstance(runner, PlanBackend) else None


def _elsewhere(where: Device, nodes: Sequence[Node]) -> bool:
    """Whether some of the values are on another device."""
    return any(node.device is not where and node.device != where for node in nodes)


def _has_moved(trace: _Trace) -> bool:
    """Whether a tensor that the function uses from outside went to another device since."""
    if trace.seen == moves():
        return False
    nodes = [moved_to(node) for node in trace.captured if node is not None]
    nodes += [handle.node for handle in trace.states if handle is not None]
    return any(node.device != trace.device for node in nodes)


def _current(node: Node) -> Node:
    found = moved_to(node)
    if found.buffer is None:
        realize_nodes([found])
    return found


def _owned(handle: Handle) -> Any:
    """The buffer of a tensor that is written in place; a copy if anything else could see it."""
    if handle.node.buffer is None:
        realize_nodes([handle.node])
    handle.let_views_go()
    shared = not owns_node(handle)
    node = handle.node
    buffer = node.buffer
    if shared or not buffer.pooled:
        runner = _plans_on(node.device)
        assert runner is not None, node
        fresh = runner.copy(buffer)
        handle.hold(buffer_node(fresh, node.shape, node.dtype, node.device))
        return fresh
    return buffer


def _check_variables(node: Node) -> None:
    """Ask the shape rule again with the variables' present values; it raises what a call would."""
    rule = getattr(node.op, "rule", None)
    if rule is not None:
        rule(*node.inputs, **{k: current(v) for k, v in node.attrs.items()})


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise DTypeError(message("compile", f"dynamic argument {name} must be an int: {value!r}"))
    return int(value)


def _flatten(nest: Any, tensors: list[Any]) -> Any:
    """Append the tensors of a nest; returns its structure, with what else it holds, as a key."""
    return structure(partial(_leaf_key, tensors), nest)


def _leaf_key(tensors: list[Any], value: Any) -> Any:
    if isinstance(value, Handle):
        tensors.append(value)
        return (Handle, value.node.shape, value.node.dtype)
    try:
        hash(value)
    except TypeError:
        kind = type(value).__name__
        raise DTypeError(message("compile", f"an argument of type {kind} has no hash")) from None
    return (type(value), attribute_key(value))


def _rebuilder(result: Any) -> Callable[[list[Node]], Any]:
    """The function that puts fresh results into the traced nest."""
    form = map_leaves(lambda x: _Hole(type(x)._tensor) if isinstance(x, Handle) else x, result)
    if isinstance(form, _Hole):
        tensor = form.tensor
        return lambda nodes: tensor(nodes[0])

    def build(nodes: list[Node]) -> Any:
        rest = iter(nodes)
        return map_leaves(lambda x: x.tensor(next(rest)) if isinstance(x, _Hole) else x, form)

    return build


@dataclass(frozen=True)
class _Hole:
    tensor: Any
