"""Elementwise operators of one operand: signs, rounding, exponentials, circles, activations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node
from numbatorch.ops import scalar_math as m
from numbatorch.ops.operands import describe, zeros_like
from numbatorch.ops.parts import conjugated, part_of, sgn_
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import EVERYWHERE, public

Array = Any
SPECIAL = (*EVERYWHERE, "special")
ACTIVATION = (*EVERYWHERE, "nn.functional")
_LN2 = math.log(2)
_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
_INVERSE_SQRT_TAU = 1 / math.sqrt(2 * math.pi)
_SQRT_HALF = math.sqrt(0.5)


def in_float64(function: Any) -> Any:
    """The reference `function` in float64, whatever the operands, or in complex128."""

    def reference(*operands: Array, **attrs: Any) -> Array:
        wide = (x.astype(np.result_type(x, np.float64)) for x in operands)
        return function(*wide, **attrs)

    return reference


def _whole(function: Any) -> Any:
    """The reference `function`, which rounds, of floats; integers are whole."""
    return lambda x: function(x) if x.dtype.kind == "f" else x


_erf = np.vectorize(math.erf, otypes=[np.float64])
erfc_reference = np.vectorize(math.erfc, otypes=[np.float64])


@elementwise(numpy=np.negative, dtypes=dt.NUMBERS + dt.COMPLEX, aliases=("negative",))
def neg(x: Scalar) -> Scalar:
    """-x; unsigned integers wrap.

    >>> neg(tensor([1, 255], dtype=nt.uint8))
    tensor([255,   1], dtype=numbatorch.uint8)
    """
    return -x


@neg.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -g


@elementwise(numpy=np.abs, dtypes=dt.NUMBERS + dt.COMPLEX, result=part_of, aliases=("absolute",))
def abs_(x: Scalar) -> Scalar:
    """x without its sign; the length of a complex number. The gradient at 0 is 0.

    >>> abs(tensor([3 - 4j]))
    tensor([5.])
    """
    return abs(x)


@abs_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (sgn_.apply(x) if x.dtype.is_complex else sign.apply(x))


@elementwise(numpy=lambda x: x if x.dtype.kind == "b" else np.sign(x), dtypes=dt.PLAIN)
def sign(x: Scalar) -> Scalar:
    """1, 0 or -1 with the sign of x, and bool as it is. The gradient is 0.

    Where we differ from PyTorch: NaN for NaN, which is 0 there.

    >>> sign(tensor([-2.0, 0.0, float("nan")]))
    tensor([-1.,  0., nan])
    """
    return m.sign(x)


@elementwise(numpy=np.square, dtypes=dt.NUMBERS + dt.COMPLEX, truths=dt.int64)
def square(x: Scalar) -> Scalar:
    """x * x; integers wrap, and bool becomes int64.

    >>> square(tensor([True, False])).dtype
    numbatorch.int64
    """
    return x * x


@square.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(x * 2.0)


@elementwise(numpy=_whole(np.floor), dtypes=dt.NUMBERS)
def floor(x: Scalar) -> Scalar:
    """The largest whole number <= x. The gradient is 0.

    >>> floor(tensor([-1.5, 1.5]))
    tensor([-2.,  1.])
    """
    return m.floor(x)


@elementwise(numpy=_whole(np.ceil), dtypes=dt.NUMBERS)
def ceil(x: Scalar) -> Scalar:
    """The smallest whole number >= x. The gradient is 0.

    >>> ceil(tensor([-1.5, 1.5]))
    tensor([-1.,  2.])
    """
    return m.ceil(x)


@elementwise(numpy=_whole(np.trunc), dtypes=dt.NUMBERS, aliases=("fix",))
def trunc(x: Scalar) -> Scalar:
    """x without its fraction. The gradient is 0.

    >>> trunc(tensor([-1.5, 1.5]))
    tensor([-1.,  1.])
    """
    return m.trunc(x)


@elementwise(numpy=_whole(np.rint), dtypes=dt.NUMBERS)
def round_(x: Scalar) -> Scalar:
    """The nearest whole number, the even one of two. The gradient is 0."""
    return m.rint(x)


@elementwise(numpy=lambda x: x - np.trunc(x), dtypes=dt.FLOATS)
def frac(x: Scalar) -> Scalar:
    """x - trunc(x), with the sign of x. The gradient is 1.

    >>> frac(tensor([-1.25, 1.25]))
    tensor([-0.2500,  0.2500])
    """
    return x - m.trunc(x)


@frac.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g


def _flat(g: Node, y: Node, x: Node) -> Node:
    return zeros_like(x)


for _op in (sign, floor, ceil, trunc, round_):
    _op.vjp(_flat)


@elementwise(numpy=np.invert, dtypes=dt.INTEGERS_AND_BOOL, differentiable=False)
def bitwise_not(x: Scalar) -> Scalar:
    """Every bit changed; on bool the logical not.

    >>> bitwise_not(tensor([0, 5]))
    tensor([-1, -6])
    """
    return ~x


@elementwise(numpy=in_float64(np.exp), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-20.0, 20.0))
def exp(x: Scalar) -> Scalar:
    """e**x; integers are computed in the default dtype.

    >>> exp(tensor([0, 1]))
    tensor([1.0000, 2.7183])
    """
    return m.exp(x)


@exp.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y)


def _expm1(x: Array) -> Array:
    """NumPy's, whose complex one makes NaN of what is infinite in one part."""
    return (
        np.expm1(x) if x.dtype.kind == "f" else np.where(np.isfinite(x), np.expm1(x), np.exp(x) - 1)
    )


@elementwise(numpy=in_float64(_expm1), dtypes=dt.FLOATS + dt.COMPLEX, places=SPECIAL)
def expm1(x: Scalar) -> Scalar:
    """e**x - 1, accurate near 0.

    >>> expm1(tensor([1e-10]))
    tensor([1.0000e-10])
    """
    return m.expm1(x)


@expm1.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y + 1.0)


@elementwise(numpy=in_float64(np.log), dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.01, 100.0))
def log(x: Scalar) -> Scalar:
    """The natural logarithm; -inf at 0, NaN below.

    >>> log(tensor([1.0, 0.0, -1.0]))
    tensor([0., -inf, nan])
    """
    return m.log(x)


@log.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated(x)


@elementwise(
    numpy=in_float64(np.log1p), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-0.9, 10.0), places=SPECIAL
)
def log1p(x: Scalar) -> Scalar:
    """log(1 + x), accurate near 0.

    >>> log1p(tensor([1e-10]))
    tensor([1.0000e-10])
    """
    return m.log1p(x)


@log1p.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated(x + 1.0)


@elementwise(numpy=in_float64(np.log2), dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.01, 100.0))
def log2(x: Scalar) -> Scalar:
    """The logarithm to base 2; -inf at 0, NaN below.

    >>> log2(tensor([8.0, 0.0]))
    tensor([3., -inf])
    """
    return m.log2(x)


@log2.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated(x * _LN2)


@elementwise(numpy=np.sqrt, dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.01, 100.0))
def sqrt(x: Scalar) -> Scalar:
    """The square root; NaN below 0. The gradient at 0 is infinite.

    >>> sqrt(tensor([4.0, -1.0]))
    tensor([2., nan])
    """
    return m.sqrt(x)


@sqrt.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated(y * 2.0)


@elementwise(numpy=lambda x: 1 / np.sqrt(x), dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.01, 100.0))
def rsqrt(x: Scalar) -> Scalar:
    """1 / sqrt(x); inf at 0, NaN below.

    >>> rsqrt(tensor([4.0, 0.0]))
    tensor([0.5000,    inf])
    """
    return 1.0 / m.sqrt(x)


@rsqrt.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y * y * y * -0.5)


@elementwise(numpy=lambda x: 1 / x, dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.1, 10.0))
def reciprocal(x: Scalar) -> Scalar:
    """1 / x; infinite at 0, with its sign.

    >>> reciprocal(tensor([4.0, -0.0]))
    tensor([0.2500,   -inf])
    """
    return 1.0 / x


@reciprocal.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * conjugated(y * y))


@elementwise(
    numpy=in_float64(np.sin), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-20.0, 20.0), largest=1e8
)
def sin(x: Scalar) -> Scalar:
    """The sine of x radians, for every finite x.

    >>> sin(tensor([0.0, 1e6]))
    tensor([ 0.0000, -0.3500])
    """
    return m.sin(x)


@sin.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(cos.apply(x))


@elementwise(
    numpy=in_float64(np.cos), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-20.0, 20.0), largest=1e8
)
def cos(x: Scalar) -> Scalar:
    """The cosine of x radians, for every finite x.

    >>> cos(tensor([0.0, 1e6]))
    tensor([1.0000, 0.9368])
    """
    return m.cos(x)


@cos.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * conjugated(sin.apply(x)))


@elementwise(
    numpy=in_float64(np.tan), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-1.2, 1.2), largest=1e8
)
def tan(x: Scalar) -> Scalar:
    """The tangent of x radians, for every finite x.

    >>> tan(tensor([0.0, 0.5]))
    tensor([0.0000, 0.5463])
    """
    return m.tan(x)


@tan.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y * y + 1.0)


@elementwise(numpy=in_float64(np.tanh), dtypes=dt.FLOATS + dt.COMPLEX, places=ACTIVATION)
def tanh(x: Scalar) -> Scalar:
    """(e**x - e**-x) / (e**x + e**-x), without overflow.

    >>> tanh(tensor([-100.0, 0.5]))
    tensor([-1.0000,  0.4621])
    """
    return m.tanh(x)


@tanh.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(1.0 - y * y)


@elementwise(numpy=_erf, dtypes=dt.FLOATS, places=SPECIAL)
def erf(x: Scalar) -> Scalar:
    """2 / sqrt(pi) times the integral of e**(-t**2) from 0 to x.

    >>> erf(tensor([0.0, 0.5, 10.0]))
    tensor([0.0000, 0.5205, 1.0000])
    """
    return m.erf(x)


@erf.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (exp.apply(-(x * x)) * _TWO_OVER_SQRT_PI)


def _sigmoid(x: Array) -> Array:
    left = np.exp(np.where(x.real < 0, x, -x))
    return np.where(x.real < 0, left, 1) / (1 + left)


@elementwise(
    numpy=in_float64(_sigmoid),
    dtypes=dt.FLOATS + dt.COMPLEX,
    places=ACTIVATION,
)
def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + e**-x), without overflow.

    >>> sigmoid(tensor([-1000.0, 0.0, 1.0]))
    tensor([0.0000, 0.5000, 0.7311])
    """
    return m.sigmoid(x)


@sigmoid.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y * (1.0 - y))


@public("special")
def expit(input: Node) -> Node:
    """1 / (1 + e**-x): sigmoid.

    >>> expit(tensor([0.0])).item()
    0.5
    """
    return sigmoid.apply(input)


@elementwise(
    numpy=in_float64(lambda x: 0.5 * erfc_reference(-x * _SQRT_HALF)),
    dtypes=dt.FLOATS,
    places=("special",),
    peer="torch.special.ndtr",
)
def ndtr(x: Scalar) -> Scalar:
    """Phi(x): how likely a standard normal variable is below x.

    >>> ndtr(tensor([0.0, 1.96]))
    tensor([0.5000, 0.9750])
    """
    return m.normal_cdf(x)


@ndtr.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (exp.apply(x * x * -0.5) * _INVERSE_SQRT_TAU)


@public(*EVERYWHERE, "special")
def round(input: Node, *, decimals: int = 0) -> Node:
    """The nearest number with `decimals` digits after the point; ties go to the even one.

    Args:
        decimals: below 0 it counts digits before the point.
    Raises:
        DTypeError: integers are rounded to other digits than all of them.

    >>> round(tensor([2.5, 3.5, -1.2]))
    tensor([ 2.,  4., -1.])
    """
    if decimals == 0:
        return round_.apply(input)
    if input.dtype.kind != "f":
        problem = f"with decimals takes floats, not {describe(input)}"
        raise DTypeError(message("round", problem))
    scale = 10.0 ** abs(decimals)
    if decimals < 0:
        return round_.apply(input / scale) * scale
    return round_.apply(input * scale) / scale
