"""Several values in one 1-D buffer: how an operator with one result gives several gradients."""

from numbatorch.graph import Node
from numbatorch.ops.view import cat, narrow, reshape
from numbatorch.shape import Shape, numel


def packed(*nodes: Node) -> Node:
    """The elements of all nodes one after the other."""
    return cat([reshape.apply(node, shape=(numel(node.shape),)) for node in nodes])


def unpacked(buffer: Node, *shapes: Shape) -> list[Node]:
    """The values that `packed` put into `buffer`, as views."""
    found, start = [], 0
    for shape in shapes:
        size = numel(shape)
        found.append(reshape.apply(narrow(buffer, 0, start, size), shape=shape))
        start += size
    return found
