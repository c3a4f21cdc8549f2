"""Pinned host memory that uploads and downloads pass through: a ring whose parts are used in turn.

The GPU copies from and to pinned memory while Python goes on; a part is used again once the stream
has passed what it was last used for.
"""

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch.backends.cuda.driver import Driver

PART = 4 << 20  # bytes; long copies go part by part, so that the next is filled meanwhile
PARTS = 4
ALIGNMENT = 64

Array = np.ndarray[Any, Any]


class Staging:
    """Copies between NumPy arrays and a GPU, in order with one stream. Its user holds a lock.

    Args:
        allocate: what gives pinned memory.
    """

    def __init__(self, driver: Driver, stream: int, allocate: Callable[[int], int]) -> None:
        self._driver = driver
        self._stream = stream
        self._allocate = allocate
        self._base = 0
        self._marks: list[int] = []
        self._part = 0
        self._used = 0

    def upload(self, target: int, array: Array) -> None:
        """Copy bytes to the GPU; the array may be changed once this returns."""
        source = array.__array_interface__["data"][0]
        for start in range(0, array.nbytes, PART):
            nbytes = min(PART, array.nbytes - start)
            host = self._take(nbytes)
            ctypes.memmove(host, source + start, nbytes)
            self._driver.upload(target + start, host, nbytes, self._stream)

    def download(self, source: int, nbytes: int) -> Array:
        """Bytes of the GPU after all that the stream has been given so far."""
        out = np.empty(nbytes, np.uint8)
        target = out.__array_interface__["data"][0]
        before = None
        for start in range(0, nbytes, PART):
            length = min(PART, nbytes - start)
            host = self._take(length)
            self._driver.download(host, source + start, length, self._stream)
            if before is not None:  # copied out while the GPU copies the next part
                self._copy_out(*before)
            before = self._mark(), target + start, host, length
        if before is not None:
            self._copy_out(*before)
        return out

    def _copy_out(self, mark: int, target: int, host: int, nbytes: int) -> None:
        self._driver.wait(mark)
        ctypes.memmove(target, host, nbytes)

    def _mark(self) -> int:
        """Mark the end of what the current part is used for so far."""
        mark = self._marks[self._part]
        self._driver.record(mark, self._stream)
        return mark

    def _take(self, nbytes: int) -> int:
        """Address of pinned memory that the GPU is done with."""
        if not self._base:
            base = self._allocate(PART * PARTS)
            self._marks = [self._driver.event() for _ in range(PARTS)]
            self._base = base
        if self._used + nbytes > PART:
            self._mark()
            self._part = (self._part + 1) % PARTS
            self._driver.wait(self._marks[self._part])
            self._used = 0
        address = self._base + self._part * PART + self._used
        self._used += -(-nbytes // ALIGNMENT) * ALIGNMENT
        return address
