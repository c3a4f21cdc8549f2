"""A kernel that Python calls by itself on arrays of NumPy: one share, on this thread, no plan."""

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch.backends.cpu import pack
from numbatorch.language.kernel import KernelSpec

Array = np.ndarray[Any, Any]

_ENTRY = ctypes.PYFUNCTYPE(None, *[ctypes.c_int64] * 3)  # it keeps the interpreter's lock


class Called:
    """A kernel with an argument block of its own, so one call at a time; calls should be short.

    Attributes:
        words: the argument block, int64: addresses and integers, which a caller may change.
    """

    def __init__(self, spec: KernelSpec, arguments: Sequence[Array | int]) -> None:
        """Arguments in the order of the kernel's: arrays, which are kept, and integers."""
        assert len(arguments) == len(spec.signature) and "float" not in spec.signature
        self.arguments = arguments
        self._entry = _ENTRY(pack.addresses([spec])[spec.key])
        addresses = [a if isinstance(a, int) else a.ctypes.data for a in arguments]
        self.words = np.array(addresses, np.int64)
        self._block = self.words.ctypes.data

    def __call__(self) -> None:
        self._entry(self._block, 0, 1)
