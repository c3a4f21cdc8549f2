"""Transforms of vectors and matrices, and of parts of tensors. Layer 8."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from typing import Any

import numbatorch as nt
from numbatorch.distributions import constraints
from numbatorch.distributions.distribution import Distribution
from numbatorch.distributions.transform import Transform
from numbatorch.errors import ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor


def _last(transform: Transform, shape: Shape) -> int:
    if not shape:
        raise ShapeError(message(type(transform).__name__, "takes vectors, not a number"))
    return shape[-1]


class SoftmaxTransform(Transform):
    """softmax(x) over the last dimension; its inverse log(y) is one of many.

    >>> from numbatorch.distributions import SoftmaxTransform
    >>> SoftmaxTransform()(tensor([0.0, 0.0]))
    tensor([0.5000, 0.5000])
    """

    domain = constraints.real_vector
    codomain = constraints.simplex

    def _call(self, x: Tensor) -> Tensor:
        _last(self, x.shape)
        return x.softmax(-1)

    def _inverse(self, y: Tensor) -> Tensor:
        return y.log()


class StickBreakingTransform(Transform):
    """K - 1 numbers as K that sum to 1: each takes a part, sigmoid(x - log(rest)), of what is left.

    >>> from numbatorch.distributions import StickBreakingTransform
    >>> StickBreakingTransform()(tensor([0.0, 0.0]))
    tensor([0.3333, 0.3333, 0.3333])
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    def _offset(self, x: Tensor, more: int) -> Tensor:
        rest = nt.arange(x.shape[-1] - 1 + more, 0, -1, dtype=x.dtype, device=x.device)
        return rest.log()

    def _call(self, x: Tensor) -> Tensor:
        _last(self, x.shape)
        odds = x - self._offset(x, 1)
        left = F.pad(F.logsigmoid(-odds).cumsum(-1), (1, 0))  # log of what is left before each
        return (left + F.pad(F.logsigmoid(odds), (0, 1))).exp()

    def _inverse(self, y: Tensor) -> Tensor:
        _last(self, y.shape)
        parts = y[..., :-1]
        least = nt.finfo(y.dtype).tiny
        left = (1 - parts.cumsum(-1)).clamp(min=least)
        return parts.log() - left.log() + self._offset(y, 0)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """sum(log(y) + log(1 - part))."""
        odds = x - self._offset(x, 1)
        return (F.logsigmoid(-odds) + y[..., :-1].log()).sum(-1)

    def forward_shape(self, shape: Shape) -> Shape:
        """One more."""
        return (*shape[:-1], _last(self, shape) + 1)

    def inverse_shape(self, shape: Shape) -> Shape:
        """One less."""
        return (*shape[:-1], _last(self, shape) - 1)


class LowerCholeskyTransform(Transform):
    """The lower triangle of a matrix, with the exponential of its diagonal.

    >>> from numbatorch.distributions import LowerCholeskyTransform
    >>> LowerCholeskyTransform()(nt.zeros(2, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.lower_cholesky

    def _call(self, x: Tensor) -> Tensor:
        return x.tril(-1) + x.diagonal(0, -2, -1).exp().diag_embed()

    def _inverse(self, y: Tensor) -> Tensor:
        return y.tril(-1) + y.diagonal(0, -2, -1).log().diag_embed()


class PositiveDefiniteTransform(Transform):
    """L L^T, L that of LowerCholeskyTransform.

    >>> from numbatorch.distributions import PositiveDefiniteTransform
    >>> PositiveDefiniteTransform()(nt.zeros(2, 2)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    domain = constraints.independent(constraints.real, 2)
    codomain = constraints.positive_definite

    def _call(self, x: Tensor) -> Tensor:
        factor = LowerCholeskyTransform()(x)
        return factor @ factor.mT

    def _inverse(self, y: Tensor) -> Tensor:
        return LowerCholeskyTransform().inv(nt.linalg.cholesky(y))


class CorrCholeskyTransform(Transform):
    """D (D - 1) / 2 numbers as the Cholesky factor of a correlation matrix of D rows.

    tanh(x) are partial correlations: row i of the factor breaks a stick of length 1 by their
    squares. Source: D. Lewandowski et al., J. Multivariate Anal. 100 (2009), 1989-2001.

    >>> from numbatorch.distributions import CorrCholeskyTransform
    >>> CorrCholeskyTransform()(nt.zeros(1)).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """

    domain = constraints.real_vector
    codomain = constraints.corr_cholesky
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        size = self.forward_shape(x.shape)[-1]
        eps = nt.finfo(x.dtype).eps
        partial = x.tanh().clamp(-1 + eps, 1 - eps)
        rows, columns = nt.tril_indices(size, size, -1, device=x.device).unbind(0)
        flat = nt.zeros((*x.shape[:-1], size * size), dtype=x.dtype, device=x.device)
        places = (rows * size + columns).expand(x.shape)
        r = flat.scatter(-1, places, partial).reshape((*x.shape[:-1], size, size))
        left = (1 - r.square()).sqrt().cumprod(-1)
        unit = nt.eye(size, dtype=x.dtype, device=x.device)
        return (r + unit) * F.pad(left[..., :-1], (1, 0), value=1.0)

    def _inverse(self, y: Tensor) -> Tensor:
        size = y.shape[-1]
        left = F.pad((1 - y.square().cumsum(-1))[..., :-1], (1, 0), value=1.0)
        rows, columns = nt.tril_indices(size, size, -1, device=y.device).unbind(0)
        partial: Tensor = y[..., rows, columns] / left[..., rows, columns].sqrt()
        return partial.atanh()

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of the logarithms of what is left of each row, and of tanh's slopes."""
        size = y.shape[-1]
        rows, columns = nt.tril_indices(size, size, -2, device=y.device).unbind(0)
        left: Tensor = (1 - y.square().cumsum(-1))[..., rows, columns]
        slopes = 2 * (math.log(2) - x - F.softplus(-2 * x))
        return 0.5 * left.log().sum(-1) + slopes.sum(-1)

    def forward_shape(self, shape: Shape) -> Shape:
        """A matrix of D rows, of D (D - 1) / 2 numbers."""
        count = _last(self, shape)
        size = round(math.sqrt(0.25 + 2 * count) + 0.5)
        if size * (size - 1) // 2 != count:
            told = f"takes D (D - 1) / 2 numbers of D rows, not {count}"
            raise ShapeError(message("CorrCholeskyTransform", told))
        return (*shape[:-1], size, size)

    def inverse_shape(self, shape: Shape) -> Shape:
        """The numbers below the diagonal of a square matrix."""
        if len(shape) < 2 or shape[-1] != shape[-2]:
            told = f"gives square matrices, not {tuple(shape)}"
            raise ShapeError(message("CorrCholeskyTransform", told))
        return (*shape[:-2], shape[-1] * (shape[-1] - 1) // 2)


class CumulativeDistributionTransform(Transform):
    """The cdf of a distribution of numbers.

    >>> from numbatorch.distributions import CumulativeDistributionTransform, Normal
    >>> CumulativeDistributionTransform(Normal(0.0, 1.0))(tensor([0.0]))
    tensor([0.5000])
    """

    bijective = True
    codomain = constraints.unit_interval

    def __init__(self, distribution: Distribution, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.distribution = distribution
        self.domain = distribution.support

    def _call(self, x: Tensor) -> Tensor:
        return self.distribution.cdf(x)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.distribution.icdf(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log_prob."""
        return self.distribution.log_prob(x)


class _PartsTransform(Transform):
    """A transform for each part of a dimension."""

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.transforms = [part.with_cache(cache_size) for part in tseq]
        self.dim = dim
        self.bijective = all(part.bijective for part in self.transforms)

    def _split(self, x: Tensor) -> Sequence[Tensor]:
        raise NotImplementedError

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        raise NotImplementedError

    def _call(self, x: Tensor) -> Tensor:
        pairs = zip(self.transforms, self._split(x), strict=True)
        return self._joined([part(piece) for part, piece in pairs])

    def _inverse(self, y: Tensor) -> Tensor:
        pairs = zip(self.transforms, self._split(y), strict=True)
        return self._joined([part._undo(piece) for part, piece in pairs])


class CatTransform(_PartsTransform):
    """A transform for each part, of `lengths`, of a dimension.

    >>> from numbatorch.distributions import CatTransform, ExpTransform, identity_transform
    >>> CatTransform([ExpTransform(), identity_transform])(tensor([0.0, 0.0]))
    tensor([1., 0.])
    """

    def __init__(
        self,
        tseq: Sequence[Transform],
        dim: int = 0,
        lengths: Sequence[int] | None = None,
        cache_size: int = 0,
    ) -> None:
        super().__init__(tseq, dim, cache_size)
        self.lengths = [1] * len(self.transforms) if lengths is None else list(lengths)
        domains = [part.domain for part in self.transforms]
        codomains = [part.codomain for part in self.transforms]
        self.domain = constraints.cat(domains, dim, self.lengths)
        self.codomain = constraints.cat(codomains, dim, self.lengths)

    def _split(self, x: Tensor) -> Sequence[Tensor]:
        return x.split(self.lengths, self.dim)

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return nt.cat(parts, self.dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Those of the parts, side by side, or summed where the dimension is of the event."""
        triples = zip(self.transforms, self._split(x), self._split(y), strict=True)
        found: list[Tensor] = []
        for part, before, after in triples:
            one = part.log_abs_det_jacobian(before, after)
            rest = self.domain.event_dim - part.domain.event_dim
            found.append(one.sum(tuple(range(-rest, 0))) if rest else one)
        at = self.dim if self.dim < 0 else self.dim - x.ndim
        if at + self.domain.event_dim < 0:
            return nt.cat(found, at + self.domain.event_dim)
        return functools.reduce(operator.add, found)


class StackTransform(_PartsTransform):
    """A transform for each place of a dimension.

    >>> from numbatorch.distributions import ExpTransform, StackTransform, identity_transform
    >>> StackTransform([ExpTransform(), identity_transform])(tensor([0.0, 0.0]))
    tensor([1., 0.])
    """

    def __init__(self, tseq: Sequence[Transform], dim: int = 0, cache_size: int = 0) -> None:
        super().__init__(tseq, dim, cache_size)
        self.domain = constraints.stack([part.domain for part in self.transforms], dim)
        self.codomain = constraints.stack([part.codomain for part in self.transforms], dim)

    def _split(self, x: Tensor) -> Sequence[Tensor]:
        return x.unbind(self.dim)

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        return nt.stack(parts, self.dim)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Those of the parts, stacked."""
        triples: Any = zip(self.transforms, self._split(x), self._split(y), strict=True)
        return nt.stack([part.log_abs_det_jacobian(a, b) for part, a, b in triples], self.dim)
