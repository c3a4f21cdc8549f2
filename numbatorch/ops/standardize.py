"""Elements without the mean and in units of the deviation of a group, scaled and moved.

What normalisation by batch, image and group of channels have in common: they differ in the
dimensions of a group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.graph import Node, find
from numbatorch.ops.moments import var_mean
from numbatorch.ops.operands import as_node, expanded
from numbatorch.ops.reduce import sum_
from numbatorch.ops.structured import structured
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


@structured(source="https://arxiv.org/abs/1502.03167")
def standardize(x: Array, weight: Array, bias: Array, *, dims: Shape, eps: float) -> Any:
    """(x - mean) / sqrt(var + eps) * weight + bias, mean, var; these two are over `dims`.

    Weight and bias have as many dimensions as x, each of its size or 1. The variance is that of
    the elements themselves, over their number.
    """
    mean = x.mean(dims, keepdims=True)
    var = ((x - mean) ** 2).mean(dims, keepdims=True)
    return (x - mean) / np.sqrt(var + eps) * weight + bias, mean, var


@standardize.infer
def _(x: Node, weight: Node, bias: Node, *, dims: Shape, eps: float) -> list[tuple[Shape, DType]]:
    wide = x.dtype.compute
    assert weight.shape == bias.shape and weight.dtype.kind == bias.dtype.kind == "f"
    assert all(n in (1, size) for n, size in zip(weight.shape, x.shape, strict=True))
    group = tuple(1 if d in dims else size for d, size in enumerate(x.shape))
    return [(x.shape, x.dtype), (group, wide), (group, wide)]


@standardize.fallback
def _(x: Node, weight: Node, bias: Node, *, dims: Shape, eps: float) -> tuple[Node, ...]:
    wide, weight, bias = (as_node(n, x.dtype.compute, x.device) for n in (x, weight, bias))
    var, mean = var_mean.parts(wide, dims=dims, correction=0.0)
    scale = _like(_inverse(var, eps), x) * _like(weight, x)
    out = (wide - _like(mean, x)) * scale + _like(bias, x)
    return as_node(out, x.dtype, x.device), mean, var


def _inverse(var: Node, eps: float) -> Node:
    found: Node = find("rsqrt").apply(var + eps)
    return found


def _like(part: Node, x: Node) -> Node:
    return expanded(part, x.shape)


def _sum(x: Node, dims: Shape) -> Node:
    return sum_.apply(x, dims=dims) if dims else x


@standardize.vjp
def _(
    g: Any, y: Any, x: Node, weight: Node, bias: Node, *, dims: Shape, eps: float
) -> tuple[Node | None, ...]:
    of_out, of_mean, of_var = g
    _, mean, var = y
    dx = d_weight = d_bias = None
    if of_out is not None:
        parts = standardize_backward.parts(of_out, x, weight, mean, var, dims=dims, eps=eps)
        dx, d_weight, d_bias = parts
        d_bias = as_node(d_bias, bias.dtype, x.device)
    wide, count = as_node(x, x.dtype.compute, x.device), _count(x, dims)
    for part in (
        None if of_mean is None else _like(of_mean / count, x),
        None if of_var is None else (wide - _like(mean, x)) * _like(of_var * 2.0 / count, x),
    ):
        if part is not None:
            dx = part if dx is None else dx + part
    return None if dx is None else as_node(dx, x.dtype, x.device), d_weight, d_bias


def _count(x: Node, dims: Shape) -> float:
    return float(numel([x.shape[d] for d in dims]))


@structured()
def standardize_backward(
    g: Array, x: Array, weight: Array, mean: Array, var: Array, *, dims: Shape, eps: float
) -> Any:
    """Cotangents of standardize's x, weight and bias, which moved by way of mean and var too.

    With h = (x - mean) / s, s = sqrt(var + eps): dbias = sum g, dweight = sum g h, and
    dx = (g w - mean(g w) - h mean(g w h)) / s.
    """
    scale = 1 / np.sqrt(var + eps)
    h, weighted = (x - mean) * scale, g * weight
    across, inner = (n.mean(dims, keepdims=True) for n in (weighted, weighted * h))
    shared = tuple(d for d, n in enumerate(weight.shape) if n == 1)
    sums = ((g * h).sum(shared, keepdims=True), g.sum(shared, keepdims=True))
    return (weighted - across - h * inner) * scale, *sums


@standardize_backward.infer
def _(
    g: Node, x: Node, weight: Node, mean: Node, var: Node, *, dims: Shape, eps: float
) -> list[tuple[Shape, DType]]:
    assert g.shape == x.shape and g.dtype is x.dtype and mean.shape == var.shape
    return [(x.shape, x.dtype), (weight.shape, weight.dtype), (weight.shape, weight.dtype)]


@standardize_backward.fallback
def _(
    g: Node, x: Node, weight: Node, mean: Node, var: Node, *, dims: Shape, eps: float
) -> tuple[Node, ...]:
    """Sums that both need are taken once, and each launch takes x - mean anew: it would be no less
    to read."""
    wide, count = as_node(x, x.dtype.compute, x.device), _count(x, dims)
    g_wide, w = (as_node(n, wide.dtype, x.device) for n in (g, weight))
    inverse = _inverse(var, eps)
    shared = tuple(d for d, n in enumerate(weight.shape) if n == 1 and x.shape[d] != 1)
    both = tuple(d for d in shared if d in dims)
    sum_g = _sum(g_wide, both)
    sum_gh = _sum(g_wide * (_like(mean, x) - wide), both)
    sum_gh = sum_gh * expanded(-inverse, sum_gh.shape)
    of_weight = tuple(d for d in shared if d not in dims)
    of_group = tuple(d for d in dims if d not in shared and x.shape[d] != 1)
    w_each = expanded(w, sum_g.shape)
    mean_gw, mean_gwh = (_sum(n * w_each, of_group) / count for n in (sum_g, sum_gh))
    gw_centred = g_wide * _like(w, x) - _like(mean_gw, x)
    along = _like(inverse * mean_gwh, x)
    dx = (gw_centred - (wide - _like(mean, x)) * along) * _like(inverse, x)
    sums = [as_node(_sum(n, of_weight), weight.dtype, x.device) for n in (sum_gh, sum_g)]
    return as_node(dx, x.dtype, x.device), *sums


def _sample(rng: Draw) -> Any:
    N, G, C, L = rng.dims((1, 1, 1, 2), (4, 3, 4, 9))
    x = rng.standard_normal((N, G, C, L))
    dims, shape = [((0, 2, 3), (1, G, 1, 1)), ((2, 3), (1, G, C, 1)), ((3,), (1, G, C, 1))][
        int(rng.integers(3))
    ]
    return [x, rng.standard_normal(shape), rng.standard_normal(shape)], {"dims": dims, "eps": 0.1}


standardize.samples(_sample)


@standardize_backward.samples
def _(rng: Draw) -> Any:
    (x, weight, _), attrs = _sample(rng)
    dims = attrs["dims"]
    mean, var = x.mean(dims, keepdims=True), x.var(dims, keepdims=True)
    return [rng.standard_normal(x.shape), x, weight, mean, var], attrs


standardize.peer = "torch.var_mean"
