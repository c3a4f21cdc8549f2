"""safetensors files of tensors that come piece by piece, so that none has to be in memory.

The format: https://github.com/huggingface/safetensors#format
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from numbatorch.errors import DTypeError, message
from numbatorch.io.gguf_writing import Outgoing, write_tensor
from numbatorch.io.safetensors import TYPES
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
    names = {kind: name for name, kind in TYPES.items()}
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    at = 0
    for tensor in tensors:
        if tensor.dtype not in names:
            problem = f"tensor {tensor.name!r} is {tensor.dtype.name}, which the format lacks"
            raise DTypeError(message("save_safetensors", problem))
        end = at + tensor.nbytes
        header[tensor.name] = {
            "dtype": names[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, end],
        }
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replaced(path, "save_safetensors") as temporary, open(temporary, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors:
            write_tensor(file, tensor, note)
        file.flush()
        os.fsync(file.fileno())
