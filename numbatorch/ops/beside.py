"""Cotangents of parts of one value: they are written beside each other, or added where they meet.

So the gradient of `split` is one launch, as that of `cat` is none, and no part is filled up to the
whole value by zeros.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from numbatorch.graph import Node
from numbatorch.ops.operands import CONST
from numbatorch.ops.slices import apart
from numbatorch.ops.view import empty, slice_, slice_update, written
from numbatorch.shape import numel
from numbatorch.variable import is_variable

MOST = 32  # parts of a value: each new one is compared with all before it


def added(total: Node, part: Node) -> Node:
    """total + part, of which one is made by slice_update at least."""
    new, parts = _parts(part), _parts(total)
    if parts and not new:
        total, part, new, parts = part, total, parts, new
    if not new:
        return total + part
    both = len(parts) + len(new) <= MOST
    if parts and both and all(apart(x, y) for x, y in itertools.product(parts, new)):
        return _written(total, parts, new)
    if not all(apart(x, y) for x, y in itertools.combinations(new, 2)):
        return total + part
    for update in new:
        value, starts, steps = update.inputs[1], update.attrs["starts"], update.attrs["steps"]
        here = slice_.apply(total, starts=starts, sizes=value.shape, steps=steps)
        total = written(total, here + value, starts, steps)
    return total


def _written(total: Node, parts: Sequence[Node], new: Sequence[Node]) -> Node:
    """`total`, which is made of parts, with new ones that lie apart from them.

    What all of them fill needs no zeros below; parts that were added to others lie over these.
    """
    every = [*parts, *new]
    fills = sum(numel(update.inputs[1].shape) for update in every) == numel(total.shape)
    if fills and all(apart(x, y) for x, y in itertools.combinations(every, 2)):
        total = empty(total.shape, total.dtype, total)
        new = (*parts, *new)
    for update in new:
        total = written(total, update.inputs[1], update.attrs["starts"], update.attrs["steps"])
    return total


def _parts(x: Node) -> list[Node]:
    """The updates that make a value of zeros, from the first on; none where it is no such value."""
    found: list[Node] = []
    while x.op is slice_update and x.buffer is None and len(found) < MOST:
        if is_variable(x.attrs["starts"]) or is_variable(x.attrs["steps"]):
            return []
        found.append(x)
        x = x.inputs[0]
    if x.op is not CONST or is_variable(x.attrs["value"]) or x.attrs["value"] != 0:
        return []
    return found[::-1]
