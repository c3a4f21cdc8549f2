"""CPU kernels of cross entropy, whose rows are read from memory once, and of means."""

from typing import Any

from numbatorch.language.kernel import Kernel, Pointer, T, helper, kernel, share
from numbatorch.language.primitives import add_reassoc, inf, truncdiv
from numbatorch.language.words import float64, int64
from numbatorch.ops import nll as ops
from numbatorch.ops.cpu.rows import largest
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE, exp, log, sizes_of, wide_index
from numbatorch.shape import numel


@helper
def fits(col: int, cols: int, status: Pointer[int64]) -> bool:
    """Whether a class is there; it is noted if not."""
    if col < 0 or col >= cols:
        status[0] = 1
        status[1] = col
        return False
    return True


@kernel(T=WIDE)
def cross_entropies(
    out: Pointer[T], x: Pointer[T], target: Pointer[int64], status: Pointer[int64], ignored: int,
    rows: int, cols: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out[i] = log(sum(exp(x[i] - max))) - (x[i, target[i]] - max), or 0."""
    lo, hi = share(rows, part, parts)
    for i in range(lo, hi):
        col = target[i]
        if col == ignored:
            out[i] = T(0.0)
        elif fits(col, cols, status):
            row = x + i * cols
            top = largest(row, cols, -T(inf))
            total = T(0.0)
            for j in range(cols):
                total = add_reassoc(total, exp(row[j] - top))
            out[i] = log(total) - (row[col] - top)


@kernel(T=WIDE)
def cross_entropies_backward(
    out: Pointer[T], g: Pointer[T], x: Pointer[T], target: Pointer[int64],
    status: Pointer[int64], ignored: int, rows: int, cols: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out[i] = g[i] times softmax(x[i]), less g[i] at the target, or 0."""
    lo, hi = share(rows, part, parts)
    for i in range(lo, hi):
        row, found = x + i * cols, out + i * cols
        col = target[i]
        if col == ignored:
            for j in range(cols):
                found[j] = T(0.0)
        elif fits(col, cols, status):
            top = largest(row, cols, -T(inf))
            total = T(0.0)
            for j in range(cols):
                power = exp(row[j] - top)
                found[j] = power
                total = add_reassoc(total, power)
            scale = g[i] / total
            for j in range(cols):
                found[j] = found[j] * scale
            found[col] = found[col] - g[i]


@kernel(T=WIDE)
def means_of_counted(
    out: Pointer[T], losses: Pointer[T], target: Pointer[int64], ignored: int, rows: int, cols: int,
    part: int, parts: int,
) -> None:  # fmt: skip
    """out[i] = the mean of losses[i, j] whose target is not `ignored`."""
    lo, hi = share(rows, part, parts)
    for i in range(lo, hi):
        total, count = float64(0.0), 0
        for j in range(i * cols, (i + 1) * cols):
            if target[j] != ignored:
                total = add_reassoc(total, float64(losses[j]))
                count += 1
        out[i] = T(total / float64(count))


@kernel(T=WIDE)
def means_of_counted_backward(
    out: Pointer[T], g: Pointer[T], target: Pointer[int64], ignored: int, rows: int, cols: int,
    part: int, parts: int,
) -> None:  # fmt: skip
    """out[i, j] = g[i] over how many of row i count, or 0."""
    lo, hi = share(rows, part, parts)
    for i in range(lo, hi):
        count = 0
        for j in range(i * cols, (i + 1) * cols):
            count += 1 if target[j] != ignored else 0
        each = g[i] / T(count)
        for j in range(i * cols, (i + 1) * cols):
            out[j] = each if target[j] != ignored else T(0.0)


@kernel(T=WIDE)
def nll_means(
    out: Pointer[T], x: Pointer[T], target: Pointer[int64], status: Pointer[int64], ignored: int,
    rows: int, cols: int, classes: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out[i] = the mean of -x[i, j, target[i, j]] over targets that are not `ignored`."""
    lo, hi = share(rows, part, parts)
    for i in range(lo, hi):
        total, count = float64(0.0), 0
        for j in range(i * cols, (i + 1) * cols):
            col = target[j]
            if col != ignored and fits(col, classes, status):
                total -= float64(x[j * classes + col])
                count += 1
        out[i] = T(total / float64(count))


@kernel(T=WIDE)
def nll_means_backward(
    out: Pointer[T], g: Pointer[T], target: Pointer[int64], status: Pointer[int64], ignored: int,
    rows: int, cols: int, classes: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out[i, j] = -g[i] over how many of row i count at the target, and 0 elsewhere."""
    lo, hi = share(rows * cols, part, parts)
    before, each = -1, T(0.0)
    for j in range(lo, hi):
        i = truncdiv(j, cols)
        if i != before:
            count = 0
            for other in range(i * cols, (i + 1) * cols):
                count += 1 if target[other] != ignored else 0
            before, each = i, -g[i] / T(count)
        row = out + j * classes
        for k in range(classes):
            row[k] = T(0.0)
        col = target[j]
        if col != ignored and fits(col, classes, status):
            row[col] = each


def _launch(
    launcher: Launcher, of_rows: Kernel, operands: Any, x: Operand, target: Operand, ignored: int
) -> None:
    rows, cols = sizes_of(x)
    launcher.launch(
        of_rows(T=x.dtype),
        *(*operands, x, wide_index(launcher, target), launcher.status(cols), ignored, rows, cols),
        work=3 * rows * cols,
    )


@lower("cpu", ops.cross_entropy_rows)
def _(launcher: Launcher, out: Operand, x: Operand, target: Operand, *, ignored: int) -> None:
    _launch(launcher, cross_entropies, (out,), x, target, ignored)


@lower("cpu", ops.cross_entropy_rows_backward)
def _(
    launcher: Launcher, out: Operand, g: Operand, x: Operand, target: Operand, *, ignored: int
) -> None:
    _launch(launcher, cross_entropies_backward, (out, g), x, target, ignored)


def _launch_of_means(
    launcher: Launcher, of_rows: Kernel, out: Operand, x: Operand, target: Operand, ignored: int
) -> None:
    rows, cols = sizes_of(target)
    launcher.launch(
        of_rows(T=x.dtype),
        *(out, x, wide_index(launcher, target), ignored, rows, cols),
        work=2 * rows * cols,
    )


@lower("cpu", ops.mean_of_counted)
def _(launcher: Launcher, out: Operand, losses: Operand, target: Operand, *, ignored: int) -> None:
    _launch_of_means(launcher, means_of_counted, out, losses, target, ignored)


@lower("cpu", ops.mean_of_counted_backward)
def _(launcher: Launcher, out: Operand, g: Operand, target: Operand, *, ignored: int) -> None:
    _launch_of_means(launcher, means_of_counted_backward, out, g, target, ignored)


def _launch_of_nll(
    launcher: Launcher, of_rows: Kernel, out: Operand, x: Operand, target: Operand, ignored: int,
    classes: int, work: int,
) -> None:  # fmt: skip
    rows, cols = sizes_of(target)
    launcher.launch(
        of_rows(T=x.dtype),
        *(out, x, wide_index(launcher, target), launcher.status(classes)),
        *(ignored, rows, cols, classes),
        work=work,
    )


@lower("cpu", ops.nll_mean)
def _(launcher: Launcher, out: Operand, x: Operand, target: Operand, *, ignored: int) -> None:
    work = 8 * numel(target.shape)
    _launch_of_nll(launcher, nll_means, out, x, target, ignored, x.shape[-1], work)


@lower("cpu", ops.nll_mean_backward)
def _(
    launcher: Launcher, out: Operand, g: Operand, target: Operand, *, ignored: int, classes: int
) -> None:
    work = numel(out.shape)
    _launch_of_nll(launcher, nll_means_backward, out, g, target, ignored, classes, work)
