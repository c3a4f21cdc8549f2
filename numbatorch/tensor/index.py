"""tensor[key] and tensor[key] = value: ints, slices, None, Ellipsis, integer tensors and masks.

Placement follows PyTorch: ints select first; the dimensions of integer tensors and masks stand
where these are if they are neighbours, and in front otherwise. Where we differ from PyTorch:
slices may have negative steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import Device
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import caller
from numbatorch.ops import view as views
from numbatorch.ops.caller import OUTSIDE
from numbatorch.ops.create import from_end, is_within
from numbatorch.ops.numbers import fitting, require_no_loss
from numbatorch.ops.operands import (
    as_node,
    const,
    describe,
    expanded,
    is_of_example,
)
from numbatorch.shape import Shape, broadcast, contiguous_strides, is_expandable, numel
from numbatorch.tensor.base import Handle, host_array, host_node, is_tracing
from numbatorch.tensor.dynamic import mask_on_host, selected
from numbatorch.tensor.host import unchanging
from numbatorch.tensor.in_range import check_picks
from numbatorch.variable import Variable


@dataclass(eq=False, repr=False)
class _Selection:
    """A key, read against a shape: slices first, then picks from the dimensions of the slice.

    Attributes:
        starts, sizes, steps: the slice of each dimension of the tensor.
        shape: of the slice, without dimensions that ints select, with those that None inserts.
        origin: for each dimension of `shape` the tensor's dimension, or -1 for an inserted one.
        picks: dimension of `shape` -> integers, as an array in range or as a node.
    """

    starts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    shape: list[int] = field(default_factory=list)
    origin: list[int] = field(default_factory=list)
    picks: dict[int, Any] = field(default_factory=dict)

    def slice(self, start: int, size: int, step: int = 1, drop: bool = False) -> None:
        """Take a slice of the tensor's next dimension."""
        if not drop:
            self.shape.append(size)
            self.origin.append(len(self.sizes))
        self.starts.append(start)
        self.sizes.append(size)
        self.steps.append(step)

    def insert(self) -> None:
        """Insert a dimension of size 1."""
        self.shape.append(1)
        self.origin.append(-1)


def element(node: Node, index: int) -> Node | None:
    """node[index] by a short way; None where the long one finds what is wrong."""
    size = node.shape[0] if node.shape else 0
    if not -size <= index < size or node.dtype.kind == "q":
        return None
    return views.element(node, 0, index + size if index < 0 else index)


def basic(node: Node, key: Any) -> Node | None:
    """node[key] for ints and slices by a short way; None for others, and as above."""
    items = key if key.__class__ is tuple else (key,)
    if len(items) > len(node.shape) or node.dtype.kind == "q":
        return None
    taken: list[range] = []  # of the dimensions that stay
    for item in items:
        size = node.shape[len(taken)]
        if item.__class__ is int:
            if not -size <= item < size:
                return None
            node = views.element(node, len(taken), item + size if item < 0 else item)
        elif item.__class__ is slice:
            for bound in (item.start, item.stop, item.step):
                if bound is not None and bound.__class__ is not int:
                    return None
            taken.append(range(size)[item])
        else:
            return None
    taken += map(range, node.shape[len(taken) :])
    sizes = tuple([len(places) for places in taken])
    steps = tuple([places.step if places else 1 for places in taken])
    if sizes == node.shape and steps == (1,) * len(steps):
        return node
    starts = tuple([places.start if places else 0 for places in taken])
    return views.part(node, starts, sizes, steps)


def get(node: Node, key: Any) -> Node:
    """node[key]."""
    found = basic(node, key)
    if found is not None:
        return found
    mask = _leading_mask(node, key)
    if mask is not None:
        return selected("indexing", node, mask)
    chosen = _read(node, key)
    part = _sliced(node, chosen)
    if not chosen.picks:
        return part
    who = _caller("indexing", node, chosen)
    return caller.called_for(who, _picked, part, chosen.picks)  # type: ignore[no-any-return]


def put(node: Node, key: Any, value: Any) -> Node:
    """`node` with `value`, broadcast and converted, at [key]; at repeated places the last wins."""
    source = _value(node, value)
    mask = _leading_mask(node, key)
    if mask is not None and len(source.shape) <= len(node.shape) - len(mask.shape):
        rank = len(node.shape) - len(mask.shape)
        wide = views.reshape.apply(mask, shape=(*mask.shape, *(1,) * rank))
        _check_fit(source, node.shape)
        return find("where").apply(wide, source, node)
    chosen = _read(node, key)
    if chosen.picks:
        who = _caller("index assignment", node, chosen)
        return caller.called_for(who, put_at_picks, node, chosen, source)  # type: ignore[no-any-return]
    region = fit(source, tuple(chosen.shape))
    if numel(region.shape) == 0:
        return node
    return views.slice_update.apply(
        node,
        views.reshape.apply(region, shape=tuple(chosen.sizes)),
        starts=tuple(chosen.starts),
        steps=tuple(chosen.steps),
    )


def _caller(name: str, node: Node, chosen: _Selection) -> caller.Caller:
    """For whom nodes of an index are made: for the function that was called, if there is one."""
    picks = [("index", pick) for pick in chosen.picks.values()]
    return caller.of_operands(name, [("tensor", node), *picks])


def fitted(node: Node, value: Any) -> Node:
    """`value` in the shape and dtype of `node`, to be held in its place."""
    return fit(_value(node, value), node.shape)


def is_view(key: Any) -> bool:
    """Whether node[key] views the node, at a place that no plan variable moves."""
    for item in key if isinstance(key, tuple) else (key,):
        bounds = (item.start, item.stop, item.step) if isinstance(item, slice) else (item,)
        for bound in bounds:
            number = isinstance(bound, int | np.integer) and not isinstance(bound, bool)
            if not number and bound is not None and bound is not Ellipsis:
                return False
    return True


def _read(node: Node, key: Any) -> _Selection:
    return read_items(node, [_normalized(i) for i in (key if isinstance(key, tuple) else (key,))])


def read_items(node: Node, items: list[Any]) -> _Selection:
    """The items of a key, each as `_normalized` gives it, read against a node."""
    used = sum([_dims_used(item) for item in items])
    rank = len(node.shape)
    ellipses = sum([item is Ellipsis for item in items])
    if ellipses > 1:
        raise OutOfRange(message("indexing", "an index can have one ellipsis only"))
    if used > rank:
        raise OutOfRange(
            message("indexing", f"{used} indices for {rank} dimensions", f"tensor {describe(node)}")
        )
    if not ellipses:
        items.append(Ellipsis)
    chosen = _Selection()
    for item in items:
        if item is Ellipsis:
            for _ in range(rank - used):
                chosen.slice(0, node.shape[len(chosen.sizes)])
        elif item is None:
            chosen.insert()
        elif isinstance(item, int | slice):
            _read_basic(node, item, chosen)
        else:
            _read_picks(node, item, chosen)
    return chosen


def _normalized(item: Any) -> Any:
    """One item of a key as None, Ellipsis, int, slice, NumPy array or node of integers."""
    if item is None or item is Ellipsis or isinstance(item, slice):
        return item
    if isinstance(item, bool | np.bool_):
        return np.asarray(item)
    if isinstance(item, int):
        return item
    if isinstance(item, Handle):
        return normalized_node(item.node)
    if isinstance(item, np.integer):
        return int(item)
    if isinstance(item, list | tuple | range | np.ndarray):
        array = np.asarray(item)
        if array.size == 0 and not isinstance(item, np.ndarray):
            array = array.astype(np.int64)
        if array.dtype == bool:
            return array
        if array.dtype.kind in "iu":
            return array.astype(np.int64) if array.shape else int(array)
        problem = f"indices are {array.dtype}, not integers or bool"
        raise DTypeError(message("indexing", problem))
    problem = f"{item!r} is no int, slice, None, ellipsis, or tensor of integers or bool"
    raise TypeError(message("indexing", problem))


def normalized_node(node: Node) -> Any:
    """A tensor of a key as a mask on the host, a number, or a node of integers."""
    if node.dtype is dt.bool_:
        return mask_on_host(node)
    if node.dtype is dt.uint8 or node.dtype.kind not in "iu":
        raise DTypeError(
            message(
                "indexing",
                f"indices must be integers or bool, not {node.dtype.name}",
                hint="uint8 is a mask with bool(), a number with long()"
                if node.dtype is dt.uint8
                else None,
            )
        )
    # Which element is taken may change between calls of a trace, or from one example to the next.
    if node.shape or is_tracing() or is_of_example(node):
        return node
    return int(host_array(node))


def _dims_used(item: Any) -> int:
    if item is None or item is Ellipsis:
        return 0
    return item.ndim if isinstance(item, np.ndarray) and item.dtype == bool else 1


def _read_basic(node: Node, item: Any, chosen: _Selection) -> None:
    axis = len(chosen.sizes)
    size = node.shape[axis]
    if isinstance(item, int):
        if not -size <= item < size:
            raise OutOfRange(
                message(
                    "indexing",
                    f"index {int(item)} is out of range for dimension {axis} of size {size}",
                    f"tensor {describe(node)}",
                )
            )
        chosen.slice(item + size if item < 0 else item, 1, drop=True)
    elif any(isinstance(bound, Variable) for bound in (item.start, item.stop, item.step)):
        chosen.slice(item.start, _variable_length(item))
    else:
        taken = range(*item.indices(size))
        chosen.slice(taken.start if len(taken) else 0, len(taken), taken.step if len(taken) else 1)


def _variable_length(item: slice) -> int:
    """Length of a slice that begins at a plan variable, which must not depend on it."""
    stop = item.stop
    same = all(isinstance(bound, Variable) for bound in (item.start, stop))
    if not same or stop.cell is not item.start.cell or item.step is not None:
        problem = f"the length of [{item.start!r}:{stop!r}] changes between replays"
        raise ShapeError(message("indexing", problem, hint="end the slice at start + length"))
    return int(max(stop.offset - item.start.offset, 0))


def _read_picks(node: Node, item: Any, chosen: _Selection) -> None:
    axis = len(chosen.sizes)
    if isinstance(item, Node):
        chosen.picks[len(chosen.shape)] = item
        chosen.slice(0, node.shape[axis])
    elif item.dtype != bool:
        size = node.shape[axis]
        wrong = item[(item < -size) | (item >= size)]
        if wrong.size:
            raise OutOfRange(
                message(
                    "indexing",
                    f"index {wrong.flat[0]} is out of range for dimension {axis} of size {size}",
                    f"tensor {describe(node)}",
                )
            )
        chosen.picks[len(chosen.shape)] = np.where(item < 0, item + size, item)
        chosen.slice(0, size)
    elif item.ndim == 0:
        chosen.picks[len(chosen.shape)] = np.zeros(int(item), np.int64)
        chosen.insert()
    else:
        covered = node.shape[axis : axis + item.ndim]
        if covered != item.shape:
            raise OutOfRange(
                message(
                    "indexing",
                    "the mask has not the shape of the dimensions that it covers",
                    f"tensor {describe(node)}, dimensions {covered}",
                    f"mask {item.shape} bool",
                )
            )
        for size, positions in zip(covered, np.nonzero(item), strict=True):
            chosen.picks[len(chosen.shape)] = positions.astype(np.int64)
            chosen.slice(0, size)


def _sliced(node: Node, chosen: _Selection) -> Node:
    kept = [axis for axis in chosen.origin if axis >= 0]
    for axis in reversed(range(len(chosen.sizes))):
        if axis not in kept:
            node = views.element(node, axis, chosen.starts[axis])
    sizes = tuple([chosen.sizes[axis] for axis in kept])
    steps = tuple([chosen.steps[axis] for axis in kept])
    if sizes != node.shape or any(step != 1 for step in steps):
        starts = tuple([chosen.starts[axis] for axis in kept])
        moves = any(isinstance(start, Variable) for start in starts)
        sliced = views.slice_.apply if moves else views.part  # where a variable leads is not known
        node = sliced(node, starts=starts, sizes=sizes, steps=steps)
    shape = tuple(chosen.shape)
    return node if shape == node.shape else views.reshape.apply(node, shape=shape)


def _picked(part: Node, picks: dict[int, Any]) -> Node:
    """Elements of `part` at positions in some of its dimensions."""
    axes = sorted(picks)
    rest = [axis for axis in range(len(part.shape)) if axis not in picks]
    sizes = tuple(part.shape[axis] for axis in axes)
    order = (*axes, *rest)
    if order != tuple(range(len(order))):
        part = views.permute.apply(part, dims=order)
    kept = part.shape[len(axes) :]
    rows = part if len(axes) == 1 else views.reshape.apply(part, shape=(numel(sizes), *kept))
    index = _linear([picks[axis] for axis in axes], sizes, part.device)
    out = find("take").apply(rows, index)
    neighbours = axes[-1] - axes[0] + 1 == len(axes)
    if not neighbours or axes[0] == 0:
        return out
    rank, lead = len(index.shape), axes[0]
    middle = range(rank)
    order = (*range(rank, rank + lead), *middle, *range(rank + lead, len(out.shape)))
    return views.permute.apply(out, dims=order)


def _linear(picks: Sequence[Any], sizes: Shape, where: Device) -> Node:
    """Row-major positions in `sizes` of the positions in each dimension, broadcast together."""
    strides = contiguous_strides(sizes)
    if all(isinstance(pick, np.ndarray) for pick in picks):
        shape = broadcast("indexing", *(pick.shape for pick in picks))
        total = sum(pick * stride for pick, stride in zip(picks, strides, strict=True))
        return host_node(np.ascontiguousarray(np.broadcast_to(total, shape)), dt.int64, where)
    nodes = [p if isinstance(p, Node) else host_node(p, dt.int64, where) for p in picks]
    nodes = [as_node(node, dt.int64, where) for node in nodes]
    choose = find("where").apply
    wrapped = [from_end(node, size) for node, size in zip(nodes, sizes, strict=True)]
    if len(wrapped) == 1:
        return wrapped[0]
    total = wrapped[0] * strides[0]
    for node, stride in zip(wrapped[1:], strides[1:], strict=True):
        total = total + node * stride
    for given, node, size in zip(nodes, wrapped, sizes, strict=True):
        total = choose(is_within(node, 0, size), total, given - OUTSIDE)
    return total


def _value(node: Node, value: Any) -> Node:
    """`value` in the dtype of `node`, which may be narrower but not less than its kind."""
    operator = "index assignment"
    if isinstance(value, list | tuple):
        value = np.asarray(value) if np.size(value) else np.zeros(np.shape(value), node.dtype.numpy)
    if isinstance(value, Handle | np.ndarray):
        if isinstance(value, Handle):
            found = value.node
        else:
            found = host_node(unchanging(value), dt.from_numpy(value.dtype), node.device)
        require_no_loss(operator, found.dtype, node.dtype)
        return as_node(found, node.dtype, node.device)
    number = value.item() if isinstance(value, np.generic) else value
    if not isinstance(number, bool | int | float | complex):
        raise TypeError(message(operator, f"{value!r} is neither tensor nor number"))
    return const(fitting(operator, number, node.dtype), node.dtype, node.device)


def _leading_mask(node: Node, key: Any) -> Node | None:
    """The key as a node, if it is nothing but a mask over the leading dimensions."""
    if isinstance(key, Handle) and key.node.dtype is dt.bool_:
        mask = key.node
    elif isinstance(key, np.ndarray) and key.dtype == bool:
        mask = host_node(unchanging(key), dt.bool_, node.device)
    else:
        return None
    rank = len(mask.shape)
    return mask if rank and mask.shape == node.shape[:rank] else None


def _check_fit(value: Node, shape: Shape) -> None:
    if not is_expandable(value.shape, shape):
        raise ShapeError(
            message(
                "index assignment",
                "the value does not broadcast to the place",
                f"value {describe(value)}",
                f"place {shape}",
            )
        )


def fit(value: Node, shape: Shape) -> Node:
    """`value` broadcast to `shape`; surplus leading dimensions of size 1 go."""
    surplus = len(value.shape) - len(shape)
    if surplus > 0 and numel(value.shape[:surplus]) == 1:
        value = views.reshape.apply(value, shape=value.shape[surplus:])
    _check_fit(value, shape)
    return expanded(value, shape)


def put_at_picks(
    node: Node,
    chosen: _Selection,
    value: Node,
    write: Callable[..., Node] | None = None,
    operator: str = "index assignment",
) -> Node:
    """The picked rows of the slice are written, and the slice is put back."""
    part = _sliced(node, chosen)
    axes = sorted(chosen.picks)
    rest = [axis for axis in range(len(part.shape)) if axis not in chosen.picks]
    order = (*axes, *rest)
    turned = part
    if order != tuple(range(len(order))):
        turned = views.permute.apply(part, dims=order)
    sizes, kept = turned.shape[: len(axes)], turned.shape[len(axes) :]
    index = _linear([chosen.picks[axis] for axis in axes], sizes, node.device)
    rank, lead = len(index.shape), axes[0]
    if axes[-1] - axes[0] + 1 == len(axes):  # neighbours: their dimensions stand where they do
        region = fit(value, (*kept[:lead], *index.shape, *kept[lead:]))
        front = (*range(lead, lead + rank), *range(lead), *range(lead + rank, rank + len(kept)))
        if lead:
            region = views.permute.apply(region, dims=front)
    else:
        region = fit(value, (*index.shape, *kept))
    if numel(region.shape) == 0 and not value.requires_grad:
        return node
    picked = zip(axes, sizes, strict=True)
    check_picks(operator, node, index, [(chosen.origin[d], n, chosen.picks[d]) for d, n in picked])
    rows = views.reshape.apply(turned, shape=(numel(sizes), *kept))
    rows = (write or find("put_rows").apply)(rows, index, region)
    turned = views.reshape.apply(rows, shape=turned.shape)
    back = tuple(sorted(range(len(order)), key=order.__getitem__))
    if order != back or order != tuple(range(len(order))):
        turned = views.permute.apply(turned, dims=back)
    if part is node:
        return turned
    return views.slice_update.apply(
        node,
        views.reshape.apply(turned, shape=tuple(chosen.sizes)),
        starts=tuple(chosen.starts),
        steps=tuple(chosen.steps),
    )
