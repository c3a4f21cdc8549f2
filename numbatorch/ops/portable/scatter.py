"""Kernels that write at indices, in their order, so that the last of equal ones counts.

An index out of bounds is stored with a 1 before it in the two words of `status`, and not followed.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, helper, kernel
from numbatorch.language.words import int64
from numbatorch.ops import scatter as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.index import ADDED_TYPES, HALF, SUMMING, launch_sums
from numbatorch.ops.portable.rows import BITS, pieces_of, share_block, wide_index
from numbatorch.shape import numel

MERGES = ("prod", "amin", "amax")


@kernel(T=tuple(BITS.values()))
def put_rows(
    out: Pointer[T],
    index: Pointer[int64],
    value: Pointer[T],
    status: Pointer[int64],
    count: int,
    cols: int,
    bound: int,
    part: int,
    parts: int,
) -> None:
    """out[index[i], :] = value[i, :], in order of i; many columns are shared, else the rows."""
    pieces = pieces_of(bound, parts)
    if cols >= 16 * parts:
        pieces = parts
    first, last, lo, hi = share_block(bound, cols, pieces, part, parts)
    for i in range(count):
        row = index[i]
        if row < 0 or row >= bound:
            status[0] = 1
            status[1] = row
        elif first <= row and row < last and lo < hi:
            if cols == 1:
                out[row] = value[i]
            else:
                target = out + row * cols
                source = value + i * cols
                for j in range(lo, hi):
                    target[j] = source[j]


@kernel(T=tuple(BITS.values()))
def put_elements(
    out: Pointer[T],
    index: Pointer[int64],
    value: Pointer[T],
    status: Pointer[int64],
    rows: int,
    count: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """out[i, index[i, j]] = value[i, j], in order of j; rows are shared, or columns of few."""
    pieces = pieces_of(rows, parts)
    first, last, lo, hi = share_block(rows, cols, pieces, part, parts)
    for i in range(first, last):
        for j in range(i * count, (i + 1) * count):
            col = index[j]
            if col < 0 or col >= cols:
                status[0] = 1
                status[1] = col
            elif lo <= col and col < hi:
                out[i * cols + col] = value[j]


@helper
def merged(old: Any, new: Any, way: int) -> Any:
    """Two elements as one: their product, the smaller or the larger; NaN wins."""
    if way == 0:
        return old * new
    if new != new or (way == 1 and new < old) or (way == 2 and old < new):
        return new
    return old


@kernel(T=ADDED_TYPES, U=(*ADDED_TYPES, *HALF))
def merge_elements(
    out: Pointer[T],
    index: Pointer[int64],
    value: Pointer[U],
    status: Pointer[int64],
    way: int,
    rows: int,
    count: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """out[i, index[i, j]] merged with value[i, j], in order of j; shared as `put_elements`."""
    pieces = pieces_of(rows, parts)
    first, last, lo, hi = share_block(rows, cols, pieces, part, parts)
    for i in range(first, last):
        for j in range(i * count, (i + 1) * count):
            col = index[j]
            if col < 0 or col >= cols:
                status[0] = 1
                status[1] = col
            elif lo <= col and col < hi:
                out[i * cols + col] = merged(out[i * cols + col], T(value[j]), way)


@lower("portable", ops.put_rows)
def _(launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand) -> None:
    count, cols, bound = numel(index.shape), numel(out.shape[1:]), out.shape[0]
    where = wide_index(launcher, index)
    launcher.launch(
        put_rows(T=BITS[out.dtype.itemsize]),
        *(out, where, value, launcher.status(bound), count, cols, bound),
        work=count * (cols + 8) / 4,
        items=min(bound * cols, max(bound, SUMMING)),
    )


@lower("portable", ops.scatter_set)
def scatter_set(
    launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand
) -> None:
    """Write elements in the order of their indices."""
    rows, count, cols = numel(out.shape[:-1]), index.shape[-1], out.shape[-1]
    where = wide_index(launcher, index)
    launcher.launch(
        put_elements(T=BITS[out.dtype.itemsize]),
        *(out, where, value, launcher.status(cols), rows, count, cols),
        work=2 * rows * count,
        items=min(rows * cols, max(rows, SUMMING)),
    )


@lower("portable", ops.scatter_merge)
def _(
    launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand, *, reduce: str
) -> None:
    rows, count, cols = numel(out.shape[:-1]), index.shape[-1], out.shape[-1]
    items = min(rows * cols, max(rows, SUMMING))
    way = MERGES.index(reduce)
    launch_sums(launcher, merge_elements, out, index, value, way, rows, count, cols, items=items)
