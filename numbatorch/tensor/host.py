"""Arrays of the host: small views are read where they lie, and what may change is copied."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch.backends.base import backend
from numbatorch.errors import message
from numbatorch.graph import Node
from numbatorch.ops.registry import View
from numbatorch.ops.view import select
from numbatorch.ops.write_through import place_in_memory
from numbatorch.shape import numel

Array = np.ndarray[Any, Any]


def _half(bits: int) -> Any:
    return struct.unpack("=e", struct.pack("=H", bits))[0]


def _bfloat16(bits: int) -> Any:
    return struct.unpack("=f", struct.pack("=I", bits << 16))[0]


# The type of C that one element of a dtype lies in memory as, and what makes a number of its value.
_AT: dict[str, tuple[Callable[[int], Any], Callable[[Any], Any] | None]] = {
    "bool": (ctypes.c_bool.from_address, None),
    "float16": (ctypes.c_uint16.from_address, _half),
    "bfloat16": (ctypes.c_uint16.from_address, _bfloat16),
    "float32": (ctypes.c_float.from_address, None),
    "float64": (ctypes.c_double.from_address, None),
    "int8": (ctypes.c_int8.from_address, None),
    "int16": (ctypes.c_int16.from_address, None),
    "int32": (ctypes.c_int32.from_address, None),
    "int64": (ctypes.c_int64.from_address, None),
    "uint8": (ctypes.c_uint8.from_address, None),
    "uint16": (ctypes.c_uint16.from_address, None),
    "uint32": (ctypes.c_uint32.from_address, None),
    "uint64": (ctypes.c_uint64.from_address, None),
}


def number(node: Node) -> Any:
    """The element of a node of one, as a Python number, if it lies in host memory; else None."""
    known = _AT.get(node.dtype.name)
    if known is None or node.device.kind != "cpu":
        return None
    at, of_bits = known
    attrs, inputs, op = node.attrs, node.inputs, node.op  # in this order, as in `place_in_memory`
    buffer, offset = node.buffer, 0
    if buffer is None:
        if op is select and inputs[0].buffer is not None:
            buffer, offset = inputs[0].buffer, attrs["index"]  # of the one long dimension
        else:
            place = place_in_memory(node)
            if place is None:
                return None
            source, layout = place
            buffer, offset = source.buffer, layout.offset
    value = at(buffer.address + offset * node.dtype.itemsize).value
    return value if of_bits is None else of_bits(value)


# A view of so many elements at most is read where it lies; copying more is worth a plan.
FEW_ELEMENTS = 1 << 14


def read_as_view(node: Node) -> Array | None:
    """The elements of a small view of a realized value in host memory; None for anything else."""
    if not 0 < numel(node.shape) <= FEW_ELEMENTS or node.dtype.kind not in "biuf":
        return None
    place = place_in_memory(node)
    if place is None:
        return None
    source, layout = place
    return backend(source.device).view_to_numpy(source.buffer, source.dtype, layout)


# Of a value of so many elements at most all are computed when some are read: there is one plan for
# whatever is read next, where making one for each view takes as long as computing all.
MOST_ELEMENTS = 1 << 18


def viewed_value(node: Node) -> Node | None:
    """What a node is a view of, where that is to be computed before the view is read; else None."""
    source = node
    while source.buffer is None:
        inputs, op = source.inputs, source.op  # in this order, as in `place_in_memory`
        if not isinstance(op, View):
            break
        (source,) = inputs
    small = source.device.kind == "cpu" and numel(source.shape) <= MOST_ELEMENTS
    return source if small and source is not node and source.buffer is None else None


def unchanging(array: Array) -> Array:
    """The array if nobody can write to its memory by NumPy, else a copy of it.

    What is computed later must not depend on what a user does with an array meanwhile.
    """
    seen: Any = array
    while isinstance(seen, np.ndarray):
        if seen.flags.writeable:
            return np.array(array, order="C")
        seen = seen.base
    return array


def not_made(*given: Any) -> TypeError:
    """The error where the class of tensors is called as PyTorch's is."""
    hint = "nt.tensor(data) makes one of data, nt.empty(2, 3) one of a shape"
    if all(isinstance(size, int) for size in given):
        sizes = ", ".join(map(str, given))
        hint = f"nt.empty({sizes}) makes one of a shape, nt.tensor(data) one of data"
    return TypeError(message("Tensor", "is not made of sizes or data", hint=hint))
