"""Tensors by name in GGUF files: blocks of few bits stay as they are."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from numbatorch.device import Device
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_writing import Outgoing, write_gguf
from numbatorch.tensor import Tensor
from numbatorch.tensor.base import host_array, host_node


def save_gguf(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write tensors by name to a GGUF file, whole or not at all, in the types that they have.

    Args:
        path: replaced where it exists.
        tensors: of block types, float16, bfloat16, float32, float64 or signed integers.
        metadata: as in `write_gguf`.
    Raises:
        DTypeError: GGUF has no such type.
        OSError, FormatError: as `write_gguf`.
    """
    outgoing = []
    for name, tensor in tensors.items():
        array = host_array(tensor.detach().node)
        outgoing.append(Outgoing(name, tensor.dtype, tuple(tensor.shape), partial(iter, [array])))
    write_gguf(path, metadata or {}, outgoing)


def load_gguf(path: str | os.PathLike[str], device: Device) -> dict[str, Tensor]:
    """The tensors of a GGUF file, or of one in parts, over the mapped bytes where that can be.

    Raises:
        FormatError: the file is malformed, or has a type that nothing here computes on.
    """
    file = GGUFFile(path)
    return {
        name: Tensor(host_node(file.tensor(name), info.dtype, device, info.shape))
        for name, info in file.tensors.items()
    }
