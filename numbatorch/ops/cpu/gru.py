"""CPU kernels of a GRU's recurrence and its gradient, through all steps for some rows at a time.

A row of what is kept is r, z, n and what r multiplies in n; products are written where these stand.
"""

from __future__ import annotations

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, kernel, share
from numbatorch.language.words import int64
from numbatorch.ops import gru as ops
from numbatorch.ops.cpu.recurrent_rows import (
    clear,
    copy,
    has_step,
    limits,
    multiply,
    packed,
    sigmoid_of_sums,
    tanh,
)
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE


@helper
def step_row(
    out: Pointer[T],
    hidden: Pointer[T],
    kept: Pointer[T],
    gates: Pointer[T],
    bias: Pointer[T],
    H: int,
    one: float,
) -> None:
    """The state of a row after a step; `kept` holds its product with the weight."""
    sigmoid_of_sums(kept, gates, 2 * H, one)
    for j in range(H):
        kept[3 * H + j] = kept[2 * H + j] + bias[j]
    for j in range(H):
        kept[2 * H + j] = tanh(gates[2 * H + j] + kept[j] * kept[3 * H + j])
    for j in range(H):
        z = kept[H + j]
        hidden[j] = (one - z) * kept[2 * H + j] + z * hidden[j]
    copy(out, hidden, H)


@kernel(T=WIDE)
def gru_rows(
    out: Pointer[T], hidden: Pointer[T], kept: Pointer[T], gates: Pointer[T],
    first: Pointer[T], weight: Pointer[T], bias: Pointer[T],
    lengths: Pointer[int64], limited: int, reverse: int, steps: int, B: int, H: int,
    kept_step: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out (T, B, H) and kept (T, B, 4 H); hidden (B, H) is the state of each step."""
    lo, hi = share(B, part, parts)
    copy(hidden + lo * H, first + lo * H, (hi - lo) * H)
    for step in range(steps if lo < hi else 0):
        t = steps - 1 - step if reverse != 0 else step
        now = kept + t * kept_step
        multiply(now + lo * 4 * H, 4 * H, hidden + lo * H, H, weight, hi - lo, 3 * H, H)
        for row in range(lo, hi):
            place, shown = now + row * 4 * H, out + (t * B + row) * H
            if has_step(lengths, limited, row, t):
                x = gates + (t * B + row) * 3 * H
                step_row(shown, hidden + row * H, place, x, bias, H, T(1.0))
            else:
                clear(place, 4 * H, T(0.0))
                clear(shown, H, T(0.0))


@helper
def step_back(
    out: Pointer[T],
    products: Pointer[T],
    g: Pointer[T],
    g_hidden: Pointer[T],
    kept: Pointer[T],
    before: Pointer[T],
    H: int,
    one: float,
) -> None:
    """Cotangents of a row's gates and products; that of h before the step but for the products."""
    for j in range(H):
        g_hidden[j] = g_hidden[j] + g[j]
    for j in range(H):
        n = kept[2 * H + j]
        change = g_hidden[j] * (one - kept[H + j]) * (one - n * n)
        out[2 * H + j] = change
        products[2 * H + j] = change * kept[j]
    for j in range(H):
        r = kept[j]
        change = out[2 * H + j] * kept[3 * H + j] * r * (one - r)
        out[j] = change
        products[j] = change
    for j in range(H):
        z = kept[H + j]
        change = g_hidden[j] * (before[j] - kept[2 * H + j]) * z * (one - z)
        out[H + j] = change
        products[H + j] = change
        g_hidden[j] = g_hidden[j] * z


@kernel(T=WIDE)
def gru_backward_rows(
    out: Pointer[T], products: Pointer[T], hidden: Pointer[T],
    g: Pointer[T], g_hidden: Pointer[T], kept: Pointer[T], y: Pointer[T], first: Pointer[T],
    weight: Pointer[T], sums: Pointer[T],
    lengths: Pointer[int64], limited: int, reverse: int, steps: int, B: int, H: int,
    part: int, parts: int,
) -> None:  # fmt: skip
    """out and products (T, B, 3 H); hidden (B, H) is the cotangent of the state before a step."""
    lo, hi = share(B, part, parts)
    copy(hidden + lo * H, g_hidden + lo * H, (hi - lo) * H)
    ahead = -1 if reverse != 0 else 1
    for step in range(steps if lo < hi else 0):
        t = step if reverse != 0 else steps - 1 - step
        last = t - ahead
        for row in range(lo, hi):
            turn = (t * B + row) * H
            place, product = out + 3 * turn, products + 3 * turn
            if has_step(lengths, limited, row, t):
                before = first + row * H
                if last >= 0 and last < steps and has_step(lengths, limited, row, last):
                    before = y + (last * B + row) * H
                dh = hidden + row * H
                step_back(place, product, g + turn, dh, kept + 4 * turn, before, H, T(1.0))
            else:
                clear(place, 3 * H, T(0.0))
                clear(product, 3 * H, T(0.0))
        place = products + (t * B + lo) * 3 * H
        multiply(sums + lo * H, H, place, 3 * H, weight, hi - lo, H, 3 * H)
        for row in range(lo, hi):
            if has_step(lengths, limited, row, t):
                for j in range(row * H, row * H + H):
                    hidden[j] = hidden[j] + sums[j]


@lower("cpu", ops.gru_steps, dtypes=WIDE)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    gates: Operand,
    hidden: Operand,
    weight: Operand,
    bias: Operand,
    *lengths: Operand,
    reverse: bool,
) -> None:
    out, last, kept = outs
    steps, B, H = out.shape
    panels = packed(launcher, weight, turned=True)
    wanted = launcher.wanted(kept)
    room: Any = kept if wanted else launcher.scratch(out.dtype.nbytes(4 * B * H))
    launcher.launch(
        gru_rows(T=out.dtype),
        *(out, last, room, gates, hidden, panels, bias),
        *(*limits(launcher, lengths), int(reverse), steps, B, H, 4 * B * H * wanted),
        work=(1.5 * H + 50) * steps * B * H,
    )


@lower("cpu", ops.gru_backward, dtypes=WIDE)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    g: Operand,
    g_hidden: Operand,
    kept: Operand,
    out: Operand,
    hidden: Operand,
    weight: Operand,
    *lengths: Operand,
    reverse: bool,
) -> None:
    steps, B, H = g.shape
    panels = packed(launcher, weight, turned=False)
    sums = launcher.scratch(g.dtype.nbytes(B * H))
    launcher.launch(
        gru_backward_rows(T=g.dtype),
        *(*outs, g, g_hidden, kept, out, hidden, panels, sums),
        *(*limits(launcher, lengths), int(reverse), steps, B, H),
        work=(1.5 * H + 20) * steps * B * H,
    )
