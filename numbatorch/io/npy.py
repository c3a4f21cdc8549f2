"""NumPy's files: npy, one array, and npz, a zip archive of them. Pickled objects are refused.

The format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

from __future__ import annotations

import ast
import math
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import IO, Any, NamedTuple, NoReturn

import numpy as np

from numbatorch import dtype
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, FormatError, message
from numbatorch.io.archive import Archive, Entry
from numbatorch.io.mapping import Array, map_file
from numbatorch.io.reading import short, short_repr
from numbatorch.shape import Shape

OPERATOR = "load"
MAGIC = b"\x93NUMPY"
HEADER_LIMIT = 10_000  # bytes, NumPy's
DIMS_LIMIT = 64  # NumPy's
LARGEST = 2**63 - 1
_TYPES = re.compile(r"[<>|=]?([biufc][0-9]{1,2}|\?)")

Fail = Callable[[str, int], NoReturn]


class Header(NamedTuple):
    """What an npy file says of its array.

    Attributes:
        dtype: of the elements.
        swapped: whether their bytes are in big-endian order.
        columns: whether the first dimension runs fastest.
        shape: of the array.
        size: bytes before the elements.
    """

    dtype: DType
    swapped: bool
    columns: bool
    shape: Shape
    size: int

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(start: bytes, fail: Fail) -> Header:
    """The header of an npy file, from its first bytes."""
    if start[:6] != MAGIC or len(start) < 10:
        fail("not an npy file", 0)
    version = start[6]
    if version not in (1, 2, 3) or start[7]:
        fail(f"version {version}.{start[7]} of npy is unknown", 6)
    behind = 10 if version == 1 else 12
    length = int.from_bytes(start[8:behind], "little")
    if length > HEADER_LIMIT:
        fail(f"a header of {length} bytes is above the limit of {HEADER_LIMIT}", 8)
    if len(start) < behind + length:
        fail(f"a header of {length} bytes is cut short", 8)
    try:
        text = start[behind : behind + length].decode("utf-8" if version == 3 else "latin-1")
        said = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        fail("the header is no dict of Python", behind)
    if not isinstance(said, dict) or set(said) != {"descr", "fortran_order", "shape"}:
        fail("the header does not have descr, fortran_order and shape", behind)
    kind, swapped = _element_type(said["descr"], fail, behind)
    shape, columns = said["shape"], said["fortran_order"]
    plain = type(shape) is tuple and len(shape) <= DIMS_LIMIT and type(columns) is bool
    if not plain or not all(type(size) is int and 0 <= size <= LARGEST for size in shape):
        fail(f"the header has the impossible shape {short_repr(shape)}", behind)
    if math.prod(max(size, 1) for size in shape) * kind.itemsize > LARGEST:
        fail(f"the header has the impossible shape {short_repr(shape)}", behind)
    return Header(kind, swapped, columns, shape, behind + length)


def _element_type(descr: Any, fail: Fail, at: int) -> tuple[DType, bool]:
    if isinstance(descr, str) and descr.lstrip("<>|=").startswith("O"):
        fail("holds Python objects as a pickle, which is not read", at)
    if not isinstance(descr, str) or not _TYPES.fullmatch(descr):
        fail(f"elements of {short_repr(descr)} have no dtype here", at)
    try:
        kind = np.dtype(descr)
        found = dtype.from_numpy(kind.newbyteorder("<"))
    except (DTypeError, TypeError):
        fail(f"elements of {short_repr(descr)} have no dtype here", at)
    return found, kind.byteorder == ">"


def _elements(raw: Array, header: Header, fail: Fail) -> Array:
    """The array of the bytes behind a header, read-only."""
    if raw.size != header.nbytes:
        shape = f"{header.dtype.name} {short(str(header.shape))}"
        fail(f"{shape} takes {header.nbytes} bytes, not {raw.size}", header.size)
    element = header.dtype.numpy
    if header.dtype.kind == "b" and raw.size and raw.max() > 1:
        fail("a bool is neither 0 nor 1", header.size)
    if raw.ctypes.data % element.alignment:
        raw = raw.copy()
    array = raw.view(element.newbyteorder(">") if header.swapped else element)
    array = array.reshape(header.shape, order="F" if header.columns else "C")
    if header.swapped:
        array = array.astype(element)
    array.flags.writeable = False
    return array


def load_npy(path: Path, data: Array, alone: bool = True) -> tuple[Array, int]:
    """The array of an npy file with these bytes, read-only, and how many of them are its own.

    Args:
        alone: whether nothing may follow it.
    Raises:
        FormatError: the file does not follow the format, or holds pickled objects.
    """

    def fail(problem: str, at: int) -> NoReturn:
        raise FormatError(message(OPERATOR, problem, f"file {path}, byte {at}"))

    header = read_header(data[: HEADER_LIMIT + 12].tobytes(), fail)
    end = data.size if alone else min(header.size + header.nbytes, data.size)
    return _elements(data[header.size : end], header, fail), end


class NpzFile:
    """The arrays of an npz file, by name; each is read when it is asked for.

    Attributes:
        path: the file.
        headers: what each array is.

    Raises:
        FormatError: the archive or a header does not follow its format, or has pickled objects.
    """

    def __init__(self, path: str | os.PathLike[str], data: Array | None = None) -> None:
        self.path = Path(path)
        whole = map_file(self.path) if data is None else data
        self._archive = Archive(OPERATOR, self.path, whole, "an npz file")
        self._entries: dict[str, Entry] = {}
        self.headers: dict[str, Header] = {}
        for name, entry in self._archive.entries.items():
            if not name.endswith(".npy"):
                self._archive.fail(f"entry {short(name)!r} is no array", entry.offset)
            key = name.removesuffix(".npy")
            start = self._archive.start(entry, HEADER_LIMIT + 12)
            self._entries[key] = entry
            self.headers[key] = read_header(start, self._failing(entry))

    def __repr__(self) -> str:
        return f"NpzFile({str(self.path)!r}, {len(self.headers)} arrays)"

    def array(self, name: str) -> Array:
        """An array, read-only: mapped where it is not compressed.

        Raises:
            FormatError: the bytes are not those of the header, or have another check sum.
        """
        entry, header = self._entries[name], self.headers[name]
        fail = self._failing(entry)
        if header.size + header.nbytes != entry.nbytes:
            shape = f"{header.dtype.name} {short(str(header.shape))}"
            taken = entry.nbytes - header.size
            fail(f"{shape} takes {header.nbytes} bytes, not {taken}", header.size)
        if entry.deflated:
            raw = np.frombuffer(self._archive.read(entry), np.uint8)
        else:
            raw = self._archive.stored(entry)
        return _elements(raw[header.size :], header, fail)

    def _failing(self, entry: Entry) -> Fail:
        def fail(problem: str, at: int) -> NoReturn:
            place = f"file {self.path}, entry {short(entry.name)!r} from byte {entry.offset}"
            raise FormatError(message(OPERATOR, problem, f"{place}, byte {at} of it"))

        return fail


def _writable(operator: str, name: str, array: Array) -> Array:
    if array.dtype.isbuiltin != 1:  # but one of ml_dtypes, whose kind may be "f" as well
        problem = f"npy has no type for {name}, which is {array.dtype}"
        hint = ".float() of it is float32"
        raise DTypeError(message(operator, problem, hint=hint))
    return array


def _write(file: IO[bytes], array: Array) -> None:
    # To a file of the system NumPy writes by C, and its errors do not say that the disk is full.
    stream: Any = SimpleNamespace(write=file.write)
    np.lib.format.write_array(stream, array, allow_pickle=False)


def write_npy(file: IO[bytes], array: Array) -> None:
    """Write what an npy file holds.

    Raises:
        DTypeError: the format has no type for the elements, as for bfloat16.
    """
    _write(file, _writable("save", "the tensor", array))


def write_npz(file: IO[bytes], arrays: Mapping[str, Array], compressed: bool = False) -> None:
    """Write what an npz file holds; the same arrays give the same bytes.

    Raises:
        DTypeError: the format has no type for the elements of an array, as for bfloat16.
        ValueError: a name leads out of a folder, as in ../x.
    """
    for name, array in arrays.items():
        _writable("save", repr(name), array)
        parts = PurePosixPath(name.replace("\\", "/"))
        if not name or parts.is_absolute() or ".." in parts.parts or not name.isprintable():
            raise ValueError(message("save", f"no entry of an archive is called {name!r}"))
    method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            info.compress_type = method
            with archive.open(info, "w", force_zip64=True) as entry:
                _write(entry, array)
