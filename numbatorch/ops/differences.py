"""Public functions over neighbours along a dimension: differences, gradients, integrals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import view
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import as_node, const, describe, result_type
from numbatorch.ops.scan import cumsum
from numbatorch.ops.statistics import sum
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, normalize_dim, normalize_dims

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Number = int | float


def _axis(operator: str, x: Node, dim: int) -> int:
    if not x.shape:
        raise ShapeError(message(operator, f"needs a dimension, not {describe(x)}"))
    return normalize_dim(operator, dim, len(x.shape))


def _pairs(x: Node, axis: int) -> tuple[Node, Node]:
    """All elements but the last along a dimension, and all but the first."""
    size = max(x.shape[axis] - 1, 0)
    return view.narrow(x, axis, 0, size), view.narrow(x, axis, min(1, x.shape[axis]), size)


def _sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    return [rng.standard_normal(rng.dims((0, 1), (5, 9), most=300))], {"dim": int(rng.integers(2))}


def _diff_sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    operands, attrs = _sample(rng)
    return operands, {**attrs, "n": int(rng.integers(0, 3))}


def _differences(x: Array, *, n: int, dim: int) -> Array:
    return np.diff(x, n=n, axis=dim) if x.dtype.kind != "b" or n else x


@composed(numpy=_differences, sample=_diff_sample, dtypes=dt.PLAIN + dt.COMPLEX)
@public(remembered=True)
def diff(
    input: Node,
    n: int = 1,
    dim: int = -1,
    prepend: Node | None = None,
    append: Node | None = None,
) -> Node:
    """x[i + 1] - x[i] along `dim`, n times over; of bool whether neighbours differ.

    Args:
        n: 0 gives the input, whatever stands beside it.
        prepend, append: what stands before and after the input along `dim`.
    Raises:
        OutOfRange: n is negative.

    >>> diff(tensor([1, 4, 9, 16]), n=2)
    tensor([2, 2])
    """
    axis = _axis("diff", input, dim)
    if n < 0:
        raise OutOfRange(message("diff", f"n is {n}, below 0"))
    given = [x for x in (prepend, input, append) if x is not None]
    for x in given:
        if len(x.shape) != len(input.shape):
            problem = "what stands before or after has not the rank of the input"
            rows = f"input {describe(input)}", f"beside it {describe(x)}"
            raise ShapeError(message("diff", problem, *rows))
    if n == 0:
        return input
    common = result_type(given)
    parts = [as_node(x, common.compute, input.device) for x in given]
    out = view.cat(parts, axis) if len(parts) > 1 else parts[0]
    for _ in range(min(n, out.shape[axis])):
        before, after = _pairs(out, axis)
        out = find("ne").apply(after, before) if out.dtype.kind == "b" else after - before
    return as_node(out, common, input.device)


def _places(operator: str, y: Node, x: Node | None, dx: Number | None, axis: int) -> Node | None:
    """x so that it broadcasts with y: along the dimension if it is 1-d."""
    if y.dtype.kind == "b" or (x is not None and x.dtype.kind == "b"):
        raise DTypeError(message(operator, "has no meaning for bool"))
    if x is not None and dx is not None:
        raise TypeError(message(operator, "takes either x or dx"))
    if x is None:
        return None
    if len(x.shape) == 1:
        if x.shape[0] != y.shape[axis]:
            problem = "there must be one x for each y along the dimension"
            shown = f"y {describe(y)}, dim {axis}", f"x {describe(x)}"
            raise ShapeError(message(operator, problem, *shown))
        shape = tuple(n if i == axis else 1 for i, n in enumerate(y.shape))
    else:
        shape = (1,) * (len(y.shape) - len(x.shape)) + x.shape
    return view.reshape.apply(x, shape=shape)


def _areas(y: Node, x: Node | None, dx: Number | None, axis: int) -> Node:
    """Of the trapezoids between neighbours: the mean of both heights times the width."""
    left, right = _pairs(as_node(y, y.dtype.compute, y.device), axis)
    heights = left + right
    if x is None:
        return heights * (1.0 if dx is None else float(dx)) / 2
    before, after = _pairs(x, axis + len(x.shape) - len(y.shape))
    return heights * (after - before) / 2


@composed(
    numpy=lambda y, *, dim: np.trapezoid(y, axis=dim),
    sample=_sample,
    dtypes=dt.NUMBERS + dt.COMPLEX,
)
@public("nt", remembered=True)
def trapezoid(y: Node, x: Node | None = None, *, dx: Number | None = None, dim: int = -1) -> Node:
    """Integral along `dim` by the trapezoidal rule: the sum of (x[i+1] - x[i]) (y[i+1] + y[i]) / 2.

    Args:
        x: where y was sampled: 1-d along `dim`, or of a shape that broadcasts with y's.
        dx: distance of samples that are evenly spaced, 1 unless given.

    >>> trapezoid(tensor([1.0, 2.0, 3.0]), tensor([0.0, 1.0, 3.0])).item()
    6.5
    """
    axis = _axis("trapezoid", y, dim)
    at = _places("trapezoid", y, x, dx, axis)
    if not y.shape[axis]:
        shape = tuple(n for i, n in enumerate(y.shape) if i != axis)
        return const(0, y.dtype, y.device, shape)
    areas = _areas(y, at, dx, axis)
    return as_node(sum(areas, axis - len(y.shape)), _narrow(areas, y, at), y.device)


def _narrow(areas: Node, y: Node, x: Node | None) -> dt.DType:
    """The dtype of sums of areas, which half types have in float32."""
    narrow = result_type([y] if x is None else [y, x])
    return narrow if narrow.kind == "f" else areas.dtype


@public("nt", remembered=True)
def trapz(y: Node, x: Node | None = None, *, dx: Number | None = None, dim: int = -1) -> Node:
    """As `trapezoid`.

    >>> trapz(tensor([1.0, 3.0]), dx=2.0)
    tensor(4.)
    """
    found: Node = trapezoid(y, x, dx=dx, dim=dim)
    return found


def _running_areas(y: Array, *, dim: int) -> Array:
    from scipy.integrate import cumulative_trapezoid

    return np.asarray(cumulative_trapezoid(y, axis=dim)) if y.shape[dim] else y


@composed(numpy=_running_areas, sample=_sample, dtypes=dt.FLOATS + dt.COMPLEX)
@public("nt", remembered=True)
def cumulative_trapezoid(
    y: Node, x: Node | None = None, *, dx: Number | None = None, dim: int = -1
) -> Node:
    """As `trapezoid`, of the first two elements, of the first three, and so on.

    >>> cumulative_trapezoid(tensor([1.0, 2.0, 3.0]))
    tensor([1.5000, 4.0000])
    """
    axis = _axis("cumulative_trapezoid", y, dim)
    at = _places("cumulative_trapezoid", y, x, dx, axis)
    areas = _areas(y, at, dx, axis)
    return as_node(cumsum(areas, axis - len(y.shape)), _narrow(areas, y, at), y.device)


def _gradient_sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    x = rng.standard_normal(rng.dims((3, 3), (6, 9)))
    spacing = float(rng.integers(1, 4)) / 2
    return [x], {"spacing": spacing, "edge_order": int(rng.integers(1, 3))}


def _gradients(x: Array, *, spacing: float, edge_order: Any) -> list[Array]:
    return list(np.gradient(x, spacing, edge_order=edge_order))


@composed(
    numpy=_gradients,
    sample=_gradient_sample,
    dtypes=dt.FLOATS + dt.COMPLEX,
    call=lambda function, nodes, attrs: function(*nodes, **attrs),
)
@public("nt", remembered=True)
def gradient(
    input: Node,
    *,
    spacing: Number | Sequence[Number] | Sequence[Node] | None = None,
    dim: int | Sequence[int] | None = None,
    edge_order: int = 1,
) -> tuple[Node, ...]:
    """Derivatives along dimensions, by differences of second order, at the ends of `edge_order`.

    Args:
        spacing: distance of samples, 1 unless given: one for all dimensions, one for each, or for
            each a 1-d tensor of where the samples stand.
        dim: dimensions, all unless given.
    Returns:
        one tensor for each dimension, in the shape of the input.
    Raises:
        OutOfRange: `edge_order` is neither 1 nor 2.

    >>> gradient(tensor([1.0, 4.0, 9.0, 16.0]))[0].tolist()
    [3.0, 4.0, 6.0, 7.0]
    """
    dims = normalize_dims("gradient", dim, len(input.shape)) if dim is None else _listed(input, dim)
    if edge_order not in (1, 2):
        raise OutOfRange(message("gradient", f"edge_order is {edge_order}, not 1 or 2"))
    steps = _steps(input, spacing, dims)
    narrow = input.dtype if input.dtype.kind in "fc" else dt.default_dtype()
    x = as_node(input, narrow.compute, input.device)
    slopes = [_slope(x, step, axis, edge_order) for step, axis in zip(steps, dims, strict=True)]
    return tuple(as_node(slope, narrow, input.device) for slope in slopes)


def _listed(input: Node, dim: int | Sequence[int]) -> Shape:
    """The dimensions in the order that they are given in."""
    rank = len(input.shape)
    given = [dim] if isinstance(dim, int) else list(dim)
    dims = tuple(normalize_dim("gradient", d, rank) for d in given)
    if len(set(dims)) < len(dims):
        raise OutOfRange(message("gradient", f"dim {tuple(given)} names a dimension twice"))
    return dims


def _steps(input: Node, spacing: Any, dims: Shape) -> list[Any]:
    """What stands between samples along each dimension: a number, or a node of places."""
    if spacing is None or isinstance(spacing, int | float):
        return [1.0 if spacing is None else float(spacing)] * len(dims)
    steps = list(spacing)
    if len(steps) != len(dims):
        problem = f"{len(steps)} spacings are given for {len(dims)} dimensions"
        raise ShapeError(message("gradient", problem, f"input {describe(input)}"))
    for step, axis in zip(steps, dims, strict=True):
        if isinstance(step, Node) and step.shape != (input.shape[axis],):
            problem = f"places along dimension {axis} must be 1-d, one for each sample"
            raise ShapeError(
                message(
                    "gradient", problem, f"input {describe(input)}", f"spacing {describe(step)}"
                )
            )
    return steps


def _slope(x: Node, step: Any, axis: int, edge_order: int) -> Node:
    size = x.shape[axis]
    if size < edge_order + 1:
        problem = f"dimension {axis} has {size} elements, and needs edge_order + 1"
        raise ShapeError(message("gradient", problem, f"input {describe(x)}"))
    before, after = _pairs(x, axis)
    if isinstance(step, Node):
        shape = tuple(n if i == axis else 1 for i, n in enumerate(x.shape))
        places = as_node(view.reshape.apply(step, shape=shape), _of_places(x, step), x.device)
        left, right = _pairs(places, axis)
        widths: Any = right - left
        slopes = (after - before) / widths
    else:
        widths, slopes = None, (after - before) / float(step)
    if size == 2:
        return view.cat([slopes, slopes], axis)
    if widths is None:
        ahead, behind = (view.narrow(x, axis, at, size - 2) for at in (2, 0))
        inner = (ahead - behind) / (2 * float(step))
    else:  # each step by the width of the other
        first, second = _pairs(slopes, axis)
        left, right = _pairs(widths, axis)
        inner = (first * right + second * left) / (left + right)
    ends = [view.narrow(slopes, axis, at, 1) for at in (0, size - 2)]
    if edge_order == 2:
        ends = [_beyond(slopes, widths, axis, at) for at in (0, size - 2)]
    return view.cat([ends[0], inner, ends[1]], axis)


def _of_places(x: Node, step: Node) -> dt.DType:
    real = x.dtype.part if x.dtype.is_complex else x.dtype
    return x.dtype if step.dtype.is_complex else real


def _beyond(slopes: Node, widths: Node | None, axis: int, at: int) -> Node:
    """The slope at an end: that of its step, and on by as much as slopes differ to the next."""
    beside = 1 if at == 0 else at - 1
    own, other = (view.narrow(slopes, axis, i, 1) for i in (at, beside))
    if widths is None:
        return (own * 3.0 - other) / 2
    width, next_width = (view.narrow(widths, axis, i, 1) for i in (at, beside))
    return own + (own - other) * width / (width + next_width)
