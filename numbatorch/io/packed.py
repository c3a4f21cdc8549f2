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
from numbatorch.dtype import DType
from numbatorch.errors import FormatError, message
from numbatorch.io.mapping import Array
from numbatorch.ops import blocks
from numbatorch.shape import Shape
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


def types_in(metadata: Mapping[str, str], path: Path) -> dict[str, tuple[DType, Shape]]:
    """The type and the shape of each tensor that is in blocks.

    Raises:
        FormatError: the metadata does not say so, or names a type that is not known.
    """
    if KEY not in metadata:
        return {}
    try:
        said = dict(json.loads(metadata[KEY]))
        types = {name: (str(kind), tuple(map(int, shape))) for name, (kind, shape) in said.items()}
    except (TypeError, ValueError):
        _fail("is no map of names to a type and a shape", path)
    found = {}
    for name, (kind, shape) in types.items():
        element = dt.find(kind)
        if element is None or element.block == 1 or not blocks.known(element):
            _fail(f"tensor {name!r} has the unknown type {kind!r}", path)
        if not shape or min(shape) < 0 or shape[-1] % element.block:
            _fail(f"tensor {name!r} is not {shape} {kind}", path)
        found[name] = element, shape
    return found


def _fail(problem: str, path: Path) -> NoReturn:
    raise FormatError(message("safetensors", problem, f"file {path}, metadata {KEY}"))


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
    found = {}
    for name, (element, shape) in types_in(metadata, path).items():
        if only not in (None, name):
            continue
        raw = arrays.get(name)
        if raw is None or raw.dtype != "u1":
            _fail(f"tensor {name!r} is not there as bytes", path)
        if raw.size != element.nbytes(math.prod(shape)):
            _fail(f"tensor {name!r} of {raw.size} bytes is not {shape} {element.name}", path)
        packed = raw.reshape(*shape[:-1], element.nbytes(shape[-1]))
        found[name] = Tensor(host_node(packed, element, device, shape))
    return found
