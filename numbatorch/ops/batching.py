"""The graph of one example as a graph of a batch: what `vmap` makes of a function's nodes.

A batched value has one dimension more, in front. How an operator is applied to those follows from
its kind, or stands on its record (`Op.batch`); any other is applied to one example after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numbatorch.errors import GradientError, message
from numbatorch.graph import PART, GradMode, Node, TupleNode, toposort
from numbatorch.ops.caller import applied
from numbatorch.ops.operands import CONST, EMPTY, EXAMPLE, describe, repeated
from numbatorch.ops.reduce import expand
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.registry import Elementwise
from numbatorch.ops.structured import Structured
from numbatorch.ops.view import cat, element, transpose, unsqueeze


def batched(roots: Sequence[Node], level: int, size: int) -> list[Node | None]:
    """The nodes of the whole batch for nodes of one example; None for one that depends on none.

    Args:
        level: of the examples.
        size: number of examples.
    """
    whole: dict[Node, Node] = {}
    for node in toposort(roots):
        if node.op is EXAMPLE and node.attrs["level"] == level:
            whole[node] = node.inputs[0]
        elif any(x in whole for x in node.inputs):
            with GradMode(True):
                whole[node] = _over_batch(node, whole, size)
            whole[node].requires_grad = whole[node].requires_grad and node.requires_grad
    return [whole.get(root) for root in roots]


def _over_batch(node: Node, whole: dict[Node, Node], size: int) -> Node:
    """The node of the batch for one whose inputs' nodes are in `whole`."""
    if node.op is PART:
        source: Any = whole[node.inputs[0]]
        index: int = node.attrs["index"]
        return source.part(index) if isinstance(source, TupleNode) else source
    which = tuple(x in whole for x in node.inputs)
    if any(which[i] for i in node.op.shared):
        return _one_by_one(node, whole, size)
    inputs = tuple(
        whole[x] if x in whole else x if i in node.op.shared else _repeated(x, size)
        for i, x in enumerate(node.inputs)
    )
    found = _applied(node, inputs)
    if isinstance(found, Node):
        return found
    if found is None:
        return _one_by_one(node, whole, size)
    if isinstance(node, TupleNode):
        outputs = [((size, *shape), dtype) for shape, dtype in node.outputs]
        return TupleNode(node.op, inputs, found, outputs, node.device)
    return Node(node.op, inputs, found, (size, *node.shape), node.dtype, node.device)


def _applied(node: Node, operands: tuple[Node, ...]) -> Node | dict[str, Any] | None:
    """What `Op.batch` says of a node, or its kind."""
    op = node.op
    if op.batch is not None:
        return op.batch(node, operands)
    if isinstance(op, Elementwise):
        return node.attrs
    if isinstance(op, Reduction):
        return {**node.attrs, "dims": tuple(d + 1 for d in node.attrs["dims"])}
    return None


def _repeated(x: Node, size: int) -> Node:
    """A value that is the same for all examples, as a batch."""
    shape = (size, *x.shape)
    if x.op is CONST:
        return repeated(x, shape)
    if x.op is EMPTY:
        return Node(EMPTY, (), x.attrs, shape, x.dtype, x.device)
    return expand.apply(unsqueeze(x, 0), shape=shape)


def _one_by_one(node: Node, whole: dict[Node, Node], size: int) -> Node:
    """The batch of a node whose operator has no batched form: its fallback's, or of each alone."""
    if isinstance(node.op, Structured) and node.op.decomposition is not None:
        return _through_fallback(node, whole, size)
    rows: list[Sequence[Node]] = []
    for number in range(size):
        inputs = tuple(element(whole[x], 0, number) if x in whole else x for x in node.inputs)
        one = node.over(inputs)
        rows.append(one.parts() if isinstance(one, TupleNode) else (one,))
    if not rows:
        problem = f"a batch of no examples gives {node.op.name} nothing to be computed of"
        raise ValueError(message("vmap", problem, *map(describe, node.inputs)))
    columns = [cat([unsqueeze(x, 0) for x in column]) for column in zip(*rows, strict=True)]
    return _gathered(node, columns)


def _gathered(node: Node, columns: Sequence[Node]) -> Node:
    """One node for the batches of all outputs of a node."""
    if not isinstance(node, TupleNode):
        return columns[0]
    outputs = [(x.shape, x.dtype) for x in columns]
    return TupleNode(TOGETHER, tuple(columns), {}, outputs, node.device)


def _together(*arrays: Any) -> Any:
    """Several values as the outputs of one node."""
    return arrays


TOGETHER = Structured(_together, "", "batching")


@TOGETHER.fallback
def _(*nodes: Node) -> tuple[Node, ...]:
    return nodes


@TOGETHER.vjp
def _(g: Any, _y: Any, *_nodes: Node) -> Any:
    return g


def _through_fallback(node: Node, whole: dict[Node, Node], size: int) -> Node:
    """The batch of a node as that of the primitives which its operator falls back to."""
    assert isinstance(node.op, Structured) and node.op.decomposition is not None
    with GradMode(True):
        found = applied(node.op.decomposition, node, *node.inputs)
    outputs = found if isinstance(found, tuple) else (found,)
    inner = dict(whole)
    for x in toposort(outputs):
        if x in inner or not any(y in inner for y in x.inputs):
            continue
        inner[x] = _over_batch(x, inner, size)
    columns = [inner.get(x) or _repeated(x, size) for x in outputs]
    moving = any(whole.get(x, x).requires_grad for x in node.inputs)
    if node.requires_grad and moving and not any(x.requires_grad for x in columns):
        problem = "a gradient that is not that of its graph, as of autograd.Function, has no batch"
        hint = "take it within the function, or detach() what it depends on"
        raise GradientError(message("vmap", problem, *map(describe, node.inputs), hint=hint))
    return _gathered(node, columns)


def moved_to_front(x: Node, dim: int) -> Node:
    """A node with dimension `dim` in front of the others, which keep their order."""
    for d in range(dim, 0, -1):
        x = transpose(x, d, d - 1)
    return x


def moved_from_front(x: Node, dim: int) -> Node:
    """A node with its first dimension at place `dim`."""
    for d in range(dim):
        x = transpose(x, d, d + 1)
    return x
