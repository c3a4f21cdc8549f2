"""The error function's complement and inverse, and the normal distribution's functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.graph import Node
from numbatorch.ops import scalar_error as m
from numbatorch.ops.host import scipy
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import EVERYWHERE
from numbatorch.ops.unary import exp

Array = np.ndarray[Any, Any]

_TWO_OVER_SQRT_PI = 2 / math.sqrt(math.pi)
_SQRT_TAU = math.sqrt(2 * math.pi)
_SQRT_HALF = math.sqrt(0.5)


@elementwise(
    numpy=lambda x: scipy("special").erfc(x),
    dtypes=dt.FLOATS,
    places=(*EVERYWHERE, "special"),
)
def erfc(x: Scalar) -> Scalar:
    """1 - erf(x), to the last digits of its tail.

    >>> erfc(tensor([0.0, 9.0]))
    tensor([1.0000e+00, 4.1370e-37])
    """
    return m.erfc(x)


@erfc.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * (exp.apply(-(x * x)) * _TWO_OVER_SQRT_PI))


def _scaled(x: Array) -> Array:
    """SciPy's; below 0 it squares in float64, which loses digits of the power."""
    right = scipy("special").erfcx(np.abs(x))
    square = np.square(np.minimum(x, 0).astype(np.longdouble))
    return np.asarray(np.where(x < 0, 2 * np.exp(square) - right, right), x.dtype)


@elementwise(
    numpy=_scaled,
    dtypes=dt.FLOATS,
    places=("special",),
    peer="torch.special.erfcx",
)
def erfcx(x: Scalar) -> Scalar:
    """e**(x**2) * erfc(x), where the one overflows and the other is 0.

    >>> erfcx(tensor([0.0, 100.0]))
    tensor([1.0000, 0.0056])
    """
    return m.erfcx(x)


@erfcx.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (x * y * 2.0 - _TWO_OVER_SQRT_PI)


@elementwise(
    numpy=lambda x: scipy("special").erfinv(x),
    dtypes=dt.FLOATS,
    domain=(-0.95, 0.95),
    places=(*EVERYWHERE, "special"),
    source="https://doi.org/10.2307/2347330",
)
def erfinv(x: Scalar) -> Scalar:
    """y with erf(y) = x; infinite at -1 and 1, NaN beyond.

    >>> erfinv(tensor([0.0, 0.5, 1.0, 2.0]))
    tensor([0.0000, 0.4769,    inf,    nan])
    """
    return m.erfinv(x)


@erfinv.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (exp.apply(y * y) * (1 / _TWO_OVER_SQRT_PI))


@elementwise(
    numpy=lambda x: scipy("special").ndtri(x),
    dtypes=dt.FLOATS,
    domain=(0.02, 0.98),
    places=("special",),
    peer="torch.special.ndtri",
    source="https://doi.org/10.2307/2347330",
)
def ndtri(x: Scalar) -> Scalar:
    """y with Phi(y) = x, the inverse of `ndtr`; infinite at 0 and 1, NaN beyond.

    >>> ndtri(tensor([0.5, 0.975, 1.0]))
    tensor([0.0000, 1.9600,    inf])
    """
    return m.ndtri(x)


@ndtri.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * (exp.apply(y * y * 0.5) * _SQRT_TAU)


@elementwise(
    numpy=lambda x: scipy("special").log_ndtr(x),
    dtypes=dt.FLOATS,
    places=("special",),
    peer="torch.special.log_ndtr",
)
def log_ndtr(x: Scalar) -> Scalar:
    """log(Phi(x)), far below 0 too, where Phi(x) is too small for its type.

    >>> log_ndtr(tensor([0.0, -100.0]))
    tensor([-6.9315e-01, -5.0055e+03])
    """
    return m.log_ndtr(x)


@log_ndtr.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    """The density over Phi: sqrt(2 / pi) / erfcx(-x / sqrt(2))."""
    return g * (math.sqrt(2 / math.pi) / erfcx.apply(x * -_SQRT_HALF))
