"""GGUF files: metadata and tensors, mapped, and validated in full before a tensor is handed out.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeVar

import numpy as np

from numbatorch import dtype
from numbatorch.errors import FormatError, message
from numbatorch.io.mapping import Array, TensorInfo, map_file, typed_view
from numbatorch.ops import blocks

T = TypeVar("T")

# Value types of metadata, by number: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
BOOL, STRING, ARRAY = 7, 8, 9
STRUCTS = {kind: struct.Struct("<" + letter) for kind, letter in NUMBERS.items()}
ARRAY_DEPTH = 4
KEY_BYTES = 65535
TENSOR_DIMS = 4
LARGEST = 2**63 - 1


class _Missing:
    """The default of `GGUFFile.field` that stands for no default."""


_MISSING: Final = _Missing()


class GGUFFile:
    """A GGUF file of version 2 or 3, mapped into memory.

    Attributes:
        path: the file.
        version: of the format, 2 or 3.
        alignment: of tensor data in the file, bytes.
        metadata: key to value; numbers, bool and str as Python values, arrays of numbers as
            NumPy arrays, arrays of strings and of arrays as lists.
        tensors: name to TensorInfo, in the order of the file.

    Raises:
        FormatError: anything in the file that does not follow the format.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._data = map_file(self.path)
        cursor = _Cursor(self._data, self.path)
        self.version = cursor.version()
        tensor_count = cursor.count("tensors", least=24)
        key_count = cursor.count("metadata keys", least=13)
        self.metadata: Mapping[str, Any] = MappingProxyType(cursor.metadata(key_count))
        self.alignment = _alignment(self.metadata, cursor)
        infos = [cursor.tensor() for _ in range(tensor_count)]
        start = cursor.position + -cursor.position % self.alignment
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(
            _placed(infos, start, self.alignment, self._data.size, cursor)
        )

    def __repr__(self) -> str:
        return f"GGUFFile({str(self.path)!r}, {len(self.tensors)} tensors)"

    def tensor(self, name: str) -> Array:
        """The tensor's elements, read-only: plain types in its shape, block types as bytes
        (..., bytes of a row), both without a copy where the address is aligned.

        Raises:
            FormatError: no tensor of that name, or its type is not computed on.
        """
        info = self.tensors.get(name)
        if info is None:
            self._fail(f"no tensor {name!r}")
        if info.dtype.kind == "q" and not blocks.known(info.dtype):
            self._fail(f"tensor {name!r} has type {info.dtype.name}, which is not computed on yet")
        return typed_view(self._data, info)

    def field(self, key: str, kind: type[T], default: T | _Missing = _MISSING) -> T:
        """The metadata value of a key as an instance of `kind`; integers serve as floats.

        Raises:
            FormatError: the key is missing and there is no default, or its type differs.
        """
        value = self.metadata.get(key, default)
        if isinstance(value, _Missing):
            self._fail(f"metadata key {key!r} is missing")
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            found = type(value).__name__
            self._fail(f"metadata key {key!r} is of type {found} instead of {kind.__name__}")
        return value

    def _fail(self, problem: str) -> NoReturn:
        raise FormatError(message("gguf", problem, f"file {self.path}"))


class _Cursor:
    """A position in the file; each read checks that it stays inside."""

    def __init__(self, data: Array, path: Path) -> None:
        self.buffer = data.data
        self.path = path
        self.position = 0
        self.end = data.size

    def fail(self, problem: str, *rows: str, at: int | None = None) -> NoReturn:
        place = f"file {self.path}, byte {self.position if at is None else at}"
        raise FormatError(message("gguf", problem, place, *rows))

    def take(self, nbytes: int, what: str) -> int:
        """Step over `nbytes` and give where they begin."""
        start = self.position
        if nbytes > self.end - start:
            self.fail(f"{what} of {nbytes} bytes goes beyond the end of the file, {self.end} bytes")
        self.position = start + nbytes
        return start

    def number(self, kind: int, what: str) -> Any:
        layout = STRUCTS[kind]
        return layout.unpack_from(self.buffer, self.take(layout.size, what))[0]

    def version(self) -> int:
        magic = bytes(self.buffer[self.take(4, "magic") : 4])
        if magic != b"GGUF":
            self.fail(f"the file begins with {magic!r} instead of b'GGUF'", at=0)
        version: int = self.number(4, "version")
        if version and not version & 0xFFFF:
            self.fail("a big-endian file, which is not supported", at=4)
        if version not in (2, 3):
            self.fail(f"version {version}, where 2 and 3 are supported", at=4)
        return version

    def count(self, what: str, least: int) -> int:
        """A 64-bit count of things that take at least `least` bytes each."""
        count: int = self.number(10, f"count of {what}")
        if count * least > self.end - self.position:
            self.fail(f"{count} {what} do not fit in the file of {self.end} bytes")
        return count

    def string(self, what: str) -> str:
        length: int = self.number(10, f"length of {what}")
        start = self.take(length, what)
        return self.decoded(self.buffer[start : start + length], start, what)

    def decoded(self, data: memoryview, start: int, what: str) -> str:
        """The text of bytes that stand in the file from `start` on."""
        try:
            return str(data, "utf-8")
        except UnicodeDecodeError as error:
            self.fail(f"{what} is not UTF-8: {error.reason}", at=start + error.start)

    def metadata(self, count: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for _ in range(count):
            start = self.position
            key = self.string("a metadata key")
            if not key or self.position - start - 8 > KEY_BYTES:
                self.fail(f"a metadata key has {self.position - start - 8} bytes", at=start)
            if key in found:
                self.fail(f"metadata key {key!r} appears twice", at=start)
            found[key] = self.value(self.number(4, f"type of {key}"), f"metadata {key!r}")
        return found

    def value(self, kind: int, what: str, depth: int = 0) -> Any:
        if kind in NUMBERS:
            return self.number(kind, what)
        if kind == STRING:
            return self.string(what)
        if kind == BOOL:
            byte = self.buffer[self.take(1, what)]
            if byte > 1:
                self.fail(f"{what} is a bool with the byte {byte}", at=self.position - 1)
            return byte == 1
        if kind == ARRAY:
            return self.array(what, depth + 1)
        return self.fail(f"{what} has the unknown type {kind}", at=self.position - 4)

    def array(self, what: str, depth: int) -> Any:
        if depth > ARRAY_DEPTH:
            self.fail(f"{what} nests arrays more than {ARRAY_DEPTH} deep")
        kind: int = self.number(4, f"element type of {what}")
        if kind in NUMBERS or kind == BOOL:
            element = np.dtype("<" + NUMBERS[kind] if kind != BOOL else "u1")
            count = self.count(f"elements of {what}", element.itemsize)
            start = self.take(count * element.itemsize, what)
            values = np.frombuffer(self.buffer, element, count, start).copy()
            if kind == BOOL and values.size and values.max() > 1:
                self.fail(f"{what} holds a bool that is not 0 or 1", at=start)
            values.flags.writeable = False
            return values.view(np.bool_) if kind == BOOL else values
        if kind == STRING:
            return self.strings(self.count(f"strings of {what}", 8), what)
        if kind == ARRAY:
            return [self.array(what, depth + 1) for _ in range(self.count(f"rows of {what}", 12))]
        return self.fail(f"{what} has elements of the unknown type {kind}", at=self.position - 4)

    def strings(self, count: int, what: str) -> list[str]:
        """`count` strings; a vocabulary has 32000 and more of them, hence two ways."""
        return self.short_strings(count, what) or self.strings_one_by_one(count, what)

    def short_strings(self, count: int, what: str) -> list[str] | None:
        """As `strings` where all have 1 to 255 bytes and none holds a NUL, else None.

        Then seven NULs follow the one byte of each length, and no other byte is NUL: with the
        lengths made NUL too, one decode checks the whole run and one split cuts it.
        """
        start, size = self.position, 24 * count
        while True:
            run = np.frombuffer(self.buffer, np.uint8, min(size, self.end - start), start)
            nuls = np.flatnonzero(run == 0)[: 7 * count]
            if len(nuls) == 7 * count or size >= min(263 * count, self.end - start):
                break
            size *= 2
        if not count or len(nuls) < 7 * count or not nuls[0]:
            return None
        frames = nuls[::7] - 1  # where lengths are
        after = frames + 8 + run[frames]
        framed = frames[0] == 0 and bool((after[:-1] == frames[1:]).all())
        if not framed or (nuls[6::7] - frames != 7).any() or after[-1] > len(run):
            return None
        text = run[: after[-1]].copy()
        text[frames] = 0
        self.position += len(text)
        found = self.decoded(text.data, start, what).split("\0" * 8, count)
        return found[1:]

    def strings_one_by_one(self, count: int, what: str) -> list[str]:
        found = []
        for _ in range(count):
            if self.position + 8 > self.end:
                self.fail(f"{what} goes beyond the end of the file")
            found.append(self.string(what))
        return found

    def tensor(self) -> TensorInfo:
        """One record of the tensor table; its offset counts from the start of the data."""
        start = self.position
        name = self.string("a tensor name")
        what = f"tensor {name!r}"
        dims = self.number(4, f"dimensions of {what}")
        if dims > TENSOR_DIMS:
            self.fail(f"{what} has {dims} dimensions, more than {TENSOR_DIMS}", at=start)
        shape = tuple(self.number(10, f"shape of {what}") for _ in range(dims))[::-1]
        number = self.number(4, f"type of {what}")
        element = dtype.numbered(number)
        if element is None:
            self.fail(f"{what} has the unknown type {number}", at=self.position - 4)
        if math.prod(max(size, 1) for size in shape) * element.itemsize > LARGEST:
            self.fail(f"{what} has too many elements: {shape}", at=start)
        row = shape[-1] if shape else 1
        if row % element.block:
            problem = f"rows of {row} elements are not whole {element.name} blocks"
            self.fail(f"{what}: {problem} of {element.block}", at=start)
        offset = self.number(10, f"offset of {what}")
        return TensorInfo(name, element, shape, offset, element.nbytes(math.prod(shape)), self.path)


def _alignment(metadata: Mapping[str, Any], cursor: _Cursor) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or isinstance(alignment, bool):
        cursor.fail(f"general.alignment is {alignment!r}, not an integer")
    if alignment < 1 or alignment & (alignment - 1):
        cursor.fail(f"general.alignment is {alignment}, not a power of two")
    return alignment


def _placed(
    infos: list[TensorInfo], start: int, alignment: int, end: int, cursor: _Cursor
) -> dict[str, TensorInfo]:
    """The tensors with offsets from the start of the file, none outside and none over another."""
    found: dict[str, TensorInfo] = {}
    for info in infos:
        what = f"tensor {info.name!r}"
        offset = start + info.offset
        if info.name in found:
            cursor.fail(f"{what} appears twice")
        if info.offset % alignment:
            cursor.fail(f"{what} has offset {info.offset}, no multiple of {alignment}")
        if offset + info.nbytes > end:
            cursor.fail(f"{what} ends at byte {offset + info.nbytes} of {end}", at=offset)
        found[info.name] = TensorInfo(
            info.name, info.dtype, info.shape, offset, info.nbytes, info.path
        )
    previous = None
    for info in sorted(found.values(), key=lambda info: info.offset):
        if not info.nbytes:
            continue
        if previous is not None and info.offset < previous.offset + previous.nbytes:
            cursor.fail(f"tensors {previous.name!r} and {info.name!r} overlap", at=info.offset)
        previous = info
    return found
