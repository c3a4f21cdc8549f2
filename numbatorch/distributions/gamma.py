"""Gamma distributions and what is made of them, with gradients through their draws. Layer 8.

A draw z of shape a moves with a so that its quantile F(z; a) stays: dz/da = -(dF/da) / (dF/dz).
Source: M. Figurnov et al., Implicit reparameterization gradients, https://arxiv.org/abs/1805.08498
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np

import numbatorch as nt
from numbatorch.autograd import Function
from numbatorch.distributions import constraints
from numbatorch.distributions.distribution import Distribution, Number, derived, inside, where
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor

# Points and weights on (0, inf) for what falls off like exp(-s): s = exp(x - exp(-x)) at equal
# steps of x. Source: H. Takahasi and M. Mori, Publ. RIMS 9 (1974), 721-741.
_X = np.arange(-3.625, 5.0, 0.125)
POINTS = np.exp(_X - np.exp(-_X))
WEIGHTS = 0.125 * POINTS * (1 + np.exp(-_X))


def log_slope(a: Tensor, log_z: Tensor) -> Tensor:
    """d(log z)/da of a draw z of shape a: a sum over 69 points, in three launches.

    With f the density, dz/da = -1/f(z) times the integral over t < z of f(t) (log t - psi(a)),
    or 1/f(z) times that over t > z: over t = z exp(-s) where z < a, else over t = z + s.

    >>> from numbatorch.distributions.gamma import log_slope
    >>> log_slope(tensor([1.0]), tensor([2.0]).log())
    tensor([0.8158])
    """
    below = log_z.exp() < a
    z = where(below, 1.0, log_z.exp())  # of those above
    more = (a - 1).clamp(min=0.0)
    above_by = 1 / ((1 - more / z).abs() + more.sqrt() / z)
    small = where(below, log_z.exp(), 1.0)  # of those below
    below_by = 1 / (a - small + small.sqrt() * small.clamp(max=1.0).sqrt()).abs()
    length = where(below, below_by, above_by)[..., None]
    points, weights = (nt.tensor(x, dtype=a.dtype, device=a.device) for x in (POINTS, WEIGHTS))
    below, a, small, z, log_z = (x[..., None] for x in (below, a, small, z, log_z))
    s = length * points
    t = where(below, -s, (s / z).log1p())  # the logarithm over z
    exponent = where(below, a * t - small * t.expm1(), (a - 1) * t - s)
    area = (exponent.exp() * (log_z + t - a.digamma()) * weights * length).sum(-1)
    return where(below[..., 0], -area, area / z[..., 0])


class _LogGamma(Function):
    """Logarithms of draws of gamma distributions of rate 1, from those of shape a + 1."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        drawn = nt.rand(a.shape, dtype=a.dtype, device=a.device)
        log_z = nt.gamma(a + 1).log() + drawn.clamp(*inside(a.dtype)).log() / a
        ctx.save_for_backward(a, log_z)
        return log_z

    @staticmethod
    def backward(ctx: Any, *g: Any) -> Any:
        return g[0] * log_slope(*ctx.saved_tensors)


def log_gamma(concentration: Tensor, shape: Shape) -> Tensor:
    """Logarithms of draws, which do not underflow where a draw does; a gradient flows."""
    found: Tensor = _LogGamma.apply(concentration.expand(shape))
    return found


def log_beta(a: Tensor, b: Tensor) -> Tensor:
    """The logarithm of the beta function."""
    return a.lgamma() + b.lgamma() - (a + b).lgamma()


class Gamma(Distribution):
    """rate^a x^(a - 1) exp(-rate x) / gamma(a) for x > 0, a the concentration.

    >>> from numbatorch.distributions import Gamma
    >>> Gamma(1.0, 1.0).log_prob(tensor([1.0, 2.0]))
    tensor([-1., -2.])
    """

    arg_constraints: ClassVar = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support: Any = constraints.nonnegative
    has_rsample = True
    concentration: Tensor
    rate: Tensor

    def __init__(
        self, concentration: Number, rate: Number, validate_args: bool | None = None
    ) -> None:
        taken = self._take(concentration=concentration, rate=rate)
        super().__init__(taken, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """concentration / rate."""
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        """(concentration - 1) / rate, at least 0."""
        return ((self.concentration - 1) / self.rate).clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        """concentration / rate^2."""
        return self.concentration / self.rate.square()

    def _draw(self, shape: Shape) -> Tensor:
        least = nt.finfo(self.rate.dtype).tiny
        return (log_gamma(self.concentration, shape).exp() / self.rate).clamp(min=least)

    def _log_prob(self, value: Tensor) -> Tensor:
        a, rate = self.concentration, self.rate
        return nt.xlogy(a, rate) + nt.xlogy(a - 1, value) - rate * value - a.lgamma()

    def _cdf(self, value: Tensor) -> Tensor:
        return nt.igamma(self.concentration, self.rate * value)

    def entropy(self) -> Tensor:
        """concentration - log(rate) + lgamma(concentration) + (1 - concentration) psi."""
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()


class Chi2(Gamma):
    """The sum of df squares of standard normal numbers: Gamma(df / 2, 1 / 2).

    >>> from numbatorch.distributions import Chi2
    >>> Chi2(3.0).mean
    tensor(3.)
    """

    arg_constraints: ClassVar = {"df": constraints.positive}
    df: Tensor

    def __init__(self, df: Number, validate_args: bool | None = None) -> None:
        Distribution.__init__(self, self._take(df=df), validate_args=validate_args)

    @derived
    def concentration(self) -> Tensor:
        """df / 2."""
        return self.df / 2

    @derived
    def rate(self) -> Tensor:
        """1 / 2."""
        return nt.full_like(self.df, 0.5)


class InverseGamma(Distribution):
    """1 / x of a gamma distribution: rate^a x^(-a - 1) exp(-rate / x) / gamma(a).

    >>> from numbatorch.distributions import InverseGamma
    >>> InverseGamma(3.0, 1.0).mean
    tensor(0.5000)
    """

    arg_constraints: ClassVar = Gamma.arg_constraints
    support: Any = constraints.positive
    has_rsample = True
    concentration: Tensor
    rate: Tensor

    def __init__(
        self, concentration: Number, rate: Number, validate_args: bool | None = None
    ) -> None:
        taken = self._take(concentration=concentration, rate=rate)
        super().__init__(taken, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """rate / (concentration - 1), infinite where that is not above 0."""
        a = self.concentration
        return where(a > 1, self.rate / (a - 1), math.inf)

    @property
    def mode(self) -> Tensor:
        """rate / (concentration + 1)."""
        return self.rate / (self.concentration + 1)

    @property
    def variance(self) -> Tensor:
        """rate^2 / ((concentration - 1)^2 (concentration - 2)), infinite where none is."""
        a = self.concentration
        return where(a > 2, self.rate.square() / ((a - 1).square() * (a - 2)), math.inf)

    def _draw(self, shape: Shape) -> Tensor:
        most = 1 / nt.finfo(self.rate.dtype).tiny
        return (self.rate * (-log_gamma(self.concentration, shape)).exp()).clamp(max=most)

    def _log_prob(self, value: Tensor) -> Tensor:
        a, rate = self.concentration, self.rate
        return a * rate.log() - (a + 1) * value.log() - rate / value - a.lgamma()

    def _cdf(self, value: Tensor) -> Tensor:
        return nt.igammac(self.concentration, self.rate / value)

    def entropy(self) -> Tensor:
        """concentration + log(rate) + lgamma(concentration) - (1 + concentration) psi."""
        a = self.concentration
        return a + self.rate.log() + a.lgamma() - (1 + a) * a.digamma()


class Beta(Distribution):
    """x^(a - 1) (1 - x)^(b - 1) / B(a, b) in [0, 1], a concentration1 and b concentration0.

    >>> from numbatorch.distributions import Beta
    >>> Beta(2.0, 1.0).log_prob(tensor([0.5, 1.0])).exp()
    tensor([1., 2.])
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
        super().__init__(taken, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """a / (a + b)."""
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        """(a - 1) / (a + b - 2); of two below 1, the end of the greater."""
        a, b = self.concentration1, self.concentration0
        one, zero = (a - 1).clamp(min=0.0), (b - 1).clamp(min=0.0)
        ends = (a >= b).to(a.dtype)
        return where((a < 1) & (b < 1), ends, one / (one + zero))

    @property
    def variance(self) -> Tensor:
        """a b / ((a + b)^2 (a + b + 1))."""
        a, b = self.concentration1, self.concentration0
        return a * b / ((a + b).square() * (a + b + 1))

    def _draw(self, shape: Shape) -> Tensor:
        ones, zeros = (log_gamma(x, shape) for x in (self.concentration1, self.concentration0))
        return (ones - zeros).sigmoid()

    def _log_prob(self, value: Tensor) -> Tensor:
        a, b = self.concentration1, self.concentration0
        return nt.xlogy(a - 1, value) + nt.special.xlog1py(b - 1, -value) - log_beta(a, b)

    def entropy(self) -> Tensor:
        """log B(a, b) - (a - 1) psi(a) - (b - 1) psi(b) + (a + b - 2) psi(a + b)."""
        a, b = self.concentration1, self.concentration0
        total = (a + b - 2) * (a + b).digamma()
        return log_beta(a, b) - (a - 1) * a.digamma() - (b - 1) * b.digamma() + total


class Dirichlet(Distribution):
    """prod(x^(a - 1)) gamma(sum a) / prod(gamma(a)) over x >= 0 that sum to 1, a (..., K).

    >>> from numbatorch.distributions import Dirichlet
    >>> Dirichlet(tensor([1.0, 3.0])).mean
    tensor([0.2500, 0.7500])
    """

    arg_constraints: ClassVar = {"concentration": constraints.independent(constraints.positive, 1)}
    support: Any = constraints.simplex
    has_rsample = True
    concentration: Tensor

    def __init__(self, concentration: Tensor, validate_args: bool | None = None) -> None:
        shape = self._take(concentration=concentration)
        super().__init__(shape, self.concentration.shape[-1:], validate_args)

    @property
    def mean(self) -> Tensor:
        """a / sum a."""
        return self.concentration / self.concentration.sum(-1, keepdim=True)

    @property
    def mode(self) -> Tensor:
        """(a - 1) / sum (a - 1), of those above 1; of all below 1, the corner of the greatest."""
        more = (self.concentration - 1).clamp(min=0.0)
        corner = nt.nn.functional.one_hot(self.concentration.argmax(-1), more.shape[-1])
        low = (self.concentration < 1).all(-1, keepdim=True)
        return where(low, corner.to(more.dtype), more / more.sum(-1, keepdim=True))

    @property
    def variance(self) -> Tensor:
        """mean (1 - mean) / (1 + sum a)."""
        total = self.concentration.sum(-1, keepdim=True)
        return self.mean * (1 - self.mean) / (1 + total)

    def _draw(self, shape: Shape) -> Tensor:
        return log_gamma(self.concentration, shape).softmax(-1)

    def _log_prob(self, value: Tensor) -> Tensor:
        a = self.concentration
        return nt.xlogy(a - 1, value).sum(-1) + a.sum(-1).lgamma() - a.lgamma().sum(-1)

    def entropy(self) -> Tensor:
        """sum lgamma(a) - lgamma(sum a) - (K - sum a) psi(sum a) - sum (a - 1) psi(a)."""
        a = self.concentration
        total, k = a.sum(-1), a.shape[-1]
        norm = a.lgamma().sum(-1) - total.lgamma()
        return norm - (k - total) * total.digamma() - ((a - 1) * a.digamma()).sum(-1)


class StudentT(Distribution):
    """loc + scale * z / sqrt(y / df): z standard normal, y of Chi2(df).

    >>> from numbatorch.distributions import StudentT
    >>> StudentT(1.0).log_prob(tensor([0.0]))  # Cauchy's: 1 / pi
    tensor([-1.1447])
    """

    arg_constraints: ClassVar = {
        "df": constraints.positive,
        "loc": constraints.real,
        "scale": constraints.positive,
    }
    support: Any = constraints.real
    has_rsample = True
    df: Tensor
    loc: Tensor
    scale: Tensor

    def __init__(
        self,
        df: Number,
        loc: Number = 0.0,
        scale: Number = 1.0,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(self._take(df=df, loc=loc, scale=scale), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """loc; NaN where df is 1 or less."""
        return where(self.df > 1, self.loc, math.nan)

    @property
    def mode(self) -> Tensor:
        """loc."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """scale^2 df / (df - 2); infinite where df is 2 or less, NaN where 1 or less."""
        found = where(self.df > 2, self.scale.square() * self.df / (self.df - 2), math.inf)
        return where(self.df > 1, found, math.nan)

    def _draw(self, shape: Shape) -> Tensor:
        half = self.df / 2
        spread = (0.5 * (half.log() - log_gamma(half, shape))).exp()  # sqrt(df / y)
        return self.loc + self.scale * self._normals(shape) * spread

    def _log_prob(self, value: Tensor) -> Tensor:
        z = (value - self.loc) / self.scale
        tail = 0.5 * (self.df + 1) * (z.square() / self.df).log1p()
        return -tail - self._log_norm()

    def _log_norm(self) -> Tensor:
        half, more = self.df / 2, (self.df + 1) / 2
        ratio = half.lgamma() - more.lgamma()
        return self.scale.log() + 0.5 * (math.pi * self.df).log() + ratio

    def entropy(self) -> Tensor:
        """log(scale sqrt(df) B(df / 2, 1 / 2)) + (df + 1) / 2 (psi((df + 1) / 2) - psi(df / 2))."""
        half, more = self.df / 2, (self.df + 1) / 2
        return self._log_norm() + more * (more.digamma() - half.digamma())


class FisherSnedecor(Distribution):
    """(y1 / df1) / (y2 / df2): y1 of Chi2(df1), y2 of Chi2(df2).

    >>> from numbatorch.distributions import FisherSnedecor
    >>> FisherSnedecor(2.0, 4.0).mean
    tensor(2.)
    """

    arg_constraints: ClassVar = {"df1": constraints.positive, "df2": constraints.positive}
    support: Any = constraints.positive
    has_rsample = True
    df1: Tensor
    df2: Tensor

    def __init__(self, df1: Number, df2: Number, validate_args: bool | None = None) -> None:
        super().__init__(self._take(df1=df1, df2=df2), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """df2 / (df2 - 2); NaN where that has none."""
        return where(self.df2 > 2, self.df2 / (self.df2 - 2), math.nan)

    @property
    def mode(self) -> Tensor:
        """(df1 - 2) / df1 df2 / (df2 + 2); NaN where df1 is 2 or less."""
        found = (self.df1 - 2) / self.df1 * self.df2 / (self.df2 + 2)
        return where(self.df1 > 2, found, math.nan)

    @property
    def variance(self) -> Tensor:
        """2 df2^2 (df1 + df2 - 2) / (df1 (df2 - 2)^2 (df2 - 4)); NaN where that has none."""
        a, b = self.df1, self.df2
        found = 2 * b.square() * (a + b - 2) / (a * (b - 2).square() * (b - 4))
        return where(b > 4, found, math.nan)

    def _draw(self, shape: Shape) -> Tensor:
        first, second = (log_gamma(x / 2, shape) - x.log() for x in (self.df1, self.df2))
        info = nt.finfo(self.df1.dtype)
        return (first - second).exp().clamp(info.tiny, info.max)

    def _log_prob(self, value: Tensor) -> Tensor:
        a, b = self.df1 / 2, self.df2 / 2
        ratio = self.df1 / self.df2
        beside = a * ratio.log() + (a - 1) * value.log() - (a + b) * (ratio * value).log1p()
        return beside - log_beta(a, b)
