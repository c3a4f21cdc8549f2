"""safetensors files: mapped, validated in full, single or sharded; and saving.

The format: https://github.com/huggingface/safetensors#format
"""

import json
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PureWindowsPath
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from numbatorch import dtype
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, FormatError, message
from numbatorch.io.mapping import Array, TensorInfo, map_file, typed_view
from numbatorch.io.reading import parse_json, read_json, short
from numbatorch.io.writing import replaced
from numbatorch.shape import Shape

TYPES = {
    "C64": dtype.complex64,
    "F64": dtype.float64,
    "F32": dtype.float32,
    "F16": dtype.float16,
    "BF16": dtype.bfloat16,
    "F8_E4M3": dtype.float8_e4m3fn,
    "F8_E5M2": dtype.float8_e5m2,
    "I64": dtype.int64,
    "I32": dtype.int32,
    "I16": dtype.int16,
    "I8": dtype.int8,
    "U64": dtype.uint64,
    "U32": dtype.uint32,
    "U16": dtype.uint16,
    "U8": dtype.uint8,
    "BOOL": dtype.bool_,
    "F8_E8M0": dtype.float8_e8m0fnu,
    "F8_E4M3FNUZ": dtype.float8_e4m3fnuz,
    "F8_E5M2FNUZ": dtype.float8_e5m2fnuz,
}
NAMES = {kind: name for name, kind in TYPES.items()}
# Two numbers lie in a byte of the file, the first in its low bits.
FLOAT4 = DType("F4", "q", 1, 2)
# Types of the format that nothing here computes on: `inspect` shows them.
NOT_COMPUTED = {
    name: DType(name, "q", itemsize, block)
    for name, itemsize, block in (
        ("F6_E2M3", 3, 4),
        ("F6_E3M2", 3, 4),
    )
}
HEADER_LIMIT = 100_000_000  # bytes, as in the safetensors library
DIMS_LIMIT = 64  # NumPy's
LARGEST = 2**63 - 1
NAME_BYTES = 255  # of a file, as most systems have it
INDEX = "model.safetensors.index.json"


class SafetensorsFile:
    """A safetensors file, mapped into memory.

    Attributes:
        path: the file.
        metadata: the free text that the file carries, str to str.
        tensors: name to TensorInfo, in the order of the header.

    Raises:
        FormatError: anything in the file that does not follow the format.
    """

    def __init__(self, path: str | os.PathLike[str], data: Array | None = None) -> None:
        self.path = Path(path)
        self._data = map_file(self.path) if data is None else data
        start, header = self._header()
        text = header.pop("__metadata__", {})
        if not _is_text(text):
            self._fail("__metadata__ is not a map of str to str")
        self.metadata: Mapping[str, str] = MappingProxyType(text)
        infos = {name: self._info(name, record, start) for name, record in header.items()}
        self._check_offsets(infos, start)
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(infos)

    def __repr__(self) -> str:
        return f"SafetensorsFile({str(self.path)!r}, {len(self.tensors)} tensors)"

    def tensor(self, name: str) -> Array:
        """The tensor's elements, read-only, without a copy where the address is aligned.

        Raises:
            FormatError: no tensor of that name, or its type is not computed on.
        """
        info = self.tensors.get(name)
        if info is None:
            self._fail(f"no tensor {name!r}")
        if info.dtype.name in NOT_COMPUTED:
            self._fail(f"tensor {name!r} has type {info.dtype.name}, which is not computed on yet")
        if info.dtype is FLOAT4:
            return _unpacked(self._data[info.offset : info.offset + info.nbytes], info.shape)
        return typed_view(self._data, info)

    def _fail(self, problem: str, at: int | None = None) -> NoReturn:
        place = f"file {self.path}" + ("" if at is None else f", byte {at}")
        raise FormatError(message("safetensors", problem, place))

    def _header(self) -> tuple[int, dict[str, Any]]:
        """Where the data begins, and the header's map."""
        size = self._data.size
        if size < 8:
            self._fail(f"a file of {size} bytes has no header")
        length = int.from_bytes(self._data[:8].tobytes(), "little")
        if length > HEADER_LIMIT:
            self._fail(f"header length {length} is above the limit of {HEADER_LIMIT}", at=0)
        if length > size - 8:
            self._fail(f"header of {length} bytes in a file of {size} bytes", at=0)
        raw = self._data[8 : 8 + length].tobytes()
        if not raw.startswith(b"{"):
            self._fail("the header does not begin with '{'", at=8)
        try:
            header = parse_json(raw, constant=_refuse)
        except ValueError as error:
            self._fail(f"the header is not valid JSON: {error}", at=8)
        return 8 + length, header

    def _info(self, name: str, record: Any, start: int) -> TensorInfo:
        what = f"tensor {name!r}"
        if not isinstance(record, dict) or not {"dtype", "shape", "data_offsets"} <= record.keys():
            self._fail(f"{what} has no dtype, shape and data_offsets")
        kind, shape, offsets = record["dtype"], record["shape"], record["data_offsets"]
        element = None
        if isinstance(kind, str):
            known = TYPES.get(kind) or NOT_COMPUTED.get(kind)
            element = FLOAT4 if kind == "F4" else known
        if element is None:
            self._fail(f"{what} has the unknown dtype {kind!r}")
        if not _is_sizes(shape) or len(shape) > DIMS_LIMIT:
            self._fail(f"{what} has the impossible shape {str(shape)[:100]}")
        if not _is_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            self._fail(f"{what} has the impossible data_offsets {str(offsets)[:100]}")
        if math.prod(max(size, 1) for size in shape) * element.itemsize > LARGEST:
            self._fail(f"{what} has too many elements: {shape}")
        begin, end = offsets
        bits = math.prod(shape) * element.itemsize * 8
        if bits != (end - begin) * 8 * element.block:
            self._fail(f"{what} {kind} {shape} does not take {end - begin} bytes", at=start + begin)
        return TensorInfo(name, element, tuple(shape), start + begin, end - begin, self.path)

    def _check_offsets(self, infos: Mapping[str, TensorInfo], start: int) -> None:
        """Tensors cover the rest of the file: no hole, no overlap, nothing beyond the end."""
        position = start
        for info in sorted(infos.values(), key=lambda info: (info.offset, info.nbytes)):
            if info.offset != position:
                relation = "overlaps" if info.offset < position else "leaves a hole behind"
                self._fail(f"tensor {info.name!r} {relation} what precedes it", at=info.offset)
            position += info.nbytes
        if position != self._data.size:
            self._fail(f"tensors end at byte {position} of a file of {self._data.size} bytes")


class ShardedCheckpoint:
    """Several safetensors files behind one index file.

    Attributes:
        path: the index file.
        metadata: of the first shard.
        tensors: name to TensorInfo, in the order of the index.
    """

    def __init__(self, index: str | os.PathLike[str]) -> None:
        self.path = Path(index)
        shards = self._weight_map()
        self._files: dict[str, SafetensorsFile] = {}
        infos = {}
        for name, shard in shards.items():
            file = self._files.get(shard)
            if file is None:
                file = self._files[shard] = self._open(shard)
            if name not in file.tensors:
                self._fail(f"tensor {name!r} is not in its shard {shard}")
            infos[name] = file.tensors[name]
        for shard, file in self._files.items():
            for name in file.tensors:
                if shards.get(name) != shard:
                    self._fail(f"tensor {name!r} of shard {shard} is not there in the index")
        self.metadata = next((file.metadata for file in self._files.values()), {})
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(infos)

    def __repr__(self) -> str:
        return f"ShardedCheckpoint({str(self.path)!r}, {len(self.tensors)} tensors)"

    def tensor(self, name: str) -> Array:
        """As `SafetensorsFile.tensor`."""
        info = self.tensors.get(name)
        if info is None:
            self._fail(f"no tensor {name!r}")
        return self._files[info.path.name].tensor(name)

    def _fail(self, problem: str) -> NoReturn:
        raise FormatError(message("safetensors", problem, f"index {self.path}"))

    def _weight_map(self) -> dict[str, str]:
        index = read_json(self.path, "safetensors")
        shards = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(shards, dict) or not _is_text(shards):
            self._fail("weight_map is not a map of tensor names to files")
        return shards

    def _open(self, shard: str) -> SafetensorsFile:
        if not _is_file_name(shard):
            self._fail(f"shard {short(shard)!r} is not the name of a file beside the index")
        try:
            return SafetensorsFile(self.path.parent / shard)
        except FileNotFoundError:
            return self._fail(f"shard {shard} is missing")


Checkpoint = SafetensorsFile | ShardedCheckpoint


def open_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """The safetensors weights of a Hugging Face folder: one file, or shards through their index.

    Raises:
        FormatError: no weights in the folder, a missing shard, or a malformed file.
    """
    folder = Path(folder)
    if (folder / "model.safetensors").exists():
        return SafetensorsFile(folder / "model.safetensors")
    if (folder / INDEX).exists():
        return ShardedCheckpoint(folder / INDEX)
    rows = [f"folder {folder}", f"neither model.safetensors nor {INDEX} is there"]
    rows += [f"found {path.name}, a pickle" for path in sorted(folder.glob("pytorch_model*.bin"))]
    raise FormatError(message("weights", "no safetensors weights", *rows))


def save_safetensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Array],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a safetensors file: whole or not at all, through a file beside it.

    Args:
        path: replaced where it exists; on Windows not while it is mapped.
        tensors: name to array, of any type that safetensors has.
        metadata: str to str.
    Raises:
        DTypeError: an array has a type that the format lacks.
        FormatError: the path is a folder, a pipe or a device.
        ValueError: a name that the format keeps for itself, or that is no text.
        OSError: the disk is full; nothing is left of what was written.
    """
    arrays, text = _to_write(tensors), None if metadata is None else _text(metadata)
    with replaced(path, "save_safetensors") as temporary:
        if _has_narrow(arrays):
            with open(temporary, "wb") as file:
                file.writelines(_parts(arrays, text))
        else:
            _save(temporary, arrays, text)


def _save(path: Path, arrays: dict[str, Array], text: dict[str, str] | None) -> None:
    """Have the library write an existing file, with its permissions and errors that are OSError."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    mode = stat.S_IMODE(path.stat().st_mode)
    try:
        save_file(arrays, path, text)
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number), str(path)) from error
    os.chmod(path, mode)


def write_safetensors(
    tensors: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of the file that `save_safetensors` writes; raises as that."""
    from safetensors.numpy import save

    arrays, text = _to_write(tensors), None if metadata is None else _text(metadata)
    return b"".join(_parts(arrays, text)) if _has_narrow(arrays) else save(arrays, text)


def _to_write(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays, each in row-major order and of a type and a name that the format has."""
    for name, array in tensors.items():
        if name == "__metadata__" or any("\ud800" <= letter <= "\udfff" for letter in name):
            raise ValueError(message("save_safetensors", f"no tensor can have the name {name!a}"))
        try:
            kind = dtype.from_numpy(array.dtype)
            if kind is dtype.float4_e2m1fn:
                if array.size % 2:
                    raise DTypeError(
                        f"two numbers of {kind.name} lie in a byte, here are {array.size}"
                    )
            elif kind not in TYPES.values():
                raise DTypeError(f"the format has no {array.dtype}")
        except DTypeError as error:
            raise DTypeError(message("save_safetensors", f"tensor {name!r}", str(error))) from error
    return {name: np.require(array, requirements="C") for name, array in tensors.items()}


def _has_narrow(arrays: Mapping[str, Array]) -> bool:
    return any(array.dtype == dtype.float4_e2m1fn.elements for array in arrays.values())


def _unpacked(raw: Array, shape: Shape) -> Array:
    """float4_e2m1fn, a byte each, of two in a byte."""
    numbers = np.stack([raw & 15, raw >> 4], axis=-1).reshape(shape)
    found = numbers.view(dtype.float4_e2m1fn.elements)
    found.flags.writeable = False
    return found


def _parts(arrays: Mapping[str, Array], text: dict[str, str] | None) -> Iterator[Any]:
    """The bytes of a file with float4, which the library does not write from arrays of NumPy.

    One after the other: its header, then each array, the widest first.
    """
    order = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    listed = []
    for name, array in order:
        kind = dtype.from_numpy(array.dtype)
        narrow = kind is dtype.float4_e2m1fn
        nbytes = array.size // 2 if narrow else array.nbytes
        listed.append((name, "F4" if narrow else NAMES[kind], array.shape, nbytes))
    yield header_bytes(listed, text)
    for _name, array in order:
        raw: Array = array.reshape(-1).view(np.uint8)
        if array.dtype == dtype.float4_e2m1fn.elements:
            pairs = raw.reshape(-1, 2) & 15
            raw = pairs[:, 0] | pairs[:, 1] << 4
        yield raw.data


def header_bytes(
    tensors: Iterable[tuple[str, str, Shape, int]], text: Mapping[str, str] | None
) -> bytes:
    """How a file begins whose data has tensors one after the other.

    Args:
        tensors: name, type in the format's word, shape, bytes.
        text: the file's metadata.
    """
    header: dict[str, Any] = {} if text is None else {"__metadata__": dict(text)}
    at = 0
    for name, kind, shape, nbytes in tensors:
        offsets = [at, at + nbytes]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": offsets}
        at += nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head


def _text(metadata: Mapping[str, str]) -> dict[str, str]:
    found = dict(metadata)
    if not _is_text(found) or not all(isinstance(key, str) for key in found):
        raise TypeError(message("save_safetensors", "metadata is not str to str"))
    for part in (*found, *found.values()):
        if any("\ud800" <= letter <= "\udfff" for letter in part):
            raise ValueError(message("save_safetensors", f"metadata holds {part!a}, no Unicode"))
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _is_file_name(name: str) -> bool:
    """Whether a name stands for a file beside another, on every system."""
    plain = name not in ("", "..") and PureWindowsPath(name).name == name
    return plain and name.isprintable() and len(name.encode()) <= NAME_BYTES


def _is_text(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _is_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(
        type(size) is int and 0 <= size <= LARGEST for size in value
    )
