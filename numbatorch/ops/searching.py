"""Places in sorted sequences, and counts between evenly spaced bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import compare
from numbatorch.ops import index as indexing
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import as_node, const, describe, result_type
from numbatorch.ops.selecting import flat
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat, narrow, reshape
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
ORDERED = tuple(dtype for dtype in dt.PLAIN if dtype is not dt.bool_)


@structured(dtypes=ORDERED, differentiable=False)
def search_rows(sequence: Array, value: Array, *, right: bool) -> Array:
    """How many elements of a row of `sequence` (R, N) stand before each of `value` (R, M): int64.

    Those that are smaller, or with `right` not larger; found by halving, so nothing is above NaN.
    """
    low = np.zeros(value.shape, np.int64)
    high = np.full(value.shape, sequence.shape[1])
    while (low < high).any():
        middle = (low + high) // 2
        there = np.take_along_axis(sequence, np.minimum(middle, sequence.shape[1] - 1), 1)
        after = there > value if right else there >= value
        open_ = low < high
        low = np.where(open_ & ~after, middle + 1, low)
        high = np.where(open_ & after, middle, high)
    return low


search_rows.peer = "torch.searchsorted"


@search_rows.infer
def _(sequence: Node, value: Node, *, right: bool) -> tuple[Shape, DType]:
    assert len(sequence.shape) == len(value.shape) == 2 and sequence.shape[0] == value.shape[0]
    return value.shape, dt.int64


@search_rows.samples
def _(rng: Draw) -> Any:
    R, N, M = rng.dims((0, 0, 0), (3, 9, 9))
    sequence = np.sort(rng.integers(-20, 20, (R, N)) / 4, axis=1)
    return [sequence, rng.integers(-20, 20, (R, M)) / 4], {"right": bool(rng.random() < 0.5)}


@public("nt")
def searchsorted(
    sorted_sequence: Node,
    input: Node | float,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: Literal["left", "right"] | None = None,
    sorter: Node | None = None,
) -> Node:
    """Where each value would go into a sorted sequence, before those that equal it: int64.

    Args:
        sorted_sequence: (N,), or (..., N) with the leading dimensions of `input`.
        input: values, or a number. Both are compared in the dtype in which they meet.
        out_int32: give int32.
        right, side: behind those that equal it instead.
        sorter: positions that put the sequence in order along the last dimension.
    Raises:
        ShapeError: the sequences and the values have different leading dimensions.

    >>> searchsorted(tensor([1, 3, 5]), tensor([0, 3, 9]))
    tensor([0, 1, 3])
    """
    if side == "left" and right:
        raise ValueError(message("searchsorted", "side is left while right is True"))
    sequence = sorted_sequence
    common = result_type((sequence, input))
    sequence = as_node(sequence, common, sequence.device)
    if isinstance(input, Node):
        input = as_node(input, common, input.device)
    else:
        input = const(input, common, sequence.device)
    _check_search("searchsorted", sequence, input)
    if sorter is not None:
        sequence = _sorted_by(sequence, sorter)
    N, rows = sequence.shape[-1], sequence.shape[:-1]
    if rows and input.shape[:-1] != rows:
        problem = "the leading dimensions differ"
        about = (f"sorted_sequence {describe(sequence)}", f"input {describe(input)}")
        raise ShapeError(message("searchsorted", problem, *about))
    R = numel(rows)
    lines = reshape.apply(sequence, shape=(R, N))
    M = input.shape[-1] if rows else numel(input.shape)
    values = reshape.apply(input, shape=(R, M))
    found = search_rows.apply(lines, values, right=right or side == "right")
    found = as_node(found, dt.int32, found.device) if out_int32 else found
    return reshape.apply(found, shape=input.shape)


@public("nt")
def bucketize(
    input: Node | float, boundaries: Node, *, out_int32: bool = False, right: bool = False
) -> Node:
    """Between which of the ascending boundaries (N,) each value lies: from 0 to N in int64.

    Args:
        out_int32: give int32.
        right: a value that equals a boundary is above it; otherwise it is below.
    Raises:
        ShapeError: the boundaries are no vector.

    >>> bucketize(tensor([0, 3, 9]), tensor([1, 3, 5]))
    tensor([0, 1, 3])
    """
    if len(boundaries.shape) != 1:
        raise ShapeError(message("bucketize", "boundaries must be 1-d", describe(boundaries)))
    found: Node = searchsorted(boundaries, input, out_int32=out_int32, right=right)
    return found


def _check_search(op: str, sequence: Node, value: Node) -> None:
    about = (f"sorted_sequence {describe(sequence)}", f"input {describe(value)}")
    if sequence.dtype not in ORDERED:
        raise DTypeError(message(op, f"has no order for {sequence.dtype.name}", *about))
    if not sequence.shape:
        raise ShapeError(message(op, "the sequence needs a dimension", *about))
    if len(sequence.shape) > 1 and not value.shape:
        raise ShapeError(message(op, "a number goes into a sequence of one dimension", *about))


def _sorted_by(sequence: Node, sorter: Node) -> Node:
    if sorter.shape != sequence.shape:
        about = (f"sorted_sequence {describe(sequence)}", f"sorter {describe(sorter)}")
        raise ShapeError(message("searchsorted", "sorter has another shape", *about))
    if sorter.dtype is not dt.int64:
        raise DTypeError(message("searchsorted", f"sorter is not int64 but {sorter.dtype.name}"))
    return indexing.gather.apply(sequence, sorter)


def _count_by_numpy(x: Array, *, bins: int, min: float, max: float) -> Array:
    held = x[(x >= min) & (x <= max)]
    return np.histogram(held, bins, (min, max))[0].astype(x.dtype)


def _draw_counts(rng: Draw) -> Any:
    (size,) = rng.dims((0,), (40,))
    return [rng.integers(-13, 13, size) + 0.5], {"bins": 8, "min": -8.0, "max": 8.0}


@structured(dtypes=(dt.float64, dt.float32), differentiable=False, reports=True)
def finite_range(extremes: Array) -> Array:
    """The two bounds of a histogram's range, which is told from elements and has to be finite."""
    if not np.isfinite(extremes).all():
        raise IndexError(f"[{extremes[0]}, {extremes[1]}] is no finite range")
    return extremes


@finite_range.infer
def _(extremes: Node) -> tuple[Shape, DType]:
    return extremes.shape, extremes.dtype


@finite_range.samples
def _(rng: Draw) -> Any:
    return [rng.standard_normal(2)], {}


@composed(
    numpy=_count_by_numpy,
    sample=_draw_counts,
    dtypes=(dt.float64, dt.float32),
    differentiable=False,
    hides=True,
)
@public()
def histc(input: Node, bins: int = 100, min: float = 0, max: float = 0) -> Node:
    """How many elements lie in each of `bins` equal parts of [min, max], in the dtype of `input`.

    The last part holds its end; what lies outside, and NaN, is not counted.

    Args:
        min, max: if they are equal, the extremes of the input, or one more on both sides of them
            where those are equal too.
    Raises:
        OutOfRange: such an extreme is infinite or NaN; when the result is realized.

    >>> histc(tensor([0.0, 1.0, 1.0, 2.0]), 2, 0, 2).tolist()
    [1.0, 3.0]
    """
    if input.dtype.kind != "f":
        raise DTypeError(message("histc", f"takes floats, not {describe(input)}"))
    if bins < 1:
        raise OutOfRange(message("histc", f"bins is {bins}, not 1 or more"))
    if not min <= max or not np.isfinite([min, max]).all():
        raise OutOfRange(message("histc", f"[{min}, {max}] is no range"))
    dtype = input.dtype.compute
    x = as_node(flat(input), dtype, input.device)
    low, high = (const(bound, dtype, input.device) for bound in (min, max))
    if min == max and x.shape[0]:
        extremes = [find(way).apply(x, dims=(0,)) for way in ("min", "max")]
        known = finite_range.apply(cat(extremes, 0))
        low, high = (reshape.apply(narrow(known, 0, place, 1), shape=()) for place in (0, 1))
    if min == max:
        alike = compare.eq.apply(low, high)
        low, high = (
            compare.where.apply(alike, bound + by, bound) for bound, by in ((low, -1), (high, 1))
        )
    inside = compare.logical_and.apply(compare.ge.apply(x, low), compare.le.apply(x, high))
    place = as_node((x - low) * bins / (high - low), dt.int64, input.device)
    place = compare.where.apply(inside, find("minimum").apply(place, bins - 1), -1)
    counted = indexing.count_numbers.apply(place, size=bins)
    return as_node(counted, input.dtype, input.device)
