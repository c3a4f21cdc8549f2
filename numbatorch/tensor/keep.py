"""Which results of a graph are worth a buffer, so that none is computed twice, or may get none."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence

from numbatorch.errors import message
from numbatorch.graph import PART, Node, TupleNode, current_trace, toposort
from numbatorch.ops.operands import BUFFER, describe, settle
from numbatorch.references import outside_holders

# Detached values whose source had no buffer yet: a running sum of losses must not hold on to the
# graph of each loss. Threads add to it while another walks a copy of it.
detached_later: dict[weakref.ref[Node], None] = {}

# Leaves of the gradient that have no buffer yet.
pending: weakref.WeakSet[Node] = weakref.WeakSet()


def results_to_keep(roots: Sequence[Node], order: list[Node]) -> list[Node]:
    """Unrealized results under `roots` that cost much and may be read again.

    A tensor, or another graph such as that of a gradient, may hold a node under `roots`, or one
    that is computed elementwise from it; and where only results that require a gradient are read,
    the gradient is still to come. Products, reductions and the like are then computed with the
    roots and kept. Elementwise work is not: doing it again costs less than memory. Of a node with
    several outputs all that somebody holds are kept, for one launch computes them.

    Args:
        order: all that the roots need, inputs before users.
    """
    if not any(node.op.costly or node.op is PART for node in order):
        return []
    holders = outside_holders(order)
    gradient_follows = all(root.requires_grad for root in roots)
    wanted = set(roots)
    held: set[Node] = set()
    parts = {node for node in order if node.op is PART}
    found = []
    for node, count in zip(reversed(order), reversed(holders), strict=True):
        if node.buffer is not None or node in wanted:
            continue
        if isinstance(node, TupleNode):
            found += [x for x in node.held_parts() if x.buffer is None and x not in parts]
            continue
        follows = gradient_follows and node.requires_grad
        if node in held or follows or count:
            if node.op is PART or node.op.costly:
                found.append(node)
            else:
                held.update(node.inputs)
    return found


def pending_leaves(roots: Iterable[Node]) -> list[Node]:
    """Leaves that `roots` need and that were never computed: fresh parameters, as a rule.

    They are computed with the first result that needs them, and kept. Left out are those that
    depend on an argument of a function that is being traced.
    """
    if not pending:
        return []
    found: list[Node] = []
    traced: set[Node] = set()
    for node in toposort(roots):
        if node.buffer is None and (
            node.op is BUFFER or any(operand in traced for operand in node.inputs)
        ):
            traced.add(node)
        elif node.ends_gradient and node.buffer is None:
            found.append(node)
    return found


def refuse_traced(nodes: Iterable[Node]) -> None:
    """Raise if values of a traced function are computed now, from ones that change between calls.

    Each later call would go on with what they are now.
    """
    trace = current_trace()
    for node in toposort(nodes):
        made_here = node.buffer is None and node.trace == trace
        if made_here and any(x.trace != trace or x.op is BUFFER for x in node.inputs):
            raise RuntimeError(
                message(
                    "compile",
                    "a value is read while its function is traced: return it instead",
                    describe(node),
                )
            )


def forget_detached(reference: weakref.ref[Node]) -> None:
    """Nobody holds this detached value any more."""
    detached_later.pop(reference, None)


def settle_detached() -> None:
    """Give detached values the buffers that their sources have got, and let the sources go."""
    for reference in list(detached_later):
        node = reference()
        if node is not None:
            source = node.inputs[0] if node.inputs else node
            if node.buffer is None and source.buffer is not None:
                settle(node, source.buffer)
        if node is None or node.buffer is not None:
            detached_later.pop(reference, None)
