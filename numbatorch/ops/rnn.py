"""The recurrence of a plain RNN layer in one direction, and its gradient, over sums of all steps.

T steps, B rows, H hidden units; what the input gives to the sums is one product before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.graph import Node, find
from numbatorch.ops.matmul import matmul_
from numbatorch.ops.operands import as_node
from numbatorch.ops.recurrent_steps import (
    Rows,
    alive,
    check,
    drawn,
    drawn_gates,
    drawn_weight,
    given,
    order,
    row,
    tanh,
    weight_cotangent,
    wide,
)
from numbatorch.ops.structured import structured
from numbatorch.ops.view import stack, transpose
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
SOURCE = "https://doi.org/10.1207/s15516709cog1402_1"


@structured(source=SOURCE)
def rnn_steps(
    gates: Array, hidden: Array, weight: Array, *lengths: Array, reverse: bool, relu: bool
) -> tuple[Array, ...]:
    """h = tanh, or relu, of gates + h W^T.

    Args:
        gates: (T, B, H), what the input gives.
        hidden: (B, H), before the first step.
        weight: (H, H).
        lengths: none, or one (B,); later steps keep the state of a row and give zeros.
        reverse: from the last step to the first.
        relu: max(x, 0) instead of tanh.
    Returns:
        h of all steps (T, B, H), and the last one (B, H).
    """
    T, B, _ = gates.shape
    out = np.zeros_like(gates)
    for t in order(T, reverse):
        live = alive(lengths, t, B)
        sums = gates[t] + hidden @ weight.T
        after = np.maximum(sums, 0) if relu else np.tanh(sums)
        out[t] = np.where(live, after, 0)
        hidden = np.where(live, after, hidden)
    return out, hidden


@rnn_steps.infer
def _(
    gates: Node, hidden: Node, weight: Node, *lengths: Node, reverse: bool, relu: bool
) -> list[tuple[Shape, DType]]:
    T, B, H = (*gates.shape[:2], *hidden.shape[1:2])
    shapes = ((T, B, H), (B, H), (H, H))
    check("rnn_steps", "gates hidden weight", shapes, (gates, hidden, weight, *lengths))
    return [(shape, gates.dtype) for shape in ((T, B, H), (B, H))]


@rnn_steps.vjp
def _(
    g: tuple[Node | None, ...],
    y: tuple[Node, ...],
    gates: Node,
    hidden: Node,
    weight: Node,
    *lengths: Node,
    reverse: bool,
    relu: bool,
) -> list[Node | None]:
    operands = (*given(g, y), y[0], weight, *lengths)
    change, first = rnn_backward.parts(*operands, reverse=reverse, relu=relu)
    states = Rows(lengths).before(y[0], hidden, reverse)
    return [change, first, weight_cotangent(change, states), *[None] * len(lengths)]


@rnn_steps.fallback
def _(
    gates: Node, hidden: Node, weight: Node, *lengths: Node, reverse: bool, relu: bool
) -> tuple[Node, ...]:
    dtype, rows, T = gates.dtype, Rows(lengths), gates.shape[0]
    gates, hidden, weight = wide(gates, hidden, weight)
    across = transpose(weight, 0, 1)
    out = [gates] * T
    for t in order(T, reverse):
        sums = row(gates, t) + matmul_.apply(hidden, across)
        after = find("relu").apply(sums) if relu else tanh(sums)
        out[t] = rows.shown(t, after)
        hidden = rows.live(t, after, hidden)
    return tuple(as_node(x, dtype, x.device) for x in (stack(out), hidden))


@structured()
def rnn_backward(
    g: Array,
    g_hidden: Array,
    out: Array,
    weight: Array,
    *lengths: Array,
    reverse: bool,
    relu: bool,
) -> tuple[Array, ...]:
    """Cotangents of the gates (T, B, H) of `rnn_steps` and of its first h (B, H).

    Args:
        g, g_hidden: of its two results.
        out: its first one.
    """
    T, B, _ = g.shape
    change = np.zeros_like(g)
    for t in order(T, not reverse):
        live = alive(lengths, t, B)
        dh = g_hidden + g[t]
        dh = np.where(out[t] <= 0, 0, dh) if relu else dh * (1 - out[t] ** 2)
        change[t] = np.where(live, dh, 0)
        g_hidden = np.where(live, change[t] @ weight, g_hidden)
    return change, g_hidden


@rnn_backward.infer
def _(
    g: Node, g_hidden: Node, out: Node, weight: Node, *lengths: Node, reverse: bool, relu: bool
) -> list[tuple[Shape, DType]]:
    T, B, H = (*g.shape[:2], *weight.shape[1:2])
    shapes = ((T, B, H), (B, H), (T, B, H), (H, H))
    operands = (g, g_hidden, out, weight, *lengths)
    check("rnn_backward", "g g_hidden out weight", shapes, operands)
    return [(shape, g.dtype) for shape in ((T, B, H), (B, H))]


@rnn_backward.fallback
def _(
    g: Node, g_hidden: Node, out: Node, weight: Node, *lengths: Node, reverse: bool, relu: bool
) -> tuple[Node, ...]:
    dtype, rows, T = g.dtype, Rows(lengths), g.shape[0]
    g, g_hidden, out, weight = wide(g, g_hidden, out, weight)
    change = [g] * T
    for t in order(T, not reverse):
        y, dh = row(out, t), g_hidden + row(g, t)
        if relu:
            dh = find("where").apply(find("le").apply(y, 0.0), 0.0, dh)
        else:
            dh = dh * (1.0 - y * y)
        change[t] = rows.shown(t, dh)
        g_hidden = rows.live(t, matmul_.apply(change[t], weight), g_hidden)
    return tuple(as_node(x, dtype, x.device) for x in (stack(change), g_hidden))


@rnn_steps.multiplies
def _(y: Node) -> int:
    gates, hidden = y.inputs[:2]
    return numel(gates.shape) * hidden.shape[1]


@rnn_steps.samples
def _(rng: Draw) -> Any:
    T, B, H, lengths, reverse = drawn(rng)
    operands = [rng.standard_normal(s) for s in ((T, B, H), (B, H))]
    operands.append(drawn_weight(rng, H, H))
    return [*operands, *lengths], {"reverse": reverse, "relu": bool(rng.random() < 0.3)}


@rnn_backward.samples
def _(rng: Draw) -> Any:
    T, B, H, lengths, reverse = drawn(rng)
    operands = [rng.standard_normal(s) for s in ((T, B, H), (B, H))]
    operands += [drawn_gates(rng, (T, B, H), "t"), drawn_weight(rng, H, H)]
    return [*operands, *lengths], {"reverse": reverse, "relu": bool(rng.random() < 0.3)}
