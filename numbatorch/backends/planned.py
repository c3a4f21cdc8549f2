"""Backends that realize graphs through plans, which are kept by the structure of the graph."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from numbatorch import debugging, logs
from numbatorch.backends.memory import Buffer
from numbatorch.backends.outcome import Outcome
from numbatorch.backends.program import Program
from numbatorch.dtype import DType
from numbatorch.errors import message
from numbatorch.graph import Node, current_trace, toposort
from numbatorch.layout import Layout
from numbatorch.ops.operands import BUFFER, settle
from numbatorch.passes.plan import Plan
from numbatorch.passes.planner import SERIAL_WORK, make_plan
from numbatorch.references import outside_holders, owns_buffer
from numbatorch.shape import Shape
from numbatorch.variable import attribute_key

Array = np.ndarray[Any, Any]

PLANS = 512  # plans that are kept
LAUNCHES = 32_768  # that all of them have together; each takes about 3 KB


@dataclass
class Sharing:
    """How many threads share each launch; plans depend on it.

    Attributes:
        parts: their number; 0 until it is asked for.
    """

    parts: int


class PlanBackend:
    """What devices that run kernels have in common.

    Attributes:
        sharing: how many threads share each launch.
        target: name of the kernels' target: "cpu", "cuda" or "metal".
        serial_work: below this many simple operations a launch stays on one thread.
    """

    target: str
    serial_work = SERIAL_WORK
    sharing = Sharing(1)

    def __init__(self) -> None:
        self._programs: OrderedDict[Any, Program[Any]] = OrderedDict()

    def parts(self) -> int:
        """How many threads share each launch."""
        return self.sharing.parts

    def program(self, plan: Plan) -> Program[Any]:
        """A plan made ready to run."""
        raise NotImplementedError

    def realize_small(self, root: Node, known: bool = False) -> bool:
        """There is no short way."""
        return False

    def view_to_numpy(self, buffer: Buffer, dtype: DType, layout: Layout) -> Array | None:
        """It takes a plan."""
        return None

    def from_numpy(self, array: Array, dtype: DType) -> Buffer:
        """A buffer with the array's elements; shares memory where it can."""
        raise NotImplementedError

    def zeros(self, shape: Shape, dtype: DType) -> Buffer:
        """A buffer of zeros whose memory goes back to the device once it is dropped."""
        raise NotImplementedError

    def to_numpy(self, buffer: Buffer, node: Node) -> Array:
        """The buffer's elements under the node's shape and dtype; may share memory."""
        raise NotImplementedError

    def copy(self, buffer: Buffer) -> Buffer:
        """A buffer of our own memory with the same bytes."""
        raise NotImplementedError

    def empty_cache(self) -> None:
        """Give memory that waits to be used again back to the device."""
        raise NotImplementedError

    def realize(self, nodes: Sequence[Node], order: list[Node] | None = None) -> None:
        """Compute every node that `nodes` need in one plan."""
        while True:
            roots = [node for node in dict.fromkeys(nodes) if node.buffer is None]
            if not roots:
                return
            order = order or toposort(roots)
            inner = [node for node in order if node.buffer is None]
            key, leaves = structure(order, roots)
            donated = _donated(order, roots, leaves, inner)
            key = (key, donated, self.state())
            program = self._known(key)
            if program is None:
                copied = placeholder_graph(order)
                if _any_settled(inner):
                    order = None
                    continue
                program = self._keep(key, self._make(copied, roots, donated))
            if not _any_settled(inner):
                break
            order = None
        if not donated:
            self.note(roots, leaves, program)
        used = [leaves[number].buffer for number in program.leaf_order]
        outcome = Outcome()
        run = partial(program.run, used, outcome)
        outcome.settle(partial(settle_all, roots), run)

    def note(self, roots: Sequence[Node], leaves: Sequence[Node], program: Program[Any]) -> None:
        """There is no short way that wants to know the program of a graph."""

    def _known(self, key: Any) -> Program[Any] | None:
        """The program of a graph, which is then the one that was used last."""
        with suppress(KeyError):
            self._programs.move_to_end(key)
        return self._programs.get(key)

    def _keep(self, key: Any, program: Program[Any]) -> Program[Any]:
        """Note the program of a graph; those that were used longest ago go."""
        kept = self._programs
        kept[key] = program
        launches = sum(len(x.plan.launches) for x in kept.values())
        while len(kept) > 1 and (len(kept) > PLANS or launches > LAUNCHES):
            _, gone = kept.popitem(last=False)
            launches -= len(gone.plan.launches)
        return program

    def forget_programs(self) -> None:
        """Plan every graph anew, as after an operator was changed."""
        self._programs.clear()

    def state(self) -> Any:
        """What plans depend on beside their graph."""
        return self.parts(), debugging.fusing()

    def plan(self, roots: Sequence[Node], donated: frozenset[Node] = frozenset()) -> Plan:
        """The plan that computes `roots`, of which the leaves in `donated` may be overwritten."""
        start = perf_counter()
        fusing, serial_work = debugging.fusing(), self.serial_work
        plan = make_plan(roots, self.target, self.parts(), donated, fusing, serial_work)
        milliseconds = (perf_counter() - start) * 1e3
        count, target = len(plan.launches), self.target
        logs.debug("plans", "planned %d launches on %s in %.1f ms", count, target, milliseconds)
        return plan

    def _make(
        self,
        copied: tuple[dict[Node, Node], list[Node]],
        roots: Sequence[Node],
        donated: frozenset[int],
    ) -> Program[Any]:
        copies, placeholders = copied
        plan = self.plan(
            [copies[root] for root in roots], frozenset(placeholders[i] for i in donated)
        )
        number = {node: i for i, node in enumerate(placeholders)}
        program = self.program(plan)
        program.leaf_order = [number[leaf] for leaf in plan.leaves]
        return program


def _any_settled(nodes: Sequence[Node]) -> bool:
    """Whether one got its value meanwhile: a finalizer or a signal's handler came in between."""
    return any(node.buffer is not None for node in nodes)


def settle_all(roots: Sequence[Node], buffers: Sequence[Buffer]) -> None:
    """Give nodes their values, but for those that got them meanwhile."""
    for root, buffer in zip(roots, buffers, strict=True):
        if root.buffer is None:
            settle(root, buffer)


def structure(order: Sequence[Node], roots: Sequence[Node]) -> tuple[Any, list[Node]]:
    """What a plan depends on: operators, attributes, shapes and dtypes, not addresses.

    Returns:
        the key, and the realized nodes in the order in which it counts them.
    """
    number: dict[Node, int] = {}
    key: list[Any] = []  # flat: what each node appends ends with its shape and dtype
    leaves = []
    for node in order:
        op, inputs, attrs = node.op, node.inputs, node.attrs  # before a finalizer settles it
        if node.buffer is not None:
            leaves.append(node)
        elif op is BUFFER:
            when = (
                "while its function is traced" if current_trace() else "after its trace has ended"
            )
            raise RuntimeError(message("compile", f"a value is read {when}: return it instead"))
        else:
            key.append(op)
            for operand in inputs:
                key.append(number[operand])
            if attrs:
                key.append(tuple([(k, attribute_key(v)) for k, v in attrs.items()]))
        key.append(node.shape)
        key.append(node.dtype)
        number[node] = len(number)
    key += [number[root] for root in roots]
    return tuple(key), leaves


def placeholder_graph(
    order: Sequence[Node], stop: Collection[Node] = ()
) -> tuple[dict[Node, Node], list[Node]]:
    """A copy of a graph whose leaves hold no memory, so that a plan can outlive them.

    Args:
        stop: nodes that count as leaves.
    Returns:
        the copy of each node, and the copies of the realized nodes in order.
    """
    copies: dict[Node, Node] = {}
    placeholders = []
    for node in order:
        if node.buffer is not None or node.op is BUFFER or node in stop:
            copy = Node(BUFFER, (), {}, node.shape, node.dtype, node.device)
            placeholders.append(copy)
        else:
            copy = node.over(tuple(copies[x] for x in node.inputs))
        copies[node] = copy
    return copies, placeholders


def _donated(
    order: list[Node], roots: Sequence[Node], leaves: Sequence[Node], inner: Sequence[Node]
) -> frozenset[int]:
    """Leaves, by number, that nobody can read after this run: their memory may be overwritten.

    Args:
        inner: the other nodes, as the caller holds them.
    """
    wanted = set(roots)
    free = [i for i, node in enumerate(leaves) if node not in wanted and _is_ours(node)]
    if free:
        free = _without_gradient(free, leaves, inner)
    if not free:
        return frozenset()
    pinned: set[Node] = set()
    holders = outside_holders(order, leaves, inner)
    for node, count in zip(reversed(order), reversed(holders), strict=True):
        held = node.requires_grad or (count > 0 and node not in wanted)
        if held or node in pinned:
            pinned.add(node)
            pinned.update(node.inputs)
    return frozenset([i for i in free if leaves[i] not in pinned])


def _without_gradient(
    numbers: list[int], leaves: Sequence[Node], inner: Sequence[Node]
) -> list[int]:
    """Those of the leaves that no gradient will be computed from."""
    walked = {x for node in inner if node.requires_grad for x in node.inputs}
    return [i for i in numbers if leaves[i] not in walked]


def _is_ours(leaf: Node) -> bool:
    """Whether the memory of a realized node is of the pool, and nobody else has it."""
    return leaf.buffer.pooled and owns_buffer(leaf)
