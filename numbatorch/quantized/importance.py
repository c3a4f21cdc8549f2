"""Importance matrices: how large the inputs of each weight are, for encoders to weigh errors by.

Both formats are read: https://github.com/ggml-org/llama.cpp/blob/master/tools/imatrix/README.md
"""

import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import numpy as np

from numbatorch import dtype
from numbatorch.errors import FormatError, message
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.gguf_writing import Outgoing, write_gguf
from numbatorch.io.mapping import Array, map_file
from numbatorch.io.reading import open_file

SUMS, COUNTS = ".in_sum2", ".counts"
NAME_LIMIT = 1 << 16  # bytes of a name in a .dat file


@dataclass
class Entry:
    """Sums over the rows that a weight was multiplied with.

    Attributes:
        sums: (experts, K) float32, of squares of each input.
        counts: (experts,) float32, how many rows each expert saw.
    """

    sums: Array
    counts: Array


@dataclass
class Importance:
    """An importance matrix.

    Attributes:
        entries: name of a weight in GGUF's spelling to its sums.
        datasets: names of the texts.
        chunk_count: texts of `chunk_size` tokens that were run.
        chunk_size: tokens, 0 where the file does not say.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    datasets: list[str] = field(default_factory=list)
    chunk_count: int = 0
    chunk_size: int = 0

    def add(self, name: str, inputs: Array, expert: int = 0, experts: int = 1) -> None:
        """Take in rows (n, K) that a weight, or one expert's part of it, was multiplied with."""
        entry = self.entries.get(name)
        if entry is None:
            sums = np.zeros((experts, inputs.shape[-1]), np.float32)
            entry = self.entries[name] = Entry(sums, np.zeros(experts, np.float32))
        rows = inputs.reshape(-1, inputs.shape[-1])
        entry.sums[expert] += np.square(rows, dtype=np.float32).sum(0, dtype=np.float64)
        entry.counts[expert] += len(rows)

    def of(self, name: str, shape: tuple[int, ...]) -> Array | None:
        """The mean square of each input of a weight, (experts, K), or None where it is not known.

        An expert that saw nothing, or zeros alone, has ones.

        Raises:
            FormatError: the entry is of a weight of another size, negative or not finite.
        """
        entry = self.entries.get(name)
        if entry is None:
            return None
        experts = int(np.prod(shape[:-2], dtype=np.int64)) if len(shape) > 2 else 1
        if entry.sums.size != experts * shape[-1]:
            if name == "token_embd.weight":  # whose inputs are rows of ids
                return None
            rule = f"the weight is {shape}, which takes {experts * shape[-1]}"
            problem = f"importance of {name!r} has {entry.sums.size} values"
            raise FormatError(message("imatrix", problem, rule))
        counts = entry.counts.reshape(-1, 1)
        with np.errstate(all="ignore"):
            means = np.where(counts > 0, entry.sums / counts, np.float32(1))
        for what, values in (("sums", means), ("counts", counts)):
            if not (np.isfinite(values) & (values >= 0)).all():
                problem = f"importance of {name!r} has {what} that are negative or not finite"
                raise FormatError(message("imatrix", problem))
        found = means.reshape(experts, shape[-1]).astype(np.float32)
        found[~found.any(1)] = 1  # inputs that were all 0 say nothing
        return found


def read_importance(path: str | os.PathLike[str]) -> Importance:
    """An importance matrix from a file, GGUF or .dat, told by its content.

    Raises:
        FileNotFoundError: there is no such file.
        FormatError: it is neither, or malformed.
    """
    data = map_file(path)
    if data[:4].tobytes() == b"GGUF":
        return from_gguf(GGUFFile(path))
    return _from_dat(data, Path(path))


def from_gguf(file: GGUFFile) -> Importance:
    """The importance matrix in an open GGUF file.

    Raises:
        FormatError: sums without counts, or of another type or shape.
    """
    found = Importance(
        datasets=[str(name) for name in file.field("imatrix.datasets", list, [])],
        chunk_count=file.field("imatrix.chunk_count", int, 0),
        chunk_size=file.field("imatrix.chunk_size", int, 0),
    )
    names = [name.removesuffix(SUMS) for name in file.tensors if name.endswith(SUMS)]
    if not names:
        _fail(file.path, f"no tensor whose name ends in {SUMS}")
    for name in names:
        if name + COUNTS not in file.tensors:
            _fail(file.path, f"tensor {name + COUNTS!r} is missing")
        sums, counts = (file.tensors[name + ending] for ending in (SUMS, COUNTS))
        for info in (sums, counts):
            if info.dtype is not dtype.float32:
                _fail(file.path, f"tensor {info.name!r} is {info.dtype.name}, not float32")
        number = np.array(file.tensor(counts.name)).reshape(-1)
        values = np.array(file.tensor(sums.name))
        if not number.size or values.size % number.size:
            _fail(file.path, f"{sums.name!r} has {values.size} values for {number.size} counts")
        found.entries[name] = Entry(values.reshape(number.size, -1), np.round(number))
    return found


def described(path: str | os.PathLike[str]) -> list[str] | None:
    """Lines about a file with an importance matrix, or None where a path is none by its name or
    metadata.
    """
    if os.path.isdir(path) or not os.path.exists(path):
        return None
    with open_file(path, "inspect") as file:
        is_gguf = file.read(4) == b"GGUF"
    if is_gguf:
        opened = GGUFFile(path)
        if opened.metadata.get("general.type") != "imatrix":
            return None
        found, kind = from_gguf(opened), f"GGUF version {opened.version}"
    elif os.fspath(path).endswith(".dat"):
        found, kind = read_importance(path), ".dat"
    else:
        return None
    return [f"{os.fspath(path)}: importance matrix, {kind}", *_about(found)]


def _about(importance: Importance) -> list[str]:
    texts = ", ".join(map(repr, importance.datasets)) or "not named"
    chunks = f"{importance.chunk_count} chunks"
    if importance.chunk_size:
        chunks += f" of {importance.chunk_size} tokens"
    found = [f"texts: {texts}, {chunks}", f"weights: {len(importance.entries)}"]
    width = max(map(len, importance.entries), default=0)
    for name, entry in importance.entries.items():
        experts, inputs = entry.sums.shape
        means = entry.sums / np.maximum(entry.counts.reshape(-1, 1), 1)
        seen = "seen by all" if entry.counts.all() else f"{np.sum(entry.counts == 0)} saw none"
        of = f"{experts} experts ({seen}), " if experts > 1 else ""
        spread = f"mean square {means.mean():.4g}, at most {means.max():.4g}"
        found.append(f"  {name:{width}}  {of}{inputs} inputs, {spread}")
    return found


def write_importance(path: str | os.PathLike[str], importance: Importance) -> None:
    """Write an importance matrix as GGUF, whole or not at all.

    Raises:
        OSError, FormatError: as `write_gguf`.
    """
    metadata = {
        "general.type": "imatrix",
        "imatrix.datasets": importance.datasets,
        "imatrix.chunk_count": importance.chunk_count,
        "imatrix.chunk_size": importance.chunk_size,
    }
    tensors = []
    for name, entry in sorted(importance.entries.items()):
        parts = ((SUMS, entry.sums), (COUNTS, entry.counts.reshape(-1, 1)))
        for ending, values in parts:
            array = np.ascontiguousarray(values, "<f4")
            tensors.append(Outgoing(name + ending, dtype.float32, array.shape, _once(array)))
    write_gguf(path, metadata, tensors)


def _once(array: Array) -> Callable[[], list[Array]]:
    return lambda: [array]


def _from_dat(data: Array, path: Path) -> Importance:
    """The older format: entries of a name, a number of calls and means times that number."""
    raw, at = data.data, 0

    def integer(what: str) -> int:
        nonlocal at
        if at + 4 > len(raw):
            _fail(path, f"{what} goes beyond the end of the file, {len(raw)} bytes", at)
        at += 4
        return int(struct.unpack_from("<i", raw, at - 4)[0])

    def text(what: str) -> str:
        nonlocal at
        length = integer(f"the length of {what}")
        if not 0 <= length <= min(NAME_LIMIT, len(raw) - at):
            _fail(path, f"{what} has {length} bytes", at - 4)
        at += length
        try:
            return str(raw[at - length : at], "utf-8")
        except UnicodeDecodeError:
            _fail(path, f"{what} is not UTF-8: no importance matrix", at - length)

    found = Importance()
    count = integer("the number of entries")
    if not 0 < count <= len(raw) // 12:
        _fail(path, f"{count} entries in {len(raw)} bytes: no importance matrix", 0)
    for number in range(count):
        name = text(f"the name of entry {number}")
        calls, values = integer(f"calls of {name!r}"), integer(f"the size of {name!r}")
        if not 0 < values <= (len(raw) - at) // 4:
            _fail(path, f"{name!r} has {values} values", at - 4)
        if calls < 0:
            _fail(path, f"{name!r} has {calls} calls", at - 8)
        sums = np.frombuffer(raw, "<f4", values, at).reshape(1, -1).astype(np.float32)
        at += 4 * values
        found.entries[name] = Entry(sums, np.array([max(calls, 1)], np.float32))
    if at < len(raw):
        found.chunk_count = integer("the number of chunks")
    if at < len(raw):
        found.datasets = [text("the name of the text")]
    return found


def check_fits(importance: Importance | None, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Fail early where an importance matrix does not fit a model.

    Raises:
        FormatError: as `Importance.of`; or no weight of the model has an entry.
    """
    if importance is None:
        return
    found = [importance.of(name, shape) is not None for name, shape in shapes.items()]
    if not any(found):
        rows = f"entries are of {', '.join(list(importance.entries)[:3])} ..."
        raise FormatError(message("imatrix", "no weight of the model has an entry", rows))


def _fail(path: Path, problem: str, at: int | None = None) -> NoReturn:
    place = f"file {path}" + ("" if at is None else f", byte {at}")
    raise FormatError(message("imatrix", problem, place))
