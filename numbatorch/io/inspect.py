"""What is in a weights file, as lines of text for people: `numbatorch inspect FILE`."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from numbatorch.io.listing import Listing, Row, listed
from numbatorch.shape import numel

SHOWN = 6  # values of an array
TEXT = 80  # characters of a string


def describe(
    path: str | os.PathLike[str],
    stats: bool = False,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> Iterator[str]:
    """Lines about a weights file, an index of shards, or a folder with weights: what it is, its
    metadata, and each tensor with type, shape and bytes.

    Args:
        path: a file of GGUF, safetensors, NumPy or PyTorch, or a folder.
        stats: whether the values are read: least and largest, mean, standard deviation, the share
            of zeros, and how many are NaN or infinite.
        bar: called with the bytes to be read for them; gives what is called with those of each
            tensor.
    Raises:
        FileNotFoundError: there is no such file.
        FormatError: the file is of another kind, or malformed.
    """
    yield from lines(listed(path), stats, bar)


def lines(
    file: Listing,
    stats: bool = False,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> Iterator[str]:
    """As `describe`, of what is open."""
    yield f"{file.path}: {file.kind}"
    yield f"metadata: {len(file.metadata)} keys"
    for key, value in file.metadata.items():
        yield f"  {_name(key)} = {_value(value)}"
    rows = file.rows
    counts = Counter(row.dtype for row in rows)
    parameters = sum(numel(row.shape) for row in rows)
    kinds = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    total = sum(row.nbytes for row in rows)
    yield f"tensors: {len(rows)} ({kinds}), {parameters:,} elements, {total:,} bytes"
    if not rows:
        return
    width = max(len(_name(row.name)) for row in rows)
    shape_width = max(len(str(row.shape)) for row in rows)
    advance = bar(total) if stats else int
    for row in rows:
        line = f"  {_name(row.name):{width}}  {row.dtype:12}  {row.shape!s:{shape_width}}"
        line += f"  {row.nbytes:>14,} bytes"
        yield line + ("  " + statistics(row) if stats else "")
        advance(row.nbytes)


def statistics(row: Row) -> str:
    """Least and largest value, mean, standard deviation, zeros, and what is not finite."""
    count, total, squares, zeros, bad = 0, 0.0, 0.0, 0, 0
    least, largest = np.inf, -np.inf
    for piece in row.pieces():
        values = np.abs(piece) if piece.dtype.kind == "c" else piece
        with np.errstate(invalid="ignore"):  # of signalling NaN
            values = values.astype(np.float64).reshape(-1)
        finite = np.isfinite(values)
        bad += int(values.size - finite.sum())
        values = values if finite.all() else values[finite]
        if values.size:
            count += values.size
            total += values.sum()
            squares += np.square(values).sum()
            zeros += int(values.size - np.count_nonzero(values))
            least, largest = min(least, values.min()), max(largest, values.max())
    found = f"{bad} NaN or infinite" if bad else ""
    if not count:
        return found or "empty"
    mean = total / count
    deviation = max(squares / count - mean * mean, 0.0) ** 0.5
    spread = f"{least:.4g} to {largest:.4g}, mean {mean:.3g}, deviation {deviation:.3g}"
    share = f", {zeros / count:.1%} zeros" if zeros else ""
    return spread + share + (f", {found}" if found else "")


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
