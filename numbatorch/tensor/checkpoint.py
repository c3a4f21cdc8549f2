"""checkpoint: a function whose inner values are computed again for its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from numbatorch.errors import ShapeError, message
from numbatorch.gradients import gradients, recorded
from numbatorch.graph import GradMode, Node, grad_enabled, toposort, trace_mode
from numbatorch.nest import map_leaves
from numbatorch.ops.custom import after, with_gradient
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.view import element, reshape
from numbatorch.shape import numel
from numbatorch.tensor.argnums import require_callable
from numbatorch.tensor.base import Handle, is_leaf
from numbatorch.tensor.gradient import alias
from numbatorch.tensor.mapping import Mapped
from numbatorch.tensor.views import held_nodes, share_memory


def checkpoint(
    function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, **kwargs: Any
) -> Any:
    """function(*args, **kwargs), whose inner values are computed again for its gradient.

    So the memory of a deep network's activations shrinks to what passes between its checkpoints,
    for one forward pass more. Random numbers are those of the first time. The function is called
    once: what is computed again is its graph.

    Args:
        function: of tensors and anything else; it gives a tensor or a nest of them.
        use_reentrant: PyTorch's choice of two ways to do this, which have the same result here.
    Source: https://arxiv.org/abs/1604.06174

    >>> x = tensor([1.0, 2.0]).requires_grad_()
    >>> checkpoint(lambda x: (x * x).sqrt().sum(), x).backward()[x]
    tensor([1., 1.])
    """
    require_callable("checkpoint", function)
    if not grad_enabled():
        return function(*args, **kwargs)
    arguments = _Arguments()
    inside = [map_leaves(arguments.inner, x) for x in args]
    named = {name: map_leaves(arguments.inner, x) for name, x in kwargs.items()}
    call = Mapped.now()
    tensors: list[Any] = []
    with trace_mode(call):
        result = function(*inside, **named)
        map_leaves(partial(_note, tensors), result)
        changed = arguments.changed([x._noted() for x in tensors], call)
    moving = {id(x): x for x in [*tensors, *changed.values()] if x._noted().requires_grad}
    nodes: dict[int, Node] = {}
    if moving:
        within = _Part([x.node for x in moving.values()], arguments.operands)
        found = within.values([*arguments.given, *within.outer])
        nodes = dict(zip(moving, found, strict=True))
    outside: dict[int, Any] = {}
    for outer, inner in changed.items():
        _hold(outer, inner.node, nodes.get(id(inner), inner.node))
        outside[id(inner)] = outer
    return map_leaves(partial(_outer, outside, nodes), result)


def _outer(outside: dict[int, Any], nodes: dict[int, Node], tensor: Any) -> Any:
    """What stands outside of a checkpoint for a tensor of its result."""
    if id(tensor) in outside:
        return outside[id(tensor)]
    return tensor._tensor(nodes[id(tensor)]) if id(tensor) in nodes else tensor


class _Arguments:
    """The tensors that a function is called with, and those that stand for them within it.

    Attributes:
        given, operands: the nodes of both.
    """

    def __init__(self) -> None:
        self.given: list[Node] = []
        self.operands: list[Node] = []
        self._handles: dict[Handle, Handle] = {}

    def inner(self, leaf: Any) -> Any:
        """What stands for an argument."""
        if not isinstance(leaf, Handle) or leaf.node.dtype.kind not in "fc":
            return leaf
        known = self._handles.get(leaf)
        if known is not None:
            return known
        self.given.append(leaf._noted())
        if leaf.node.requires_grad:
            found: Handle = alias(self.operands, leaf, "checkpoint", is_leaf(leaf.node))
        else:
            self.operands.append(reshape.apply(leaf.node, shape=leaf.node.shape))
            found = Handle._tensor(self.operands[-1])
        self._handles[leaf] = found
        return found

    def changed(self, results: Sequence[Node], call: Mapped) -> dict[Handle, Handle]:
        """The arguments that the function has changed in place, and what holds their values."""
        pairs = zip(self._handles.items(), self.operands, strict=True)
        found = {outer: inner for (outer, inner), node in pairs if inner._noted() is not node}
        read = call.reads([*results, *(x.node for x in found.values())]) if found else set()
        for outer, inner in found.items():
            rows = (f"argument {describe(outer.node)}", f"within {describe(inner.node)}")
            if inner.node.shape != outer.node.shape:
                problem = "the function changes the shape of an argument in place"
                raise ShapeError(message("checkpoint", problem, *rows))
            if any(x is not outer and share_memory(x, outer) for x in self._handles):
                problem = "the function changes an argument in place that is of another's memory"
                raise RuntimeError(message("checkpoint", problem, *rows))
            if not read.isdisjoint(held_nodes(outer)):
                problem = "the function changes an argument in place that it reads from outside too"
                raise RuntimeError(message("checkpoint", problem, *rows))
        for outer, node in zip(self._handles, self.given, strict=True):
            if outer._noted() is not node:
                problem = "the function changes from outside what it is given as an argument"
                raise RuntimeError(message("checkpoint", problem, f"argument {describe(node)}"))
        return found


def _hold(outer: Handle, inner: Node, node: Node) -> None:
    """Have an argument hold what it was changed to; of a leaf that was not recorded."""
    if is_leaf(outer.node):
        with GradMode(False):
            outer.hold(inner)
    else:
        outer._take_here()
        outer._update("checkpoint", node)


def _note(tensors: list[Any], leaf: Any) -> None:
    if not isinstance(leaf, Handle):
        kind = type(leaf).__name__
        raise TypeError(message("checkpoint", f"the function gives tensors, not {kind}"))
    tensors.append(leaf)


class _Part:
    """A part of a graph.

    Attributes:
        outputs: its results.
        operands: the nodes that stand for its arguments.
        outer: other nodes that gradients flow to: parameters, and values from outside.
    """

    def __init__(self, outputs: Sequence[Node], operands: Sequence[Node]) -> None:
        self.outputs, self.operands = outputs, operands
        own = set(operands)
        self.outer = [
            x
            for x in recorded(outputs, own)
            if x not in own and x.requires_grad and (x.ends_gradient or x.buffer is not None)
        ]

    def over(self, nodes: Sequence[Node]) -> list[Node]:
        """The outputs over other operands and outer nodes."""
        copies = dict(zip([*self.operands, *self.outer], nodes, strict=True))
        for node in toposort(self.outputs, stop=set(copies)):
            if node not in copies:
                inputs = tuple(copies[x] for x in node.inputs)
                same = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
                copies[node] = node if same else node.over(inputs)
        return [copies[node] for node in self.outputs]

    def values(self, nodes: Sequence[Node]) -> tuple[Node, ...]:
        """The outputs, whose gradients compute the part again."""
        with GradMode(False):
            found = self.over(nodes)
        return with_gradient(found, nodes, self._pull, "checkpoint")

    def _pull(
        self, g: Sequence[Node | None], _y: Sequence[Node], nodes: tuple[Node, ...]
    ) -> Sequence[Node | None]:
        count = len(self.operands)
        reached = [part for part in g if part is not None]
        with GradMode(True):
            aliases = [reshape.apply(x, shape=x.shape) for x in nodes]
            waiting = [_after(x, reached[0]) if i < count else x for i, x in enumerate(aliases)]
            outputs = self.over(waiting)
        pairs = [(y, part) for y, part in zip(outputs, g, strict=True) if part is not None]
        wanted = [x for x in aliases if x.requires_grad]
        parts = gradients([y for y, _ in pairs], [part for _, part in pairs], wanted)
        found = dict(zip(wanted, parts, strict=True))
        return [found.get(x) for x in aliases]


def _after(x: Node, cotangent: Node) -> Node:
    """A node that is computed after a cotangent."""
    if x.dtype.is_complex or cotangent.dtype.is_complex or not numel(cotangent.shape):
        return x
    one = cotangent
    while one.shape:
        one = element(one, 0, 0)
    return after.apply(x, expanded(as_node(one, x.dtype, x.device), x.shape))
