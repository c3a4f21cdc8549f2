"""Elementwise operators of one operand: signs, rounding, exponentials, circles, activations."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.graph import Node
from numbatorch.ops import scalar_math as m
from numbatorch.ops.compare import gt, le, where
from numbatorch.ops.operands import zeros_like
from numbatorch.ops.parts import conjugated, part_of, sgn_
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import EVERYWHERE, public

Array = Any
SPECIAL = (*EVERYWHERE, "special")
ACTIVATION = (*EVERYWHERE, "nn.functional")
TORCH = "https://pytorch.org/docs/stable/generated/torch.nn."
_LN2 = math.log(2)
_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
_INVERSE_SQRT_TAU = 1 / math.sqrt(2 * math.pi)
_SQRT_HALF = math.sqrt(0.5)
_GELU_SCALE = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715


def _wide(function: Any) -> Any:
    """The reference `function` in float64, whatever the float operand, or in complex128."""
    return lambda x, **attrs: function(x.astype(np.result_type(x, np.float64)), **attrs)


def _whole(function: Any) -> Any:
    """The reference `function`, which rounds, of floats; integers are whole."""
    return lambda x: function(x) if x.dtype.kind == "f" else x


_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


@elementwise(numpy=np.negative, dtypes=dt.NUMBERS + dt.COMPLEX)
def neg(x: Scalar) -> Scalar:
    """-x; unsigned integers wrap."""
    return -x


@neg.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -g


@elementwise(numpy=np.abs, dtypes=dt.NUMBERS + dt.COMPLEX, result=part_of)
def abs_(x: Scalar) -> Scalar:
    """x without its sign; the length of a complex number. The gradient at 0 is 0."""
    return abs(x)


@abs_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (sgn_.apply(x) if x.dtype.is_complex else sign.apply(x))


@elementwise(numpy=np.sign, dtypes=dt.NUMBERS)
def sign(x: Scalar) -> Scalar:
    """1, 0 or -1 with the sign of x; NaN for NaN. The gradient is 0."""
    return m.sign(x)


@elementwise(numpy=np.square, dtypes=dt.NUMBERS + dt.COMPLEX)
def square(x: Scalar) -> Scalar:
    """x * x; integers wrap."""
    return x * x


@square.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(x * 2.0)


@elementwise(numpy=_whole(np.floor), dtypes=dt.NUMBERS)
def floor(x: Scalar) -> Scalar:
    """The largest whole number <= x. The gradient is 0."""
    return m.floor(x)


@elementwise(numpy=_whole(np.ceil), dtypes=dt.NUMBERS)
def ceil(x: Scalar) -> Scalar:
    """The smallest whole number >= x. The gradient is 0."""
    return m.ceil(x)


@elementwise(numpy=_whole(np.trunc), dtypes=dt.NUMBERS)
def trunc(x: Scalar) -> Scalar:
    """x without its fraction. The gradient is 0."""
    return m.trunc(x)


@elementwise(numpy=_whole(np.rint), dtypes=dt.NUMBERS)
def round_(x: Scalar) -> Scalar:
    """The nearest whole number, the even one of two. The gradient is 0."""
    return m.rint(x)


def _flat(g: Node, y: Node, x: Node) -> Node:
    return zeros_like(x)


for _op in (sign, floor, ceil, trunc, round_):
    _op.vjp(_flat)


@elementwise(numpy=np.invert, dtypes=dt.INTEGERS_AND_BOOL, differentiable=False)
def bitwise_not(x: Scalar) -> Scalar:
    """Every bit changed; on bool the logical not."""
    return ~x


@elementwise(numpy=_wide(np.exp), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-20.0, 20.0))
def exp(x: Scalar) -> Scalar:
    """e**x."""
    return m.exp(x)


@exp.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y)


@elementwise(numpy=_wide(np.expm1), dtypes=dt.FLOATS + dt.COMPLEX, places=SPECIAL)
def expm1(x: Scalar) -> Scalar:
    """e**x - 1, accurate near 0."""
    return m.expm1(x)


@expm1.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y + 1.0)


@elementwise(numpy=_wide(np.log), dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.01, 100.0))
def log(x: Scalar) -> Scalar:
    """The natural logarithm; -inf at 0, NaN below."""
    return m.log(x)


@log.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated(x)


@elementwise(
    numpy=_wide(np.log1p), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-0.9, 10.0), places=SPECIAL
)
def log1p(x: Scalar) -> Scalar:
    """log(1 + x), accurate near 0."""
    return m.log1p(x)


@log1p.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated(x + 1.0)


@elementwise(numpy=_wide(np.log2), dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.01, 100.0))
def log2(x: Scalar) -> Scalar:
    """The logarithm to base 2; -inf at 0, NaN below."""
    return m.log2(x)


@log2.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated(x * _LN2)


@elementwise(numpy=np.sqrt, dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.01, 100.0))
def sqrt(x: Scalar) -> Scalar:
    """The square root; NaN below 0. The gradient at 0 is infinite."""
    return m.sqrt(x)


@sqrt.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated(y * 2.0)


@elementwise(numpy=lambda x: 1 / np.sqrt(x), dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.01, 100.0))
def rsqrt(x: Scalar) -> Scalar:
    """1 / sqrt(x); inf at 0, NaN below."""
    return 1.0 / m.sqrt(x)


@rsqrt.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y * y * y * -0.5)


@elementwise(numpy=lambda x: 1 / x, dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.1, 10.0))
def reciprocal(x: Scalar) -> Scalar:
    """1 / x."""
    return 1.0 / x


@reciprocal.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * conjugated(y * y))


@elementwise(numpy=_wide(np.sin), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-20.0, 20.0), largest=1e8)
def sin(x: Scalar) -> Scalar:
    """The sine of x radians; up to |x| = 1e8 on the CPU and CUDA, for every x on Metal."""
    return m.sin(x)


@sin.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(cos.apply(x))


@elementwise(numpy=_wide(np.cos), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-20.0, 20.0), largest=1e8)
def cos(x: Scalar) -> Scalar:
    """The cosine of x radians; up to |x| = 1e8 on the CPU and CUDA, for every x on Metal."""
    return m.cos(x)


@cos.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * conjugated(sin.apply(x)))


@elementwise(numpy=_wide(np.tan), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-1.2, 1.2), largest=1e8)
def tan(x: Scalar) -> Scalar:
    """The tangent of x radians; up to |x| = 1e8 on the CPU and CUDA, for every x on Metal."""
    return m.tan(x)


@tan.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y * y + 1.0)


@elementwise(numpy=_wide(np.tanh), dtypes=dt.FLOATS + dt.COMPLEX, places=ACTIVATION)
def tanh(x: Scalar) -> Scalar:
    """(e**x - e**-x) / (e**x + e**-x)."""
    return m.tanh(x)


@tanh.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(1.0 - y * y)


@elementwise(numpy=_erf, dtypes=dt.FLOATS, places=SPECIAL)
def erf(x: Scalar) -> Scalar:
    """2 / sqrt(pi) times the integral of e**(-t**2) from 0 to x."""
    return m.erf(x)


@erf.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (exp.apply(-(x * x)) * _TWO_OVER_SQRT_PI)


@elementwise(
    numpy=_wide(lambda x: 1 / (1 + np.exp(-x))), dtypes=dt.FLOATS + dt.COMPLEX, places=ACTIVATION
)
def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + e**-x)."""
    return m.sigmoid(x)


@sigmoid.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y * (1.0 - y))


@elementwise(
    numpy=_wide(lambda x: x / (1 + np.exp(-x))),
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1702.03118",
    places=ACTIVATION,
    peer="torch.nn.functional.silu",
)
def silu(x: Scalar) -> Scalar:
    """x * sigmoid(x)."""
    return x / (1.0 + m.exp(-x))


@silu.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    s = sigmoid.apply(x)
    return g * (s * (1.0 + x * (1.0 - s)))


@elementwise(
    numpy=lambda x: np.where(x <= 0, 0, x),
    dtypes=dt.NUMBERS,
    source=TORCH + "ReLU.html",
    places=ACTIVATION,
)
def relu(x: Scalar) -> Scalar:
    """max(x, 0); NaN for NaN. The gradient at 0 is 0."""
    return 0 if x <= 0 else x


@relu.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return where.apply(le.apply(x, 0.0), 0.0, g)


@elementwise(
    numpy=lambda x, *, negative_slope: np.where(x > 0, x, x * x.dtype.type(negative_slope)),
    dtypes=dt.FLOATS,
    source=TORCH + "LeakyReLU.html",
    places=ACTIVATION,
    peer="torch.nn.functional.leaky_relu",
)
def leaky_relu(x: Scalar, *, negative_slope: float = 0.01) -> Scalar:
    """x where x > 0, negative_slope * x elsewhere; the gradient at 0 is negative_slope."""
    return x if x > 0 else x * negative_slope


@leaky_relu.vjp
def _(g: Node, y: Node, x: Node, *, negative_slope: float) -> Node:
    return where.apply(gt.apply(x, 0.0), g, g * negative_slope)


@elementwise(
    numpy=lambda x: np.logaddexp(np.asarray(x, np.float64), 0.0),
    dtypes=dt.FLOATS,
    source=TORCH + "Softplus.html",
    peer="torch.nn.functional.softplus",
)
def softplus_(x: Scalar) -> Scalar:
    """log(1 + e**x), without overflow."""
    return m.maximum(x, 0.0) + m.log1p(m.exp(-abs(x)))


@softplus_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * sigmoid.apply(x)


@elementwise(
    numpy=_wide(lambda x: 0.5 * x * _erfc(-x * _SQRT_HALF)),
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1606.08415",
    peer="torch.nn.functional.gelu",
)
def gelu_(x: Scalar) -> Scalar:
    """x * Phi(x), where Phi(x) = (1 + erf(x / sqrt(2))) / 2."""
    return x * m.normal_cdf(x)


@gelu_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    density = exp.apply(x * x * -0.5) * _INVERSE_SQRT_TAU
    return g * (ndtr.apply(x) + x * density)


@elementwise(
    numpy=_wide(lambda x: 0.5 * _erfc(-x * _SQRT_HALF)),
    dtypes=dt.FLOATS,
    places=("special",),
    peer="torch.special.ndtr",
)
def ndtr(x: Scalar) -> Scalar:
    """Phi(x): how likely a standard normal variable is below x."""
    return m.normal_cdf(x)


@ndtr.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (exp.apply(x * x * -0.5) * _INVERSE_SQRT_TAU)


def _gelu_tanh_reference(x: Array) -> Array:
    return x / (1 + np.exp(-2 * _GELU_SCALE * (x + _GELU_CUBIC * x**3)))


@elementwise(
    numpy=_wide(_gelu_tanh_reference),
    dtypes=dt.FLOATS,
    source="https://arxiv.org/abs/1606.08415",
    places=(),
    peer="torch.nn.functional.gelu",
)
def gelu_tanh(x: Scalar) -> Scalar:
    """x * (1 + tanh(u)) / 2 = x * sigmoid(2 * u), where u = sqrt(2/pi) * (x + 0.044715 * x**3)."""
    return x / (1.0 + m.exp(x * (x * x * (-2 * _GELU_SCALE * _GELU_CUBIC) - 2 * _GELU_SCALE)))


@gelu_tanh.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    squared = x * x
    s = sigmoid.apply(x * (squared * (2 * _GELU_SCALE * _GELU_CUBIC) + 2 * _GELU_SCALE))
    slope = squared * (6 * _GELU_SCALE * _GELU_CUBIC) + 2 * _GELU_SCALE
    return g * (s + x * s * (1.0 - s) * slope)


@public(*ACTIVATION)
def gelu(input: Node, *, approximate: Literal["none", "tanh"] = "none") -> Node:
    """input * Phi(input), Phi the distribution function of the standard normal distribution.

    Args:
        approximate: "tanh" for input * (1 + tanh(sqrt(2/pi) * (input + 0.044715 input^3))) / 2.
    Source: https://arxiv.org/abs/1606.08415

    >>> gelu(tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.0000,  0.8413])
    """
    return (gelu_ if approximate == "none" else gelu_tanh).apply(input)


@public(*ACTIVATION)
def softplus(input: Node, beta: float = 1.0, threshold: float = 20.0) -> Node:
    """log(1 + exp(beta * input)) / beta.

    Args:
        threshold: PyTorch gives `input` itself where beta * input is above it, as we do unless it
            is 20: there both are the same within 1e-9 of it, without overflow.
    """
    out = softplus_.apply(input) if beta == 1 else softplus_.apply(input * beta) / beta
    return out if threshold == 20 else where.apply(gt.apply(input * beta, threshold), input, out)


@public(*EVERYWHERE, "special")
def round(input: Node, *, decimals: int = 0) -> Node:
    """The nearest number with `decimals` digits after the point; ties go to the even one.

    >>> round(tensor([2.5, 3.5, -1.2]))
    tensor([ 2.,  4., -1.])
    """
    if decimals == 0:
        return round_.apply(input)
    scale = 10.0**decimals
    return round_.apply(input * scale) / scale
