"""MixtureSameFamily: draws of one of several distributions of a family. Layer 8."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Self

from numbatorch.distributions import constraints
from numbatorch.distributions.categorical import Categorical
from numbatorch.distributions.distribution import Distribution
from numbatorch.errors import ShapeError, message
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor


class MixtureSameFamily(Distribution):
    """Of K distributions along the last batch dimension, one that `mixture_distribution` draws.

    Args:
        mixture_distribution: Categorical, of K categories.
        component_distribution: of batch_shape (..., K).
    Raises:
        ShapeError: the batch shapes do not fit.

    >>> from numbatorch.distributions import Categorical, MixtureSameFamily, Normal
    >>> two = Normal(tensor([-1.0, 1.0]), 0.5)
    >>> MixtureSameFamily(Categorical(tensor([0.5, 0.5])), two).mean
    tensor(0.)
    """

    def __init__(
        self,
        mixture_distribution: Categorical,
        component_distribution: Distribution,
        validate_args: bool | None = None,
    ) -> None:
        self.mixture_distribution = self._of_class(mixture_distribution, Categorical)
        self.component_distribution = self._of_class(component_distribution, Distribution)
        batch, given = component_distribution.batch_shape, mixture_distribution.batch_shape
        rows = (f"mixture_distribution {given}", f"component_distribution {batch}")
        if not batch or batch[-1] != mixture_distribution.param_shape[-1]:
            told = f"needs {mixture_distribution.param_shape[-1]} components"
            raise ShapeError(message("MixtureSameFamily", told, *rows))
        pairs = zip(reversed(given), reversed(batch[:-1]), strict=False)
        if any(i != j and 1 not in (i, j) for i, j in pairs):
            raise ShapeError(message("MixtureSameFamily", "batch shapes do not broadcast", *rows))
        super().__init__(batch[:-1], component_distribution.event_shape, validate_args)

    mixture_distribution: Categorical
    component_distribution: Distribution

    @staticmethod
    def _of_class(value: Any, kind: type) -> Any:
        if not isinstance(value, kind):
            told = f"takes a {kind.__name__}, not {type(value).__name__}"
            raise ValueError(message("MixtureSameFamily", told))
        return value

    @constraints.dependent_property()
    def support(self) -> constraints.Constraint:
        """What every component may give."""
        return constraints.MixtureSameFamilyConstraint(self.component_distribution.support)

    def _weights(self) -> Tensor:
        """The probabilities of components, with dimensions for their events."""
        probs: Tensor = self.mixture_distribution.probs
        return probs.reshape(probs.shape + (1,) * len(self._event_shape))

    def _summed(self, x: Tensor) -> Tensor:
        return (self._weights() * x).sum(-1 - len(self._event_shape))

    def _with_components(self, value: Tensor) -> Tensor:
        return value.unsqueeze(-1 - len(self._event_shape))

    @property
    def mean(self) -> Tensor:
        """The weighed mean of the components' means."""
        return self._summed(self.component_distribution.mean)

    @property
    def variance(self) -> Tensor:
        """The weighed mean of their variances, and the variance of their means."""
        apart = self.component_distribution.mean - self._with_components(self.mean)
        return self._summed(self.component_distribution.variance + apart.square())

    def _log_prob(self, value: Tensor) -> Tensor:
        each = self.component_distribution._log_prob(self._with_components(value))
        return (each + self.mixture_distribution.logits.log_softmax(-1)).logsumexp(-1)

    def _cdf(self, value: Tensor) -> Tensor:
        each = self.component_distribution._cdf(self._with_components(value))
        return (each * self.mixture_distribution.probs).sum(-1)

    def _draw(self, shape: Shape) -> Tensor:
        drawn = shape[: len(shape) - len(self._batch_shape) - len(self._event_shape)]
        batch = len(shape) - len(self._event_shape)
        mixture = self.mixture_distribution.expand(self._batch_shape)
        every = self.component_distribution.sample(drawn)  # (..., K, event)
        number = mixture.sample(drawn)
        number = number.reshape((*number.shape, *(1 for _ in range(len(shape) - batch + 1))))
        chosen = number.expand((*shape[:batch], 1, *shape[batch:]))
        return every.gather(batch, chosen).squeeze(batch)

    def expand(self, batch_shape: Sequence[int]) -> Self:
        """With both expanded."""
        new = copy.copy(self)
        count = self.mixture_distribution.param_shape[-1]
        new.mixture_distribution = self.mixture_distribution.expand(batch_shape)
        new.component_distribution = self.component_distribution.expand((*batch_shape, count))
        new._batch_shape = tuple(batch_shape)
        return new

    def __repr__(self) -> str:
        parts = f"{self.mixture_distribution},\n  {self.component_distribution}"
        return f"MixtureSameFamily(\n  {parts})"
