"""GGUF files are written: version 3, little-endian, tensor by tensor as the bytes come.

The header names every tensor with type, shape and place, so these are known before the data is.
The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import os
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, FormatError, ShapeError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_header import (
    ARRAY,
    ARRAY_DEPTH,
    BOOL,
    KEY_BYTES,
    NUMBERS,
    STRING,
    TENSOR_DIMS,
)
from numbatorch.io.mapping import Array
from numbatorch.io.reading import short
from numbatorch.io.writing import replaced
from numbatorch.shape import Shape, numel

VERSION = 3
ALIGNMENT = 32
NAME_BYTES = 64  # that ggml reads of a tensor's name, with a NUL behind it
_KINDS = {np.dtype("<" + letter): kind for kind, letter in NUMBERS.items()}


@dataclass(frozen=True)
class Outgoing:
    """A tensor to be written.

    Attributes:
        name: in the file.
        dtype: a type that GGUF has a number for.
        shape: row-major, in elements; rows are whole blocks.
        pieces: gives the bytes in order, each piece an array or anything with a buffer. It is
            called when the tensor's turn has come.
    """

    name: str
    dtype: DType
    shape: Shape
    pieces: Callable[[], Iterable[Any]]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return self.dtype.nbytes(numel(self.shape))


def write_gguf(
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
    tensors: Sequence[Outgoing],
    note: Callable[[int], Any] = int,
) -> None:
    """Write a GGUF file: whole or not at all, through a file beside it.

    Args:
        path: replaced where it exists.
        metadata: key to value: bool, str, int and float, which become uint32 (or what else holds
            the value) and float32; NumPy scalars, which keep their type; arrays of NumPy of one
            dimension, and lists of one kind of these. `general.alignment` is followed.
        tensors: in the order of the file.
        note: called with the bytes of each piece that was written.
    Raises:
        FormatError: the path is a folder, a pipe or a device, or a file that a tensor comes from;
            the metadata has no form in the format.
        DTypeError: GGUF has no such type.
        ShapeError: a tensor gives other bytes than its shape says, or has more dimensions than the
            format.
        OSError: the disk is full; nothing is left of what was written.
    """
    alignment = _alignment(metadata)
    head = _header(metadata, tensors, alignment)
    with replaced(path, "write_gguf") as temporary, open(temporary, "wb") as file:
        file.write(head)
        for tensor in tensors:
            write_tensor(file, tensor, note)
            file.write(bytes(-file.tell() % alignment))
        file.flush()
        os.fsync(file.fileno())


def copied(file: GGUFFile, name: str) -> Outgoing:
    """A tensor of another file, as it is there."""
    info = file.tensors[name]
    return Outgoing(name, info.dtype, info.shape, lambda: file.pieces(name))


def write_tensor(file: BinaryIO, tensor: Outgoing, note: Callable[[int], Any]) -> None:
    """Write the bytes of a tensor where the file is, and say how many each piece has.

    Raises:
        ShapeError: they are more or less than its shape says.
    """
    written = 0
    for piece in tensor.pieces():
        raw = memoryview(piece).cast("B") if not isinstance(piece, np.ndarray) else _bytes(piece)
        written += raw.nbytes
        if written > tensor.nbytes:
            break
        file.write(raw)
        note(raw.nbytes)
    if written != tensor.nbytes:
        more = "more" if written > tensor.nbytes else str(written)
        problem = f"tensor {tensor.name!r} gives {more} bytes instead of {tensor.nbytes}"
        rule = f"{tensor.shape} {tensor.dtype.name}"
        raise ShapeError(message("write_tensor", problem, rule))


def _bytes(array: Array) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _alignment(metadata: Mapping[str, Any]) -> int:
    alignment = metadata.get("general.alignment", ALIGNMENT)
    try:
        found = int(alignment)
    except (TypeError, ValueError):
        found = 0
    if found < 8 or found & (found - 1):
        problem = f"general.alignment is {alignment!r}, not a power of two from 8 on"
        raise FormatError(message("write_gguf", problem))
    return found


def _header(metadata: Mapping[str, Any], tensors: Sequence[Outgoing], alignment: int) -> bytes:
    parts = [b"GGUF", struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    for key, value in metadata.items():
        if not isinstance(key, str) or not 0 < len(key.encode()) <= KEY_BYTES:
            problem = f"metadata key {short(repr(key))} is no text of 1 to {KEY_BYTES} bytes"
            raise FormatError(message("write_gguf", problem))
        kind, payload = _value(value, f"metadata {key!r}")
        if key == "general.alignment":
            kind, payload = 4, struct.pack("<I", alignment)
        parts += [_string(key), struct.pack("<I", kind), payload]
    offset, names = 0, set()
    for tensor in tensors:
        _check(tensor)
        if tensor.name in names:
            raise FormatError(message("write_gguf", f"tensor {tensor.name!r} appears twice"))
        names.add(tensor.name)
        sizes = tensor.shape[::-1]
        parts.append(_string(tensor.name))
        parts.append(struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes))
        parts.append(struct.pack("<IQ", tensor.dtype.ggml_id, offset))
        offset += tensor.nbytes + -tensor.nbytes % alignment
    head = b"".join(parts)
    return head + bytes(-len(head) % alignment)


def _check(tensor: Outgoing) -> None:
    what = f"tensor {tensor.name!r}"
    if tensor.dtype.ggml_id is None:
        problem = f"{what} is {tensor.dtype.name}, which the format does not have"
        raise DTypeError(message("write_gguf", problem))
    if not 0 < len(tensor.name.encode()) < NAME_BYTES:
        problem = f"{what} has a name of {len(tensor.name.encode())} bytes"
        raise FormatError(message("write_gguf", problem, f"1 to {NAME_BYTES - 1} are read"))
    if len(tensor.shape) > TENSOR_DIMS:
        problem = f"{what} {tensor.shape} has more than {TENSOR_DIMS} dimensions"
        raise ShapeError(message("write_gguf", problem))
    columns = tensor.shape[-1] if tensor.shape else 1
    if columns % tensor.dtype.block:
        rule = f"{columns} columns are not whole blocks of {tensor.dtype.block}"
        raise ShapeError(message("write_gguf", f"{what} as {tensor.dtype.name}", rule))


def _string(text: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        problem = f"a lone surrogate in {short(ascii(text))}"
        raise FormatError(message("write_gguf", problem)) from error
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any, what: str, depth: int = 0) -> tuple[int, bytes]:
    """The number of a value's type, and its bytes."""
    if isinstance(value, bool | np.bool_):
        return BOOL, bytes([bool(value)])
    if isinstance(value, str):
        return STRING, _string(value)
    if not isinstance(value, np.generic):
        if isinstance(value, int):
            value = _narrowest(value, value, what).type(value)
        elif isinstance(value, float):
            value = np.float32(value)
    if isinstance(value, np.generic):
        little = value.dtype.newbyteorder("<")
        if little in _KINDS:
            return _KINDS[little], value.astype(little).tobytes()
    if isinstance(value, list | tuple | np.ndarray):
        return ARRAY, _array(value, what, depth + 1)
    problem = f"{what} is a {type(value).__name__} {short(repr(value))}"
    raise FormatError(message("write_gguf", problem, "the format has no such value"))


def _array(values: Any, what: str, depth: int) -> bytes:
    if depth > ARRAY_DEPTH:
        problem = f"{what} nests arrays more than {ARRAY_DEPTH} deep"
        raise FormatError(message("write_gguf", problem))
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "biuf":
        return _numbers(values, what)
    if all(isinstance(value, str) for value in values):
        head = struct.pack("<IQ", STRING, len(values))
        return head + b"".join(map(_string, values))
    if all(isinstance(value, list | tuple | np.ndarray) for value in values):
        head = struct.pack("<IQ", ARRAY, len(values))
        return head + b"".join(_array(row, what, depth + 1) for row in values)
    if all(isinstance(value, bool | np.bool_) for value in values):
        return _numbers(np.array(values, np.bool_), what)
    if all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        low, high = min(values), max(values)
        kind = _narrowest(low, high, what) if low < 0 or high > 2**31 - 1 else np.dtype("<i4")
        return _numbers(np.array(values, kind), what)
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        return _numbers(np.array(values, np.float32), what)
    raise FormatError(message("write_gguf", f"{what} is a list of several kinds of values"))


def _numbers(values: Array, what: str) -> bytes:
    if values.dtype == np.bool_:
        return struct.pack("<IQ", BOOL, len(values)) + values.tobytes()
    little = values.dtype.newbyteorder("<")
    if little not in _KINDS:
        raise FormatError(message("write_gguf", f"{what} is an array of {values.dtype}"))
    return struct.pack("<IQ", _KINDS[little], len(values)) + values.astype(little).tobytes()


def _narrowest(low: int, high: int, what: str) -> np.dtype[Any]:
    """The first type that holds integers from `low` to `high`, an unsigned one if it can be."""
    kinds = "<u4 <u8" if low >= 0 else "<i4 <i8"
    for kind in map(np.dtype, kinds.split()):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return kind
    problem = f"{what} holds {short(str(low if low < 0 else high))}, which takes over 64 bits"
    raise FormatError(message("write_gguf", problem))
