"""Memory of the CPU: NumPy arrays, and arrays of users without a copy."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch.backends.memory import ALIGNMENT, Buffer, Pool
from numbatorch.graph import Node

POOL_BYTES = 1 << 29  # freed memory that is kept for the next buffers, at most

Array = np.ndarray[Any, Any]


class HostPool(Pool):
    """Arrays of bytes."""

    def fresh(self, size: int) -> Array:
        """An array whose first byte is aligned for vectors."""
        memory = np.empty(size + ALIGNMENT, np.uint8)
        skip = -memory.__array_interface__["data"][0] % ALIGNMENT
        return memory[skip : skip + size]

    def address_of(self, owner: Array) -> int:
        """Of the first element."""
        address: int = owner.__array_interface__["data"][0]
        return address


POOL = HostPool(POOL_BYTES)


def wrap(array: Array) -> Buffer:
    """A buffer over a row-major array's own memory."""
    return Buffer(array, array.__array_interface__["data"][0], array.nbytes)


class Exposed:
    """What NumPy asks for a buffer's memory; it keeps the buffer, so that an array stays valid."""

    def __init__(self, buffer: Buffer, shape: tuple[int, ...], typestr: str) -> None:
        self.buffer = buffer
        self.__array_interface__ = {
            "shape": shape,
            "typestr": typestr,
            "data": (buffer.address, True),
            "version": 3,
        }


def array_of(buffer: Buffer, node: Node) -> Array:
    """A read-only array over a node's buffer, which it keeps alive; blocks are bytes."""
    if node.dtype.kind == "q":
        shape = (*node.shape[:-1], node.dtype.nbytes(node.shape[-1]))
        return np.asarray(Exposed(buffer, shape, "|u1"))
    dtype = node.dtype.numpy
    known = dtype.kind in "fiubc" and dtype.isbuiltin == 1
    plain = dtype if known else np.dtype(f"u{dtype.itemsize}")
    return np.asarray(Exposed(buffer, node.shape, plain.str)).view(dtype)
