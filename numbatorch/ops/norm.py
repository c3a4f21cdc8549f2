"""Layer and root-mean-square normalisation over the last dimension."""

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.reduce import mean
from numbatorch.ops.registry import as_node, describe, expanded, structured
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


def _check(op: str, x: Node, *weights: Node) -> tuple[Shape, DType]:
    for weight in weights:
        if x.dtype.kind != "f" or not x.shape or weight.shape != x.shape[-1:]:
            raise ShapeError(
                message(
                    op,
                    "x must be floats (..., C) and its weights (C,)",
                    f"x {describe(x)}",
                    f"weight {describe(weight)}",
                )
            )
    return x.shape, x.dtype


@structured(source="https://arxiv.org/abs/1910.07467")
def rms_norm(x: Array, weight: Array, *, eps: float = 1e-6) -> Array:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension; the mean is taken in float32."""
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


@rms_norm.infer
def _(x: Node, weight: Node, *, eps: float = 1e-6) -> tuple[Shape, DType]:
    return _check("rms_norm", x, weight)


@rms_norm.fallback
def _(x: Node, weight: Node, *, eps: float = 1e-6) -> Node:
    wide = as_node(x, x.dtype.compute, x.device)
    scale = find("rsqrt").apply(mean(wide * wide, -1, keepdim=True) + eps)
    return as_node(wide * expanded(scale, x.shape) * _wide(weight), x.dtype, x.device)


@rms_norm.samples
def _(rng: np.random.Generator) -> Any:
    B, C = (int(n) for n in rng.integers(1, 9, 2))
    return [rng.standard_normal((B, C)), rng.standard_normal(C)], {"eps": 1e-5}


@structured(source="https://arxiv.org/abs/1607.06450")
def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float = 1e-5) -> Array:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimension, biased variance."""
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred * centred).mean(-1, keepdims=True) + eps)
    return centred / scale * weight + bias


@layer_norm.infer
def _(x: Node, weight: Node, bias: Node, *, eps: float = 1e-5) -> tuple[Shape, DType]:
    return _check("layer_norm", x, weight, bias)


@layer_norm.fallback
def _(x: Node, weight: Node, bias: Node, *, eps: float = 1e-5) -> Node:
    wide = as_node(x, x.dtype.compute, x.device)
    centred = wide - expanded(mean(wide, -1, keepdim=True), x.shape)
    scale = find("rsqrt").apply(mean(centred * centred, -1, keepdim=True) + eps)
    out = centred * expanded(scale, x.shape) * _wide(weight) + _wide(bias)
    return as_node(out, x.dtype, x.device)


@layer_norm.samples
def _(rng: np.random.Generator) -> Any:
    B, C = (int(n) for n in rng.integers(2, 9, 2))
    return [rng.standard_normal((B, C)), rng.standard_normal(C), rng.standard_normal(C)], {
        "eps": 1e-5
    }


def _wide(weight: Node) -> Node:
    wide = dt.float64 if weight.dtype is dt.float64 else dt.float32
    return as_node(weight, wide, weight.device)
