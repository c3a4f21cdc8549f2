"""Values that move from one device to another, through the host; gradients move back."""

from __future__ import annotations

from typing import Any, NoReturn

from numbatorch.backends.base import backend
from numbatorch.device import Device
from numbatorch.graph import Node, Op, grad_enabled
from numbatorch.tensor.base import host_array, host_node


def _reference(x: Any) -> NoReturn:
    """The value on another device; its node is realized when it is made."""
    raise TypeError("a value that was moved lies in memory")


MOVED = Op("to", _reference)


@MOVED.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return to_device(g, x.device)


def to_device(node: Node, target: Device) -> Node:
    """The value of `node` on another device; a gradient of it flows back to that of `node`.

    Raises:
        BackendUnavailable: the device is not there, or what drives it is not installed.

    >>> x = tensor([1.0, 2.0], requires_grad=True)
    >>> _ = (x * x).to("numpy").sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """
    if node.device == target:
        return node
    backend(target)
    found = host_node(host_array(node), node.dtype, target, node.shape)
    if not (node.requires_grad and grad_enabled()):
        return found
    moved = Node(MOVED, (node,), {}, node.shape, node.dtype, target)
    moved.buffer = found.buffer
    return moved
