"""Inverse circular and hyperbolic operators, angles of points, and units of angles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.graph import Node
from numbatorch.ops import scalar_arc, scalar_complex
from numbatorch.ops import scalar_complex_arc as m
from numbatorch.ops.compare import eq, lt, where
from numbatorch.ops.operands import zeros_like
from numbatorch.ops.parts import conjugated
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import EVERYWHERE
from numbatorch.ops.unary import abs_, cos, in_float64, reciprocal, rsqrt, sin, sqrt

Pair = tuple[Node, Node]
FLOATS = dt.FLOATS + dt.COMPLEX
_DEGREE = math.pi / 180
_RADIAN = 180 / math.pi


@elementwise(numpy=in_float64(np.arctan), dtypes=FLOATS, aliases=("arctan",))
def atan(x: Scalar) -> Scalar:
    """The angle between -pi/2 and pi/2 whose tangent is x.

    >>> atan(tensor([1.0, float("inf")]))
    tensor([0.7854, 1.5708])
    """
    return m.atan(x)


@atan.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated(x * x + 1.0)


@elementwise(numpy=in_float64(np.arcsin), dtypes=FLOATS, domain=(-0.95, 0.95), aliases=("arcsin",))
def asin(x: Scalar) -> Scalar:
    """The angle between -pi/2 and pi/2 whose sine is x; NaN for |x| > 1.

    >>> asin(tensor([1.0, 2.0]))
    tensor([1.5708,    nan])
    """
    return m.asin(x)


@asin.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(_slope(x))


@elementwise(numpy=in_float64(np.arccos), dtypes=FLOATS, domain=(-0.95, 0.95), aliases=("arccos",))
def acos(x: Scalar) -> Scalar:
    """The angle between 0 and pi whose cosine is x; NaN for |x| > 1.

    >>> acos(tensor([-1.0, 2.0]))
    tensor([3.1416,    nan])
    """
    return m.acos(x)


@acos.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * conjugated(_slope(x)))


def _slope(x: Node) -> Node:
    """1 / sqrt(1 - x**2), without cancellation near 1."""
    if x.dtype.is_complex:
        return reciprocal.apply(sqrt.apply(1.0 - x) * sqrt.apply(1.0 + x))
    return rsqrt.apply((1.0 - x) * (1.0 + x))


@elementwise(numpy=in_float64(np.sinh), dtypes=FLOATS)
def sinh(x: Scalar) -> Scalar:
    """(e**x - e**-x) / 2.

    >>> sinh(tensor([-1.0, 1.0]))
    tensor([-1.1752,  1.1752])
    """
    return m.sinh(x)


@sinh.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(cosh.apply(x))


@elementwise(numpy=in_float64(np.cosh), dtypes=FLOATS)
def cosh(x: Scalar) -> Scalar:
    """(e**x + e**-x) / 2.

    >>> cosh(tensor([-1.0, 1.0]))
    tensor([1.5431, 1.5431])
    """
    return m.cosh(x)


@cosh.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(sinh.apply(x))


@elementwise(numpy=in_float64(np.arcsinh), dtypes=FLOATS, aliases=("arcsinh",))
def asinh(x: Scalar) -> Scalar:
    """log(x + sqrt(x**2 + 1)), without overflow or cancellation.

    >>> asinh(tensor([-1e30, 1.0]))
    tensor([-69.7707,   0.8814])
    """
    return m.asinh(x)


@asinh.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(rsqrt.apply(x * x + 1.0))


@elementwise(numpy=in_float64(np.arccosh), dtypes=FLOATS, domain=(1.1, 9.0), aliases=("arccosh",))
def acosh(x: Scalar) -> Scalar:
    """log(x + sqrt(x**2 - 1)), without overflow; NaN for x < 1.

    >>> acosh(tensor([1.0, 1e30, 0.5]))
    tensor([ 0.0000, 69.7707,     nan])
    """
    return m.acosh(x)


@acosh.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    if x.dtype.is_complex:
        return g / conjugated(sqrt.apply(x - 1.0) * sqrt.apply(x + 1.0))
    return g * rsqrt.apply((x - 1.0) * (x + 1.0))


@elementwise(
    numpy=in_float64(np.arctanh), dtypes=FLOATS, domain=(-0.95, 0.95), aliases=("arctanh",)
)
def atanh(x: Scalar) -> Scalar:
    """log((1 + x) / (1 - x)) / 2; infinite at -1 and 1, NaN beyond.

    >>> atanh(tensor([0.5, 1.0, 2.0]))
    tensor([0.5493,    inf,    nan])
    """
    return m.atanh(x)


@atanh.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated((1.0 - x) * (1.0 + x))


@elementwise(numpy=in_float64(np.arctan2), dtypes=dt.FLOATS, aliases=("arctan2",), numbers=0)
def atan2(y: Scalar, x: Scalar) -> Scalar:
    """The angle of the point (other, input) to the first axis, from -pi to pi.

    The gradient at (0, 0) is 0.

    >>> atan2(tensor([1.0, 0.0]), tensor([0.0, -1.0]))
    tensor([1.5708, 3.1416])
    """
    return scalar_arc.atan2(y, x)


@atan2.vjp
def _(g: Node, out: Node, y: Node, x: Node) -> Pair:
    size = hypot.apply(y, x)
    safe = where.apply(eq.apply(size, 0.0), 1.0, size)
    share = g / safe
    return share * (x / safe), -(share * (y / safe))


@elementwise(numpy=in_float64(np.hypot), dtypes=dt.FLOATS, numbers=0)
def hypot(x: Scalar, y: Scalar) -> Scalar:
    """sqrt(input**2 + other**2), without overflow on the way. The gradient at (0, 0) is 0.

    >>> hypot(tensor([3.0, 3e30]), tensor([4.0, 4e30]))
    tensor([5.0000e+00, 5.0000e+30])
    """
    return scalar_complex.hypot(x, y)


@hypot.vjp
def _(g: Node, out: Node, x: Node, y: Node) -> Pair:
    safe = where.apply(eq.apply(out, 0.0), 1.0, out)
    return g * (x / safe), g * (y / safe)


def _sinc(x: Any) -> Any:
    turned = np.pi * np.where(x == 0, 1, x)
    near = np.pi * (x - 2 * np.rint(np.real(x) / 2))
    return np.where(x == 0, 1, np.sin(near) / turned)


@elementwise(numpy=in_float64(_sinc), dtypes=FLOATS, places=(*EVERYWHERE, "special"))
def sinc(x: Scalar) -> Scalar:
    """sin(pi * x) / (pi * x), 1 at 0.

    >>> sinc(tensor([0.0, 0.5]))
    tensor([1.0000, 0.6366])
    """
    return m.sinc(x)


@sinc.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    """(cos(pi x) - sinc(x)) / x; near 0 its series, which has all derivatives there."""
    near = lt.apply(abs_.apply(x), 0.75)
    inner = where.apply(near, x, 0.0)
    square = inner * inner
    series = zeros_like(square)
    for factor in _SINC_SERIES:
        series = series * square + factor
    outer = where.apply(near, 1.0, x)
    far = (cos.apply(outer * math.pi) - sin.apply(outer * math.pi) / (outer * math.pi)) / outer
    return g * conjugated(where.apply(near, inner * series, far))


# The derivative of sinc over x in x**2: 2 k (-1)**k pi**(2 k) / (2 k + 1)!, the highest k first.
_SINC_SERIES = tuple(
    2 * k * (-1) ** k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(14, 0, -1)
)


@elementwise(numpy=np.deg2rad, dtypes=dt.FLOATS)
def deg2rad(x: Scalar) -> Scalar:
    """Degrees as radians: x * pi / 180.

    >>> deg2rad(tensor([180.0]))
    tensor([3.1416])
    """
    return x * _DEGREE


@deg2rad.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * _DEGREE


@elementwise(numpy=np.rad2deg, dtypes=dt.FLOATS)
def rad2deg(x: Scalar) -> Scalar:
    """Radians as degrees: x * 180 / pi.

    >>> rad2deg(tensor([3.14159265]))
    tensor([180.])
    """
    return x * _RADIAN


@rad2deg.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * _RADIAN
