"""Memory as kernels see it in the simulator: known allocations, and pointers that are checked.

Numbers that kernels hold are NumPy scalars, so that they wrap and round as on a device. Integers
narrower than 64 bits are held in subclasses of `np.int64` that remember their type: arithmetic on
them gives 64 bits, as Numba has it.
"""

import ctypes
from bisect import bisect_right, insort
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from numbatorch import dtype as dtypes

Array = np.ndarray[Any, Any]


class Fault(IndexError):
    """An access outside of the memory that a pointer was made for, or across its elements."""


def _unsigned(name: str) -> Callable[[Any, Any], Any]:
    wide = getattr(np.int64, name)

    def operation(self: Any, other: Any) -> Any:
        result = wide(self, other)
        return np.uint64(int(result) % 2**64) if isinstance(other, Unsigned) else result

    return operation


class Int8(np.int64):
    """An int8 that a kernel holds."""


class Int16(np.int64):
    """An int16 that a kernel holds."""


class Int32(np.int64):
    """An int32 that a kernel holds."""


class Unsigned(np.int64):
    """A narrow unsigned integer: with another it gives uint64, with anything else int64."""

    __add__ = _unsigned("__add__")
    __sub__ = _unsigned("__sub__")
    __mul__ = _unsigned("__mul__")


class UInt8(Unsigned):
    """A uint8 that a kernel holds."""


class UInt16(Unsigned):
    """A uint16 that a kernel holds."""


class UInt32(Unsigned):
    """A uint32 that a kernel holds."""


# The class in which a kernel holds a value of each type that arithmetic is done in.
HELD: dict[str, type[Any]] = {
    "float64": np.float64,
    "float32": np.float32,
    "int64": np.int64,
    "int32": Int32,
    "int16": Int16,
    "int8": Int8,
    "uint64": np.uint64,
    "uint32": UInt32,
    "uint16": UInt16,
    "uint8": UInt8,
}


def held_type(element: str) -> str:
    """Name of the type in which kernels hold an element."""
    dtype = dtypes.by_name[element]
    return "uint8" if dtype.kind in "bq" else dtype.compute.name


def wrapped(value: Any, kind: str) -> int:
    """A number as an integer of a type: floats lose their fraction, what is too large wraps."""
    dtype = dtypes.by_name[kind]
    width = 8 * dtype.itemsize
    whole = int(value) if value == value and abs(value) != np.inf else 0
    rest = whole & ((1 << width) - 1)
    return rest - (1 << width) if dtype.kind == "i" and rest >> (width - 1) else rest


@cache
def holder(kind: str) -> Callable[[Any], Any]:
    """The function that converts a number to a type that arithmetic is done in."""
    held = HELD[kind]
    if dtypes.by_name[kind].kind == "f":
        return held
    return lambda value: held(wrapped(value, kind))


@cache
def conversion(element: str) -> Callable[[Any], Any]:
    """What calling an element type does to a number."""
    if element == "bool":
        return lambda value: bool(value != 0)
    dtype = dtypes.by_name[element]
    hold = holder(held_type(element))
    if dtype.compute is dtype:
        return hold
    narrow = dtype.numpy.type
    return lambda value: np.float32(narrow(np.float32(value)))


@cache
def stored(element: str) -> Callable[[Any], Any]:
    """What a store puts into memory for a number."""
    dtype = dtypes.by_name[element]
    if dtype.kind == "b":
        return lambda value: bool(value != 0)
    if dtype.kind == "q":
        return lambda value: wrapped(value, "uint8")
    if dtype.kind == "f":
        return np.float32 if dtype.compute is not dtype else dtype.numpy.type
    return lambda value: wrapped(value, element)


class Region:
    """An allocation: bytes at an address."""

    def __init__(self, address: int, data: Array) -> None:
        self.address = address
        self.bytes = data
        self._views: dict[str, Array] = {}

    def view(self, element: str) -> Array:
        """The whole elements of a type, from the start of the allocation on."""
        found = self._views.get(element)
        if found is None:
            dtype = dtypes.by_name[element]
            numpy = np.dtype(np.uint8) if dtype.kind in "bq" else dtype.numpy
            whole = len(self.bytes) // numpy.itemsize * numpy.itemsize
            found = self._views[element] = self.bytes[:whole].view(numpy)
        return found


_NOWHERE = Region(0, np.zeros(0, np.uint8))
_regions: dict[int, Region] = {}
_starts: list[int] = []


def register(address: int, nbytes: int) -> None:
    """Make host memory known to simulated kernels; they touch nothing else."""
    if address in _regions:
        unregister(address)
    raw = (ctypes.c_uint8 * nbytes).from_address(address)
    # An interrupt may come in between: what is among the starts has a region.
    _regions[address] = Region(address, np.frombuffer(memoryview(raw), np.uint8))
    insort(_starts, address)


def unregister(address: int) -> None:
    """Forget memory that is about to be freed."""
    if address in _starts:
        _starts.remove(address)
    _regions.pop(address, None)


def region_at(address: int) -> Region:
    """The allocation that an address points into, or its end; an empty one if there is none."""
    at = bisect_right(_starts, address) - 1
    if at >= 0:
        found = _regions[_starts[at]]
        if address <= found.address + len(found.bytes):
            return found
    return _NOWHERE


class Pointer:
    """An address that indexes in elements; accesses stay within one allocation."""

    __slots__ = (
        "_array",
        "_at",
        "_count",
        "_hold",
        "_step",
        "_store",
        "element",
        "offset",
        "region",
    )

    def __init__(self, element: str, region: Region, offset: int) -> None:
        dtype = dtypes.by_name[element]
        self.element = element
        self.region = region
        self.offset = offset
        self._step = 1 if dtype.kind != "q" else dtype.itemsize
        self._array = region.view(element)
        size = self._array.itemsize
        self._at, rest = divmod(offset, size)
        self._count = len(self._array) if rest == 0 else -1
        self._hold = HELD[held_type(element)]
        self._store = stored(element)

    @classmethod
    def to(cls, element: str, address: int) -> "Pointer":
        """The pointer for an address."""
        region = region_at(address)
        return cls(element, region, address - region.address)

    @property
    def address(self) -> int:
        """Where it points."""
        return self.region.address + self.offset

    def place(self, index: Any) -> tuple[Array, int]:
        """The array and the position in it of an element."""
        at = self._at + int(index) * self._step
        if not 0 <= at < self._count:
            raise Fault(self._problem(at))
        return self._array, at

    def __getitem__(self, index: Any) -> Any:
        at = self._at + index * self._step
        if not 0 <= at < self._count:
            raise Fault(self._problem(at))
        return self._hold(self._array[at])

    def __setitem__(self, index: Any, value: Any) -> None:
        at = self._at + index * self._step
        if not 0 <= at < self._count:
            raise Fault(self._problem(at))
        self._array[at] = self._store(value)

    def __add__(self, elements: Any) -> "Pointer":
        moved = int(elements) * self._step * self._array.itemsize
        return Pointer(self.element, self.region, self.offset + moved)

    def __sub__(self, elements: Any) -> "Pointer":
        return self + -int(elements)

    def _problem(self, at: int) -> str:
        if self.region is _NOWHERE:
            return f"a pointer to {self.element} points to no memory that the kernel was given"
        if self._count < 0:
            return f"a pointer to {self.element} lies across elements, at byte {self.offset}"
        return f"element {at} of {self._count} {self.element} in the memory of a pointer"
