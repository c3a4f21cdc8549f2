"""Memory of the CPU: NumPy arrays, and arrays of users without a copy."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch.backends.memory import ALIGNMENT, Buffer, Pool
from numbatorch.dtype import DType
from numbatorch.errors import out_of_memory
from numbatorch.graph import Node
from numbatorch.layout import Layout
from numbatorch.shape import numel

POOL_BYTES = 1 << 29  # freed memory that is kept for the next buffers, at most
LARGE = 1 << 30  # from here on what the machine has is looked at before it is asked

Array = np.ndarray[Any, Any]


class HostMemory:
    """Bytes of an array, from the first that is aligned for vectors.

    Raises:
        OutOfMemory: the system refuses, or would promise more than it has and end the process when
            the memory is written.
    """

    __slots__ = ("address", "array", "nbytes")

    def __init__(self, size: int, make: Callable[..., Array] = np.empty) -> None:
        if size >= LARGE and size > most_memory():
            raise out_of_memory("cpu", size, *free_memory())
        try:
            self.array = make(size + ALIGNMENT, np.uint8)
        except (MemoryError, ValueError) as err:  # ValueError: beyond what addresses reach
            raise out_of_memory("cpu", size, *free_memory()) from err
        start: int = self.array.__array_interface__["data"][0]
        self.address = start + -start % ALIGNMENT
        self.nbytes = size


class HostPool(Pool):
    """Memory of the process."""

    def fresh(self, size: int) -> HostMemory:
        """Memory that NumPy gives."""
        return HostMemory(size)


class ZeroedPool(HostPool):
    """Memory of zeros that does not wait: a page of it takes memory once it is written to."""

    def __init__(self) -> None:
        super().__init__(0)

    def fresh(self, size: int) -> HostMemory:
        """Memory that the system clears when it is touched."""
        try:
            return HostMemory(size, np.zeros)
        except MemoryError:
            POOL.clear()
            return HostMemory(size, np.zeros)


def free_memory() -> tuple[int, int]:
    """Bytes that are free and that the machine has; zeros where the system does not tell."""
    sizes = _linux_memory()
    if sizes:
        return sizes["MemAvailable"], sizes["MemTotal"]
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 0, 0


def most_memory() -> int:
    """Bytes that all processes together can write at most, as far as the system tells."""
    sizes = _linux_memory()
    return sizes["MemTotal"] + sizes["SwapTotal"] if sizes else 1 << 62


def _linux_memory() -> dict[str, int]:
    """Sizes in bytes by their names in /proc/meminfo; empty on other systems."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            rows = (line.split() for line in file)
            sizes = {row[0].rstrip(":"): 1024 * int(row[1]) for row in rows}
    except (OSError, ValueError, IndexError):
        return {}
    known = sizes.keys() >= {"MemTotal", "MemAvailable", "SwapTotal"}
    return sizes if known else {}


POOL = HostPool(POOL_BYTES)
ZEROED = ZeroedPool()


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
    if node.dtype.kind == "q" and not node.dtype.is_storage:
        shape = (*node.shape[:-1], node.dtype.nbytes(node.shape[-1]))
        return np.asarray(Exposed(buffer, shape, "|u1"))
    dtype = node.dtype.numpy
    known = dtype.kind in "fiubc" and dtype.isbuiltin == 1
    plain = dtype if known else np.dtype(f"u{dtype.itemsize}")
    return np.asarray(Exposed(buffer, node.shape, plain.str)).view(dtype)


def copied(buffer: Buffer, dtype: DType, layout: Layout) -> Array:
    """A copy of the elements of a buffer that a layout names, which are some."""
    size = dtype.itemsize
    if layout.is_contiguous:
        data = ctypes.string_at(buffer.address + layout.offset * size, numel(layout.shape) * size)
        return np.frombuffer(data, dtype.numpy).reshape(layout.shape)
    whole: Any = (ctypes.c_uint8 * buffer.nbytes).from_address(buffer.address)
    strides = tuple([stride * size for stride in layout.strides])
    return np.ndarray(layout.shape, dtype.numpy, whole, layout.offset * size, strides).copy()
