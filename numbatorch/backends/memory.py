"""Buffers of a device, and a pool in which freed memory waits to be used again."""

from __future__ import annotations

from collections import deque
from typing import Any

from numbatorch.locks import Lock

ALIGNMENT = 64
PAGE = 4096


class Buffer:
    """Memory with a value: its address on its device, its size, and what owns it.

    Memory of a pool goes back there when the buffer is dropped; memory of a user's array, or of a
    mapped file, is only kept alive.
    """

    __slots__ = ("__weakref__", "address", "nbytes", "owner", "pool")

    def __init__(self, owner: Any, address: int, nbytes: int, pool: Pool | None = None) -> None:
        self.owner = owner
        self.address = address
        self.nbytes = nbytes
        self.pool = pool

    @property
    def pooled(self) -> bool:
        """Whether the memory is ours to overwrite and reuse."""
        return self.pool is not None

    def __del__(self) -> None:
        pool = getattr(self, "pool", None)  # absent if an interrupt came before it was set
        if pool is not None:
            pool.release(self.owner)


class Pool:
    """Free memory by size.

    Fresh memory is costly: a fault for each page on the CPU, a call of the driver on a GPU. What
    was freed is used again in the order in which launches run, so nothing has to wait for them.

    Args:
        limit: bytes that wait at most.
    """

    def __init__(self, limit: int) -> None:
        self._free: dict[int, list[Any]] = {}
        self._lock = Lock()  # of _free and _held
        self._held = 0
        self._returned: deque[Any] = deque()
        self._returning = 0
        self._limit = limit  # not read from a module, which may be gone when buffers die

    def fresh(self, size: int) -> Any:
        """New memory: an object with `nbytes`, at least `size` aligned bytes.

        Raises:
            MemoryError: the device has not that much.
        """
        raise NotImplementedError

    def address_of(self, owner: Any) -> int:
        """Where memory lies."""
        raise NotImplementedError

    def allocate(self, nbytes: int) -> Buffer:
        """A buffer of at least `nbytes` with undefined contents.

        If the device refuses, what waits is given back to it before it is asked once more.
        """
        unit = ALIGNMENT if nbytes < PAGE else PAGE
        size = max(unit, -(-nbytes // unit) * unit)
        owner = None
        with self._lock:
            self._sort_returned()
            waiting = self._free.get(size)
            if waiting:
                self._held -= size
                owner = waiting.pop()
        if owner is None:
            try:
                owner = self.fresh(size)
            except MemoryError:
                self.clear()
                owner = self.fresh(size)
        return Buffer(owner, self.address_of(owner), nbytes, self)

    def release(self, owner: Any) -> None:
        """Keep memory for the next buffer of its size, or let it go.

        Finalizers call this at any moment of any thread. It takes no lock: it would wait for a
        thread that allocates, and an interrupt could leave the lock taken.
        """
        size = owner.nbytes
        if self._held + self._returning + size <= self._limit:
            self._returning += size
            self._returned.append(owner)

    def _sort_returned(self) -> None:
        self._returning = 0
        while self._returned:
            owner = self._returned.popleft()
            waiting = self._free.setdefault(owner.nbytes, [])
            self._held += owner.nbytes
            waiting.append(owner)

    def clear(self) -> None:
        """Give all waiting memory back to the device."""
        with self._lock:
            self._sort_returned()
            self._free.clear()
            self._held = 0
