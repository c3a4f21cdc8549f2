"""A file mapped into memory, and the tensors found in it.

The readers of the formats hand out arrays over the mapping: nothing is read before it is touched.
"""

import mmap
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import FormatError, message
from numbatorch.io.reading import open_file
from numbatorch.shape import Shape

Array = np.ndarray[Any, np.dtype[Any]]


class TensorInfo(NamedTuple):
    """Where a tensor stands in its file.

    Attributes:
        name: the tensor's name in the file.
        dtype: element type; a GGML block type for packed weights.
        shape: row-major, in elements, also for block types.
        offset: first byte, from the start of the file.
        nbytes: bytes in the file.
        path: the file.
    """

    name: str
    dtype: DType
    shape: Shape
    offset: int
    nbytes: int
    path: Path


def map_file(path: str | os.PathLike[str]) -> Array:
    """The bytes of a file as a read-only array that keeps the mapping alive.

    Another process that shortens the file while it is mapped ends this one: replace files, as
    `save_safetensors` does, instead of writing into them.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the path is a folder, a pipe or a device.
    """
    with open_file(path, "map_file") as file:
        if os.fstat(file.fileno()).st_size == 0:
            empty = np.empty(0, np.uint8)
            empty.flags.writeable = False
            return empty
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapping, np.uint8)


def typed_view(data: Array, info: TensorInfo) -> Array:
    """The tensor's elements: a view where its address is aligned, else a copy; both read-only.

    Block types come as bytes, (..., bytes of a row).
    """
    raw = data[info.offset : info.offset + info.nbytes]
    if info.dtype.kind == "q" and not info.dtype.is_storage:
        *rows, columns = info.shape
        return raw.reshape(*rows, info.dtype.nbytes(columns))
    element = info.dtype.elements
    if raw.ctypes.data % element.alignment:
        raw = raw.copy()
        raw.flags.writeable = False
    if info.dtype.kind == "b" and raw.size and raw.max() > 1:
        row = f"tensor {info.name} at byte {info.offset}"
        raise FormatError(message("bool tensor", "a byte is not 0 or 1", f"file {info.path}", row))
    return raw.view(element).reshape(info.shape)
