"""Distributions over real numbers of one place and one scale. Layer 8."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numbatorch as nt
from numbatorch.distributions import constraints
from numbatorch.distributions.distribution import LOG_SQRT_2PI, Distribution, Number, where
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor


class _LocScale(Distribution):
    """loc + scale * a draw of the distribution whose loc is 0 and whose scale is 1."""

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.real
    has_rsample = True
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Number, scale: Number, validate_args: bool | None = None) -> None:
        super().__init__(self._take(loc=loc, scale=scale), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    def _standard(self, value: Tensor) -> Tensor:
        return (value - self.loc) / self.scale


class Normal(_LocScale):
    """exp(-((x - loc) / scale)^2 / 2) / (scale sqrt(2 pi)).

    >>> from numbatorch.distributions import Normal
    >>> Normal(0.0, 1.0).log_prob(tensor([0.0, 1.0]))
    tensor([-0.9189, -1.4189])
    """

    @property
    def variance(self) -> Tensor:
        """scale^2."""
        return self.scale.square()

    @property
    def stddev(self) -> Tensor:
        """scale."""
        return self.scale

    def _draw(self, shape: Shape) -> Tensor:
        return self.loc + self.scale * self._normals(shape)

    def _log_prob(self, value: Tensor) -> Tensor:
        return -0.5 * self._standard(value).square() - self.scale.log() - LOG_SQRT_2PI

    def _cdf(self, value: Tensor) -> Tensor:
        return nt.special.ndtr(self._standard(value))

    def icdf(self, value: Tensor) -> Tensor:
        """loc + scale ndtri(value)."""
        return self.loc + self.scale * nt.special.ndtri(value)

    def entropy(self) -> Tensor:
        """log(scale sqrt(2 pi e))."""
        return self.scale.log() + (LOG_SQRT_2PI + 0.5)


class Laplace(_LocScale):
    """exp(-|x - loc| / scale) / (2 scale).

    >>> from numbatorch.distributions import Laplace
    >>> Laplace(0.0, 1.0).log_prob(tensor([0.0, 1.0]))
    tensor([-0.6931, -1.6931])
    """

    @property
    def variance(self) -> Tensor:
        """2 scale^2."""
        return 2 * self.scale.square()

    @property
    def stddev(self) -> Tensor:
        """sqrt(2) scale."""
        return math.sqrt(2) * self.scale

    def _draw(self, shape: Shape) -> Tensor:
        return self.icdf(self._uniforms(shape))

    def _log_prob(self, value: Tensor) -> Tensor:
        return -self._standard(value).abs() - (2 * self.scale).log()

    def _cdf(self, value: Tensor) -> Tensor:
        z = self._standard(value)
        return 0.5 - 0.5 * z.sign() * (-z.abs()).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        """loc - scale sign(value - 1/2) log(1 - 2 |value - 1/2|)."""
        off = value - 0.5
        return self.loc - self.scale * off.sign() * (-2 * off.abs()).log1p()

    def entropy(self) -> Tensor:
        """log(2 e scale)."""
        return 1 + (2 * self.scale).log()


class Cauchy(_LocScale):
    """1 / (pi scale (1 + ((x - loc) / scale)^2)).

    >>> from numbatorch.distributions import Cauchy
    >>> Cauchy(0.0, 1.0).cdf(tensor([0.0, 1.0]))
    tensor([0.5000, 0.7500])
    """

    @property
    def mean(self) -> Tensor:
        """NaN: there is none."""
        return nt.full_like(self.loc, math.nan)

    @property
    def variance(self) -> Tensor:
        """Infinite."""
        return nt.full_like(self.loc, math.inf)

    def _draw(self, shape: Shape) -> Tensor:
        return self.icdf(self._uniforms(shape))

    def _log_prob(self, value: Tensor) -> Tensor:
        return -math.log(math.pi) - self.scale.log() - self._standard(value).square().log1p()

    def _cdf(self, value: Tensor) -> Tensor:
        return self._standard(value).atan() / math.pi + 0.5

    def icdf(self, value: Tensor) -> Tensor:
        """loc + scale tan(pi (value - 1/2))."""
        return self.loc + self.scale * (math.pi * (value - 0.5)).tan()

    def entropy(self) -> Tensor:
        """log(4 pi scale)."""
        return self.scale.log() + math.log(4 * math.pi)


class Uniform(Distribution):
    """1 / (high - low) in [low, high).

    Raises:
        ValueError: low is not below high.

    >>> from numbatorch.distributions import Uniform
    >>> Uniform(0.0, 2.0).log_prob(tensor([0.5, 1.0]))
    tensor([-0.6931, -0.6931])
    """

    arg_constraints: ClassVar = {
        "low": constraints.dependent(is_discrete=False, event_dim=0),
        "high": constraints.dependent(is_discrete=False, event_dim=0),
    }
    has_rsample = True
    low: Tensor
    high: Tensor

    def __init__(self, low: Number, high: Number, validate_args: bool | None = None) -> None:
        super().__init__(self._take(low=low, high=high), validate_args=validate_args)
        if self._looks():
            above = constraints.greater_than(self.low)
            self._require("high", self.high, above, "high is not greater than low")

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """[low, high], as PyTorch's, though high itself is not drawn."""
        return constraints.interval(self.low, self.high)

    @property
    def mean(self) -> Tensor:
        """(low + high) / 2."""
        return (self.low + self.high) / 2

    @property
    def mode(self) -> Tensor:
        """NaN: all are as likely."""
        return nt.full_like(self.low, math.nan)

    @property
    def stddev(self) -> Tensor:
        """(high - low) / sqrt(12)."""
        return (self.high - self.low) / math.sqrt(12)

    @property
    def variance(self) -> Tensor:
        """(high - low)^2 / 12."""
        return (self.high - self.low).square() / 12

    def _draw(self, shape: Shape) -> Tensor:
        drawn = nt.rand(shape, dtype=self.low.dtype, device=self.low.device)
        return self.low + drawn * (self.high - self.low)

    def _log_prob(self, value: Tensor) -> Tensor:
        inside = (value >= self.low) & (value < self.high)
        return where(inside, -(self.high - self.low).log(), -math.inf)

    def _cdf(self, value: Tensor) -> Tensor:
        return ((value - self.low) / (self.high - self.low)).clamp(0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        """low + value (high - low)."""
        return value * (self.high - self.low) + self.low

    def entropy(self) -> Tensor:
        """log(high - low)."""
        return (self.high - self.low).log()


class Exponential(Distribution):
    """rate exp(-rate x) for x >= 0.

    >>> from numbatorch.distributions import Exponential
    >>> Exponential(2.0).mean
    tensor(0.5000)
    """

    arg_constraints: ClassVar = {"rate": constraints.positive}
    support: Any = constraints.nonnegative
    has_rsample = True
    rate: Tensor

    def __init__(self, rate: Number, validate_args: bool | None = None) -> None:
        super().__init__(self._take(rate=rate), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """1 / rate."""
        return self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        """0."""
        return nt.zeros_like(self.rate)

    @property
    def stddev(self) -> Tensor:
        """1 / rate."""
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        """1 / rate^2."""
        return self.rate.square().reciprocal()

    def _draw(self, shape: Shape) -> Tensor:
        return self.icdf(self._uniforms(shape))

    def _log_prob(self, value: Tensor) -> Tensor:
        return self.rate.log() - self.rate * value

    def _cdf(self, value: Tensor) -> Tensor:
        return -(-self.rate * value).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        """-log(1 - value) / rate."""
        return -(-value).log1p() / self.rate

    def entropy(self) -> Tensor:
        """1 - log(rate)."""
        return 1 - self.rate.log()


class VonMises(Distribution):
    """exp(concentration cos(x - loc)) / (2 pi i0(concentration)): angles around loc, in radians.

    Draws are in [-pi, pi), by rejection, in float64; no gradient flows through them.
    Source: D. J. Best and N. I. Fisher, Applied Statistics 28 (1979), 152-157.

    >>> from numbatorch.distributions import VonMises
    >>> VonMises(0.0, 1.0).log_prob(tensor([0.0]))
    tensor([-1.0738])
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "concentration": constraints.positive}
    support: Any = constraints.real
    loc: Tensor
    concentration: Tensor

    def __init__(
        self, loc: Number, concentration: Number, validate_args: bool | None = None
    ) -> None:
        taken = self._take(loc=loc, concentration=concentration)
        super().__init__(taken, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """loc, the mean direction."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The circular variance, 1 - i1(concentration) / i0(concentration)."""
        return 1 - nt.special.i1e(self.concentration) / nt.special.i0e(self.concentration)

    def _log_prob(self, value: Tensor) -> Tensor:
        # i0(k) = i0e(k) exp(k), so that no exponential overflows
        beside = -2 * self.concentration * ((value - self.loc) / 2).sin().square()
        return beside - math.log(2 * math.pi) - nt.special.i0e(self.concentration).log()

    def _draw(self, shape: Shape) -> Tensor:
        kappa, kind = self.concentration.to(nt.float64), self.loc.dtype
        root = 1 + (1 + 4 * kappa.square()).sqrt()
        rho = (root - (2 * root).sqrt()) / (2 * kappa)
        r = where(kappa < 1e-5, 1 / kappa + kappa, (1 + rho.square()) / (2 * rho))
        angle = nt.zeros(shape, dtype=nt.float64, device=self.loc.device)
        waits = nt.ones_like(angle, dtype=nt.bool_)
        while bool(waits.any()):
            u = nt.rand((3, *shape), dtype=nt.float64, device=self.loc.device)
            z = (math.pi * u[0]).cos()
            cosine = (1 + r * z) / (r + z)
            c = kappa * (r - cosine)
            taken = (c * (2 - c) > u[1]) | ((c / u[1]).log() + 1 - c >= 0)
            found = (u[2] - 0.5).sign() * cosine.clamp(-1, 1).acos()
            angle = where(waits & taken, found, angle)
            waits = waits & ~taken
            nt.realize(angle, waits)
        return ((angle + math.pi + self.loc) % (2 * math.pi) - math.pi).to(kind)
