"""`numbatorch.save` and `numbatorch.load`: tensors by name in a safetensors file."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numbatorch.errors import DTypeError, message
from numbatorch.io.safetensors import SafetensorsFile, save_safetensors
from numbatorch.tensor import Tensor, from_numpy, realize


def save(
    tensors: Mapping[str, Any],
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write tensors by name as a safetensors file, whole or not at all.

    Where we differ from PyTorch: the file holds tensors only, no Python objects.

    Args:
        tensors: name to tensor, such as a module's `state_dict()`.
        metadata: free text, str to str.
    Raises:
        TypeError: what is given is no mapping of names to tensors.
        FileNotFoundError: the folder of `path` does not exist.
    """
    given: object = tensors
    if not isinstance(given, Mapping):
        problem = f"takes tensors by name, not {type(given).__name__}"
        raise TypeError(message("save", problem, hint="save({'x': x}, path)"))
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise FileNotFoundError(message("save", "no such folder", f"folder {folder}"))
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor):
            problem = f"{name!r} is {type(tensor).__name__}, not a tensor"
            raise TypeError(message("save", problem))
        if tensor.dtype.kind == "q":
            problem = f"safetensors has no type for {name!r}, which is {tensor.dtype.name}"
            raise DTypeError(message("save", problem))
    realize(*tensors.values())
    save_safetensors(path, {name: t.detach().numpy() for name, t in tensors.items()}, metadata)


def load(path: str | os.PathLike[str], device: str | None = None) -> dict[str, Tensor]:
    """Tensors by name from a safetensors file, mapped and not copied where alignment allows.

    Raises:
        FormatError: the file does not follow the format.
    """
    file = SafetensorsFile(path)
    return {name: from_numpy(file.tensor(name), device, share=True) for name in file.tensors}
