"""The tensors of a file of `torch.save` under their names, as models are filled from."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

from numbatorch.errors import FormatError, message
from numbatorch.io.mapping import Array, TensorInfo
from numbatorch.io.tensors import load
from numbatorch.tensor import Tensor

NESTED = ("state_dict", "model")  # under which training programs put the tensors


class TorchCheckpoint:
    """A state dict in a file, mapped; or what holds one under `state_dict` or `model`.

    Attributes:
        path: the file.
        tensors: name to TensorInfo; where a tensor lies in the file is not said.

    Raises:
        FormatError: the file does not follow its format, or holds something else.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        found = load(path, device="cpu")
        for key in NESTED:
            if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
                found = found[key]
        if not isinstance(found, Mapping):
            self._fail(f"holds a {type(found).__name__}, not tensors by name")
        for name, value in found.items():
            if not isinstance(name, str) or not isinstance(value, Tensor):
                self._fail(f"{name!r:.80} is a {type(value).__name__}, not a tensor")
        self._found: dict[str, Tensor] = {name: value.detach() for name, value in found.items()}
        infos = {
            name: TensorInfo(name, x.dtype, x.shape, 0, x.dtype.nbytes(x.numel()), self.path)
            for name, x in self._found.items()
        }
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(infos)

    def __repr__(self) -> str:
        return f"TorchCheckpoint({str(self.path)!r}, {len(self.tensors)} tensors)"

    def tensor(self, name: str) -> Array:
        """The tensor's elements, read-only.

        Raises:
            FormatError: no tensor of that name.
        """
        if name not in self._found:
            self._fail(f"no tensor {name!r}")
        return self._found[name].numpy()

    def _fail(self, problem: str) -> NoReturn:
        raise FormatError(message("load", problem, f"file {self.path}"))
