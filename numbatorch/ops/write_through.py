"""Changes in place as nodes: a base with one of its views replaced, and values with a history.

A view is a chain of operators, and where it lies in its base follows from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numbatorch.apart import import_module
from numbatorch.graph import GradMode, Node, Op
from numbatorch.layout import Layout
from numbatorch.ops import view as views
from numbatorch.ops.operands import made_by, zeros_like
from numbatorch.ops.registry import View
from numbatorch.shape import Shape, contiguous_strides, numel

Step = tuple[View, dict[str, Any]]  # a view operator and its attributes


def _value(history: Any, value: Any) -> Any:
    """`value`, while gradients flow to `history` as if it still were that."""
    return value


STRAIGHT_THROUGH = Op("straight_through", _value)


@STRAIGHT_THROUGH.vjp
def _(g: Node, y: Node, history: Node, value: Node) -> tuple[Node, None]:
    return g, None


@STRAIGHT_THROUGH.simplify
def _(node: Node) -> Node:
    return node.inputs[1]


@STRAIGHT_THROUGH.batches
def _(node: Node, operands: tuple[Node, ...]) -> dict[str, Any]:
    return {}


def _told_of_history(node: Node) -> tuple[str, tuple[Node, ...]]:
    history = node.inputs[0]
    return (node.op.name, node.inputs) if history.ends_gradient else made_by(history)


STRAIGHT_THROUGH.told = _told_of_history


def _overwritten(history: Any, value: Any, *, name: str) -> Any:
    """`value`, which the function `name` has put in the place of `history`."""
    return value


OVERWRITTEN = Op("overwritten", _overwritten)
OVERWRITTEN.told = lambda node: (node.attrs["name"], (node.inputs[0], _given(node.inputs[1])))


@OVERWRITTEN.vjp
def _(g: Node, y: Node, history: Node, value: Node, *, name: str) -> tuple[Node, Node]:
    return zeros_like(history), g


@OVERWRITTEN.simplify
def _(node: Node) -> Node:
    return node.inputs[1]


@OVERWRITTEN.batches
def _(node: Node, operands: tuple[Node, ...]) -> dict[str, Any]:
    return node.attrs


def _changed(value: Any, *, name: str) -> Any:
    """`value`, as the function `name` has made it of what a tensor held."""
    return value


CHANGED = Op("changed", _changed)
CHANGED.told = lambda node: (node.attrs["name"], made_by(_given(node.inputs[0]))[1])


def _given(value: Node) -> Node:
    """What a change in place was given, where it holds a clone of that."""
    return value.inputs[0] if value.op is views.clone else value


@CHANGED.vjp
def _(g: Node, y: Node, value: Node, *, name: str) -> Node:
    return g


@CHANGED.simplify
def _(node: Node) -> Node:
    return node.inputs[0]


@CHANGED.batches
def _(node: Node, operands: tuple[Node, ...]) -> dict[str, Any]:
    return node.attrs


def changed(value: Node, operator: str) -> Node:
    """`value`, which a function in place has made of parts, as users see it where they look."""
    if not value.requires_grad:
        return value
    attrs = {"name": _shown(operator)}
    return Node(CHANGED, (value,), attrs, value.shape, value.dtype, value.device)


def _shown(operator: str) -> str:
    """zero for zero_, index_assignment for index assignment."""
    return operator.rstrip("_").replace(" ", "_") or OVERWRITTEN.name


def overwritten(old: Node, value: Node, operator: str = "") -> Node:
    """`value` in the place of `old`, which it does not depend on: the gradient of that is zeros.

    Args:
        operator: the function in place, as users see it.
    """
    history = old
    while history.op in (STRAIGHT_THROUGH, OVERWRITTEN):
        before, changed = history.inputs
        if history.op is OVERWRITTEN and changed.requires_grad:
            break
        history = before
    attrs = {"name": _shown(operator)}
    return Node(OVERWRITTEN, (history, value), attrs, value.shape, value.dtype, value.device)


def straight_through(history: Node, value: Node) -> Node:
    """`value`, whose gradient flows to `history` of its shape and dtype instead."""
    operands = (history, value)
    return Node(STRAIGHT_THROUGH, operands, {}, value.shape, value.dtype, value.device)


def with_history(old: Node, value: Node) -> Node:
    """`value` with the history of `old`, which a change that is not recorded leaves as it is."""
    history = old.inputs[0] if old.op is STRAIGHT_THROUGH else old
    with GradMode(True):
        operands = (history, value)
        return Node(STRAIGHT_THROUGH, operands, {}, old.shape, old.dtype, old.device)


def steps_between(node: Node, base: Node) -> tuple[Step, ...] | None:
    """The view operators that make `node` of `base`, or None if it is no view of that."""
    steps: tuple[Step, ...] = ()
    while node is not base:
        if not isinstance(node.op, View) or node.op.write is None:
            return None
        steps = ((node.op, node.attrs), *steps)
        node = node.inputs[0]
    return steps


def layout_through(layout: Layout, steps: Sequence[Step]) -> Layout | None:
    """Where the elements of a view of `layout` lie, or None if no strides express it."""
    for op, attrs in steps:
        found = op.layout(layout, **attrs)
        if found is None:
            return None
        layout = found
    return layout


def place_in_memory(node: Node) -> tuple[Node, Layout] | None:
    """The realized value that a node is a view of, and where its elements lie in that.

    None where it is no view, where no strides express it, and where it reads bytes as of another
    dtype.
    """
    views: list[Step] = []
    while node.buffer is None:
        # In this order: what a finalizer settles meanwhile is no view any more.
        attrs, inputs, op = node.attrs, node.inputs, node.op
        if not isinstance(op, View) or op.reinterprets:
            return None
        views.append((op, attrs))
        (node,) = inputs
    layout = layout_through(Layout.contiguous(node.shape), views[::-1])
    return None if layout is None else (node, layout)


def written(base: Node, steps: Sequence[Step], value: Node, operator: str = "") -> Node:
    """`base` with `value` in the place of the view of it that `steps` make.

    Args:
        operator: the function in place, if it is one.
    """
    whole = _written(base, steps, value)
    return changed(whole, operator) if operator and whole is not base else whole


def _written(base: Node, steps: Sequence[Step], value: Node) -> Node:
    """`base` with its view replaced.

    It is one slice update wherever that is a slice of the base, its dimensions in any order, read
    as the base's dtype; otherwise each operator of the chain puts its result back.
    """
    if numel(value.shape) == 0:
        return base
    found = None
    if not any(op.reinterprets for op, _attrs in steps):
        layout = layout_through(Layout.contiguous(base.shape), steps)
        found = None if layout is None else _as_slice(base.shape, layout)
    if found is None:
        return _at_places(base, steps, value) or _put_back(base, steps, value)
    starts, sizes, strides, order = found
    if order != tuple(range(len(order))):
        value = views.permute.apply(value, dims=order)
    if value.shape != sizes:
        value = views.reshape.apply(value, shape=sizes)
    if sizes == base.shape and all(step == 1 for step in strides):
        return value
    return views.slice_update.apply(base, value, starts=starts, steps=strides)


def _at_places(base: Node, steps: Sequence[Step], value: Node) -> Node | None:
    """`base` with `value` where the view lies, of a view of one in which elements repeat.

    None where none does: then what each operator takes can be put back.
    """
    layout: Layout | None = Layout.contiguous(base.shape)
    repeats = False
    for op, attrs in steps[:-1]:
        layout = None if layout is None or op.reinterprets else op.layout(layout, **attrs)
        repeats = repeats or (layout is not None and layout.overlaps)
    if not repeats:
        return None
    import_module("numbatorch.ops.strided")
    from numbatorch.ops.strided import places_of, put

    return put(base, value, places_of(base, steps))


def _put_back(base: Node, steps: Sequence[Step], value: Node) -> Node:
    wholes = [base]
    for op, attrs in steps[:-1]:
        wholes.append(op.apply(wholes[-1], **attrs))
    for (op, attrs), whole in zip(reversed(steps), reversed(wholes), strict=True):
        assert op.write is not None, op
        value = op.write(whole, value, **attrs)
    return value


def _as_slice(shape: Shape, layout: Layout) -> tuple[Shape, Shape, Shape, Shape] | None:
    """A layout as a slice of a row-major value, or None if it is none.

    Returns:
        starts, sizes and steps in each dimension of `shape`, and the order in which the
        dimensions of the layout follow those.
    """
    strides = contiguous_strides(shape)
    starts = tuple(layout.offset // stride % n for stride, n in zip(strides, shape, strict=True))
    sizes, steps = [1] * len(shape), [1] * len(shape)
    place = [-1] * len(layout.shape)
    for i, (size, stride) in enumerate(zip(layout.shape, layout.strides, strict=True)):
        if size == 1:
            continue
        for axis, n in enumerate(shape):
            step = stride // strides[axis]
            fits = step * strides[axis] == stride and 0 <= starts[axis] + (size - 1) * step < n
            if step and fits and axis not in place:
                sizes[axis], steps[axis], place[i] = size, step, axis
                break
        else:
            return None
    order = tuple(sorted(range(len(place)), key=place.__getitem__))
    return starts, tuple(sizes), tuple(steps), order
