"""Buffers of a device, and a pool in which freed memory waits to be used again."""

from __future__ import annotations

from typing import Any

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
        try:
            pool = self.pool
        except AttributeError:  # an interrupt came before it was set
            return
        if pool is not None:
            pool.release(self.owner)


class Pool:
    """Free memory by size.

    Fresh memory is costly: a fault for each page on the CPU, a call of the driver on a GPU. What
    was freed is used again in the order in which launches run, so nothing has to wait for them.

    It has no lock. Finalizers and signal handlers come here at any moment, also while the thread
    that they interrupt is in here; each list is changed by single calls of `append` and `pop`.

    Args:
        limit: bytes that wait at most.
    """

    def __init__(self, limit: int) -> None:
        self._free: dict[int, list[Any]] = {}
        self.held = 0
        self._limit = limit  # not read from a module, which may be gone when buffers die

    def fresh(self, size: int) -> Any:
        """New memory: an object with `address` and `nbytes`, at least `size` aligned bytes.

        Raises:
            MemoryError: the device has not that much.
        """
        raise NotImplementedError

    @staticmethod
    def size_of(nbytes: int) -> int:
        """Bytes that a buffer of `nbytes` takes: sizes are rounded, so that more of them fit."""
        unit = ALIGNMENT if nbytes < PAGE else PAGE
        return max(unit, -(-nbytes // unit) * unit)

    def waiting(self, size: int) -> list[Any]:
        """The memory of this size that waits; the list stays the same."""
        found = self._free.get(size)
        return self._free.setdefault(size, []) if found is None else found

    def allocate(self, nbytes: int) -> Buffer:
        """A buffer of at least `nbytes` with undefined contents.

        If the device refuses, what waits is given back to it before it is asked once more.
        """
        size = self.size_of(nbytes)
        try:
            owner = self.waiting(size).pop()
            self.held -= size
        except IndexError:
            try:
                owner = self.fresh(size)
            except MemoryError:
                self.clear()
                owner = self.fresh(size)
        return Buffer(owner, owner.address, nbytes, self)

    def release(self, owner: Any) -> None:
        """Keep memory for the next buffer of its size, or let it go."""
        size = owner.nbytes
        held = self.held + size
        if held <= self._limit:
            self.held = held
            try:
                self._free[size].append(owner)
            except KeyError:
                self.waiting(size).append(owner)

    def clear(self) -> None:
        """Give all waiting memory back to the device."""
        for waiting in list(self._free.values()):
            while waiting:
                try:
                    self.held -= waiting.pop().nbytes
                except IndexError:  # somebody else took the last
                    break
