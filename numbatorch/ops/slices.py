"""Where nodes of slice_ read and those of slice_update write, told from starts, sizes and steps.

So parts of one value are known not to meet, whatever the order in which they are written.
"""

from __future__ import annotations

from numbatorch.graph import Node
from numbatorch.ops.operands import EMPTY
from numbatorch.shape import Shape
from numbatorch.variable import is_variable

MOST_UPDATES = 128  # of a chain that is searched for what it has written


def _region(node: Node) -> tuple[Shape, Shape, Shape]:
    """Starts, sizes and steps of what a node of slice_ reads, or one of slice_update writes."""
    attrs = node.attrs
    sizes = attrs["sizes"] if "sizes" in attrs else node.inputs[1].shape
    return attrs["starts"], sizes, attrs["steps"]


def apart(lhs: Node, rhs: Node) -> bool:
    """Whether two slices or updates, of values of one shape, have no element in common."""
    sides = zip(*_region(lhs), *_region(rhs), strict=True)
    for start, size, step, other, other_size, other_step in sides:
        if is_variable(start) or is_variable(other):
            continue
        end, other_end = start + (size - 1) * step, other + (other_size - 1) * other_step
        if max(start, end) < min(other, other_end) or max(other, other_end) < min(start, end):
            return True
        if step == other_step and (start - other) % step:
            return True
    return False


def is_open(x: Node, update: Node) -> bool:
    """Whether x is memory of no value in which updates have left open what one more writes."""
    for _ in range(MOST_UPDATES):
        if x.op is not update.op or not apart(x, update):
            return x.op is EMPTY
        x = x.inputs[0]
    return False
