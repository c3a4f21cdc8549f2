"""What transforms share, and transforms made of others or of shapes alone. Layer 8."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numbatorch as nt
from numbatorch.distributions import constraints
from numbatorch.distributions.constraints import Constraint
from numbatorch.distributions.distribution import sum_last
from numbatorch.errors import ShapeError, message
from numbatorch.shape import Shape
from numbatorch.tensor import Tensor


class Transform:
    """y = f(x), from a `domain` to a `codomain`; called with x it gives y, and `inv` the inverse.

    One of a user's own says `_call`, `_inverse` and `log_abs_det_jacobian`.

    Args:
        cache_size: 1 to remember the last x and its y, so that `inv(y)` is that x itself.

    >>> from numbatorch.distributions import ExpTransform
    >>> ExpTransform().inv(ExpTransform()(tensor([2.0])))
    tensor([2.])
    """

    bijective: Any = False
    domain: Any = constraints.real
    codomain: Any = constraints.real
    sign: Any = 1

    def __init__(self, cache_size: int = 0) -> None:
        if cache_size not in (0, 1):
            raise ValueError(message(type(self).__name__, f"cache_size {cache_size} is not 0 or 1"))
        self._cache_size = cache_size
        self._last: tuple[Any, Any] = (None, None)

    @property
    def event_dim(self) -> int:
        """The dimensions of an event of both sides; refused where they differ."""
        before, after = self.domain.event_dim, self.codomain.event_dim
        if before != after:
            told = f"events have {before} dimensions before and {after} after"
            raise ValueError(message(type(self).__name__, told))
        return int(before)

    @property
    def inv(self) -> Transform:
        """The inverse, whose inverse is this."""
        return _Inverse(self)

    def with_cache(self, cache_size: int = 1) -> Transform:
        """This transform with another cache_size."""
        if self._cache_size == cache_size:
            return self
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        Transform.__init__(new, cache_size)
        return new

    def __call__(self, x: Tensor) -> Tensor:
        last_x, last_y = self._last  # read once: another thread may set it meanwhile
        if self._cache_size and x is last_x:
            found: Tensor = last_y
            return found
        y = self._call(x)
        self._last = (x, y) if self._cache_size else (None, None)
        return y

    def _undo(self, y: Tensor) -> Tensor:
        last_x, last_y = self._last
        if self._cache_size and y is last_y:
            found: Tensor = last_x
            return found
        x = self._inverse(y)
        self._last = (x, y) if self._cache_size else (None, None)
        return x

    def _call(self, x: Tensor) -> Tensor:
        raise NotImplementedError(message(type(self).__name__, "has no _call"))

    def _inverse(self, y: Tensor) -> Tensor:
        raise NotImplementedError(message(type(self).__name__, "has no inverse"))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """log |dy/dx| of y = f(x), summed over the dimensions of an event."""
        raise NotImplementedError(message(type(self).__name__, "has no Jacobian"))

    def forward_shape(self, shape: Shape) -> Shape:
        """The shape of y of an x of `shape`."""
        return tuple(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """The shape of x of a y of `shape`."""
        return tuple(shape)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._same(other)

    def _same(self, other: Any) -> bool:
        """Whether another of this class is the same function: surely where none has parameters."""
        mine, its = ({k: v for k, v in x.__dict__.items() if k[0] != "_"} for x in (self, other))
        return mine.keys() == its.keys() and all(equal(mine[k], its[k]) for k in mine)

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def equal(mine: Any, other: Any) -> bool:
    """Whether two parameters, numbers or tensors, are the same."""
    if isinstance(mine, Tensor) or isinstance(other, Tensor):
        return mine is other or bool(nt.all(nt.as_tensor(mine == other)))
    return bool(mine == other)


class _Inverse(Transform):
    """The inverse of a transform."""

    def __init__(self, forward: Transform) -> None:
        super().__init__()
        self.forward = forward
        self.bijective, self.sign = forward.bijective, forward.sign
        self.domain, self.codomain = forward.codomain, forward.domain

    @property
    def inv(self) -> Transform:
        return self.forward

    def with_cache(self, cache_size: int = 1) -> Transform:
        return self.forward.with_cache(cache_size).inv

    def __call__(self, x: Tensor) -> Tensor:
        return self.forward._undo(x)

    def _undo(self, y: Tensor) -> Tensor:
        return self.forward(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return -self.forward.log_abs_det_jacobian(y, x)

    def forward_shape(self, shape: Shape) -> Shape:
        return self.forward.inverse_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        return self.forward.forward_shape(shape)

    def _same(self, other: Any) -> bool:
        return bool(self.forward == other.forward)

    def __repr__(self) -> str:
        return f"_InverseTransform({self.forward})"


class ComposeTransform(Transform):
    """One transform after another.

    >>> from numbatorch.distributions import AffineTransform, ComposeTransform, ExpTransform
    >>> ComposeTransform([AffineTransform(1.0, 2.0), ExpTransform()])(tensor([0.0])).log()
    tensor([1.])
    """

    def __init__(self, parts: Sequence[Transform], cache_size: int = 0) -> None:
        super().__init__(cache_size)
        self.parts = [x.with_cache(cache_size) for x in parts] if cache_size else list(parts)
        self.bijective = all(part.bijective for part in self.parts)

    @property
    def domain(self) -> Any:
        """What the first part takes, of as many dimensions as any part needs."""
        return _spanned([(x.domain, x.codomain) for x in reversed(self.parts)])

    @property
    def codomain(self) -> Any:
        """What the last part gives, of as many dimensions as any part needs."""
        return _spanned([(x.codomain, x.domain) for x in self.parts])

    @property
    def sign(self) -> Any:
        """The product of the parts' signs."""
        return math.prod(part.sign for part in self.parts)

    @property
    def inv(self) -> Transform:
        """The inverses of the parts, last first."""
        return ComposeTransform([part.inv for part in reversed(self.parts)])

    def with_cache(self, cache_size: int = 1) -> Transform:
        """This transform with parts of another cache_size."""
        return ComposeTransform([part.with_cache(cache_size) for part in self.parts])

    def __call__(self, x: Tensor) -> Tensor:
        for part in self.parts:
            x = part(x)
        return x

    def _undo(self, y: Tensor) -> Tensor:
        return self.inv(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """The sum of those of the parts."""
        if not self.parts:
            return nt.zeros_like(x)
        values = [x]
        for part in self.parts[:-1]:
            values.append(part(values[-1]))
        values.append(y)
        total: Any = 0.0
        dims = self.domain.event_dim
        for number, part in enumerate(self.parts):
            slope = part.log_abs_det_jacobian(values[number], values[number + 1])
            total = total + sum_last(slope, dims - part.domain.event_dim)
            dims += part.codomain.event_dim - part.domain.event_dim
        found: Tensor = total
        return found

    def forward_shape(self, shape: Shape) -> Shape:
        """Through every part."""
        for part in self.parts:
            shape = part.forward_shape(shape)
        return shape

    def inverse_shape(self, shape: Shape) -> Shape:
        """Back through every part."""
        for part in reversed(self.parts):
            shape = part.inverse_shape(shape)
        return shape

    def __repr__(self) -> str:
        told = ",\n    ".join(map(str, self.parts))
        return f"ComposeTransform(\n    {told}\n)"


def _spanned(pairs: Sequence[tuple[Constraint, Constraint]]) -> Constraint:
    """The far end of a chain, as independent events of as many dimensions as all links need.

    Args:
        pairs: of each link the far and the near end, the nearest link first.
    """
    if not pairs:
        return constraints.real
    dims = pairs[0][1].event_dim
    for far, near in pairs:
        dims = max(dims + far.event_dim - near.event_dim, far.event_dim)
    end = pairs[-1][0]
    more = dims - end.event_dim
    return constraints.independent(end, more) if more else end


identity_transform = ComposeTransform([])


class IndependentTransform(Transform):
    """A transform whose events have `reinterpreted_batch_ndims` more dimensions.

    >>> from numbatorch.distributions import ExpTransform, IndependentTransform
    >>> x = tensor([1.0, 2.0])
    >>> IndependentTransform(ExpTransform(), 1).log_abs_det_jacobian(x, x.exp())
    tensor(3.)
    """

    def __init__(
        self, base_transform: Transform, reinterpreted_batch_ndims: int, cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.base_transform = base_transform.with_cache(cache_size)
        self.reinterpreted_batch_ndims = n = reinterpreted_batch_ndims
        self.bijective, self.sign = base_transform.bijective, base_transform.sign
        self.domain = constraints.independent(base_transform.domain, n)
        self.codomain = constraints.independent(base_transform.codomain, n)

    def _call(self, x: Tensor) -> Tensor:
        _require_dims(self, x, self.domain.event_dim)
        return self.base_transform(x)

    def _inverse(self, y: Tensor) -> Tensor:
        _require_dims(self, y, self.codomain.event_dim)
        return self.base_transform._undo(y)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """That of the base, summed."""
        found = self.base_transform.log_abs_det_jacobian(x, y)
        return sum_last(found, self.reinterpreted_batch_ndims)

    def forward_shape(self, shape: Shape) -> Shape:
        """As the base says."""
        return self.base_transform.forward_shape(shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """As the base says."""
        return self.base_transform.inverse_shape(shape)

    def __repr__(self) -> str:
        return f"IndependentTransform({self.base_transform}, {self.reinterpreted_batch_ndims})"


def _require_dims(transform: Transform, x: Tensor, least: int) -> None:
    if x.ndim < least:
        told = f"takes {least} dimensions or more, not {x.ndim}"
        raise ShapeError(message(type(transform).__name__, told))


class ReshapeTransform(Transform):
    """The last dimensions in another shape of as many elements.

    >>> from numbatorch.distributions import ReshapeTransform
    >>> ReshapeTransform((4,), (2, 2))(nt.zeros(3, 4)).shape
    (3, 2, 2)
    """

    bijective = True

    def __init__(
        self, in_shape: Sequence[int], out_shape: Sequence[int], cache_size: int = 0
    ) -> None:
        super().__init__(cache_size)
        self.in_shape, self.out_shape = tuple(in_shape), tuple(out_shape)
        if math.prod(self.in_shape) != math.prod(self.out_shape):
            told = f"{self.in_shape} and {self.out_shape} have different numbers of elements"
            raise ShapeError(message("ReshapeTransform", told))
        self.domain = constraints.independent(constraints.real, len(self.in_shape))
        self.codomain = constraints.independent(constraints.real, len(self.out_shape))

    def _call(self, x: Tensor) -> Tensor:
        return x.reshape(self.forward_shape(x.shape))

    def _inverse(self, y: Tensor) -> Tensor:
        return y.reshape(self.inverse_shape(y.shape))

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """0."""
        return x.new_zeros(x.shape[: x.ndim - len(self.in_shape)])

    def forward_shape(self, shape: Shape) -> Shape:
        """`shape` with out_shape in place of in_shape."""
        return _replaced(tuple(shape), self.in_shape, self.out_shape)

    def inverse_shape(self, shape: Shape) -> Shape:
        """`shape` with in_shape in place of out_shape."""
        return _replaced(tuple(shape), self.out_shape, self.in_shape)


def _replaced(shape: Shape, old: Shape, new: Shape) -> Shape:
    cut = len(shape) - len(old)
    if cut < 0 or shape[cut:] != old:
        raise ShapeError(message("ReshapeTransform", f"{shape} does not end with {old}"))
    return shape[:cut] + new
