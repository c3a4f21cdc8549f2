"""Shapes, indices, sorting and sets of arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.array_api.array import Array, lift, lifted, meet
from numbatorch.errors import ShapeError, message
from numbatorch.shape import normalize_dims


def broadcast_arrays(*arrays: Array) -> tuple[Array, ...]:
    """The arrays in the shape that they meet in."""
    return lifted(nt.broadcast_tensors(*arrays)) if arrays else ()


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that shapes meet in."""
    return tuple(nt.broadcast_shapes(*shapes)) if shapes else ()


def broadcast_to(x: Array, /, shape: tuple[int, ...]) -> Array:
    """x in another shape, its elements repeated."""
    return lift(nt.broadcast_to(x, tuple(shape)))


def concat(arrays: Any, /, *, axis: int | None = 0) -> Array:
    """Arrays one after the other along an axis; flat ones if it is None."""
    parts = meet("concat", *arrays)
    if axis is None:
        parts, axis = [nt.reshape(x, (-1,)) for x in parts], 0
    return lift(nt.cat(parts, axis))


def stack(arrays: Any, /, *, axis: int = 0) -> Array:
    """Arrays along a new axis."""
    return lift(nt.stack(meet("stack", *arrays), axis))


def unstack(x: Array, /, *, axis: int = 0) -> tuple[Array, ...]:
    """The parts of an array along an axis."""
    return lifted(nt.unbind(x, axis))


def expand_dims(x: Array, /, axis: Any = 0) -> Array:
    """x with a new axis of size 1, or several.

    Args:
        axis: where the result has them, one number or a tuple.
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    rank = x.ndim + len(axes)
    out: Any = x
    for place in sorted(normalize_dims("expand_dims", axes, rank)):
        out = nt.unsqueeze(out, place)
    return lift(out.clone() if out is x else out)


def squeeze(x: Array, /, axis: Any) -> Array:
    """x without axes of size 1.

    Raises:
        ShapeError: another axis is named.
    """
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for each in axes:
        if not -x.ndim <= each < x.ndim or x.shape[each] != 1:
            raise ShapeError(
                message("squeeze", f"axis {each} of {x.shape} has another size than 1")
            )
    gone = {each % x.ndim for each in axes}
    return lift(nt.reshape(x, tuple(n for i, n in enumerate(x.shape) if i not in gone)))


def flip(x: Array, /, *, axis: Any = None) -> Array:
    """x in reverse order along axes, all of them unless given."""
    axes = tuple(range(x.ndim)) if axis is None else axis
    axes = (axes,) if isinstance(axes, int) else tuple(axes)
    return lift(nt.flip(x, axes) if axes else x.clone())


def moveaxis(x: Array, source: Any, destination: Any, /) -> Array:
    """x with axes moved to other places."""
    return lift(nt.moveaxis(x, source, destination))


def permute_dims(x: Array, /, axes: tuple[int, ...]) -> Array:
    """x with its axes in another order."""
    return lift(nt.permute(x, tuple(axes)))


def matrix_transpose(x: Array, /) -> Array:
    """The last two axes exchanged."""
    return x.mT


def repeat(x: Array, repeats: Any, /, *, axis: int | None = None) -> Array:
    """Each element, or part along an axis, several times."""
    if isinstance(repeats, nt.Tensor):
        size = x.numel() if axis is None else x.shape[axis]
        repeats = repeats.to(dt.int64)
        if repeats.numel() == 1:
            repeats = nt.broadcast_to(nt.reshape(repeats, (1,)), (size,))
    return lift(nt.repeat_interleave(x, repeats, axis))


def reshape(x: Array, /, shape: Any, *, copy: Any = None) -> Array:
    """The elements under another shape; a copy if `copy`."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    made = nt.reshape(x, shape)
    return lift(made.clone() if copy else made)


def roll(x: Array, /, shift: Any, *, axis: Any = None) -> Array:
    """Elements moved along axes, those beyond an end to the other."""
    if axis is not None and isinstance(axis, tuple) and isinstance(shift, int):
        shift = (shift,) * len(axis)
    return lift(nt.roll(x, shift) if axis is None else nt.roll(x, shift, axis))


def tile(x: Array, repetitions: tuple[int, ...], /) -> Array:
    """The whole array several times along each axis."""
    return lift(nt.tile(x, tuple(repetitions)))


def take(x: Array, indices: Array, /, *, axis: int | None = None) -> Array:
    """The parts at `indices` along an axis."""
    place = 0 if axis is None else axis % x.ndim
    key: tuple[Any, ...] = (*(slice(None) for _ in range(place)), indices)
    return lift(nt.Tensor.__getitem__(x, key))


def take_along_axis(x: Array, indices: Array, /, *, axis: int = -1) -> Array:
    """The elements at `indices` of each row along an axis."""
    return lift(nt.take_along_dim(x, indices.to(dt.int64), axis))


def nonzero(x: Array, /) -> tuple[Array, ...]:
    """The positions of elements that are not zero, an array for each axis."""
    if not x.ndim:
        raise ShapeError(message("nonzero", "an array without axes has no positions"))
    return lifted(nt.nonzero(x, as_tuple=True))


def where(condition: Array, x1: Any, x2: Any, /) -> Array:
    """x1 where the condition holds, x2 elsewhere."""
    lhs, rhs = meet("where", x1, x2)
    return lift(nt.where(condition, lhs, rhs))


def searchsorted(
    x1: Array, x2: Any, /, *, side: Any = "left", sorter: Array | None = None
) -> Array:
    """Where the elements of x2 go into x1, so that it stays sorted."""
    x1 = x1 if sorter is None else take(x1, sorter)
    lhs, rhs = meet("searchsorted", x1, x2)
    return lift(nt.searchsorted(lhs, rhs, side=side))


def sort(x: Array, /, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Array:
    """The elements in order along an axis."""
    if not x.ndim:
        return lift(x.clone())
    return lift(nt.sort(x, axis, descending=descending, stable=stable)[0])


def argsort(x: Array, /, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Array:
    """The positions of the elements in order along an axis."""
    if not x.ndim:
        return lift(nt.zeros((), dtype=dt.int64, device=x.device))
    return lift(nt.argsort(x, axis, descending=descending, stable=stable))


class UniqueAll(NamedTuple):
    """Different values, where each is first, which each element is, and how often each is."""

    values: Array
    indices: Array
    inverse_indices: Array
    counts: Array


class UniqueCounts(NamedTuple):
    """Different values, and how often each is."""

    values: Array
    counts: Array


class UniqueInverse(NamedTuple):
    """Different values, and which each element is."""

    values: Array
    inverse_indices: Array


def _unique(x: Array) -> tuple[Any, Any, Any]:
    """Values, inverse and counts, where each NaN is another value; complex numbers are pairs."""
    flat = nt.reshape(x, (-1,))
    paired = x.dtype.is_complex
    values, inverse, counts = nt.unique(
        nt.view_as_real(flat) if paired else flat,
        return_inverse=True,
        return_counts=True,
        dim=0 if paired else None,
    )
    values = nt.view_as_complex(values) if paired else values
    return values, nt.reshape(inverse, x.shape), counts


def unique_all(x: Array, /) -> UniqueAll:
    """Different values, where each is first, which each element is, and how often each is."""
    values, inverse, counts = _unique(x)
    flat = nt.reshape(inverse, (-1,))
    order = nt.argsort(flat, stable=True)
    starts = nt.cumsum(counts, 0) - counts
    return UniqueAll(*lifted((values, order[starts], inverse, counts)))


def unique_counts(x: Array, /) -> UniqueCounts:
    """Different values, and how often each is."""
    values, _, counts = _unique(x)
    return UniqueCounts(*lifted((values, counts)))


def unique_inverse(x: Array, /) -> UniqueInverse:
    """Different values, and which each element is."""
    values, inverse, _ = _unique(x)
    return UniqueInverse(*lifted((values, inverse)))


def unique_values(x: Array, /) -> Array:
    """Different values."""
    return lift(_unique(x)[0])


def isin(x1: Any, x2: Any, /, *, invert: Any = False) -> Array:
    """Whether each element of x1 is among those of x2."""
    lhs, rhs = meet("isin", x1, x2)
    return lift(nt.isin(lhs, rhs, invert=invert))
