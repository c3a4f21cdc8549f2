"""The short way for graphs that were planned before: one walk gives their key and their leaves.

It takes graphs of which nobody else holds a part, and whose leaves others hold: so nothing on the
way is kept, and no memory is taken over, which is what the long way finds out about any graph.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from numbatorch.backends.cpu.program import CPUProgram
from numbatorch.backends.memory import Buffer
from numbatorch.backends.outcome import Outcome
from numbatorch.backends.planned import settle_all
from numbatorch.graph import PART, Node, TupleNode
from numbatorch.ops.operands import BUFFER
from numbatorch.variable import attribute_key

MOST_NODES = 32
KEPT = 512  # programs

Missed = tuple[Node, tuple[Any, ...], list[Buffer]]


class KnownGraphs:
    """Programs by what `walk` gives."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], CPUProgram] = {}
        self._missed: Missed | None = None

    def clear(self) -> None:
        """Forget all programs."""
        self._known.clear()

    def run(self, root: Node, state: Any) -> bool:
        """Compute `root`; False, and nothing done, where the graph has to go the long way.

        Args:
            state: what programs depend on beside their graph.
        """
        self._missed = None
        if root.depth > MOST_NODES or root.requires_grad:
            return False
        key: list[Any] = [state]
        buffers: list[Buffer] = []
        number: dict[Node, int] = {}
        uses: dict[Node, int] = {}
        if not walk(root, key, buffers, number, uses) or _may_be_taken_over(number, uses):
            return False
        found = tuple(key)
        program = self._known.get(found)
        if program is None:
            self._missed = root, found, buffers
            return False
        used = [buffers[number] for number in program.leaf_order]
        outcome = Outcome()
        outcome.settle(partial(settle_all, (root,)), partial(program.run, used, outcome))
        return True

    def note(self, roots: Sequence[Node], leaves: Sequence[Node], program: CPUProgram) -> None:
        """Remember the program of the graph that was last not known, if it is this one's.

        Args:
            leaves: of the graph that was planned: a finalizer may have settled others meanwhile.
        """
        missed, self._missed = self._missed, None
        if missed is None or len(roots) != 1 or missed[0] is not roots[0]:
            return
        _root, key, buffers = missed
        if len(leaves) != len(buffers) or any(
            leaf.buffer is not buffer for leaf, buffer in zip(leaves, buffers, strict=True)
        ):
            return
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known[key] = program


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
        uses: how often the graph holds each leaf whose memory comes from the pool.
    """
    op, inputs, attrs = node.op, node.inputs, node.attrs  # before a finalizer settles it
    if node.buffer is not None or op is BUFFER or op is PART or node.ends_gradient:
        return False
    if len(number) > MOST_NODES or isinstance(node, TupleNode):
        return False
    at = []
    for operand, holders in zip(inputs, _holders(inputs), strict=True):
        buffer = operand.buffer
        if buffer is not None and buffer.pool is not None:
            uses[operand] = uses.get(operand, 0) + 1
        if operand not in number:
            if buffer is None:
                if operand.inputs and holders > _ALONE:
                    return False
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


def _holders(nodes: tuple[Any, ...]) -> list[int]:
    """Counts of references."""
    return [sys.getrefcount(node) for node in nodes]


def _may_be_taken_over(number: dict[Any, int], uses: dict[Any, int]) -> bool:
    """Whether nothing but the graph and these two hold one of the leaves."""
    return any(count - uses[leaf] <= _UNHELD for leaf, count in _counted(number, uses))


def _counted(number: dict[Any, int], uses: dict[Any, int]) -> list[tuple[Any, int]]:
    """Leaves with their counts of references."""
    return [(leaf, sys.getrefcount(leaf)) for leaf in uses if leaf in number]


def _unheld() -> int:
    number, uses = {object(): 0}, {}
    for leaf in number:
        uses[leaf] = 0
    del leaf
    return _counted(number, uses)[0][1]


_ALONE = _holders((object(),))[0]  # of what nothing but the tuple holds
_UNHELD = _unheld()
