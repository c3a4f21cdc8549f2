"""Activations with PyTorch's arguments, over the elementwise operators.

With `inplace` the tensor that is given holds the result.
"""

from __future__ import annotations

from typing import Literal

from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import activation, create
from numbatorch.ops.activation import ACTIVATION
from numbatorch.ops.arithmetic import clamp
from numbatorch.ops.compare import gt, where
from numbatorch.ops.numbers import fitting
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.surface import public
from numbatorch.ops.unary import abs_, sigmoid, tanh
from numbatorch.ops.view import narrow, reshape
from numbatorch.shape import normalize_dims

Number = int | float


@public("nn.functional")
def relu(input: Node, inplace: bool = False) -> Node:
    """max(input, 0); NaN for NaN. The gradient at 0 is 0.

    >>> x = tensor([-1.0, 2.0])
    >>> relu(x, inplace=True) is x
    True
    >>> x
    tensor([0., 2.])
    """
    return activation.relu_.apply(input)


@public("nn.functional")
def silu(input: Node, inplace: bool = False) -> Node:
    """input * sigmoid(input).

    Source: https://arxiv.org/abs/1702.03118

    >>> silu(tensor([-1.0, 1.0]))
    tensor([-0.2689,  0.7311])
    """
    return activation.silu_.apply(input)


@public("nn.functional")
def leaky_relu(input: Node, negative_slope: float = 0.01, inplace: bool = False) -> Node:
    """input where it is above 0, negative_slope * input elsewhere.

    >>> leaky_relu(tensor([-1.0, 2.0]))
    tensor([-0.0100,  2.0000])
    """
    return activation.leaky_relu_.apply(input, negative_slope=negative_slope)


@public("nn.functional")
def elu(input: Node, alpha: float = 1.0, inplace: bool = False) -> Node:
    """input where it is above 0, alpha * (exp(input) - 1) elsewhere.

    Source: https://arxiv.org/abs/1511.07289

    >>> elu(tensor([-1.0, 2.0]))
    tensor([-0.6321,  2.0000])
    """
    return activation.elu_.apply(input, alpha=alpha)


@public("nn.functional")
def celu(input: Node, alpha: float = 1.0, inplace: bool = False) -> Node:
    """input where it is above 0, alpha * (exp(input / alpha) - 1) elsewhere.

    Raises:
        ValueError: alpha is 0.
    Source: https://arxiv.org/abs/1704.07483

    >>> celu(tensor([-1.0, 2.0]), alpha=2.0)
    tensor([-0.7869,  2.0000])
    """
    if alpha == 0:
        raise ValueError(message("celu", "alpha is 0, by which the input is divided"))
    return activation.celu_.apply(input, alpha=alpha)


@public("nn.functional")
def selu(input: Node, inplace: bool = False) -> Node:
    """1.0507 * input where that is above 0, 1.0507 * 1.6733 * (exp(input) - 1) elsewhere.

    Source: https://arxiv.org/abs/1706.02515

    >>> selu(tensor([-1.0, 2.0]))
    tensor([-1.1113,  2.1014])
    """
    return activation.selu_.apply(input)


@public("nn.functional")
def mish(input: Node, inplace: bool = False) -> Node:
    """input * tanh(log(1 + exp(input))).

    Source: https://arxiv.org/abs/1908.08681

    >>> mish(tensor([-1.0, 100.0]))
    tensor([ -0.3034, 100.0000])
    """
    return activation.mish_.apply(input)


@public("nn.functional")
def hardsigmoid(input: Node, inplace: bool = False) -> Node:
    """input / 6 + 1 / 2 within [0, 1]. The gradient at -3 and 3 is 0.

    >>> hardsigmoid(tensor([-3.0, 0.0, 6.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return activation.hardsigmoid_.apply(input)


@public("nn.functional")
def hardswish(input: Node, inplace: bool = False) -> Node:
    """input * (input / 6 + 1 / 2), the factor within [0, 1].

    Source: https://arxiv.org/abs/1905.02244

    >>> hardswish(tensor([-3.0, 1.0, 4.0]))
    tensor([-0.0000, 0.6667, 4.0000])
    """
    return activation.hardswish_.apply(input)


@public("nn.functional")
def hardtanh(
    input: Node, min_val: Number = -1.0, max_val: Number = 1.0, inplace: bool = False
) -> Node:
    """input within [min_val, max_val]. The gradient at the bounds is 0.

    Raises:
        ValueError: the bounds are the wrong way round.
        OutOfRange: the dtype of integers does not hold them.

    >>> hardtanh(tensor([-3.0, 0.5, 3.0]))
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min_val > max_val:
        raise ValueError(message("hardtanh", f"min_val {min_val} is above max_val {max_val}"))
    if input.dtype.kind not in "iu":
        low, high = float(min_val), float(max_val)
        return activation.hardtanh_.apply(input, min_val=low, max_val=high)
    if input.dtype.kind == "u" and min_val < 0:
        raise OutOfRange(message("hardtanh", f"min_val {min_val} is below {input.dtype.name}"))
    lowest, highest = (fitting("hardtanh", int(x), input.dtype) for x in (min_val, max_val))
    return clamp(input, lowest, highest)


@public("nn.functional")
def rrelu(
    input: Node,
    lower: float = 1 / 8,
    upper: float = 1 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Node:
    """input where it is above 0, elsewhere times a slope between lower and upper.

    Args:
        training: whether each element has a random slope; else all have the one in the middle.
    Source: https://arxiv.org/abs/1505.00853

    >>> rrelu(tensor([-1.0, 2.0]), 0.0, 0.5)
    tensor([-0.2500,  2.0000])
    """
    return rrelu_(input, lower, upper, training)


@public("nt")
def rrelu_(input: Node, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False) -> Node:
    """input where it is above 0, elsewhere times a slope between lower and upper.

    Raises:
        ValueError: lower is above upper.

    >>> nt.rrelu(tensor([-1.0, 2.0]), 0.0, 0.5)
    tensor([-0.2500,  2.0000])
    """
    if lower > upper:
        raise ValueError(message("rrelu", f"lower {lower} is above upper {upper}"))
    if not training:
        return activation.leaky_relu_.apply(input, negative_slope=(lower + upper) / 2)
    drawn = create.drawn("random_uniform", input.shape, create.next_key(input.device))
    slope = as_node(drawn * (upper - lower) + lower, input.dtype, input.device)
    return activation.prelu_.apply(input, slope)


@public("nn.functional")
def relu6(input: Node, inplace: bool = False) -> Node:
    """input within [0, 6].

    >>> relu6(tensor([-1.0, 2.0, 9.0]))
    tensor([0., 2., 6.])
    """
    return hardtanh(input, 0, 6)


@public("nn.functional")
def softshrink(input: Node, lambd: float = 0.5) -> Node:
    """input moved by lambd towards 0, which it does not pass.

    Raises:
        ValueError: lambd is negative.

    >>> softshrink(tensor([-1.0, 0.25, 2.0]))
    tensor([-0.5000,  0.0000,  1.5000])
    """
    if lambd < 0:
        raise ValueError(message("softshrink", f"lambd is {lambd}, below 0"))
    return activation.softshrink_.apply(input, lambd=lambd)


@public("nn.functional")
def softsign(input: Node) -> Node:
    """input / (1 + |input|).

    >>> softsign(tensor([-1.0, 3.0]))
    tensor([-0.5000,  0.7500])
    """
    if input.dtype.is_complex:
        return input / (abs_.apply(input) + 1.0)
    return activation.softsign_.apply(input)


@public("nn.functional")
def tanhshrink(input: Node) -> Node:
    """input - tanh(input), without cancellation near 0.

    >>> tanhshrink(tensor([0.0, 1.0]))
    tensor([0.0000, 0.2384])
    """
    if input.dtype.is_complex:
        return input - tanh.apply(input)
    return activation.tanhshrink_.apply(input)


@public("nn.functional")
def threshold(input: Node, threshold: Number, value: Number, inplace: bool = False) -> Node:
    """`value` where input <= threshold, input elsewhere.

    >>> threshold(tensor([0.5, 1.0, 2.0]), 1.0, -9.0)
    tensor([-9., -9.,  2.])
    """
    return threshold_(input, threshold, value)


@public("nt")
def threshold_(input: Node, threshold: Number, value: Number) -> Node:
    """`value` where input <= threshold, input elsewhere.

    >>> nt.threshold(tensor([0, 1, 2]), 1, -9)
    tensor([-9, -9,  2])
    """
    if input.dtype.kind in "iu":
        return where.apply(
            gt.apply(input, threshold), input, fitting("threshold", value, input.dtype)
        )
    return activation.threshold_.apply(input, threshold=float(threshold), value=float(value))


@public(*ACTIVATION)
def prelu(input: Node, weight: Node) -> Node:
    """input where it is above 0, weight * input elsewhere.

    Args:
        input: (N, C, ...).
        weight: one number, or (C,).
    Raises:
        DTypeError: the two are of different dtypes.
        ShapeError: the weight has another shape.
    Source: https://arxiv.org/abs/1502.01852

    >>> prelu(tensor([[-1.0, -1.0]]), tensor([0.25, 0.5]))
    tensor([[-0.2500, -0.5000]])
    """
    if weight.dtype is not input.dtype:
        rows = (f"input {describe(input)}", f"weight {describe(weight)}")
        raise DTypeError(message("prelu", "input and weight are of different dtypes", *rows))
    if len(weight.shape) > 1 or (weight.shape and weight.shape[0] != 1):
        rank = len(input.shape)
        channels = input.shape[1] if rank > 1 else 1
        if weight.shape != (channels,) or not rank:
            rows = (f"input {describe(input)}", f"weight {describe(weight)}")
            raise ShapeError(
                message("prelu", f"weight is neither one number nor ({channels},)", *rows)
            )
        weight = reshape.apply(weight, shape=(channels, *(1,) * (rank - 2)))
    elif weight.shape and not input.shape:
        weight = reshape.apply(weight, shape=())
    return activation.prelu_.apply(input, weight)


@public("nn.functional")
def glu(input: Node, dim: int = -1) -> Node:
    """The first half of `input` along `dim` times the sigmoid of the second.

    Raises:
        ShapeError: the dimension has an odd size, or there is none.
    Source: https://arxiv.org/abs/1612.08083

    >>> glu(tensor([2.0, 0.0]))
    tensor([1.])
    """
    if not input.shape:
        raise ShapeError(message("glu", "a 0-d tensor has no halves", describe(input)))
    (dim,) = normalize_dims("glu", dim, len(input.shape))
    size = input.shape[dim]
    if size % 2:
        raise ShapeError(message("glu", f"dimension {dim} of odd size {size}", describe(input)))
    first = narrow(input, dim, 0, size // 2)
    return first * sigmoid.apply(narrow(input, dim, size // 2, size // 2))


@public(*ACTIVATION)
def gelu(input: Node, *, approximate: Literal["none", "tanh"] = "none") -> Node:
    """input * Phi(input), Phi the distribution function of the standard normal distribution.

    Args:
        approximate: "tanh" for input * (1 + tanh(sqrt(2/pi) * (input + 0.044715 input^3))) / 2.
    Source: https://arxiv.org/abs/1606.08415

    >>> gelu(tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])
    """
    exact = approximate == "none"
    return (activation.gelu_ if exact else activation.gelu_tanh).apply(input)


@public(*ACTIVATION)
def softplus(input: Node, beta: float = 1.0, threshold: float = 20.0) -> Node:
    """log(1 + exp(beta * input)) / beta.

    Args:
        threshold: PyTorch gives `input` itself where beta * input is above it, as we do unless it
            is 20: there both are the same within 1e-9 of it, without overflow.

    >>> softplus(tensor([0.0, 100.0]))
    tensor([  0.6931, 100.0000])
    """
    soft = activation.softplus_
    out = soft.apply(input) if beta == 1 else soft.apply(input * beta) / beta
    return out if threshold == 20 else where.apply(gt.apply(input * beta, threshold), input, out)
