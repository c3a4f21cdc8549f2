"""Blocks of few bits in safetensors files: their bytes as uint8, and in the metadata what they are.

The key `ggml.types` holds JSON: the name of a tensor to its type and shape.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from numbatorch import dtype as dt
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.io.mapping import Array
from numbatorch.ops import blocks
from numbatorch.tensor import Tensor
from numbatorch.tensor.base import host_node

KEY = "ggml.types"


def with_types(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None
) -> dict[str, str] | None:
    """The metadata of a file that says which of its tensors are blocks."""
    types = {
        name: [tensor.dtype.name, list(tensor.shape)]
        for name, tensor in tensors.items()
        if tensor.dtype.block > 1
    }
    if not types:
        return None if metadata is None else dict(metadata)
    return {**(metadata or {}), KEY: json.dumps(types)}


def unpacked(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    path: Path,
    device: Device,
    only: str | None = None,
) -> dict[str, Tensor]:
    """The tensors of a file that are blocks; only the one of a name if that is given.

    Raises:
        FormatError: the metadata does not fit the arrays, or names a type that is not known.
    """

    def fail(problem: str) -> NoReturn:
        raise FormatError(message("safetensors", problem, f"file {path}, metadata {KEY}"))

    if KEY not in metadata:
        return {}
    try:
        said = dict(json.loads(metadata[KEY]))
        types = {name: (str(kind), tuple(map(int, shape))) for name, (kind, shape) in said.items()}
    except (TypeError, ValueError):
        fail("is no map of names to a type and a shape")
    found = {}
    for name, (kind, shape) in types.items():
        if only not in (None, name):
            continue
        element = dt.find(kind)
        if element is None or element.block == 1 or not blocks.known(element):
            fail(f"tensor {name!r} has the unknown type {kind!r}")
        raw = arrays.get(name)
        if raw is None or raw.dtype != "u1" or not shape or min(shape) < 0:
            fail(f"tensor {name!r} is not there as bytes")
        if shape[-1] % element.block or raw.size != element.nbytes(math.prod(shape)):
            fail(f"tensor {name!r} of {raw.size} bytes is not {shape} {kind}")
        packed = raw.reshape(*shape[:-1], element.nbytes(shape[-1]))
        found[name] = Tensor(host_node(packed, element, device, shape))
    return found
