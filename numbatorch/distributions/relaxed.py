"""Relaxed discrete distributions: draws that are nearly 0 or 1, through which gradients flow.

Layer 8. Source: C. J. Maddison et al., https://arxiv.org/abs/1611.00712
"""

from __future__ import annotations

from typing import Any, ClassVar

import numbatorch as nt
from numbatorch.distributions import constraints
from numbatorch.distributions.categorical import _Categories
from numbatorch.distributions.discrete import Chance
from numbatorch.distributions.distribution import Number, one_of
from numbatorch.distributions.elementwise_transforms import ExpTransform, SigmoidTransform
from numbatorch.distributions.transformed import TransformedDistribution
from numbatorch.nn import functional as F
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor


def _temperature(value: Number, like: Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value
    return nt.tensor(value, dtype=like.dtype, device=like.device)


class LogitRelaxedBernoulli(Chance):
    """(logits + a logistic number) / temperature: the log-odds of a RelaxedBernoulli.

    >>> from numbatorch.distributions import LogitRelaxedBernoulli
    >>> LogitRelaxedBernoulli(1.0, probs=0.5).log_prob(tensor([0.0])).exp()
    tensor([0.2500])
    """

    arg_constraints: ClassVar = {
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    support: Any = constraints.real
    has_rsample = True

    def __init__(
        self,
        temperature: Number,
        probs: Number | None = None,
        logits: Number | None = None,
        validate_args: bool | None = None,
    ) -> None:
        taken = self._take(**one_of("LogitRelaxedBernoulli", probs=probs, logits=logits))
        self.temperature = _temperature(temperature, self._first)
        super().__init__(taken, validate_args=validate_args)

    def _draw(self, shape: Shape) -> Tensor:
        u = self._uniforms(shape)
        return (u.log() - (-u).log1p() + self.logits) / self.temperature

    def _log_prob(self, value: Tensor) -> Tensor:
        apart = self.logits - value * self.temperature
        return self.temperature.log() + apart + 2 * F.logsigmoid(-apart)


class _Relaxed(TransformedDistribution):
    """What is relaxed on a scale of its logarithm, whose parameters it shows."""

    base_dist: LogitRelaxedBernoulli | ExpRelaxedCategorical

    @property
    def temperature(self) -> Tensor:
        """That it was given."""
        return self.base_dist.temperature

    @property
    def probs(self) -> Tensor:
        """Chances, of which the logits are the logarithms or log-odds."""
        return self.base_dist.probs

    @property
    def logits(self) -> Tensor:
        """log(probs), or log(probs / (1 - probs)) of a single chance."""
        return self.base_dist.logits


class RelaxedBernoulli(_Relaxed):
    """A number in (0, 1) that is nearly that of a Bernoulli distribution at a low temperature.

    >>> from numbatorch.distributions import RelaxedBernoulli
    >>> RelaxedBernoulli(1.0, probs=0.5).log_prob(tensor([0.5])).exp()
    tensor([1.])
    """

    arg_constraints: ClassVar = LogitRelaxedBernoulli.arg_constraints
    support: Any = constraints.unit_interval

    def __init__(
        self,
        temperature: Number,
        probs: Number | None = None,
        logits: Number | None = None,
        validate_args: bool | None = None,
    ) -> None:
        base = LogitRelaxedBernoulli(temperature, probs, logits, validate_args)
        super().__init__(base, SigmoidTransform(), validate_args)


class ExpRelaxedCategorical(_Categories):
    """Logarithms of a RelaxedOneHotCategorical: log_softmax((logits + Gumbel's) / temperature).

    >>> from numbatorch.distributions import ExpRelaxedCategorical
    >>> ExpRelaxedCategorical(1.0, probs=tensor([0.5, 0.5])).event_shape
    (2,)
    """

    support: Any = constraints.real_vector
    has_rsample = True

    def __init__(
        self,
        temperature: Number,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        shape = self._take_categories(probs, logits, validate_args)
        self.temperature = _temperature(temperature, self._first)
        super().__init__(shape, (self._count,))

    def _draw(self, shape: Shape) -> Tensor:
        gumbels = -(-self._uniforms(shape).log()).log()
        return ((self.logits + gumbels) / self.temperature).log_softmax(-1)

    def _log_prob(self, value: Tensor) -> Tensor:
        k, t = self._count, self.temperature
        scores = (self.logits - value * t).log_softmax(-1).sum(-1)
        norm = nt.tensor(float(k), dtype=value.dtype, device=value.device).lgamma()
        return scores + norm + (k - 1) * t.log()


class RelaxedOneHotCategorical(_Relaxed):
    """K numbers that sum to 1 and are nearly one 1 and zeros at a low temperature.

    >>> from numbatorch.distributions import RelaxedOneHotCategorical
    >>> RelaxedOneHotCategorical(1.0, probs=tensor([0.5, 0.5])).sample().sum().round(decimals=4)
    tensor(1.)
    """

    arg_constraints: ClassVar = _Categories.arg_constraints
    support: Any = constraints.simplex

    def __init__(
        self,
        temperature: Number,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        base = ExpRelaxedCategorical(temperature, probs, logits, validate_args)
        super().__init__(base, ExpTransform(), validate_args)
