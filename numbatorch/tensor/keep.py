"""Which intermediate results of a graph are worth a buffer, so that none is computed twice."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from numbatorch.device import Device
from numbatorch.dtype import float32
from numbatorch.graph import Node, toposort
from numbatorch.ops.operands import BUFFER
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.structured import Structured


def results_to_keep(roots: Sequence[Node]) -> list[Node]:
    """Unrealized results under `roots` that cost much and may be read again.

    A tensor, or another graph such as that of a gradient, may hold a node under `roots`, or one
    that is computed elementwise from it; and where only results that require a gradient are read,
    the gradient is still to come. Products, reductions and the like are then computed with the
    roots and kept. Elementwise work is not: doing it again costs less than memory.
    """
    if all(x.buffer is not None for root in roots for x in root.inputs):
        return []
    order = toposort(roots)
    edges = _edges(order)
    references = _references(order, edges)
    gradient_follows = all(root.requires_grad for root in roots)
    wanted = set(roots)
    held: set[Node] = set()
    found = []
    for node, count in zip(reversed(order), reversed(references), strict=True):
        if node.buffer is not None or node in wanted:
            continue
        follows = gradient_follows and node.requires_grad
        if node in held or follows or count - edges[node] > _UNHELD:
            if isinstance(node.op, Structured | Reduction):
                found.append(node)
            else:
                held.update(node.inputs)
    return found


def _edges(order: list[Node]) -> dict[Node, int]:
    """How often each node is an operand of unrealized ones of the list."""
    edges = dict.fromkeys(order, 0)
    for node in order:
        if node.buffer is None:
            for operand in node.inputs:
                edges[operand] += 1
    return edges


def _references(order: list[Node], edges: dict[Node, int]) -> list[int]:
    return [sys.getrefcount(node) for node in order]


def _count_unheld() -> int:
    """References to a node that nothing but the list and the dict of this file holds."""
    order = [Node(BUFFER, (), {}, (), float32, Device("cpu"))]
    return _references(order, _edges(order))[0]


_UNHELD = _count_unheld()
