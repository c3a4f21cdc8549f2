"""GGUF files: metadata and tensors, mapped, and validated in full before a tensor is handed out.

The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeVar

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.io.gguf_header import NUMBERS, Header, read_header
from numbatorch.io.gguf_order import swapped
from numbatorch.io.mapping import Array, TensorInfo, map_file, typed_view
from numbatorch.io.reading import open_file
from numbatorch.ops import blocks

T = TypeVar("T")

PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
PIECE = 1 << 22  # bytes of a file that are read at a time


class _Missing:
    """The default of `GGUFFile.field` that stands for no default."""


_MISSING: Final = _Missing()


class GGUFFile:
    """A GGUF file, or several that are parts of one, mapped into memory.

    Versions 1 to 3 are read, of either byte order. A split file is given by its first part,
    `NAME-00001-of-00003.gguf`, whose metadata is that of the whole; the others lie beside it.

    Attributes:
        path: the file, or the first part.
        paths: the file, or all parts.
        version: of the format.
        alignment: of tensor data in the file, bytes.
        metadata: key to value; numbers, bool and str as Python values, arrays of numbers as
            NumPy arrays, arrays of strings and of arrays as lists.
        tensors: name to TensorInfo, in the order of the file.

    Raises:
        FormatError: anything in the file that does not follow the format; a part that is missing,
            or that does not belong to the others.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._data = {self.path: map_file(self.path)}
        self._header = read_header(self._data[self.path], self.path)
        self.version, self.alignment = self._header.version, self._header.alignment
        self.metadata: Mapping[str, Any] = MappingProxyType(self._header.metadata)
        tensors = self._header.tensors
        if self.metadata.get("split.count", 1) != 1:
            tensors = self._with_other_parts(tensors)
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(tensors)
        self.paths = tuple(self._data)

    def __repr__(self) -> str:
        return f"GGUFFile({str(self.path)!r}, {len(self.tensors)} tensors)"

    def tensor(self, name: str) -> Array:
        """The tensor's elements, read-only: plain types in its shape, block types as bytes
        (..., bytes of a row), both without a copy where the address is aligned and the byte order
        is this system's.

        Raises:
            FormatError: no tensor of that name, or its type is not computed on.
        """
        info = self._info(name)
        if info.dtype.kind == "q" and not blocks.known(info.dtype):
            self._fail(f"tensor {name!r} has type {info.dtype.name}, which is not computed on yet")
        data = self._data[info.path]
        if self._header.order == ">":
            raw = swapped(data[info.offset : info.offset + info.nbytes], info)
            return typed_view(raw, info._replace(offset=0))
        return typed_view(data, info)

    def pieces(self, name: str, piece: int = PIECE) -> Iterator[Array]:
        """The tensor's bytes in little-endian order, read some whole rows at a time.

        Nothing is mapped, so what was read takes no memory once it is let go.

        Args:
            name: of a tensor, of any type.
            piece: bytes to read at a time, about.
        Raises:
            FormatError: no tensor of that name, or the file has become shorter.
        """
        info = self._info(name)
        columns = info.shape[-1] if info.shape else 1
        row = max(info.dtype.nbytes(columns), 1)
        step = max(piece // row, 1) * row
        with open_file(info.path, "gguf") as file:
            file.seek(info.offset)
            for start in range(0, info.nbytes, step):
                size = min(step, info.nbytes - start)
                raw = np.frombuffer(file.read(size), np.uint8)
                if raw.size != size:
                    self._fail(f"the file ends within tensor {name!r}")
                yield swapped(raw, info) if self._header.order == ">" else raw

    def typed_metadata(self) -> dict[str, Any]:
        """The metadata with numbers as NumPy scalars of the types that they have in the file."""
        kinds = self._header.kinds
        return {
            key: np.dtype(NUMBERS[kinds[key]]).type(value) if kinds[key] in NUMBERS else value
            for key, value in self.metadata.items()
        }

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

    def _info(self, name: str) -> TensorInfo:
        info = self.tensors.get(name)
        if info is None:
            self._fail(f"no tensor {name!r}")
        return info

    def _with_other_parts(self, tensors: dict[str, TensorInfo]) -> dict[str, TensorInfo]:
        """The tensors of all parts; those of later ones are read into `_data`."""
        count, number = self.field("split.count", int), self.field("split.no", int, 0)
        match = PART.fullmatch(self.path.name)
        if match is None or (int(match["number"]), int(match["count"])) != (number + 1, count):
            rule = f"a name that ends in -{number + 1:05}-of-{count:05}.gguf"
            self._fail(f"part {number + 1} of {count} has another name", rule)
        first = self.path.with_name(_part(match["stem"], 1, count))
        if number:
            self._fail(f"part {number + 1} of {count}", f"a split file is given by part 1, {first}")
        found = dict(tensors)
        for part in range(2, count + 1):
            other = self.path.with_name(_part(match["stem"], part, count))
            header = self._open_part(other, part, count)
            for name, info in header.tensors.items():
                if name in found:
                    self._fail(f"tensor {name!r} is in two parts", f"part {other}")
                found[name] = info
        total = self.field("split.tensors.count", int, len(found))
        if total != len(found):
            self._fail(f"split.tensors.count is {total}, the parts have {len(found)} tensors")
        return found

    def _open_part(self, path: Path, part: int, count: int) -> Header:
        try:
            data = map_file(path)
        except FileNotFoundError:
            self._fail(f"part {part} of {count} is missing", f"part {path}")
        header = read_header(data, path)
        self._data[path] = data
        for key, wanted in (("split.no", part - 1), ("split.count", count)):
            if header.metadata.get(key) != wanted:
                problem = f"{key} is {header.metadata.get(key)!r} in part {part}, not {wanted}"
                self._fail(problem, f"part {path}")
        if header.order != self._header.order:
            self._fail("the parts have different byte orders", f"part {path}")
        return header

    def _fail(self, problem: str, *rows: str) -> NoReturn:
        raise FormatError(message("gguf", problem, f"file {self.path}", *rows))


def _part(stem: str, number: int, count: int) -> str:
    """The name of a part of a split file."""
    return f"{stem}-{number:05}-of-{count:05}.gguf"
