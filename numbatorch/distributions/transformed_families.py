"""Families that are another one transformed. Layer 8."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numbatorch as nt
from numbatorch.distributions import constraints
from numbatorch.distributions.continuous import Cauchy, Exponential, Normal, Uniform
from numbatorch.distributions.distribution import EULER, Distribution, Number, derived, where
from numbatorch.distributions.elementwise_transforms import (
    AbsTransform,
    AffineTransform,
    ExpTransform,
    PowerTransform,
)
from numbatorch.distributions.transformed import Independent, TransformedDistribution
from numbatorch.distributions.vector_transforms import StickBreakingTransform
from numbatorch.tensor import Tensor


class LogNormal(TransformedDistribution):
    """exp of a normal number of mean loc and deviation scale.

    >>> from numbatorch.distributions import LogNormal
    >>> LogNormal(0.0, 1.0).log_prob(tensor([1.0]))
    tensor([-0.9189])
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.positive
    has_rsample = True
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Number, scale: Number, validate_args: bool | None = None) -> None:
        taken = self._take(loc=loc, scale=scale)
        Distribution.__init__(self, taken, validate_args=validate_args)

    @derived
    def base_dist(self) -> Any:
        """Normal(loc, scale)."""
        return Normal(self.loc, self.scale, validate_args=False)

    @derived
    def transforms(self) -> Any:
        """exp."""
        return [ExpTransform()]

    @property
    def mean(self) -> Tensor:
        """exp(loc + scale^2 / 2)."""
        return (self.loc + self.scale.square() / 2).exp()

    @property
    def mode(self) -> Tensor:
        """exp(loc - scale^2)."""
        return (self.loc - self.scale.square()).exp()

    @property
    def variance(self) -> Tensor:
        """(exp(scale^2) - 1) exp(2 loc + scale^2)."""
        square = self.scale.square()
        return square.expm1() * (2 * self.loc + square).exp()

    def entropy(self) -> Tensor:
        """That of the normal distribution, and loc."""
        return Normal(self.loc, self.scale, validate_args=False).entropy() + self.loc


class LogisticNormal(TransformedDistribution):
    """K - 1 normal numbers, by breaking a stick, as K that sum to 1.

    >>> from numbatorch.distributions import LogisticNormal
    >>> LogisticNormal(nt.zeros(2), nt.ones(2)).event_shape
    (3,)
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }
    support: Any = constraints.simplex
    has_rsample = True
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        shape = self._take(loc=loc, scale=scale)
        event = (self.loc.shape[-1] + 1,)
        Distribution.__init__(self, shape, event, validate_args)

    @derived
    def base_dist(self) -> Any:
        """Normal(loc, scale), of vectors."""
        return Independent(Normal(self.loc, self.scale, validate_args=False), 1)

    @derived
    def transforms(self) -> Any:
        """StickBreakingTransform."""
        return [StickBreakingTransform()]


class _Half(TransformedDistribution):
    """|x| of a distribution around 0."""

    arg_constraints: ClassVar = {"scale": constraints.positive}
    support: Any = constraints.nonnegative
    has_rsample = True
    scale: Tensor

    def __init__(self, scale: Number, validate_args: bool | None = None) -> None:
        Distribution.__init__(self, self._take(scale=scale), validate_args=validate_args)

    @derived
    def transforms(self) -> Any:
        """|x|."""
        return [AbsTransform()]

    @property
    def mode(self) -> Tensor:
        """0."""
        return nt.zeros_like(self.scale)

    def _log_prob(self, value: Tensor) -> Tensor:
        both: Tensor = self.base_dist._log_prob(value) + math.log(2)
        return where(value >= 0, both, -math.inf)

    def _cdf(self, value: Tensor) -> Tensor:
        found: Tensor = 2 * self.base_dist._cdf(value) - 1
        return found

    def icdf(self, value: Tensor) -> Tensor:
        """That of the whole at (value + 1) / 2."""
        found: Tensor = self.base_dist.icdf((value + 1) / 2)
        return found

    def entropy(self) -> Tensor:
        """That of the whole, less log(2)."""
        found: Tensor = self.base_dist.entropy() - math.log(2)
        return found


class HalfNormal(_Half):
    """|x| of Normal(0, scale).

    >>> from numbatorch.distributions import HalfNormal
    >>> HalfNormal(1.0).mean
    tensor(0.7979)
    """

    @derived
    def base_dist(self) -> Any:
        """Normal(0, scale)."""
        return Normal(nt.zeros_like(self.scale), self.scale, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """scale sqrt(2 / pi)."""
        return self.scale * math.sqrt(2 / math.pi)

    @property
    def variance(self) -> Tensor:
        """scale^2 (1 - 2 / pi)."""
        return self.scale.square() * (1 - 2 / math.pi)


class HalfCauchy(_Half):
    """|x| of Cauchy(0, scale).

    >>> from numbatorch.distributions import HalfCauchy
    >>> HalfCauchy(1.0).cdf(tensor([1.0]))
    tensor([0.5000])
    """

    @derived
    def base_dist(self) -> Any:
        """Cauchy(0, scale)."""
        return Cauchy(nt.zeros_like(self.scale), self.scale, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Infinite."""
        return nt.full_like(self.scale, math.inf)

    @property
    def variance(self) -> Tensor:
        """Infinite."""
        return nt.full_like(self.scale, math.inf)


class Gumbel(TransformedDistribution):
    """exp(-z - exp(-z)) / scale, z = (x - loc) / scale: loc - scale log(y), y of Exponential(1).

    >>> from numbatorch.distributions import Gumbel
    >>> Gumbel(0.0, 1.0).log_prob(tensor([0.0]))
    tensor([-1.])
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support: Any = constraints.real
    has_rsample = True
    loc: Tensor
    scale: Tensor

    def __init__(self, loc: Number, scale: Number, validate_args: bool | None = None) -> None:
        taken = self._take(loc=loc, scale=scale)
        Distribution.__init__(self, taken, validate_args=validate_args)

    @derived
    def base_dist(self) -> Any:
        """Exponential(1)."""
        return Exponential(nt.ones_like(self.scale), validate_args=False)

    @derived
    def transforms(self) -> Any:
        """loc - scale log(x)."""
        return [ExpTransform().inv, AffineTransform(self.loc, -self.scale)]

    @property
    def mean(self) -> Tensor:
        """loc + scale gamma, Euler's constant."""
        return self.loc + self.scale * EULER

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """pi scale / sqrt(6)."""
        return math.pi / math.sqrt(6) * self.scale

    @property
    def variance(self) -> Tensor:
        """pi^2 scale^2 / 6."""
        return math.pi**2 / 6 * self.scale.square()

    def _log_prob(self, value: Tensor) -> Tensor:
        z = (value - self.loc) / self.scale
        return -z - (-z).exp() - self.scale.log()

    def _cdf(self, value: Tensor) -> Tensor:
        return (-(-(value - self.loc) / self.scale).exp()).exp()

    def icdf(self, value: Tensor) -> Tensor:
        """loc - scale log(-log(value))."""
        return self.loc - self.scale * (-value.log()).log()

    def entropy(self) -> Tensor:
        """log(scale) + 1 + gamma."""
        return self.scale.log() + (1 + EULER)


class Weibull(TransformedDistribution):
    """scale y^(1 / concentration), y of Exponential(1).

    Where we differ from PyTorch: the mode of a concentration below 1 is 0, not NaN.

    >>> from numbatorch.distributions import Weibull
    >>> Weibull(1.0, 1.0).log_prob(tensor([2.0]))
    tensor([-2.])
    """

    arg_constraints: ClassVar = {
        "scale": constraints.positive,
        "concentration": constraints.positive,
    }
    support: Any = constraints.positive
    has_rsample = True
    scale: Tensor
    concentration: Tensor

    def __init__(
        self, scale: Number, concentration: Number, validate_args: bool | None = None
    ) -> None:
        taken = self._take(scale=scale, concentration=concentration)
        Distribution.__init__(self, taken, validate_args=validate_args)

    @derived
    def base_dist(self) -> Any:
        """Exponential(1)."""
        return Exponential(nt.ones_like(self.scale), validate_args=False)

    @derived
    def transforms(self) -> Any:
        """scale x^(1 / concentration)."""
        power = PowerTransform(self.concentration.reciprocal())
        return [power, AffineTransform(0, self.scale)]

    def _moment(self, n: int) -> Tensor:
        """The mean of (x / scale)^n."""
        return (1 + n / self.concentration).lgamma().exp()

    @property
    def mean(self) -> Tensor:
        """scale gamma(1 + 1 / concentration)."""
        return self.scale * self._moment(1)

    @property
    def mode(self) -> Tensor:
        """scale ((concentration - 1) / concentration)^(1 / concentration); 0 below 1."""
        k = self.concentration
        return self.scale * ((k - 1).clamp(min=0.0) / k).pow(k.reciprocal())

    @property
    def variance(self) -> Tensor:
        """scale^2 (gamma(1 + 2 / concentration) - gamma(1 + 1 / concentration)^2)."""
        return self.scale.square() * (self._moment(2) - self._moment(1).square())

    def entropy(self) -> Tensor:
        """gamma (1 - 1 / concentration) + log(scale / concentration) + 1, gamma as Euler's."""
        k = self.concentration
        return EULER * (1 - k.reciprocal()) + (self.scale / k).log() + 1


class Pareto(TransformedDistribution):
    """alpha scale^alpha / x^(alpha + 1) for x >= scale: scale exp(y), y of Exponential(alpha).

    >>> from numbatorch.distributions import Pareto
    >>> Pareto(1.0, 2.0).mean
    tensor(2.)
    """

    arg_constraints: ClassVar = {"alpha": constraints.positive, "scale": constraints.positive}
    has_rsample = True
    scale: Tensor
    alpha: Tensor

    def __init__(self, scale: Number, alpha: Number, validate_args: bool | None = None) -> None:
        taken = self._take(scale=scale, alpha=alpha)
        Distribution.__init__(self, taken, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> constraints.Constraint:
        """scale and above."""
        return constraints.greater_than_eq(self.scale)

    @derived
    def base_dist(self) -> Any:
        """Exponential(alpha)."""
        return Exponential(self.alpha, validate_args=False)

    @derived
    def transforms(self) -> Any:
        """scale exp(x)."""
        return [ExpTransform(), AffineTransform(0, self.scale)]

    @property
    def mean(self) -> Tensor:
        """alpha scale / (alpha - 1); infinite where alpha is 1 or less."""
        found = self.alpha * self.scale / (self.alpha - 1)
        return where(self.alpha > 1, found, math.inf)

    @property
    def mode(self) -> Tensor:
        """scale."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """scale^2 alpha / ((alpha - 1)^2 (alpha - 2)); infinite where alpha is 2 or less."""
        a = self.alpha
        found = self.scale.square() * a / ((a - 1).square() * (a - 2))
        return where(a > 2, found, math.inf)

    def entropy(self) -> Tensor:
        """log(scale / alpha) + 1 + 1 / alpha."""
        return (self.scale / self.alpha).log() + 1 + self.alpha.reciprocal()


class Kumaraswamy(TransformedDistribution):
    """a b x^(a - 1) (1 - x^a)^(b - 1) in [0, 1], a concentration1 and b concentration0.

    Where we differ from PyTorch: above a concentration0 of 1 the mode is a number, not NaN.

    >>> from numbatorch.distributions import Kumaraswamy
    >>> Kumaraswamy(1.0, 1.0).log_prob(tensor([0.25]))
    tensor([0.])
    """

    arg_constraints: ClassVar = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support: Any = constraints.unit_interval
    has_rsample = True
    concentration1: Tensor
    concentration0: Tensor

    def __init__(
        self, concentration1: Number, concentration0: Number, validate_args: bool | None = None
    ) -> None:
        taken = self._take(concentration1=concentration1, concentration0=concentration0)
        Distribution.__init__(self, taken, validate_args=validate_args)

    @derived
    def base_dist(self) -> Any:
        """Uniform(0, 1)."""
        b = self.concentration0
        return Uniform(nt.zeros_like(b), nt.ones_like(b), validate_args=False)

    @derived
    def transforms(self) -> Any:
        """(1 - x^(1 / b))^(1 / a)."""
        first = PowerTransform(self.concentration0.reciprocal())
        last = PowerTransform(self.concentration1.reciprocal())
        return [first, AffineTransform(1.0, -1.0), last]

    def _moment(self, n: int) -> Tensor:
        """The mean of x^n."""
        a, b = 1 + n / self.concentration1, self.concentration0
        return b * (a.lgamma() + b.lgamma() - (a + b).lgamma()).exp()

    @property
    def mean(self) -> Tensor:
        """b B(1 + 1 / a, b)."""
        return self._moment(1)

    @property
    def mode(self) -> Tensor:
        """((a - 1) / (a b - 1))^(1 / a); NaN where a or b is below 1."""
        a, b = self.concentration1, self.concentration0
        one = (a >= 1) & (b >= 1)
        ratio = where(one, a - 1, 0.5) / where(one, a * b - 1, 1.0)
        return where(one, ratio.pow(a.reciprocal()), math.nan)

    @property
    def variance(self) -> Tensor:
        """b B(1 + 2 / a, b) - mean^2."""
        return self._moment(2) - self.mean.square()

    def entropy(self) -> Tensor:
        """1 - 1 / b + (1 - 1 / a) (psi(b + 1) + gamma) - log(a b), gamma Euler's constant."""
        a, b = self.concentration1, self.concentration0
        harmonic = (b + 1).digamma() + EULER
        return 1 - b.reciprocal() + (1 - a.reciprocal()) * harmonic - a.log() - b.log()
