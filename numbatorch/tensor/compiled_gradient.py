"""Gradients of what a compiled function returns: its backward is a plan too.

The plan computes the function again from its leaves until a gradient is asked for once; from then
on calls keep the costly results on the way, as they do for a graph that is realized.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from numbatorch.backends.base import backend
from numbatorch.backends.outcome import Outcome
from numbatorch.backends.planned import PlanBackend, placeholder_graph
from numbatorch.gradients import gradients
from numbatorch.graph import (
    PART,
    GradMode,
    Node,
    Op,
    TupleNode,
    current_trace,
    grad_enabled,
    toposort,
)
from numbatorch.ops.operands import BUFFER, as_node, const, describe, is_constant, zeros_like
from numbatorch.ops.view import reshape
from numbatorch.tensor.base import buffer_node, realize_nodes, running
from numbatorch.variable import Values, attribute_key, current, is_variable


def _no_reference(*_leaves: Any, call: Any) -> Any:
    """Results of a compiled function, which lie in memory."""
    raise TypeError("results of a compiled function lie in memory")


CALL = Op("compiled_call", _no_reference)


@dataclass(eq=False)
class Differentiable:
    """The graph of a trace, without memory, for the gradients of its results.

    Attributes:
        leaves: stand for what the program reads, in its order, then for what it does not need.
        unread: numbers of the leaves that the results do not depend on.
        wanted: numbers of the leaves that gradients flow to.
        outputs: the results that gradients flow from.
        numbers: of these, among all results of the trace.
        asked: whether a gradient was asked for.
    """

    leaves: list[Node]
    unread: list[int]
    wanted: list[int]
    outputs: list[Node]
    numbers: list[int]
    asked: bool = False
    _parts: dict[Any, tuple[list[Node], list[Node | None]]] = field(default_factory=dict)
    _programs: dict[Any, tuple[Any, list[int], list[int]]] = field(default_factory=dict)

    def results_to_save(self) -> list[Node]:
        """The costly results on the way that the gradients are computed from."""
        _cotangents, found_parts = self._gradients([None for _ in self.outputs])
        parts = [part for part in found_parts if part is not None]
        forward = set(toposort(self.outputs))
        found: dict[Node, None] = {}
        seen: set[Node] = set()
        todo = list(parts)
        while todo:
            node = todo.pop()
            if node in seen or node.op is BUFFER:
                continue
            seen.add(node)
            if node in forward and (node.op is PART or node.op.costly or node in self.outputs):
                found[node] = None
            else:
                todo.extend(node.inputs)
        return list(found)

    def _gradients(self, constants: Sequence[Any]) -> tuple[list[Node], list[Node | None]]:
        """The cotangents, and the gradients at the wanted leaves.

        Args:
            constants: what each cotangent is everywhere; None for one that is a leaf.
        """
        key = attribute_key(tuple(constants))
        if key not in self._parts:
            cotangents = [
                _leaf(node) if value is None else const(value, node.dtype, node.device, node.shape)
                for node, value in zip(self.outputs, constants, strict=True)
            ]
            wanted = [self.leaves[number] for number in self.wanted]
            with GradMode(False):
                self._parts[key] = cotangents, gradients(self.outputs, cotangents, wanted)
        return self._parts[key]

    def program(
        self, saved: Sequence[Node], constants: Sequence[Any]
    ) -> tuple[Any, list[int], list[int]]:
        """The program that computes the gradients, given the results `saved`.

        Args:
            constants: as for `_gradients`.
        Returns:
            the program; for each of its leaves its number among leaves, saved and cotangents; and
            for each of its results the number of the wanted leaf.
        """
        runner = backend(self.outputs[0].device)
        assert isinstance(runner, PlanBackend), runner
        key = len(saved), attribute_key(tuple(constants)), runner.state()
        if key not in self._programs:
            cotangents, parts = self._gradients(constants)
            reached = [i for i, part in enumerate(parts) if part is not None]
            order = toposort([part for part in parts if part is not None], stop=set(saved))
            copies, _leaves = placeholder_graph(order, stop=set(saved))
            plan = runner.plan([copies[part] for part in parts if part is not None])
            given = [*self.leaves, *saved, *cotangents]
            number = {copies[node]: i for i, node in enumerate(given) if node in copies}
            program = runner.program(plan)
            self._programs[key] = program, [number[leaf] for leaf in plan.leaves], reached
        return self._programs[key]

    def over(self, leaves: Sequence[Node], numbers: Values) -> list[Node]:
        """The outputs, as a graph over other leaves, with numbers for plan variables."""
        copies = dict(zip(self.leaves, leaves, strict=True))
        with GradMode(True):
            for node in toposort(self.outputs):
                if node not in copies:
                    copies[node] = _over(node, tuple(copies[x] for x in node.inputs), numbers)
        return [copies[node] for node in self.outputs]


@dataclass(eq=False)
class Call:
    """What a gradient needs of one call.

    Attributes:
        buffers: of the leaves that are read.
        saved, saved_buffers: results on the way.
        numbers: values of the plan variables.
    """

    of: Differentiable
    numbers: Values
    buffers: list[Any]
    saved: list[Node]
    saved_buffers: list[Any]


def differentiable(
    copies: dict[Node, Node], leaves: Sequence[Node], results: Sequence[Node]
) -> Differentiable | None:
    """The graph of a trace for gradients of its results; None if none requires one.

    Args:
        copies: of each node of the graph, without memory.
        leaves: the leaves of the graph, in the order in which calls give their memory.
        results: of the trace.
    """
    numbers = [i for i, node in enumerate(results) if node.requires_grad]
    if not numbers:
        return None
    for node, copy in copies.items():
        copy.requires_grad = node.requires_grad
    reached = set(toposort([results[i] for i in numbers]))
    return Differentiable(
        [copies[leaf] for leaf in leaves],
        [i for i, leaf in enumerate(leaves) if leaf not in reached],
        [i for i, leaf in enumerate(leaves) if leaf.requires_grad and leaf in reached],
        [copies[results[i]] for i in numbers],
        numbers,
    )


def refusal(results: Sequence[Node], overwritten: Collection[Node]) -> tuple[str, ...]:
    """Why no gradient of the results of a trace can be taken, in rows of an error; or nothing.

    Args:
        overwritten: leaves that a call overwrites.
    """
    for node in toposort([node for node in results if node.requires_grad]):
        if node in overwritten:
            problem = "the function changes in place what the gradient of its result depends on"
            return problem, f"tensor {describe(node)}"
        if node.ends_gradient and node.inputs:
            return "a leaf of the gradient is made inside of the function", f"leaf {describe(node)}"
    return ()


def result_nodes(call: Call, leaves: Sequence[Node], buffers: Sequence[Any]) -> list[Node]:
    """The results that gradients flow from, as nodes on `buffers` that lead to `leaves`."""
    of = call.of
    outputs = [(node.shape, node.dtype) for node in of.outputs]
    whole = TupleNode(CALL, tuple(leaves), {"call": call}, outputs, of.outputs[0].device)
    found = list(whole.parts())
    for node, buffer in zip(found, buffers, strict=True):
        node.buffer = buffer
    return found


@CALL.vjp
def _compiled_vjp(
    g: tuple[Node | None, ...], _y: Any, *inputs: Node, call: Call
) -> Sequence[Node | None]:
    of = call.of
    of.asked = True
    given = [zeros_like(y) if c is None else c for c, y in zip(g, of.outputs, strict=True)]
    if grad_enabled() or current_trace():
        return _as_graph(given, inputs, call)
    with running:
        given = [as_node(c, y.dtype, y.device) for c, y in zip(given, of.outputs, strict=True)]
        constants = [_constant(c) for c in given]
        realize_nodes([c for c, value in zip(given, constants, strict=True) if value is None])
        program, places, reached = of.program(call.saved, constants)
        buffers = [*call.buffers, *call.saved_buffers, *(c.buffer for c in given)]
        outcome = Outcome()
        program.run([buffers[i] for i in places], outcome, call.numbers)
    found: list[Node | None] = [None for _ in inputs]
    for number, buffer in zip(reached, outcome.buffers, strict=True):
        x = inputs[number]
        found[number] = buffer_node(buffer, x.shape, x.dtype, x.device)
    return found


def _as_graph(g: Sequence[Node], inputs: Sequence[Node], call: Call) -> list[Node | None]:
    """The gradients as graph expressions of the inputs, which can be differentiated again."""
    of = call.of
    wanted = dict(zip(of.wanted, inputs, strict=True))
    with GradMode(True):
        aliases = {i: reshape.apply(x, shape=x.shape) for i, x in wanted.items()}
    leaves = list(of.leaves)
    for i, (x, buffer) in enumerate(zip(of.leaves, call.buffers, strict=True)):
        if i in aliases:
            leaves[i] = aliases[i]
        elif buffer is not None:
            leaves[i] = buffer_node(buffer, x.shape, x.dtype, x.device)
    return gradients(of.over(leaves, call.numbers), g, list(aliases.values()))


def _constant(cotangent: Node) -> Any:
    """The 0 or 1 that a cotangent is everywhere; None for any other, so that plans stay few."""
    if cotangent.buffer is None:
        for value in (0.0, 1.0):
            if is_constant(cotangent, value):
                return value
    return None


def _leaf(node: Node) -> Node:
    return Node(BUFFER, (), {}, node.shape, node.dtype, node.device)


def _over(node: Node, inputs: tuple[Node, ...], numbers: Values) -> Node:
    """The same operator on other inputs, through which gradients flow where they did."""
    found = node.over(inputs)
    if any(map(is_variable, node.attrs.values())):
        found.attrs = {name: current(value, numbers) for name, value in node.attrs.items()}
    found.requires_grad = node.requires_grad
    return found
