"""Memory of the CPU backend: buffers, and a pool in which freed ones wait to be used again."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from numbatorch.graph import Node
from numbatorch.locks import Lock

ALIGNMENT = 64
PAGE = 4096
POOL_BYTES = 1 << 29  # freed memory that is kept for the next buffers, at most

Array = np.ndarray[Any, Any]


class Buffer:
    """Memory with a value: its address, size, and the array that owns it.

    Memory of the pool goes back there when the buffer is dropped; memory of a user's array, or of
    a mapped file, is only kept alive.
    """

    __slots__ = ("__weakref__", "address", "nbytes", "owner", "pool")

    def __init__(self, owner: Array, address: int, nbytes: int, pool: Pool | None = None) -> None:
        self.owner = owner
        self.address = address
        self.nbytes = nbytes
        self.pool = pool

    @property
    def pooled(self) -> bool:
        """Whether the memory is ours to overwrite and reuse."""
        return self.pool is not None

    def __del__(self) -> None:
        if self.pool is not None:
            self.pool.release(self.owner)


class Pool:
    """Arrays of bytes by size. Fresh pages cost a fault each, so large freed arrays are reused."""

    def __init__(self) -> None:
        self._free: dict[int, list[Array]] = {}
        self._lock = Lock()
        self._held = 0
        self._limit = POOL_BYTES  # not read from the module, which may be gone when buffers die

    def allocate(self, nbytes: int) -> Buffer:
        """A buffer of at least `nbytes`, aligned for vectors, with undefined contents."""
        unit = ALIGNMENT if nbytes < PAGE else PAGE
        size = max(unit, -(-nbytes // unit) * unit)
        owner = None
        with self._lock:
            waiting = self._free.get(size)
            if waiting:
                owner = waiting.pop()
                self._held -= size
        if owner is None:
            owner = _aligned(size)
        return Buffer(owner, owner.__array_interface__["data"][0], nbytes, self)

    def release(self, owner: Array) -> None:
        """Keep an array for the next buffer of its size, or let it go."""
        size = owner.nbytes
        # A finalizer must not wait for a thread that allocates; then the array just goes.
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._held + size <= self._limit:
                self._free.setdefault(size, []).append(owner)
                self._held += size
        finally:
            self._lock.release()

    def clear(self) -> None:
        """Give all waiting memory back to the system."""
        with self._lock:
            self._free.clear()
            self._held = 0


def _aligned(size: int) -> Array:
    memory = np.empty(size + ALIGNMENT, np.uint8)
    skip = -memory.__array_interface__["data"][0] % ALIGNMENT
    return memory[skip : skip + size]


POOL = Pool()


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


def copy_of(buffer: Buffer) -> Buffer:
    """A buffer of the pool with the same bytes."""
    fresh = POOL.allocate(buffer.nbytes)
    ctypes.memmove(fresh.address, buffer.address, buffer.nbytes)
    return fresh


def array_of(buffer: Buffer, node: Node) -> Array:
    """A read-only array over a node's buffer, which it keeps alive; blocks are bytes."""
    if node.dtype.kind == "q":
        shape = (*node.shape[:-1], node.dtype.nbytes(node.shape[-1]))
        return np.asarray(Exposed(buffer, shape, "|u1"))
    dtype = node.dtype.numpy
    known = dtype.kind in "fiub" and dtype.isbuiltin == 1
    plain = dtype if known else np.dtype(f"u{dtype.itemsize}")
    return np.asarray(Exposed(buffer, node.shape, plain.str)).view(dtype)
