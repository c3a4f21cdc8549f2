"""Means and variances, each of them one reduction."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import FLOATS, DType
from numbatorch.graph import Node, find
from numbatorch.ops.operands import as_node, expanded
from numbatorch.ops.reduce import Array, mean, sample, sum_, two_words
from numbatorch.ops.reduction import State, reduction
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.scalar_combine import larger
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw


def _add_value(
    first: Scalar, mean: Scalar, squares: Scalar, seen: Scalar, x: Scalar, index: Scalar
) -> Scalar:
    first = x if seen == 0.0 and x - x == 0.0 else first  # from infinity nothing is a number apart
    seen = seen + 1.0
    far = x - first
    apart = far - mean
    mean = mean + apart / seen
    return first, mean, squares + apart * (far - mean), seen


def _merge_values(
    first: Scalar,
    mean: Scalar,
    squares: Scalar,
    seen: Scalar,
    other_first: Scalar,
    other_mean: Scalar,
    other_squares: Scalar,
    other_seen: Scalar,
) -> Scalar:
    total = seen + other_seen
    share = other_seen / larger(total, 1.0)
    first = other_first if seen == 0.0 else first
    apart = (other_first - first) + (other_mean - mean)
    squares = squares + other_squares + apart * apart * (seen * share)
    return first, mean + apart * share, squares, total


def _variance(
    first: Scalar, mean: Scalar, squares: Scalar, seen: Scalar, count: Scalar, *, correction: float
) -> Scalar:
    return squares / larger(count - correction, 0.0)


def _variance_and_mean(
    first: Scalar, mean: Scalar, squares: Scalar, seen: Scalar, count: Scalar, *, correction: float
) -> Scalar:
    return squares / larger(count - correction, 0.0), first + mean if count > 0.0 else np.nan


def _moment_words(dtype: DType) -> tuple[DType, ...]:
    return (dtype.compute,) * 4


# B. P. Welford, "Note on a method for calculating corrected sums of squares and products",
# Technometrics 4 (1962); merged as by T. F. Chan, G. H. Golub and R. J. LeVeque, "Updating formulae
# and a pairwise algorithm for computing sample variances", COMPSTAT (1982).
MOMENTS = State(_merge_values, lambda word: (0, 0, 0, 0), _moment_words, _add_value, _variance)


@reduction(MOMENTS, dtypes=FLOATS)
def var(x: Array, *, dims: Shape, correction: float = 1.0) -> Array:
    """Mean of (x - mean)^2 over `dims`, over count - correction instead of count."""
    return _reference(x, dims, correction)


def _mean(x: Array, dims: Shape) -> Array:
    return np.asarray(np.mean(x, axis=dims, keepdims=True, dtype=np.float64))


def _reference(x: Array, dims: Shape, correction: float) -> Array:
    count = numel([x.shape[d] for d in dims])
    apart = x - _mean(x, dims)
    squares = np.sum(apart * apart, axis=dims, keepdims=True)
    out: Array = squares / np.asarray(max(count - correction, 0.0), squares.dtype)
    return out


@var.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape, correction: float) -> Node:
    return _of_variance(g, x, dims, correction)


def _of_variance(g: Node, x: Node, dims: Shape, correction: float) -> Node:
    """2 * (x - mean) / (count - correction) for each g."""
    count = max(numel([x.shape[d] for d in dims]) - correction, 0.0)
    apart = x - expanded(mean(x, dims, keepdim=True), x.shape)
    scale = g * 2.0 / count
    return expanded(scale, x.shape) * apart


def _twice(dtype: DType) -> tuple[DType, ...]:
    return dtype, dtype


@reduction(replace(MOMENTS, finish=_variance_and_mean), dtypes=FLOATS, result=_twice)
def var_mean(x: Array, *, dims: Shape, correction: float = 1.0) -> tuple[Array, Array]:
    """Variance as of `var`, and mean."""
    return _reference(x, dims, correction), _mean(x, dims)


@var_mean.vjp
def _(g: Any, y: Any, x: Node, *, dims: Shape, correction: float) -> Node | None:
    of_variance, of_mean = g
    out = None if of_variance is None else _of_variance(of_variance, x, dims, correction)
    if of_mean is None:
        return out
    count = float(numel([x.shape[d] for d in dims]))
    part = expanded(of_mean / count, x.shape)
    return part if out is None else out + part


def _add_number(total: Scalar, seen: Scalar, x: Scalar, index: Scalar) -> Scalar:
    return (total + x if x == x else total), (seen + 1.0 if x == x else seen)


def _merge_numbers(total: Scalar, seen: Scalar, other: Scalar, other_seen: Scalar) -> Scalar:
    return total + other, seen + other_seen


def _mean_of_numbers(total: Scalar, seen: Scalar, count: Scalar) -> Scalar:
    return total / seen


@reduction(
    State(_merge_numbers, lambda word: (0, 0), two_words, _add_number, _mean_of_numbers),
    dtypes=FLOATS,
)
def nanmean(x: Array, *, dims: Shape) -> Array:
    """Mean over `dims` of the elements that are not NaN."""
    missing = np.isnan(x)
    total = np.sum(np.where(missing, 0, x), axis=dims, keepdims=True)
    out: Array = total / np.sum(~missing, axis=dims, keepdims=True, dtype=total.dtype)
    return out


@nanmean.vjp
def _(g: Node, y: Node, x: Node, *, dims: Shape) -> Node:
    numbers = find("eq").apply(x, x)
    seen = as_node(sum_.apply(numbers, dims=dims), x.dtype, x.device)
    return find("where").apply(numbers, expanded(g / seen, x.shape), 0.0)


def _sample(rng: Draw) -> Any:
    arrays, attrs = sample(rng)
    return arrays, {**attrs, "correction": float(rng.choice([0.0, 0.5]))}  # below any count


var.samples(_sample)
var_mean.samples(_sample)
nanmean.samples(sample)
