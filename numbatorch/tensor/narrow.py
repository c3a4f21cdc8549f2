"""Storage types: numbers of a byte each that are loaded, stored and converted, as in ml_dtypes."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import numpy_ignores_errors
from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.errors import GradientError, message
from numbatorch.graph import Node, find, grad_enabled, trace_mode
from numbatorch.ops.operands import describe
from numbatorch.tensor.base import host_array, host_node

Array = np.ndarray[Any, Any]


@cache
def _numbers(kind: DType, device: Device) -> Node:
    """The number that each byte stands for."""
    numbers = np.arange(256, dtype=np.uint8).view(kind.elements).astype(kind.held.numpy)
    with trace_mode(0):
        return host_node(numbers, kind.held, device)


def decoded(node: Node) -> Node:
    """The numbers, in a type that holds them all."""
    index = find("reinterpret").apply(node, dtype=dt.uint8, source=node.dtype)
    index = find("cast").apply(index, dtype=dt.int64)
    return find("take").apply(_numbers(node.dtype, node.device), index)


def readable(node: Node) -> Node:
    """A node whose elements Python knows: what is only stored is decoded."""
    return decoded(node) if node.dtype.is_storage else node


def encoded(node: Node, kind: DType) -> Node:
    """The numbers rounded to a storage type, by ml_dtypes; computed at once.

    Integers are cut to the low bits, as are floats after their fractions.

    Raises:
        GradientError: the numbers require a gradient.
    """
    if node.requires_grad and grad_enabled():
        rows, hint = describe(node), "detach() it first"
        problem = f"no gradient flows through {kind.name}"
        raise GradientError(message("to", problem, rows, hint=hint))
    return host_node(packed(host_array(node), kind), kind, node.device, node.shape)


def packed(array: Array, kind: DType) -> Array:
    """The elements of an array as bytes of a storage type."""
    with numpy_ignores_errors():
        return np.asarray(array.astype(kind.elements)).view(np.uint8)
