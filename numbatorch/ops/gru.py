"""The recurrence of a GRU layer in one direction, and its gradient, over gates of all steps.

T steps, B rows, H hidden units; what the input gives to the gates is one product before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.ops.matmul import matmul_
from numbatorch.ops.operands import as_node, expanded
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
from numbatorch.ops.reduce import reduced, sum_
from numbatorch.ops.structured import structured
from numbatorch.ops.view import cat, narrow, stack, transpose
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
SOURCE = "https://arxiv.org/abs/1406.1078"


@structured(source=SOURCE)
def gru_steps(
    gates: Array, hidden: Array, weight: Array, bias: Array, *lengths: Array, reverse: bool
) -> tuple[Array, ...]:
    """h = (1 - z) n + z h, with r, z = sigmoid and n = tanh of gates + h W^T, r times that in n.

    Args:
        gates: (T, B, 3 H), what the input gives to r, z, n.
        hidden: (B, H), before the first step.
        weight: (3 H, H).
        bias: (H,), added to h W^T in n before it is multiplied by r.
        lengths: none, or one (B,); later steps keep the state of a row and give zeros.
        reverse: from the last step to the first.
    Returns:
        h of all steps (T, B, H), the last one (B, H), and what a gradient needs, (T, B, 4 H):
        r, z, n and h W^T + bias of n at all steps.
    """
    T, B, _ = gates.shape
    H = hidden.shape[1]
    out, kept = np.zeros((T, B, H), gates.dtype), np.zeros((T, B, 4 * H), gates.dtype)
    for t in order(T, reverse):
        live = alive(lengths, t, B)
        sums = hidden @ weight.T
        r, z = (1 / (1 + np.exp(-(gates[t] + sums)[:, i * H : (i + 1) * H])) for i in (0, 1))
        product = sums[:, 2 * H :] + bias
        n = np.tanh(gates[t, :, 2 * H :] + r * product)
        after = (1 - z) * n + z * hidden
        kept[t] = np.where(live, np.concatenate([r, z, n, product], 1), 0)
        out[t] = np.where(live, after, 0)
        hidden = np.where(live, after, hidden)
    return out, hidden, kept


@gru_steps.infer
def _(
    gates: Node, hidden: Node, weight: Node, bias: Node, *lengths: Node, reverse: bool
) -> list[tuple[Shape, DType]]:
    T, B, H = (*gates.shape[:2], *hidden.shape[1:2])
    shapes = ((T, B, 3 * H), (B, H), (3 * H, H), (H,))
    check("gru_steps", "gates hidden weight bias", shapes, (gates, hidden, weight, bias, *lengths))
    return [(shape, gates.dtype) for shape in ((T, B, H), (B, H), (T, B, 4 * H))]


@gru_steps.vjp
def _(
    g: tuple[Node | None, ...],
    y: tuple[Node, ...],
    gates: Node,
    hidden: Node,
    weight: Node,
    bias: Node,
    *lengths: Node,
    reverse: bool,
) -> list[Node | None]:
    operands = (*given(g[:2], y[:2]), y[2], y[0], hidden, weight)
    found: tuple[Node, ...]
    if g[2] is None:
        found = gru_backward.parts(*operands, *lengths, reverse=reverse)
    else:
        found = _back(*operands, *lengths, reverse=reverse, along=g[2])
    change, products, first = found
    H = hidden.shape[1]
    of_weight = weight_cotangent(products, Rows(lengths).before(y[0], hidden, reverse))
    of_bias = reduced(sum_, narrow(products, 2, 2 * H, H), (0, 1))
    return [change, first, of_weight, of_bias, *[None] * len(lengths)]


@gru_steps.fallback
def _(
    gates: Node, hidden: Node, weight: Node, bias: Node, *lengths: Node, reverse: bool
) -> tuple[Node, ...]:
    dtype, rows, T = gates.dtype, Rows(lengths), gates.shape[0]
    gates, hidden, weight, bias = wide(gates, hidden, weight, bias)
    across = transpose(weight, 0, 1)
    out, kept = [gates] * T, [gates] * T
    for t in order(T, reverse):
        x, sums = columns(row(gates, t), 3), columns(matmul_.apply(hidden, across), 3)
        r, z = sigmoid(x[0] + sums[0]), sigmoid(x[1] + sums[1])
        product = sums[2] + expanded(bias, sums[2].shape)
        n = tanh(x[2] + r * product)
        after = (1.0 - z) * n + z * hidden
        kept[t] = rows.shown(t, cat([r, z, n, product], 1))
        out[t] = rows.shown(t, after)
        hidden = rows.live(t, after, hidden)
    return tuple(as_node(x, dtype, x.device) for x in (stack(out), hidden, stack(kept)))


@structured()
def gru_backward(
    g: Array,
    g_hidden: Array,
    kept: Array,
    out: Array,
    hidden: Array,
    weight: Array,
    *lengths: Array,
    reverse: bool,
) -> tuple[Array, ...]:
    """Cotangents (T, B, 3 H) of the gates of `gru_steps` and of h W^T + bias; (B, H) of its h.

    Args:
        g, g_hidden: of its first two results.
        kept, out: its last and its first result.
        hidden: h before the first step.
    """
    T, B, H = g.shape
    change, products = np.zeros((2, T, B, 3 * H), g.dtype)
    ahead = -1 if reverse else 1
    for t in order(T, not reverse):
        live = alive(lengths, t, B)
        r, z, n, product = (kept[t, :, i * H : (i + 1) * H] for i in range(4))
        before = hidden
        if 0 <= t - ahead < T:
            before = np.where(alive(lengths, t - ahead, B), out[t - ahead], hidden)
        dh = g_hidden + g[t]
        dn = dh * (1 - z) * (1 - n**2)
        dr, dz = dn * product * r * (1 - r), dh * (before - n) * z * (1 - z)
        change[t] = np.where(live, np.concatenate([dr, dz, dn], 1), 0)
        products[t] = np.where(live, np.concatenate([dr, dz, dn * r], 1), 0)
        g_hidden = np.where(live, dh * z + products[t] @ weight, g_hidden)
    return change, products, g_hidden


@gru_backward.infer
def _(
    g: Node,
    g_hidden: Node,
    kept: Node,
    out: Node,
    hidden: Node,
    weight: Node,
    *lengths: Node,
    reverse: bool,
) -> list[tuple[Shape, DType]]:
    T, B, H = (*g.shape[:2], *hidden.shape[1:2])
    shapes = ((T, B, H), (B, H), (T, B, 4 * H), (T, B, H), (B, H), (3 * H, H))
    operands = (g, g_hidden, kept, out, hidden, weight, *lengths)
    check("gru_backward", "g g_hidden kept out hidden weight", shapes, operands)
    return [(shape, g.dtype) for shape in ((T, B, 3 * H), (T, B, 3 * H), (B, H))]


def _back(
    g: Node,
    g_hidden: Node,
    kept: Node,
    out: Node,
    hidden: Node,
    weight: Node,
    *lengths: Node,
    reverse: bool,
    along: Node | None = None,
) -> tuple[Node, ...]:
    """`along` is the cotangent of `kept`, which a second derivative has."""
    T = g.shape[0]
    dtype, rows = g.dtype, Rows(lengths)
    g, g_hidden, kept, out, hidden, weight = wide(g, g_hidden, kept, out, hidden, weight)
    before = rows.before(out, hidden, reverse)
    change, products = [g] * T, [g] * T
    along = None if along is None else as_node(along, g.dtype, g.device)
    for t in order(T, not reverse):
        r, z, n, product = columns(row(kept, t), 4)
        dh = g_hidden + row(g, t)
        more: list[Any] = [0.0] * 4
        if along is not None:
            more = columns(row(along, t), 4)
        dn = (dh * (1.0 - z) + more[2]) * (1.0 - n * n)
        dr = (dn * product + more[0]) * r * (1.0 - r)
        dz = (dh * (row(before, t) - n) + more[1]) * z * (1.0 - z)
        change[t] = rows.shown(t, cat([dr, dz, dn], 1))
        products[t] = rows.shown(t, cat([dr, dz, dn * r + more[3]], 1))
        g_hidden = rows.live(t, dh * z + matmul_.apply(products[t], weight), g_hidden)
    found = (stack(change), stack(products), g_hidden)
    return tuple(as_node(x, dtype, x.device) for x in found)


gru_backward.fallback(_back)


@gru_steps.multiplies
def _(y: Node) -> int:
    gates, hidden = y.inputs[:2]
    return numel(gates.shape) * hidden.shape[1]


@gru_steps.samples
def _(rng: Draw) -> Any:
    T, B, H, lengths, reverse = drawn(rng)
    gates, hidden, bias = (rng.standard_normal(s) for s in ((T, B, 3 * H), (B, H), (H,)))
    weight = drawn_weight(rng, 3 * H, H)
    return [gates, hidden, weight, bias, *lengths], {"reverse": reverse}


@gru_backward.samples
def _(rng: Draw) -> Any:
    T, B, H, lengths, reverse = drawn(rng)
    g, last, first = (rng.standard_normal(s) for s in ((T, B, H), (B, H), (B, H)))
    kept, out = (drawn_gates(rng, (T, B, H), kinds) for kinds in ("sstn", "t"))
    weight = drawn_weight(rng, 3 * H, H)
    return [g, last, kept, out, first, weight, *lengths], {"reverse": reverse}
