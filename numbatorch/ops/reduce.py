"""Reductions: sum, prod, max, min, argmax, argmin, any, all, logsumexp; mean on top."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, Op, find
from numbatorch.ops.extremes import LARGEST, SMALLEST
from numbatorch.ops.operands import IOTA, as_node, const, describe, expanded
from numbatorch.ops.reduction import Reduction, State, highest, lowest, reduction, word_of
from numbatorch.ops.registry import view
from numbatorch.ops.scalar import Scalar, convert, scalar_function
from numbatorch.ops.scalar_combine import add_reassoc, larger, mul_reassoc, smaller
from numbatorch.ops.scalar_exp import exp, log
from numbatorch.ops.view import reject_blocks, reshape
from numbatorch.shape import Shape, normalize_dims, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


def wide(dtype: DType) -> DType:
    """The dtype of sums and products: int64 of integers and bool."""
    return dt.int64 if dtype.kind in "iub" else dtype


def wide_word(dtype: DType) -> tuple[DType, ...]:
    """The word of `wide`."""
    return (word_of(wide(dtype)),)


def _narrow_sum(dtype: DType) -> tuple[DType, int] | None:
    """Sums of bool and of small integers, of which a vector has many."""
    if dtype is dt.bool_:
        return dt.uint16, 2**16 - 1
    if dtype.kind not in "iu" or dtype.itemsize > 2:
        return None
    return (dt.int32 if dtype.kind == "i" else dt.uint32), 2**15


SUM = State(add_reassoc, lambda word: (0,), wide_word, narrow=_narrow_sum)


PRODUCT = State(mul_reassoc, lambda word: (1,), wide_word)


def sample(rng: Draw) -> Any:
    """An array, and some of its dimensions."""
    dims = tuple(d for d in range(3) if rng.random() < 0.5)
    return [rng.standard_normal(rng.dims((1, 1, 1), (5, 5, 5)))], {"dims": dims}


@reduction(SUM, result=wide, by_parts=True)
def sum_(x: Array, *, dims: Shape) -> Array:
    """Sum over `dims`; integers and bool are summed in int64."""
    wide = np.int64 if x.dtype.kind in "iub" else x.dtype
    out: Array = np.sum(x, axis=dims, keepdims=True, dtype=wide)
    return out


@sum_.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape) -> Node:
    return expanded(g, x.shape)


# It is a view, and stands beside sum because each is the gradient of the other.
@view(lambda layout, *, shape: layout.expand(shape), merge=lambda inner, outer: outer)
def expand(x: Array, *, shape: Shape) -> Array:
    """Repeat dimensions of size 1, and new leading ones, without a copy."""
    return np.broadcast_to(x, shape)


@expand.batches
def _(node: Node, operands: tuple[Node, ...]) -> Node:
    (x,) = operands
    size, *rest = x.shape
    added = len(node.shape) - len(rest)
    aligned = reshape.apply(x, shape=(size, *(1 for _ in range(added)), *rest))
    return expand.apply(aligned, shape=(size, *node.shape))


@expand.infer
def _(x: Node, *, shape: Shape) -> tuple[Shape, DType]:
    lead = len(shape) - len(x.shape)
    fits = lead >= 0 and all(
        size in (1, wanted) for size, wanted in zip(x.shape, shape[lead:], strict=True)
    )
    if not fits:
        raise ShapeError(
            message("expand", "shapes do not fit", f"input {describe(x)}", f"asked {shape}")
        )
    reject_blocks("expand", x)
    return tuple(shape), x.dtype


@expand.vjp
def _(g: Node, y: Node, x: Node, *, shape: Shape) -> Node:
    lead = len(shape) - len(x.shape)
    dims = tuple(
        i for i, size in enumerate(shape) if i < lead or (x.shape[i - lead] == 1 and size != 1)
    )
    return reshape.apply(sum_.apply(g, dims=dims), shape=x.shape)


@expand.writes
def _(x: Node, value: Node, *, shape: Shape) -> Node:
    assert numel(shape) == numel(x.shape), "elements that are repeated are not written to"
    return reshape.apply(value, shape=x.shape)


@expand.samples
def _(rng: Draw) -> Any:
    size, lead = rng.dims((0, 0), (4, 3))
    return [rng.standard_normal((1, size, 1))], {"shape": (2, lead, size, 3)}


@reduction(PRODUCT, result=wide)
def prod(x: Array, *, dims: Shape) -> Array:
    """Product over `dims`; integers and bool are multiplied in int64."""
    wide = np.int64 if x.dtype.kind in "iub" else x.dtype
    out: Array = np.prod(x, axis=dims, keepdims=True, dtype=wide)
    return out


@prod.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape) -> Node:
    """The product of all others: y / x, or at a zero that of the rest, of the other zero too.

    So derivatives are right as well. Beside two other zeros only third derivatives are not 0.
    """
    where, eq = find("where"), find("eq")
    zero = eq.apply(x, 0)
    filled = where.apply(zero, 1.0, x)
    zeros = expanded(sum_.apply(zero, dims=dims), x.shape)
    rest = expanded(prod.apply(filled, dims=dims), x.shape)
    other = expanded(sum_.apply(where.apply(zero, x, 0.0), dims=dims), x.shape) - x
    beside = where.apply(eq.apply(zeros, 2), rest * other, 0.0)
    at_zero = where.apply(eq.apply(zeros, 1), rest, beside)
    part = where.apply(zero, at_zero, expanded(y, x.shape) / filled)
    return expanded(g, x.shape) * part


@reduction(LARGEST, empty=False)
def max_(x: Array, *, dims: Shape) -> Array:
    """Largest element over `dims`; NaN wins. The gradient is shared equally by ties."""
    out: Array = np.max(x, axis=dims, keepdims=True)
    return out


@reduction(SMALLEST, empty=False)
def min_(x: Array, *, dims: Shape) -> Array:
    """Smallest element over `dims`; NaN wins. The gradient is shared equally by ties."""
    out: Array = np.min(x, axis=dims, keepdims=True)
    return out


def _tie_gradient(g: Node, y: Node, x: Node, *, dims: Shape) -> Node:
    """A share of the cotangent for each tie, which are counted in int64; every NaN is one."""
    hit = find("eq").apply(x, expanded(y, x.shape))
    if x.dtype.kind == "f":
        hit = find("logical_or").apply(hit, find("ne").apply(x, x))
    wide = x.dtype.compute
    share = as_node(g, wide, x.device) / as_node(sum_.apply(hit, dims=dims), wide, x.device)
    return as_node(find("where").apply(hit, expanded(share, x.shape), 0.0), x.dtype, x.device)


max_.vjp(_tie_gradient)
min_.vjp(_tie_gradient)


def _position(dtype: DType) -> DType:
    return dt.int64


def with_index(dtype: DType) -> tuple[DType, ...]:
    """An element and where it stands."""
    return dtype, dt.int64


def with_index_word(dtype: DType) -> tuple[DType, ...]:
    """The words of `with_index`."""
    return word_of(dtype), dt.int64


@scalar_function()
def above(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Whether lhs is larger, or the only NaN."""
    return (lhs > rhs) | ((lhs != lhs) & (rhs == rhs))


@scalar_function()
def below(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Whether lhs is smaller, or the only NaN."""
    return (lhs < rhs) | ((lhs != lhs) & (rhs == rhs))


def _first_largest(best: Scalar, at: Scalar, x: Scalar, index: Scalar) -> Scalar:
    taken = above(x, best) | (not above(best, x) and index < at)
    return (x if taken else best), (index if taken else at)


def _first_smallest(best: Scalar, at: Scalar, x: Scalar, index: Scalar) -> Scalar:
    taken = below(x, best) | (not below(best, x) and index < at)
    return (x if taken else best), (index if taken else at)


def _index(best: Scalar, at: Scalar, count: Scalar) -> Scalar:
    return at


_LARGEST_AT = State(
    _first_largest, lambda word: (lowest(word), 0), with_index_word, extreme=LARGEST
)
_SMALLEST_AT = State(
    _first_smallest, lambda word: (highest(word), 0), with_index_word, extreme=SMALLEST
)


@reduction(replace(_LARGEST_AT, finish=_index), result=_position, empty=False, differentiable=False)
def argmax(x: Array, *, dims: Shape) -> Array:
    """Row-major position within `dims` of the first largest element; the first NaN wins."""
    return _arg(np.argmax, x, dims)


@reduction(
    replace(_SMALLEST_AT, finish=_index), result=_position, empty=False, differentiable=False
)
def argmin(x: Array, *, dims: Shape) -> Array:
    """Row-major position within `dims` of the first smallest element; the first NaN wins."""
    return _arg(np.argmin, x, dims)


def _arg(function: Callable[..., Array], x: Array, dims: Shape) -> Array:
    kept = [i for i in range(x.ndim) if i not in dims]
    size = numel(tuple(x.shape[i] for i in dims))
    rows = x.transpose(*kept, *dims).reshape(*(x.shape[i] for i in kept), size)
    shape = tuple(1 if i in dims else size for i, size in enumerate(x.shape))
    return function(rows, axis=-1).reshape(shape).astype(np.int64)


@reduction(_LARGEST_AT, result=with_index, empty=False)
def max_with_index(x: Array, *, dims: Shape) -> tuple[Array, Array]:
    """Largest element along one dimension and where the first of these stands; NaN wins."""
    return np.max(x, axis=dims, keepdims=True), _arg(np.argmax, x, dims)


@reduction(_SMALLEST_AT, result=with_index, empty=False)
def min_with_index(x: Array, *, dims: Shape) -> tuple[Array, Array]:
    """Smallest element along one dimension and where the first of these stands; NaN wins."""
    return np.min(x, axis=dims, keepdims=True), _arg(np.argmin, x, dims)


def _to_the_chosen(g: Any, y: Any, x: Node, *, dims: Shape) -> Node:
    """The cotangent, where an element was chosen."""
    (axis,) = dims
    count = x.shape[axis]
    places = Node(IOTA, (), {}, (count,), dt.int64, x.device)
    along = tuple(count if i == axis else 1 for i in range(len(x.shape)))
    places = expanded(reshape.apply(places, shape=along), x.shape)
    chosen = find("eq").apply(places, expanded(y[1], x.shape))
    return find("where").apply(chosen, expanded(g[0], x.shape), 0.0)


max_with_index.vjp(_to_the_chosen)
min_with_index.vjp(_to_the_chosen)


def _some(found: Scalar, x: Scalar, index: Scalar) -> Scalar:
    return larger(found, convert(x != 0, dt.uint8))


def _each(found: Scalar, x: Scalar, index: Scalar) -> Scalar:
    return smaller(found, convert(x != 0, dt.uint8))


def _truth(dtype: DType) -> DType:
    return dt.bool_


def _truth_word(dtype: DType) -> tuple[DType, ...]:
    return (dt.uint8,)


@reduction(
    State(larger, lambda word: (0,), _truth_word, _some), result=_truth, differentiable=False
)
def any_(x: Array, *, dims: Shape) -> Array:
    """Whether an element over `dims` is not zero."""
    out: Array = np.any(x, axis=dims, keepdims=True)
    return out


@reduction(
    State(smaller, lambda word: (1,), _truth_word, _each), result=_truth, differentiable=False
)
def all_(x: Array, *, dims: Shape) -> Array:
    """Whether no element over `dims` is zero."""
    out: Array = np.all(x, axis=dims, keepdims=True)
    return out


@scalar_function()
def _apart(a: Scalar, b: Scalar) -> Scalar:
    """a - b, or 0 for two equal infinities."""
    return 0.0 if a == b else a - b


def _merge_powers(top: Scalar, total: Scalar, other: Scalar, sum_: Scalar) -> Scalar:
    """Sums of exp(x - top) and of exp(x - other), both as of exp(x - the larger)."""
    apart = _apart(other, top)
    shrunk = exp(-abs(apart))
    above = apart > 0.0
    return (other if above else top), (total * shrunk + sum_ if above else total + sum_ * shrunk)


def _add_power(top: Scalar, total: Scalar, x: Scalar, index: Scalar) -> Scalar:
    apart = _apart(x, top)
    shrunk = exp(-abs(apart))
    above = apart > 0.0
    return (x if above else top), (total * shrunk + 1.0 if above else total + shrunk)


def _log_of_powers(top: Scalar, total: Scalar, count: Scalar) -> Scalar:
    return log(total) + top


def two_words(dtype: DType) -> tuple[DType, ...]:
    """Two words of floats."""
    return (dtype.compute,) * 2


LOG_SUM_EXP = State(
    _merge_powers, lambda word: (-np.inf, 0.0), two_words, _add_power, _log_of_powers
)


@reduction(LOG_SUM_EXP, dtypes=dt.FLOATS)
def logsumexp(x: Array, *, dims: Shape) -> Array:
    """log(sum(exp(x))) over `dims`, without overflow.

    Source: M. Milakov and N. Gimelshein, "Online normalizer calculation for softmax" (2018),
    https://arxiv.org/abs/1805.02867
    """
    top = np.max(x, axis=dims, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    out: Array = np.log(np.exp(x - top).sum(axis=dims, keepdims=True)) + top
    return out


@logsumexp.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape) -> Node:
    shift = find("where").apply(find("eq").apply(y, -np.inf), 0.0, y)
    return expanded(g, x.shape) * find("exp").apply(x - expanded(shift, x.shape))


def one_dim_sample(rng: Draw) -> Any:
    """An array, and one of its dimensions."""
    return [rng.standard_normal(rng.dims((1, 1, 1), (5, 5, 5)))], {"dims": (int(rng.integers(3)),)}


max_.peer, min_.peer = "torch.amax", "torch.amin"
max_with_index.peer, min_with_index.peer = "torch.max", "torch.min"
expand.peer = "torch.Tensor.expand"

REDUCTIONS: tuple[Op, ...] = (sum_, prod, max_, min_, argmax, argmin, any_, all_, logsumexp)
for _op in REDUCTIONS:
    _op.samples(sample)
for _op in (max_with_index, min_with_index):
    _op.samples(one_dim_sample)


def reduced(op: Reduction, x: Node, dim: Any = None, keepdim: bool = False, **attrs: Any) -> Node:
    """Apply a reduction of one result over `dim` (an int, several, or None for all)."""
    (out,) = reduced_parts(op, x, dim, keepdim, **attrs)
    return out


def _given(dim: Any) -> Any:
    """The dimensions that a function was given: None, for all, where their list is empty."""
    return None if dim is not None and dim.__class__ is not int and len(dim) == 0 else dim


def reduced_parts(
    op: Reduction, x: Node, dim: Any = None, keepdim: bool = False, **attrs: Any
) -> tuple[Node, ...]:
    """The results of a reduction over `dim` (an int, several, or None for all).

    An empty list of dimensions is all of them, but for any and all: so it is in PyTorch.
    """
    dims = normalize_dims(op.name, dim if op in (any_, all_) else _given(dim), len(x.shape))
    parts = op.parts(x, dims=dims, **attrs)
    if keepdim or not dims:
        return parts
    shape = tuple([n for i, n in enumerate(x.shape) if i not in dims])
    return tuple([reshape.apply(part, shape=shape) for part in parts])


def mean(x: Node, dim: Any = None, keepdim: bool = False) -> Node:
    """Sum over `dim` divided by the number of elements; needs floats or complex numbers."""
    if x.dtype.kind not in "fc":
        raise DTypeError(message("mean", f"needs a floating-point input, not {x.dtype.name}"))
    dims = normalize_dims("mean", _given(dim), len(x.shape))
    count = float(numel([x.shape[d] for d in dims])) or np.nan
    wide = as_node(x, x.dtype.compute, x.device)  # the sum of half types can be out of their range
    total = reduced(sum_, wide, dims, keepdim)
    return as_node(total / const(count, wide.dtype, x.device), x.dtype, x.device)
