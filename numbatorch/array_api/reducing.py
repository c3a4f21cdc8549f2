"""Sums, extremes and other numbers of many elements."""

from __future__ import annotations

from typing import Any

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.array_api.array import Array, lift, meet
from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message


def _axes(x: Array, axis: Any) -> tuple[int, ...]:
    if axis is None:
        return tuple(range(x.ndim))
    return (axis,) if isinstance(axis, int) else tuple(axis)


def _wide(x: Array, dtype: DType | None) -> DType:
    """The dtype of a sum: narrow integers are added up in 64 bits."""
    if dtype is not None:
        return dtype
    if x.dtype.kind == "u":
        return dt.uint64
    return dt.int64 if x.dtype.kind == "i" else x.dtype


def sum(
    x: Array, /, *, axis: Any = None, dtype: DType | None = None, keepdims: Any = False
) -> Array:
    """The sum over axes, all of them unless given."""
    kind, axes = _wide(x, dtype), _axes(x, axis)
    x = lift(x.to(kind))
    return lift(nt.sum(x, axes, keepdim=keepdims).to(kind) if axes else x.clone())


def prod(
    x: Array, /, *, axis: Any = None, dtype: DType | None = None, keepdims: Any = False
) -> Array:
    """The product over axes, all of them unless given."""
    kind = _wide(x, dtype)
    out: Any = x.to(kind)
    for place in sorted((each % x.ndim for each in _axes(x, axis)), reverse=True):
        out = nt.prod(out, place, keepdim=keepdims).to(kind)
    return lift(out.clone() if out is x else out)


def max(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Array:
    """The largest element over axes, all of them unless given."""
    axes = _axes(x, axis)
    return lift(nt.amax(x, axes, keepdim=keepdims) if axes else x.clone())


def min(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Array:
    """The least element over axes, all of them unless given."""
    axes = _axes(x, axis)
    return lift(nt.amin(x, axes, keepdim=keepdims) if axes else x.clone())


def mean(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Array:
    """The mean over axes, all of them unless given."""
    axes = _axes(x, axis)
    return lift(nt.mean(x, axes, keepdim=keepdims) if axes else x.clone())


def var(x: Array, /, *, axis: Any = None, correction: float = 0.0, keepdims: Any = False) -> Array:
    """The mean square distance from the mean over axes, all of them unless given."""
    axes = _axes(x, axis)
    if not axes:
        return lift(x * 0)
    return lift(nt.var(x, axes, correction=correction, keepdim=keepdims))


def std(x: Array, /, *, axis: Any = None, correction: float = 0.0, keepdims: Any = False) -> Array:
    """The square root of `var`."""
    return lift(nt.sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims)))


def all(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Array:
    """Whether all elements over axes are true, or not zero."""
    axes, truth = _axes(x, axis), x.to(dt.bool_)
    return lift(nt.all(truth, axes, keepdim=keepdims) if axes else truth)


def any(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Array:
    """Whether any element over axes is true, or not zero."""
    axes, truth = _axes(x, axis), x.to(dt.bool_)
    return lift(nt.any(truth, axes, keepdim=keepdims) if axes else truth)


def count_nonzero(x: Array, /, *, axis: Any = None, keepdims: Any = False) -> Array:
    """How many elements over axes are not zero."""
    return sum(lift(x.to(dt.bool_).to(dt.int64)), axis=axis, keepdims=keepdims)


def argmax(x: Array, /, *, axis: int | None = None, keepdims: Any = False) -> Array:
    """Where the largest element is."""
    return _position(nt.argmax, x, axis, keepdims)


def argmin(x: Array, /, *, axis: int | None = None, keepdims: Any = False) -> Array:
    """Where the least element is."""
    return _position(nt.argmin, x, axis, keepdims)


def _position(function: Any, x: Array, axis: int | None, keepdims: Any) -> Array:
    found = function(x) if axis is None else function(x, axis, keepdim=keepdims)
    if axis is None and keepdims:
        found = nt.reshape(found, (1,) * x.ndim)
    return lift(found)


def cumulative_sum(
    x: Array,
    /,
    *,
    axis: int | None = None,
    dtype: DType | None = None,
    include_initial: Any = False,
) -> Array:
    """The sums of the elements so far along an axis, after 0 if `include_initial`."""
    return _scan("cumulative_sum", nt.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Array,
    /,
    *,
    axis: int | None = None,
    dtype: DType | None = None,
    include_initial: Any = False,
) -> Array:
    """The products of the elements so far along an axis, after 1 if `include_initial`."""
    return _scan("cumulative_prod", nt.cumprod, 1, x, axis, dtype, include_initial)


def _scan(
    name: str, function: Any, first: int, x: Array, axis: int | None, dtype: Any, initial: Any
) -> Array:
    if axis is None:
        if x.ndim != 1:
            raise ShapeError(message(name, f"needs an axis, of {x.ndim} dimensions"))
        axis = 0
    kind = _wide(x, dtype)
    out = function(x.to(kind), axis).to(kind)
    if initial:
        shape = [1 if i == axis % x.ndim else n for i, n in enumerate(x.shape)]
        out = nt.cat([nt.full(shape, first, dtype=out.dtype, device=out.device), out], axis)
    return lift(out)


def diff(
    x: Array, /, *, axis: int = -1, n: int = 1, prepend: Any = None, append: Any = None
) -> Array:
    """The differences of neighbours along an axis, `n` times."""
    parts = [part for part in (prepend, x, append) if part is not None]
    whole: Any = nt.cat(meet("diff", *parts), axis) if len(parts) > 1 else x
    for _ in range(n):
        size = whole.shape[axis]
        whole = nt.narrow(whole, axis, 1, size - 1) - nt.narrow(whole, axis, 0, size - 1)
    return lift(whole.clone() if whole is x else whole)
