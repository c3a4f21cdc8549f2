"""Distributions over categories: one of them, as a number or a vector, or counts. Layer 8."""

from __future__ import annotations

from typing import Any, ClassVar

import numbatorch as nt
from numbatorch.distributions import constraints
from numbatorch.distributions.discrete import Binomial, counted
from numbatorch.distributions.distribution import Distribution, derived, one_of
from numbatorch.errors import OutOfRange, message
from numbatorch.nn import functional as F
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor


class _Categories(Distribution):
    """Parameters (..., K): `probs`, which are divided by their sum, or `logits`, their logarithms.

    What is given is kept so that probs sum to 1; the other follows.
    """

    arg_constraints: ClassVar = {"probs": constraints.simplex, "logits": constraints.real_vector}

    def _take_categories(
        self, probs: Tensor | None, logits: Tensor | None, validate_args: bool | None
    ) -> Shape:
        if validate_args is not None:
            self._validate_args = validate_args
        given = one_of(type(self).__name__, probs=probs, logits=logits)
        shape = self._take(**given)
        if probs is not None:
            if self._looks():  # before the sum hides the number that was given
                problem = f"probs does not satisfy {constraints.simplex}"
                self._require("probs", self.probs, constraints.nonnegative, problem)
            self.probs = self.probs / self.probs.sum(-1, keepdim=True)
        else:
            self.logits = self.logits - self.logits.logsumexp(-1, keepdim=True)
        return shape

    @derived
    def probs(self) -> Tensor:
        """softmax(logits)."""
        return self.logits.softmax(-1)

    @derived
    def logits(self) -> Tensor:
        """log(probs), held off 0 by one step, as PyTorch does."""
        eps = nt.finfo(self.probs.dtype).eps
        return self.probs.clamp(eps, 1 - eps).log()

    @property
    def param_shape(self) -> Shape:
        """batch_shape and the number of categories."""
        return self._first.shape

    @property
    def _count(self) -> int:
        return self._first.shape[-1]

    def _numbers(self, shape: Shape) -> Tensor:
        """Numbers of categories: int64 of `shape`, which ends with batch_shape."""
        table = self.probs.detach().reshape((-1, self._count))
        times = nt.Size(shape[: len(shape) - len(self._batch_shape)])
        total = 1
        for n in times:
            total *= n
        if total == 0 or table.shape[0] == 0:
            return nt.zeros(shape, dtype=nt.int64, device=table.device)
        return nt.multinomial(table, total, True).transpose(0, 1).reshape(shape)

    def _surprise(self) -> Tensor:
        """The entropy of one category."""
        least = nt.finfo(self.logits.dtype).min
        return -(self.logits.clamp(min=least) * self.probs).sum(-1)


class Categorical(_Categories):
    """A number from 0 to K - 1, each with its probability.

    Args:
        probs: (..., K), not negative; divided by their sum.
        logits: (..., K), in place of probs: their logarithms, but for a sum.

    >>> from numbatorch.distributions import Categorical
    >>> Categorical(tensor([1.0, 3.0])).log_prob(tensor([0, 1])).exp()
    tensor([0.2500, 0.7500])
    """

    has_enumerate_support = True

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(self._take_categories(probs, logits, validate_args))

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """The whole numbers below K."""
        return constraints.integer_interval(0, self._count - 1)

    @property
    def mean(self) -> Tensor:
        """NaN: numbers of categories have none."""
        return nt.full_like(self.probs[..., 0], nt.nan)

    @property
    def variance(self) -> Tensor:
        """NaN."""
        return nt.full_like(self.probs[..., 0], nt.nan)

    @property
    def mode(self) -> Tensor:
        """The category whose probability is greatest."""
        return self.probs.argmax(-1)

    def _draw(self, shape: Shape) -> Tensor:
        return self._numbers(shape)

    def _log_prob(self, value: Tensor) -> Tensor:
        number, rows = nt.broadcast_tensors(value.long()[..., None], self.logits)
        found: Tensor = rows.gather(-1, number[..., :1])[..., 0]
        return found

    def entropy(self) -> Tensor:
        """-sum(probs log(probs))."""
        return self._surprise()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """0, 1, ... K - 1, int64."""
        return counted(self, self._count, expand).long()


class OneHotCategorical(_Categories):
    """A vector of K numbers: 1 at one category, each with its probability, and zeros.

    Args:
        probs, logits: as of Categorical.

    >>> from numbatorch.distributions import OneHotCategorical
    >>> OneHotCategorical(tensor([1.0, 3.0])).log_prob(tensor([0.0, 1.0])).exp()
    tensor(0.7500)
    """

    support: Any = constraints.one_hot
    has_enumerate_support = True

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        shape = self._take_categories(probs, logits, validate_args)
        super().__init__(shape, (self._count,))

    @property
    def mean(self) -> Tensor:
        """probs."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """1 at the category whose probability is greatest."""
        return F.one_hot(self.probs.argmax(-1), self._count).to(self.probs.dtype)

    @property
    def variance(self) -> Tensor:
        """probs (1 - probs)."""
        return self.probs * (1 - self.probs)

    def _draw(self, shape: Shape) -> Tensor:
        return F.one_hot(self._numbers(shape[:-1]), self._count).to(self._first.dtype)

    def _log_prob(self, value: Tensor) -> Tensor:
        least = nt.finfo(self.logits.dtype).min
        return (value * self.logits.clamp(min=least)).sum(-1)

    def entropy(self) -> Tensor:
        """-sum(probs log(probs))."""
        return self._surprise()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """The rows of the identity matrix of K."""
        n, batch = self._count, self._batch_shape
        rows = nt.eye(n, dtype=self._first.dtype, device=self._first.device)
        rows = rows.reshape((n, *(1 for _ in batch), n))
        return rows.expand((n, *batch, n)) if expand else rows


class OneHotCategoricalStraightThrough(OneHotCategorical):
    """OneHotCategorical whose draws have the gradients of probs: biased, but of low variance.

    Source: https://arxiv.org/abs/1308.3432

    >>> from numbatorch.distributions import OneHotCategoricalStraightThrough
    >>> probs = tensor([0.0, 1.0]).requires_grad_()
    >>> draw = OneHotCategoricalStraightThrough(probs).rsample()
    >>> draw.tolist(), draw.requires_grad
    ([0.0, 1.0], True)
    """

    has_rsample = True

    def _draw(self, shape: Shape) -> Tensor:
        return super()._draw(shape) + (self.probs - self.probs.detach())


class Multinomial(_Categories):
    """How many of total_count draws are of each of K categories.

    total_count! / prod(x!) prod(probs^x)

    Args:
        total_count: a whole number, not negative.
        probs, logits: as of Categorical.

    >>> from numbatorch.distributions import Multinomial
    >>> Multinomial(2, tensor([1.0, 1.0])).log_prob(tensor([1.0, 1.0])).exp()
    tensor(0.5000)
    """

    total_count: int

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        count: Any = total_count
        if not isinstance(count, int):
            problem = f"total_count is an int, not {type(count).__name__}"
            raise NotImplementedError(message("Multinomial", problem))
        if total_count < 0:
            raise OutOfRange(message("Multinomial", f"total_count {total_count} is negative"))
        self.total_count = total_count
        shape = self._take_categories(probs, logits, validate_args)
        super().__init__(shape, (self._count,))

    @constraints.dependent_property(is_discrete=True, event_dim=1)
    def support(self) -> constraints.Constraint:
        """Counts that sum to at most total_count; of others than that the density is not told."""
        return constraints.multinomial(self.total_count)

    @property
    def mean(self) -> Tensor:
        """total_count probs."""
        return self.probs * self.total_count

    @property
    def variance(self) -> Tensor:
        """total_count probs (1 - probs)."""
        return self.total_count * self.probs * (1 - self.probs)

    def _draw(self, shape: Shape) -> Tensor:
        numbers = self._numbers((self.total_count, *shape[:-1]))  # (n, ..., batch)
        counts = nt.zeros(shape, dtype=self._first.dtype, device=self._first.device)
        if not self.total_count:
            return counts
        places = numbers.movedim(0, -1)
        return counts.scatter_add(-1, places, nt.ones_like(places, dtype=counts.dtype))

    def _log_prob(self, value: Tensor) -> Tensor:
        least = nt.finfo(self.logits.dtype).min
        ways = (value.sum(-1) + 1).lgamma() - (value + 1).lgamma().sum(-1)
        return ways + (value * self.logits.clamp(min=least)).sum(-1)

    def entropy(self) -> Tensor:
        """total_count times that of one draw, less the mean of the number of orders' logarithm."""
        n = nt.tensor(self.total_count, dtype=self._first.dtype, device=self._first.device)
        one = Binomial(n, probs=self.probs, validate_args=False)
        counts = one.enumerate_support(expand=False)
        orders = (one._log_prob(counts).exp() * (counts + 1).lgamma()).sum((0, -1))
        return self.total_count * self._surprise() - (n + 1).lgamma() + orders
