"""`numbatorch.save` and `numbatorch.load`: tensors in files of safetensors, NumPy and PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numbatorch.errors import DTypeError, FormatError, message
from numbatorch.graph import find
from numbatorch.io.archive import Archive
from numbatorch.io.mapping import map_file
from numbatorch.io.npy import MAGIC, NpzFile, load_npy, save_npy, save_npz
from numbatorch.io.reading import open_file
from numbatorch.io.safetensors import SafetensorsFile, save_safetensors
from numbatorch.io.torch_file import STARTS, TorchFile
from numbatorch.io.torch_names import StoredTensor
from numbatorch.layout import Layout
from numbatorch.shape import numel
from numbatorch.tensor import Tensor, from_numpy, realize


def save(
    tensors: Mapping[str, Any] | Tensor,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    *,
    compressed: bool = False,
) -> None:
    """Write tensors by name, whole or not at all: as npz, npy or safetensors, by the suffix.

    Where we differ from PyTorch: the file holds tensors only, no Python objects.

    Args:
        tensors: name to tensor, such as a module's `state_dict()`; for npy a tensor.
        path: ends in .npz or .npy; with any other suffix it is a safetensors file.
        metadata: free text, str to str; safetensors only.
        compressed: whether to compress; npz only.
    Raises:
        TypeError: what is given is no mapping of names to tensors, or the format has no metadata,
            or does not compress.
        DTypeError: the format has no such dtype.
        FileNotFoundError: the folder of `path` does not exist.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    ...     save({"x": tensor([1, 2])}, f"{folder}/x.npz")
    ...     load(f"{folder}/x.npz")["x"]
    tensor([1, 2])
    """
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(message("save", "no such folder", f"folder {folder}"))
    suffix = Path(path).suffix
    if suffix in (".npy", ".npz") and metadata is not None:
        raise TypeError(message("save", f"a file of {suffix} has no metadata"))
    if compressed and suffix != ".npz":
        raise TypeError(message("save", "only npz is compressed", f"path {path}"))
    if suffix == ".npy":
        if not isinstance(tensors, Tensor):
            problem = f"npy holds one tensor, not {type(tensors).__name__}"
            raise TypeError(message("save", problem, hint="npz holds several by name"))
        _check("the tensor", tensors)
        save_npy(path, tensors.detach().numpy())
        return
    if not isinstance(tensors, Mapping):
        problem = f"takes tensors by name, not {type(tensors).__name__}"
        raise TypeError(message("save", problem, hint="save({'x': x}, path)"))
    for name, tensor in tensors.items():
        _check(repr(name), tensor)
    realize(*tensors.values())
    arrays = {name: tensor.detach().numpy() for name, tensor in tensors.items()}
    if suffix == ".npz":
        save_npz(path, arrays, compressed)
    else:
        save_safetensors(path, arrays, metadata)


def _check(name: str, tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(message("save", f"{name} is {type(tensor).__name__}, not a tensor"))
    if tensor.dtype.kind == "q" and not tensor.dtype.is_storage:
        problem = f"no type of the format stands for {name}, which is {tensor.dtype.name}"
        raise DTypeError(message("save", problem))


def load(path: str | os.PathLike[str], device: str | None = None) -> Any:
    """What a file holds: safetensors, npy, npz, or what `torch.save` wrote, told by its content.

    Nothing is copied where alignment allows: files are mapped. Of a file of PyTorch only tensors
    and plain containers, numbers and text are built, in whatever it holds; no code of it runs.
    Tensors that share a storage there are values of their own here.

    Args:
        device: where the tensors go, whatever device the file names.
    Returns:
        tensors by name; of npy one tensor, of npz a mapping that reads each when it is asked for.
    Raises:
        FormatError: the file does not follow its format, or asks for anything else to be built.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
    ...     save({"x": tensor([1, 2])}, f"{folder}/x.safetensors")
    ...     load(f"{folder}/x.safetensors")
    {'x': tensor([1, 2])}
    """
    with open_file(path, "load") as file:
        start = file.read(len(STARTS[1]))
    if start.startswith(MAGIC):
        return from_numpy(load_npy(path), device, share=True)
    if start[:4] in (b"PK\3\4", b"PK\5\6"):
        return _from_zip(path, device)
    if start.startswith(STARTS) and start[8:9] != b"{":  # else a length and a header
        return _from_torch(path, device)
    stored = SafetensorsFile(path)
    return {name: from_numpy(stored.tensor(name), device, share=True) for name in stored.tensors}


class NpzTensors(Mapping[str, Tensor]):
    """The tensors of an npz file by name, each of which is read when it is asked for."""

    def __init__(self, file: NpzFile, device: str | None) -> None:
        self._file, self._device = file, device

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._file.headers:
            raise KeyError(name)
        return from_numpy(self._file.array(name), self._device, share=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.headers)

    def __len__(self) -> int:
        return len(self._file.headers)

    def __repr__(self) -> str:
        names = ", ".join(list(self)[:5])
        return f"NpzTensors({str(self._file.path)!r}, {len(self)} tensors: {names})"


def _from_zip(path: str | os.PathLike[str], device: str | None) -> Any:
    """An npz file, whose every entry is an array, or a file of PyTorch."""
    names = Archive("load", Path(path), map_file(path)).entries
    if any(f"/{name}".endswith("/data.pkl") for name in names):
        return _from_torch(path, device)
    if names and not any(name.endswith(".npy") for name in names):
        problem = "a zip archive with neither data.pkl, as of torch.save, nor arrays of NumPy"
        raise FormatError(message("load", problem, f"file {path}"))
    return NpzTensors(NpzFile(path), device)


def _from_torch(path: str | os.PathLike[str], device: str | None) -> Any:
    def make(file: TorchFile, stored: StoredTensor) -> Tensor:
        return _tensor(file, stored, device)

    return TorchFile(path, make, _as_leaf, Tensor).value


def _as_leaf(tensor: Tensor, requires_grad: bool) -> Tensor:
    out = tensor.detach()
    return out.requires_grad_() if requires_grad else out


def _tensor(file: TorchFile, stored: StoredTensor, device: str | None) -> Tensor:
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
