"""A file mapped into memory, and the tensors found in it.

The readers of the formats hand out arrays over the mapping: nothing is read before it is touched.
"""

import mmap
import os
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import FormatError, message
from numbatorch.io.reading import open_file, read_bytes
from numbatorch.shape import Shape

Array = np.ndarray[Any, np.dtype[Any]]
Source = str | os.PathLike[str] | IO[bytes]


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


def map_file(path: str | os.PathLike[str], operator: str = "file") -> Array:
    """The bytes of a file as a read-only array that keeps the mapping alive.

    Another process that shortens the file while it is mapped ends this one: replace files, as
    `save_safetensors` does, instead of writing into them.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the path is a folder, a pipe or a device.
    """
    with open_file(path, operator) as file:
        if os.fstat(file.fileno()).st_size == 0:
            empty = np.empty(0, np.uint8)
            empty.flags.writeable = False
            return empty
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapping, np.uint8)


def read_source(source: Source, operator: str, mapped: bool | None = None) -> tuple[Path, Array]:
    """What messages call a file, and its bytes, read-only; of an open one those that follow.

    Args:
        mapped: whether a file of a path is mapped, as it is unless this is False.
    Raises:
        OSError, FormatError: as `map_file`.
        TypeError: neither a path nor a file that is open to read bytes.
        ValueError: an open file has to be mapped.
    """
    if isinstance(source, str | os.PathLike):
        if mapped is not False:
            return Path(source), map_file(source, operator)
        return Path(source), np.frombuffer(read_bytes(source, operator), np.uint8)
    name = called(source, operator, "read")
    if mapped:
        problem = "mmap=True takes a path, not an open file"
        raise ValueError(message(operator, problem, f"file {name}"))
    raw: Any = source.read()
    if not isinstance(raw, bytes):
        problem = f"a file that gives {type(raw).__name__}, not bytes"
        raise TypeError(message(operator, problem, f"file {name}", hint="open(path, 'rb')"))
    return name, np.frombuffer(raw, np.uint8)


def called(file: Any, operator: str, method: str) -> Path:
    """What messages call an open file: the path that it was opened by, if any.

    Raises:
        TypeError: the object has no such method.
    """
    if not callable(getattr(file, method, None)):
        problem = f"takes a path or a file that is open in binary mode, not {type(file).__name__}"
        raise TypeError(message(operator, problem))
    name = getattr(file, "name", None)
    return Path(name if isinstance(name, str) and name else f"<{type(file).__name__}>")


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
