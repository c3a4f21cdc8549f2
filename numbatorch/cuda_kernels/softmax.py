"""GPU kernels of softmax: a group of threads works on a row, each thread on every so many-th."""

from numbatorch.cuda_kernels.rows import groups_of_rows
from numbatorch.graph import Op
from numbatorch.language.groups import group, group_max, group_sum, groups, thread, threads
from numbatorch.language.kernel import Kernel, Pointer, T, V, kernel
from numbatorch.language.primitives import inf
from numbatorch.ops import softmax as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import FLOAT, WIDE, exp, log, sizes_of


@kernel(T=FLOAT, V=WIDE)
def softmax_rows(out: Pointer[T], x: Pointer[T], rows: int, cols: int) -> None:
    """exp(x - max) / sum of each row."""
    for row in range(group(), rows, groups()):
        source = x + row * cols
        target = out + row * cols
        top = -V(inf)
        for i in range(thread(), cols, threads()):
            if source[i] > top:
                top = source[i]
        top = group_max(top)
        total = V(0.0)
        for i in range(thread(), cols, threads()):
            total = total + exp(source[i] - top)
        scale = V(1.0) / group_sum(total)
        for i in range(thread(), cols, threads()):
            target[i] = exp(source[i] - top) * scale


@kernel(T=FLOAT, V=WIDE)
def log_softmax_rows(out: Pointer[T], x: Pointer[T], rows: int, cols: int) -> None:
    """x - max - log(sum(exp(x - max))) of each row."""
    for row in range(group(), rows, groups()):
        source = x + row * cols
        target = out + row * cols
        top = -V(inf)
        for i in range(thread(), cols, threads()):
            if source[i] > top:
                top = source[i]
        top = group_max(top)
        total = V(0.0)
        for i in range(thread(), cols, threads()):
            total = total + exp(source[i] - top)
        shift = log(group_sum(total))
        for i in range(thread(), cols, threads()):
            target[i] = (source[i] - top) - shift


@kernel(T=FLOAT, V=WIDE)
def softmax_backward_rows(
    out: Pointer[T], g: Pointer[T], y: Pointer[T], rows: int, cols: int
) -> None:
    """y * (g - sum(g * y)) of each row."""
    for row in range(group(), rows, groups()):
        place = row * cols
        inner = V(0.0)
        for i in range(place + thread(), place + cols, threads()):
            inner = inner + g[i] * y[i]
        inner = group_sum(inner)
        for i in range(place + thread(), place + cols, threads()):
            out[i] = y[i] * (g[i] - inner)


@kernel(T=FLOAT, V=WIDE)
def log_softmax_backward_rows(
    out: Pointer[T], g: Pointer[T], y: Pointer[T], rows: int, cols: int
) -> None:
    """g - exp(y) * sum(g) of each row."""
    for row in range(group(), rows, groups()):
        place = row * cols
        total = V(0.0)
        for i in range(place + thread(), place + cols, threads()):
            total = total + g[i]
        total = group_sum(total)
        for i in range(place + thread(), place + cols, threads()):
            out[i] = g[i] - exp(y[i]) * total


def _of_rows(op: Op, of_rows: Kernel, work: int) -> None:
    """Lower an operator to a kernel over the rows of operands and result, which are of one shape.

    Args:
        work: operations for an element.
    """

    @lower("gpu", op)
    def _(launcher: Launcher, out: Operand, *operands: Operand) -> None:
        rows, cols = sizes_of(out)
        spec = of_rows(T=out.dtype, V=out.dtype.compute)
        grid = groups_of_rows(rows, cols)
        launcher.launch(spec, out, *operands, rows, cols, work=work * rows * cols, **grid)


_of_rows(ops.softmax_, softmax_rows, 3)
_of_rows(ops.log_softmax_, log_softmax_rows, 3)
_of_rows(ops.softmax_backward, softmax_backward_rows, 2)
_of_rows(ops.log_softmax_backward, log_softmax_backward_rows, 3)
