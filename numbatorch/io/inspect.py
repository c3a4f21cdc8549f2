"""What is in a weights file, as lines of text for people: `numbatorch inspect FILE`."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.reading import open_file
from numbatorch.io.safetensors import (
    Checkpoint,
    SafetensorsFile,
    ShardedCheckpoint,
    open_checkpoint,
)
from numbatorch.shape import numel

SHOWN = 6  # values of an array
TEXT = 80  # characters of a string


def describe(path: str | os.PathLike[str]) -> Iterator[str]:
    """Lines about a GGUF or safetensors file, an index of shards, or a folder with weights:
    what it is, its metadata, and each tensor with type, shape and bytes.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is of another kind, or malformed.
    """
    file = _open(Path(path))
    if isinstance(file, GGUFFile):
        kind = f"GGUF version {file.version}"
    else:
        kind = "safetensors"
    if isinstance(file, ShardedCheckpoint):
        kind += f" in {len({info.path for info in file.tensors.values()})} shards"
    yield f"{file.path}: {kind}"
    yield f"metadata: {len(file.metadata)} keys"
    for key, value in file.metadata.items():
        yield f"  {_name(key)} = {_value(value)}"
    infos = file.tensors.values()
    counts = Counter(info.dtype.name for info in infos)
    parameters = sum(numel(info.shape) for info in infos)
    kinds = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    total = sum(info.nbytes for info in infos)
    yield f"tensors: {len(infos)} ({kinds}), {parameters:,} elements, {total:,} bytes"
    if infos:
        names = [_name(info.name) for info in infos]
        shapes = [str(info.shape) for info in infos]
        width, shape_width = max(map(len, names)), max(map(len, shapes))
        for name, shape, info in zip(names, shapes, infos, strict=True):
            row = f"  {name:{width}}  {info.dtype.name:12}  {shape:{shape_width}}"
            yield f"{row}  {info.nbytes:>14,} bytes"


def _open(path: Path) -> GGUFFile | Checkpoint:
    if os.path.isdir(path):  # of a path that is too long it says no, where Path raises
        return open_checkpoint(path)
    if path.name.endswith(".safetensors.index.json"):
        return ShardedCheckpoint(path)
    try:
        with open_file(path, "inspect") as file:
            magic = file.read(4)
    except FileNotFoundError:
        problem = message("inspect", "no such file or folder", f"path {path}")
        raise FileNotFoundError(problem) from None
    if magic == b"GGUF" or path.suffix == ".gguf":
        return GGUFFile(path)
    if path.suffix == ".safetensors":
        return SafetensorsFile(path)
    rows = (f"file {path}", "its name ends in neither .gguf nor .safetensors")
    raise FormatError(message("inspect", "not a weights file", *rows))


def _name(name: str) -> str:
    """A name, with what a terminal would obey escaped."""
    return name if name.isprintable() else repr(name)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= TEXT else value[:TEXT] + "...")
    if isinstance(value, np.ndarray | list):
        kind = value.dtype.name if isinstance(value, np.ndarray) else "array"
        if isinstance(value, list) and (not value or isinstance(value[0], str)):
            kind = "str"
        items = value[:SHOWN].tolist() if isinstance(value, np.ndarray) else value[:SHOWN]
        shown = ", ".join(map(_value, items))
        more = ", ..." if len(value) > SHOWN else ""
        return f"[{shown}{more}] ({len(value)} {kind})"
    return f"{value:g}" if isinstance(value, float) else str(value)
