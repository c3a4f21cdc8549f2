"""Distinct elements and how often each occurs, whose number depends on values. See dynamic.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import as_node, const, describe
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat, narrow, permute, reshape
from numbatorch.shape import Shape, normalize_dim, numel
from numbatorch.tensor.base import host_array, realize_nodes
from numbatorch.tensor.dynamic import counted, refuse_traced

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
MANY = 16_384  # integers that are counted rather than sorted,
RANGE = 65_536  # if they are among so many numbers


@public()
def unique(
    input: Node,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The distinct elements in ascending order; each NaN is distinct from all others.

    Args:
        sorted: the order is ascending in any case.
        return_inverse: give for each element of the input the position of its like, too.
        return_counts: give how often each occurs, too.
        dim: look for distinct slices along this dimension, ordered by their elements.
    Returns:
        (n,), or slices along `dim`; with what was asked for a tuple, inverse before counts, both
        int64. The gradient goes to the first of elements alike; PyTorch has none.

    >>> from numbatorch import tensor
    >>> [part.tolist() for part in unique(tensor([3, 1, 3]), return_counts=True)]
    [[1, 3], [1, 2]]
    """
    rows, order = _rows("unique", input, dim)
    size = rows.shape[0]
    if dim is not None:
        finding: Any = find("unique_rows")
        found, inverse, counts, count = finding.parts(rows)
        found, counts = counted("unique", count, found, counts)
    elif bounds := _bounds(rows):
        found, counts, inverse = _by_counting(rows, *bounds, return_inverse)
    else:
        sorting: Any = find("sort")
        values, *places = sorting.parts(rows, descending=False)
        if not return_inverse:
            places.clear()  # without them sorting is quicker
        found, counts, inverse = _runs("unique", values, return_counts)
        if places:
            zeros = const(0, dt.int64, input.device, (size,))
            inverse = find("scatter_set").apply(zeros, places[0], inverse)
    found = _turned_back(found, input.shape, order)
    return _asked(input, dim, found, return_inverse and inverse, return_counts and counts)


def _draw_runs(rng: Draw) -> Any:
    (size,) = rng.dims((0,), (12,))
    return [rng.integers(0, 3, size) + 0.5], {"return_inverse": True, "return_counts": True}


def _runs_of(x: Array, *, return_inverse: bool, return_counts: bool) -> tuple[Array, ...]:
    ends = np.flatnonzero(x[1:] != x[:-1]) + 1
    parts = np.split(np.arange(x.size), ends) if x.size else []
    counts = np.array([len(part) for part in parts], np.int64)
    begins = np.array([part[0] for part in parts], np.int64)
    return x[begins], np.repeat(np.arange(len(parts)), counts), counts


@composed(numpy=_runs_of, sample=_draw_runs, dtypes=dt.PLAIN, differentiable=False, reads=True)
@public()
def unique_consecutive(
    input: Node,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Any:
    """The elements without those that equal the one before; NaN equals nothing.

    Args:
        return_inverse: give for each element of the input the position of its like, too.
        return_counts: give how many stood in a row, too.
        dim: compare slices along this dimension instead of elements.
    Returns:
        (n,), or slices along `dim`; with what was asked for a tuple, inverse before counts, both
        int64. The gradient goes to the first of elements alike; PyTorch has none.

    >>> from numbatorch import tensor
    >>> unique_consecutive(tensor([1, 1, 3, 1])).tolist()
    [1, 3, 1]
    """
    rows, order = _rows("unique_consecutive", input, dim)
    found, counts, number = _runs("unique_consecutive", rows, return_counts)
    found = _turned_back(found, input.shape, order)
    return _asked(input, dim, found, return_inverse and number, return_counts and counts)


def _draw_weights(rng: Draw) -> Any:
    size, most = rng.dims((0, 1), (9, 6))
    attrs = {"minlength": int(rng.integers(8))}
    return [rng.indices(most, (size,)), rng.standard_normal(size)], attrs


@composed(
    numpy=lambda x, weights, *, minlength: np.bincount(x.astype(np.int64), weights, minlength),
    sample=_draw_weights,
    dtypes=dt.FLOATS,
    reads=True,
)
@public()
def bincount(input: Node, weights: Node | None = None, minlength: int = 0) -> Node:
    """How often each number from 0 on occurs, or the sum of its weights.

    Args:
        input: (N,) integers, none of them negative.
        weights: (N,); float32 stays, others are summed in float64, where the device has it.
        minlength: the result has so many elements at least.
    Raises:
        DTypeError: `input` is no vector of integers.
        OutOfRange: a number is negative.
        ShapeError: the weights are not as many.

    >>> from numbatorch import tensor
    >>> bincount(tensor([1, 3, 1])).tolist()
    [0, 2, 0, 1]
    """
    if input.dtype.kind not in "iu" or len(input.shape) != 1:
        problem = "takes integers in one dimension"
        raise DTypeError(message("bincount", problem, f"input {describe(input)}"))
    if minlength < 0:
        raise OutOfRange(message("bincount", f"minlength is {minlength}, not 0 or more"))
    if weights is not None and weights.shape != input.shape:
        about = (f"input {describe(input)}", f"weights {describe(weights)}")
        raise ShapeError(message("bincount", "weights must be as many as numbers", *about))
    refuse_traced("bincount", input)
    low, high = -1, -1
    if input.shape[0]:
        low, high = _extremes(input)
        if low < 0:
            raise OutOfRange(message("bincount", f"{low} is negative", describe(input)))
    size = max(high + 1, minlength)
    if weights is None:
        return find("count_numbers").apply(input, size=size)
    wide = dt.float64 if input.device.has_float64 else dt.float32
    dtype = dt.float32 if weights.dtype is dt.float32 else wide
    zeros = const(0, dtype, input.device, (size,))
    return find("index_add").apply(zeros, input, as_node(weights, dtype, input.device))


def _rows(op: str, input: Node, dim: int | None) -> tuple[Node, Shape]:
    """The elements (R,), or the slices along a dimension as rows (R, C), and that order of dims."""
    if dim is None:
        return reshape.apply(input, shape=(numel(input.shape),)), ()
    axis = normalize_dim(op, dim, len(input.shape))
    order = (axis, *(i for i in range(len(input.shape)) if i != axis))
    turned = permute.apply(input, dims=order)
    return reshape.apply(turned, shape=(turned.shape[0], numel(turned.shape[1:]))), order


def _extremes(x: Node) -> tuple[int, int]:
    """The least and the largest of integers (N,), which are read."""
    aminmax: Any = find("aminmax")
    ends = aminmax.parts(x, dims=(0,))
    realize_nodes([x, *ends])  # at once, for what makes them may take long
    low, high = (int(host_array(end)[0]) for end in ends)
    return low, high


def _bounds(x: Node) -> tuple[int, int] | None:
    """The extremes of many integers (N,), if so many numbers as these could all be counted."""
    if x.dtype.kind not in "iu" or x.shape[0] < MANY:
        return None
    refuse_traced("unique", x)
    low, high = _extremes(x)
    return (low, high) if high - low < RANGE and high < 2**63 else None


def _by_counting(x: Node, low: int, high: int, ranking: bool) -> tuple[Node, Node, Node]:
    """The distinct ones of integers (N,) within bounds, how often each occurs, which each is."""
    number = as_node(x, dt.int64, x.device) - low
    counts = find("count_numbers").apply(number, size=high - low + 1)
    occurs = find("ne").apply(counts, 0)
    compact: Any = find("compact")
    places, count = compact.parts(occurs)
    realize_nodes([counts, places, count, *([number] if ranking else [])])
    (places,) = counted("unique", count, places)
    rank = find("cumsum").apply(as_node(occurs, dt.int64, x.device), dims=(0,)) - 1
    found = as_node(places + low, x.dtype, x.device)
    return found, find("take").apply(counts, places), find("take").apply(rank, number)


def _runs(op: str, rows: Node, counting: bool) -> tuple[Node, Node, Node]:
    """The first of each run of equal rows, the lengths of runs, and the run that a row is in."""
    refuse_traced(op, rows)
    size = rows.shape[0]
    where = rows.device
    if size == 0:
        return rows, const(0, dt.int64, where, (0,)), const(0, dt.int64, where, (0,))
    before, after = (narrow(rows, 0, start, size - 1) for start in (0, 1))
    differs = find("ne").apply(after, before)
    if len(rows.shape) == 2:
        differs = find("any").apply(differs, dims=(1,))
        differs = reshape.apply(differs, shape=(size - 1,))
    begins = cat([const(True, dt.bool_, where, (1,)), differs])
    if len(rows.shape) == 2 or rows.dtype.is_complex:
        compact: Any = find("compact")
        places, count = compact.parts(begins)
        realize_nodes([rows, places, count])  # at once, for what makes the rows may take long
        (places,) = counted(op, count, places)
        found = find("take").apply(rows, places)
    else:
        starting: Any = find("run_starts")
        found, places, count = starting.parts(rows)
        realize_nodes([rows, found, count, *([places] if counting else [])])
        found, places = counted(op, count, found, places)
    ends = cat([narrow(places, 0, 1, places.shape[0] - 1), const(size, dt.int64, where, (1,))])
    number = find("cumsum").apply(as_node(begins, dt.int64, where), dims=(0,)) - 1
    return found, ends - places, number


def _turned_back(found: Node, shape: Shape, order: Shape) -> Node:
    if not order:
        return found
    kept = tuple(shape[i] for i in order[1:])
    found = reshape.apply(found, shape=(found.shape[0], *kept))
    return permute.apply(found, dims=tuple(order.index(i) for i in range(len(order))))


def _asked(input: Node, dim: int | None, found: Node, inverse: Any, counts: Any) -> Any:
    """The distinct elements, or a tuple with what was asked for."""
    asked = [found]
    if isinstance(inverse, Node):
        asked.append(reshape.apply(inverse, shape=input.shape) if dim is None else inverse)
    if isinstance(counts, Node):
        asked.append(counts)
    return found if len(asked) == 1 else tuple(asked)
