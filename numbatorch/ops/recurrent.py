"""Recurrent layers and cells under PyTorch's names: `lstm`, `gru`, `rnn_tanh`, `rnn_relu`.

T steps, B rows, I inputs, H hidden units, D directions, L layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.graph import Node, find
from numbatorch.ops.composed import composed
from numbatorch.ops.gru import gru_steps
from numbatorch.ops.linear import linear
from numbatorch.ops.lstm import lstm_steps
from numbatorch.ops.recurrent_layers import (
    GRU,
    LSTM,
    RNN_RELU,
    RNN_TANH,
    Kind,
    Weights,
    check_weights,
    lstm_gates,
    run_layers,
)
from numbatorch.ops.recurrent_steps import columns, sigmoid, tanh
from numbatorch.ops.rnn import rnn_steps
from numbatorch.ops.surface import public

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


def _by_steps(kind: Kind) -> Callable[..., Any]:
    """The reference of a layer in both directions with biases: x, the states, eight parameters."""

    def reference(x: Array, *rest: Array, **_attrs: Any) -> tuple[Array, ...]:
        states, weights = rest[: kind.states], rest[kind.states :]
        found = []
        for d in (0, 1):
            w_ih, w_hh, b_ih, b_hh = weights[4 * d : 4 * d + 4]
            first = [state[d] for state in states]
            gates = x @ w_ih.T + b_ih
            if kind is GRU:
                H = w_hh.shape[1]
                gates[..., : 2 * H] += b_hh[: 2 * H]
                operands = (gates, *first, w_hh, b_hh[2 * H :])
                out, *last, _ = gru_steps.reference(*operands, reverse=bool(d))
            elif kind is LSTM:
                operands = (gates + b_hh, *first, w_hh)
                out, *last, _ = lstm_steps.reference(*operands, reverse=bool(d))
            else:
                attrs = {"reverse": bool(d), "relu": kind is RNN_RELU}
                out, *last = rnn_steps.reference(gates + b_hh, *first, w_hh, **attrs)
            found.append((out, *last))
        outs, *both = zip(*found, strict=True)
        return np.concatenate(outs, 2), *(np.stack(state) for state in both)

    return reference


def _record(kind: Kind) -> dict[str, Any]:
    """What the record of a layer says: samples have two directions and biases."""

    def sample(rng: Draw) -> Any:
        T, B, K, H = (int(n) for n in rng.integers((1, 1, 1, 1), (4, 4, 5, 5)))
        wide = kind.gates * H
        shapes: list[Any] = [(T, B, K), *[(2, B, H)] * kind.states]
        shapes += [(wide, K), (wide, H), (wide,), (wide,)] * 2
        return [rng.standard_normal(shape) for shape in shapes], {}

    def call(function: Any, nodes: Any, _attrs: Any) -> Any:
        first = kind.states + 1
        hx = tuple(nodes[1:first]) if kind.states == 2 else nodes[1]
        return function(nodes[0], hx, list(nodes[first:]), True, 1, 0.0, False, True, False)

    return {"numpy": _by_steps(kind), "sample": sample, "call": call, "dtypes": WIDE}


WIDE = (dt.float64, dt.float32)


@composed(**_record(LSTM), source="https://www.bioinf.jku.at/publications/older/2604.pdf")
@public("nt")
def lstm(
    input: Node,
    hx: Node | Sequence[Node],
    params: Node | Sequence[Node],
    has_biases: bool | Sequence[Node],
    num_layers: int | bool,
    dropout: float,
    train: bool | float,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Node, Node, Node]:
    """h = o tanh(c) and c = f c + i g over steps; i, f, g, o are of W_ih x + b_ih + W_hh h + b_hh.

    A packed batch is given by position, as in PyTorch: (data, batch_sizes, hx, params, has_biases,
    num_layers, dropout, train, bidirectional), with data (N, I) and batch_sizes (T,).

    Args:
        input: (T, B, I), or (B, T, I) with batch_first.
        hx: h (L * D, B, H) and c (L * D, B, H) before the first step.
        params: of each layer and direction w_ih (4 H, I), w_hh (4 H, H), b_ih (4 H,), b_hh (4 H,).
            With w_hr (P, H) behind them W_hr h, of P units, stands for h.
        has_biases: whether params has b_ih and b_hh.
        dropout: probability at which what a layer gives the next one is 0, if `train`.
        bidirectional: whether each layer goes over the steps in both directions.
    Returns:
        h of the last layer at all steps (T, B, D * H), or (B, T, D * H), or (N, D * H); h and c
        after the last step (L * D, B, H).
    Raises:
        ShapeError: operands do not fit, or there are no steps.

    >>> x, zero = nt.ones(3, 2, 4), nt.zeros(1, 2, 5)
    >>> w_ih, w_hh = nt.ones(20, 4), nt.ones(20, 5)
    >>> given = [w_ih, w_hh], False, 1, 0.0, False, False, False
    >>> out, h, c = nt.lstm(x, (zero, zero), *given)
    >>> out.shape, h.shape, c.shape
    ((3, 2, 5), (1, 2, 5), (1, 2, 5))
    """
    args = (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    found: tuple[Node, Node, Node] = run_layers(LSTM, args)
    return found


@composed(**_record(GRU), source="https://arxiv.org/abs/1406.1078")
@public("nt")
def gru(
    input: Node,
    hx: Node | Sequence[Node],
    params: Node | Sequence[Node],
    has_biases: bool | Sequence[Node],
    num_layers: int | bool,
    dropout: float,
    train: bool | float,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Node, Node]:
    """h = (1 - z) n + z h over steps, with r, z and n = tanh(W_in x + b_in + r (W_hn h + b_hn)).

    A packed batch is given as to `lstm`.

    Args:
        input: (T, B, I), or (B, T, I) with batch_first.
        hx: (L * D, B, H), before the first step.
        params: of each layer and direction w_ih (3 H, I), w_hh (3 H, H), b_ih (3 H,), b_hh (3 H,).
        has_biases, num_layers, dropout, train, bidirectional, batch_first: as of `lstm`.
    Returns:
        h of the last layer at all steps, and of all layers after the last one, as of `lstm`.
    Raises:
        ShapeError: operands do not fit, or there are no steps.

    >>> x, zero = nt.ones(3, 2, 4), nt.zeros(1, 2, 5)
    >>> given = [nt.ones(15, 4), nt.ones(15, 5)], False, 1, 0.0, False, False, False
    >>> [y.shape for y in nt.gru(x, zero, *given)]
    [(3, 2, 5), (1, 2, 5)]
    """
    args = (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    found: tuple[Node, Node] = run_layers(GRU, args)
    return found


@composed(**_record(RNN_TANH), source="https://doi.org/10.1207/s15516709cog1402_1")
@public("nt")
def rnn_tanh(
    input: Node,
    hx: Node | Sequence[Node],
    params: Node | Sequence[Node],
    has_biases: bool | Sequence[Node],
    num_layers: int | bool,
    dropout: float,
    train: bool | float,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Node, Node]:
    """h = tanh(W_ih x + b_ih + W_hh h + b_hh) over steps; arguments and results as of `gru`.

    Args:
        params: of each layer and direction w_ih (H, I), w_hh (H, H), b_ih (H,), b_hh (H,).

    >>> x, zero = nt.ones(3, 2, 4), nt.zeros(1, 2, 5)
    >>> given = [nt.zeros(5, 4), nt.zeros(5, 5)], False, 1, 0.0, False, False, False
    >>> nt.rnn_tanh(x, zero, *given)[0].sum()
    tensor(0.)
    """
    args = (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    found: tuple[Node, Node] = run_layers(RNN_TANH, args)
    return found


@composed(**_record(RNN_RELU), source="https://doi.org/10.1207/s15516709cog1402_1")
@public("nt")
def rnn_relu(
    input: Node,
    hx: Node | Sequence[Node],
    params: Node | Sequence[Node],
    has_biases: bool | Sequence[Node],
    num_layers: int | bool,
    dropout: float,
    train: bool | float,
    bidirectional: bool,
    batch_first: bool,
) -> tuple[Node, Node]:
    """h = max(W_ih x + b_ih + W_hh h + b_hh, 0) over steps; arguments and results as of `gru`.

    Args:
        params: of each layer and direction w_ih (H, I), w_hh (H, H), b_ih (H,), b_hh (H,).

    >>> x, zero = nt.ones(2, 1, 1), nt.zeros(1, 1, 1)
    >>> given = [nt.ones(1, 1), nt.ones(1, 1)], False, 1, 0.0, False, False, False
    >>> nt.rnn_relu(x, zero, *given)[0].flatten()
    tensor([1., 2.])
    """
    args = (input, hx, params, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    found: tuple[Node, Node] = run_layers(RNN_RELU, args)
    return found


def _sums(
    name: str,
    kind: Kind,
    x: Node,
    states: Sequence[Node],
    w_ih: Node,
    w_hh: Node,
    b_ih: Node | None,
    b_hh: Node | None,
) -> tuple[Node, Node]:
    """What the input and what h give to the gates of one step."""
    kind = kind._replace(name=name)
    fits = len(x.shape) in (1, 2) and all(h.shape[:-1] == x.shape[:-1] for h in states)
    shown = {"input": x, **{f"hx[{i}]": h for i, h in enumerate(states)}}
    fits = fits and all(len(h.shape) == len(x.shape) for h in states)
    kind.require(fits, "input is (B, I) or (I,) and hx (B, H) or (H,)", **shown)
    check_weights(kind, x, list(states), Weights(w_ih, w_hh, b_ih, b_hh, None))
    return linear(x, w_ih, b_ih), linear(states[0], w_hh, b_hh)


def _cell_sample(kind: Kind) -> Any:
    def sample(rng: Draw) -> Any:
        B, K, H = (int(n) for n in rng.integers((1, 1, 1), (5, 5, 5)))
        wide = kind.gates * H
        shapes: list[Any] = [
            (B, K),
            *[(B, H)] * kind.states,
            (wide, K),
            (wide, H),
            (wide,),
            (wide,),
        ]
        return [rng.standard_normal(shape) for shape in shapes], {}

    return sample


def _cell_reference(kind: Kind) -> Any:
    """A layer of one step in one direction."""

    def reference(x: Array, *rest: Array, **_attrs: Any) -> Any:
        states, weights = rest[: kind.states], rest[kind.states :]
        both = [np.stack([state, state]) for state in states]
        _, *last = _by_steps(kind)(x[None], *both, *weights, *weights)
        return tuple(state[0] for state in last) if kind is LSTM else last[0][0]

    return reference


def _of_pair(function: Any, nodes: Any, _attrs: Any) -> Any:
    x, h, c, *weights = nodes
    return function(x, (h, c), *weights)


@composed(numpy=_cell_reference(LSTM), sample=_cell_sample(LSTM), call=_of_pair, dtypes=WIDE)
@public("nt")
def lstm_cell(
    input: Node,
    hx: Sequence[Node],
    w_ih: Node,
    w_hh: Node,
    b_ih: Node | None = None,
    b_hh: Node | None = None,
) -> tuple[Node, Node]:
    """h and c after one step of an LSTM.

    Args:
        input: (B, I) or (I,).
        hx: h and c before it, (B, H) or (H,).
        w_ih, w_hh, b_ih, b_hh: (4 H, I), (4 H, H), (4 H,) and (4 H,), of i, f, g, o.
    Raises:
        ShapeError: operands do not fit.

    >>> zero = nt.zeros(2, 1)
    >>> h, c = nt.lstm_cell(nt.ones(2, 3), (zero, zero), nt.zeros(4, 3), nt.zeros(4, 1))
    >>> h.shape, c.tolist()
    ((2, 1), [[0.0], [0.0]])
    """
    LSTM._replace(name="lstm_cell").require(len(hx) == 2, "hx must be (h, c)")
    along, across = _sums("lstm_cell", LSTM, input, hx, w_ih, w_hh, b_ih, b_hh)
    return lstm_gates(along + across, hx[1])


@composed(numpy=_cell_reference(GRU), sample=_cell_sample(GRU), dtypes=WIDE)
@public("nt")
def gru_cell(
    input: Node,
    hx: Node,
    w_ih: Node,
    w_hh: Node,
    b_ih: Node | None = None,
    b_hh: Node | None = None,
) -> Node:
    """h after one step of a GRU.

    Args:
        input: (B, I) or (I,).
        hx: h before it, (B, H) or (H,).
        w_ih, w_hh, b_ih, b_hh: (3 H, I), (3 H, H), (3 H,) and (3 H,), of r, z, n.
    Raises:
        ShapeError: operands do not fit.

    >>> nt.gru_cell(nt.ones(2, 3), nt.ones(2, 1), nt.zeros(3, 3), nt.zeros(3, 1))
    tensor([[0.5000],
            [0.5000]])
    """
    sums = _sums("gru_cell", GRU, input, [hx], w_ih, w_hh, b_ih, b_hh)
    x, h = (columns(part, 3) for part in sums)
    r, z = sigmoid(x[0] + h[0]), sigmoid(x[1] + h[1])
    n = tanh(x[2] + r * h[2])
    return (1.0 - z) * n + z * hx


@composed(numpy=_cell_reference(RNN_TANH), sample=_cell_sample(RNN_TANH), dtypes=WIDE)
@public("nt")
def rnn_tanh_cell(
    input: Node,
    hx: Node,
    w_ih: Node,
    w_hh: Node,
    b_ih: Node | None = None,
    b_hh: Node | None = None,
) -> Node:
    """tanh(W_ih x + b_ih + W_hh h + b_hh).

    Args:
        input: (B, I) or (I,).
        hx: (B, H) or (H,).
        w_ih, w_hh, b_ih, b_hh: (H, I), (H, H), (H,) and (H,).
    Raises:
        ShapeError: operands do not fit.

    >>> nt.rnn_tanh_cell(nt.ones(1, 2), nt.ones(1, 1), nt.zeros(1, 2), nt.zeros(1, 1))
    tensor([[0.]])
    """
    along, across = _sums("rnn_tanh_cell", RNN_TANH, input, [hx], w_ih, w_hh, b_ih, b_hh)
    return tanh(along + across)


@composed(numpy=_cell_reference(RNN_RELU), sample=_cell_sample(RNN_RELU), dtypes=WIDE)
@public("nt")
def rnn_relu_cell(
    input: Node,
    hx: Node,
    w_ih: Node,
    w_hh: Node,
    b_ih: Node | None = None,
    b_hh: Node | None = None,
) -> Node:
    """max(W_ih x + b_ih + W_hh h + b_hh, 0); arguments as of `rnn_tanh_cell`.

    >>> nt.rnn_relu_cell(nt.ones(1, 2), nt.ones(1, 1), nt.ones(1, 2), nt.ones(1, 1))
    tensor([[3.]])
    """
    along, across = _sums("rnn_relu_cell", RNN_RELU, input, [hx], w_ih, w_hh, b_ih, b_hh)
    return find("relu").apply(along + across)
