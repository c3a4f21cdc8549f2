"""What is in a weights file, as lines of text for people: `numbatorch inspect FILE`."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from numbatorch.io import file_types
from numbatorch.io.listing import Listing, Row, listed
from numbatorch.shape import numel

SHOWN = 6  # values of an array
TEXT = 80  # characters of a string
NUMBER = re.compile(r"(?<![^.])\d{1,9}(?![^.])")  # between dots, as that of a layer
NUMBERS = 8  # of a name that are looked at


def describe(
    path: str | os.PathLike[str],
    stats: bool = False,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> Iterator[str]:
    """Lines about a weights file, an index of shards, or a folder with weights: what it is, its
    metadata, and each tensor with type, shape and bytes, layer 2 before layer 10.

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
        named = file_types.file_type_name(value) if key == file_types.KEY else None
        yield f"  {_name(key)} = {_value(value)}" + (f" ({named})" if named else "")
    rows = in_order(file.rows)
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


def in_order(rows: Sequence[Row], start: int = 0, numbers: int = NUMBERS) -> list[Row]:
    """The rows of a file in its order, but where names differ in a number by that number: writers
    may sort names as texts.

    Args:
        start: of the part of the names that is looked at; what is before is alike.
        numbers: how many are looked at.

    >>> names = ["a", "blk.0.w", "blk.10.w", "blk.2.w", "z"]
    >>> [row.name for row in in_order([Row(name, "", (), 0, list) for name in names])]
    ['a', 'blk.0.w', 'blk.2.w', 'blk.10.w', 'z']
    """
    if len(rows) < 2 or not numbers:
        return list(rows)
    groups: dict[str, dict[int, list[Row]]] = {}
    for place, row in enumerate(rows):
        number = NUMBER.search(row.name, start)
        prefix = f"{place}" if number is None else f".{row.name[: number.start()]}"
        groups.setdefault(prefix, {}).setdefault(int(number[0]) if number else 0, []).append(row)
    found: list[Row] = []
    for numbered in groups.values():
        for _, same in sorted(numbered.items(), key=lambda pair: pair[0]):
            number = NUMBER.search(same[0].name, start)
            found += same if number is None else in_order(same, number.end(), numbers - 1)
    return found


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
