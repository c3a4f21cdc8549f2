"""Public functions over what stands where in order: medians, quantiles, the most frequent element.

Rows of N elements are sorted, or taken apart, and elements are picked by their rank.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import view
from numbatorch.ops.caller import explained
from numbatorch.ops.composed import composed
from numbatorch.ops.create import iota
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduce import sum_
from numbatorch.ops.reduction import ValuesAndIndices
from numbatorch.ops.scan import cummax
from numbatorch.ops.selecting import gather
from numbatorch.ops.sort import kth_, sort
from numbatorch.ops.statistics import argmax
from numbatorch.ops.surface import public
from numbatorch.ops.write_through import with_history
from numbatorch.shape import Shape, normalize_dim, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Interpolation = Literal["linear", "lower", "higher", "midpoint", "nearest"]


def _rows(operator: str, input: Node, dim: int) -> tuple[Node, int]:
    """The input with the dimension last, and which that was; a 0-d input is a row of one."""
    axis = normalize_dim(operator, dim, max(len(input.shape), 1))
    if not input.shape:
        return view.reshape.apply(input, shape=(1,)), 0
    if not input.shape[axis]:
        problem = "a row of no elements has no order"
        raise ShapeError(message(operator, problem, f"input {describe(input)}, dim {dim}"))
    return _moved(input, axis, len(input.shape) - 1), axis


def _moved(x: Node, source: int, destination: int) -> Node:
    order = [i for i in range(len(x.shape)) if i != source]
    order.insert(destination, source)
    return x if source == destination else view.permute.apply(x, dims=tuple(order))


def _picked(
    rows: Node, place: Node, input: Node, axis: int, keepdim: bool, stood: ValuesAndIndices
) -> ValuesAndIndices:
    """The element of each sorted row at `place` (..., 1), and where it stood."""
    picked = ValuesAndIndices(*(gather(part, -1, place) for part in stood))
    return _one_each(picked, input, axis, keepdim)


def _one_each(picked: ValuesAndIndices, input: Node, axis: int, keepdim: bool) -> ValuesAndIndices:
    """An element of each row (..., 1), and where it stood, in the shape of a reduction."""
    parts = [view.reshape.apply(part, shape=part.shape[:-1]) for part in picked]
    if keepdim and input.shape:
        parts = [view.unsqueeze(part, axis) for part in parts]
    return ValuesAndIndices(*parts)


def _numbers(rows: Node) -> Node:
    """How many elements of each row are not NaN: (..., 1) int64."""
    return sum_.apply(find("eq").apply(rows, rows), dims=(len(rows.shape) - 1,))


def _median(operator: str, input: Node, dim: int, keepdim: bool, skips: bool) -> ValuesAndIndices:
    rows, axis = _rows(operator, input, dim)
    if not skips or input.dtype.kind != "f":
        return _one_each(_middle(rows), input, axis, keepdim)
    last = find("floor_divide").apply(_numbers(rows) - 1, 2)
    place = find("maximum").apply(last, 0)
    return _picked(rows, place, input, axis, keepdim, sort(rows, -1, stable=True))


def _middle(rows: Node) -> ValuesAndIndices:
    """The middle of each row, the lower of two, or its first NaN: (..., 1), and where it stands."""
    size = rows.shape[-1]
    found = kth_.parts(rows, k=(size - 1) // 2)
    if rows.dtype.kind != "f":
        return ValuesAndIndices(*found)
    whole, where = find("eq").apply(_numbers(rows), size), find("where")
    missing = view.unsqueeze(argmax(find("ne").apply(rows, rows), -1), -1)
    standing = gather(rows, -1, missing), missing
    return ValuesAndIndices(*map(partial(where.apply, whole), found, standing))


def _median_of_all(operator: str, input: Node, skips: bool) -> Node:
    """Equal elements share the gradient, as of `max`."""
    if input.dtype.kind == "f" and not numel(input.shape):
        return const(np.nan, input.dtype, input.device)
    flat = view.reshape.apply(input, shape=(numel(input.shape),))
    found = _median(operator, flat, 0, False, skips).values
    if not input.requires_grad:
        return found
    value = view.detach.apply(found)
    whole = expanded(value, flat.shape)
    missing = find("logical_and").apply(
        find("ne").apply(flat, flat), find("ne").apply(whole, whole)
    )
    tied = find("logical_or").apply(find("eq").apply(flat, whole), missing)
    wide = input.dtype.compute
    count = as_node(sum_.apply(tied, dims=(0,)), wide, input.device)
    total = sum_.apply(find("where").apply(tied, as_node(flat, wide, input.device), 0.0), dims=(0,))
    mean = view.reshape.apply(as_node(total / count, input.dtype, input.device), shape=())
    return with_history(mean, value)


def _check_order(operator: str, input: Node) -> None:
    if input.dtype.kind not in "fiu":
        raise DTypeError(message(operator, f"has no meaning for {input.dtype.name}"))


def _row_sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    (cols,) = rng.dims((1,), (9,))
    return [rng.standard_normal((int(rng.integers(1, 5)), cols))], {"dim": 1}


def _row_median(x: Array, *, dim: int) -> tuple[Array, Array]:
    values = np.quantile(x, 0.5, axis=dim, method="lower").astype(x.dtype)
    wanted = np.expand_dims(values, dim)
    hit = (x == wanted) | ((x != x) & (wanted != wanted))
    before = (x < wanted).sum(dim, keepdims=True)
    rank = np.where(wanted != wanted, 0, (x.shape[dim] - 1) // 2 - before)
    return values, (hit & (np.cumsum(hit, dim) == rank + 1)).argmax(dim).astype(np.int64)


def _row_nanmedian(x: Array, *, dim: int) -> tuple[Array, Array]:
    found = [_row_median(row[row == row] if (row == row).any() else row, dim=0) for row in x]
    values = np.array([value for value, _ in found], x.dtype)
    places = [np.flatnonzero(row == row if (row == row).any() else row != row) for row in x]
    picked = [at[index] for at, (_, index) in zip(places, found, strict=True)]
    return values, np.array(picked, np.int64)


@overload
def median(input: Node) -> Node: ...
@overload
def median(input: Node, dim: int, keepdim: bool = False) -> ValuesAndIndices: ...


@composed(numpy=_row_median, sample=_row_sample, dtypes=dt.NUMBERS)
@public()
def median(input: Node, dim: int | None = None, keepdim: bool = False) -> Any:
    """The element in the middle, the lower of two; with `dim` (values, indices) along it.

    NaN wins. Without `dim` equal elements share the gradient; with it the element at the index,
    among equal ones in order of position, has it all.

    >>> median(tensor([4, 1, 3, 2])).item()
    2
    """
    _check_order("median", input)
    if dim is None:
        return _median_of_all("median", input, skips=False)
    return _median("median", input, dim, keepdim, skips=False)


@overload
def nanmedian(input: Node) -> Node: ...
@overload
def nanmedian(input: Node, dim: int, keepdim: bool = False) -> ValuesAndIndices: ...


@composed(numpy=_row_nanmedian, sample=_row_sample, dtypes=dt.NUMBERS)
@public()
def nanmedian(input: Node, dim: int | None = None, keepdim: bool = False) -> Any:
    """As `median`, of the elements that are not NaN; NaN if there are none.

    >>> nanmedian(tensor([4.0, float("nan"), 1.0])).item()
    1.0
    """
    _check_order("nanmedian", input)
    if dim is None:
        return _median_of_all("nanmedian", input, skips=True)
    return _median("nanmedian", input, dim, keepdim, skips=True)


def _modes(x: Array, *, dim: int) -> tuple[Array, Array]:
    values, places = [], []
    for row in x:
        found, counts = np.unique(row, return_counts=True, equal_nan=False)
        values.append(found[counts.argmax()])
        hit = (row == values[-1]) | ((row != row) & (values[-1] != values[-1]))
        at = np.flatnonzero(hit)
        places.append(at[0] if values[-1] != values[-1] else at[-1])
    return np.array(values, x.dtype), np.array(places, np.int64)


def _repeating(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x,), attrs = _row_sample(rng)
    return [x if rng.dtype is dt.float64 else np.rint(x)], attrs  # a gradient jumps at equal ones


@composed(numpy=_modes, sample=_repeating, dtypes=dt.NUMBERS)
@public()
def mode(input: Node, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """The most frequent element along `dim`, the smallest of several, and where the last stands.

    No NaN equals another. The element at the index has the gradient.

    >>> mode(tensor([3, 1, 3, 1, 2])).values.item()
    1
    """
    if input.dtype.is_complex:
        raise DTypeError(message("mode", f"has no meaning for {input.dtype.name}"))
    rows, axis = _rows("mode", input, dim)
    stood = sort(rows, -1, stable=True)
    values, size = stood.values, rows.shape[-1]
    new = find("ne").apply(
        view.narrow(values, -1, 1, size - 1), view.narrow(values, -1, 0, size - 1)
    )
    first = const(True, dt.bool_, input.device, (*rows.shape[:-1], 1))
    begins = view.cat([first, new], -1)
    place = expanded(iota(size, input.device), rows.shape)
    run = place - cummax(find("where").apply(begins, place, 0), -1).values
    longest = view.unsqueeze(argmax(run, -1), -1)
    return _picked(rows, longest, input, axis, keepdim, stood)


def _quantile(
    operator: str,
    input: Node,
    q: float | Node,
    dim: int | None,
    keepdim: bool,
    interpolation: Interpolation,
    skips: bool,
) -> Node:
    if input.dtype.kind != "f":
        raise DTypeError(message(operator, f"needs floats, not {input.dtype.name}"))
    shares = _shares(operator, input, q)
    if not numel(input.shape):
        raise ShapeError(message(operator, f"input {describe(input)} has no elements"))
    flat = input
    if dim is None or not input.shape:
        normalize_dim(operator, dim or 0, max(len(input.shape), 1))
        flat = view.reshape.apply(input, shape=(numel(input.shape),))
    rows, axis = _rows(operator, flat, dim or 0)
    out = _at_shares(rows, shares, interpolation, skips)  # (..., Q)
    out = as_node(_moved(out, len(out.shape) - 1, 0), input.dtype, input.device)
    shape: Shape = out.shape[1:]
    if keepdim and dim is None:
        shape = (1,) * len(input.shape)
    elif keepdim and input.shape:
        shape = (*shape[:axis], 1, *shape[axis:])
    lead = q.shape if isinstance(q, Node) else ()
    return view.reshape.apply(out, shape=(*lead, *shape))


def _shares(operator: str, input: Node, q: float | Node) -> Node:
    """q (Q,), in the dtype that the input is computed in."""
    wide = input.dtype.compute
    if not isinstance(q, Node):
        if not 0 <= q <= 1:
            raise OutOfRange(message(operator, f"q is {q}, not in [0, 1]"))
        return const(float(np.asarray(q, wide.numpy)), wide, input.device, (1,))
    if q.dtype is not input.dtype or len(q.shape) > 1:
        problem = "q must be a number, or 0-d or 1-d of the dtype of the input"
        shown = f"input {describe(input)}", f"q {describe(q)}"
        raise (ShapeError if len(q.shape) > 1 else DTypeError)(message(operator, problem, *shown))
    return view.reshape.apply(as_node(q, wide, input.device), shape=(numel(q.shape),))


def _at_shares(rows: Node, shares: Node, interpolation: Interpolation, skips: bool) -> Node:
    """What stands at each share of the sorted rows; a share not in [0, 1] is out of range."""
    where, device, wide = find("where"), rows.device, shares.dtype
    size, shape = rows.shape[-1], (*rows.shape[:-1], *shares.shape)
    values = as_node(sort(rows, -1).values, wide, device)
    seen = _numbers(rows)
    within = find("logical_and").apply(find("ge").apply(shares, 0), find("le").apply(shares, 1))
    steps = as_node(find("maximum").apply(seen - 1, 0), wide, device) if skips else float(size - 1)
    rank = expanded(shares, shape) * (expanded(steps, shape) if isinstance(steps, Node) else steps)
    if not skips:  # NaN stands last
        whole = expanded(find("eq").apply(seen, size), shape)
        rank = where.apply(whole, rank, float(size - 1))

    def at(place: Node) -> Node:
        index = as_node(view.detach.apply(place), dt.int64, device)
        chosen = where.apply(expanded(within, shape), index, size)
        problem = "an element of q is not in [0, 1]"
        found: Node = explained("quantile", problem, gather, values, -1, chosen)
        return found

    if interpolation in ("lower", "higher", "nearest"):
        rounded = {"lower": "floor", "higher": "ceil", "nearest": "round"}[interpolation]
        return at(find(rounded).apply(rank))
    floor = find("floor").apply(rank)
    below, above = at(floor), at(find("ceil").apply(rank))
    weight = (
        rank - view.detach.apply(floor) if interpolation == "linear" else const(0.5, wide, device)
    )
    return _between(below, above, weight)


def _between(below: Node, above: Node, weight: Node) -> Node:
    """below + weight * (above - below), from the nearer of both; of equal infinities that."""
    where, eq = find("where"), find("eq")
    apart = above - below
    near = below + weight * apart
    far = above - (1.0 - weight) * apart
    mixed = where.apply(find("lt").apply(weight, 0.5), near, far)
    infinite = eq.apply(find("abs").apply(below), np.inf)
    return where.apply(find("logical_and").apply(infinite, eq.apply(below, above)), below, mixed)


def _quantile_sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    methods = ("linear", "lower", "higher", "midpoint", "nearest")
    attrs = {"q": float(rng.integers(0, 9)) / 8, "interpolation": str(rng.choice(methods))}
    operands, dim = _row_sample(rng)
    return operands, {**attrs, **dim}


def _quantiles(x: Array, *, q: float, dim: int, interpolation: Any) -> Array:
    return np.asarray(np.quantile(x, q, axis=dim, method=interpolation))


def _nanquantiles(x: Array, *, q: float, dim: int, interpolation: Any) -> Array:
    return np.asarray(np.nanquantile(x, q, axis=dim, method=interpolation))


@composed(numpy=_quantiles, sample=_quantile_sample, hides=True)
@public()
def quantile(
    input: Node,
    q: float | Node,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: Literal["linear", "lower", "higher", "midpoint", "nearest"] = "linear",
) -> Node:
    """What stands at a share `q` of the sorted elements, over all or along `dim`; NaN wins.

    Its rank is q * (N - 1); half types are mixed in float32. Where we differ from PyTorch: between
    two equal infinities stands that infinity, not NaN.

    Args:
        q: in [0, 1]; for a tensor (Q,) of the dtype of the input the result is (Q, ...).
        interpolation: what is taken between two ranks.
    Raises:
        OutOfRange: q is not in [0, 1]; of a tensor when the result is realized.

    >>> quantile(tensor([1.0, 2.0, 4.0]), 0.75).item()
    3.0
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, skips=False)


@composed(numpy=_nanquantiles, sample=_quantile_sample, hides=True)
@public()
def nanquantile(
    input: Node,
    q: float | Node,
    dim: int | None = None,
    keepdim: bool = False,
    *,
    interpolation: Literal["linear", "lower", "higher", "midpoint", "nearest"] = "linear",
) -> Node:
    """As `quantile`, of the elements that are not NaN; NaN if there are none.

    >>> nanquantile(tensor([1.0, float("nan"), 4.0]), 0.5).item()
    2.5
    """
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, skips=True)
