"""GPU kernels of cross entropy: a group of threads works on a row, as in softmax."""

from typing import Any

from numbatorch.cuda_kernels.rows import groups_of_rows
from numbatorch.language.groups import group, group_max, group_sum, groups, thread, threads
from numbatorch.language.kernel import Kernel, Pointer, T, kernel
from numbatorch.language.primitives import inf
from numbatorch.language.words import int64
from numbatorch.ops import nll as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE, exp, log, sizes_of, wide_index


@kernel(T=WIDE)
def cross_entropies(
    out: Pointer[T], x: Pointer[T], target: Pointer[int64], status: Pointer[int64], ignored: int,
    rows: int, cols: int,
) -> None:  # fmt: skip
    """out[i] = log(sum(exp(x[i] - max))) - (x[i, target[i]] - max), or 0."""
    for i in range(group(), rows, groups()):
        row = x + i * cols
        top = -T(inf)
        for j in range(thread(), cols, threads()):
            if row[j] > top:
                top = row[j]
        top = group_max(top)
        total = T(0.0)
        for j in range(thread(), cols, threads()):
            total = total + exp(row[j] - top)
        total = group_sum(total)
        if thread() == 0:
            col = target[i]
            if col == ignored:
                out[i] = T(0.0)
            elif col < 0 or col >= cols:
                status[0] = 1
                status[1] = col
            else:
                out[i] = log(total) - (row[col] - top)


@kernel(T=WIDE)
def cross_entropies_backward(
    out: Pointer[T], g: Pointer[T], x: Pointer[T], target: Pointer[int64],
    status: Pointer[int64], ignored: int, rows: int, cols: int,
) -> None:  # fmt: skip
    """out[i] = g[i] times softmax(x[i]), less g[i] at the target, or 0."""
    for i in range(group(), rows, groups()):
        row, found = x + i * cols, out + i * cols
        top = -T(inf)
        for j in range(thread(), cols, threads()):
            if row[j] > top:
                top = row[j]
        top = group_max(top)
        total = T(0.0)
        for j in range(thread(), cols, threads()):
            total = total + exp(row[j] - top)
        scale = g[i] / group_sum(total)
        col = target[i]
        if col != ignored and (col < 0 or col >= cols):
            status[0] = 1
            status[1] = col
        for j in range(thread(), cols, threads()):
            value = exp(row[j] - top) * scale
            if j == col:
                value = value - g[i]
            if col == ignored:
                value = T(0.0)
            found[j] = value


def _launch(
    launcher: Launcher, of_rows: Kernel, operands: Any, x: Operand, target: Operand, ignored: int
) -> None:
    rows, cols = sizes_of(x)
    launcher.launch(
        of_rows(T=x.dtype),
        *(*operands, x, wide_index(launcher, target), launcher.status(cols), ignored, rows, cols),
        work=3 * rows * cols,
        **groups_of_rows(rows, cols),
    )


@lower("gpu", ops.cross_entropy_rows)
def _(launcher: Launcher, out: Operand, x: Operand, target: Operand, *, ignored: int) -> None:
    _launch(launcher, cross_entropies, (out,), x, target, ignored)


@lower("gpu", ops.cross_entropy_rows_backward)
def _(
    launcher: Launcher, out: Operand, g: Operand, x: Operand, target: Operand, *, ignored: int
) -> None:
    _launch(launcher, cross_entropies_backward, (out, g), x, target, ignored)
