"""Distributions over counts, each of one probability, log-odds or rate. Layer 8."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numbatorch as nt
from numbatorch.distributions import constraints
from numbatorch.distributions.distribution import (
    Distribution,
    Number,
    derived,
    one_of,
    where,
)
from numbatorch.nn import functional as F
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor


def log_odds(probs: Tensor) -> Tensor:
    """log(probs / (1 - probs)), of probabilities held off 0 and 1 by one step, as PyTorch does."""
    eps = nt.finfo(probs.dtype).eps
    held = probs.clamp(eps, 1 - eps)
    return held.log() - (-held).log1p()


class Chance(Distribution):
    """A distribution of `probs`, or else of `logits`, their log-odds; the other follows."""

    @derived
    def probs(self) -> Tensor:
        """sigmoid(logits)."""
        return self.logits.sigmoid()

    @derived
    def logits(self) -> Tensor:
        """log(probs / (1 - probs))."""
        return log_odds(self.probs)

    @property
    def _fails(self) -> Tensor:
        """1 - probs, to the precision of what is given."""
        return 1 - self.probs if "probs" in self._parameters else (-self.logits).sigmoid()

    def _log_chance(self, ones: Number, zeros: Number) -> Tensor:
        """ones log(probs) + zeros log(1 - probs): terms of one sign, so that none cancel."""
        found: Tensor = ones * F.logsigmoid(self.logits) + zeros * F.logsigmoid(-self.logits)
        return found

    @property
    def param_shape(self) -> Shape:
        """The shape of probs."""
        return self._first.shape


class Bernoulli(Chance):
    """1 with probability probs, else 0.

    Args:
        probs, logits: one of them.
    Raises:
        ValueError: both are given, or none.

    >>> from numbatorch.distributions import Bernoulli
    >>> Bernoulli(0.25).log_prob(tensor([0.0, 1.0])).exp()
    tensor([0.7500, 0.2500])
    """

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}
    support: Any = constraints.boolean
    has_enumerate_support = True

    def __init__(
        self,
        probs: Number | None = None,
        logits: Number | None = None,
        validate_args: bool | None = None,
    ) -> None:
        taken = self._take(**one_of("Bernoulli", probs=probs, logits=logits))
        super().__init__(taken, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """probs."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """1 where probs is above 1/2, 0 where it is below, else NaN."""
        mode = (self.probs > 0.5).to(self.probs.dtype)
        return where(self.probs == 0.5, math.nan, mode)

    @property
    def variance(self) -> Tensor:
        """probs (1 - probs)."""
        return self.probs * self._fails

    def _draw(self, shape: Shape) -> Tensor:
        return nt.bernoulli(self.probs.detach().expand(shape))

    def _log_prob(self, value: Tensor) -> Tensor:
        return self._log_chance(value, 1 - value)

    def entropy(self) -> Tensor:
        """-probs log(probs) - (1 - probs) log(1 - probs)."""
        return -self._log_chance(self.probs, self._fails)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0 and 1."""
        return counted(self, 2, expand)


class Geometric(Chance):
    """How many tries fail before one succeeds: probs (1 - probs)^x for x = 0, 1, 2, ...

    Args:
        probs, logits: one of them; probs above 0.

    >>> from numbatorch.distributions import Geometric
    >>> Geometric(0.5).log_prob(tensor([0.0, 1.0])).exp()
    tensor([0.5000, 0.2500])
    """

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}
    support: Any = constraints.nonnegative_integer

    def __init__(
        self,
        probs: Number | None = None,
        logits: Number | None = None,
        validate_args: bool | None = None,
    ) -> None:
        taken = self._take(**one_of("Geometric", probs=probs, logits=logits))
        super().__init__(taken, validate_args=validate_args)
        if self._looks() and probs is not None:
            problem = f"probs does not satisfy {constraints.positive}"
            self._require("probs", self.probs, constraints.positive, problem)

    @property
    def mean(self) -> Tensor:
        """1 / probs - 1."""
        return self._fails / self.probs

    @property
    def mode(self) -> Tensor:
        """0."""
        return nt.zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        """(1 / probs - 1) / probs."""
        return self._fails / self.probs.square()

    def _draw(self, shape: Shape) -> Tensor:
        fails = (-self.probs).log1p() if "probs" in self._parameters else F.logsigmoid(-self.logits)
        return (self._uniforms(shape).log() / fails).floor()

    def _log_prob(self, value: Tensor) -> Tensor:
        if "logits" in self._parameters:
            return self._log_chance(1.0, value)
        sure = (self.probs == 1) & (value == 0)  # 0 log(0) is 0, and so is its gradient
        return value * (-where(sure, 0.0, self.probs)).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        """That of a Bernoulli distribution, over probs."""
        return -self._log_chance(self.probs, self._fails) / self.probs


class Binomial(Chance):
    """How many of total_count tries succeed, each with probability probs.

    Args:
        total_count: whole numbers, not negative; of the dtype of probs in what follows.
        probs, logits: one of them.

    >>> from numbatorch.distributions import Binomial
    >>> Binomial(2, 0.5).log_prob(tensor([0.0, 1.0, 2.0])).exp()
    tensor([0.2500, 0.5000, 0.2500])
    """

    arg_constraints: ClassVar = {
        "total_count": constraints.nonnegative_integer,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    has_enumerate_support = True
    total_count: Tensor

    def __init__(
        self,
        total_count: Number = 1,
        probs: Number | None = None,
        logits: Number | None = None,
        validate_args: bool | None = None,
    ) -> None:
        chance = one_of("Binomial", probs=probs, logits=logits)
        taken = self._take(**chance, total_count=total_count)
        super().__init__(taken, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The whole numbers from 0 to total_count."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        """total_count probs."""
        return self.total_count * self.probs

    @property
    def mode(self) -> Tensor:
        """floor((total_count + 1) probs), at most total_count."""
        return nt.minimum(((self.total_count + 1) * self.probs).floor(), self.total_count)

    @property
    def variance(self) -> Tensor:
        """total_count probs (1 - probs)."""
        return self.total_count * self.probs * self._fails

    def _draw(self, shape: Shape) -> Tensor:
        count, probs = (x.detach().expand(shape) for x in (self.total_count, self.probs))
        return nt.binomial(count, probs)

    def _log_prob(self, value: Tensor) -> Tensor:
        count = self.total_count
        ways = (count + 1).lgamma() - (value + 1).lgamma() - (count - value + 1).lgamma()
        return ways + self._log_chance(value, count - value)

    def entropy(self) -> Tensor:
        """The sum over all counts; where total_count is one and the same.

        Raises:
            NotImplementedError: it is not.
        """
        self._same_count("entropy")
        found = self._log_prob(self.enumerate_support(False))
        return -(found.exp() * found).sum(0)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0, 1, ... total_count; where that is one and the same.

        Raises:
            NotImplementedError: it is not.
        """
        return counted(self, 1 + self._same_count("enumerate_support"), expand)

    def _same_count(self, name: str) -> int:
        most = int(self.total_count.max().item())
        if int(self.total_count.min().item()) != most:
            self._lacks(f"{name} where total_count differs")
        return most


class Poisson(Distribution):
    """rate^x exp(-rate) / x! for x = 0, 1, 2, ...

    >>> from numbatorch.distributions import Poisson
    >>> Poisson(1.0).log_prob(tensor([0.0, 1.0]))
    tensor([-1., -1.])
    """

    arg_constraints: ClassVar = {"rate": constraints.nonnegative}
    support: Any = constraints.nonnegative_integer
    rate: Tensor

    def __init__(self, rate: Number, validate_args: bool | None = None) -> None:
        super().__init__(self._take(rate=rate), validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """rate."""
        return self.rate

    @property
    def mode(self) -> Tensor:
        """floor(rate)."""
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        """rate."""
        return self.rate

    def _draw(self, shape: Shape) -> Tensor:
        return nt.poisson(self.rate.detach().expand(shape))

    def _log_prob(self, value: Tensor) -> Tensor:
        return nt.xlogy(value, self.rate) - self.rate - (value + 1).lgamma()


class NegativeBinomial(Chance):
    """How many tries succeed, each with probability probs, before total_count have failed.

    gamma(x + total_count) / (x! gamma(total_count)) (1 - probs)^total_count probs^x

    Args:
        total_count: not negative, of any real size.
        probs, logits: one of them; probs below 1.

    >>> from numbatorch.distributions import NegativeBinomial
    >>> NegativeBinomial(1.0, 0.5).log_prob(tensor([0.0, 1.0])).exp()
    tensor([0.5000, 0.2500])
    """

    arg_constraints: ClassVar = {
        "total_count": constraints.nonnegative,
        "probs": constraints.half_open_interval(0.0, 1.0),
        "logits": constraints.real,
    }
    support: Any = constraints.nonnegative_integer
    total_count: Tensor

    def __init__(
        self,
        total_count: Number,
        probs: Number | None = None,
        logits: Number | None = None,
        validate_args: bool | None = None,
    ) -> None:
        chance = one_of("NegativeBinomial", probs=probs, logits=logits)
        taken = self._take(**chance, total_count=total_count)
        super().__init__(taken, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """total_count probs / (1 - probs)."""
        return self.total_count * self.logits.exp()

    @property
    def mode(self) -> Tensor:
        """floor((total_count - 1) probs / (1 - probs)), at least 0."""
        return ((self.total_count - 1) * self.logits.exp()).floor().clamp(min=0.0)

    @property
    def variance(self) -> Tensor:
        """total_count probs / (1 - probs)^2."""
        return self.mean / (-self.logits).sigmoid()

    def _draw(self, shape: Shape) -> Tensor:
        count = self.total_count.detach().expand(shape)
        some = nt.gamma(where(count > 0, count, 1.0)) * self.logits.detach().exp()
        return nt.poisson(where(count > 0, some, 0.0))

    def _log_prob(self, value: Tensor) -> Tensor:
        count = self.total_count
        tries = where(count + value == 0, 1.0, count)  # that none succeeds of none is sure
        ways = (tries + value).lgamma() - (value + 1).lgamma() - tries.lgamma()
        return ways + self._log_chance(value, count)


class ContinuousBernoulli(Chance):
    """C(probs) probs^x (1 - probs)^(1 - x) over x in [0, 1], C = 2 artanh(1 - 2p) / (1 - 2p).

    Within `lims` of probs, beside 1/2, where the closed forms cancel, they are Taylor series.

    Source: https://arxiv.org/abs/1907.06845

    >>> from numbatorch.distributions import ContinuousBernoulli
    >>> ContinuousBernoulli(0.5).log_prob(tensor([0.25]))
    tensor([0.])
    """

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}
    support: Any = constraints.unit_interval
    has_rsample = True

    def __init__(
        self,
        probs: Number | None = None,
        logits: Number | None = None,
        lims: tuple[float, float] = (0.499, 0.501),
        validate_args: bool | None = None,
    ) -> None:
        taken = self._take(**one_of("ContinuousBernoulli", probs=probs, logits=logits))
        self._lims = lims
        super().__init__(taken, validate_args=validate_args)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Whether probs are off 1/2; the log-odds of those that are, else 1; probs - 1/2."""
        probs = self.logits.sigmoid()  # of the log-odds of which the density is, held off 0 and 1
        off = (probs <= self._lims[0]) | (probs > self._lims[1])
        return off, where(off, self.logits, 1.0), (self.logits / 2).tanh() / 2

    def _log_norm(self) -> Tensor:
        """log C(probs), where artanh(1 - 2 probs) is -logits / 2."""
        off, odds, x = self._parts()
        far = (odds / (odds / 2).tanh()).log()
        near = math.log(2) + (4 / 3 + 104 / 45 * x.square()) * x.square()
        return where(off, far, near)

    @property
    def mean(self) -> Tensor:
        """probs / (2 probs - 1) - 1 / logits."""
        off, odds, x = self._parts()
        near = 0.5 + (1 / 3 + 16 / 45 * x.square()) * x
        return where(off, odds.sigmoid() / (odds / 2).tanh() - 1 / odds, near)

    @property
    def variance(self) -> Tensor:
        """probs (probs - 1) / (1 - 2 probs)^2 + 1 / logits^2."""
        off, odds, x = self._parts()
        spread = odds.sigmoid() * (-odds).sigmoid() / (odds / 2).tanh().square()
        near = 1 / 12 - (1 / 15 - 128 / 945 * x.square()) * x.square()
        return where(off, odds.square().reciprocal() - spread, near)

    def _draw(self, shape: Shape) -> Tensor:
        return self.icdf(self._uniforms(shape))

    def _log_prob(self, value: Tensor) -> Tensor:
        return self._log_chance(value, 1 - value) + self._log_norm()

    def _cdf(self, value: Tensor) -> Tensor:
        off, odds, _ = self._parts()
        size = odds.abs()  # expm1(value odds) / expm1(odds), without what overflows
        fall = ((value - 1) * odds.clamp(min=0)).exp()
        far = fall * (-value * size).expm1() / (-size).expm1()
        return where(off, far, value).clamp(0, 1)

    def icdf(self, value: Tensor) -> Tensor:
        """log(1 + value (2 probs - 1) / (1 - probs)) / logits."""
        off, odds, _ = self._parts()
        some = (value * odds.clamp(-1, 1).expm1()).log1p()
        more = nt.logaddexp((-value).log1p(), value.log() + odds)  # neither overflows nor cancels
        return where(off, where(odds.abs() > 1, more, some) / odds, value)

    def entropy(self) -> Tensor:
        """-log_prob(mean), which is linear in x."""
        return -self._log_prob(self.mean)


def counted(distribution: Distribution, count: int, expand: bool) -> Tensor:
    """0, 1, ... count - 1 along a dimension before those of the batch."""
    like, shape = distribution._first, distribution.batch_shape
    values = nt.arange(count, dtype=like.dtype, device=like.device)
    values = values.reshape((count, *(1 for _ in shape)))
    return values.expand((count, *shape)) if expand else values
