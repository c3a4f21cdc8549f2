"""Kernels of indexing: rows are copied or added in index order, so sums never depend on timing.

An index out of bounds is stored with a 1 before it in the two words of `status`, and not followed.
"""

from typing import Any

from numbatorch import dtype as dt
from numbatorch.language.kernel import Pointer, T, U, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import index as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import (
    BITS,
    convert,
    in_type,
    pieces_of,
    share_block,
    wide_index,
)
from numbatorch.shape import numel

ADDED = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32")
ADDED_TYPES = (*ADDED, "uint64")
HALF = ("float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")
SUMMING = 2**16  # threads that are worth looking through all the indices


@kernel(T=tuple(BITS.values()))
def take_rows(
    out: Pointer[T],
    x: Pointer[T],
    index: Pointer[int64],
    status: Pointer[int64],
    rows: int,
    cols: int,
    bound: int,
    part: int,
    parts: int,
) -> None:
    """out[i, :] = x[index[i], :] for i below rows; the elements of out are shared, not its rows."""
    lo, hi = share(rows * cols, part, parts)
    if lo >= hi:
        return
    if cols == 1:  # without the cost of a loop for each element
        for i in range(lo, hi):
            row = index[i]
            if row < 0 or row >= bound:
                status[0] = 1
                status[1] = row
            else:
                out[i] = x[row]
        return
    for i in range(truncdiv(lo, cols), truncdiv(hi + cols - 1, cols)):
        row = index[i]
        if row < 0 or row >= bound:
            status[0] = 1
            status[1] = row
        else:
            source = x + row * cols
            target = out + i * cols
            for j in range(max(lo - i * cols, 0), min(hi - i * cols, cols)):
                target[j] = source[j]


@kernel(T=tuple(BITS.values()))
def gather_elements(
    out: Pointer[T],
    x: Pointer[T],
    index: Pointer[int64],
    status: Pointer[int64],
    rows: int,
    count: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """out[i, j] = x[i, index[i, j]] for x (rows, cols) and index (rows, count)."""
    lo, hi = share(rows * count, part, parts)
    if lo >= hi:
        return
    for i in range(truncdiv(lo, count), truncdiv(hi + count - 1, count)):
        for j in range(max(lo, i * count), min(hi, (i + 1) * count)):
            col = index[j]
            if col < 0 or col >= cols:
                status[0] = 1
                status[1] = col
            else:
                out[j] = x[i * cols + col]


@kernel(T=ADDED_TYPES, U=(*ADDED_TYPES, *HALF))
def add_rows(
    out: Pointer[T],
    index: Pointer[int64],
    value: Pointer[U],
    status: Pointer[int64],
    count: int,
    cols: int,
    bound: int,
    part: int,
    parts: int,
) -> None:
    """out[index[i], :] += value[i, :], in order of i; many columns are shared, else the rows."""
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
                out[row] = out[row] + value[i]
            else:
                target = out + row * cols
                added = value + i * cols
                for j in range(lo, hi):
                    target[j] = target[j] + added[j]


@kernel(T=ADDED_TYPES, U=(*ADDED_TYPES, *HALF))
def add_elements(
    out: Pointer[T],
    index: Pointer[int64],
    value: Pointer[U],
    status: Pointer[int64],
    rows: int,
    count: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """out[i, index[i, j]] += value[i, j], in order of j; rows are shared, or columns of few."""
    pieces = pieces_of(rows, parts)
    first, last, lo, hi = share_block(rows, cols, pieces, part, parts)
    for i in range(first, last):
        for j in range(i * count, (i + 1) * count):
            col = index[j]
            if col < 0 or col >= cols:
                status[0] = 1
                status[1] = col
            elif lo <= col and col < hi:
                out[i * cols + col] = out[i * cols + col] + value[j]


@lower("portable", ops.take)
def _(launcher: Launcher, out: Operand, x: Operand, index: Operand) -> None:
    rows, cols, bound = numel(index.shape), numel(x.shape[1:]), x.shape[0]
    spec = take_rows(T=BITS[x.dtype.itemsize])
    where = wide_index(launcher, index)
    status = launcher.status(bound)
    launcher.launch(
        spec,
        *(out, x, where, status, rows, cols, bound),
        work=rows * (cols + 8) / 4,
        items=rows * cols,
    )


@lower("portable", ops.gather)
def _(launcher: Launcher, out: Operand, x: Operand, index: Operand) -> None:
    count, cols = index.shape[-1], x.shape[-1]
    rows = numel(index.shape[:-1])
    spec = gather_elements(T=BITS[x.dtype.itemsize])
    where = wide_index(launcher, index)
    status = launcher.status(cols)
    launcher.launch(
        spec,
        *(out, x, where, status, rows, count, cols),
        work=2 * rows * count,
        items=rows * count,
    )


def launch_sums(
    launcher: Launcher,
    spec: Any,
    out: Operand,
    index: Operand,
    value: Operand,
    *sizes: int,
    **grid: Any,
) -> None:
    """Launch a kernel that adds into `out`; half types are added up in float32 and rounded once.

    Truths are bytes of 0 and 1.

    Args:
        sizes: the last arguments of the kernel; the last of them bounds the indices.
        grid: `items`, or `groups` and `threads`, as `launch` takes them.
    """
    truths, size = out.dtype is dt.bool_, numel(out.shape)
    wide = dt.uint8 if truths else out.dtype.compute
    total = out if truths else in_type(launcher, out, wide)
    where = wide_index(launcher, index)
    launcher.launch(
        spec(T=wide, U=dt.uint8 if truths else value.dtype),
        *(total, where, value, launcher.status(sizes[-1]), *sizes),
        work=2 * numel(value.shape),
        **grid,
    )
    if total is not out:
        launcher.launch(convert(T=out.dtype, U=wide), out, total, size, work=size, items=size)


@lower("portable", ops.index_add)
def index_add(
    launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand
) -> None:
    """Add rows in the order of their indices."""
    cols, bound = numel(out.shape[1:]), out.shape[0]
    items = min(bound * cols, max(bound, SUMMING))
    launch_sums(
        *(launcher, add_rows, out, index, value, numel(index.shape), cols, bound), items=items
    )


@lower("portable", ops.scatter_add)
def scatter_add(
    launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand
) -> None:
    """Add elements in the order of their indices."""
    rows, cols = numel(out.shape[:-1]), out.shape[-1]
    items = min(rows * cols, max(rows, SUMMING))
    launch_sums(
        *(launcher, add_elements, out, index, value, rows, index.shape[-1], cols), items=items
    )
