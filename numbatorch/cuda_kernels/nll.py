"""GPU kernels of cross entropy and of means: a group of threads works on a row, as in softmax.

Rows of means are long and few, so that groups share one that is longer than SPAN.
"""

from typing import Any

from numbatorch.cuda_kernels.rows import groups_of_rows
from numbatorch.language.groups import group, group_max, group_sum, groups, thread, threads
from numbatorch.language.kernel import Kernel, Pointer, T, kernel, share
from numbatorch.language.primitives import inf, truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import nll as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE, exp, log, sizes_of, wide_index

SPAN = 1 << 14  # targets that a group counts


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


@kernel(T=WIDE)
def means_of_counted(
    out: Pointer[T], losses: Pointer[T], target: Pointer[int64], ignored: int, rows: int, cols: int,
) -> None:  # fmt: skip
    """out[i] = the mean of losses[i, j] whose target is not `ignored`."""
    for i in range(group(), rows, groups()):
        total, count = T(0.0), T(0.0)
        for j in range(i * cols + thread(), (i + 1) * cols, threads()):
            if target[j] != ignored:
                total = total + losses[j]
                count = count + T(1.0)
        total = group_sum(total)
        count = group_sum(count)
        if thread() == 0:
            out[i] = total / count


@kernel(T=WIDE)
def sums_of_counted(
    sums: Pointer[T], losses: Pointer[T], target: Pointer[int64], ignored: int, rows: int,
    cols: int, blocks: int,
) -> None:  # fmt: skip
    """Of each of `blocks` shares of a row the sum of what counts, and how many that are."""
    for item in range(group(), rows * blocks, groups()):
        i = truncdiv(item, blocks)
        lo, hi = share(cols, item - i * blocks, blocks)
        total, count = T(0.0), T(0.0)
        for j in range(i * cols + lo + thread(), i * cols + hi, threads()):
            if target[j] != ignored:
                total = total + losses[j]
                count = count + T(1.0)
        total = group_sum(total)
        count = group_sum(count)
        if thread() == 0:
            sums[2 * item] = total
            sums[2 * item + 1] = count


@kernel(T=WIDE)
def means_of_sums(out: Pointer[T], sums: Pointer[T], rows: int, blocks: int) -> None:
    """out[i] = the sums of row i over their counts."""
    for i in range(group(), rows, groups()):
        total, count = T(0.0), T(0.0)
        for item in range(i * blocks + thread(), (i + 1) * blocks, threads()):
            total = total + sums[2 * item]
            count = count + sums[2 * item + 1]
        total = group_sum(total)
        count = group_sum(count)
        if thread() == 0:
            out[i] = total / count


@kernel(T=WIDE)
def means_of_counted_backward(
    out: Pointer[T], g: Pointer[T], target: Pointer[int64], ignored: int, rows: int, cols: int,
    blocks: int,
) -> None:  # fmt: skip
    """out[i, j] = g[i] over how many of row i count, or 0; each group counts the row by itself."""
    for item in range(group(), rows * blocks, groups()):
        i = truncdiv(item, blocks)
        count = T(0.0)
        for j in range(i * cols + thread(), (i + 1) * cols, threads()):
            if target[j] != ignored:
                count = count + T(1.0)
        each = g[i] / group_sum(count)
        lo, hi = share(cols, item - i * blocks, blocks)
        for j in range(i * cols + lo + thread(), i * cols + hi, threads()):
            out[j] = each if target[j] != ignored else T(0.0)


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


@lower("gpu", ops.mean_of_counted)
def _(launcher: Launcher, out: Operand, losses: Operand, target: Operand, *, ignored: int) -> None:
    rows, cols = sizes_of(target)
    blocks = max(-(-cols // SPAN), 1)
    given = (losses, wide_index(launcher, target), ignored, rows, cols)
    if blocks == 1:
        spec, grid = means_of_counted(T=losses.dtype), groups_of_rows(rows, cols)
        launcher.launch(spec, out, *given, work=2 * rows * cols, **grid)
        return
    sums = launcher.scratch(2 * losses.dtype.nbytes(rows * blocks))
    spec, grid = sums_of_counted(T=losses.dtype), groups_of_rows(rows * blocks, SPAN)
    launcher.launch(spec, sums, *given, blocks, work=2 * rows * cols, **grid)
    spec, grid = means_of_sums(T=losses.dtype), groups_of_rows(rows, blocks)
    launcher.launch(spec, out, sums, rows, blocks, work=2 * rows * blocks, **grid)


@lower("gpu", ops.mean_of_counted_backward)
def _(launcher: Launcher, out: Operand, g: Operand, target: Operand, *, ignored: int) -> None:
    rows, cols = sizes_of(target)
    blocks = max(-(-cols // SPAN), 1)
    launcher.launch(
        means_of_counted_backward(T=g.dtype),
        *(out, g, wide_index(launcher, target), ignored, rows, cols, blocks),
        work=2 * rows * cols,
        **groups_of_rows(rows * blocks, cols),
    )
