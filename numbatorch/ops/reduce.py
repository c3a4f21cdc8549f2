"""Reductions: sum, prod, max, min, any, all, argmax, argmin; mean, var and logsumexp over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, Op, find
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduction import State, highest, lowest, reduction, word_of
from numbatorch.ops.registry import view
from numbatorch.ops.scalar import Scalar, scalar_function
from numbatorch.ops.scalar_combine import add_reassoc, larger, smaller
from numbatorch.ops.view import reject_blocks, reshape
from numbatorch.shape import Shape, normalize_dims, numel

Array = np.ndarray[Any, Any]


def _wide(dtype: DType) -> DType:
    return dt.int64 if dtype.kind in "iub" else dtype


def _wide_word(dtype: DType) -> tuple[DType, ...]:
    return (word_of(_wide(dtype)),)


SUM = State(add_reassoc, lambda word: (0,), _wide_word)


def _times(product: Scalar, other: Scalar) -> Scalar:
    return product * other


PRODUCT = State(_times, lambda word: (1,), _wide_word)
LARGEST = State(larger, lambda word: (lowest(word),))
SMALLEST = State(smaller, lambda word: (highest(word),))


def _sample(rng: np.random.Generator) -> Any:
    dims = tuple(d for d in range(3) if rng.random() < 0.5)
    return [rng.standard_normal(tuple(int(n) for n in rng.integers(1, 5, 3)))], {"dims": dims}


@reduction(SUM, result=_wide)
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
def _(rng: np.random.Generator) -> Any:
    size = int(rng.integers(0, 4))
    return [rng.standard_normal((1, size, 1))], {"shape": (2, int(rng.integers(0, 3)), size, 3)}


@reduction(PRODUCT, result=_wide)
def prod(x: Array, *, dims: Shape) -> Array:
    """Product over `dims`; integers and bool are multiplied in int64."""
    wide = np.int64 if x.dtype.kind in "iub" else x.dtype
    out: Array = np.prod(x, axis=dims, keepdims=True, dtype=wide)
    return out


@prod.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape) -> Node:
    """The product of all others: y / x, or with one zero among them the rest at the zero."""
    zero = find("eq").apply(x, 0)
    filled = find("where").apply(zero, 1.0, x)
    others = expanded(prod.apply(filled, dims=dims), x.shape)
    zeros = expanded(sum_.apply(zero, dims=dims), x.shape)
    only = find("logical_and").apply(zero, find("eq").apply(zeros, 1))
    at_zero = find("where").apply(only, others, const(0.0, x.dtype, x.device, x.shape))
    part = find("where").apply(find("eq").apply(zeros, 0), others / filled, at_zero)
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
    hit = find("cast").apply(find("eq").apply(x, expanded(y, x.shape)), dtype=x.dtype)
    share = g / sum_.apply(hit, dims=dims)
    return hit * expanded(share, x.shape)


max_.vjp(_tie_gradient)
min_.vjp(_tie_gradient)


def _position(dtype: DType) -> DType:
    return dt.int64


def _with_index(dtype: DType) -> tuple[DType, ...]:
    return word_of(dtype), dt.int64


@scalar_function()
def _above(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Whether lhs is larger, or the only NaN."""
    return (lhs > rhs) | ((lhs != lhs) & (rhs == rhs))


@scalar_function()
def _below(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Whether lhs is smaller, or the only NaN."""
    return (lhs < rhs) | ((lhs != lhs) & (rhs == rhs))


def _first_largest(best: Scalar, at: Scalar, x: Scalar, index: Scalar) -> Scalar:
    taken = _above(x, best) | (not _above(best, x) and index < at)
    return (x if taken else best), (index if taken else at)


def _first_smallest(best: Scalar, at: Scalar, x: Scalar, index: Scalar) -> Scalar:
    taken = _below(x, best) | (not _below(best, x) and index < at)
    return (x if taken else best), (index if taken else at)


def _index(best: Scalar, at: Scalar, count: Scalar) -> Scalar:
    return at


LARGEST_AT = State(_first_largest, lambda word: (lowest(word), 0), _with_index, finish=_index)
SMALLEST_AT = State(_first_smallest, lambda word: (highest(word), 0), _with_index, finish=_index)


@reduction(LARGEST_AT, result=_position, empty=False, differentiable=False)
def argmax(x: Array, *, dims: Shape) -> Array:
    """Row-major position within `dims` of the first largest element; the first NaN wins."""
    return _arg(np.argmax, x, dims)


@reduction(SMALLEST_AT, result=_position, empty=False, differentiable=False)
def argmin(x: Array, *, dims: Shape) -> Array:
    """Row-major position within `dims` of the first smallest element; the first NaN wins."""
    return _arg(np.argmin, x, dims)


def _arg(function: Callable[..., Array], x: Array, dims: Shape) -> Array:
    kept = [i for i in range(x.ndim) if i not in dims]
    rows = x.transpose(*kept, *dims).reshape(*(x.shape[i] for i in kept), -1)
    shape = tuple(1 if i in dims else size for i, size in enumerate(x.shape))
    return function(rows, axis=-1).reshape(shape).astype(np.int64)


REDUCTIONS: tuple[Op, ...] = (sum_, prod, max_, min_, argmax, argmin)
for _op in REDUCTIONS:
    _op.samples(_sample)


def reduced(op: Op, x: Node, dim: Any = None, keepdim: bool = False) -> Node:
    """Apply a reduction over `dim` (an int, several, or None for all)."""
    dims = normalize_dims(op.name, dim, len(x.shape))
    out = op.apply(x, dims=dims)
    if keepdim or not dims:
        return out
    shape = tuple(n for i, n in enumerate(x.shape) if i not in dims)
    return reshape.apply(out, shape=shape)


def mean(x: Node, dim: Any = None, keepdim: bool = False) -> Node:
    """Sum over `dim` divided by the number of elements; needs a floating-point input."""
    if x.dtype.kind != "f":
        raise DTypeError(message("mean", f"needs a floating-point input, not {x.dtype.name}"))
    dims = normalize_dims("mean", dim, len(x.shape))
    count = numel([x.shape[d] for d in dims])
    scale = 1.0 / count if count else float("nan")
    wide = as_node(x, x.dtype.compute, x.device)  # the sum of half types can be out of their range
    return as_node(reduced(sum_, wide, dims, keepdim) * scale, x.dtype, x.device)


def var(x: Node, dim: Any = None, keepdim: bool = False, correction: float = 1.0) -> Node:
    """Mean of (x - mean)^2, over count - correction instead of count."""
    dims = normalize_dims("var", dim, len(x.shape))
    wide = as_node(x, x.dtype.compute, x.device)
    centred = wide - expanded(mean(wide, dims, keepdim=True), x.shape)
    count = numel([x.shape[d] for d in dims]) - correction
    scale = 1.0 / count if count > 0 else np.nan
    return as_node(reduced(sum_, centred * centred, dims, keepdim) * scale, x.dtype, x.device)


def logsumexp(x: Node, dim: Any = None, keepdim: bool = False) -> Node:
    """log(sum(exp(x - m))) + m with m the largest element over `dim`, 0 if that is infinite.

    Integers and floats narrower than float32 are added up in float32.
    """
    narrow = x.dtype.kind != "f" or x.dtype.itemsize < 4
    wide = as_node(x, dt.float32, x.device) if narrow else x
    dims = normalize_dims("logsumexp", dim, len(x.shape))
    shape = tuple(1 if d in dims else size for d, size in enumerate(x.shape))
    top = const(0.0, wide.dtype, x.device, shape)
    if numel([x.shape[d] for d in dims]):
        found = find("detach").apply(max_.apply(wide, dims=dims))
        top = find("where").apply(find("isfinite").apply(found), found, top)
    powers = find("exp").apply(wide - expanded(top, x.shape))
    out = find("log").apply(sum_.apply(powers, dims=dims)) + top
    if not keepdim and dims:
        out = reshape.apply(out, shape=tuple(n for d, n in enumerate(x.shape) if d not in dims))
    return as_node(out, x.dtype, x.device) if x.dtype.kind == "f" else out


def any_(x: Node, dim: Any = None, keepdim: bool = False) -> Node:
    """Whether any element over `dim` is not zero."""
    hits = reduced(sum_, as_node(x, dt.bool_, x.device), dim, keepdim)
    return find("cast").apply(hits, dtype=dt.bool_)


def all_(x: Node, dim: Any = None, keepdim: bool = False) -> Node:
    """Whether every element over `dim` is not zero."""
    missing = find("logical_not").apply(as_node(x, dt.bool_, x.device))
    return find("logical_not").apply(any_(missing, dim, keepdim))
