"""Activations as layers. The formulas stand with the functions of the same names."""

from __future__ import annotations

from typing import Any, Literal

from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.nn.applied import Applied
from numbatorch.nn.checks import require_tensors
from numbatorch.nn.module import Module, Parameter
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor, full, no_grad
from numbatorch.tensor.creation import Where


class Threshold(Applied, function="threshold"):
    """x where x > threshold, else value.

    >>> Threshold(1.0, 0.0)(tensor([0.5, 2.0]))
    tensor([0., 2.])
    """

    threshold: float
    value: float
    inplace: bool = False


class ReLU(Applied, function="relu"):
    """max(x, 0).

    >>> ReLU()(tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    inplace: bool = False


class ReLU6(Applied, function="relu6"):
    """min(max(x, 0), 6).

    >>> ReLU6()(tensor([-1.0, 2.0, 8.0]))
    tensor([0., 2., 6.])
    """

    inplace: bool = False


class RReLU(Applied, function="rrelu"):
    """x where x >= 0, else a x; a is drawn from [lower, upper] in training, else their mean.

    >>> RReLU().eval()(tensor([-48.0, 2.0]))
    tensor([-11.,   2.])
    """

    lower: float = 1 / 8
    upper: float = 1 / 3
    inplace: bool = False

    def forward(self, input: Any) -> Any:
        """The shape stays."""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)


class Hardtanh(Applied, function="hardtanh"):
    """min(max(x, min_val), max_val).

    >>> Hardtanh()(tensor([-3.0, 0.5]))
    tensor([-1.0000,  0.5000])
    """

    min_val: float = -1.0
    max_val: float = 1.0
    inplace: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.max_val > self.min_val:
            problem = f"max_val {self.max_val} is not above min_val {self.min_val}"
            raise ValueError(message("Hardtanh", problem))


class Hardsigmoid(Applied, function="hardsigmoid"):
    """min(max(x + 3, 0), 6) / 6.

    >>> Hardsigmoid()(tensor([-3.0, 0.0]))
    tensor([0.0000, 0.5000])
    """

    inplace: bool = False


class Hardswish(Applied, function="hardswish"):
    """x min(max(x + 3, 0), 6) / 6.

    >>> Hardswish()(tensor([-3.0, 3.0]))
    tensor([-0.,  3.])
    """

    inplace: bool = False


class Hardshrink(Applied, function="hardshrink"):
    """x where abs(x) > lambd, else 0.

    >>> Hardshrink()(tensor([-0.3, 2.0]))
    tensor([0., 2.])
    """

    lambd: float = 0.5


class Softshrink(Applied, function="softshrink"):
    """x moved towards 0 by lambd, 0 between.

    >>> Softshrink()(tensor([-0.3, 2.0]))
    tensor([0.0000, 1.5000])
    """

    lambd: float = 0.5


class Tanhshrink(Applied, function="tanhshrink"):
    """x - tanh(x).

    >>> Tanhshrink()(tensor([0.0]))
    tensor([0.])
    """


class Sigmoid(Applied, function="sigmoid"):
    """1 / (1 + exp(-x)).

    >>> Sigmoid()(tensor([0.0, 1.0]))
    tensor([0.5000, 0.7311])
    """


class LogSigmoid(Applied, function="logsigmoid"):
    """-log(1 + exp(-x)).

    >>> LogSigmoid()(tensor([0.0]))
    tensor([-0.6931])
    """


class Tanh(Applied, function="tanh"):
    """Hyperbolic tangent.

    >>> Tanh()(tensor([0.0, 1.0]))
    tensor([0.0000, 0.7616])
    """


class SiLU(Applied, function="silu"):
    """x * sigmoid(x).

    >>> SiLU()(tensor([-1.0, 1.0]))
    tensor([-0.2689,  0.7311])
    """

    inplace: bool = False


class Mish(Applied, function="mish"):
    """x tanh(log(1 + exp(x))).

    >>> Mish()(tensor([0.0, 1.0]))
    tensor([0.0000, 0.8651])
    """

    inplace: bool = False


class GELU(Applied, function="gelu"):
    """x * Phi(x), or its approximation through "tanh".

    >>> GELU()(tensor([-1.0, 1.0]))
    tensor([-0.1587,  0.8413])
    """

    approximate: Literal["none", "tanh"] = "none"


class ELU(Applied, function="elu"):
    """x where x > 0, else alpha (exp(x) - 1).

    >>> ELU()(tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """

    alpha: float = 1.0
    inplace: bool = False


class CELU(Applied, function="celu"):
    """x where x > 0, else alpha (exp(x / alpha) - 1).

    >>> CELU(2.0)(tensor([-2.0, 2.0]))
    tensor([-1.2642,  2.0000])
    """

    alpha: float = 1.0
    inplace: bool = False


class SELU(Applied, function="selu"):
    """ELU with the scale and alpha that keep mean 0 and variance 1.

    >>> SELU()(tensor([0.0, 1.0]))
    tensor([0.0000, 1.0507])
    """

    inplace: bool = False


class LeakyReLU(Applied, function="leaky_relu"):
    """x where x > 0, else negative_slope x.

    >>> LeakyReLU(0.5)(tensor([-1.0, 2.0]))
    tensor([-0.5000,  2.0000])
    """

    negative_slope: float = 0.01
    inplace: bool = False


class Softplus(Applied, function="softplus"):
    """log(1 + exp(beta x)) / beta; x where beta x is above threshold.

    >>> Softplus()(tensor([0.0, 30.0]))
    tensor([ 0.6931, 30.0000])
    """

    beta: float = 1.0
    threshold: float = 20.0


class Softsign(Applied, function="softsign"):
    """x / (1 + abs(x)).

    >>> Softsign()(tensor([-1.0, 3.0]))
    tensor([-0.5000,  0.7500])
    """


class GLU(Applied, function="glu"):
    """The first half along a dimension times the sigmoid of the second.

    >>> GLU()(tensor([2.0, 0.0]))
    tensor([1.])
    """

    dim: int = -1


class _OverDim(Applied):
    """Exponentials in proportion to their sum along a dimension, which has to be given."""

    dim: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim is None:
            raise TypeError(message(type(self).__name__, "dim has to be given"))


class Softmax(_OverDim, function="softmax"):
    """exp(x) / sum(exp(x)) along dim.

    Where we differ from PyTorch: dim has to be given; it guesses one and warns.

    >>> Softmax(dim=0)(tensor([0.0, 0.0]))
    tensor([0.5000, 0.5000])
    """


class Softmin(_OverDim, function="softmin"):
    """Softmax of -x.

    >>> Softmin(dim=0)(tensor([0.0, 0.0]))
    tensor([0.5000, 0.5000])
    """


class LogSoftmax(_OverDim, function="log_softmax"):
    """The logarithm of softmax along dim.

    >>> LogSoftmax(dim=0)(tensor([0.0, 0.0]))
    tensor([-0.6931, -0.6931])
    """


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W).

    >>> Softmax2d()(nt.zeros(2, 1, 1)).flatten()
    tensor([0.5000, 0.5000])
    """

    def forward(self, input: Tensor) -> Tensor:
        """The shape stays."""
        require_tensors("Softmax2d", input=input)
        if input.ndim not in (3, 4):
            rows = f"input {describe(input.node)}"
            raise ShapeError(message("Softmax2d", "input is (N, C, H, W) or (C, H, W)", rows))
        return F.softmax(input, -3)


class PReLU(Module):
    """x where x > 0, else weight x.

    Attributes:
        weight: (num_parameters,), one for all channels or one for each.

    >>> PReLU()(tensor([-1.0, 2.0])).detach()
    tensor([-0.2500,  2.0000])
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(full((num_parameters,), init, dtype=dtype, device=device))

    def reset_parameters(self) -> None:
        """Make every weight what it was at first."""
        with no_grad():
            self.weight.fill_(self.init)

    def forward(self, input: Tensor) -> Tensor:
        """The shape stays."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """The number of weights."""
        return f"num_parameters={self.num_parameters}"
