"""What is in a weights file of any format, in one form: its tensors, and their values by pieces."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.io.ggjt import MAGIC as GGJT
from numbatorch.io.ggjt import GGJTFile
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_writing import Outgoing
from numbatorch.io.mapping import Array
from numbatorch.io.npy import MAGIC, NpzFile
from numbatorch.io.packed import types_in
from numbatorch.io.reading import open_file
from numbatorch.io.safetensors import (
    Checkpoint,
    SafetensorsFile,
    ShardedCheckpoint,
    open_checkpoint,
)
from numbatorch.io.tensors import PYTORCH, ZIP, load
from numbatorch.io.torch_file import STARTS
from numbatorch.ops import blocks
from numbatorch.shape import Shape, numel
from numbatorch.tensor import Tensor

KNOWN = "known are .gguf, ggjt, .safetensors, .npz, .npy, .pth and .dat of imatrix"
DEPTH = 16  # of containers in a file of PyTorch
PIECE = 1 << 18  # elements of a tensor that are looked at together


@dataclass(frozen=True)
class Row:
    """A tensor: its name, type, shape and size.

    Attributes:
        pieces: gives the values in any order of rows, as arrays of numbers.
    """

    name: str
    dtype: str
    shape: Shape
    nbytes: int
    pieces: Callable[[], Iterator[Array]]


@dataclass(frozen=True)
class Listing:
    """A file.

    Attributes:
        kind: its format, for people.
        metadata: key to value.
        rows: its tensors.
        gguf: the open file, where it is of that format.
    """

    path: Path
    kind: str
    metadata: Mapping[str, Any]
    rows: list[Row]
    gguf: GGUFFile | None = None


def listed(path: str | os.PathLike[str]) -> Listing:
    """What a file, an index of shards or a folder with weights holds.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is of another kind, or malformed.
    """
    path = Path(path)
    if os.path.isdir(path):  # of a path that is too long it says no, where Path raises
        return _of_checkpoint(open_checkpoint(path))
    if path.name.endswith(".safetensors.index.json"):
        return _of_checkpoint(ShardedCheckpoint(path))
    try:
        with open_file(path, "inspect") as file:
            start = file.read(16)
    except FileNotFoundError:
        problem = message("inspect", "no such file or folder", f"path {path}")
        raise FileNotFoundError(problem) from None
    if start.startswith(b"GGUF") or path.suffix == ".gguf":
        return _of_gguf(GGUFFile(path))
    if start.startswith(GGJT):
        return _of_ggjt(GGJTFile(path))
    if path.suffix == ".safetensors":
        return _of_checkpoint(SafetensorsFile(path))
    if start.startswith(MAGIC):
        return Listing(path, "npy", {}, [_of_tensor(path.stem, load(path))])
    if start.startswith(ZIP) and path.suffix == ".npz":
        return _of_npz(NpzFile(path))
    if start.startswith((*ZIP, *STARTS)) and path.suffix.lower() in (*PYTORCH, ""):
        return _of_torch(path)
    rows = (
        f"file {path}",
        KNOWN,
    )
    raise FormatError(message("inspect", "not a weights file", *rows))


def _of_gguf(file: GGUFFile) -> Listing:
    kind = f"GGUF version {file.version}"
    if len(file.paths) > 1:
        kind += f" in {len(file.paths)} parts"

    def pieces(name: str) -> Iterator[Array]:
        info = file.tensors[name]
        columns = info.shape[-1] if info.shape else 1
        for raw in file.pieces(name, PIECE):
            if info.dtype.kind in "fq":
                row = info.dtype.nbytes(columns)
                yield blocks.dequantize(raw, info.dtype, (raw.size // max(row, 1), columns))
            else:
                yield raw.view(info.dtype.numpy)

    infos = file.tensors.values()
    rows = [
        Row(info.name, info.dtype.name, info.shape, info.nbytes, partial(pieces, info.name))
        for info in infos
    ]
    return Listing(file.path, kind, file.metadata, rows, file)


def _of_ggjt(file: GGJTFile) -> Listing:
    def pieces(tensor: Outgoing) -> Iterator[Array]:
        columns = tensor.shape[-1]
        for piece in tensor.pieces():
            raw = piece.reshape(-1).view(np.uint8)
            rows = raw.size // tensor.dtype.nbytes(columns)
            yield blocks.dequantize(raw, tensor.dtype, (rows, columns))

    rows = [
        Row(each.name, stored.type, each.shape, stored.nbytes, partial(pieces, each))
        for each in file.tensors
        for stored in [file.stored[each.name]]
    ]
    return Listing(file.path, f"ggjt version {file.version}", file.metadata, rows)


def _of_checkpoint(file: Checkpoint) -> Listing:
    kind = "safetensors"
    if isinstance(file, ShardedCheckpoint):
        kind += f" in {len({info.path for info in file.tensors.values()})} shards"

    try:
        packed = types_in(file.metadata, Path(file.path))
    except FormatError:  # such as a type that nobody here declared: its bytes are listed
        packed = {}

    def pieces(name: str) -> Iterator[Array]:
        if name not in packed:
            yield from _cut(file.tensor(name))
            return
        element, shape = packed[name]
        rows = file.tensor(name).reshape(-1, element.nbytes(shape[-1]))
        step = max(PIECE // max(rows.shape[1], 1), 1)
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            yield blocks.dequantize(part, element, (len(part), shape[-1]))

    rows = []
    for info in file.tensors.values():
        element, shape = packed.get(info.name, (info.dtype, info.shape))
        rows.append(Row(info.name, element.name, shape, info.nbytes, partial(pieces, info.name)))
    return Listing(Path(file.path), kind, file.metadata, rows)


def _of_npz(file: NpzFile) -> Listing:
    def pieces(name: str) -> Iterator[Array]:
        return _cut(file.array(name))

    rows = [
        Row(name, header.dtype.name, header.shape, header.nbytes, partial(pieces, name))
        for name, header in file.headers.items()
    ]
    return Listing(file.path, "npz", {}, rows)


def _of_torch(path: Path) -> Listing:
    metadata: dict[str, Any] = {}
    rows: list[Row] = []

    def walk(name: str, value: Any, depth: int) -> None:
        if isinstance(value, Tensor):
            rows.append(_of_tensor(name, value))
        elif isinstance(value, Mapping | list | tuple) and depth < DEPTH:
            pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
            for key, inner in pairs:
                walk(f"{name}.{key}" if name else str(key), inner, depth + 1)
        else:
            metadata[name] = value

    walk("", load(path), 0)
    return Listing(path, "a file of PyTorch", metadata, rows)


def _of_tensor(name: str, tensor: Tensor) -> Row:
    nbytes = tensor.dtype.nbytes(numel(tensor.shape))

    def pieces() -> Iterator[Array]:
        return _cut(tensor.detach().numpy())

    return Row(name, tensor.dtype.name, tuple(tensor.shape), nbytes, pieces)


def _cut(array: Array) -> Iterator[Array]:
    flat = array.reshape(-1)
    for start in range(0, flat.size, PIECE):
        yield np.asarray(flat[start : start + PIECE])
