"""`numbatorch.save` and `load`: tensors in files of safetensors, NumPy, PyTorch and GGUF."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from numbatorch.device import Device
from numbatorch.device import device as as_device
from numbatorch.errors import DTypeError, FormatError, message
from numbatorch.graph import find
from numbatorch.io.archive import Archive
from numbatorch.io.gguf_tensors import load_gguf, save_gguf
from numbatorch.io.mapping import Array, Source, called, read_source
from numbatorch.io.npy import MAGIC, NpzFile, load_npy, write_npy, write_npz
from numbatorch.io.packed import unpacked, with_types
from numbatorch.io.reading import short
from numbatorch.io.safetensors import SafetensorsFile, save_safetensors, write_safetensors
from numbatorch.io.torch_file import STARTS, TorchFile
from numbatorch.io.torch_names import StoredTensor
from numbatorch.io.writing import check_writable, replaced
from numbatorch.layout import Layout
from numbatorch.ops.operands import describe
from numbatorch.shape import numel
from numbatorch.tensor import Tensor, from_numpy, realize
from numbatorch.tensor.turned import in_blocks

WRITTEN = (".safetensors", ".npy", ".npz", ".gguf")
PYTORCH = (".pt", ".pth", ".bin", ".ckpt")  # read only
ZIP = (b"PK\3\4", b"PK\5\6")


def save(
    obj: Mapping[str, Any] | Tensor | Array,
    f: str | os.PathLike[str] | IO[bytes],
    metadata: Mapping[str, Any] | None = None,
    *,
    compressed: bool = False,
) -> None:
    """Write tensors by name, whole or not at all: as safetensors, npy, npz or GGUF, by the suffix.

    Where we differ from PyTorch: the file holds tensors only, no Python objects, and PyTorch's own
    files are read, not written.

    Args:
        obj: name to tensor, such as a module's `state_dict()`; for npy a tensor. Arrays of NumPy
            are tensors too.
        f: ends in .safetensors, .npy, .npz or .gguf; or a file that is open to write bytes. One
            without such a name holds npy for a tensor, npz if it is compressed, else safetensors.
        metadata: free text, str to str, in safetensors; in GGUF numbers, text and lists of them.
        compressed: whether to compress; npz only.
    Raises:
        FormatError: the suffix is another one.
        TypeError: what is given is no mapping of names to tensors, or the format has no metadata,
            or does not compress.
        DTypeError: the format has no such dtype.
        FileNotFoundError: the folder of `f` does not exist.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    ...     save({"x": tensor([1, 2])}, f"{folder}/x.npz")
    ...     load(f"{folder}/x.npz")["x"]
    tensor([1, 2])
    """
    path = Path(f) if isinstance(f, str | os.PathLike) else None
    kind = _kind_to_write(path or called(f, "save", "write"), path is None, obj, compressed)
    if path is not None:
        check_writable(path, "save")
    if kind == ".gguf":
        if path is None:
            raise TypeError(message("save", "GGUF takes a path", f"file {f}"))
        save_gguf(path, _by_name(obj, blocks=True), metadata)
        return
    if kind != ".safetensors" and metadata is not None:
        raise TypeError(message("save", f"a file of {kind} has no metadata"))
    if compressed and kind != ".npz":
        raise TypeError(message("save", "only npz is compressed", f"file {f}"))
    if kind == ".npy":
        array = _one(obj).detach().numpy()
        _write(f, lambda file: write_npy(file, array))
        return
    tensors = _by_name(obj, blocks=kind == ".safetensors")
    realize(*tensors.values())
    arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    if kind == ".npz":
        _write(f, lambda file: write_npz(file, arrays, compressed))
        return
    for pair in (metadata or {}).items():
        if not all(isinstance(part, str) for part in pair):
            raise TypeError(message("save", f"metadata {pair[0]!r}: {pair[1]!r} is not str to str"))
    text = with_types(tensors, metadata)
    if path is not None:
        save_safetensors(path, arrays, text)
    else:
        _write(f, lambda file: file.write(write_safetensors(arrays, text)))


def _kind_to_write(name: Path, is_open: bool, obj: Any, compressed: bool) -> str:
    """The suffix of the format that a file of this name gets."""
    suffix = name.suffix.lower()
    if suffix in WRITTEN:
        return suffix
    if is_open and not suffix:
        if compressed:
            return ".npz"
        return ".npy" if isinstance(obj, Tensor | np.ndarray | np.generic) else ".safetensors"
    rows = [f"file {name}", f"written are {', '.join(WRITTEN)}"]
    if suffix in PYTORCH:
        rows.append("files of PyTorch are read only")
    problem = f"no format is written to {suffix}" if suffix else "no suffix names a format"
    raise FormatError(message("save", problem, *rows))


def _write(f: Any, write: Callable[[Any], Any]) -> None:
    """Have `write` fill the file of a path, or an open one, whole or not at all."""
    if isinstance(f, str | os.PathLike):
        with replaced(f, "save") as temporary, open(temporary, "wb") as file:
            write(file)
        return
    whole = io.BytesIO()
    write(whole)
    try:
        f.write(whole.getbuffer())
    except TypeError as error:  # a file of text
        problem = "a file that does not take bytes"
        raise TypeError(message("save", problem, f"file {f}", hint="open(path, 'wb')")) from error


def _one(obj: Any) -> Tensor:
    """The tensor for an npy file."""
    if not isinstance(obj, Tensor | np.ndarray | np.generic):
        problem = f"npy holds one tensor, not {type(obj).__name__}"
        raise TypeError(message("save", problem, hint="npz holds several by name"))
    return _as_tensor("the tensor", "obj", obj)


def _by_name(obj: Any, blocks: bool = False) -> dict[str, Tensor]:
    """The tensors for a file of several; blocks of few bits where the format takes them."""
    if not isinstance(obj, Mapping):
        problem = f"takes tensors by name, not {type(obj).__name__}"
        hint = "save({'x': x}, path)"
        if hasattr(obj, "state_dict"):
            hint = "save(x.state_dict(), path)"
        raise TypeError(message("save", problem, hint=hint))
    found = {}
    for name, value in obj.items():
        if not isinstance(name, str):
            problem = f"name {short(repr(name))} is {type(name).__name__}, not str"
            raise TypeError(message("save", problem))
        found[name] = _as_tensor(repr(name), f"obj[{name!r}]", value, blocks)
    return found


def _as_tensor(name: str, place: str, value: Any, blocks: bool = False) -> Tensor:
    """A tensor, or the array of NumPy as one, that a file can hold."""
    if isinstance(value, np.ndarray | np.generic):
        try:
            return from_numpy(np.asarray(value), "cpu", share=True)
        except DTypeError as error:
            problem = f"{name} is an array of {value.dtype}, which no tensor is"
            raise DTypeError(message("save", problem)) from error
    if isinstance(value, Mapping | list | tuple):
        rows, hint = _within(place, value)
        problem = f"{place} is a {type(value).__name__}: a file holds tensors by name, in one level"
        raise TypeError(message("save", problem, *rows, hint=hint))
    if not isinstance(value, Tensor):
        kind = type(value)
        named = (
            kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        )
        raise TypeError(message("save", f"{name} is {named}, not a tensor"))
    if value.dtype.kind == "q" and not value.dtype.is_storage and not blocks:
        problem = f"no type of the format stands for {name}, which is {value.dtype.name}"
        raise DTypeError(message("save", problem))
    return value


def _within(place: str, value: Any) -> tuple[list[str], str | None]:
    """A row about the first tensor within containers, and a hint of how to name it; if any."""
    names = [place.removeprefix("obj[").removesuffix("]").strip("'\"")]
    for _ in range(8):
        if not isinstance(value, Mapping | list | tuple) or not value:
            break
        key, value = next(iter(value.items() if isinstance(value, Mapping) else enumerate(value)))
        place += f"[{key!r}]"
        names.append(str(key))
    if not isinstance(value, Tensor):
        return [], None
    return [f"{place} is {describe(value.node)}"], f"save({{{'.'.join(names)!r}: ...}}, path)"


def load(
    f: str | os.PathLike[str] | IO[bytes],
    map_location: Device | str | None = None,
    *,
    device: Device | str | None = None,
    weights_only: bool | None = True,
    mmap: bool | None = None,
) -> Any:
    """What a file holds: safetensors, npy, npz, GGUF or what `torch.save` wrote, by its content.

    Nothing is copied where alignment allows: files are mapped. Of a file of PyTorch only tensors
    and plain containers, numbers and text are built, in whatever it holds; no code of it runs.
    Where we differ from PyTorch: tensors that share a storage there are values of their own here.

    Args:
        f: a path, or a file that is open to read bytes, from where it stands; of npy as many as
            the array has, so that several may follow each other.
        map_location, device: where the tensors go, whatever device the file names; give one. The
            default device unless given.
        weights_only: True; code in a file never runs.
        mmap: False reads a file of a path at once instead of mapping it.
    Returns:
        tensors by name, those in blocks `quantized.QTensor`; of npy one tensor, of npz a mapping
        that reads each when it is asked for.
    Raises:
        FormatError: the file does not follow its format, or asks for anything else to be built.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    ...     save({"x": tensor([1, 2])}, f"{folder}/x.safetensors")
    ...     load(f"{folder}/x.safetensors")
    {'x': tensor([1, 2])}
    """
    if weights_only is not None and weights_only is not True:
        problem = f"weights_only is {short(repr(weights_only))}: code in a file never runs"
        raise ValueError(message("load", problem, hint="leave weights_only out"))
    where = _where(map_location, device)
    name, data = read_source(f, "load", mmap)
    start = data[: len(STARTS[1])].tobytes()
    suffix = name.suffix.lower()
    if start.startswith(MAGIC):
        return from_numpy(_npy(f, name, data), where, share=True)
    if start.startswith(ZIP):
        return _from_zip(name, data, where)
    if start.startswith(b"GGUF") and isinstance(f, str | os.PathLike):
        return {key: _whole(tensor) for key, tensor in load_gguf(f, as_device(where)).items()}
    if start[8:9] != b"{":  # which stands behind a length in safetensors
        broken = suffix == ".safetensors" and start[7:8] in (b"", b"\0")  # a length, if any
        if start.startswith(STARTS) and not broken:
            return _from_torch(name, data, where)
        if suffix != ".safetensors":  # else the error is of that format
            _refuse(name, start)
    stored = SafetensorsFile(name, data)
    arrays = {key: stored.tensor(key) for key in stored.tensors}
    packed = unpacked(arrays, stored.metadata, name, as_device(where))
    return {
        key: _whole(packed[key]) if key in packed else from_numpy(array, where, share=True)
        for key, array in arrays.items()
    }


def _whole(tensor: Tensor) -> Tensor:
    """The tensor, as a QTensor where it is in blocks."""
    if not in_blocks(tensor.node):
        return tensor
    from numbatorch.quantized.qtensor import QTensor

    return QTensor(tensor.node)


def _where(map_location: Any, device: Any) -> Device | str | None:
    """The device of what is loaded."""
    if map_location is not None and device is not None:
        raise TypeError(message("load", "map_location and device are both given"))
    wanted = device if map_location is None else map_location
    if wanted is not None and not isinstance(wanted, str | Device):
        problem = f"map_location is a {type(wanted).__name__}, not a device or its name"
        raise TypeError(message("load", problem, "all tensors of a file go to one device"))
    return as_device(wanted)


def _npy(f: Source, name: Path, data: Array) -> Array:
    """The array of an npy file; an open one goes on behind it."""
    if isinstance(f, str | os.PathLike) or not _can_seek(f):
        return load_npy(name, data)[0]
    array, size = load_npy(name, data, alone=False)
    f.seek(size - data.size, os.SEEK_CUR)
    return array


def _can_seek(file: Any) -> bool:
    """Whether an open file, which may have nothing but `read`, can be moved in."""
    seekable = getattr(file, "seekable", None)
    return bool(seekable and seekable())


def _refuse(name: Path, start: bytes) -> NoReturn:
    """The error for a file whose first bytes are those of no format."""
    what = {
        ".npy": "no npy file",
        ".npz": "no npz file, which is a zip archive",
        **dict.fromkeys(
            PYTORCH, "no file of PyTorch, which is a zip archive or begins as a pickle"
        ),
    }.get(name.suffix.lower(), "of no format that is read here")
    said = f"it begins with {start[:8]!r}" if start else "it is empty"
    hint = "a GGUF file is read from a path" if start.startswith(b"GGUF") else None
    raise FormatError(message("load", f"{what}: {said}", f"file {name}", hint=hint))


class NpzTensors(Mapping[str, Tensor]):
    """The tensors of an npz file by name, each of which is read when it is asked for."""

    def __init__(self, file: NpzFile, device: Device | str | None) -> None:
        self._file, self._device = file, device

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._file.headers:
            raise KeyError(name)
        return from_numpy(self._file.array(name), self._device, share=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.headers)

    def __len__(self) -> int:
        return len(self._file.headers)

    @property
    def files(self) -> list[str]:
        """The names, as NumPy has them."""
        return list(self)

    def close(self) -> None:
        """Nothing: the file goes with the last of its tensors."""

    def __enter__(self) -> NpzTensors:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        names = ", ".join(list(self)[:5])
        return f"NpzTensors({str(self._file.path)!r}, {len(self)} tensors: {names})"


def _from_zip(name: Path, data: Array, device: Device | str | None) -> Any:
    """An npz file, whose every entry is an array, or a file of PyTorch."""
    suffix = name.suffix.lower()
    what = "a file of PyTorch" if suffix in PYTORCH else "an npz file"
    names = Archive("load", name, data, what if suffix in (".npz", *PYTORCH) else "a file").entries
    if any(f"/{entry}".endswith("/data.pkl") for entry in names):
        return _from_torch(name, data, device)
    if names and not any(entry.endswith(".npy") for entry in names):
        problem = "a zip archive with neither data.pkl, as of torch.save, nor arrays of NumPy"
        raise FormatError(message("load", problem, f"file {name}"))
    return NpzTensors(NpzFile(name, data), device)


def _from_torch(name: Path, data: Array, device: Device | str | None) -> Any:
    def make(file: TorchFile, stored: StoredTensor) -> Tensor:
        return _tensor(file, stored, device)

    return TorchFile(name, data, make, _as_leaf, Tensor).value


def _as_leaf(tensor: Tensor, requires_grad: bool) -> Tensor:
    out = tensor.detach()
    return out.requires_grad_() if requires_grad else out


def _tensor(file: TorchFile, stored: StoredTensor, device: Device | str | None) -> Tensor:
    """A tensor of a file: a part of its storage, or a view of all of it by strides."""
    elements = file.elements(stored.storage, stored.dtype)
    size, start = numel(stored.shape), stored.offset
    if Layout(stored.shape, stored.strides).is_contiguous:
        out = from_numpy(elements[start : start + size].reshape(stored.shape), device, share=True)
    else:
        whole = from_numpy(elements, device, share=True)
        shape, strides = stored.shape, stored.strides
        out = Tensor(find("as_strided").apply(whole.node, size=shape, stride=strides, offset=start))
    if stored.conjugate:
        out = Tensor(find("conj").apply(out.node))
    if stored.negative:
        out = -out
    return out.requires_grad_() if stored.requires_grad else out
