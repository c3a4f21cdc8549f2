"""Kernels that search in sorted rows: each value by halving."""

from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import searching as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import FLOAT, INDEX


@kernel(T=(*FLOAT, *INDEX))
def search_rows(
    out: Pointer[int64],
    sequence: Pointer[T],
    value: Pointer[T],
    rows: int,
    cols: int,
    count: int,
    right: int,
    part: int,
    parts: int,
) -> None:
    """How many elements of a row (cols) stand before each of the row's values (count)."""
    lo, hi = share(rows * count, part, parts)
    for item in range(lo, hi):
        line = sequence + truncdiv(item, count) * cols
        wanted = value[item]
        low = 0
        high = cols
        while low < high:
            middle = (low + high) >> 1
            there = line[middle]
            if there > wanted or (there == wanted and right == 0):
                high = middle
            else:
                low = middle + 1
        out[item] = low


@lower("portable", ops.search_rows)
def _(launcher: Launcher, out: Operand, sequence: Operand, value: Operand, *, right: bool) -> None:
    rows, cols = sequence.shape
    count = value.shape[1]
    launcher.launch(
        search_rows(T=sequence.dtype),
        *(out, sequence, value, rows, cols, count, int(right)),
        work=rows * count * 4 * (cols.bit_length() + 1),
        items=rows * count,
    )
