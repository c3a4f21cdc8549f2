"""Arrays of the host: small views are read where they lie, and what may change is copied."""

from __future__ import annotations

import ctypes
import struct
from typing import Any

import numpy as np

from numbatorch.backends.base import backend
from numbatorch.graph import Node
from numbatorch.layout import Layout
from numbatorch.ops.registry import View
from numbatorch.shape import numel

Array = np.ndarray[Any, Any]

_CODES = {
    "bool": "?",
    "float16": "e",
    "float32": "f",
    "float64": "d",
    "int8": "b",
    "int16": "h",
    "int32": "i",
    "int64": "q",
    "uint8": "B",
    "uint16": "H",
    "uint32": "I",
    "uint64": "Q",
}
_UNPACK = {name: struct.Struct(f"={code}").unpack for name, code in _CODES.items()}


def number(node: Node) -> Any:
    """The one element of a realized value in host memory, as a Python number; None for others."""
    unpack = _UNPACK.get(node.dtype.name)
    if unpack is None or node.device.kind != "cpu":
        return None
    return unpack(ctypes.string_at(node.buffer.address, node.dtype.itemsize))[0]


# A view of so many elements at most is read where it lies; copying more is worth a plan.
FEW_ELEMENTS = 1 << 14


def read_as_view(node: Node) -> Array | None:
    """The elements of a small view of a realized value in host memory; None for anything else."""
    views = []
    source = node
    while source.buffer is None:
        if not isinstance(source.op, View) or source.op.reinterprets:
            return None
        views.append(source)
        (source,) = source.inputs
    few = 0 < numel(node.shape) <= FEW_ELEMENTS
    if not few or source.dtype.kind not in "biuf":
        return None
    layout = Layout.contiguous(source.shape)
    for view in reversed(views):
        assert isinstance(view.op, View)
        found = view.op.layout(layout, **view.attrs)
        if found is None:
            return None
        layout = found
    return backend(source.device).view_to_numpy(source.buffer, source.dtype, layout)


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
