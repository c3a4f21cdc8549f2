"""RNNCell, LSTMCell and GRUCell: one step of a recurrence, over `ops/recurrent.py`.

B rows, H hidden units.
"""

from __future__ import annotations

from typing import Any, Literal

from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message
from numbatorch.nn.checks import require_tensors
from numbatorch.nn.initial import bound_of, draws, redraw
from numbatorch.nn.module import Module, Parameter
from numbatorch.nn.recurrent import call_function
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, zeros
from numbatorch.tensor.creation import Where


class RNNCellBase(Module):
    """What the cells share.

    Attributes:
        weight_ih, weight_hh: (num_chunks * H, input_size) and (num_chunks * H, H).
        bias_ih, bias_hh: (num_chunks * H,), or None without bias.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.bias = bias
        wide, where = num_chunks * hidden_size, {"device": device, "dtype": dtype}

        def empty(*shape: int) -> Parameter:
            return Parameter(zeros(*shape, **where))  # type: ignore[arg-type]

        self.weight_ih = empty(wide, input_size)
        self.weight_hh = empty(wide, hidden_size)
        self.bias_ih = empty(wide) if bias else None
        self.bias_hh = empty(wide) if bias else None
        if draws() and hidden_size > 0:
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """All parameters from the uniform distribution between -1 and 1 over the root of H."""
        for parameter in self.parameters():
            redraw(parameter, bound_of(self.hidden_size))

    def _step(self, name: str, input: Tensor, hx: Any, states: int) -> Any:
        """What the function `name` gives; zeros stand for hx where it is None."""
        require_tensors(type(self).__name__, input=input)
        rank = len(input.shape)
        if rank not in (1, 2) or input.shape[-1] != self.input_size:
            problem = f"input must be (B, {self.input_size}) or ({self.input_size},)"
            row = f"input {describe(input.node)}"
            raise ShapeError(message(type(self).__name__, problem, row))
        shape = (*input.shape[:-1], self.hidden_size)
        if hx is None:
            zero = zeros(*shape, dtype=input.dtype, device=input.device)
            hx = (zero,) * states if states == 2 else zero
        elif (states == 2) != isinstance(hx, list | tuple) or (states == 2 and len(hx) != 2):
            wanted = "a pair of tensors, h and c" if states == 2 else "a tensor"
            raise TypeError(message(type(self).__name__, f"hx must be {wanted}"))
        for state in hx if states == 2 else (hx,):
            if state.shape != shape:
                rows = (f"input {describe(input.node)}", f"hx {describe(state.node)}")
                raise ShapeError(message(type(self).__name__, f"hx must be {shape}", *rows))
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return call_function(name, input, hx, *weights)

    def extra_repr(self) -> str:
        """As PyTorch shows it."""
        shown = "" if self.bias is True else f", bias={self.bias}"
        kind = vars(self).get("nonlinearity", "tanh")
        shown += "" if kind == "tanh" else f", nonlinearity={kind}"
        return f"{self.input_size}, {self.hidden_size}{shown}"


class RNNCell(RNNCellBase):
    """tanh(W_ih x + b_ih + W_hh h + b_hh), or relu of it.

    Args:
        nonlinearity: "tanh" or "relu".

    >>> RNNCell(3, 4)(nt.zeros(2, 3)).shape
    (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            problem = f"nonlinearity is {nonlinearity!r}, not 'tanh' or 'relu'"
            raise ValueError(message("RNNCell", problem))
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """h (B, H) of input (B, input_size) and hx (B, H), zeros unless given; all without B too.

        Raises:
            ShapeError: they do not fit.
        """
        found: Tensor = self._step(f"rnn_{self.nonlinearity}_cell", input, hx, 1)
        return found


class LSTMCell(RNNCellBase):
    """One step of an `LSTM`; `nt.lstm_cell`.

    >>> h, c = LSTMCell(3, 4)(nt.zeros(2, 3))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """h and c (B, H) of input (B, input_size) and those before; all without B too.

        Raises:
            ShapeError: they do not fit.
        """
        found: tuple[Tensor, Tensor] = self._step("lstm_cell", input, hx, 2)
        return found


class GRUCell(RNNCellBase):
    """One step of a `GRU`; `nt.gru_cell`.

    >>> GRUCell(3, 4)(nt.zeros(3)).shape
    (4,)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """h (B, H) of input (B, input_size) and hx (B, H), zeros unless given; all without B too.

        Raises:
            ShapeError: they do not fit.
        """
        found: Tensor = self._step("gru_cell", input, hx, 1)
        return found
