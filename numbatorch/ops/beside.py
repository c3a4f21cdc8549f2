"""Cotangents of parts of one value that lie apart: they are written beside each other, not added.

So the gradient of `split` is one launch, as that of `cat` is none.
"""

from __future__ import annotations

from numbatorch.graph import Node
from numbatorch.ops.operands import CONST
from numbatorch.ops.view import empty, slice_update, written
from numbatorch.shape import numel
from numbatorch.variable import is_variable

MOST = 32  # parts of a value: each new one is compared with all before it


def added(total: Node, part: Node) -> Node:
    """total + part."""
    new = _parts(part)
    parts = _parts(total) if new else []
    if not parts or len(parts) + len(new) > MOST:
        return total + part
    if not all(apart(old, other) for old in parts for other in new):
        return total + part
    parts += new
    out = total
    if sum(numel(update.inputs[1].shape) for update in parts) == numel(total.shape):
        out = empty(total.shape, total.dtype, total)
    else:
        parts = new
    for update in parts:
        out = written(out, update.inputs[1], update.attrs["starts"], update.attrs["steps"])
    return out


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


def apart(lhs: Node, rhs: Node) -> bool:
    """Whether two slice_updates of one shape write no element in common."""
    sizes = zip(lhs.inputs[1].shape, rhs.inputs[1].shape, strict=True)
    for i, (size, other_size) in enumerate(sizes):
        (start, step), (other, other_step) = (
            (node.attrs["starts"][i], node.attrs["steps"][i]) for node in (lhs, rhs)
        )
        if is_variable(start) or is_variable(other):
            continue
        reach = (size - 1) * step
        other_reach = (other_size - 1) * other_step
        if max(start, start + reach) < min(other, other + other_reach):
            return True
        if max(other, other + other_reach) < min(start, start + reach):
            return True
        if step == other_step and (start - other) % step:
            return True
    return False
