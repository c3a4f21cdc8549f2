"""Powers of 2, logarithms to other bases, of sums, and of products that may be 0 * log(0)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.graph import Node
from numbatorch.ops import scalar_complex_arc
from numbatorch.ops import scalar_math as m
from numbatorch.ops.compare import eq, gt, le, logical_and, logical_or, lt, where
from numbatorch.ops.host import scipy
from numbatorch.ops.parts import conjugated
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import EVERYWHERE, public
from numbatorch.ops.unary import in_float64, log, log1p, sigmoid

Array = Any
Pair = tuple[Node, Node]
SPECIAL = (*EVERYWHERE, "special")
_LN2 = math.log(2)
_LN10 = math.log(10)


@elementwise(
    numpy=in_float64(np.exp2), dtypes=dt.FLOATS + dt.COMPLEX, domain=(-20.0, 20.0), places=SPECIAL
)
def exp2(x: Scalar) -> Scalar:
    """2**x.

    >>> exp2(tensor([3, -1]))
    tensor([8.0000, 0.5000])
    """
    return scalar_complex_arc.exp2(x)


@exp2.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * conjugated(y * _LN2)


@elementwise(numpy=in_float64(np.log10), dtypes=dt.FLOATS + dt.COMPLEX, domain=(0.01, 100.0))
def log10(x: Scalar) -> Scalar:
    """The logarithm to base 10; -inf at 0, NaN below.

    >>> log10(tensor([1000.0, 0.0]))
    tensor([3., -inf])
    """
    return scalar_complex_arc.log10(x)


@log10.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g / conjugated(x * _LN10)


def _logaddexp(x: Array, y: Array) -> Array:
    if x.dtype.kind != "c":
        return np.logaddexp(x, y)
    first = x.real >= y.real
    large: Array = np.where(first, x, y)
    return large + np.log(1 + np.exp(np.where(first, y, x) - large))


@elementwise(numpy=in_float64(_logaddexp), dtypes=dt.FLOATS + dt.COMPLEX, numbers=0)
def logaddexp(x: Scalar, y: Scalar) -> Scalar:
    """log(e**input + e**other), without overflow.

    >>> logaddexp(tensor([1000.0]), tensor([1000.0]))
    tensor([1000.6932])
    """
    return scalar_complex_arc.logaddexp(x, y)


@logaddexp.vjp
def _(g: Node, out: Node, x: Node, y: Node) -> Pair:
    same = eq.apply(x, y)  # infinities too
    share = conjugated(sigmoid.apply(where.apply(same, 0.0, x - y)))
    return g * share, g * (1.0 - share)


@elementwise(numpy=in_float64(np.logaddexp2), dtypes=dt.FLOATS, numbers=0)
def logaddexp2(x: Scalar, y: Scalar) -> Scalar:
    """log2(2**input + 2**other), without overflow.

    >>> logaddexp2(tensor([1000.0]), tensor([1000.0]))
    tensor([1001.])
    """
    return m.logaddexp2(x, y)


@logaddexp2.vjp
def _(g: Node, out: Node, x: Node, y: Node) -> Pair:
    same = eq.apply(x, y)
    share = sigmoid.apply(where.apply(same, 0.0, x - y) * _LN2)
    return g * share, g * (1.0 - share)


@elementwise(
    numpy=lambda x, y: scipy("special").xlogy(x, y),
    dtypes=dt.FLOATS,
    domain=(0.05, 4.0),
    places=SPECIAL,
    numbers=2,
)
def xlogy(x: Scalar, y: Scalar) -> Scalar:
    """input * log(other); 0 where input is 0, unless other is NaN.

    >>> xlogy(tensor([0.0, 2.0]), tensor([0.0, 2.0]))
    tensor([0.0000, 1.3863])
    """
    return 0 if x == 0 and y == y else x * m.log(y)


@xlogy.vjp
def _(g: Node, out: Node, x: Node, y: Node) -> Pair:
    nothing = logical_and.apply(eq.apply(x, 0.0), le.apply(y, 0.0))
    slope = log.apply(where.apply(nothing, 1.0, y))
    return g * slope, g * (x / y)


@elementwise(
    numpy=lambda x, y: scipy("special").xlog1py(x, y),
    dtypes=dt.FLOATS,
    domain=(-0.9, 4.0),
    places=("special",),
    peer="torch.special.xlog1py",
    numbers=2,
)
def xlog1py(x: Scalar, y: Scalar) -> Scalar:
    """input * log(1 + other); 0 where input is 0, unless other is NaN.

    >>> xlog1py(tensor([0.0, 2.0]), tensor([-1.0, 1.0]))
    tensor([0.0000, 1.3863])
    """
    return 0 if x == 0 and y == y else x * m.log1p(y)


@xlog1py.vjp
def _(g: Node, out: Node, x: Node, y: Node) -> Pair:
    nothing = logical_and.apply(eq.apply(x, 0.0), le.apply(y, -1.0))
    slope = log1p.apply(where.apply(nothing, 0.0, y))
    return g * slope, g * (x / (y + 1.0))


def _logit(x: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.log(x) - np.log1p(-x)


@elementwise(numpy=in_float64(_logit), dtypes=dt.FLOATS, domain=(0.02, 0.98))
def logit_(x: Scalar) -> Scalar:
    """log(x / (1 - x)); NaN outside of [0, 1]."""
    return m.logit(x)


@logit_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    outside = logical_or.apply(lt.apply(x, 0.0), gt.apply(x, 1.0))
    return where.apply(outside, math.nan, g / (x * (1.0 - x)))


@public(*SPECIAL)
def logit(input: Node, eps: float | None = None) -> Node:
    """log(input / (1 - input)).

    Args:
        eps: bounds the input to [eps, 1 - eps] first, beyond which the gradient is 0.

    >>> logit(tensor([0.0, 0.5]), eps=0.25)
    tensor([-1.0986,  0.0000])
    """
    if eps is None:
        return logit_.apply(input)
    bounded = where.apply(lt.apply(input, eps), eps, input)
    return logit_.apply(where.apply(gt.apply(bounded, 1 - eps), 1 - eps, bounded))


@elementwise(
    numpy=lambda x: scipy("special").entr(x),
    dtypes=dt.FLOATS,
    domain=(0.05, 4.0),
    places=("special",),
    peer="torch.special.entr",
)
def entr(x: Scalar) -> Scalar:
    """-x * log(x): the share of x in an entropy; 0 at 0, -inf below.

    >>> entr(tensor([0.5, 0.0, -1.0]))
    tensor([0.3466, 0.0000,   -inf])
    """
    return -math.inf if x < 0 else (0 if x == 0 else -(x * m.log(x)))


@entr.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return -(g * (log.apply(x) + 1.0))
