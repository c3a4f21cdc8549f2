"""Writing at places that integer tensors name: the last value stays, or values are merged.

Places may repeat. Values come in order, so the result is always the same. Sums stand in index.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.compare import eq, ne, where
from numbatorch.ops.create import iota
from numbatorch.ops.index import check_index, gather, in_bounds, scatter_add, take
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.structured import structured
from numbatorch.ops.view import cat, narrow, reshape
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


@structured(dtypes=dt.PLAIN, inplace=0, by_parts=True, reports=True)
def put_rows(base: Array, index: Array, value: Array) -> Array:
    """base with value[i..., :] as row index[i...]; of equal indices the last counts."""
    out = base.copy()
    rows = in_bounds(index, base.shape[0]).reshape(-1)
    for row, new in zip(rows, value.reshape(rows.size, *base.shape[1:]), strict=True):
        out[row] = new
    return out


@put_rows.infer
def _(base: Node, index: Node, value: Node) -> tuple[Shape, DType]:
    check_index("put_rows", base, index)
    fits = bool(base.shape) and value.shape == (*index.shape, *base.shape[1:])
    if not fits or value.dtype is not base.dtype:
        raise _misfit("put_rows", base, index, value)
    return base.shape, base.dtype


@put_rows.vjp
def _(g: Node, y: Node, base: Node, index: Node, value: Node) -> Any:
    tail = (1,) * (len(base.shape) - 1)
    number = reshape.apply(iota(numel(index.shape), g.device), shape=index.shape)
    winners = put_rows.apply(const(0, dt.int64, g.device, base.shape[:1]), index, number)
    stays = reshape.apply(eq.apply(take.apply(winners, index), number), shape=(*index.shape, *tail))
    hole = const(0.0, g.dtype, g.device, value.shape)
    return put_rows.apply(g, index, hole), None, where.apply(stays, take.apply(g, index), 0.0)


@put_rows.samples
def _(rng: Draw) -> Any:
    V, C, N = rng.dims((1, 0, 0), (6, 4, 4))
    index = rng.indices(V, (2, N))
    return [rng.standard_normal((V, C)), index, rng.standard_normal((2, N, C))], {}


@structured(dtypes=dt.PLAIN, inplace=0, by_parts=True, reports=True)
def scatter_set(base: Array, index: Array, value: Array) -> Array:
    """base with value[..., j] at index[..., j] of the last dimension; the last j counts."""
    out, (rows, flat, values) = base.copy(), _by_row(base, index, value)
    lines = out.reshape(rows, base.shape[-1])
    for j in range(flat.shape[-1]):
        lines[np.arange(rows), flat[:, j]] = values[:, j]
    return out


@scatter_set.infer
def _(base: Node, index: Node, value: Node) -> tuple[Shape, DType]:
    return _inferred("scatter_set", base, index, value)


@scatter_set.vjp
def _(g: Node, y: Node, base: Node, index: Node, value: Node) -> Any:
    number = expanded(iota(index.shape[-1], g.device), index.shape)
    winners = scatter_set.apply(const(0, dt.int64, g.device, base.shape), index, number)
    stays = eq.apply(gather.apply(winners, index), number)
    hole = const(0.0, g.dtype, g.device, value.shape)
    return scatter_set.apply(g, index, hole), None, where.apply(stays, gather.apply(g, index), 0.0)


def _draw_elements(rng: Draw) -> Any:
    R, C, N = rng.dims((0, 1, 0), (4, 6, 5))
    return [rng.standard_normal((R, C)), rng.indices(C, (R, N)), rng.standard_normal((R, N))], {}


scatter_set.samples(_draw_elements)

Merge = Literal["prod", "amin", "amax"]
_MERGES: dict[str, np.ufunc] = {"prod": np.multiply, "amin": np.minimum, "amax": np.maximum}


@structured(dtypes=dt.PLAIN, inplace=0, reports=True)
def scatter_merge(base: Array, index: Array, value: Array, *, reduce: Merge) -> Array:
    """base[..., i] merged with every value[..., j] whose index[..., j] is i.

    Products of half types are taken in float32; NaN wins in extremes.
    """
    out, (rows, flat, values) = base.copy(), _by_row(base, index, value)
    lines = (np.arange(rows)[:, None], flat)
    _MERGES[reduce].at(out.reshape(rows, base.shape[-1]), lines, values)
    return out


scatter_merge.peer = "torch.scatter_reduce"


@scatter_merge.infer
def _(base: Node, index: Node, value: Node, *, reduce: Merge) -> tuple[Shape, DType]:
    return _inferred("scatter_merge", base, index, value)


@scatter_merge.vjp
def _(g: Node, y: Node, base: Node, index: Node, value: Node, *, reduce: Merge) -> Any:
    if reduce == "prod":
        whole, others = _products(base, index, value)
        return g * whole, None, gather.apply(g, index) * gather.apply(base, index) * others
    kept = as_node(eq.apply(base, y), dt.int64, g.device)
    chosen = eq.apply(value, gather.apply(y, index))
    ties = scatter_add.apply(kept, index, as_node(chosen, dt.int64, g.device))
    each = g / where.apply(eq.apply(ties, 0), 1, ties)  # 0 is of NaN, which equals nothing
    return (
        where.apply(ne.apply(kept, 0), each, 0.0),
        None,
        where.apply(chosen, gather.apply(each, index), 0.0),
    )


@scatter_merge.samples
def _(rng: Draw) -> Any:
    operands, _ = _draw_elements(rng)
    return operands, {"reduce": ("prod", "amin", "amax")[int(rng.integers(3))]}


def _products(base: Node, index: Node, value: Node) -> tuple[Node, Node]:
    """For each element of base the product of its values; for each value that of its others.

    Made of products in order of index, spans of them that double, so no factor is divided by and a
    derivative of any order is right where factors are 0.
    """
    sorting: Any = find("topk")
    order = sorting.parts(index, k=index.shape[-1], largest=False)[1]
    back = scatter_set.apply(
        order, order, expanded(iota(index.shape[-1], base.device), order.shape)
    )
    places, factors = gather.apply(index, order), gather.apply(value, order)
    before = _spanned(_shifted(factors, places, 1), places, 1)
    after = _spanned(_shifted(factors, places, -1), places, -1)
    ones = const(1, base.dtype, base.device, base.shape)
    return (
        scatter_merge.apply(ones, index, value, reduce="prod"),
        gather.apply(before * after, back),
    )


def _spanned(product: Node, places: Node, way: int) -> Node:
    """The product of all factors of the same place on one side, from that of the next one."""
    span = 1
    while span < places.shape[-1]:
        product = product * _shifted(product, places, way * span)
        span *= 2
    return product


def _shifted(x: Node, places: Node, by: int) -> Node:
    """x[..., j - by] where the place there is that of j, else 1."""
    N, count = x.shape[-1], abs(by)
    if count >= N:
        return const(1, x.dtype, x.device, x.shape)
    ends = const(1, x.dtype, x.device, (*x.shape[:-1], count))
    first, second = narrow(x, -1, 0, N - count), narrow(x, -1, count, N - count)
    same = eq.apply(narrow(places, -1, 0, N - count), narrow(places, -1, count, N - count))
    parts = [ends, where.apply(same, first, 1)] if by > 0 else [where.apply(same, second, 1), ends]
    return cat(parts, -1)


def _by_row(base: Array, index: Array, value: Array) -> tuple[int, Array, Array]:
    rows, count = numel(base.shape[:-1]), index.shape[-1]
    found = in_bounds(index, base.shape[-1]).reshape(rows, count)
    return rows, found, value.reshape(rows, count)


def _inferred(op: str, base: Node, index: Node, value: Node) -> tuple[Shape, DType]:
    check_index(op, base, index)
    fits = bool(base.shape) and len(base.shape) == len(index.shape)
    fits = fits and base.shape[:-1] == index.shape[:-1] and index.shape == value.shape
    if not fits or value.dtype is not base.dtype:
        raise _misfit(op, base, index, value)
    return base.shape, base.dtype


def _misfit(op: str, base: Node, index: Node, value: Node) -> ShapeError:
    return ShapeError(
        message(
            op,
            "index and value do not fit base in shape or dtype",
            f"base {describe(base)}",
            f"index {describe(index)}",
            f"value {describe(value)}",
        )
    )
