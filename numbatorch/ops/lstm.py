"""The recurrence of an LSTM layer in one direction, and its gradient, over gates of all steps.

T steps, B rows, H hidden units; what the input gives to the gates is one product before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.ops.matmul import matmul_
from numbatorch.ops.operands import as_node
from numbatorch.ops.recurrent_steps import (
    Rows,
    alive,
    check,
    columns,
    drawn,
    drawn_gates,
    drawn_weight,
    given,
    order,
    row,
    sigmoid,
    tanh,
    weight_cotangent,
    wide,
)
from numbatorch.ops.structured import structured
from numbatorch.ops.view import cat, narrow, stack, transpose
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
SOURCE = "https://www.bioinf.jku.at/publications/older/2604.pdf"


@structured(source=SOURCE)
def lstm_steps(
    gates: Array, hidden: Array, cell: Array, weight: Array, *lengths: Array, reverse: bool
) -> tuple[Array, ...]:
    """c = f c + i g and h = o tanh(c), with i, f, o = sigmoid and g = tanh of gates + h W^T.

    Args:
        gates: (T, B, 4 H), what the input gives to i, f, g, o.
        hidden, cell: (B, H), before the first step.
        weight: (4 H, H).
        lengths: none, or one (B,); later steps keep the state of a row and give zeros.
        reverse: from the last step to the first.
    Returns:
        h of all steps (T, B, H), h and c after the last one (B, H), and what a gradient needs,
        (T, B, 5 H): i, f, g, o, c of all steps.
    """
    T, B, _ = gates.shape
    H = hidden.shape[1]
    out, kept = np.zeros((T, B, H), gates.dtype), np.zeros((T, B, 5 * H), gates.dtype)
    for t in order(T, reverse):
        live = alive(lengths, t, B)
        sums = gates[t] + hidden @ weight.T
        i, f, o = (1 / (1 + np.exp(-sums[:, n * H : (n + 1) * H])) for n in (0, 1, 3))
        g = np.tanh(sums[:, 2 * H : 3 * H])
        after = f * cell + i * g
        shown = o * np.tanh(after)
        kept[t] = np.where(live, np.concatenate([i, f, g, o, after], 1), 0)
        out[t] = np.where(live, shown, 0)
        hidden, cell = np.where(live, shown, hidden), np.where(live, after, cell)
    return out, hidden, cell, kept


@lstm_steps.infer
def _(
    gates: Node, hidden: Node, cell: Node, weight: Node, *lengths: Node, reverse: bool
) -> list[tuple[Shape, DType]]:
    T, B, H = (*gates.shape[:2], *hidden.shape[1:2])
    shapes = ((T, B, 4 * H), (B, H), (B, H), (4 * H, H))
    check("lstm_steps", "gates hidden cell weight", shapes, (gates, hidden, cell, weight, *lengths))
    return [(shape, gates.dtype) for shape in ((T, B, H), (B, H), (B, H), (T, B, 5 * H))]


@lstm_steps.vjp
def _(
    g: tuple[Node | None, ...],
    y: tuple[Node, ...],
    gates: Node,
    hidden: Node,
    cell: Node,
    weight: Node,
    *lengths: Node,
    reverse: bool,
) -> list[Node | None]:
    found: tuple[Node, ...]
    operands = (*given(g[:3], y[:3]), y[3], cell, weight)
    if g[3] is None:
        found = lstm_backward.parts(*operands, *lengths, reverse=reverse)
    else:
        found = _back(*operands, *lengths, reverse=reverse, along=g[3])
    states = Rows(lengths).before(y[0], hidden, reverse)
    return [*found, weight_cotangent(found[0], states), *[None] * len(lengths)]


@lstm_steps.fallback
def _(
    gates: Node, hidden: Node, cell: Node, weight: Node, *lengths: Node, reverse: bool
) -> tuple[Node, ...]:
    dtype, rows, T = gates.dtype, Rows(lengths), gates.shape[0]
    gates, hidden, cell, weight = wide(gates, hidden, cell, weight)
    across = transpose(weight, 0, 1)
    out, kept = [gates] * T, [gates] * T
    for t in order(T, reverse):
        sums = columns(row(gates, t) + matmul_.apply(hidden, across), 4)
        i, f, g, o = sigmoid(sums[0]), sigmoid(sums[1]), tanh(sums[2]), sigmoid(sums[3])
        after = f * cell + i * g
        shown = o * tanh(after)
        kept[t] = rows.shown(t, cat([i, f, g, o, after], 1))
        out[t] = rows.shown(t, shown)
        hidden, cell = rows.live(t, shown, hidden), rows.live(t, after, cell)
    found = (stack(out), hidden, cell, stack(kept))
    return tuple(as_node(x, dtype, x.device) for x in found)


@structured()
def lstm_backward(
    g: Array,
    g_hidden: Array,
    g_cell: Array,
    kept: Array,
    cell: Array,
    weight: Array,
    *lengths: Array,
    reverse: bool,
) -> tuple[Array, ...]:
    """Cotangents of the gates (T, B, 4 H) of `lstm_steps` and of its first h and c (B, H).

    Args:
        g, g_hidden, g_cell: of its first three results.
        kept: its last one.
        cell: c before the first step.
    """
    T, B, H = g.shape
    out = np.zeros((T, B, 4 * H), g.dtype)
    ahead = -1 if reverse else 1
    for t in order(T, not reverse):
        live = alive(lengths, t, B)
        i, f, gate, o, c = (kept[t, :, n * H : (n + 1) * H] for n in range(5))
        before = np.zeros_like(c)
        if 0 <= t - ahead < T:
            before = kept[t - ahead, :, 4 * H :]
        begins = ~alive(lengths, t - ahead, B) if 0 <= t - ahead < T else np.ones((B, 1), bool)
        before = np.where(begins, cell, before)
        bent = np.tanh(c)
        dh = g_hidden + g[t]
        dc = g_cell + dh * o * (1 - bent**2)
        parts = (dc * gate * i * (1 - i), dc * before * f * (1 - f), dc * i * (1 - gate**2))
        step = np.concatenate([*parts, dh * bent * o * (1 - o)], 1)
        out[t] = np.where(live, step, 0)
        g_hidden = np.where(live, out[t] @ weight, g_hidden)
        g_cell = np.where(live, dc * f, g_cell)
    return out, g_hidden, g_cell


@lstm_backward.infer
def _(
    g: Node,
    g_hidden: Node,
    g_cell: Node,
    kept: Node,
    cell: Node,
    weight: Node,
    *lengths: Node,
    reverse: bool,
) -> list[tuple[Shape, DType]]:
    T, B, H = (*g.shape[:2], *cell.shape[1:2])
    shapes = ((T, B, H), (B, H), (B, H), (T, B, 5 * H), (B, H), (4 * H, H))
    operands = (g, g_hidden, g_cell, kept, cell, weight, *lengths)
    check("lstm_backward", "g g_hidden g_cell kept cell weight", shapes, operands)
    return [(shape, g.dtype) for shape in ((T, B, 4 * H), (B, H), (B, H))]


def _back(
    g: Node,
    g_hidden: Node,
    g_cell: Node,
    kept: Node,
    cell: Node,
    weight: Node,
    *lengths: Node,
    reverse: bool,
    along: Node | None = None,
) -> tuple[Node, ...]:
    """`along` is the cotangent of `kept`, which a second derivative has."""
    T, _, H = g.shape
    dtype, rows = g.dtype, Rows(lengths)
    g, g_hidden, g_cell, kept, cell, weight = wide(g, g_hidden, g_cell, kept, cell, weight)
    before = rows.before(narrow(kept, 2, 4 * H, H), cell, reverse)
    out = [g] * T
    along = None if along is None else as_node(along, g.dtype, g.device)
    for t in order(T, not reverse):
        i, f, gate, o, c = columns(row(kept, t), 5)
        bent = tanh(c)
        dh = g_hidden + row(g, t)
        do, dc = dh * bent, g_cell + dh * o * (1.0 - bent * bent)
        more: list[Any] = [0.0] * 5
        if along is not None:
            more = columns(row(along, t), 5)
            dc = dc + more[4]
        di, df = dc * gate + more[0], dc * row(before, t) + more[1]
        dg, do = dc * i + more[2], do + more[3]
        parts = (di * i * (1.0 - i), df * f * (1.0 - f), dg * (1.0 - gate * gate))
        out[t] = rows.shown(t, cat([*parts, do * o * (1.0 - o)], 1))
        g_hidden = rows.live(t, matmul_.apply(out[t], weight), g_hidden)
        g_cell = rows.live(t, dc * f, g_cell)
    return tuple(as_node(x, dtype, x.device) for x in (stack(out), g_hidden, g_cell))


lstm_backward.fallback(_back)


@lstm_steps.multiplies
def _(y: Node) -> int:
    gates, hidden = y.inputs[:2]
    return numel(gates.shape) * hidden.shape[1]


@lstm_steps.samples
def _(rng: Draw) -> Any:
    T, B, H, lengths, reverse = drawn(rng)
    operands = [rng.standard_normal(s) for s in ((T, B, 4 * H), (B, H), (B, H))]
    return [*operands, drawn_weight(rng, 4 * H, H), *lengths], {"reverse": reverse}


@lstm_backward.samples
def _(rng: Draw) -> Any:
    T, B, H, lengths, reverse = drawn(rng)
    g, hidden, cell, first = (rng.standard_normal(s) for s in ((T, B, H), *[(B, H)] * 3))
    kept, weight = drawn_gates(rng, (T, B, H), "sstsn"), drawn_weight(rng, 4 * H, H)
    return [g, hidden, cell, kept, first, weight, *lengths], {"reverse": reverse}
