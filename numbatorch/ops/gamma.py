"""The logarithm of the gamma function, its derivatives, and zeta and incomplete gamma functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import message
from numbatorch.graph import Node
from numbatorch.ops import scalar_gamma as m
from numbatorch.ops.host import scipy
from numbatorch.ops.hosted import hosted
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import EVERYWHERE, enter, public
from numbatorch.ops.unary import exp, in_float64, log

Array = Any
SPECIAL = (*EVERYWHERE, "special")
_LOG_PI = math.log(math.pi)


def _gammaln(x: Array) -> Array:
    return np.where(x == -np.inf, np.inf, scipy("special").gammaln(x))


@elementwise(
    numpy=_gammaln,
    dtypes=dt.FLOATS,
    domain=(0.1, 9.0),
    source="Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 6.1",
)
def lgamma(x: Scalar) -> Scalar:
    """log(|gamma(x)|), within 4 ulp, absolute near its roots below 0; inf at whole numbers <= 0.

    >>> lgamma(tensor([0.5, 5.0, -1.0]))
    tensor([0.5724, 3.1781,    inf])
    """
    return m.lgamma(x)


@lgamma.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * digamma.apply(x)


@elementwise(
    numpy=lambda x: np.where(np.isneginf(x), np.nan, scipy("special").psi(x)),
    dtypes=dt.FLOATS,
    domain=(0.1, 9.0),
    places=SPECIAL,
    source="Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 6.3",
)
def digamma(x: Scalar) -> Scalar:
    """The derivative of lgamma, within 4 ulp, absolute near its roots; NaN at whole numbers < 0.

    >>> digamma(tensor([1.0, 0.5, -1.0]))
    tensor([-0.5772, -1.9635,     nan])
    """
    return m.digamma(x)


@digamma.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * trigamma.apply(x)


def _trigamma(x: Array) -> Array:
    polygamma = scipy("special").polygamma
    near = np.pi * (x - 2 * np.rint(x / 2))
    reflected = (np.pi / np.sin(near)) ** 2 - polygamma(1, np.where(x < 0, 1 - x, 1))
    reflected = np.where(x == np.rint(x), np.inf, reflected)
    return np.where(x > 0, polygamma(1, np.where(x > 0, x, 1)), np.where(x != x, x, reflected))


@elementwise(
    numpy=in_float64(_trigamma),
    dtypes=dt.FLOATS,
    domain=(0.1, 9.0),
    places=(),
    peer="torch.polygamma",
    source="Abramowitz and Stegun, Handbook of Mathematical Functions (1964), 6.4",
)
def trigamma(x: Scalar) -> Scalar:
    """The second derivative of lgamma; inf at 0 and at whole numbers below."""
    return m.trigamma(x)


@trigamma.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return g * _polygamma(2, x)


@hosted(
    places=("special",), domain=((1.3, 4.0), (0.3, 4.0)), numbers=True, peer="torch.special.zeta"
)
def zeta(s: Array, q: Array) -> Array:
    """The sum of 1 / (other + k)**input over k = 0, 1, 2, ...: Hurwitz's zeta function.

    Computed on the host by SciPy. The gradient by `input`, which PyTorch lacks, is a difference.

    >>> nt.special.zeta(tensor([2.0]), 1.0)
    tensor([1.6449])
    """
    return scipy("special").zeta(s, q)


@zeta.vjp
def _(g: Node, y: Node, s: Node, q: Node) -> tuple[Node | None, Node]:
    slope = zeta_by_power.apply(s, q) if s.requires_grad else None
    return None if slope is None else g * slope, -(g * (s * zeta.apply(s + 1.0, q)))


def _by_first(function: Callable[..., Array], first: Array, second: Array, least: float) -> Array:
    """The derivative by the first operand, above `least`: a difference of four values."""
    x, y = (np.asarray(z, np.float64) for z in (first, second))
    h = np.minimum(1e-3 * np.maximum(1, x), (x - least) / 8)
    near = function(x + h, y) - function(x - h, y)
    far = function(x + 2 * h, y) - function(x - 2 * h, y)
    return (8 * near - far) / (12 * h)


@hosted(places=(), domain=((1.5, 4.0), (0.3, 4.0)))
def zeta_by_power(s: Array, q: Array) -> Array:
    """The derivative of zeta by its first operand."""
    return _by_first(scipy("special").zeta, s, q, 1.0)


@hosted(places=(), domain=((0.5, 4.0), (0.3, 6.0)))
def igamma_by_shape(a: Array, x: Array) -> Array:
    """The derivative of igamma by its first operand."""
    return _by_first(scipy("special").gammainc, a, x, 0.0)


def _polygamma(n: int, x: Node) -> Node:
    if n == 0:
        return digamma.apply(x)
    if n == 1:
        return trigamma.apply(x)
    sign = 1.0 if n % 2 else -1.0
    order = float(n + 1)
    return zeta.apply(order, x) * (sign * math.factorial(n))


@public(*SPECIAL)
def polygamma(n: int, input: Node) -> Node:
    """Derivative number n of digamma; digamma itself for n = 0.

    Raises:
        ValueError: n is negative.

    >>> polygamma(1, tensor([1.0]))
    tensor([1.6449])
    """
    if n < 0:
        raise ValueError(message("polygamma", f"n is {n}, below 0"))
    return _polygamma(n, input)


@public(*EVERYWHERE)
def mvlgamma(input: Node, p: int) -> Node:
    """The logarithm of the multivariate gamma function of p dimensions.

    log(pi) * p * (p - 1) / 4 + sum of lgamma(input - j / 2) over j < p.

    Raises:
        ValueError: p is below 1.

    >>> mvlgamma(tensor([2.0, 3.0]), 2)
    tensor([0.4516, 1.5502])
    """
    if p < 1:
        raise ValueError(message("mvlgamma", f"p is {p}, below 1"))
    total = lgamma.apply(input)
    for j in range(1, p):
        total = total + lgamma.apply(input - j / 2)
    return total + _LOG_PI * p * (p - 1) / 4


@hosted(places=EVERYWHERE, domain=((0.3, 4.0), (0.3, 6.0)), aliases=("gammainc",))
def igamma(a: Array, x: Array) -> Array:
    """The regularized lower incomplete gamma function: how likely a gamma variable is below x.

    Computed on the host by SciPy. The gradient by `input`, which PyTorch lacks, is a difference.

    >>> nt.igamma(tensor([1.0]), tensor([2.0]))
    tensor([0.8647])
    """
    return scipy("special").gammainc(a, x)


@igamma.vjp
def _(g: Node, y: Node, a: Node, x: Node) -> tuple[Node | None, Node]:
    slope = g * igamma_by_shape.apply(a, x) if a.requires_grad else None
    return slope, g * _density(a, x)


@hosted(places=EVERYWHERE, domain=((0.3, 4.0), (0.3, 6.0)), aliases=("gammaincc",))
def igammac(a: Array, x: Array) -> Array:
    """1 - igamma(input, other), to the last digits of its tail.

    Computed on the host by SciPy. The gradient by `input`, which PyTorch lacks, is a difference.

    >>> nt.igammac(tensor([1.0]), tensor([2.0]))
    tensor([0.1353])
    """
    return scipy("special").gammaincc(a, x)


@igammac.vjp
def _(g: Node, y: Node, a: Node, x: Node) -> tuple[Node | None, Node]:
    slope = -(g * igamma_by_shape.apply(a, x)) if a.requires_grad else None
    return slope, -(g * _density(a, x))


def _density(a: Node, x: Node) -> Node:
    return exp.apply((a - 1.0) * log.apply(x) - x - lgamma.apply(a))


enter(lgamma.public, "gammaln", ("special",))
enter(digamma.public, "psi", ("special",))
enter(mvlgamma, "multigammaln", ("special",))
