"""CPU kernels of a plain RNN's recurrence and its gradient, all steps for some rows at a time."""

from __future__ import annotations

from numbatorch.language.kernel import Pointer, T, helper, kernel, share
from numbatorch.language.words import int64
from numbatorch.ops import rnn as ops
from numbatorch.ops.cpu.recurrent_rows import (
    clear,
    copy,
    has_step,
    limits,
    multiply,
    packed,
    tanh_of_sums,
)
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE


@helper
def relu_of_sums(out: Pointer[T], x: Pointer[T], count: int, zero: float) -> None:
    """out[j] = max(out[j] + x[j], 0), NaN where that is NaN."""
    for j in range(count):
        total = out[j] + x[j]
        out[j] = zero if total <= zero else total


@kernel(T=WIDE)
def rnn_rows(
    out: Pointer[T], hidden: Pointer[T], gates: Pointer[T], first: Pointer[T], weight: Pointer[T],
    lengths: Pointer[int64], limited: int, reverse: int, relu: int, steps: int, B: int, H: int,
    part: int, parts: int,
) -> None:  # fmt: skip
    """out (T, B, H); hidden (B, H) is the state of each step."""
    lo, hi = share(B, part, parts)
    copy(hidden + lo * H, first + lo * H, (hi - lo) * H)
    for step in range(steps if lo < hi else 0):
        t = steps - 1 - step if reverse != 0 else step
        now = out + t * B * H
        multiply(now + lo * H, H, hidden + lo * H, H, weight, hi - lo, H, H)
        for row in range(lo, hi):
            y, x = now + row * H, gates + (t * B + row) * H
            if not has_step(lengths, limited, row, t):
                clear(y, H, T(0.0))
            else:
                if relu != 0:
                    relu_of_sums(y, x, H, T(0.0))
                else:
                    tanh_of_sums(y, x, H)
                copy(hidden + row * H, y, H)


@helper
def step_back(
    out: Pointer[T],
    g: Pointer[T],
    g_hidden: Pointer[T],
    y: Pointer[T],
    H: int,
    relu: int,
    one: float,
) -> None:
    """Cotangents of a row's sums."""
    if relu != 0:
        for j in range(H):
            change = g_hidden[j] + g[j]
            out[j] = one - one if y[j] <= one - one else change
    else:
        for j in range(H):
            out[j] = (g_hidden[j] + g[j]) * (one - y[j] * y[j])


@kernel(T=WIDE)
def rnn_backward_rows(
    out: Pointer[T], hidden: Pointer[T], g: Pointer[T], g_hidden: Pointer[T], y: Pointer[T],
    weight: Pointer[T], products: Pointer[T],
    lengths: Pointer[int64], limited: int, reverse: int, relu: int, steps: int, B: int, H: int,
    part: int, parts: int,
) -> None:  # fmt: skip
    """out (T, B, H); hidden (B, H) is the cotangent of the state before each step."""
    lo, hi = share(B, part, parts)
    copy(hidden + lo * H, g_hidden + lo * H, (hi - lo) * H)
    for step in range(steps if lo < hi else 0):
        t = step if reverse != 0 else steps - 1 - step
        for row in range(lo, hi):
            turn = (t * B + row) * H
            if has_step(lengths, limited, row, t):
                step_back(out + turn, g + turn, hidden + row * H, y + turn, H, relu, T(1.0))
            else:
                clear(out + turn, H, T(0.0))
        target = products if limited != 0 else hidden
        multiply(target + lo * H, H, out + (t * B + lo) * H, H, weight, hi - lo, H, H)
        for row in range(lo, hi if limited != 0 else lo):
            if has_step(lengths, limited, row, t):
                copy(hidden + row * H, products + row * H, H)


@lower("cpu", ops.rnn_steps, dtypes=WIDE)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    gates: Operand,
    hidden: Operand,
    weight: Operand,
    *lengths: Operand,
    reverse: bool,
    relu: bool,
) -> None:
    steps, B, H = gates.shape
    panels = packed(launcher, weight, turned=True)
    launcher.launch(
        rnn_rows(T=gates.dtype),
        *(*outs, gates, hidden, panels, *limits(launcher, lengths)),
        *(int(reverse), int(relu), steps, B, H),
        work=(0.5 * H + 20) * steps * B * H,
    )


@lower("cpu", ops.rnn_backward, dtypes=WIDE)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    g: Operand,
    g_hidden: Operand,
    y: Operand,
    weight: Operand,
    *lengths: Operand,
    reverse: bool,
    relu: bool,
) -> None:
    steps, B, H = g.shape
    panels = packed(launcher, weight, turned=False)
    products = launcher.scratch(g.dtype.nbytes(B * H))
    launcher.launch(
        rnn_backward_rows(T=g.dtype),
        *(*outs, g, g_hidden, y, panels, products, *limits(launcher, lengths)),
        *(int(reverse), int(relu), steps, B, H),
        work=(0.5 * H + 10) * steps * B * H,
    )
