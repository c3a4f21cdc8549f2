"""Sums and means of rows that are looked up, of bags of one size: a part of `embedding_bag`.

B bags, N rows in each, V rows of C elements in the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import DType, float32, float64
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.create import iota
from numbatorch.ops.index import check_index, in_bounds, index_add, take
from numbatorch.ops.operands import const, describe
from numbatorch.ops.reduce import sum_
from numbatorch.ops.structured import structured
from numbatorch.ops.view import reshape
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
WIDE = (float64, float32)


@structured(dtypes=WIDE, reports=True)
def sum_bags(weight: Array, index: Array, *, mean: bool) -> Array:
    """(B, C): the sums, or means, of the rows of weight (V, C) that index (B, N) lists."""
    total = weight[in_bounds(index, len(weight))].sum(1, dtype=np.float64)
    return np.asarray(total / _size(index.shape, mean)).astype(weight.dtype)


@structured(dtypes=WIDE, reports=True)
def sum_bags_backward(g: Array, index: Array, *, mean: bool, rows: int) -> Array:
    """Cotangent (rows, C) of the weight: g (B, C) added to the rows of each bag, in their order."""
    out = np.zeros((rows, g.shape[1]), g.dtype)
    spread = np.repeat(g / _size(index.shape, mean), index.shape[1], 0)
    np.add.at(out, in_bounds(index, rows).reshape(-1), spread)
    return out


def _size(shape: Shape, mean: bool) -> int:
    """What sums of bags are divided by."""
    return max(shape[1], 1) if mean else 1


@sum_bags.infer
def _(weight: Node, index: Node, *, mean: bool) -> tuple[Shape, DType]:
    check_index("sum_bags", weight, index)
    if len(weight.shape) != 2 or len(index.shape) != 2:
        rows = f"weight {describe(weight)}", f"index {describe(index)}"
        raise ShapeError(message("sum_bags", "takes (V, C) and (B, N)", *rows))
    return (index.shape[0], weight.shape[1]), weight.dtype


@sum_bags_backward.infer
def _(g: Node, index: Node, *, mean: bool, rows: int) -> tuple[Shape, DType]:
    return (rows, g.shape[1]), g.dtype


@sum_bags.vjp
def _(g: Node, y: Node, weight: Node, index: Node, *, mean: bool) -> tuple[Node, None]:
    return sum_bags_backward.apply(g, index, mean=mean, rows=weight.shape[0]), None


@sum_bags_backward.vjp
def _(g: Node, y: Node, g_bags: Node, index: Node, *, mean: bool, rows: int) -> tuple[Node, None]:
    return sum_bags.apply(g, index, mean=mean), None


@sum_bags.fallback
def _(weight: Node, index: Node, *, mean: bool) -> Node:
    total = sum_.apply(take.apply(weight, index), dims=(1,))
    total = reshape.apply(total, shape=(index.shape[0], weight.shape[1]))
    return total / _size(index.shape, mean)


@sum_bags_backward.fallback
def _(g: Node, index: Node, *, mean: bool, rows: int) -> Node:
    B, N = index.shape
    zeros = const(0.0, g.dtype, g.device, (rows, g.shape[1]))
    bag = find("floor_divide").apply(iota(B * N, g.device), max(N, 1))
    spread = take.apply(g / _size(index.shape, mean), bag)
    return index_add.apply(zeros, reshape.apply(index, shape=(numel(index.shape),)), spread)


def _drawn(rng: Draw) -> tuple[int, int, Array]:
    V, C, B, N = rng.dims((1, 1, 1, 0), (6, 4, 4, 5))
    return V, C, rng.indices(V, (B, N))


@sum_bags.samples
def _(rng: Draw) -> Any:
    V, C, index = _drawn(rng)
    return [rng.standard_normal((V, C)), index], {"mean": bool(rng.integers(2))}


@sum_bags_backward.samples
def _(rng: Draw) -> Any:
    V, C, index = _drawn(rng)
    attrs = {"mean": bool(rng.integers(2)), "rows": V}
    return [rng.standard_normal((len(index), C)), index], attrs
