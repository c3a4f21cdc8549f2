"""Divergences between two distributions of one family over real numbers. Layer 8."""

from __future__ import annotations

import math

from numbatorch.distributions.continuous import Cauchy, Exponential, Laplace, Normal, Uniform
from numbatorch.distributions.discrete import ContinuousBernoulli
from numbatorch.distributions.distribution import EULER, sum_last, where
from numbatorch.distributions.gamma import Beta, Dirichlet, Gamma, InverseGamma, log_beta
from numbatorch.distributions.kl import kl_divergence, register_kl
from numbatorch.distributions.transformed import Independent, TransformedDistribution
from numbatorch.distributions.transformed_families import Gumbel, HalfNormal, Pareto
from numbatorch.errors import message
from numbatorch.tensor import Tensor


@register_kl(Normal, Normal)
def _(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).square()
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).square() - 1 - ratio.log())


@register_kl(Laplace, Laplace)
def _(p: Laplace, q: Laplace) -> Tensor:
    ratio, apart = p.scale / q.scale, (p.loc - q.loc).abs()
    return apart / q.scale + ratio * (-apart / p.scale).exp() - ratio.log() - 1


@register_kl(Cauchy, Cauchy)
def _(p: Cauchy, q: Cauchy) -> Tensor:
    apart = (p.scale + q.scale).square() + (p.loc - q.loc).square()
    return (apart / (4 * p.scale * q.scale)).log()


@register_kl(Exponential, Exponential)
def _(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


@register_kl(Uniform, Uniform)
def _(p: Uniform, q: Uniform) -> Tensor:
    inside = (q.low <= p.low) & (p.high <= q.high)
    return where(inside, ((q.high - q.low) / (p.high - p.low)).log(), math.inf)


@register_kl(ContinuousBernoulli, ContinuousBernoulli)
def _(p: ContinuousBernoulli, q: ContinuousBernoulli) -> Tensor:
    return p._log_prob(p.mean) - q._log_prob(p.mean)  # both are linear in x


@register_kl(Gamma, Gamma)
def _(p: Gamma, q: Gamma) -> Tensor:
    a, b, ratio = p.concentration, q.concentration, p.rate / q.rate
    shapes = b.lgamma() - a.lgamma() + (a - b) * a.digamma()
    return shapes + b * ratio.log() + a * (1 / ratio - 1)


@register_kl(InverseGamma, InverseGamma)
def _(p: InverseGamma, q: InverseGamma) -> Tensor:
    gammas = (Gamma(x.concentration, x.rate, validate_args=False) for x in (p, q))
    return kl_divergence(*gammas)  # of 1 / x


@register_kl(Beta, Beta)
def _(p: Beta, q: Beta) -> Tensor:
    a, b = p.concentration1, p.concentration0
    ones, zeros = a - q.concentration1, b - q.concentration0
    norms = log_beta(q.concentration1, q.concentration0) - log_beta(a, b)
    return norms + ones * a.digamma() + zeros * b.digamma() - (ones + zeros) * (a + b).digamma()


@register_kl(Dirichlet, Dirichlet)
def _(p: Dirichlet, q: Dirichlet) -> Tensor:
    a, b = p.concentration, q.concentration
    total = a.sum(-1, keepdim=True)
    norms = total[..., 0].lgamma() - b.sum(-1).lgamma() - (a.lgamma() - b.lgamma()).sum(-1)
    found: Tensor = norms + ((a - b) * (a.digamma() - total.digamma())).sum(-1)
    return found


@register_kl(Gumbel, Gumbel)
def _(p: Gumbel, q: Gumbel) -> Tensor:
    ratio, apart = p.scale / q.scale, (p.loc - q.loc) / q.scale
    return apart - ratio.log() + EULER * (ratio - 1) - 1 + ((1 + ratio).lgamma() - apart).exp()


@register_kl(HalfNormal, HalfNormal)
def _(p: HalfNormal, q: HalfNormal) -> Tensor:
    return kl_divergence(p.base_dist, q.base_dist)


@register_kl(Pareto, Pareto)
def _(p: Pareto, q: Pareto) -> Tensor:
    ratio = q.alpha / p.alpha
    found = q.alpha * (p.scale / q.scale).log() - ratio.log() + ratio - 1
    return where(p.scale < q.scale, math.inf, found)


@register_kl(Independent, Independent)
def _(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        told = "Independent distributions have different reinterpreted_batch_ndims"
        raise NotImplementedError(message("kl_divergence", told))
    return sum_last(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _(p: TransformedDistribution, q: TransformedDistribution) -> Tensor:
    if p.event_shape != q.event_shape or p.transforms != q.transforms:
        told = "the transforms or the shapes of events differ"
        raise NotImplementedError(message("kl_divergence", told))
    return kl_divergence(p.base_dist, q.base_dist)
