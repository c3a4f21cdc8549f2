"""CPU kernels of indexing: rows are copied or added in index order, so sums never depend on timing.

An index out of bounds is stored with a 1 before it in the two words of `status`, and not followed.
"""

from typing import Any

from numbatorch import dtype as dt
from numbatorch.language.kernel import Pointer, T, U, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import index as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.shape import numel

# Moving needs only the size of an element, so four kernels serve all types.
BITS = {1: "uint8", 2: "uint16", 4: "uint32", 8: "uint64"}
ADDED = ("float32", "float64", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32")
ADDED_TYPES = (*ADDED, "uint64")
HALF = ("float16", "bfloat16", "float8_e4m3", "float8_e5m2")
INDEX = ("int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64")


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
    """out[index[i], :] += value[i, :], in order of i; the columns are shared, or else the rows."""
    first, last = 0, bound
    lo, hi = 0, cols
    if cols >= 16 * parts:
        lo, hi = share(cols, part, parts)
    else:
        first, last = share(bound, part, parts)
    for i in range(count):
        row = index[i]
        if row < 0 or row >= bound:
            status[0] = 1
            status[1] = row
        elif first <= row and row < last:
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
    """out[i, index[i, j]] += value[i, j], in order of j; rows are shared, or else columns."""
    first, last = 0, rows
    lo, hi = 0, cols
    if rows >= parts:
        first, last = share(rows, part, parts)
    else:
        lo, hi = share(cols, part, parts)
    for i in range(first, last):
        for j in range(i * count, (i + 1) * count):
            col = index[j]
            if col < 0 or col >= cols:
                status[0] = 1
                status[1] = col
            elif lo <= col and col < hi:
                out[i * cols + col] = out[i * cols + col] + value[j]


@kernel(T=("int64", "float32", *HALF), U=(*INDEX, "float32", *HALF))
def convert(out: Pointer[T], x: Pointer[U], size: int, part: int, parts: int) -> None:
    """out[i] = x[i] in another type."""
    lo, hi = share(size, part, parts)
    for i in range(lo, hi):
        out[i] = x[i]


def wide_index(launcher: Launcher, index: Operand) -> Any:
    """The indices as int64: the operand itself, or a copy."""
    if index.dtype is dt.int64:
        return index
    size = numel(index.shape)
    copy = launcher.scratch(8 * size)
    launcher.launch(convert(T="int64", U=index.dtype), copy, index, size, work=size)
    return copy


@lower("cpu", ops.take)
def _(launcher: Launcher, out: Operand, x: Operand, index: Operand) -> None:
    rows, cols, bound = numel(index.shape), numel(x.shape[1:]), x.shape[0]
    spec = take_rows(T=BITS[x.dtype.itemsize])
    where = wide_index(launcher, index)
    status = launcher.status(bound)
    launcher.launch(spec, out, x, where, status, rows, cols, bound, work=rows * (cols + 8) / 4)


@lower("cpu", ops.gather)
def _(launcher: Launcher, out: Operand, x: Operand, index: Operand) -> None:
    count, cols = index.shape[-1], x.shape[-1]
    rows = numel(index.shape[:-1])
    spec = gather_elements(T=BITS[x.dtype.itemsize])
    where = wide_index(launcher, index)
    status = launcher.status(cols)
    launcher.launch(spec, out, x, where, status, rows, count, cols, work=2 * rows * count)


def _add(
    launcher: Launcher, spec: Any, out: Operand, index: Operand, value: Operand, *sizes: int
) -> None:
    """Launch an adding kernel; half types are added up in float32 and rounded once."""
    size, half = numel(out.shape), out.dtype.name in HALF
    total: Any = out
    if half:
        total = launcher.scratch(4 * size)
        launcher.launch(convert(T="float32", U=out.dtype), total, out, size, work=size)
    where = wide_index(launcher, index)
    bound = sizes[-1]
    launcher.launch(
        spec(T=out.dtype.compute, U=value.dtype),
        *(total, where, value, launcher.status(bound), *sizes),
        work=2 * numel(value.shape),
    )
    if half:
        launcher.launch(convert(T=out.dtype, U="float32"), out, total, size, work=size)


@lower("cpu", ops.index_add)
def _(launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand) -> None:
    count, cols = numel(index.shape), numel(out.shape[1:])
    _add(launcher, add_rows, out, index, value, count, cols, out.shape[0])


@lower("cpu", ops.scatter_add)
def _(launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand) -> None:
    rows = numel(out.shape[:-1])
    _add(launcher, add_elements, out, index, value, rows, index.shape[-1], out.shape[-1])
