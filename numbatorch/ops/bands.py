"""Linear maps along a dimension whose matrix has a few neighbouring weights in each row.

Interpolation and sums over windows are such maps, one for each dimension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.create import iota, leaf
from numbatorch.ops.index import take
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduce import reduced, sum_
from numbatorch.ops.structured import structured
from numbatorch.ops.view import narrow, permute, reshape
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


class Band(NamedTuple):
    """A matrix (outs, length) by the neighbours in each row that are not 0, and its transpose.

    Attributes:
        spans: (outs, 2), the first column of a row and how many there are.
        weights: (outs, most in a row), those of a row first.
        back_spans, back_weights: the same of the transpose.
    """

    spans: Array
    weights: Array
    back_spans: Array
    back_weights: Array


def band(starts: Array, counts: Array, weights: Array, length: int) -> Band:
    """The matrix whose row i has weights[i, :counts[i]] from column starts[i] on.

    No start is before the one above it, and no end.
    """
    outs = len(weights)
    rows = np.repeat(np.arange(outs), counts)
    steps = np.arange(rows.size) - np.repeat(np.cumsum(counts) - counts, counts)
    columns = starts[rows] + steps
    below = np.searchsorted(starts + counts, np.arange(length), side="right")
    above = np.searchsorted(starts, np.arange(length), side="right")
    found = np.where(above > below, above - below, 0)
    turned = np.zeros((length, int(found.max(initial=0))))
    turned[columns, rows - below[columns]] = weights[rows, steps]
    below = np.where(found > 0, below, 0)
    return Band(_pairs(starts, counts), weights, _pairs(below, found), turned)


def _pairs(starts: Array, counts: Array) -> Array:
    return np.stack([starts, counts], -1).astype(np.int64)


def _result(x: DType) -> DType:
    """Sums of floats are not rounded to half types; those of integers wrap around in int64."""
    return x.compute if x.kind == "f" else dt.int64


@structured(dtypes=dt.NUMBERS)
def banded(x: Array, spans: Array, weights: Array, back_spans: Array, back_weights: Array) -> Array:
    """out[r, i, j] = sum of weights[i, k] * x[r, spans[i, 0] + k, j] over k below spans[i, 1].

    Args:
        x: (R, L, C).
        spans, weights: (N, 2) integers and (N, K).
        back_spans, back_weights: (L, 2) and (L, B), the same of the transposed matrix.
    Returns:
        (R, N, C), of the dtype that x is computed in.
    """
    if x.dtype.kind in "iu":
        x, weights = x.astype(np.int64), weights.astype(np.int64)
    out = np.zeros((len(x), len(spans), x.shape[2]), x.dtype)
    for k in range(weights.shape[1]):
        rows = spans[:, 1] > k
        out[:, rows] += weights[rows, k, None] * x[:, spans[rows, 0] + k]
    return out


@banded.infer
def _(
    x: Node, spans: Node, weights: Node, back_spans: Node, back_weights: Node
) -> tuple[Shape, DType]:
    if len(x.shape) != 3 or x.dtype.kind not in "fiu":
        raise ShapeError(message("banded", "x must be numbers (R, L, C)", f"x {describe(x)}"))
    tables = ((spans, weights, weights.shape[0]), (back_spans, back_weights, x.shape[1]))
    for where, how, size in tables:
        if where.shape != (size, 2) or where.dtype is not dt.int64 or how.shape[:1] != (size,):
            shown = (f"spans {describe(where)}", f"weights {describe(how)}")
            raise ShapeError(message("banded", f"tables must be of {size} rows", *shown))
        if (how.dtype.kind == "f") != (x.dtype.kind == "f"):
            raise DTypeError(message("banded", "weights and x differ in kind", describe(how)))
    return (x.shape[0], spans.shape[0], x.shape[2]), _result(x.dtype)


@banded.vjp
def _(
    g: Node, y: Node, x: Node, spans: Node, weights: Node, back_spans: Node, back_weights: Node
) -> tuple[Node | None, ...]:
    back = banded.apply(g, back_spans, back_weights, spans, weights)
    of_weights = None
    if weights.requires_grad:
        windows = _windows(as_node(x, g.dtype, x.device), spans, weights.shape[1])
        N = weights.shape[0]
        wide = expanded(reshape.apply(g, shape=(g.shape[0], N, 1, g.shape[2])), windows.shape)
        of_weights = as_node(reduced(sum_, windows * wide, (0, 3)), weights.dtype, x.device)
    return as_node(back, x.dtype, x.device), None, of_weights, None, None


def _windows(x: Node, spans: Node, width: int) -> Node:
    """x[r, spans[i, 0] + k, j], 0 for k of spans[i, 1] and more: (R, N, K, C)."""
    (R, L, C), N = x.shape, spans.shape[0]
    shape = (N, width)
    start, count = (expanded(narrow(spans, 1, i, 1), shape) for i in (0, 1))
    steps = expanded(iota(width, x.device), shape)
    inside = find("lt").apply(steps, count)
    if L == 0 or numel(shape) == 0:
        return const(0.0, x.dtype, x.device, (R, N, width, C))
    index = find("where").apply(inside, start + steps, const(0, dt.int64, x.device, shape))
    found = permute.apply(take.apply(permute.apply(x, dims=(1, 0, 2)), index), dims=(2, 0, 1, 3))
    seen = expanded(reshape.apply(inside, shape=(1, *shape, 1)), found.shape)
    return find("where").apply(seen, found, const(0, x.dtype, x.device, found.shape))


@banded.fallback
def _(x: Node, spans: Node, weights: Node, back_spans: Node, back_weights: Node) -> Node:
    dtype = _result(x.dtype)
    windows = _windows(as_node(x, dtype, x.device), spans, weights.shape[1])
    factors = reshape.apply(as_node(weights, dtype, x.device), shape=(1, *weights.shape, 1))
    return reduced(sum_, windows * expanded(factors, windows.shape), 2)


@banded.samples
def _(rng: Draw) -> Any:
    R, L, C, N, K = rng.dims((0, 1, 1, 0, 1), (4, 9, 6, 9, 6), most=40_001)
    width = min(K, L, 70)
    starts = np.sort(rng.integers(0, L - width + 1, N))
    counts = np.full(N, width)
    weights = rng.standard_normal((N, width)).round(2)
    made = band(starts, counts, weights, L)
    return [rng.standard_normal((R, L, C)), *made], {}


def along(x: Node, dim: int, table: Band) -> Node:
    """The matrix times `x` along one dimension; sums of half types stay in float32."""
    before, length, after = x.shape[:dim], x.shape[dim], x.shape[dim + 1 :]
    flat = reshape.apply(x, shape=(numel(before), length, numel(after)))
    kind = _result(x.dtype)
    tables = [
        leaf(array, dt.int64 if number % 2 == 0 else kind, x.device)
        for number, array in enumerate(table)
    ]
    out = banded.apply(flat, *tables)
    return reshape.apply(out, shape=(*before, len(table.spans), *after))


def along_all(x: Node, tables: dict[int, Band]) -> Node:
    """Maps along several dimensions, in the order that leaves least to be done.

    Those that make a dimension smaller come first, from outside to inside, for rows are quick.
    """
    grows = {dim: len(made.spans) > x.shape[dim] for dim, made in tables.items()}
    shrinking = sorted(dim for dim in tables if not grows[dim])
    growing = sorted((dim for dim in tables if grows[dim]), reverse=True)
    for dim in (*shrinking, *growing):
        x = along(x, dim, tables[dim])
    return x
