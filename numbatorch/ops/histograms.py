"""Histograms: how many points, or how much weight, lie in each of the bins of every dimension."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import compare, create
from numbatorch.ops import index as indexing
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.searching import search_rows
from numbatorch.ops.selecting import flat
from numbatorch.ops.statistics import sum
from numbatorch.ops.surface import public
from numbatorch.ops.view import element, narrow, reshape
from numbatorch.shape import numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Bounds = Sequence[float] | None


class HistogramResult(NamedTuple):
    """What lies in each of B bins, and their B + 1 bounds."""

    hist: Node
    bin_edges: Node


class HistogramddResult(NamedTuple):
    """What lies in each bin (B1, B2, ...), and the bounds along each dimension."""

    hist: Node
    bin_edges: tuple[Node, ...]


def _reference(x: Array, weight: Array, *, bins: int, range: Any, density: bool) -> Any:
    hist, edges = np.histogram(x, bins, range, density, weight)
    return hist.astype(x.dtype), edges.astype(x.dtype)


def _sample(rng: Draw) -> Any:
    (size,) = rng.dims((1,), (40,))
    attrs = {"bins": 8, "range": (-16.0, 16.0), "density": bool(rng.random() < 0.5)}
    return [rng.integers(-13, 13, size) + 0.5, rng.uniform(0.5, 2.0, size)], attrs


def _weighed(function: Any, operands: Any, attrs: Any) -> Any:
    return function(operands[0], weight=operands[1], **attrs)


@composed(
    numpy=_reference, sample=_sample, dtypes=(dt.float64, dt.float32), hides=True, call=_weighed
)
@public()
def histogram(
    input: Node,
    bins: int | Node = 100,
    *,
    range: Sequence[float] | None = None,
    weight: Node | None = None,
    density: bool = False,
) -> HistogramResult:
    """How many elements lie in each bin [a, b), the last of which holds b too, and the bounds.

    What lies outside, and NaN, is not counted. The result changes smoothly with `weight` alone.

    Args:
        input: floats of any shape.
        bins: how many of one size, or their bounds (B + 1,), ascending, in the dtype of the input.
        range: the least and the largest bound, the extremes of the input unless given; where they
            are equal, 0.5 less and more.
        weight: in the shape of the input: what an element counts instead of 1.
        density: divide by the sum and the sizes of the bins, so that the integral is 1.

    >>> hist, bounds = histogram(tensor([1.0, 2.0, 1.0]), 4, range=(0.0, 3.0))
    >>> hist.tolist(), bounds.tolist()
    ([0.0, 2.0, 1.0, 0.0], [0.0, 0.75, 1.5, 2.25, 3.0])
    """
    _check("histogram", input, input.shape, weight)
    x = as_node(flat(input), input.dtype.compute, input.device)
    bounds = _bounds("histogram", input, x, bins, range)
    found = _counted(input, [x], [bounds], weight, density)
    return HistogramResult(found, as_node(bounds, input.dtype, input.device))


@public("nt")
def histogramdd(
    input: Node,
    bins: int | Sequence[int] | Sequence[Node],
    *,
    range: Sequence[float] | None = None,
    weight: Node | None = None,
    density: bool = False,
) -> HistogramddResult:
    """`histogram` of points in D dimensions, whose bins are boxes.

    Args:
        input: (..., D), floats.
        bins: how many along every dimension, along each, or the bounds along each.
        range: the least and the largest bound along each dimension, one after another.
        weight: (...), what each point counts.
    Returns:
        hist (B1, ..., BD), and the bounds along each dimension.
    Raises:
        ShapeError: `input` is no matrix, or bins and ranges are not those of D dimensions.

    >>> histogramdd(tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 0.9]]), 2).hist.tolist()
    [[1.0, 0.0], [0.0, 2.0]]
    """
    shown = f"input {describe(input)}"
    if len(input.shape) < 2:
        raise ShapeError(message("histogramdd", "needs points, which are rows of a matrix", shown))
    _check("histogramdd", input, input.shape[:-1], weight)
    D = input.shape[-1]
    each: Sequence[int | Node] = [bins] * D if isinstance(bins, int) else bins
    if len(each) != D:
        raise ShapeError(
            message("histogramdd", f"bins are given for {len(each)} dimensions", shown)
        )
    if range is not None and len(range) != 2 * D:
        raise ShapeError(
            message("histogramdd", f"range has {len(range)} numbers, not {2 * D}", shown)
        )
    wide = as_node(input, input.dtype.compute, input.device)
    points = reshape.apply(wide, shape=(numel(input.shape[:-1]), D))
    columns = [element(points, 1, d) for d in _count(D)]
    ranges = [None if range is None else range[2 * d : 2 * d + 2] for d in _count(D)]
    found = [
        _bounds("histogramdd", input, *given) for given in zip(columns, each, ranges, strict=True)
    ]
    hist = _counted(input, columns, found, weight, density)
    bounds = tuple(as_node(edges, input.dtype, input.device) for edges in found)
    return HistogramddResult(hist, bounds)


_count = range  # which is an argument of both


def _check(operator: str, input: Node, points: tuple[int, ...], weight: Node | None) -> None:
    if input.dtype.kind != "f":
        raise DTypeError(message(operator, f"takes floats, not {describe(input)}"))
    if weight is not None and weight.dtype is not input.dtype:
        rows = f"input {describe(input)}", f"weight {describe(weight)}"
        raise DTypeError(message(operator, "weight has another dtype", *rows))
    if weight is not None and weight.shape != points:
        rows = f"input {describe(input)}", f"weight {describe(weight)}"
        raise ShapeError(message(operator, f"weight must be of shape {points}", *rows))


def _bounds(operator: str, input: Node, x: Node, bins: int | Node, within: Bounds) -> Node:
    """The bounds of the bins for points x (P,), in their dtype."""
    if isinstance(bins, Node):
        if bins.dtype is not input.dtype or len(bins.shape) != 1 or bins.shape[0] < 2:
            rows = f"input {describe(input)}", f"bins {describe(bins)}"
            problem = "bounds of bins must be two or more, in the dtype of the input"
            raise ShapeError(message(operator, problem, *rows))
        if within is not None:
            raise TypeError(message(operator, "bounds and a range are given"))
        return as_node(bins, x.dtype, x.device)
    if bins < 1:
        raise OutOfRange(message(operator, f"bins is {bins}, not 1 or more"))
    if within is None and x.shape[0]:
        return _between(x, bins)
    low, high = (0.0, 1.0) if within is None else within
    if not math.isfinite(low) or not math.isfinite(high) or low > high:
        raise OutOfRange(message(operator, f"[{low}, {high}] is no range"))
    if low == high:
        low, high = low - 0.5, high + 0.5
    found = np.linspace(low, high, bins + 1).astype(x.dtype.numpy)
    return create.leaf(found, x.dtype, x.device)


def _between(x: Node, bins: int) -> Node:
    """Bounds from the least to the largest element, counted from the nearer one."""
    low, high = (reshape.apply(find(way).apply(x, dims=(0,)), shape=()) for way in ("min", "max"))
    alike = compare.eq.apply(low, high)
    low, high = (
        compare.where.apply(alike, bound + by, bound) for bound, by in ((low, -0.5), (high, 0.5))
    )
    place = as_node(create.iota(bins + 1, x.device), x.dtype, x.device)
    step = (high - low) / bins
    below = compare.lt.apply(place * 2, bins)
    return compare.where.apply(below, low + place * step, high - (bins - place) * step)


def _counted(
    input: Node, columns: list[Node], bounds: list[Node], weight: Node | None, density: bool
) -> Node:
    """The counts or weights in the bins, in the dtype of the input."""
    sizes = [edges.shape[0] - 1 for edges in bounds]
    dtype, device = input.dtype.compute, input.device
    place: Any = const(0, dt.int64, device)
    inside: Any = const(True, dt.bool_, device)
    for x, edges, size in zip(columns, bounds, sizes, strict=True):
        row, points = (reshape.apply(node, shape=(1, *node.shape)) for node in (edges, x))
        found = element(search_rows.apply(row, points, right=True), 0, 0) - 1
        found = find("minimum").apply(find("maximum").apply(found, 0), size - 1)
        first, last = element(edges, 0, 0), element(edges, 0, size)
        held = compare.logical_and.apply(compare.ge.apply(x, first), compare.le.apply(x, last))
        place, inside = place * size + found, compare.logical_and.apply(inside, held)
    P = columns[0].shape[0] if columns else numel(input.shape[:-1])
    place, inside = expanded(place, (P,)), expanded(inside, (P,))
    kind = dt.int64 if weight is None else dtype
    amount = as_node(inside, kind, device)
    if weight is not None:
        amount = compare.where.apply(inside, as_node(flat(weight), kind, device), 0)
    counts = const(0, kind, device, (math.prod(sizes),))
    counts = indexing.index_add.apply(counts, compare.where.apply(inside, place, 0), amount)
    hist = reshape.apply(as_node(counts, dtype, device), shape=tuple(sizes))
    if density:
        hist = hist / sum(hist)
        for d, edges in enumerate(bounds):
            width = narrow(edges, 0, 1, sizes[d]) - narrow(edges, 0, 0, sizes[d])
            along = tuple(size if i == d else 1 for i, size in enumerate(sizes))
            hist = hist / expanded(reshape.apply(width, shape=along), hist.shape)
    return as_node(hist, input.dtype, device)
