"""Files `model.bin` of CTranslate2: mapped, validated in full; weights in integers are decoded.

The format: `python/ctranslate2/specs/model_spec.py` and `src/models/model.cc` of CTranslate2 4.
"""

import math
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import numpy as np

from numbatorch import dtype
from numbatorch.errors import FormatError, message
from numbatorch.io.mapping import Array, TensorInfo, map_file, typed_view
from numbatorch.io.reading import short

VERSIONS = range(4, 7)  # of the layout, with a type for each variable
TYPES = (
    dtype.float32,
    dtype.int8,
    dtype.int16,
    dtype.int32,
    dtype.float16,
    dtype.bfloat16,
)
SCALE = "_scale"  # of the variable that integers are divided by, behind their name
DIMS_LIMIT = 8


class CTranslate2File:
    """A model.bin, mapped into memory.

    Attributes:
        path: the file.
        version: of the layout.
        spec: what the model is, such as "WhisperSpec".
        revision: of the spec.
        tensors: name to TensorInfo of variables with dimensions. Weights in int8 and int16 with a
            scale count as float32, which they become when they are read.
        scalars: name to the number of variables without dimensions.
        aliases: other name to the name of the variable that it stands for.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: anything in the file that does not follow the format.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._data = map_file(self.path, "ctranslate2")
        self._at = 0
        self.version = self._integer(4, "the version")
        if self.version not in VERSIONS:
            rule = f"known are {VERSIONS[0]} to {VERSIONS[-1]}"
            self._fail(f"version {self.version} of the format; {rule}", at=0)
        self.spec = self._text("the name of the model")
        self.revision = self._integer(4, "the revision")
        stored = self._variables()
        self.aliases: Mapping[str, str] = MappingProxyType(self._aliases(stored))
        if self._at != self._data.size:
            extra = self._data.size - self._at
            self._fail(f"{extra} bytes behind the last alias", at=self._at)
        scalars = {
            name: typed_view(self._data, x).item() for name, x in stored.items() if x.shape == ()
        }
        self._scales = {
            name: name + SCALE
            for name, info in stored.items()
            if info.dtype in (dtype.int8, dtype.int16) and name + SCALE in stored
        }
        self._stored = stored
        for name in self._scales:
            self._check_scale(name)
        hidden = set(self._scales.values())
        self.scalars: Mapping[str, float] = MappingProxyType(
            {name: value for name, value in scalars.items() if name not in hidden}
        )
        self.tensors: Mapping[str, TensorInfo] = MappingProxyType(
            {
                name: info._replace(dtype=dtype.float32) if name in self._scales else info
                for name, info in stored.items()
                if info.shape != () and name not in hidden
            }
        )

    def __repr__(self) -> str:
        return f"CTranslate2File({str(self.path)!r}, {self.spec}, {len(self.tensors)} tensors)"

    def tensor(self, name: str, rows: slice = slice(None)) -> Array:
        """The tensor's elements, read-only, or some of its rows; of integers their values.

        Raises:
            FormatError: no tensor of that name.
        """
        if name not in self.tensors:
            self._fail(f"no tensor {name!r}")
        found = self._part(name, rows)
        if name not in self._scales:
            return found
        scale_name = self._scales[name]
        scale = self._part(scale_name, rows if self._stored[scale_name].shape else None)
        shape = (-1, *(1 for _ in found.shape[1:])) if scale.shape else ()
        values: Array = found.astype(np.float32) / scale.astype(np.float32).reshape(shape)
        values.flags.writeable = False
        return values

    def _part(self, name: str, rows: slice | None) -> Array:
        """As it is stored; all of it if `rows` is None."""
        info = self._stored[name]
        if rows is None:
            return typed_view(self._data, info)
        count, *rest = info.shape
        start, stop, _ = rows.indices(count)
        nbytes = info.dtype.itemsize * math.prod(rest)
        part = info._replace(
            shape=(stop - start, *rest),
            offset=info.offset + start * nbytes,
            nbytes=(stop - start) * nbytes,
        )
        return typed_view(self._data, part)

    def _variables(self) -> dict[str, TensorInfo]:
        count = self._integer(4, "the number of variables")
        found: dict[str, TensorInfo] = {}
        for number in range(count):
            begin = self._at
            name = self._text(f"the name of variable {number} of {count}")
            what = f"variable {short(name)!r}"
            if name in found:
                self._fail(f"{what} appears twice", at=begin)
            rank = self._integer(1, f"the rank of {what}")
            if rank > DIMS_LIMIT:
                self._fail(f"{what} has {rank} dimensions; {DIMS_LIMIT} at most", at=begin)
            shape = tuple(self._integer(4, f"the shape of {what}") for _ in range(rank))
            kind = self._integer(1, f"the type of {what}")
            if kind >= len(TYPES):
                self._fail(f"{what} has type {kind}; known are 0 to {len(TYPES) - 1}", at=begin)
            nbytes = self._integer(4, f"the size of {what}")
            expected = math.prod(shape) * TYPES[kind].itemsize
            if nbytes != expected:
                sizes = f"{nbytes} bytes, {TYPES[kind].name} {shape} are {expected}"
                self._fail(f"{what} has {sizes}", at=begin)
            self._need(nbytes, f"the data of {what}")
            found[name] = TensorInfo(name, TYPES[kind], shape, self._at, nbytes, self.path)
            self._at += nbytes
        return found

    def _aliases(self, stored: Mapping[str, TensorInfo]) -> dict[str, str]:
        count = self._integer(4, "the number of aliases")
        found = {}
        for number in range(count):
            begin = self._at
            alias, name = (self._text(f"alias {number} of {count}") for _ in range(2))
            if name not in stored:
                problem = f"alias {short(alias)!r} of {short(name)!r}, which there is not"
                self._fail(problem, at=begin)
            found[alias] = name
        return found

    def _check_scale(self, name: str) -> None:
        info, scale = self._stored[name], self._stored[name + SCALE]
        if scale.dtype.kind != "f" or scale.shape not in ((), info.shape[:1]):
            sizes = f"{scale.shape} {scale.dtype.name}, of a variable {info.shape}"
            self._fail(f"{scale.name} is {sizes}", at=scale.offset)

    def _integer(self, nbytes: int, what: str) -> int:
        self._need(nbytes, what)
        raw = self._data[self._at : self._at + nbytes].tobytes()
        self._at += nbytes
        return int.from_bytes(raw, "little")

    def _text(self, what: str) -> str:
        begin = self._at
        length = self._integer(2, what)
        self._need(length, what)
        raw = self._data[self._at : self._at + length].tobytes()
        self._at += length
        if length == 0 or raw[-1] != 0:
            self._fail(f"{what}: a text of {length} bytes does not end with a 0", at=begin)
        try:
            return raw[:-1].decode()
        except UnicodeDecodeError as error:
            self._fail(f"{what} is not UTF-8: {error}", at=begin)

    def _need(self, nbytes: int, what: str) -> None:
        left = self._data.size - self._at
        if nbytes > left:
            self._fail(f"{what} takes {nbytes} bytes, the file ends after {left}", at=self._at)

    def _fail(self, problem: str, at: int | None = None) -> NoReturn:
        place = f"file {self.path}" + ("" if at is None else f", byte {at}")
        raise FormatError(message("ctranslate2", problem, place))
