"""CPU kernels of cross entropy: a row is read once from memory, and again while in the cache."""

from typing import Any

from numbatorch.language.kernel import Kernel, Pointer, T, helper, kernel, share
from numbatorch.language.primitives import add_reassoc, inf
from numbatorch.language.words import int64
from numbatorch.ops import nll as ops
from numbatorch.ops.cpu.rows import largest
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE, exp, log, sizes_of, wide_index


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
