"""What all distributions share: parameters that broadcast, checks, shapes, samples. Layer 8."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, NoReturn, Self, TypeVar, cast

import numpy as np

import numbatorch as nt
from numbatorch.distributions import constraints
from numbatorch.distributions.constraints import Constraint
from numbatorch.dtype import DType, default_dtype
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.ops.operands import describe
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor, no_grad
from numbatorch.tensor.mapping import values_are_known

Number = Tensor | float
T = TypeVar("T")

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
EULER = 0.57721566490153286060


class derived(Generic[T]):
    """Decorator: an attribute that follows from others, where it is not given itself."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type) -> T:
        return cast(T, self) if instance is None else self.function(instance)


class Distribution:
    """A distribution for each place of `batch_shape`, over events of `event_shape`.

    A family names its parameters in `arg_constraints`, and says `_draw`, `_log_prob` and what
    else has a closed form; parameters broadcast, and everything is an expression of them, so
    that it fuses, and gradients flow.

    Args:
        validate_args: whether parameters and values are looked at, and those outside of their
            constraints refused with a ValueError; as `set_default_validate_args` says unless
            given. Neither a function that is being compiled is, nor one under vmap: no value is
            known there.

    >>> from numbatorch.distributions import Normal
    >>> Normal(tensor([0.0, 1.0]), 2.0)
    Normal(loc: (2,), scale: (2,))
    """

    has_rsample: bool = False
    has_enumerate_support: bool = False
    arg_constraints: ClassVar[Mapping[str, Constraint]] = {}
    support: Any = constraints.dependent
    _validate_args: bool = True
    _parameters: tuple[str, ...] = ()

    def __init__(
        self,
        batch_shape: Sequence[int] = (),
        event_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape, self._event_shape = tuple(batch_shape), tuple(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._looks():
            for name, constraint in self.arg_constraints.items():
                if name in self.__dict__ and not constraints.is_dependent(constraint):
                    told = f"{name} does not satisfy {constraint}"
                    self._require(name, self.__dict__[name], constraint, told)

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Whether parameters and values are looked at where `validate_args` is not given.

        >>> from numbatorch.distributions import Distribution, Normal
        >>> Distribution.set_default_validate_args(False)
        >>> Normal(0.0, -1.0).scale
        tensor(-1.)
        >>> Distribution.set_default_validate_args(True)
        """
        if value not in (True, False):
            raise ValueError(message("set_default_validate_args", f"{value!r} is no bool"))
        Distribution._validate_args = bool(value)

    @property
    def batch_shape(self) -> Shape:
        """The shape of the parameters: one distribution for each place."""
        return self._batch_shape

    @property
    def event_shape(self) -> Shape:
        """The shape of one draw of one distribution."""
        return self._event_shape

    @property
    def mean(self) -> Tensor:
        """The mean of each distribution: batch_shape + event_shape."""
        self._lacks("mean")

    @property
    def mode(self) -> Tensor:
        """The most likely event of each distribution: batch_shape + event_shape."""
        self._lacks("mode")

    @property
    def variance(self) -> Tensor:
        """The variance of each element: batch_shape + event_shape."""
        self._lacks("variance")

    @property
    def stddev(self) -> Tensor:
        """The square root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws of sample_shape + batch_shape + event_shape, through which no gradient flows.

        They come from the default generator: `nt.manual_seed` has them repeat.
        """
        with no_grad():
            if self.has_rsample:
                return self.rsample(sample_shape)
            return self._draw(self._extended_shape(sample_shape))

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws that are functions of the parameters, to which gradients flow.

        Raises:
            NotImplementedError: there is no such function: `has_rsample` is False.
        """
        if not self.has_rsample:
            self._lacks("rsample")
        return self._draw(self._extended_shape(sample_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """The logarithm of the density, or probability, of events: broadcast with batch_shape.

        Raises:
            ValueError: an event is outside of the support.
            ShapeError: the last dimensions are not those of an event, or others do not broadcast.
        """
        self._require_sample(value)
        return self._log_prob(value)

    def cdf(self, value: Tensor) -> Tensor:
        """How likely an event is at most `value`; raises as `log_prob`."""
        self._require_sample(value)
        return self._cdf(value)

    def icdf(self, value: Tensor) -> Tensor:
        """The event that a draw is at most with probability `value`; NaN outside of [0, 1]."""
        self._lacks("icdf")

    def entropy(self) -> Tensor:
        """The mean of -log_prob, in nats: batch_shape."""
        self._lacks("entropy")

    def perplexity(self) -> Tensor:
        """exp(entropy)."""
        return self.entropy().exp()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All events of a discrete distribution, first along a dimension of their own.

        Args:
            expand: whether over batch_shape, which else are dimensions of 1.
        Raises:
            NotImplementedError: there is no list of them: `has_enumerate_support` is False.
        """
        self._lacks("enumerate_support")

    def expand(self, batch_shape: Sequence[int]) -> Self:
        """This distribution with parameters expanded to another batch_shape; checks nothing."""
        new = copy.copy(self)
        shape = tuple(batch_shape)
        for name in self._parameters:
            value = getattr(self, name)
            setattr(new, name, value.expand(shape + value.shape[len(self._batch_shape) :]))
        new._batch_shape = shape
        return new

    def __repr__(self) -> str:
        given = {n: getattr(self, n) for n in self.arg_constraints if n in self._parameters}
        told = [
            f"{n}: {constraints.shown(x) if x.numel() == 1 else x.shape}" for n, x in given.items()
        ]
        return f"{type(self).__name__}({', '.join(told)})"

    def _draw(self, shape: Shape) -> Tensor:
        """Draws of `shape`, which ends with batch_shape + event_shape."""
        self._lacks("sample")

    def _log_prob(self, value: Tensor) -> Tensor:
        """log_prob of a value that has been looked at."""
        if type(self).log_prob is Distribution.log_prob:
            self._lacks("log_prob")
        return self.log_prob(value)  # a class that says just this, as PyTorch's do

    def _cdf(self, value: Tensor) -> Tensor:
        if type(self).cdf is Distribution.cdf:
            self._lacks("cdf")
        return self.cdf(value)

    def _lacks(self, name: str) -> NoReturn:
        raise NotImplementedError(message(type(self).__name__, f"has no {name}"))

    def _take(self, **given: Number) -> Shape:
        """Set parameters, in one dtype and expanded to one batch shape, which is returned."""
        tensors = in_one_dtype(type(self).__name__, given)
        events = {name: self.arg_constraints[name].event_dim for name in tensors}
        for name, x in tensors.items():
            if x.ndim < events[name]:
                rows = f"{name} {describe(x.node)}"
                problem = f"{name} needs {events[name]} dimensions or more"
                raise ShapeError(message(type(self).__name__, problem, rows))
        kept = {name: x.shape[x.ndim - events[name] :] for name, x in tensors.items()}
        batches = [x.shape[: x.ndim - events[name]] for name, x in tensors.items()]
        shape: Shape = nt.broadcast_shapes(*batches)
        for name, x in tensors.items():
            setattr(self, name, x.expand(shape + kept[name]))
        self._parameters = tuple(tensors)
        return shape

    @property
    def _first(self) -> Tensor:
        """A parameter, in whose dtype and on whose device draws are."""
        found: Tensor = getattr(self, self._parameters[0])
        return found

    def _normals(self, shape: Shape) -> Tensor:
        return nt.randn(shape, dtype=self._first.dtype, device=self._first.device)

    def _uniforms(self, shape: Shape) -> Tensor:
        """In (0, 1), without its ends."""
        drawn = nt.rand(shape, dtype=self._first.dtype, device=self._first.device)
        return drawn.clamp(*inside(drawn.dtype))

    def _extended_shape(self, sample_shape: Sequence[int] = ()) -> Shape:
        return (*sample_shape, *self._batch_shape, *self._event_shape)

    def _looks(self) -> bool:
        """Whether parameters and values are looked at: not where no value is known."""
        return self._validate_args and values_are_known()

    def _require_sample(self, value: Tensor) -> None:
        if not self._validate_args:
            return
        name = type(self).__name__
        if not isinstance(value, Tensor):
            raise TypeError(message(name, f"value is a tensor, not {type(value).__name__}"))
        rows = (f"value {describe(value.node)}", f"batch_shape {self._batch_shape}")
        cut = value.ndim - len(self._event_shape)
        if cut < 0 or value.shape[cut:] != self._event_shape:
            problem = f"value does not end with event_shape {self._event_shape}"
            raise ShapeError(message(name, problem, *rows))
        pairs = zip(reversed(value.shape[:cut]), reversed(self._batch_shape), strict=False)
        if any(i != j and 1 not in (i, j) for i, j in pairs):
            raise ShapeError(message(name, "value does not broadcast with batch_shape", *rows))
        support = self.support
        if self._looks() and not constraints.is_dependent(support):
            self._require("value", value, support, f"value is outside of the support {support}")

    def _require(self, name: str, value: Tensor, constraint: Constraint, problem: str) -> None:
        """Refuse what a constraint does not hold for, with the first place and number."""
        with no_grad():
            checks = constraint.check(value)
        if bool(checks.all()):
            return
        found = checks.numpy()
        place = tuple(int(i) for i in np.argwhere(~found)[0])
        at = (
            place[-(value.ndim - constraint.event_dim) :]
            if value.ndim > constraint.event_dim
            else ()
        )
        numbers = value.detach()[
            tuple(i if n > 1 else 0 for i, n in zip(at, value.shape, strict=False))
        ]
        where = f"[{', '.join(map(str, at))}]" if at else ""
        rows = (f"{name} {describe(value.node)}", f"{name}{where} is {numbers.tolist()}")
        raise ValueError(message(type(self).__name__, problem, *rows))


def in_one_dtype(operator: str, given: Mapping[str, Any]) -> dict[str, Tensor]:
    """Parameters as tensors of the dtype in which the floats among them meet."""
    tensors = {name: x for name, x in given.items() if isinstance(x, Tensor)}
    for name, x in given.items():
        if not isinstance(x, Tensor | int | float | np.number):
            problem = f"{name} is a number or a tensor, not {type(x).__name__}"
            raise TypeError(message(operator, problem))
    for name, x in tensors.items():
        if x.is_complex():
            raise DTypeError(message(operator, f"{name} is real, not {describe(x.node)}"))
    floats = [x for x in tensors.values() if x.is_floating_point()]
    if tensors and not floats and len(tensors) == len(given):
        rows = [f"{name} {describe(x.node)}" for name, x in tensors.items()]
        raise DTypeError(message(operator, "needs parameters of floats", *rows))
    kind = floats[0].dtype if floats else default_dtype()
    for x in floats[1:]:
        kind = nt.promote_types(kind, x.dtype)
    where = next(iter(tensors.values())).device if tensors else None
    return {
        name: x.to(kind) if isinstance(x, Tensor) else nt.tensor(x, dtype=kind, device=where)
        for name, x in given.items()
    }


def inside(dtype: DType) -> tuple[float, float]:
    """The first and last number that is surely inside of (0, 1)."""
    info = nt.finfo(dtype)
    return info.tiny, 1 - info.eps


def sum_last(x: Tensor, count: int) -> Tensor:
    """The sum over the last `count` dimensions."""
    return x.sum(tuple(range(-count, 0))) if count else x


def one_of(operator: str, **given: Number | None) -> dict[str, Number]:
    """The one of two parameters that say the same which is given.

    Raises:
        ValueError: none or both are.
    """
    found = {name: x for name, x in given.items() if x is not None}
    if len(found) != 1:
        raise ValueError(message(operator, f"needs one of {' and '.join(given)}"))
    return found


def where(condition: Tensor, input: Number, other: Number) -> Tensor:
    """`input` where a condition holds, else `other`."""
    found: Tensor = nt.where(condition, input, other)
    return found
