"""The short way for graphs that were planned before: one walk gives their key and their leaves.

It takes graphs of which nobody else holds a part, but for outputs of one operator that are computed
together, and whose leaves others hold: so nothing on the way is kept, and no memory is taken over,
which is what the long way finds out about any graph.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from sys import getrefcount
from typing import Any

from numbatorch.backends.cpu.program import CPUProgram
from numbatorch.backends.memory import Buffer
from numbatorch.backends.planned import settle_all
from numbatorch.graph import Node, TupleNode
from numbatorch.ops.operands import BUFFER
from numbatorch.ops.registry import View
from numbatorch.variable import attribute_key

MOST_NODES = 96
KEPT = 512  # programs

Key = tuple[Any, ...]


class KnownGraphs:
    """Programs by what `walk` gives."""

    def __init__(self) -> None:
        self._known: dict[Key, CPUProgram] = {}
        self._missed: tuple[Key, list[Node], list[Buffer]] | None = None

    def clear(self) -> None:
        """Forget all programs."""
        self._known.clear()

    def run(self, root: Node, state: Any) -> bool:
        """Compute `root`; False, and nothing done, where the graph has to go the long way.

        The run overwrites nothing, so what an exception leaves behind can be computed again.

        Args:
            state: what programs depend on beside their graph.
        """
        self._missed = None
        if root.depth > MOST_NODES or root.requires_grad:
            return False
        recipe = getattr(root, "recipe", None)
        if recipe is not None:
            made = recipe.programs.get(state)
            if made is not None and made.run(root):
                return True
        key: list[Any] = [state]
        buffers: list[Buffer] = []
        number: dict[Node, int] = {}
        uses: dict[Node, int] = {}
        if not walk(root, key, buffers, number, uses):
            return False
        roots = [root, *_other_parts(number, key, uses)]
        if not _stands_alone(uses):
            return False
        found = tuple(key)
        program = self._known.get(found)
        if program is None:
            self._missed = found, roots, buffers
            return False
        if recipe is not None:
            leaves = [node for node in number if node.buffer is not None]
            recipe.programs[state] = Made(root, program, [leaves[i] for i in program.leaf_order])
        results = program.run_at_once([buffers[i] for i in program.leaf_order])
        settle_all(roots, results)
        return True

    def note(self, roots: Sequence[Node], leaves: Sequence[Node], program: CPUProgram) -> None:
        """Remember the program of the graph that was last not known, if it is this one's.

        Args:
            leaves: of the graph that was planned: a finalizer may have settled others meanwhile.
        """
        missed, self._missed = self._missed, None
        if missed is None:
            return
        key, known_roots, buffers = missed
        if _differ(roots, known_roots) or _differ([leaf.buffer for leaf in leaves], buffers):
            return
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[key] = program


class Made:
    """The program of the graphs that a recipe makes, which need no walk: nobody else holds a part.

    Args:
        leaves: of the program, in its order.
    """

    def __init__(self, root: Node, program: CPUProgram, leaves: list[Node]) -> None:
        self._program = weakref.ref(program)
        paths: dict[Node, tuple[int, ...]] = {root: ()}
        uses: dict[Node, int] = {}
        met = [root]
        for node in met:
            for i, operand in enumerate(node.inputs if node.buffer is None else ()):
                uses[operand] = uses.get(operand, 0) + 1
                if operand not in paths:
                    paths[operand] = (*paths[node], i)
                    met.append(operand)
        self._paths = [paths[leaf] for leaf in leaves]
        self._uses = [uses[leaf] for leaf in leaves]

    def run(self, root: Node) -> bool:
        """Compute `root`; False, and nothing done, where the graph has to be walked.

        So it is where nobody else holds one of the leaves, or where a node on the way has got a
        value: a view that the call was given, or what another graph has kept.
        """
        program = self._program()
        if program is None:
            return False
        try:
            leaves = [_at(root, path) for path in self._paths]
        except IndexError:  # a node on the way has got a value meanwhile
            return False
        buffers = [leaf.buffer for leaf in leaves]
        for buffer, count, uses in zip(buffers, _listed(leaves), self._uses, strict=True):
            if buffer is None or (buffer.pool is not None and count - uses <= _LISTED):
                return False
        settle_all((root,), program.run_at_once(buffers))
        return True


def _at(root: Node, path: tuple[int, ...]) -> Node:
    """The node to which a path of operands leads."""
    node = root
    for i in path:
        node = node.inputs[i]
    return node


def _listed(nodes: list[Any]) -> list[int]:
    """Counts of references."""
    return [getrefcount(node) for node in nodes]


def walk(
    node: Node,
    key: list[Any],
    buffers: list[Buffer],
    number: dict[Node, int],
    uses: dict[Node, int],
) -> bool:
    """Append what the program of a graph depends on; False where the graph is none of those.

    Args:
        buffers: of leaves, as they are met.
        number: of each node met so far.
        uses: how often the graph holds each operand that is computed, or whose memory comes from
            the pool.
    """
    op, inputs, attrs = node.op, node.inputs, node.attrs  # before a finalizer settles it
    if node.buffer is not None or op is BUFFER or node.ends_gradient or len(number) > MOST_NODES:
        return False
    at = []
    for operand in inputs:
        buffer = operand.buffer
        if buffer.pool is not None if buffer is not None else _is_computed(operand):
            uses[operand] = uses.get(operand, 0) + 1
        if operand not in number:
            if buffer is None:
                if not walk(operand, key, buffers, number, uses):
                    return False
            else:
                buffers.append(buffer)
                key.append(operand.shape)
                key.append(operand.dtype)
                number[operand] = len(number)
        at.append(number[operand])
    key.append(op)
    key += at
    if attrs:
        key.append(tuple([(k, attribute_key(v)) for k, v in attrs.items()]))
    key.append(node.shape)
    key.append(node.dtype)
    number[node] = len(number)
    return True


def _other_parts(number: dict[Node, int], key: list[Any], uses: dict[Node, int]) -> list[Node]:
    """Outputs that something holds beside those that were met: they are computed with them."""
    found = []
    for node in number:
        if node.__class__ is TupleNode:
            for part in node.held_parts():
                if part not in number:
                    found.append(part)
                    key += (number[node], part.attrs["index"])
                    uses[node] += 1
    return found


def _is_computed(node: Node) -> bool:
    """Whether others may want to keep the value; not so for constants, and views of a leaf."""
    inputs = node.inputs
    return bool(inputs) and (type(node.op) is not View or inputs[0].buffer is None)


def _stands_alone(uses: dict[Any, int]) -> bool:
    """Whether something else holds each leaf, and nothing else what is computed on the way."""
    for node, count in uses.items():
        if (getrefcount(node) - count > _UNHELD) is (node.buffer is None):
            return False
    return True


def _differ(some: Sequence[Any], others: Sequence[Any]) -> bool:
    """Whether these are not the same objects."""
    return len(some) != len(others) or any(x is not y for x, y in zip(some, others, strict=True))


class _Probe:
    """Stands for a node that a dict of numbers, one of uses and no graph hold."""

    buffer = None


def _unheld() -> int:
    uses: dict[Any, int] = {_Probe(): 0}
    number = dict.fromkeys(uses, 0)
    for node, count in uses.items():
        return getrefcount(node) - count if number else 0
    return 0


_UNHELD = _unheld()
_LISTED = _listed([_Probe()])[0]
