"""Transforms of numbers, one by one. Layer 8."""

from __future__ import annotations

import math
from typing import Any

import numbatorch as nt
from numbatorch.distributions import constraints
from numbatorch.distributions.distribution import Number, inside, sum_last
from numbatorch.distributions.transform import Transform, equal
from numbatorch.nn import functional as F
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor


class ExpTransform(Transform):
    """exp(x).

    >>> from numbatorch.distributions import ExpTransform
    >>> ExpTransform()(tensor([0.0]))
    tensor([1.])
    """

    codomain = constraints.positive
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return x.exp()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """x."""
        return x


class PowerTransform(Transform):
    """x^exponent of x > 0.

    >>> from numbatorch.distributions import PowerTransform
    >>> PowerTransform(2.0)(tensor([3.0]))
    tensor([9.])
    """

    domain = constraints.positive
    codomain = constraints.positive
    bijective = True

    def __init__(self, exponent: Number, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.exponent = exponent

    @property
    def sign(self) -> Any:
        """That of the exponent."""
        return self.exponent.sign() if isinstance(self.exponent, Tensor) else _sign(self.exponent)

    def _call(self, x: Tensor) -> Tensor:
        return x.pow(self.exponent)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.pow(1 / self.exponent)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |exponent y / x|."""
        return (self.exponent * y / x).abs().log()

    def forward_shape(self, shape: Shape) -> Shape:
        """Broadcast with the exponent."""
        return _broadcast(shape, self.exponent)

    inverse_shape = forward_shape


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)


def _broadcast(shape: Shape, *others: Number) -> Shape:
    found: Shape = nt.broadcast_shapes(shape, *(getattr(x, "shape", ()) for x in others))
    return found


class SigmoidTransform(Transform):
    """1 / (1 + exp(-x)), held off 0 and 1.

    >>> from numbatorch.distributions import SigmoidTransform
    >>> SigmoidTransform()(tensor([0.0]))
    tensor([0.5000])
    """

    codomain = constraints.unit_interval
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return x.sigmoid().clamp(*inside(x.dtype))

    def _inverse(self, y: Tensor) -> Tensor:
        held = y.clamp(*inside(y.dtype))
        return held.log() - (-held).log1p()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log(y (1 - y))."""
        return F.logsigmoid(x) + F.logsigmoid(-x)


class SoftplusTransform(Transform):
    """log(1 + exp(x)), x itself above 20.

    >>> from numbatorch.distributions import SoftplusTransform
    >>> SoftplusTransform()(tensor([0.0]))
    tensor([0.6931])
    """

    codomain = constraints.positive
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return F.softplus(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return (-(-y).expm1()).log() + y

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """-log(1 + exp(-x))."""
        return -F.softplus(-x)


class TanhTransform(Transform):
    """tanh(x).

    >>> from numbatorch.distributions import TanhTransform
    >>> TanhTransform()(tensor([0.0]))
    tensor([0.])
    """

    codomain = constraints.interval(-1.0, 1.0)
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return x.tanh()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.atanh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log(1 - tanh(x)^2) = 2 (log 2 - x - log(1 + exp(-2 x)))."""
        return 2.0 * (math.log(2) - x - F.softplus(-2 * x))


class AbsTransform(Transform):
    """|x|; the inverse of y is y.

    >>> from numbatorch.distributions import AbsTransform
    >>> AbsTransform()(tensor([-1.0]))
    tensor([1.])
    """

    codomain = constraints.positive

    def _call(self, x: Tensor) -> Tensor:
        return x.abs()

    def _inverse(self, y: Tensor) -> Tensor:
        return y


class AffineTransform(Transform):
    """loc + scale x.

    Args:
        event_dim: dimensions of an event.

    >>> from numbatorch.distributions import AffineTransform
    >>> AffineTransform(1.0, 2.0)(tensor([3.0]))
    tensor([7.])
    """

    bijective = True

    def __init__(self, loc: Number, scale: Number, event_dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.loc, self.scale = loc, scale
        reals = constraints.independent(constraints.real, event_dim)
        self.domain = self.codomain = reals if event_dim else constraints.real

    def _same(self, other: Any) -> bool:
        alike = equal(self.loc, other.loc) and equal(self.scale, other.scale)
        return alike and self.event_dim == other.event_dim

    @property
    def sign(self) -> Any:
        """That of the scale."""
        return self.scale.sign() if isinstance(self.scale, Tensor) else _sign(self.scale)

    def _call(self, x: Tensor) -> Tensor:
        return self.loc + self.scale * x

    def _inverse(self, y: Tensor) -> Tensor:
        return (y - self.loc) / self.scale

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |scale|."""
        if isinstance(self.scale, Tensor):
            found = self.scale.abs().log().expand(_broadcast(x.shape, self.scale))
        else:
            found = nt.full_like(x, math.log(abs(self.scale)))
        return sum_last(found, self.domain.event_dim)

    def forward_shape(self, shape: Shape) -> Shape:
        """Broadcast with loc and scale."""
        return _broadcast(shape, self.loc, self.scale)

    inverse_shape = forward_shape
