"""Layer and root-mean-square normalisation over the last dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.reduce import mean, reduced, sum_
from numbatorch.ops.registry import over_last_dimensions
from numbatorch.ops.structured import structured
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


def _check(op: str, x: Node, *weights: Node) -> tuple[Shape, DType]:
    for weight in weights:
        rows = (f"x {describe(x)}", f"weight {describe(weight)}")
        if not x.dtype.kind == weight.dtype.kind == "f":
            raise DTypeError(message(op, "x and its weights must be floats", *rows))
        if not x.shape or weight.shape != x.shape[-1:]:
            raise ShapeError(message(op, "x must be (..., C) and its weights (C,)", *rows))
    return x.shape, x.dtype


def _check_cotangent(op: str, g: Node, x: Node) -> None:
    if g.shape != x.shape or g.dtype is not x.dtype:
        raise ShapeError(message(op, "g and x differ", f"g {describe(g)}", f"x {describe(x)}"))


def _of_sums(x: Node, weight: Node) -> DType:
    """The dtype of a weight's cotangent: its own, but no wider than what the sums are taken in."""
    wide = x.dtype.compute
    return weight.dtype if weight.dtype.itemsize < wide.itemsize else wide


@structured(source="https://arxiv.org/abs/1910.07467")
def rms_norm(x: Array, weight: Array, *, eps: float = 1e-6) -> Any:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension; the mean is taken in float32."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


rms_norm.batches(over_last_dimensions, shared=(1,))


@rms_norm.infer
def _(x: Node, weight: Node, *, eps: float = 1e-6) -> tuple[Shape, DType]:
    return _check("rms_norm", x, weight)


@rms_norm.vjp
def _(g: Node, y: Node, x: Node, weight: Node, *, eps: float) -> tuple[Node, ...]:
    return rms_norm_backward.parts(g, x, weight, eps=eps)


@rms_norm.fallback
def _(x: Node, weight: Node, *, eps: float = 1e-6) -> Node:
    wide = as_node(x, x.dtype.compute, x.device)
    out = wide * expanded(_rms_scale(wide, eps), x.shape) * _like(weight, x)
    return as_node(out, x.dtype, x.device)


@rms_norm.samples
def _(rng: Draw) -> Any:
    B, C = rng.dims((0, 1), (9, 40))
    return [rng.standard_normal((B, C)), rng.standard_normal(C)], {"eps": 0.1}


@structured()
def rms_norm_backward(g: Array, x: Array, weight: Array, *, eps: float) -> tuple[Array, Array]:
    """Cotangents of rms_norm's x and weight.

    With s = 1 / sqrt(mean(x^2) + eps): dx = s * (g w - x s^2 mean(g w x)), dw = sum of g x s.
    """
    scale = 1 / np.sqrt((x * x).mean(-1, keepdims=True) + eps)
    weighted = g * weight
    inner = (weighted * x).mean(-1, keepdims=True)
    dx = scale * (weighted - x * scale**2 * inner)
    return dx, (g * x * scale).reshape(-1, x.shape[-1]).sum(0)


@rms_norm_backward.infer
def _(g: Node, x: Node, weight: Node, *, eps: float) -> list[tuple[Shape, DType]]:
    _check_cotangent("rms_norm_backward", g, x)
    _check("rms_norm_backward", x, weight)
    return [(x.shape, x.dtype), (weight.shape, _of_sums(x, weight))]


@rms_norm_backward.fallback
def _(g: Node, x: Node, weight: Node, *, eps: float) -> tuple[Node, ...]:
    wide, wide_g = (as_node(n, x.dtype.compute, x.device) for n in (x, g))
    scale = expanded(_rms_scale(wide, eps), x.shape)
    weighted = wide_g * _like(weight, x)
    inner = expanded(mean(weighted * wide, -1, keepdim=True), x.shape)
    dx = scale * (weighted - wide * scale * scale * inner)
    return as_node(dx, x.dtype, x.device), _over_rows(wide_g * wide * scale, _of_sums(x, weight))


@rms_norm_backward.samples
def _(rng: Draw) -> Any:
    B, C = rng.dims((0, 1), (9, 40))
    x, g = rng.standard_normal((2, B, C))
    return [g, x, rng.standard_normal(C)], {"eps": 0.1}


@structured(source="https://arxiv.org/abs/1607.06450")
def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float = 1e-5) -> Any:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimension, biased variance."""
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred * centred).mean(-1, keepdims=True) + eps)
    return centred / scale * weight + bias


layer_norm.batches(over_last_dimensions, shared=(1, 2))


@layer_norm.infer
def _(x: Node, weight: Node, bias: Node, *, eps: float = 1e-5) -> tuple[Shape, DType]:
    return _check("layer_norm", x, weight, bias)


@layer_norm.vjp
def _(g: Node, y: Node, x: Node, weight: Node, bias: Node, *, eps: float) -> tuple[Node, ...]:
    return layer_norm_backward.parts(g, x, weight, eps=eps)


@layer_norm.fallback
def _(x: Node, weight: Node, bias: Node, *, eps: float = 1e-5) -> Node:
    wide = as_node(x, x.dtype.compute, x.device)
    centred = wide - expanded(mean(wide, -1, keepdim=True), x.shape)
    scale = expanded(_rms_scale(centred, eps), x.shape)
    out = centred * scale * _like(weight, x) + _like(bias, x)
    return as_node(out, x.dtype, x.device)


@layer_norm.samples
def _(rng: Draw) -> Any:
    B, C = rng.dims((0, 2), (9, 40))
    return [rng.standard_normal(shape) for shape in ((B, C), C, C)], {"eps": 0.1}


@structured()
def layer_norm_backward(g: Array, x: Array, weight: Array, *, eps: float) -> tuple[Array, ...]:
    """Cotangents of layer_norm's x, weight and bias.

    With h = (x - mean) s and s = 1 / sqrt(var + eps): dx = s * (g w - mean(g w) - h mean(g w h)),
    dw = sum of g h, db = sum of g.
    """
    centred = x - x.mean(-1, keepdims=True)
    scale = 1 / np.sqrt((centred * centred).mean(-1, keepdims=True) + eps)
    unit, weighted = centred * scale, g * weight
    inner = (weighted * unit).mean(-1, keepdims=True)
    dx = scale * (weighted - weighted.mean(-1, keepdims=True) - unit * inner)
    return dx, *(part.reshape(-1, x.shape[-1]).sum(0) for part in (g * unit, g))


@layer_norm_backward.infer
def _(g: Node, x: Node, weight: Node, *, eps: float) -> list[tuple[Shape, DType]]:
    _check_cotangent("layer_norm_backward", g, x)
    _check("layer_norm_backward", x, weight)
    return [(x.shape, x.dtype), *[(weight.shape, _of_sums(x, weight))] * 2]


@layer_norm_backward.fallback
def _(g: Node, x: Node, weight: Node, *, eps: float) -> tuple[Node, ...]:
    wide, wide_g = (as_node(n, x.dtype.compute, x.device) for n in (x, g))
    centred = wide - expanded(mean(wide, -1, keepdim=True), x.shape)
    scale = expanded(_rms_scale(centred, eps), x.shape)
    unit, weighted = centred * scale, wide_g * _like(weight, x)
    across = expanded(mean(weighted, -1, keepdim=True), x.shape)
    inner = expanded(mean(weighted * unit, -1, keepdim=True), x.shape)
    dx = scale * (weighted - across - unit * inner)
    sums = [_over_rows(part, _of_sums(x, weight)) for part in (wide_g * unit, wide_g)]
    return as_node(dx, x.dtype, x.device), *sums


@layer_norm_backward.samples
def _(rng: Draw) -> Any:
    B, C = rng.dims((0, 2), (9, 40))
    x, g = rng.standard_normal((2, B, C))
    return [g, x, rng.standard_normal(C)], {"eps": 0.1}


def _rms_scale(x: Node, eps: float) -> Node:
    """1 / sqrt(mean(x^2) + eps) over the last dimension, which stays with size 1."""
    return find("rsqrt").apply(mean(x * x, -1, keepdim=True) + eps)


def _like(weight: Node, x: Node) -> Node:
    """The weight in the dtype that x is computed in, expanded to the shape of x."""
    return expanded(as_node(weight, x.dtype.compute, x.device), x.shape)


def _over_rows(x: Node, dtype: DType) -> Node:
    """The sum over all dimensions but the last, rounded to `dtype`."""
    rows = tuple(range(len(x.shape) - 1))
    return as_node(reduced(sum_, x, rows) if rows else x, dtype, x.device)
