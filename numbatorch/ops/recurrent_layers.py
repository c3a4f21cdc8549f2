"""Layers of recurrences, in one direction or both, of padded and of packed batches.

T steps, B rows, H hidden units, D directions, L layers. What the input of a layer gives to gates
of all steps is one product; the recurrence over steps is one operator (`ops/lstm.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from numbatorch.dtype import int64
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.dropping import dropout as dropped
from numbatorch.ops.gru import gru_steps
from numbatorch.ops.linear import linear
from numbatorch.ops.lstm import lstm_steps
from numbatorch.ops.matmul import matmul_
from numbatorch.ops.operands import as_node, describe, zeros_like
from numbatorch.ops.packing import packed_again, padded
from numbatorch.ops.recurrent_steps import Rows, columns, order, row, sigmoid, tanh, wide
from numbatorch.ops.rnn import rnn_steps
from numbatorch.ops.view import cat, narrow, permute, reshape, stack, transpose

States = list[Node]  # of a layer in a direction: h, and c of an LSTM


class Weights(NamedTuple):
    """The parameters of a layer in one direction."""

    w_ih: Node
    w_hh: Node
    b_ih: Node | None
    b_hh: Node | None
    w_hr: Node | None


class Pass(NamedTuple):
    """A layer in one direction: what its input gives to the gates (T, B, ...), and its states."""

    gates: Node
    states: States
    weights: Weights
    lengths: tuple[Node, ...]
    reverse: bool


Recurrence = Callable[[Pass], tuple[Node, States]]  # gives (T, B, H) and the last states


class Call(NamedTuple):
    """The arguments of a public function; `sizes` are those of a packed batch, otherwise None."""

    input: Node
    sizes: Node | None
    hx: Any
    params: Sequence[Node]
    has_biases: bool
    num_layers: int
    dropout: float
    train: bool
    bidirectional: bool
    batch_first: bool


def _lstm(layer: Pass) -> tuple[Node, States]:
    if layer.weights.w_hr is not None:
        return _projected(layer)
    operands = (layer.gates, *layer.states, layer.weights.w_hh, *layer.lengths)
    out, hidden, cell, _ = lstm_steps.parts(*operands, reverse=layer.reverse)
    return out, [hidden, cell]


def _projected(layer: Pass) -> tuple[Node, States]:
    """An LSTM whose h = W_hr (o tanh(c)) is smaller than c; its nodes are those of the steps."""
    w_hr, dtype = layer.weights.w_hr, layer.gates.dtype
    assert w_hr is not None
    rows, T = Rows(layer.lengths), layer.gates.shape[0]
    gates, hidden, cell, w_hh, w_hr = wide(layer.gates, *layer.states, layer.weights.w_hh, w_hr)
    across, down = transpose(w_hh, 0, 1), transpose(w_hr, 0, 1)
    out = [gates] * T
    for t in order(T, layer.reverse):
        shown, after = lstm_gates(row(gates, t) + matmul_.apply(hidden, across), cell)
        shown = matmul_.apply(shown, down)
        out[t] = rows.shown(t, shown)
        hidden, cell = rows.live(t, shown, hidden), rows.live(t, after, cell)
    found, hidden, cell = (as_node(x, dtype, x.device) for x in (stack(out), hidden, cell))
    return found, [hidden, cell]


def lstm_gates(sums: Node, cell: Node) -> tuple[Node, Node]:
    """h and c after a step, of what goes into the gates (..., 4 H) and c before."""
    i, f, g, o = columns(sums, 4)
    after = sigmoid(f) * cell + sigmoid(i) * tanh(g)
    return sigmoid(o) * tanh(after), after


def _gru(layer: Pass) -> tuple[Node, States]:
    w_hh, b_hh = layer.weights.w_hh, layer.weights.b_hh
    H = w_hh.shape[1]
    bias = zeros_like(narrow(w_hh, 0, 0, 1)) if b_hh is None else narrow(b_hh, 0, 2 * H, H)
    operands = (layer.gates, *layer.states, w_hh, reshape.apply(bias, shape=(H,)), *layer.lengths)
    out, hidden, _ = gru_steps.parts(*operands, reverse=layer.reverse)
    return out, [hidden]


def _rnn(relu: bool) -> Recurrence:
    def run(layer: Pass) -> tuple[Node, States]:
        operands = (layer.gates, *layer.states, layer.weights.w_hh, *layer.lengths)
        out, hidden = rnn_steps.parts(*operands, reverse=layer.reverse, relu=relu)
        return out, [hidden]

    return run


class Kind(NamedTuple):
    """What kind of layer a public function has.

    Attributes:
        name: of the function.
        gates: how many there are.
        states: 2 for h and c, 1 for h.
        run: the recurrence.
    """

    name: str
    gates: int
    states: int
    run: Recurrence

    def require(self, holds: bool, problem: str, **nodes: Node | None) -> None:
        """Raise ShapeError unless it holds."""
        if not holds:
            rows = [f"{name} {describe(x)}" for name, x in nodes.items() if x is not None]
            raise ShapeError(message(self.name, problem, *rows))


LSTM = Kind("lstm", 4, 2, _lstm)
GRU = Kind("gru", 3, 1, _gru)
RNN_TANH = Kind("rnn_tanh", 1, 1, _rnn(False))
RNN_RELU = Kind("rnn_relu", 1, 1, _rnn(True))


def _read(kind: Kind, args: tuple[Any, ...]) -> Call:
    """The arguments of either way to call: of a packed batch the parameters are the fourth."""
    if isinstance(args[3], list | tuple):
        call = Call._make((*args, False))
    else:
        call = Call._make((args[0], None, *args[1:]))
    wrong = [
        name
        for name, value, classes in (
            ("hx", call.hx, (list, tuple) if kind.states == 2 else Node),
            ("params", call.params, (list, tuple)),
            ("has_biases", call.has_biases, bool),
            ("num_layers", call.num_layers, int),
            ("dropout", call.dropout, (int, float)),
            ("train", call.train, bool),
            ("bidirectional", call.bidirectional, bool),
        )
        if not isinstance(value, classes)
    ]
    if wrong or isinstance(call.num_layers, bool) or isinstance(call.sizes, list | tuple):
        problem = f"{', '.join(wrong) or 'an argument'} is of another type"
        whole = "has_biases, num_layers, dropout, train, bidirectional"
        rows = (
            f"(input, hx, params, {whole}, batch_first)",
            f"(data, batch_sizes, hx, params, {whole})",
        )
        raise TypeError(message(kind.name, problem, *rows))
    return call


def _weights(kind: Kind, call: Call) -> list[list[Weights]]:
    """The parameters by layer and direction."""
    D, biases = 1 + call.bidirectional, 2 * call.has_biases
    count, each = len(call.params), 2 + biases
    total = call.num_layers * D
    if kind.states == 2 and total and count == total * (each + 1):
        each += 1
    if not total or count != total * each:
        problem = (
            f"{call.num_layers} layers with {D} directions have {total * each} params, not {count}"
        )
        raise ShapeError(message(kind.name, problem))
    found = []
    for start in range(0, count, each):
        own = call.params[start : start + each]
        b_ih, b_hh = own[2:4] if biases else (None, None)
        found.append(Weights(own[0], own[1], b_ih, b_hh, own[-1] if each > 2 + biases else None))
    return [found[i : i + D] for i in range(0, total, D)]


def check_weights(kind: Kind, x: Node, states: States, weights: Weights) -> None:
    """Of a layer and direction: shapes, and one float dtype."""
    w_ih, w_hh, b_ih, b_hh, w_hr = weights
    shown = {"input": x, "w_ih": w_ih, "w_hh": w_hh, "b_ih": b_ih, "b_hh": b_hh, "w_hr": w_hr}
    H = w_hh.shape[0] // kind.gates if len(w_hh.shape) == 2 else 0
    P = states[0].shape[-1]
    inner = H if w_hr is None else P
    wide_ = kind.gates * H
    fits = w_ih.shape == (wide_, x.shape[-1]) and w_hh.shape == (wide_, inner) and inner == P
    problem = f"w_ih is ({kind.gates} * H, inputs) and w_hh ({kind.gates} * H, hidden)"
    kind.require(fits, problem, **shown, hidden=states[0])
    for bias in (b_ih, b_hh):
        kind.require(bias is None or bias.shape == (wide_,), f"biases are ({wide_},)", **shown)
    kind.require(w_hr is None or w_hr.shape == (P, H), f"w_hr is ({P}, {H})", **shown)
    kind.require(kind.states == 1 or states[1].shape[-1] == H, f"c has {H} units", c=states[-1])
    given = [node for node in (*shown.values(), *states) if node is not None]
    if any(node.dtype is not x.dtype or node.dtype.kind != "f" for node in given):
        rows = [f"{name} {describe(node)}" for name, node in shown.items() if node is not None]
        raise DTypeError(message(kind.name, "operands must be of one float dtype", *rows))


def _bias(kind: Kind, weights: Weights) -> Node | None:
    """What is added to the gates of all steps; a GRU's n has what r multiplies apart."""
    b_ih, b_hh = weights.b_ih, weights.b_hh
    if b_ih is None or b_hh is None:
        return None
    if kind is GRU:
        H = b_hh.shape[0] // 3
        b_hh = cat([narrow(b_hh, 0, 0, 2 * H), zeros_like(narrow(b_hh, 0, 0, H))])
    return b_ih + b_hh


def _layers(kind: Kind, x: Node, hx: States, call: Call, lengths: tuple[Node, ...]) -> States:
    """All layers of x (T, B, I): (T, B, D * H), and the last states (L * D, B, H) of each."""
    last: list[States] = []
    for number, directions in enumerate(_weights(kind, call)):
        if number:
            x = dropped(x, float(call.dropout), call.train)
        outs: list[Node] = []
        for weights in directions:
            states = [row(state, len(last)) for state in hx]
            check_weights(kind, x, states, weights)
            gates = linear(x, weights.w_ih, _bias(kind, weights))
            out, states = kind.run(Pass(gates, states, weights, lengths, bool(outs)))
            outs.append(out)
            last.append(states)
        x = outs[0] if len(outs) == 1 else cat(outs, 2)
    return [x, *(stack([states[i] for states in last]) for i in range(kind.states))]


def run_layers(kind: Kind, args: tuple[Any, ...]) -> Any:
    """What a public function gives for its arguments."""
    call = _read(kind, args)
    hx = list(call.hx) if kind.states == 2 else [call.hx]
    x, sizes = call.input, call.sizes
    rank = 3 if sizes is None else 2
    kind.require(len(x.shape) == rank, f"the input must have {rank} dimensions", input=x)
    kind.require(len(hx) == kind.states, "hx must be (h, c)")
    B = x.shape[0 if call.batch_first else 1] if sizes is None else hx[0].shape[1:2]
    rows = (call.num_layers * (1 + call.bidirectional), *(B if isinstance(B, tuple) else (B,)))
    for name, state in zip("hc", hx, strict=False):
        fits = len(state.shape) == 3 and state.shape[:2] == rows
        kind.require(fits, f"{name} must be {(*rows, 'H')}", input=x, **{name: state})
    if sizes is not None:
        return _packed(kind, call, sizes, hx)
    T = x.shape[1 if call.batch_first else 0]
    kind.require(T > 0, "there must be one step at least", input=x)
    x = permute.apply(x, dims=(1, 0, 2)) if call.batch_first else x
    out, *states = _layers(kind, x, hx, call, ())
    return (permute.apply(out, dims=(1, 0, 2)) if call.batch_first else out, *states)


def _packed(kind: Kind, call: Call, sizes: Node, hx: States) -> tuple[Node, ...]:
    """Of a packed batch: it is padded, run with lengths and packed again."""
    data, B = call.input, hx[0].shape[1]
    fits = len(sizes.shape) == 1 and sizes.shape[0] > 0 and sizes.dtype.kind in "iu"
    kind.require(fits, "batch_sizes must be integers (T,)", data=data, batch_sizes=sizes)
    sizes = as_node(sizes, int64, sizes.device)
    x, lengths = padded(kind.name, data, sizes, B)
    out, *states = _layers(kind, x, hx, call, (lengths,))
    return packed_again(out, sizes, data.shape[0]), *states
