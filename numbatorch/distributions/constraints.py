"""Constraints: the sets that parameters and values of distributions are in. Layer 8."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, cast

import numbatorch as nt
from numbatorch.errors import ShapeError, message
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor

__all__ = [
    "Constraint",
    "MixtureSameFamilyConstraint",
    "boolean",
    "cat",
    "corr_cholesky",
    "dependent",
    "dependent_property",
    "greater_than",
    "greater_than_eq",
    "half_open_interval",
    "independent",
    "integer_interval",
    "interval",
    "is_dependent",
    "less_than",
    "lower_cholesky",
    "lower_triangular",
    "multinomial",
    "nonnegative",
    "nonnegative_integer",
    "one_hot",
    "positive",
    "positive_definite",
    "positive_integer",
    "positive_semidefinite",
    "real",
    "real_vector",
    "simplex",
    "square",
    "stack",
    "symmetric",
    "unit_interval",
]

SYMMETRY = 1e-6  # that a matrix of rounded numbers may be off
SUM = 1e-6  # that probabilities may sum to beside 1; wider for half types


class Constraint:
    """A set of events; an event is made of the last `event_dim` dimensions.

    >>> nt.distributions.constraints.positive.check(tensor([1.0, -1.0]))
    tensor([ True, False])
    """

    is_discrete: Any = False
    event_dim: Any = 0

    def check(self, value: Tensor) -> Tensor:
        """Whether each event is in the set: bools of the shape that is before the events'."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__.lstrip('_')}()"


class _Dependent(Constraint):
    """A set that only an instance knows: what depends on its parameters."""

    def __init__(self, *, is_discrete: Any = None, event_dim: Any = None) -> None:
        self.is_discrete, self.event_dim = is_discrete, event_dim

    def __call__(self, *, is_discrete: Any = None, event_dim: Any = None) -> _Dependent:
        known = self.is_discrete if is_discrete is None else is_discrete
        return _Dependent(
            is_discrete=known, event_dim=self.event_dim if event_dim is None else event_dim
        )

    def check(self, value: Tensor) -> Tensor:
        raise ValueError(message("dependent", "is not known before the parameters are"))


class _DependentProperty(_Dependent):
    """A constraint computed of an instance's parameters; the class has this stand-in."""

    def __init__(
        self, function: Callable[[Any], Constraint], is_discrete: Any, event_dim: Any
    ) -> None:
        super().__init__(is_discrete=is_discrete, event_dim=event_dim)
        self.function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else self.function(instance)


def dependent_property(
    function: Callable[[Any], Constraint] | None = None,
    *,
    is_discrete: Any = None,
    event_dim: Any = None,
) -> Callable[[Callable[[Any], Constraint]], _DependentProperty]:
    """Decorator: a constraint computed of an instance's parameters; on the class, `dependent`.

    Args:
        is_discrete, event_dim: what is known of it before the parameters are.

    >>> from numbatorch.distributions import Uniform
    >>> Uniform(0.0, 1.0).support
    Interval(lower_bound=0.0, upper_bound=1.0)
    """

    def made(function: Callable[[Any], Constraint]) -> _DependentProperty:
        return _DependentProperty(function, is_discrete, event_dim)

    bare: Any = made if function is None else made(function)
    return cast(Callable[[Callable[[Any], Constraint]], _DependentProperty], bare)


def is_dependent(constraint: Any) -> bool:
    """Whether a constraint is known only with the parameters of a distribution.

    >>> from numbatorch.distributions import Uniform
    >>> from numbatorch.distributions.constraints import is_dependent, positive
    >>> is_dependent(Uniform.support), is_dependent(positive)
    (True, False)
    """
    return isinstance(constraint, _Dependent)


class _IndependentConstraint(Constraint):
    """Events of another constraint over `reinterpreted_batch_ndims` more dimensions."""

    def __init__(self, base_constraint: Constraint, reinterpreted_batch_ndims: int) -> None:
        self.base_constraint = base_constraint
        self.reinterpreted_batch_ndims = reinterpreted_batch_ndims
        self.is_discrete = base_constraint.is_discrete
        self.event_dim = base_constraint.event_dim + reinterpreted_batch_ndims

    def check(self, value: Tensor) -> Tensor:
        _require_dims("independent", value, self.event_dim)
        found = self.base_constraint.check(value)
        return _last(found, self.reinterpreted_batch_ndims)

    def __repr__(self) -> str:
        return f"IndependentConstraint({self.base_constraint}, {self.reinterpreted_batch_ndims})"


class MixtureSameFamilyConstraint(Constraint):
    """Events that every component of a mixture may give.

    >>> from numbatorch.distributions import constraints
    >>> mixed = constraints.MixtureSameFamilyConstraint(constraints.positive)
    >>> mixed.check(tensor([1.0, -1.0]))
    tensor([ True, False])
    """

    def __init__(self, base_constraint: Constraint) -> None:
        self.base_constraint = base_constraint
        self.is_discrete = base_constraint.is_discrete
        self.event_dim = base_constraint.event_dim

    def check(self, value: Tensor) -> Tensor:
        """Whether each event is in the set of all components, one dimension before the event."""
        _require_dims("MixtureSameFamily", value, self.event_dim)
        return _last(self.base_constraint.check(value.unsqueeze(-1 - self.event_dim)), 1)

    def __repr__(self) -> str:
        return f"MixtureSameFamilyConstraint({self.base_constraint})"


class _Bounds(Constraint):
    """Numbers that compare with each bound as `holds` says."""

    holds: ClassVar[dict[str, Callable[[Any, Any], Any]]]

    def __init__(self, *bounds: Any, **named: Any) -> None:
        given = {**dict(zip(self.holds, bounds, strict=False)), **named}
        if set(given) != set(self.holds) or len(bounds) + len(named) != len(self.holds):
            names = " and ".join(self.holds)
            raise TypeError(message(type(self).__name__.lstrip("_"), f"takes {names}"))
        self.bounds = {name: given[name] for name in self.holds}

    def __getattr__(self, name: str) -> Any:
        if name in type(self).holds and "bounds" in self.__dict__:
            return self.bounds[name]
        raise AttributeError(name)

    def check(self, value: Tensor) -> Tensor:
        found: list[Tensor] = [
            compare(value, self.bounds[name]) for name, compare in self.holds.items()
        ]
        if self.is_discrete and value.is_floating_point():
            found.append(value % 1 == 0)
        return functools.reduce(operator.and_, found)

    def __repr__(self) -> str:
        told = ", ".join(f"{name}={shown(bound)}" for name, bound in self.bounds.items())
        return f"{type(self).__name__.lstrip('_')}({told})"


class _GreaterThan(_Bounds):
    holds: ClassVar = {"lower_bound": operator.gt}


class _GreaterThanEq(_Bounds):
    holds: ClassVar = {"lower_bound": operator.ge}


class _LessThan(_Bounds):
    holds: ClassVar = {"upper_bound": operator.lt}


class _Interval(_Bounds):
    holds: ClassVar = {"lower_bound": operator.ge, "upper_bound": operator.le}


class _HalfOpenInterval(_Bounds):
    holds: ClassVar = {"lower_bound": operator.ge, "upper_bound": operator.lt}


class _IntegerInterval(_Interval):
    is_discrete = True


class _IntegerGreaterThan(_GreaterThanEq):
    is_discrete = True


class _Boolean(Constraint):
    """0 and 1."""

    is_discrete = True

    def check(self, value: Tensor) -> Tensor:
        return (value == 0) | (value == 1)


class _Real(Constraint):
    """Every number but NaN."""

    def check(self, value: Tensor) -> Tensor:
        return value == value


class _OneHot(Constraint):
    """Vectors with one 1 among zeros."""

    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        _require_dims("one_hot", value, 1)
        return _last(boolean.check(value), 1) & (value.sum(-1) == 1)


class _Simplex(Constraint):
    """Vectors of numbers that are not negative and sum to 1."""

    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        _require_dims("simplex", value, 1)
        off = max(SUM, 2 * nt.finfo(value.dtype).eps * math.sqrt(value.shape[-1]))
        return _last(value >= 0, 1) & ((value.sum(-1) - 1).abs() < off)


class _Multinomial(Constraint):
    """Vectors of counts that sum to at most `upper_bound`."""

    is_discrete = True
    event_dim = 1

    def __init__(self, upper_bound: Tensor | int) -> None:
        self.upper_bound = upper_bound

    def check(self, value: Tensor) -> Tensor:
        _require_dims("multinomial", value, 1)
        return _last(nonnegative_integer.check(value), 1) & (value.sum(-1) <= self.upper_bound)

    def __repr__(self) -> str:
        return f"Multinomial(upper_bound={shown(self.upper_bound)})"


class _Square(Constraint):
    """Square matrices."""

    event_dim = 2

    def check(self, value: Tensor) -> Tensor:
        _require_dims("square", value, 2)
        fits = value.shape[-2] == value.shape[-1]
        return nt.full(value.shape[:-2], fits, dtype=nt.bool_, device=value.device)

    def _of_square(self, value: Tensor, check: Callable[[Tensor], Tensor]) -> Tensor:
        """What `check` says of square matrices; no other matrix is in the set."""
        _require_dims(repr(self), value, 2)
        fits = value.shape[-2] == value.shape[-1]
        return check(value) if fits else _Square().check(value)


class _LowerTriangular(_Square):
    """Lower triangular matrices."""

    def check(self, value: Tensor) -> Tensor:
        return self._of_square(value, lambda x: _last(x.tril() == x, 2))


class _LowerCholesky(_Square):
    """Lower triangular matrices with positive diagonals."""

    def check(self, value: Tensor) -> Tensor:
        def positive_below(x: Tensor) -> Tensor:
            return _last(x.tril() == x, 2) & (x.diagonal(0, -2, -1) > 0).all(-1)

        return self._of_square(value, positive_below)


class _CorrCholesky(_LowerCholesky):
    """Those of which each row has length 1."""

    def check(self, value: Tensor) -> Tensor:
        off = nt.finfo(value.dtype).eps * value.shape[-1] * 10
        unit = _last((nt.linalg.vector_norm(value, dim=-1) - 1).abs() <= off, 1)
        return super().check(value) & unit


class _Symmetric(_Square):
    """Symmetric matrices."""

    def check(self, value: Tensor) -> Tensor:
        return self._of_square(value, lambda x: _last(nt.isclose(x, x.mT, atol=SYMMETRY), 2))


class _PositiveSemidefinite(_Symmetric):
    """Symmetric matrices without a negative eigenvalue."""

    def check(self, value: Tensor) -> Tensor:
        found = super().check(value)
        return found & self._of_square(value, lambda x: _last(nt.linalg.eigvalsh(x) >= 0, 1))


class _PositiveDefinite(_Symmetric):
    """Symmetric matrices that have a Cholesky factor."""

    def check(self, value: Tensor) -> Tensor:
        found = super().check(value)
        return found & self._of_square(
            value, lambda x: _last(nt.linalg.cholesky_ex(x).info == 0, 0)
        )


class _Parts(Constraint):
    """A constraint for each part of a dimension, one after the other or stacked."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0) -> None:
        self.cseq, self.dim = list(cseq), dim
        self.is_discrete = any(part.is_discrete for part in self.cseq)
        self.event_dim = max(part.event_dim for part in self.cseq)


class _Cat(_Parts):
    """Parts of `lengths`, as `nt.cat` joins them."""

    def __init__(
        self, cseq: Sequence[Constraint], dim: int = 0, lengths: Sequence[int] | None = None
    ) -> None:
        super().__init__(cseq, dim)
        self.lengths = [1] * len(self.cseq) if lengths is None else list(lengths)

    def check(self, value: Tensor) -> Tensor:
        parts = value.split(self.lengths, self.dim)
        checks = [part.check(x) for part, x in zip(self.cseq, parts, strict=True)]
        return nt.cat(checks, self.dim)


class _Stack(_Parts):
    """Parts as `nt.stack` joins them."""

    def __init__(self, cseq: Sequence[Constraint], dim: int = 0) -> None:
        super().__init__(cseq, dim)
        self.event_dim += self.dim + self.event_dim < 0

    def check(self, value: Tensor) -> Tensor:
        parts = value.unbind(self.dim)
        checks = [part.check(x) for part, x in zip(self.cseq, parts, strict=True)]
        return nt.stack(checks, self.dim)


def _require_dims(name: str, value: Tensor, least: int) -> None:
    if value.ndim < least:
        raise ShapeError(
            message(name, f"needs {least} dimensions", f"value {describe(value.node)}")
        )


def _last(checks: Tensor, count: int) -> Tensor:
    """Whether all over the last `count` dimensions hold."""
    found: Tensor = checks.all(tuple(range(-count, 0))) if count else checks
    return found


def shown(value: Any) -> Any:
    """A tensor of no dimensions as its number: how parameters and bounds are printed.

    >>> from numbatorch.distributions.constraints import shown
    >>> shown(tensor(0.5)), shown(1)
    (0.5, 1)
    """
    return value.item() if isinstance(value, Tensor) and not value.ndim else value


dependent = _Dependent()
independent = _IndependentConstraint
boolean = _Boolean()
one_hot = _OneHot()
nonnegative_integer = _IntegerGreaterThan(0)
positive_integer = _IntegerGreaterThan(1)
integer_interval = _IntegerInterval
real = _Real()
real_vector = independent(real, 1)
positive = _GreaterThan(0.0)
nonnegative = _GreaterThanEq(0.0)
greater_than = _GreaterThan
greater_than_eq = _GreaterThanEq
less_than = _LessThan
multinomial = _Multinomial
unit_interval = _Interval(0.0, 1.0)
interval = _Interval
half_open_interval = _HalfOpenInterval
simplex = _Simplex()
lower_triangular = _LowerTriangular()
lower_cholesky = _LowerCholesky()
corr_cholesky = _CorrCholesky()
square = _Square()
symmetric = _Symmetric()
positive_semidefinite = _PositiveSemidefinite()
positive_definite = _PositiveDefinite()
cat = _Cat
stack = _Stack
