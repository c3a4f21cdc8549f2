"""The header of a GGUF file: version, byte order, metadata and the table of tensors, checked whole.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Version 1 counts in 32 bits
where later ones do in 64. A file of a big-endian system holds every number the other way round.
"""

import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from numbatorch import dtype
from numbatorch.errors import FormatError, message
from numbatorch.io.mapping import Array, TensorInfo

# Value types of metadata, by number: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
BOOL, STRING, ARRAY = 7, 8, 9
STRUCTS = {
    order: {kind: struct.Struct(order + letter) for kind, letter in NUMBERS.items()}
    for order in "<>"
}
VERSIONS = (1, 2, 3)
ARRAY_DEPTH = 4
KEY_BYTES = 65535
TENSOR_DIMS = 4
LARGEST = 2**63 - 1


class Header(NamedTuple):
    """What stands before the data of a file.

    Attributes:
        version: of the format.
        order: of bytes, "<" or ">" as in `struct`.
        metadata: key to value.
        kinds: key to the number of its value's type.
        alignment: of tensor data, bytes.
        tensors: name to where it is in the file, in the order of the table.
    """

    version: int
    order: str
    metadata: dict[str, Any]
    kinds: dict[str, int]
    alignment: int
    tensors: dict[str, TensorInfo]


def read_header(data: Array, path: Path) -> Header:
    """The header of a file of these bytes.

    Raises:
        FormatError: anything in it that does not follow the format.
    """
    cursor = Cursor(data, path)
    version = cursor.version()
    tensor_count = cursor.count("tensors", least=8 + 2 * cursor.width)
    key_count = cursor.count("metadata keys", least=5 + cursor.width)
    metadata = cursor.metadata(key_count)
    alignment = _alignment(metadata, cursor)
    infos = [cursor.tensor() for _ in range(tensor_count)]
    start = cursor.position + -cursor.position % alignment
    tensors = _placed(infos, start, alignment, data.size, cursor)
    return Header(version, cursor.order, metadata, cursor.kinds, alignment, tensors)


class Cursor:
    """A position in the file; each read checks that it stays inside."""

    def __init__(self, data: Array, path: Path) -> None:
        self.buffer = data.data
        self.path = path
        self.position = 0
        self.end = data.size
        self.order = "<"
        self.width = 8  # bytes of a count
        self.kinds: dict[str, int] = {}

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
        layout = STRUCTS[self.order][kind]
        return layout.unpack_from(self.buffer, self.take(layout.size, what))[0]

    def version(self) -> int:
        magic = bytes(self.buffer[self.take(4, "magic") : 4])
        if magic != b"GGUF":
            self.fail(f"the file begins with {magic!r} instead of b'GGUF'", at=0)
        version: int = self.number(4, "version")
        if version and not version & 0xFFFF:
            self.order = ">"
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in VERSIONS:
            self.fail(f"version {version}, where 1 to 3 are read", at=4)
        if version == 1:
            self.width = 4
        return version

    def size(self, what: str) -> int:
        """A count or length, as wide as the version has it."""
        found: int = self.number(10 if self.width == 8 else 4, what)
        return found

    def count(self, what: str, least: int) -> int:
        """A count of things that take at least `least` bytes each."""
        count = self.size(f"count of {what}")
        if count * least > self.end - self.position:
            self.fail(f"{count} {what} do not fit in the file of {self.end} bytes")
        return count

    def string(self, what: str) -> str:
        length = self.size(f"length of {what}")
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
            nbytes = self.position - start - self.width
            if not key or nbytes > KEY_BYTES:
                self.fail(f"a metadata key has {nbytes} bytes", at=start)
            if key in found:
                self.fail(f"metadata key {key!r} appears twice", at=start)
            self.kinds[key] = kind = self.number(4, f"type of {key}")
            found[key] = self.value(kind, f"metadata {key!r}")
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
            element = np.dtype(self.order + NUMBERS[kind] if kind != BOOL else "u1")
            count = self.count(f"elements of {what}", element.itemsize)
            start = self.take(count * element.itemsize, what)
            values = np.frombuffer(self.buffer, element, count, start)
            values = values.astype(element.newbyteorder("="))
            if kind == BOOL and values.size and values.max() > 1:
                self.fail(f"{what} holds a bool that is not 0 or 1", at=start)
            values.flags.writeable = False
            return values.view(np.bool_) if kind == BOOL else values
        if kind == STRING:
            return self.strings(self.count(f"strings of {what}", self.width), what)
        if kind == ARRAY:
            rows = self.count(f"rows of {what}", 4 + self.width)
            return [self.array(what, depth + 1) for _ in range(rows)]
        return self.fail(f"{what} has elements of the unknown type {kind}", at=self.position - 4)

    def strings(self, count: int, what: str) -> list[str]:
        """`count` strings; a vocabulary has 32000 and more of them, hence two ways."""
        short = None
        if self.width == 8 and self.order == "<":
            short = self.short_strings(count, what)
        return short or self.strings_one_by_one(count, what)

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
            if self.position + self.width > self.end:
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
        shape = tuple(self.size(f"shape of {what}") for _ in range(dims))[::-1]
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


def _alignment(metadata: Mapping[str, Any], cursor: Cursor) -> int:
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or isinstance(alignment, bool):
        cursor.fail(f"general.alignment is {alignment!r}, not an integer")
    if alignment < 1 or alignment & (alignment - 1):
        cursor.fail(f"general.alignment is {alignment}, not a power of two")
    return alignment


def _placed(
    infos: list[TensorInfo], start: int, alignment: int, end: int, cursor: Cursor
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
