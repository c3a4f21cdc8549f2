"""What the recurrences of `lstm`, `gru`, `rnn` share: rows that have ended, states before a step.

T steps, B rows, H hidden units. Steps of a row from its length on keep its state and give zeros, in
both directions, so that the reverse one begins at each row's own last step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch.dtype import int64
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.create import iota
from numbatorch.ops.matmul import matmul_
from numbatorch.ops.operands import as_node, describe, expanded, zeros_like
from numbatorch.ops.view import cat, element, narrow, reshape, transpose, unsqueeze
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
LONGEST = 70  # steps, rows or units of a sample: fallbacks have nodes for each step


def order(steps: int, reverse: bool) -> range:
    """The steps in the order in which they are taken."""
    return range(steps - 1, -1, -1) if reverse else range(steps)


class Rows:
    """Which rows are within their lengths; all of them where there are no lengths."""

    def __init__(self, lengths: Sequence[Node]) -> None:
        self.lengths = lengths[0] if lengths else None

    def live(self, step: int, value: Node, other: Node) -> Node:
        """`value` (B, ...) for rows that have this step, else `other`."""
        if self.lengths is None:
            return value
        live = find("gt").apply(self.lengths, step)
        live = reshape.apply(live, shape=(*live.shape, *(1,) * (len(value.shape) - 1)))
        return find("where").apply(expanded(live, value.shape), value, other)

    def shown(self, step: int, value: Node) -> Node:
        """`value`, and 0 in rows that have not this step."""
        return value if self.lengths is None else self.live(step, value, zeros_like(value))

    def before(self, states: Node, first: Node, reverse: bool) -> Node:
        """The states (T, B, H) before each step: those after the one taken before, or the first."""
        T = states.shape[0]
        if not reverse:
            return cat([unsqueeze(first, 0), narrow(states, 0, 0, T - 1)])
        moved = cat([narrow(states, 0, 1, T - 1), unsqueeze(first, 0)])
        if self.lengths is None:
            return moved
        steps = expanded(reshape.apply(iota(T, states.device) + 1, shape=(T, 1)), states.shape[:2])
        live = find("lt").apply(steps, expanded(self.lengths, states.shape[:2]))
        live = expanded(unsqueeze(live, 2), states.shape)
        return find("where").apply(live, moved, expanded(unsqueeze(first, 0), states.shape))


def wide(*nodes: Node) -> tuple[Node, ...]:
    """The nodes in the dtype that they are computed in."""
    return tuple(as_node(x, x.dtype.compute, x.device) for x in nodes)


def columns(x: Node, count: int) -> list[Node]:
    """`count` parts of equal size of the last dimension."""
    size = x.shape[-1] // count
    return [narrow(x, -1, i * size, size) for i in range(count)]


def sigmoid(x: Node) -> Node:
    """1 / (1 + exp(-x))."""
    return find("sigmoid").apply(x)


def tanh(x: Node) -> Node:
    """The hyperbolic tangent."""
    return find("tanh").apply(x)


def row(x: Node, step: int) -> Node:
    """x[step]."""
    return element(x, 0, step)


def given(cotangents: Sequence[Node | None], values: Sequence[Node]) -> list[Node]:
    """Cotangents, zeros for those that are not there."""
    pairs = zip(cotangents, values, strict=True)
    return [zeros_like(y) if g is None else g for g, y in pairs]


def weight_cotangent(gates: Node, states: Node) -> Node:
    """Sum over steps and rows of gates[t, b, i] * states[t, b, j]."""
    T, B, N = gates.shape
    left = reshape.apply(gates, shape=(T * B, N))
    right = reshape.apply(states, shape=(T * B, states.shape[2]))
    return transpose(matmul_.apply(transpose(right, 0, 1), left), 0, 1)  # twice as fast this way


def check(operator: str, names: str, shapes: Sequence[Shape], operands: Sequence[Node]) -> None:
    """Raise unless operands have these shapes and one float dtype, but for lengths (B,) int64.

    Args:
        names: of the operands, a word for each.
        shapes: of the operands that are floats; lengths may stand behind them.
    """
    floats, more = operands[: len(shapes)], operands[len(shapes) :]
    fits = all(x.shape == shape for x, shape in zip(floats, shapes, strict=True))
    fits = fits and all(x.dtype.kind == "f" and x.dtype is floats[0].dtype for x in floats)
    rows = floats[0].shape[1:2]
    fits = fits and len(more) < 2 and all(x.shape == rows and x.dtype is int64 for x in more)
    fits = fits and floats[0].shape[0] > 0
    if not fits:
        shown = zip((*names.split(), *["lengths"] * len(more)), operands, strict=False)
        rows_ = [f"{name} {describe(x)}" for name, x in shown]
        wanted = f"must be of one float dtype and {', '.join(map(str, shapes))}"
        raise ShapeError(message(operator, wanted, *rows_))


class Sizes(NamedTuple):
    """T steps, B rows, H units and lengths of a sample; no lengths or one array."""

    T: int
    B: int
    H: int
    lengths: list[Array]
    reverse: bool


def drawn(rng: Draw) -> Sizes:
    """Sizes of a sample; some have lengths."""
    T, B, H = rng.dims((1, 0, 1), (5, 5, 9), most=LONGEST)
    lengths = [rng.integers(0, T + 1, B)] if rng.random() < 0.5 else []
    return Sizes(T, B, H, lengths, bool(rng.random() < 0.5))


def drawn_weight(rng: Draw, rows: int, cols: int) -> Array:
    """A weight of a sample, with which states neither grow nor part over many steps."""
    weight: Array = rng.standard_normal((rows, cols)) / (2 * cols**0.5)
    return weight


def drawn_gates(rng: Draw, shape: Shape, kinds: str) -> Array:
    """What steps kept, in a sample: a letter for each part of the last dimension.

    Args:
        kinds: "s" for values of sigmoid, "t" of tanh, "n" for any.
    """
    draws = {"s": lambda: rng.random(shape), "t": lambda: rng.uniform(-1, 1, shape)}
    draws["n"] = lambda: rng.standard_normal(shape)
    return np.concatenate([draws[kind]() for kind in kinds], -1)


def alive(lengths: Sequence[Array], step: int, rows: int) -> Array:
    """(B, 1): whether a row has this step."""
    return step < lengths[0][:, None] if lengths else np.ones((rows, 1), bool)
