"""Divergences between distributions of two families, of what each knows of the other. Layer 8.

KL(p, q) is the mean over p of -log q, less the entropy of p. That mean takes a few moments of p:
of x, log(x), log(1 - x) and exp(-x / scale); what q has no density for makes it infinite.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numbatorch as nt
from numbatorch.distributions.continuous import Exponential, Laplace, Normal, Uniform
from numbatorch.distributions.discrete import ContinuousBernoulli
from numbatorch.distributions.distribution import EULER, LOG_SQRT_2PI, where
from numbatorch.distributions.gamma import Beta, Gamma, log_beta
from numbatorch.distributions.kl import register_kl
from numbatorch.distributions.transformed_families import Gumbel, Pareto
from numbatorch.tensor import Tensor

T = TypeVar("T")

# Of each family the ends of its support.
ENDS: dict[type, Callable[[Any], tuple[Any, Any]]] = {
    Beta: lambda p: (0.0, 1.0),
    ContinuousBernoulli: lambda p: (0.0, 1.0),
    Exponential: lambda p: (0.0, math.inf),
    Gamma: lambda p: (0.0, math.inf),
    Gumbel: lambda p: (-math.inf, math.inf),
    Laplace: lambda p: (-math.inf, math.inf),
    Normal: lambda p: (-math.inf, math.inf),
    Pareto: lambda p: (p.scale, math.inf),
    Uniform: lambda p: (p.low, p.high),
}


def _mean_x_log_x(low: Tensor, high: Tensor) -> Tensor:
    """The mean of log(x) over [low, high]."""
    return (nt.xlogy(high, high) - nt.xlogy(low, low)) / (high - low) - 1


MEAN_LOG: dict[type, Callable[[Any], Tensor]] = {
    Beta: lambda p: p.concentration1.digamma() - (p.concentration1 + p.concentration0).digamma(),
    Exponential: lambda p: -EULER - p.rate.log(),
    Gamma: lambda p: p.concentration.digamma() - p.rate.log(),
    Pareto: lambda p: p.scale.log() + p.alpha.reciprocal(),
    Uniform: lambda p: _mean_x_log_x(p.low, p.high),
}


MEAN_EXP: dict[type, Callable[[Any, Tensor], Tensor]] = {
    Exponential: lambda p, t: p.rate / (p.rate + t),
    Gamma: lambda p, t: (1 + t / p.rate).pow(-p.concentration),
    Normal: lambda p, t: (0.5 * (p.scale * t).square() - p.loc * t).exp(),
    Uniform: lambda p, t: ((-p.low * t).exp() - (-p.high * t).exp()) / ((p.high - p.low) * t),
}  # the mean of exp(-t x)


def _of(table: dict[type, T], p: Any) -> T:
    """The entry of the nearest base of a distribution."""
    return next(table[kind] for kind in type(p).__mro__ if kind in table)


def _cross_beta(p: Any, q: Beta) -> Tensor:
    a, b = q.concentration1, q.concentration0
    one_less = _mean_x_log_x(1 - p.high, 1 - p.low)  # of a uniform distribution
    return log_beta(a, b) - (a - 1) * _of(MEAN_LOG, p)(p) - (b - 1) * one_less


def _cross_continuous_bernoulli(p: Any, q: ContinuousBernoulli) -> Tensor:
    return -q._log_prob(p.mean)  # which is linear in x


def _cross_exponential(p: Any, q: Exponential) -> Tensor:
    found: Tensor = q.rate * p.mean - q.rate.log()
    return found


def _cross_gamma(p: Any, q: Gamma) -> Tensor:
    a = q.concentration
    found: Tensor = a.lgamma() - a * q.rate.log() - (a - 1) * _of(MEAN_LOG, p)(p) + q.rate * p.mean
    return found


def _cross_gumbel(p: Any, q: Gumbel) -> Tensor:
    falls = (q.loc / q.scale).exp() * _of(MEAN_EXP, p)(p, q.scale.reciprocal())
    found: Tensor = q.scale.log() + (p.mean - q.loc) / q.scale + falls
    return found


def _cross_laplace(p: Normal, q: Laplace) -> Tensor:
    z = (p.loc - q.loc) / p.scale
    spread = (-0.5 * z.square()).exp() * math.sqrt(2 / math.pi)
    return p.scale * (spread + z * (z / math.sqrt(2)).erf()) / q.scale + (2 * q.scale).log()


def _cross_normal(p: Any, q: Normal) -> Tensor:
    square: Tensor = (p.variance + (p.mean - q.loc).square()) / (2 * q.scale.square())
    return where(p.variance == math.inf, math.inf, square + q.scale.log() + LOG_SQRT_2PI)


def _cross_pareto(p: Any, q: Pareto) -> Tensor:
    return (q.alpha + 1) * _of(MEAN_LOG, p)(p) - q.alpha.log() - q.alpha * q.scale.log()


def _cross_uniform(p: Any, q: Uniform) -> Tensor:
    return (q.high - q.low).log()


def _register(p_family: type, q_family: type, cross: Callable[[Any, Any], Tensor]) -> None:
    def divergence(p: Any, q: Any) -> Tensor:
        (low, high), (least, most) = ENDS[p_family](p), ENDS[q_family](q)
        within = (low >= least, high <= most)  # bools of numbers, tensors of parameters
        if any(one is False for one in within):
            return _infinite(p, q)
        found: Tensor = cross(p, q) - p.entropy()
        for one in within:
            found = found if one is True else where(one, found, math.inf)
        return found

    register_kl(p_family, q_family)(divergence)


def _infinite(p: Any, q: Any) -> Tensor:
    shape = nt.broadcast_shapes(p.batch_shape, q.batch_shape)
    first: Tensor = p._first
    return nt.full(shape, math.inf, dtype=first.dtype, device=first.device)


_CROSSES: dict[type, tuple[Callable[[Any, Any], Tensor], tuple[type, ...]]] = {
    Beta: (_cross_beta, (Uniform,)),
    ContinuousBernoulli: (_cross_continuous_bernoulli, (Beta, Uniform)),
    Exponential: (_cross_exponential, (Beta, ContinuousBernoulli, Gamma, Pareto, Uniform)),
    Gamma: (_cross_gamma, (Beta, Exponential, Pareto, Uniform)),
    Gumbel: (_cross_gumbel, (Exponential, Gamma, Normal, Uniform)),
    Laplace: (_cross_laplace, (Normal,)),
    Normal: (
        _cross_normal,
        (Beta, ContinuousBernoulli, Exponential, Gamma, Gumbel, Laplace, Pareto, Uniform),
    ),
    Pareto: (_cross_pareto, (Uniform,)),
    Uniform: (_cross_uniform, (Beta, ContinuousBernoulli)),
}
for _q, (_cross, _families) in _CROSSES.items():
    for _p in _families:
        _register(_p, _q, _cross)

# Families and those that have no density for some of their draws, whatever the parameters.
_INFINITE: dict[type, tuple[type, ...]] = {
    Beta: (Pareto,),
    ContinuousBernoulli: (Pareto,),
    Exponential: (Beta, ContinuousBernoulli, Pareto, Uniform),
    Gamma: (Beta, ContinuousBernoulli, Pareto, Uniform),
    Gumbel: (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform),
    Laplace: (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform),
    Normal: (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform),
    Pareto: (Beta, ContinuousBernoulli, Uniform),
}
for _p, _families in _INFINITE.items():
    for _q in _families:
        register_kl(_p, _q)(_infinite)
