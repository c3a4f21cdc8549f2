"""Scans: sums, products, extremes of each element and all before it, along one dimension."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import Like
from numbatorch.graph import Node, Op, find
from numbatorch.ops.operands import const
from numbatorch.ops.parts import in_dtype
from numbatorch.ops.reduce import (
    LOG_SUM_EXP,
    PRODUCT,
    SUM,
    above,
    below,
    one_dim_sample,
    wide,
    with_index,
    with_index_word,
)
from numbatorch.ops.reduction import Scan, State, ValuesAndIndices, highest, lowest, scan
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat, narrow, permute, reshape, slice_
from numbatorch.shape import Shape, normalize_dim

Array = np.ndarray[Any, Any]


@scan(SUM, result=wide, by_parts=True)
def cumsum_(x: Array, *, dims: Shape) -> Array:
    """Sum of each element and those before it; integers and bool are summed in int64."""
    dtype = np.int64 if x.dtype.kind in "iub" else x.dtype
    out: Array = np.cumsum(x, axis=dims[0], dtype=dtype)
    return out


def _reversed(x: Node, dims: Shape) -> Node:
    return slice_.apply(
        x,
        starts=tuple(max(n - 1, 0) if i in dims else 0 for i, n in enumerate(x.shape)),
        sizes=x.shape,
        steps=tuple(-1 if i in dims else 1 for i in range(len(x.shape))),
    )


def _sum_after(g: Node, dims: Shape) -> Node:
    """Sum of each element and those after it."""
    return _reversed(cumsum_.apply(_reversed(g, dims), dims=dims), dims)


@cumsum_.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape) -> Node:
    return _sum_after(g, dims)


@scan(PRODUCT, result=wide)
def cumprod_(x: Array, *, dims: Shape) -> Array:
    """Product of each element and those before it; integers and bool are multiplied in int64."""
    dtype = np.int64 if x.dtype.kind in "iub" else x.dtype
    out: Array = np.cumprod(x, axis=dims[0], dtype=dtype)
    return out


@cumprod_.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape) -> Node:
    """Sum over i >= j of g[i] * y[i] / x[j]; at a zero of x, of the products without it.

    A first zero, and a second one, are left out of products of their own, so that these are right,
    and so are their derivatives. Past a second zero only third derivatives are not 0.
    """
    where, eq = find("where"), find("eq")
    zero = eq.apply(x, 0)
    zeros = cumsum_.apply(zero, dims=dims)
    divided = _sum_after(g * y, dims) / where.apply(zero, 1.0, x)
    out = where.apply(zero, 0.0, divided)
    for number in (1, 2):
        left_out = find("logical_and").apply(zero, eq.apply(zeros, number))
        others = cumprod_.apply(where.apply(left_out, 1.0, x), dims=dims)
        out = where.apply(left_out, _sum_after(g * others, dims), out)
    return out


def _last_largest(best: Scalar, at: Scalar, x: Scalar, index: Scalar) -> Scalar:
    taken = above(x, best) | (not above(best, x) and index > at)
    return (x if taken else best), (index if taken else at)


def _last_smallest(best: Scalar, at: Scalar, x: Scalar, index: Scalar) -> Scalar:
    taken = below(x, best) | (not below(best, x) and index > at)
    return (x if taken else best), (index if taken else at)


def _largest_so_far(best: Scalar, at: Scalar, x: Scalar, index: Scalar) -> Scalar:
    taken = (x >= best) | (x != x)  # each element stands behind those before it
    return (x if taken else best), (index if taken else at)


def _smallest_so_far(best: Scalar, at: Scalar, x: Scalar, index: Scalar) -> Scalar:
    taken = (x <= best) | (x != x)
    return (x if taken else best), (index if taken else at)


_LARGEST = State(
    _last_largest, lambda word: (lowest(word), 0), with_index_word, step=_largest_so_far
)
_SMALLEST = State(
    _last_smallest, lambda word: (highest(word), 0), with_index_word, step=_smallest_so_far
)


@scan(_LARGEST, result=with_index)
def cummax_(x: Array, *, dims: Shape) -> tuple[Array, Array]:
    """Largest of each element and those before it, and where the last of these stands."""
    return _extremes(np.maximum, x, dims)


@scan(_SMALLEST, result=with_index)
def cummin_(x: Array, *, dims: Shape) -> tuple[Array, Array]:
    """Smallest of each element and those before it, and where the last of these stands."""
    return _extremes(np.minimum, x, dims)


def _extremes(function: np.ufunc, x: Array, dims: Shape) -> tuple[Array, Array]:
    (axis,) = dims
    values = function.accumulate(x, axis=axis)
    positions = np.expand_dims(np.arange(x.shape[axis]), [d for d in range(x.ndim) if d != axis])
    hit = (x == values) | (x != x)
    return values, np.maximum.accumulate(np.where(hit, positions, 0), axis=axis)


def _to_where_they_stood(g: Any, y: Any, x: Node, *, dims: Shape) -> Node:
    (axis,) = dims
    order = (*(i for i in range(len(x.shape)) if i != axis), axis)
    back = tuple(order.index(i) for i in range(len(x.shape)))
    turned = [permute.apply(node, dims=order) for node in (y[1], g[0])]
    zeros = const(0.0, x.dtype, x.device, turned[0].shape)
    return permute.apply(find("scatter_add").apply(zeros, *turned), dims=back)


cummax_.vjp(_to_where_they_stood)
cummin_.vjp(_to_where_they_stood)


@scan(LOG_SUM_EXP, dtypes=dt.FLOATS)
def logcumsumexp_(x: Array, *, dims: Shape) -> Array:
    """log of the sum of exp(x) of each element and those before it, without overflow."""
    out: Array = np.logaddexp.accumulate(x, axis=dims[0])
    return out


@logcumsumexp_.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape) -> Node:
    """exp(x[j]) times the sum over i >= j of g[i] * exp(-y[i]), positive and negative apart.

    Both sums are taken of logarithms, so that exp(-y) does not overflow.
    """
    where, log, exp = find("where"), find("log"), find("exp")
    shift = where.apply(find("eq").apply(y, -np.inf), 0.0, y)

    def part(side: Node) -> Node:
        zero = find("le").apply(side, 0)
        size = where.apply(zero, -np.inf, log.apply(where.apply(zero, 1.0, side)))
        total = logcumsumexp_.apply(_reversed(size - shift, dims), dims=dims)
        return exp.apply(_reversed(total, dims) + x)

    return part(g) - part(-g)


SCANS: tuple[Op, ...] = (cumsum_, cumprod_, cummax_, cummin_, logcumsumexp_)
for _op in SCANS:
    _op.samples(one_dim_sample)


def _along(op: Scan, input: Node, dim: int) -> tuple[Node, ...]:
    axis = normalize_dim(op.name, dim, len(input.shape))
    if input.shape:
        return op.parts(input, dims=(axis,))
    found = op.parts(reshape.apply(input, shape=(1,)), dims=(0,))
    return tuple(reshape.apply(part, shape=()) for part in found)


def _merged_along(input: Node, dim: int, merge: Callable[[Node, Node], Node]) -> Node:
    """A scan of complex numbers by an associative merge of both parts, in log2(N) rounds.

    Source: W. D. Hillis and G. L. Steele, "Data parallel algorithms", CACM 29 (1986).
    """
    axis = normalize_dim("scan", dim, len(input.shape))
    out, size, shift = input, input.shape[axis] if input.shape else 1, 1
    while shift < size:
        before, after = (narrow(out, axis, start, size - shift) for start in (0, shift))
        out = cat([narrow(out, axis, 0, shift), merge(before, after)], axis)
        shift *= 2
    return out


def _add_complex_powers(first: Node, second: Node) -> Node:
    """log(exp(first) + exp(second)), taken off the one of the larger real part."""
    where, exp = find("where"), find("exp")
    sizes = [find("real").apply(x) for x in (first, second)]
    top = where.apply(find("gt").apply(*sizes), first, second)
    top = where.apply(find("isfinite").apply(find("maximum").apply(*sizes)), top, 0.0)
    top = find("detach").apply(top)
    return find("log").apply(exp.apply(first - top) + exp.apply(second - top)) + top


@public(remembered=True)
def cumsum(input: Node, dim: int, *, dtype: Like | None = None) -> Node:
    """Sum of each element and those before it along `dim`: y[i] = x[0] + ... + x[i].

    Integers and bool are summed in int64, half types in float32.

    Args:
        dtype: what the elements are converted to first.

    >>> cumsum(tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    (out,) = _along(cumsum_, in_dtype("cumsum", input, dtype), dim)
    return in_dtype("cumsum", out, dtype)


@public(remembered=True)
def cumprod(input: Node, dim: int, *, dtype: Like | None = None) -> Node:
    """Product of each element and those before it along `dim`: y[i] = x[0] * ... * x[i].

    Integers and bool are multiplied in int64, half types in float32.

    Args:
        dtype: what the elements are converted to first.

    >>> cumprod(tensor([1, 2, 3]), 0)
    tensor([1, 2, 6])
    """
    given = in_dtype("cumprod", input, dtype)
    if given.dtype.is_complex:
        return _merged_along(given, dim, find("mul").apply)
    (out,) = _along(cumprod_, given, dim)
    return in_dtype("cumprod", out, dtype)


@public(remembered=True)
def cummax(input: Node, dim: int) -> ValuesAndIndices:
    """Largest of each element and those before it along `dim`, and where the last of these stands.

    NaN counts as the largest. The gradient goes to the element at the index.

    >>> cummax(tensor([1, 3, 2, 3]), 0).indices
    tensor([0, 1, 1, 3])
    """
    return ValuesAndIndices(*_along(cummax_, input, dim))


@public(remembered=True)
def cummin(input: Node, dim: int) -> ValuesAndIndices:
    """Smallest of each element and those before it along `dim`, and where the last of these stands.

    NaN counts as the smallest. The gradient goes to the element at the index.

    >>> cummin(tensor([3, 1, 2]), 0).values
    tensor([3, 1, 1])
    """
    return ValuesAndIndices(*_along(cummin_, input, dim))


@public(remembered=True)
def logcumsumexp(input: Node, dim: int) -> Node:
    """log(exp(x[0]) + ... + exp(x[i])) along `dim`, without overflow.

    >>> logcumsumexp(tensor([0.0, 0.0]), 0).exp().round().tolist()
    [1.0, 2.0]
    """
    if input.dtype.is_complex:
        return _merged_along(input, dim, _add_complex_powers)
    (out,) = _along(logcumsumexp_, input, dim)
    return out
