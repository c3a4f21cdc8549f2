"""RNN, LSTM and GRU over sequences, and their cells, over `ops/recurrent.py`.

T steps, B rows, H hidden units, D directions, L layers.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.nn.checks import require_tensors
from numbatorch.nn.initial import bound_of, draws, redraw
from numbatorch.nn.module import Module, Parameter
from numbatorch.nn.packed import PackedSequence
from numbatorch.ops.families import function
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, zeros
from numbatorch.tensor.creation import Where

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}
States = Tensor | tuple[Tensor, Tensor]


def call_function(name: str, *args: Any) -> Any:
    """What the function of a name gives."""
    found = function("nt", name)
    assert found is not None
    return found(*args)


class RNNBase(Module):
    """What RNN, LSTM and GRU share; arguments as of `LSTM`.

    Attributes:
        mode: "LSTM", "GRU", "RNN_TANH" or "RNN_RELU".
    """

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.mode = mode
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self._check_options(dropout)
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        for names, shapes in zip(self._names(), self._shapes(), strict=True):
            for name, shape in zip(names, shapes, strict=True):
                setattr(self, name, Parameter(zeros(*shape, **where)))
        if draws():
            self.reset_parameters()

    def _check_options(self, dropout: Any) -> None:
        name = type(self).__name__
        for option in ("bias", "batch_first"):
            if not isinstance(getattr(self, option), bool):
                problem = f"{option} is {getattr(self, option)!r}, not a bool"
                raise TypeError(message(name, problem))
        for option in ("input_size", "hidden_size", "num_layers"):
            size = getattr(self, option)
            if not isinstance(size, int):
                raise TypeError(message(name, f"{option} is {size!r}, not an int"))
            if size <= 0:
                raise ShapeError(message(name, f"{option} is {size}, not positive"))
        if isinstance(dropout, bool) or not 0 <= dropout <= 1:
            raise OutOfRange(message(name, f"dropout {dropout} is not in [0, 1]"))
        if not 0 <= self.proj_size < self.hidden_size:
            problem = f"proj_size {self.proj_size} is not below hidden_size {self.hidden_size}"
            raise ShapeError(message(name, problem))
        if self.mode not in GATES:
            raise ValueError(message(name, f"mode is {self.mode!r}, not {' or '.join(GATES)}"))
        if dropout > 0 and self.num_layers == 1:
            problem = "dropout stands between layers, and there is one"
            warnings.warn(message(name, problem), UserWarning, stacklevel=4)

    def _names(self) -> list[list[str]]:
        """Names of the parameters of each layer and direction."""
        kinds = ["weight_ih", "weight_hh", *["bias_ih", "bias_hh"] * self.bias]
        kinds += ["weight_hr"] * (self.proj_size > 0)
        ends = [f"_l{layer}{turn}" for layer in range(self.num_layers) for turn in self._turns()]
        return [[kind + end for kind in kinds] for end in ends]

    def _turns(self) -> tuple[str, ...]:
        return ("", "_reverse") if self.bidirectional else ("",)

    def _shapes(self) -> list[list[tuple[int, ...]]]:
        """Shapes of the parameters of each layer and direction."""
        H, wide = self.hidden_size, GATES[self.mode] * self.hidden_size
        shown, found = self.proj_size or H, []
        for number in range(self.num_layers * len(self._turns())):
            first = number < len(self._turns())
            along = self.input_size if first else shown * len(self._turns())
            shapes: list[tuple[int, ...]] = [(wide, along), (wide, shown)]
            shapes += [(wide,), (wide,)] * self.bias + [(shown, H)] * (self.proj_size > 0)
            found.append(shapes)
        return found

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._names()]

    def flatten_parameters(self) -> None:
        """Nothing: as PyTorch's on CPUs."""

    def reset_parameters(self) -> None:
        """All parameters from the uniform distribution between -1 and 1 over the root of H."""
        for parameter in self.parameters():
            redraw(parameter, bound_of(self.hidden_size))

    def forward(self, input: Any, hx: Any = None) -> Any:
        """h of the last layer at all steps, and the states of all layers after the last one.

        Args:
            input: (T, B, input_size), or (B, T, input_size) with batch_first, or (T, input_size)
                without a batch, or a `PackedSequence`.
            hx: h (L * D, B, H) before the first step, or (L * D, H) without a batch; of an LSTM
                h and c. Zeros unless given; then a compiled function that is given a
                `PackedSequence` needs its sorted_indices, which say how many rows there are.
        Returns:
            (T, B, D * H), or (B, T, D * H), or (T, D * H), or a `PackedSequence`; and states as hx.
        Raises:
            ShapeError: input or hx does not fit.
            DTypeError: they are not of the dtype of the parameters.
        """
        if isinstance(input, PackedSequence):
            return self._packed(input, hx)
        require_tensors(type(self).__name__, input=input)
        self._require(len(input.shape) in (2, 3), "input must have 2 or 3 dimensions", input)
        batched, dim = len(input.shape) == 3, 0 if self.batch_first else 1
        x = input if batched else input.unsqueeze(dim)
        states = self._given(hx, 3 if batched else 2)
        if states is not None and not batched:
            states = [state.unsqueeze(1) for state in states]
        states = self._states(x, states, x.shape[dim])
        options = (self.dropout, self.training, self.bidirectional, self.batch_first)
        out, *last = self._run(x, states, options)
        if not batched:
            out, last = out.squeeze(dim), [state.squeeze(1) for state in last]
        return out, self._shown(last)

    def _packed(self, input: PackedSequence, hx: Any) -> Any:
        data, sizes, order, back = input
        self._require(len(data.shape) == 2, "packed data must have 2 dimensions", data)
        states = self._given(hx, 3)
        if order is not None:
            rows = order.shape[0]
        elif states is not None:
            rows = states[0].shape[1]  # a run finds whether batch_sizes begin with it
        else:
            rows = int(sizes.tolist()[0]) if sizes.shape[0] > 0 else 0
        states = self._states(data, states, rows)
        if hx is not None and order is not None:
            states = [state.index_select(1, order) for state in states]
        options = (self.dropout, self.training, self.bidirectional)
        out, *last = self._run(data, states, options, sizes.to(data.device))
        if back is not None:
            last = [state.index_select(1, back) for state in last]
        return PackedSequence(out, sizes, order, back), self._shown(last)

    def _run(self, x: Tensor, states: list[Tensor], options: Any, *sizes: Tensor) -> Any:
        hx: Any = tuple(states) if self.mode == "LSTM" else states[0]
        weights = [weight for own in self.all_weights for weight in own]
        return call_function(
            self.mode.lower(), x, *sizes, hx, weights, self.bias, self.num_layers, *options
        )

    def _given(self, hx: Any, rank: int) -> list[Tensor] | None:
        """The states as they are given, of so many dimensions."""
        if hx is None:
            return None
        pair = self.mode == "LSTM"
        if pair != isinstance(hx, list | tuple) or (pair and len(hx) != 2):
            wanted = "a pair of tensors, h and c" if pair else "a tensor"
            raise TypeError(message(type(self).__name__, f"hx must be {wanted}"))
        states = list(hx) if pair else [hx]
        problem = f"hx must have {rank} dimensions beside such an input"
        self._require(all(len(state.shape) == rank for state in states), problem, *states)
        return states

    def _states(self, x: Tensor, states: list[Tensor] | None, rows: int) -> list[Tensor]:
        """The states, zeros where there are none; Raises where anything does not fit."""
        size = self.input_size
        self._require(x.shape[-1] == size, f"input.shape[-1] must be {size}, input_size", x)
        weight = self.all_weights[0][0]
        if x.dtype is not weight.dtype:
            shown = (f"input {describe(x.node)}", f"weight_ih_l0 {describe(weight.node)}")
            problem = "the input is not of the dtype of the parameters"
            raise DTypeError(message(type(self).__name__, problem, *shown))
        count = self.num_layers * len(self._turns())
        sizes = [self.proj_size or self.hidden_size, *[self.hidden_size] * (self.mode == "LSTM")]
        shapes = [(count, rows, size) for size in sizes]
        if states is None:
            return [zeros(*shape, dtype=x.dtype, device=x.device) for shape in shapes]
        for state, shape, name in zip(states, shapes, "hc", strict=False):
            self._require(state.shape == shape, f"{name} must be {shape}", x, state)
        return states

    def _require(self, holds: bool, problem: str, *tensors: Tensor) -> None:
        if not holds:
            rows = (describe(x.node) for x in tensors)
            raise ShapeError(message(type(self).__name__, problem, *rows))

    def _shown(self, states: list[Tensor]) -> States:
        return (states[0], states[1]) if self.mode == "LSTM" else states[0]

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        usual = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        others = {name: getattr(self, name) for name in usual}
        shown = [f"{name}={value}" for name, value in others.items() if value != usual[name]]
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *shown])


class RNN(RNNBase):
    """h = tanh(W_ih x + b_ih + W_hh h + b_hh) over steps, or relu of it; `nt.rnn_tanh`.

    Args:
        input_size, hidden_size: of x and h.
        num_layers: each after the first one is given h of the one before.
        nonlinearity: "tanh" or "relu".
        bias, batch_first, dropout, bidirectional: as of `LSTM`.
    Attributes:
        weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0: of the first layer; those of others end
            in their number, and those of the other direction in _reverse.

    >>> out, h = RNN(3, 4, nonlinearity="relu")(nt.zeros(5, 2, 3))
    >>> out.shape, h.shape
    ((5, 2, 4), (1, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            problem = f"nonlinearity is {nonlinearity!r}, not 'tanh' or 'relu'"
            raise ValueError(message("RNN", problem))
        mode = f"RNN_{nonlinearity.upper()}"
        sizes = (input_size, hidden_size, num_layers, bias, batch_first)
        super().__init__(mode, *sizes, dropout, bidirectional, 0, device, dtype)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory over steps: c = f c + i g, h = o tanh(c); `nt.lstm`.

    Args:
        input_size, hidden_size: of x and h.
        num_layers: each after the first one is given h of the one before.
        bias: b_ih and b_hh are added.
        batch_first: input and output are (B, T, ...), not (T, B, ...).
        dropout: probability at which what a layer gives the next one is 0 while training.
        bidirectional: each layer goes over the steps in both directions.
        proj_size: of what W_hr makes of h, and stands for it, unless 0.
    Attributes:
        weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0, weight_hr_l0: of the first layer; those
            of others end in their number, and those of the other direction in _reverse.
    Raises:
        ShapeError: a size is not positive, or proj_size not below hidden_size.
        OutOfRange: dropout is no probability.
    Source: https://www.bioinf.jku.at/publications/older/2604.pdf

    >>> out, (h, c) = LSTM(3, 4, num_layers=2, bidirectional=True)(nt.zeros(5, 2, 3))
    >>> out.shape, h.shape, c.shape
    ((5, 2, 8), (4, 2, 4), (4, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        sizes = (input_size, hidden_size, num_layers, bias, batch_first)
        super().__init__("LSTM", *sizes, dropout, bidirectional, proj_size, device, dtype)


class GRU(RNNBase):
    """h = (1 - z) n + z h over steps; `nt.gru`. Arguments and parameters as of `RNN`.

    Source: https://arxiv.org/abs/1406.1078

    >>> out, h = GRU(3, 4, batch_first=True)(nt.zeros(2, 5, 3))
    >>> out.shape, h.shape
    ((2, 5, 4), (1, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        sizes = (input_size, hidden_size, num_layers, bias, batch_first)
        super().__init__("GRU", *sizes, dropout, bidirectional, 0, device, dtype)
