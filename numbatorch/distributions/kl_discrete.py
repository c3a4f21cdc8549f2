"""Divergences between distributions over counts and categories. Layer 8."""

from __future__ import annotations

import math

import numbatorch as nt
from numbatorch.distributions.categorical import Categorical, OneHotCategorical
from numbatorch.distributions.discrete import Bernoulli, Binomial, Chance, Geometric, Poisson
from numbatorch.distributions.distribution import where
from numbatorch.distributions.kl import register_kl
from numbatorch.errors import message
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor


def _weighed(weight: Tensor, log_ratio: Tensor, chance: Tensor) -> Tensor:
    """weight log_ratio; 0 where the weight is, infinite where only the other's chance is 0."""
    found = where(chance == 0, math.inf, weight * log_ratio)
    return where(weight == 0, 0.0, found)


def _of_one_try(p: Chance, q: Chance) -> Tensor:
    """The divergence of whether one try succeeds."""
    ones = F.logsigmoid(p.logits) - F.logsigmoid(q.logits)
    zeros = F.logsigmoid(-p.logits) - F.logsigmoid(-q.logits)
    return _weighed(p.probs, ones, q.probs) + _weighed(p._fails, zeros, q._fails)


register_kl(Bernoulli, Bernoulli)(_of_one_try)


@register_kl(Binomial, Binomial)
def _(p: Binomial, q: Binomial) -> Tensor:
    if bool((p.total_count < q.total_count).any()):
        raise NotImplementedError(message("kl_divergence", "total_count of q is above that of p"))
    found = where(p.total_count == 0, 0.0, p.total_count * _of_one_try(p, q))
    return where(p.total_count > q.total_count, math.inf, found)


@register_kl(Categorical, Categorical)
@register_kl(OneHotCategorical, OneHotCategorical)
def _(p: Categorical, q: Categorical) -> Tensor:
    return _weighed(p.probs, p.logits - q.logits, q.probs).sum(-1)


@register_kl(Geometric, Geometric)
def _(p: Geometric, q: Geometric) -> Tensor:
    return _of_one_try(p, q) / p.probs


@register_kl(Poisson, Poisson)
def _(p: Poisson, q: Poisson) -> Tensor:
    return nt.xlogy(p.rate, p.rate) - nt.xlogy(p.rate, q.rate) - (p.rate - q.rate)


@register_kl(Poisson, Bernoulli)
@register_kl(Poisson, Binomial)
def _(p: Poisson, q: Bernoulli | Binomial) -> Tensor:
    shape = nt.broadcast_shapes(p.batch_shape, q.batch_shape)
    return nt.full(shape, math.inf, dtype=p.rate.dtype, device=p.rate.device)


@register_kl(Bernoulli, Poisson)
def _(p: Bernoulli, q: Poisson) -> Tensor:
    return -p.entropy() - nt.xlogy(p.probs, q.rate) + q.rate
