"""Weighted sums of a few elements at given places of each row, and their two gradients.

Three trilinear maps that are each other's gradients, so there are gradients of any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.structured import structured
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


def _check(operator: str, fits: bool, *nodes: Node) -> DType:
    floats = [node for node in nodes if node.dtype is not dt.int64]
    ranks = all(len(node.shape) == 3 for node in nodes) and len(floats) == 2
    if not ranks or not fits or any(node.dtype.kind != "f" for node in floats):
        raise ShapeError(message(operator, "operands do not fit", *map(describe, nodes)))
    wide = [node.dtype.compute for node in floats]
    return wide[0] if wide[0].itemsize >= wide[1].itemsize else wide[1]


def _seen(index: Array, size: int) -> tuple[Array, Array]:
    inside = (index >= 0) & (index < size)
    return inside, np.where(inside, index, 0)


@structured()
def sum_points(x: Array, weights: Array, index: Array) -> Array:
    """out[n, c, p] = sum of weights[n, p, k] * x[n, c, index[n, p, k]] over k.

    Args:
        x: (N, C, S).
        weights, index: (N, P, K), floats and int64; places that are not in [0, S) do not count.
    Returns:
        (N, C, P), of the dtype that x is computed in.
    """
    inside, places = _seen(index, x.shape[2])
    out = np.zeros((*x.shape[:2], index.shape[1]), np.result_type(x, weights))
    rows = np.arange(len(x))[:, None]
    for k in range(index.shape[2] if x.shape[2] else 0):
        found = np.where(inside[:, None, :, k], x[rows, :, places[..., k]].transpose(0, 2, 1), 0)
        out += found * np.where(inside[..., k], weights[..., k], 0)[:, None]
    return out


@sum_points.infer
def _(x: Node, weights: Node, index: Node) -> tuple[Shape, DType]:
    fits = weights.shape == index.shape and x.shape[:1] == index.shape[:1]
    return (*x.shape[:2], *index.shape[1:2]), _check("sum_points", fits, x, weights, index)


@sum_points.vjp
def _(g: Node, y: Node, x: Node, weights: Node, index: Node) -> tuple[Node, Node, None]:
    return _spread(g, weights, index, x), _weigh(g, x, index, weights), None


@structured()
def spread_points(g: Array, weights: Array, index: Array, *, size: int) -> Array:
    """out[n, c, s] = sum of weights[n, p, k] * g[n, c, p] over all p, k with index[n, p, k] = s.

    Args:
        g: (N, C, P).
        weights, index: (N, P, K).
        size: S.
    Returns:
        (N, C, S).
    """
    inside, places = _seen(index, size)
    out = np.zeros((*g.shape[:2], size), np.result_type(g, weights))
    for n, k in np.ndindex(len(g), index.shape[2]):
        seen = inside[n, :, k]
        terms = g[n][:, seen] * weights[n, seen, k]
        np.add.at(out[n].T, places[n, seen, k], terms.T)
    return out


@spread_points.infer
def _(g: Node, weights: Node, index: Node, *, size: int) -> tuple[Shape, DType]:
    fits = weights.shape == index.shape and g.shape[:1] == index.shape[:1]
    fits = fits and g.shape[2:] == index.shape[1:2]
    return (*g.shape[:2], size), _check("spread_points", fits, g, weights, index)


@spread_points.vjp
def _(h: Node, y: Node, g: Node, weights: Node, index: Node, *, size: int) -> tuple[Any, ...]:
    return _sum(h, weights, index, g), _weigh(g, h, index, weights), None


@structured()
def weigh_points(g: Array, x: Array, index: Array) -> Array:
    """out[n, p, k] = sum of g[n, c, p] * x[n, c, index[n, p, k]] over c.

    Args:
        g, x: (N, C, P) and (N, C, S).
        index: (N, P, K).
    Returns:
        (N, P, K), 0 for places that are not in [0, S).
    """
    inside, places = _seen(index, x.shape[2])
    out = np.zeros(index.shape, np.result_type(g, x))
    rows = np.arange(len(x))[:, None]
    for k in range(index.shape[2] if x.shape[2] else 0):
        found = x[rows, :, places[..., k]].transpose(0, 2, 1)
        out[..., k] = np.where(inside[:, None, :, k], found * g, 0).sum(1)
    return out


@weigh_points.infer
def _(g: Node, x: Node, index: Node) -> tuple[Shape, DType]:
    fits = g.shape[:2] == x.shape[:2] and g.shape[2:] == index.shape[1:2]
    fits = fits and g.shape[:1] == index.shape[:1]
    return index.shape, _check("weigh_points", fits, g, x, index)


@weigh_points.vjp
def _(v: Node, y: Node, g: Node, x: Node, index: Node) -> tuple[Node, Node, None]:
    return _sum(x, v, index, g), _spread(g, v, index, x), None


def _sum(x: Node, weights: Node, index: Node, like: Node) -> Node:
    return as_node(sum_points.apply(x, weights, index), like.dtype, x.device)


def _spread(g: Node, weights: Node, index: Node, like: Node) -> Node:
    out = spread_points.apply(g, weights, index, size=like.shape[2])
    return as_node(out, like.dtype, g.device)


def _weigh(g: Node, x: Node, index: Node, like: Node) -> Node:
    return as_node(weigh_points.apply(g, x, index), like.dtype, g.device)


def _drawn(rng: Draw) -> Any:
    N, C, S, P, K = rng.dims((0, 0, 1, 0, 1), (3, 4, 9, 9, 5), most=2001)
    index = rng.integers(-1, S + 1, (N, P, K))
    return [rng.standard_normal(shape) for shape in ((N, C, S), (N, C, P), (N, P, K))], index


@sum_points.samples
def _(rng: Draw) -> Any:
    (x, _, weights), index = _drawn(rng)
    return [x, weights, index], {}


@spread_points.samples
def _(rng: Draw) -> Any:
    (x, g, weights), index = _drawn(rng)
    return [g, weights, index], {"size": x.shape[2]}


@weigh_points.samples
def _(rng: Draw) -> Any:
    (x, g, _), index = _drawn(rng)
    return [g, x, index], {}
