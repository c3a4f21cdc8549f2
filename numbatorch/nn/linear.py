"""Linear, Bilinear and Identity."""

from __future__ import annotations

from typing import Any

from numbatorch.dtype import DType
from numbatorch.nn import functional as F
from numbatorch.nn.checks import require_sizes
from numbatorch.nn.initial import bound_of, redraw, uniform
from numbatorch.nn.module import Module, Parameter
from numbatorch.ops.matmul import Compute
from numbatorch.tensor import Tensor
from numbatorch.tensor.creation import Where


class Identity(Module):
    """The input; arguments of the constructor are ignored, as in PyTorch.

    >>> Identity()(tensor([1.0]))
    tensor([1.])
    """

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Any) -> Any:
        """The input."""
        return input


class Linear(Module):
    """input @ weight.T + bias.

    Attributes:
        weight: (out_features, in_features); it may be replaced by GGML blocks.
        bias: (out_features,) or None.
        compute: as of `F.linear`.

    >>> layer = Linear(3, 2)
    >>> layer(nt.zeros(5, 3)).shape, layer.weight.shape
    ((5, 2), (2, 3))
    """

    bias: Parameter | None
    compute: Compute | None = None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        require_sizes(type(self).__name__, in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        bound = bound_of(in_features)
        self.weight = uniform(bound, out_features, in_features, dtype=dtype, device=device)
        given = uniform(bound, out_features, dtype=dtype, device=device) if bias else None
        self.register_parameter("bias", given)

    def reset_parameters(self) -> None:
        """Draw first values anew."""
        for parameter in (self.weight, self.bias):
            redraw(parameter, bound_of(self.in_features))

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) to (..., out_features)."""
        return F.linear(input, self.weight, self.bias, compute=self.compute)

    def extra_repr(self) -> str:
        """The sizes."""
        sizes = f"in_features={self.in_features}, out_features={self.out_features}"
        return f"{sizes}, bias={self.bias is not None}"


class Bilinear(Module):
    """input1 @ weight[k] @ input2 + bias[k] for each output k.

    Attributes:
        weight: (out_features, in1_features, in2_features).
        bias: (out_features,) or None.

    >>> Bilinear(2, 3, 4)(nt.ones(5, 2), nt.ones(5, 3)).shape
    (5, 4)
    """

    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool = True,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        sizes = {"in1_features": in1_features, "in2_features": in2_features}
        require_sizes("Bilinear", **sizes, out_features=out_features)
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        bound = bound_of(in1_features)
        shape = (out_features, in1_features, in2_features)
        self.weight = uniform(bound, *shape, dtype=dtype, device=device)
        given = uniform(bound, out_features, dtype=dtype, device=device) if bias else None
        self.register_parameter("bias", given)

    def reset_parameters(self) -> None:
        """Draw first values anew."""
        for parameter in (self.weight, self.bias):
            redraw(parameter, bound_of(self.in1_features))

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """(..., in1_features) and (..., in2_features) to (..., out_features)."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The sizes."""
        sizes = f"in1_features={self.in1_features}, in2_features={self.in2_features}"
        return f"{sizes}, out_features={self.out_features}, bias={self.bias is not None}"
