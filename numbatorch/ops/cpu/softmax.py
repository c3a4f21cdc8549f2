"""CPU kernels of softmax: a row is read once from memory, and again while it is in the cache."""

from numbatorch.language.kernel import Pointer, T, V, kernel, share
from numbatorch.language.primitives import add_reassoc, inf
from numbatorch.ops import softmax as ops
from numbatorch.ops.cpu.rows import dot, largest, total_of
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import FLOAT, WIDE, exp, log, sizes_of


@kernel(T=FLOAT, V=WIDE)
def softmax_rows(
    out: Pointer[T],
    x: Pointer[T],
    wide: Pointer[V],
    rows: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """exp(x - max) / sum of each row; `wide` has room for one row of each part."""
    lo, hi = share(rows, part, parts)
    powers = wide + part * cols
    for row in range(lo, hi):
        source = x + row * cols
        target = out + row * cols
        top = largest(source, cols, -V(inf))
        total = V(0.0)
        for i in range(cols):
            power = exp(source[i] - top)
            powers[i] = power
            total = add_reassoc(total, power)
        scale = V(1.0) / total
        for i in range(cols):
            target[i] = powers[i] * scale


@kernel(T=FLOAT, V=WIDE)
def log_softmax_rows(
    out: Pointer[T], x: Pointer[T], rows: int, cols: int, part: int, parts: int
) -> None:
    """x - max - log(sum(exp(x - max))) of each row."""
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        source = x + row * cols
        target = out + row * cols
        top = largest(source, cols, -V(inf))
        total = V(0.0)
        for i in range(cols):
            total = add_reassoc(total, exp(source[i] - top))
        shift = log(total)
        for i in range(cols):
            target[i] = (source[i] - top) - shift


@kernel(T=FLOAT, V=WIDE)
def softmax_backward_rows(
    out: Pointer[T],
    g: Pointer[T],
    y: Pointer[T],
    rows: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """y * (g - sum(g * y)) of each row."""
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        place = row * cols
        inner = dot(g + place, y + place, cols, V(0.0))
        for i in range(place, place + cols):
            out[i] = y[i] * (g[i] - inner)


@kernel(T=FLOAT, V=WIDE)
def log_softmax_backward_rows(
    out: Pointer[T],
    g: Pointer[T],
    y: Pointer[T],
    rows: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """g - exp(y) * sum(g) of each row."""
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        place = row * cols
        total = total_of(g + place, cols, V(0.0))
        for i in range(place, place + cols):
            out[i] = g[i] - exp(y[i]) * total


@lower("cpu", ops.softmax_)
def _(launcher: Launcher, out: Operand, x: Operand) -> None:
    rows, cols = sizes_of(x)
    wide = x.dtype.compute
    powers = launcher.scratch(launcher.parts * cols * wide.itemsize)
    spec = softmax_rows(T=x.dtype, V=wide)
    launcher.launch(spec, out, x, powers, rows, cols, work=3 * rows * cols)


@lower("cpu", ops.log_softmax_)
def _(launcher: Launcher, out: Operand, x: Operand) -> None:
    rows, cols = sizes_of(x)
    spec = log_softmax_rows(T=x.dtype, V=x.dtype.compute)
    launcher.launch(spec, out, x, rows, cols, work=3 * rows * cols)


@lower("cpu", ops.softmax_backward)
def _(launcher: Launcher, out: Operand, g: Operand, y: Operand) -> None:
    rows, cols = sizes_of(y)
    spec = softmax_backward_rows(T=y.dtype, V=y.dtype.compute)
    launcher.launch(spec, out, g, y, rows, cols, work=2 * rows * cols)


@lower("cpu", ops.log_softmax_backward)
def _(launcher: Launcher, out: Operand, g: Operand, y: Operand) -> None:
    rows, cols = sizes_of(y)
    spec = log_softmax_backward_rows(T=y.dtype, V=y.dtype.compute)
    launcher.launch(spec, out, g, y, rows, cols, work=3 * rows * cols)
