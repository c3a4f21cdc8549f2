"""One traced signature of a compiled function: how it is planned, when it holds, how it replays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, Self

from numbatorch.backends.base import backend
from numbatorch.backends.outcome import Outcome, Stale, note_finished
from numbatorch.backends.planned import PlanBackend, placeholder_graph
from numbatorch.device import Device, device
from numbatorch.dtype import uint32
from numbatorch.errors import GradientError, OutOfMemory, message
from numbatorch.graph import Node, toposort
from numbatorch.ops.caller import arguments
from numbatorch.ops.numbers import fitting
from numbatorch.ops.operands import BUFFER, COMPILED, CONST, describe
from numbatorch.references import owns_node
from numbatorch.tensor.base import (
    Handle,
    buffer_node,
    has_history,
    host_node,
    realize_nodes,
)
from numbatorch.tensor.compiled_gradient import (
    Call,
    Differentiable,
    differentiable,
    refusal,
    result_nodes,
)
from numbatorch.tensor.draws import Draw, take_back
from numbatorch.tensor.guards import Guards
from numbatorch.tensor.keep import pending_leaves
from numbatorch.tensor.traced import (
    LEAVES_NONE,
    STAYS,
    Changed,
    Gradient,
    Kind,
    Outside,
    Traced,
    kind_of,
    shown_kind,
)
from numbatorch.tensor.views import Clock, moved_to, moves, share_memory
from numbatorch.variable import Values, attribute_key, current, is_variable


class Trace:
    """A program, what each of its leaves and results belongs to, and what it depends on.

    Attributes:
        guards: what it depends on beside its arguments.
        device: of all tensors.
        program: computes results and gradients, then new values of what is changed, then what a
            gradient is computed from.
        order: number, among all leaves, of each leaf of the program.
        arguments: (number of the leaf, number of the tensor argument).
        captured: (number of the leaf, what the tensor from outside was that is read).
        states: (number of the leaf, tensor that is changed).
        sources: (number of the leaf, gradient that is read).
        gradients: what is done with `.grad`; `sources` are those that are read.
        draws: (what is drawn, number of the leaf that it is for, or -1).
        updated: tensors that are changed, and whether in place.
        results: shape and dtype of what is returned, then of gradients, and whether each has one.
        count: how many of them are returned.
        variables, checks: plan variables, and nodes whose shape rules are asked again.
        before: what is called first.
        single: whether one tensor is returned, and not a nest.
        outside: tensors from outside that are read, as they were when they were looked at last.
        allowed: values of the plan variables that shape rules were asked about.
        replays: how often it was replayed by this program.
        quickened: the forms of calls for which a short way was looked for.
    """

    def __init__(self, traced: Traced, guards: Guards) -> None:
        results = [*traced.returned, *traced.left]
        roots = [*results, *(new for _h, _old, new in traced.changed)]
        fresh = [leaf for leaf in pending_leaves(roots) if leaf.trace != traced.number]
        realize_nodes([*(old for _h, old, _n in traced.changed), *fresh])
        order = toposort(roots)
        copies, placeholders = placeholder_graph(order)
        leaves = [node for node in order if node.buffer is not None or node.op is BUFFER]
        state_of = {old: handle for handle, old, _new in traced.changed}
        self.guards = guards
        self.device = roots[0].device if roots else device(None)
        self.build, self.gradients = traced.build, traced.gradients
        self.results = [(node.shape, node.dtype, node.requires_grad) for node in results]
        self.count = len(traced.returned)
        self.variables, self.before = traced.variables, list(dict.fromkeys(traced.before))
        self.refusal = refusal(results, state_of)
        self.differentiable: Differentiable | None = None
        if not self.refusal:
            self.differentiable = differentiable(copies, leaves, results)
        self._roots = [copies[root] for root in roots]
        self._donated = frozenset(copies[old] for old in state_of if old in copies)
        self._changed = [(handle, copies.get(old)) for handle, old, _new in traced.changed]
        self._number = {node: i for i, node in enumerate(placeholders)}
        self._saves = False
        self._plan()
        self._place(traced, leaves, state_of)
        self.single = traced.single
        self.allowed: set[Any] = set()
        self._replayed = False

    def _plan(self, saved: Sequence[Node] = ()) -> None:
        """Make the program, which gives the values of the nodes `saved` too."""
        runner = plans_on(self.device)
        assert runner is not None, self.device
        plan = runner.plan([*self._roots, *saved], self._donated)
        self.order = [self._number[leaf] for leaf in plan.leaves]
        self.saved = list(saved)
        new = plan.outputs[len(self.results) : len(self._roots)]
        self.updated = [
            (handle, memory.kind == "leaf" and plan.leaves[memory.index] is old)
            for memory, (handle, old) in zip(new, self._changed, strict=True)
        ]
        self.program = runner.program(plan)
        self.checks = [_Check.of(node) for node in _distinct(plan.variable_nodes)]
        self.replays = 0
        self.quickened: set[Any] = set()

    def _place(self, traced: Traced, leaves: list[Node], state_of: dict[Node, Handle]) -> None:
        """Note where the value of each leaf that is needed comes from."""
        argument = {node: i for i, node in enumerate(traced.inputs)}
        source = dict(zip(traced.found, self.gradients, strict=True))
        needed = set(self.order)
        if self.differentiable is not None:
            needed.update(set(range(len(leaves))) - set(self.differentiable.unread))
        self.arguments: list[tuple[int, int]] = []
        self.captured: list[tuple[int, Kind]] = []
        self.states: list[tuple[int, Handle]] = []
        self.sources: list[tuple[int, Gradient]] = []
        number = {node: i for i, node in enumerate(leaves) if i in needed}
        for node, i in number.items():
            if node in argument:
                self.arguments.append((i, argument[node]))
            elif node in state_of:
                self.states.append((i, state_of[node]))
            elif node in source:
                self.sources.append((i, source[node]))
            else:
                self.captured.append((i, kind_of(node)))
        keys = [-1 if draw.key is None else number.get(draw.key, -1) for draw in traced.draws]
        self.draws = list(zip(traced.draws, keys, strict=True))
        read = {i for i, _kind in self.captured}  # a state that is held here would be copied
        outside = [leaf if i in read else None for i, leaf in enumerate(leaves)]
        self.outside = Outside(-1, outside, [])

    def problem(self, tensors: Sequence[Any]) -> tuple[str, Any]:
        """What is not as it was before the trace, in words, and what stood there; or nothing."""
        place = self.guards.changed()
        if place is not None:
            return place.problem(), place.expected
        if not all(gradient.fits(tensors) for gradient in self.gradients):
            return "a gradient came, went or is of another kind", None
        try:
            self.now()
        except Changed as change:
            return change.reason, change.before
        return "", None

    def now(self) -> Outside:
        """Tensors from outside as they are.

        Raises:
            Changed: one is of another kind than in the trace.
        """
        seen = moves()
        if self.outside.seen == seen:
            return self.outside
        for _i, handle in self.states:
            if handle.node.device != self.device:
                problem = f"a tensor was on {self.device} and is on {handle.node.device}"
                raise Changed(problem)
        nodes = self.outside.nodes.copy()
        for i, kind in self.captured:
            before = nodes[i]
            nodes[i] = node = moved_to(before)
            if node is not before and kind_of(node) != kind:
                problem = f"a tensor was {shown_kind(kind)} and is {shown_kind(kind_of(node))}"
                raise Changed(problem, before)
        realize_nodes([nodes[i] for i, _kind in self.captured])
        buffers = [None if node is None else node.buffer for node in nodes]
        self.outside = found = Outside(seen, nodes, buffers)
        return found

    def notes(self) -> bool:
        """Whether a run changes what others may read."""
        return bool(self.updated) or any(x.after != STAYS for x in self.gradients)

    def overlaps(self, tensors: Sequence[Any]) -> bool:
        """Whether an argument is what a run changes, or shares memory with it.

        In the trace they were apart: what comes after a change would read the argument as it was.
        """
        changed = [handle for handle, _kept in self.updated]
        return any(share_memory(x, handle) for handle in changed for x in tensors)

    def check(self, numbers: dict[str, Any]) -> None:
        """Ask shape rules about values of the plan variables, once about each; they may raise."""
        key = tuple([numbers[name] for name in self.variables])
        if key in self.allowed:
            return
        for check in self.checks:
            check.ask(numbers)
        if len(self.allowed) >= _ALLOWED:
            self.allowed.clear()
        self.allowed.add(key)

    def replay(self, tensors: Sequence[Any], numbers: dict[str, Any]) -> Any:
        """Run the program for these arguments; returns what the function does.

        Raises:
            Changed: the trace does not hold any more.
        """
        note_finished()
        self.now()  # before anything is done
        if self.checks:
            self.check(numbers)
        for call in self.before:
            call()
        refuse_history(handle.node for handle, _kept in self.updated)
        realize_nodes([t.node for t in tensors])
        if self.differentiable is not None and self.differentiable.asked and not self._saves:
            self._saves = True
            self._plan(self.differentiable.results_to_save())
        self.replays += 1
        drawn = self._all_drawn()
        while True:
            with suppress(Stale):
                return self._run(tensors, numbers, drawn)

    def _run(
        self, tensors: Sequence[Any], numbers: dict[str, Any], drawn: list[tuple[int, Any]]
    ) -> Any:
        """Run the program.

        Args:
            drawn: leaves of random numbers, and where they lie.
        Raises:
            Stale: another call, within this one, has changed what this one was to change.
        """
        for _i, handle in self.states:
            handle.let_views_go()  # before some are read here, for that moves the clock
        outside = self.now()
        leaves = self._leaves(tensors, outside)
        for i, key in drawn:
            leaves[i] = key
        held = [handle.node for handle, _kept in self.updated]
        outcome = Outcome(clock=Clock, seen=outside.seen) if self.updated else Outcome()
        outcome.settle(
            partial(self.note, tensors, held, set()),
            partial(self.program.run, [leaves[i] for i in self.order], outcome, numbers),
        )
        return self.build(self.returned(tensors, outside, leaves, outcome.buffers, numbers))

    def _leaves(self, tensors: Sequence[Any], outside: Outside) -> list[Any]:
        """The buffer of each leaf."""
        leaves = outside.buffers.copy()
        for i, handle in self.states:
            leaves[i] = owned(handle)
        for i, number in self.arguments:
            leaves[i] = tensors[number].node.buffer
        for i, gradient in self.sources:
            leaves[i] = gradient.buffer(tensors)
        return leaves

    def _all_drawn(self) -> list[tuple[int, Any]]:
        """Each leaf that is drawn, and where it lies; the first replay has what the trace drew."""
        again, self._replayed = self._replayed, True
        if not again:
            return []
        found = [(i, self.drawn(draw)) for draw, i in self.draws]
        return [(i, key) for i, key in found if i >= 0]

    def take_back_draws(self) -> None:
        """Undo what the trace took from generators: the function itself is called."""
        take_back([draw for draw, _i in self.draws])
        self._replayed = True

    def drawn(self, draw: Draw) -> Any:
        """Do to the generator what was done in the trace; returns where a key lies, if one came."""
        key = draw.again()
        return None if key is None else host_node(key, uint32, self.device).buffer

    def note(
        self, tensors: Sequence[Any], held: list[Node], noted: set[int], buffers: list[Any]
    ) -> None:
        """Give what the function changes its new values, but for those in place.

        Args:
            held: what each tensor that is changed held. One that does not hold that any more was
                noted, and may have changed since.
            noted: numbers of the gradients that have their place.
        """
        first, last = len(self.results), len(self._roots)
        for (handle, kept), old, buffer in zip(
            self.updated, held, buffers[first:last], strict=True
        ):
            if handle.node is not old:
                continue
            if kept and old.buffer is buffer:
                if handle._place is not None:
                    handle.let_views_go()
            else:
                handle.hold(buffer_node(buffer, old.shape, old.dtype, old.device), old)
        for i, gradient in enumerate(self.gradients, last):
            owner, number = gradient.owner(tensors), gradient.after
            if i in noted:
                continue
            if number == LEAVES_NONE:
                owner._grad = None
            elif number != STAYS:
                shape, dtype, _required = self.results[number]
                node = buffer_node(buffers[number], shape, dtype, self.device)
                if gradient.changed and owner._grad is not None:
                    owner._grad.hold(node)
                else:
                    owner._grad = Handle._tensor(node)
            noted.add(i)

    def returned(
        self,
        tensors: Sequence[Any],
        outside: Outside,
        leaves: list[Any],
        buffers: list[Any],
        numbers: Values,
    ) -> list[Node]:
        """The nodes of what the function returns, which keep those of `leaves` that they need."""
        found = []
        for (shape, dtype, required), buffer in zip(self.results, buffers, strict=False):
            node = buffer_node(buffer, shape, dtype, self.device)
            if required and self.refusal:
                node.op, node.attrs = COMPILED, {"refusal": self.refusal}
                node.requires_grad = True
            found.append(node)
        d = self.differentiable
        if d is not None:
            given = outside.nodes.copy()
            for i, number in self.arguments:
                given[i] = tensors[number].node
            for i in d.unread:
                leaves[i] = None
            call = Call(d, numbers, leaves, self.saved, buffers[len(self._roots) :])
            inputs = [given[i] for i in d.wanted]
            nodes = result_nodes(call, inputs, [buffers[i] for i in d.numbers])
            for i, node in zip(d.numbers, nodes, strict=True):
                found[i] = node
        return found[: self.count]


_ALLOWED = 4096  # values of plan variables that are remembered


def refuse_history(changed: Iterable[Node]) -> None:
    """Raise if a gradient flows through a value before or after a compiled function changes it.

    A plan may write to the memory that the gradient would read, and records nothing.
    """
    for node in changed:
        if has_history(node):
            problem = "a tensor that a gradient flows through is changed in place"
            hint = "detach() it, or what it is given, or return its new value"
            raise GradientError(message("compile", problem, f"tensor {describe(node)}", hint=hint))


def plans_on(where: Device) -> PlanBackend | None:
    """The backend of a device if it runs plans."""
    runner = backend(where)
    return runner if isinstance(runner, PlanBackend) else None


def _distinct(nodes: Sequence[Node]) -> list[Node]:
    """One node of each kind whose shape rule has to be asked again when variables change."""
    found: dict[Any, Node] = {}
    for node in nodes:
        attrs = tuple((k, attribute_key(v)) for k, v in node.attrs.items())
        shapes = tuple(x.shape for x in node.inputs)
        found.setdefault((node.op, attrs, shapes, node.dtype), node)
    return list(found.values())


def owned(handle: Handle) -> Any:
    """The buffer of a tensor that is written in place; a copy if anything else could see it.

    Its views have let go of it before.
    """
    buffer = None
    while buffer is None:  # a finalizer or a signal's handler may have changed the tensor meanwhile
        if handle.node.buffer is None:
            realize_nodes([handle.node])
        shared = not owns_node(handle)
        node = handle.node
        buffer = node.buffer
    if shared or not buffer.pooled:
        runner = plans_on(node.device)
        assert runner is not None, node
        try:
            return runner.copy(buffer)  # which `handle` holds when the run is noted
        except OutOfMemory as err:
            rows = (
                f"tensor {describe(node)}",
                "copied, for others hold what it is changed in place of",
            )
            raise err.within("compile", *rows) from err
    return buffer


class _Check(NamedTuple):
    """A node whose shape rule is asked again: of its attributes, those that change are apart."""

    node: Node
    rule: Callable[..., Any] | None
    fixed: dict[str, Any]
    moving: dict[str, Any]

    @classmethod
    def of(cls, node: Node) -> Self:
        """The check of a node."""
        given = arguments(node)
        moving = {name: value for name, value in given.items() if is_variable(value)}
        fixed = {name: value for name, value in given.items() if name not in moving}
        return cls(node, getattr(node.op, "rule", None), fixed, moving)

    def ask(self, values: Values) -> None:
        """Ask the rule with the variables' present values; it raises what a call would.

        A constant must be a value of its dtype.
        """
        node = self.node
        if node.op is CONST:
            fitting("compile", current(node.attrs["value"], values), node.dtype)
        if self.rule is not None:
            moved = {name: current(value, values) for name, value in self.moving.items()}
            self.rule(*node.inputs, **self.fixed, **moved)
