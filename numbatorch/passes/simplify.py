"""Simplify: named rewrites from graph to graph, before anything is fused.

Each rewrite looks at one node whose inputs are simplified already and returns its replacement,
or None. Fallbacks of structured operators are expanded here too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numbatorch.apart import numpy_ignores_errors
from numbatorch.graph import PART, Node, TupleNode, find, toposort
from numbatorch.ops.caller import applied
from numbatorch.ops.operands import BUFFER, CONST, EMPTY, IOTA, const, repeated
from numbatorch.ops.reduction import Reduction
from numbatorch.ops.registry import Elementwise, View
from numbatorch.ops.structured import Structured
from numbatorch.variable import attribute_key, is_variable

Rewrite = Callable[[Node], Node | None]


def simplify(roots: Sequence[Node], runs: Callable[[Node], bool]) -> list[Node]:
    """The graph of `roots` with every rewrite applied and equal nodes merged.

    Args:
        roots: values wanted.
        runs: whether a structured node is launched as it is; the others are replaced by their
            fallback.
    Returns:
        the replacement of each root, of the same shape, dtype and value.
    """
    merged: dict[Any, Node] = {}
    done: dict[Node, Node] = {}
    expanded: dict[Node, list[Node]] = {}  # outputs of fallbacks

    def rebuild(node: Node) -> Node:
        if node.op is PART and done[node.inputs[0]] in expanded:
            index: int = node.attrs["index"]
            return expanded[done[node.inputs[0]]][index]
        inputs = tuple(done[x] for x in node.inputs)
        same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        new = node if same else node.over(inputs)
        if not isinstance(new, TupleNode):
            new = _rewrite(new)
        new = merged.setdefault(_key(new), new)
        if not isinstance(new.op, Structured) or runs(new):
            return new
        if new not in expanded:
            expanded[new] = _fallback(new, runs)
        return new if isinstance(new, TupleNode) else expanded[new][0]

    for node in toposort(roots):
        done[node] = node if node.buffer is not None or not node.inputs else rebuild(node)
        if done[node] is node and node.op in (CONST, IOTA):
            done[node] = merged.setdefault(_key(node), node)
    return [done[root] for root in roots]


def _fallback(node: Node, runs: Callable[[Node], bool]) -> list[Node]:
    """What the node's fallback gives, simplified."""
    assert isinstance(node.op, Structured)
    assert node.op.decomposition is not None, node
    found = applied(node.op.decomposition, node, *node.inputs)
    return simplify(found if isinstance(found, tuple) else (found,), runs)


def _key(node: Node) -> Any:
    if node.op in (BUFFER, EMPTY) or node.buffer is not None:
        return id(node)
    attrs = tuple((k, attribute_key(v)) for k, v in node.attrs.items())
    return node.op, tuple(map(id, node.inputs)), attrs, node.shape, node.dtype


def _rewrite(node: Node) -> Node:
    for rewrite in REWRITES:
        new = rewrite(node)
        if new is not None:
            return new
    return node


def fold_constants(node: Node) -> Node | None:
    """An elementwise operator on constants only is a constant; so is a view of one."""
    if isinstance(node.op, View) and node.inputs[0].op is CONST:
        if node.op.reinterprets:
            return None
        return repeated(node.inputs[0], node.shape)
    if not isinstance(node.op, Elementwise) or any(x.op is not CONST for x in node.inputs):
        return None
    values = [x.attrs["value"] for x in node.inputs]
    if any(map(is_variable, (*values, *node.attrs.values()))):
        return None
    arrays = [
        np.asarray(v).astype(x.dtype.compute.numpy)
        for v, x in zip(values, node.inputs, strict=True)
    ]
    with numpy_ignores_errors():
        out = np.asarray(node.op.reference(*arrays, **node.attrs)).astype(node.dtype.numpy)
    return const(out.item(), node.dtype, node.device, node.shape)


def drop_empty_work(node: Node) -> Node | None:
    """A value without elements needs no computing."""
    if 0 in node.shape and node.inputs and node.dtype.kind != "q":
        return const(0, node.dtype, node.device, node.shape)
    return None


def drop_view_that_changes_nothing(node: Node) -> Node | None:
    """A view to what the input is already."""
    if isinstance(node.op, View) and node.op.changes_nothing(node):
        return node.inputs[0]
    return None


def merge_views(node: Node) -> Node | None:
    """Two views of one kind in a row are one: the last shape counts, permutes compose."""
    inner = node.inputs[0] if node.inputs else node
    if not isinstance(node.op, View) or node.op.merge is None:
        return None
    if inner.op is not node.op or inner.buffer is not None:
        return None
    attrs = node.op.merge(inner.attrs, node.attrs)
    last = Node(node.op, inner.inputs, attrs, node.shape, node.dtype, node.device)
    return drop_view_that_changes_nothing(last) or last


def by_the_operator(node: Node) -> Node | None:
    """The rewrite that stands on the operator's own record, such as x ** 2 = x * x."""
    return node.op.rewrite(node) if node.op.rewrite is not None else None


def reduce_over_nothing(node: Node) -> Node | None:
    """A reduction of no elements is a constant, that of one element often the element itself."""
    if not isinstance(node.op, Reduction):
        return None
    (x,) = node.inputs
    if 0 not in node.shape and any(x.shape[d] == 0 for d in node.attrs["dims"]):
        value = node.op.of_nothing(x.dtype, node.attrs)
        return const(value, node.dtype, node.device, node.shape)
    if node.op.state.plain and all(x.shape[d] == 1 for d in node.attrs["dims"]):
        return find("cast").apply(x, dtype=node.dtype)
    return None


REWRITES: tuple[Rewrite, ...] = (
    fold_constants,
    reduce_over_nothing,
    drop_empty_work,
    drop_view_that_changes_nothing,
    merge_views,
    by_the_operator,
)
