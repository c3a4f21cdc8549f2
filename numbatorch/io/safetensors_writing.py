"""safetensors files of tensors that come piece by piece, so that none has to be in memory.

The format: https://github.com/huggingface/safetensors#format
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numbatorch.errors import DTypeError, message
from numbatorch.io.gguf_writing import Outgoing, write_tensor
from numbatorch.io.safetensors import NAMES, header_bytes
from numbatorch.io.writing import replaced


def stream_safetensors(
    path: str | os.PathLike[str],
    tensors: Sequence[Outgoing],
    metadata: Mapping[str, str],
    note: Callable[[int], Any] = int,
) -> None:
    """Write a safetensors file: whole or not at all, through a file beside it.

    Args:
        path: replaced where it exists.
        tensors: in the order of the file, each of a type that safetensors has.
        metadata: str to str.
        note: called with the bytes of each piece that was written.
    Raises:
        DTypeError: the format lacks a type.
        FormatError: the path is a folder, a pipe or a device.
        ShapeError: a tensor gives other bytes than its shape says.
        OSError: the disk is full; nothing is left of what was written.
    """
    for tensor in tensors:
        if tensor.dtype not in NAMES:
            problem = f"tensor {tensor.name!r} is {tensor.dtype.name}, which the format lacks"
            raise DTypeError(message("save_safetensors", problem))
    listed = [(each.name, NAMES[each.dtype], each.shape, each.nbytes) for each in tensors]
    with replaced(path, "save_safetensors") as temporary, open(temporary, "wb") as file:
        file.write(header_bytes(listed, metadata))
        for tensor in tensors:
            write_tensor(file, tensor, note)
        file.flush()
        os.fsync(file.fileno())
