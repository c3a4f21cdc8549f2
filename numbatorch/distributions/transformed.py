"""TransformedDistribution and Independent: distributions made of another. Layer 8."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

from numbatorch.distributions import constraints
from numbatorch.distributions.constraints import Constraint
from numbatorch.distributions.distribution import Distribution, sum_last
from numbatorch.distributions.transform import ComposeTransform, Transform
from numbatorch.errors import ShapeError, message
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor


class Independent(Distribution):
    """A distribution whose last batch dimensions are of the event: log_prob sums over them.

    >>> from numbatorch.distributions import Independent, Normal
    >>> Independent(Normal(nt.zeros(3), 1.0), 1).event_shape
    (3,)
    """

    base_dist: Any

    def __init__(
        self,
        base_distribution: Distribution,
        reinterpreted_batch_ndims: int,
        validate_args: bool | None = None,
    ) -> None:
        batch, count = base_distribution.batch_shape, reinterpreted_batch_ndims
        if not 0 <= count <= len(batch):
            told = f"reinterpreted_batch_ndims {count} is not in [0, {len(batch)}]"
            raise ValueError(message("Independent", told, f"batch_shape {batch}"))
        self.base_dist, self.reinterpreted_batch_ndims = base_distribution, count
        self.has_rsample = base_distribution.has_rsample
        self.has_enumerate_support = base_distribution.has_enumerate_support and not count
        cut = len(batch) - count
        event = batch[cut:] + base_distribution.event_shape
        super().__init__(batch[:cut], event, validate_args)

    @constraints.dependent_property()
    def support(self) -> Constraint:
        """That of the base, of more dimensions."""
        found: Constraint = self.base_dist.support
        count = self.reinterpreted_batch_ndims
        return constraints.independent(found, count) if count else found

    @property
    def mean(self) -> Tensor:
        """That of the base."""
        found: Tensor = self.base_dist.mean
        return found

    @property
    def mode(self) -> Tensor:
        """That of the base."""
        found: Tensor = self.base_dist.mode
        return found

    @property
    def variance(self) -> Tensor:
        """That of the base."""
        found: Tensor = self.base_dist.variance
        return found

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of the base."""
        found: Tensor = self.base_dist.rsample(sample_shape)
        return found

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of the base, through which no gradient flows."""
        found: Tensor = self.base_dist.sample(sample_shape)
        return found

    def _log_prob(self, value: Tensor) -> Tensor:
        return sum_last(self.base_dist._log_prob(value), self.reinterpreted_batch_ndims)

    def entropy(self) -> Tensor:
        """The sum of those of the base."""
        return sum_last(self.base_dist.entropy(), self.reinterpreted_batch_ndims)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """That of the base, where no dimension is of the event."""
        if self.reinterpreted_batch_ndims:
            self._lacks("enumerate_support")
        found: Tensor = self.base_dist.enumerate_support(expand)
        return found

    def expand(self, batch_shape: Sequence[int]) -> Self:
        """With the base expanded."""
        new = copy.copy(self)
        kept = self.event_shape[: self.reinterpreted_batch_ndims]
        new.base_dist = self.base_dist.expand((*batch_shape, *kept))
        new._batch_shape = tuple(batch_shape)
        return new

    def __repr__(self) -> str:
        return f"Independent({self.base_dist}, {self.reinterpreted_batch_ndims})"


class TransformedDistribution(Distribution):
    """Draws of `base_dist` through one transform after another.

    log p(y) = log p(x) - log |dy/dx|. A family of its own says `base_dist` and `transforms` as
    attributes derived of its parameters.

    >>> from numbatorch.distributions import ExpTransform, Normal, TransformedDistribution
    >>> log_normal = TransformedDistribution(Normal(0.0, 1.0), [ExpTransform()])
    >>> log_normal.log_prob(tensor([1.0]))
    tensor([-0.9189])
    """

    base_dist: Any
    transforms: Any

    def __init__(
        self,
        base_distribution: Distribution,
        transforms: Transform | Sequence[Transform],
        validate_args: bool | None = None,
    ) -> None:
        chain: Any = [transforms] if isinstance(transforms, Transform) else transforms
        if not isinstance(chain, list | tuple) or not all(isinstance(x, Transform) for x in chain):
            told = f"transforms are a Transform or a list of them, not {transforms!r}"
            raise ValueError(message("TransformedDistribution", told))
        whole, self.transforms = ComposeTransform(chain), list(chain)
        before = base_distribution.batch_shape + base_distribution.event_shape
        base_dims, dims = len(base_distribution.event_shape), whole.domain.event_dim
        if len(before) < dims:
            told = f"the transforms take events of {dims} dimensions"
            rows = (f"base_distribution {base_distribution}", f"of shape {before}")
            raise ShapeError(message("TransformedDistribution", told, *rows))
        after = whole.forward_shape(before)
        wide = whole.inverse_shape(after)
        base = base_distribution
        if wide != before:
            base = base.expand(wide[: len(wide) - base_dims])
        if dims > base_dims:
            base = Independent(base, dims - base_dims)
        self.base_dist, self.has_rsample = base, base.has_rsample
        more = whole.codomain.event_dim - dims
        cut = len(after) - max(whole.codomain.event_dim, base_dims + more)
        super().__init__(after[:cut], after[cut:], validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Constraint:
        """What the last transform gives."""
        if not self.transforms:
            found: Constraint = self.base_dist.support
            return found
        last: Constraint = self.transforms[-1].codomain
        more = len(self.event_shape) - last.event_dim
        return constraints.independent(last, more) if more > 0 else last

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of the base, transformed."""
        if not self.has_rsample:
            self._lacks("rsample")
        return self._through(self.base_dist.rsample(sample_shape))

    def _draw(self, shape: Shape) -> Tensor:
        drawn = len(shape) - len(self._batch_shape) - len(self._event_shape)
        return self._through(self.base_dist.sample(shape[:drawn]))

    def _through(self, x: Tensor) -> Tensor:
        for transform in self.transforms:
            x = transform(x)
        return x

    def _back(self, y: Tensor) -> Tensor:
        for transform in reversed(self.transforms):
            y = transform._undo(y)
        return y

    def _log_prob(self, value: Tensor) -> Tensor:
        dims, y = len(self.event_shape), value
        found: Any = 0.0
        for transform in reversed(self.transforms):
            x = transform._undo(y)
            dims += transform.domain.event_dim - transform.codomain.event_dim
            slope = transform.log_abs_det_jacobian(x, y)
            found = found - sum_last(slope, dims - transform.domain.event_dim)
            y = x
        base = self.base_dist._log_prob(y)
        total: Tensor = found + sum_last(base, dims - len(self.base_dist.event_shape))
        return total

    def _cdf(self, value: Tensor) -> Tensor:
        return self._upright(self.base_dist._cdf(self._back(value)))

    def icdf(self, value: Tensor) -> Tensor:
        """That of the base, transformed."""
        return self._through(self.base_dist.icdf(self._upright(value)))

    def _upright(self, chance: Tensor) -> Tensor:
        """A probability, or its complement where the transforms fall."""
        sign = ComposeTransform(self.transforms).sign
        if isinstance(sign, int):
            return chance if sign == 1 else 1 - chance
        found: Tensor = sign * (chance - 0.5) + 0.5
        return found

    def expand(self, batch_shape: Sequence[int]) -> Self:
        """With parameters, or the base, expanded."""
        if self._parameters:
            return super().expand(batch_shape)
        new = copy.copy(self)
        shape = ComposeTransform(self.transforms).inverse_shape((*batch_shape, *self.event_shape))
        new.base_dist = self.base_dist.expand(shape[: len(shape) - len(self.base_dist.event_shape)])
        new._batch_shape = tuple(batch_shape)
        return new

    def __repr__(self) -> str:
        if self._parameters:
            return super().__repr__()
        return f"{type(self).__name__}()"
