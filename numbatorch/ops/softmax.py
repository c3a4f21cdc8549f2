"""softmax and log_softmax, whose kernels go along the last dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import DType, Like
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, Op, find
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.parts import in_dtype
from numbatorch.ops.reduce import max_, sum_
from numbatorch.ops.registry import over_last_dimensions
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import EVERYWHERE, public
from numbatorch.ops.view import reshape, transpose
from numbatorch.shape import Shape, normalize_dim

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


def _infer(x: Node) -> tuple[Shape, DType]:
    if x.dtype.kind != "f" or not x.shape:
        raise DTypeError(message("softmax", f"needs floats of rank 1 or more, not {describe(x)}"))
    return x.shape, x.dtype


def _infer_backward(g: Node, y: Node) -> tuple[Shape, DType]:
    if g.shape != y.shape or g.dtype is not y.dtype:
        raise ShapeError(
            message("softmax_backward", "g and y differ", f"g {describe(g)}", f"y {describe(y)}")
        )
    return _infer(y)


def _sample(rng: Draw) -> Any:
    return [4 * rng.standard_normal(rng.dims((0, 1), (6, 40)))], {}


def _sample_backward(rng: Draw) -> Any:
    shape = rng.dims((0, 1), (6, 40))
    return [rng.standard_normal(shape), rng.standard_normal(shape)], {}


@structured(source="https://pytorch.org/docs/stable/generated/torch.nn.Softmax.html")
def softmax_(x: Array) -> Any:
    """exp(x - max) / sum(exp(x - max)) over the last dimension."""
    powers = np.exp(x - x.max(-1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(-1, keepdims=True)


softmax_.batches(over_last_dimensions)


@softmax_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return softmax_backward.apply(g, y)


@softmax_.fallback
def _(x: Node) -> Node:
    if not x.shape[-1]:
        return x
    last = (len(x.shape) - 1,)
    wide = as_node(x, x.dtype.compute, x.device)
    powers = find("exp").apply(wide - expanded(max_.apply(wide, dims=last), x.shape))
    out = powers / expanded(sum_.apply(powers, dims=last), x.shape)
    return as_node(out, x.dtype, x.device)


@structured()
def softmax_backward(g: Array, y: Array) -> Any:
    """Cotangent of the input of softmax: y * (g - sum(g * y)) over the last dimension."""
    return y * (g - (g * y).sum(-1, keepdims=True))


@softmax_backward.fallback
def _(g: Node, y: Node) -> Node:
    wide, wide_g = (as_node(n, y.dtype.compute, y.device) for n in (y, g))
    inner = sum_.apply(wide_g * wide, dims=(len(y.shape) - 1,))
    return as_node(wide * (wide_g - expanded(inner, y.shape)), y.dtype, y.device)


@structured(source="https://pytorch.org/docs/stable/generated/torch.nn.LogSoftmax.html")
def log_softmax_(x: Array) -> Any:
    """x - max - log(sum(exp(x - max))) over the last dimension."""
    centred = x - x.max(-1, keepdims=True, initial=-np.inf)
    return centred - np.log(np.exp(centred).sum(-1, keepdims=True))


log_softmax_.batches(over_last_dimensions)


@log_softmax_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return log_softmax_backward.apply(g, y)


@log_softmax_.fallback
def _(x: Node) -> Node:
    if not x.shape[-1]:
        return x
    last = (len(x.shape) - 1,)
    wide = as_node(x, x.dtype.compute, x.device)
    centred = wide - expanded(max_.apply(wide, dims=last), x.shape)
    total = sum_.apply(find("exp").apply(centred), dims=last)
    out = centred - expanded(find("log").apply(total), x.shape)
    return as_node(out, x.dtype, x.device)


@structured()
def log_softmax_backward(g: Array, y: Array) -> Any:
    """Cotangent of the input of log_softmax: g - exp(y) * sum(g) over the last dimension."""
    return g - np.exp(y) * g.sum(-1, keepdims=True)


@log_softmax_backward.fallback
def _(g: Node, y: Node) -> Node:
    wide, wide_g = (as_node(n, y.dtype.compute, y.device) for n in (y, g))
    total = sum_.apply(wide_g, dims=(len(y.shape) - 1,))
    out = wide_g - find("exp").apply(wide) * expanded(total, y.shape)
    return as_node(out, y.dtype, y.device)


for _op in (softmax_, log_softmax_):
    _op.infer(_infer)
    _op.samples(_sample)
for _op in (softmax_backward, log_softmax_backward):
    _op.infer(_infer_backward)
    _op.batches(over_last_dimensions)
    _op.samples(_sample_backward)


def _along(op: Op, x: Node, dim: int) -> Node:
    axis = normalize_dim(op.name, dim, len(x.shape))
    if not x.shape:
        return reshape.apply(op.apply(reshape.apply(x, shape=(1,))), shape=())
    if axis == len(x.shape) - 1:
        return op.apply(x)
    return transpose(op.apply(transpose(x, axis, -1)), axis, -1)


@public(*EVERYWHERE, "nn.functional", "special", remembered=True)
def softmax(input: Node, dim: int, dtype: Like | None = None) -> Node:
    """exp(x - max) / sum(exp(x - max)) along `dim`, in `dtype` if one is given.

    >>> softmax(tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    return _along(softmax_, in_dtype("softmax", input, dtype), dim)


@public(*EVERYWHERE, "nn.functional", "special", remembered=True)
def log_softmax(input: Node, dim: int, dtype: Like | None = None) -> Node:
    """log(softmax(x)) along `dim`, without taking the logarithm of a rounded zero.

    >>> log_softmax(tensor([0.0, 1000.0]), 0)
    tensor([-1000.,     0.])
    """
    return _along(log_softmax_, in_dtype("log_softmax", input, dtype), dim)


@public("nn.functional", remembered=True)
def softmin(input: Node, dim: int, dtype: Like | None = None) -> Node:
    """softmax(-x) along `dim`, in `dtype` if one is given.

    >>> softmin(tensor([0.0, 0.0]), 0)
    tensor([0.5000, 0.5000])
    """
    return _along(softmax_, -in_dtype("softmin", input, dtype), dim)
