"""Products with weights in blocks: one row of x, which memory bounds, and many, which do not."""

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.controller import Row
from benchmarks.timing import Work
from numbatorch import dtype
from numbatorch.ops import blocks

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_block_type.py"
OWN = "OWN3"  # the type of the example, which has no kernel and no vectors of its own
OWN_BLOCK = (32, 14)  # its values and its bytes
COLUMNS = 4096
WEIGHT = 128 * 2**20  # bytes that no cache holds
SQUARE = 4096  # rows of the weight that many rows meet
BATCH = 256

Call = Callable[[], object]


def kinds() -> list[str]:
    """The types of the rows, the own one beside the built-in one of its size."""
    found = list(blocks.names())
    found.insert(found.index("Q3_K") + 1, OWN)
    return found


def row_bytes(kind: str, columns: int) -> int:
    """Bytes of one row of a weight."""
    if kind == OWN:
        values, size = OWN_BLOCK
        return columns // values * size
    found = dtype.find(kind)
    assert found is not None
    return found.nbytes(columns)


@cache
def _own() -> dtype.DType:
    spec = importlib.util.spec_from_file_location("own_block_type", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: dtype.DType = module.OWN.dtype
    return found


def weight(kind: str, rows: int, columns: int) -> np.ndarray:
    """(rows, bytes of a row) uint8: any codes, behind float scales that are small numbers."""
    found = _own() if kind == OWN else dtype.find(kind)
    assert found is not None and found.nbytes(columns) == row_bytes(kind, columns)
    size = rows * found.nbytes(columns)
    data = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    layout = blocks.find("benchmark", found).layout
    whole = data.view(layout)
    for field in layout.names or ():
        if layout[field].base == np.float16:
            whole[field] = 0.01
    return data.reshape(rows, -1)


def rows(wanted: list[str] | None, threads: int, device: str) -> list[Row]:
    """Of each type the mat-vec on one thread and on all, and what one of many rows takes."""
    found = []
    for kind in kinds():
        if wanted and kind not in wanted:
            continue
        long = WEIGHT // row_bytes(kind, COLUMNS)
        arguments = {"kind": kind, "rows": long, "columns": COLUMNS, "batch": 1}
        size = long * row_bytes(kind, COLUMNS)
        for count in sorted({1, threads}) if device == "cpu" else [threads]:
            name = f"{kind} mat-vec" + f", {count} thread{'s' * (count > 1)}" * (device == "cpu")
            floor: tuple[str, dict[str, Any]] = ("read", {"size": size})
            found.append(Row(name, "packed", arguments, "GB/s", size / 1e9, floor, count))
        square = {"kind": kind, "rows": SQUARE, "columns": COLUMNS}
        name, size = f"{kind} {SQUARE}x{COLUMNS}", SQUARE * row_bytes(kind, COLUMNS)
        floor = ("read", {"size": size})
        found.append(Row(f"{name}, one row", "packed", {**square, "batch": 1}, "us", floor=floor))
        floor = ("products", {"count": SQUARE * COLUMNS, "element": "int8"})
        name = f"{name}, each of {BATCH} rows"
        found.append(Row(name, "packed", {**square, "batch": BATCH}, "us", floor=floor))
    return found


def job(
    product: Callable[[np.ndarray, np.ndarray, dtype.DType], Call],
    wait: Call | None = None,
) -> Callable[[str, int, int, int], Work]:
    """The job `packed` of an engine.

    Args:
        product: of x (batch, columns) and the bytes of a weight of a type; gives the call.
    """

    def packed(kind: str, rows: int, columns: int, batch: int) -> Work:
        """x @ w.T, per row of x."""
        data = weight(kind, rows, columns)
        found = _own() if kind == OWN else dtype.find(kind)
        assert found is not None
        x = np.random.default_rng(1).standard_normal((batch, columns), dtype=np.float32)
        return Work(product(x, data, found), units=batch, wait=wait)

    return packed
