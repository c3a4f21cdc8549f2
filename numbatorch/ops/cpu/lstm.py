"""CPU kernels of an LSTM's recurrence and its gradient, through all steps for some rows at a time.

A row of what is kept is i, f, g, o, c; products are written where their gates are to stand.
"""

from __future__ import annotations

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, kernel, share
from numbatorch.language.words import int64
from numbatorch.ops import lstm as ops
from numbatorch.ops.cpu.recurrent_rows import (
    clear,
    copy,
    has_step,
    limits,
    multiply,
    packed,
    sigmoid_of_sums,
    tanh,
    tanh_of_sums,
)
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE


@helper
def step_row(
    out: Pointer[T],
    hidden: Pointer[T],
    cell: Pointer[T],
    kept: Pointer[T],
    gates: Pointer[T],
    H: int,
    one: float,
) -> None:
    """The state of a row after a step; `kept` holds its product with the weight."""
    sigmoid_of_sums(kept, gates, 2 * H, one)
    tanh_of_sums(kept + 2 * H, gates + 2 * H, H)
    sigmoid_of_sums(kept + 3 * H, gates + 3 * H, H, one)
    for j in range(H):
        cell[j] = kept[H + j] * cell[j] + kept[j] * kept[2 * H + j]
    copy(kept + 4 * H, cell, H)
    for j in range(H):
        hidden[j] = kept[3 * H + j] * tanh(cell[j])
    copy(out, hidden, H)


@kernel(T=WIDE)
def lstm_rows(
    out: Pointer[T], hidden: Pointer[T], cell: Pointer[T], kept: Pointer[T], gates: Pointer[T],
    first_hidden: Pointer[T], first_cell: Pointer[T], weight: Pointer[T],
    lengths: Pointer[int64], limited: int, reverse: int, steps: int, B: int, H: int,
    kept_step: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out (T, B, H) and kept (T, B, 5 H); hidden and cell (B, H) are the state of each step."""
    lo, hi = share(B, part, parts)
    copy(hidden + lo * H, first_hidden + lo * H, (hi - lo) * H)
    copy(cell + lo * H, first_cell + lo * H, (hi - lo) * H)
    for step in range(steps if lo < hi else 0):
        t = steps - 1 - step if reverse != 0 else step
        now = kept + t * kept_step
        multiply(now + lo * 5 * H, 5 * H, hidden + lo * H, H, weight, hi - lo, 4 * H, H)
        for row in range(lo, hi):
            place, shown = now + row * 5 * H, out + (t * B + row) * H
            if has_step(lengths, limited, row, t):
                x = gates + (t * B + row) * 4 * H
                step_row(shown, hidden + row * H, cell + row * H, place, x, H, T(1.0))
            else:
                clear(place, 5 * H, T(0.0))
                clear(shown, H, T(0.0))


@helper
def step_back(
    out: Pointer[T],
    g: Pointer[T],
    g_hidden: Pointer[T],
    g_cell: Pointer[T],
    kept: Pointer[T],
    before: Pointer[T],
    H: int,
    one: float,
) -> None:
    """Cotangents of a row's gates; that of its c becomes the one before the step."""
    for j in range(H):
        bent = tanh(kept[4 * H + j])
        o = kept[3 * H + j]
        change = g_hidden[j] + g[j]
        g_cell[j] = g_cell[j] + change * o * (one - bent * bent)
        out[3 * H + j] = change * bent * o * (one - o)
    for j in range(H):
        i = kept[j]
        out[j] = g_cell[j] * kept[2 * H + j] * i * (one - i)
    for j in range(H):
        gate = kept[2 * H + j]
        out[2 * H + j] = g_cell[j] * kept[j] * (one - gate * gate)
    for j in range(H):
        f = kept[H + j]
        out[H + j] = g_cell[j] * before[j] * f * (one - f)
        g_cell[j] = g_cell[j] * f


@kernel(T=WIDE)
def lstm_backward_rows(
    out: Pointer[T], hidden: Pointer[T], cell: Pointer[T],
    g: Pointer[T], g_hidden: Pointer[T], g_cell: Pointer[T], kept: Pointer[T],
    first_cell: Pointer[T], weight: Pointer[T], products: Pointer[T],
    lengths: Pointer[int64], limited: int, reverse: int, steps: int, B: int, H: int,
    part: int, parts: int,
) -> None:  # fmt: skip
    """out (T, B, 4 H); hidden and cell (B, H) are the cotangents of the state before each step."""
    lo, hi = share(B, part, parts)
    copy(hidden + lo * H, g_hidden + lo * H, (hi - lo) * H)
    copy(cell + lo * H, g_cell + lo * H, (hi - lo) * H)
    ahead = -1 if reverse != 0 else 1
    for step in range(steps if lo < hi else 0):
        t = step if reverse != 0 else steps - 1 - step
        last = t - ahead
        for row in range(lo, hi):
            place, turn = out + (t * B + row) * 4 * H, (t * B + row) * H
            if has_step(lengths, limited, row, t):
                before = first_cell + row * H
                if last >= 0 and last < steps and has_step(lengths, limited, row, last):
                    before = kept + (last * B + row) * 5 * H + 4 * H
                dh, dc, y = hidden + row * H, cell + row * H, kept + 5 * turn
                step_back(place, g + turn, dh, dc, y, before, H, T(1.0))
            else:
                clear(place, 4 * H, T(0.0))
        target = products if limited != 0 else hidden
        place = out + (t * B + lo) * 4 * H
        multiply(target + lo * H, H, place, 4 * H, weight, hi - lo, H, 4 * H)
        for row in range(lo, hi if limited != 0 else lo):
            if has_step(lengths, limited, row, t):
                copy(hidden + row * H, products + row * H, H)


@lower("cpu", ops.lstm_steps, dtypes=WIDE)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    gates: Operand,
    hidden: Operand,
    cell: Operand,
    weight: Operand,
    *lengths: Operand,
    reverse: bool,
) -> None:
    out, last_hidden, last_cell, kept = outs
    steps, B, H = out.shape
    panels = packed(launcher, weight, turned=True)
    wanted = launcher.wanted(kept)
    room: Any = kept if wanted else launcher.scratch(out.dtype.nbytes(5 * B * H))
    launcher.launch(
        lstm_rows(T=out.dtype),
        *(out, last_hidden, last_cell, room, gates, hidden, cell, panels),
        *(*limits(launcher, lengths), int(reverse), steps, B, H, 5 * B * H * wanted),
        work=(2 * H + 60) * steps * B * H,
    )


@lower("cpu", ops.lstm_backward, dtypes=WIDE)
def _(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    g: Operand,
    g_hidden: Operand,
    g_cell: Operand,
    kept: Operand,
    cell: Operand,
    weight: Operand,
    *lengths: Operand,
    reverse: bool,
) -> None:
    steps, B, H = g.shape
    panels = packed(launcher, weight, turned=False)
    products = launcher.scratch(g.dtype.nbytes(B * H))
    launcher.launch(
        lstm_backward_rows(T=g.dtype),
        *(*outs, g, g_hidden, g_cell, kept, cell, panels, products),
        *(*limits(launcher, lengths), int(reverse), steps, B, H),
        work=(2 * H + 40) * steps * B * H,
    )
