"""Kernels of the element of a row that a target names, and of its cotangent in one pass."""

from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import nll as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE, sizes_of, wide_index
from numbatorch.shape import numel


@kernel(T=WIDE)
def nll_of_rows(
    out: Pointer[T], x: Pointer[T], target: Pointer[int64], status: Pointer[int64], ignored: int,
    rows: int, cols: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out[i] = -x[i, target[i]], or 0."""
    lo, hi = share(rows, part, parts)
    for i in range(lo, hi):
        col = target[i]
        if col == ignored:
            out[i] = T(0.0)
        elif col < 0 or col >= cols:
            status[0] = 1
            status[1] = col
        else:
            out[i] = -x[i * cols + col]


@kernel(T=WIDE)
def put_nll_rows(
    out: Pointer[T], g: Pointer[T], target: Pointer[int64], status: Pointer[int64], ignored: int,
    rows: int, cols: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out[i, target[i]] = -g[i], and 0 elsewhere; the elements of out are shared."""
    lo, hi = share(rows * cols, part, parts)
    if lo >= hi:
        return
    for i in range(truncdiv(lo, cols), truncdiv(hi + cols - 1, cols)):
        row = out + i * cols
        first, last = max(lo - i * cols, 0), min(hi - i * cols, cols)
        for j in range(first, last):
            row[j] = T(0.0)
        col = target[i]
        if col != ignored:
            if col < 0 or col >= cols:
                status[0] = 1
                status[1] = col
            elif first <= col and col < last:
                row[col] = -g[i]


@lower("portable", ops.nll_rows)
def _(launcher: Launcher, out: Operand, x: Operand, target: Operand, *, ignored: int) -> None:
    rows, cols = sizes_of(x)
    launcher.launch(
        nll_of_rows(T=x.dtype),
        *(out, x, wide_index(launcher, target), launcher.status(cols), ignored, rows, cols),
        work=4 * rows,
        items=rows,
    )


@lower("portable", ops.nll_rows_backward)
def _(
    launcher: Launcher, out: Operand, g: Operand, target: Operand, *, ignored: int, classes: int
) -> None:
    rows, size = numel(g.shape), numel(out.shape)
    launcher.launch(
        put_nll_rows(T=g.dtype),
        *(out, g, wide_index(launcher, target), launcher.status(classes), ignored, rows, classes),
        work=size,
        items=size,
    )
