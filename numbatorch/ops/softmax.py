"""softmax and log_softmax over the last dimension; cross entropy on top."""

from typing import Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.reduce import max_, mean, reduced, sum_
from numbatorch.ops.registry import describe, expanded, structured
from numbatorch.ops.view import transpose
from numbatorch.shape import Shape, normalize_dim

Array = np.ndarray[Any, Any]


def _infer(x: Node) -> tuple[Shape, DType]:
    if x.dtype.kind != "f" or not x.shape:
        raise DTypeError(message("softmax", f"needs floats of rank 1 or more, not {describe(x)}"))
    return x.shape, x.dtype


def _sample(rng: np.random.Generator) -> Any:
    return [4 * rng.standard_normal(tuple(int(n) for n in rng.integers(1, 9, 2)))], {}


@structured(source="https://pytorch.org/docs/stable/generated/torch.nn.Softmax.html")
def softmax_(x: Array) -> Array:
    """exp(x - max) / sum(exp(x - max)) over the last dimension."""
    powers = np.exp(x - x.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)


@softmax_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    inner = sum_.apply(g * y, dims=(len(x.shape) - 1,))
    return y * (g - expanded(inner, x.shape))


@softmax_.fallback
def _(x: Node) -> Node:
    last = (len(x.shape) - 1,)
    powers = find("exp").apply(x - expanded(max_.apply(x, dims=last), x.shape))
    return powers / expanded(sum_.apply(powers, dims=last), x.shape)


@structured(source="https://pytorch.org/docs/stable/generated/torch.nn.LogSoftmax.html")
def log_softmax_(x: Array) -> Array:
    """x - max - log(sum(exp(x - max))) over the last dimension."""
    centred = x - x.max(-1, keepdims=True)
    return centred - np.log(np.exp(centred).sum(-1, keepdims=True))


@log_softmax_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    total = sum_.apply(g, dims=(len(x.shape) - 1,))
    return g - find("exp").apply(y) * expanded(total, x.shape)


@log_softmax_.fallback
def _(x: Node) -> Node:
    last = (len(x.shape) - 1,)
    centred = x - expanded(max_.apply(x, dims=last), x.shape)
    total = sum_.apply(find("exp").apply(centred), dims=last)
    return centred - expanded(find("log").apply(total), x.shape)


for _op in (softmax_, log_softmax_):
    _op.infer(_infer)
    _op.samples(_sample)


def _along(op: Any, x: Node, dim: int) -> Node:
    axis = normalize_dim(op.name, dim, len(x.shape))
    if axis == len(x.shape) - 1:
        return op.apply(x)
    return transpose(op.apply(transpose(x, axis, -1)), axis, -1)


def softmax(x: Node, dim: int = -1) -> Node:
    """exp(x - max) / sum(exp(x - max)) over `dim`."""
    return _along(softmax_, x, dim)


def log_softmax(x: Node, dim: int = -1) -> Node:
    """log(softmax(x)) over `dim`, without taking the logarithm of a rounded zero."""
    return _along(log_softmax_, x, dim)


def cross_entropy(logits: Node, target: Node) -> Node:
    """Mean over rows of -log_softmax(logits)[row, target[row]], in nats.

    Args:
        logits: (N, C).
        target: (N,) integer class numbers.
    Returns:
        0-d, dtype of logits.
    """
    if len(logits.shape) != 2 or target.shape != logits.shape[:1]:
        raise ShapeError(
            message(
                "cross_entropy",
                "logits must be (N, C) and target (N,)",
                f"logits {describe(logits)}",
                f"target {describe(target)}",
            )
        )
    picked = find("gather").apply(
        log_softmax_.apply(logits), find("reshape").apply(target, shape=(*target.shape, 1))
    )
    return -mean(reduced(sum_, picked, 1))
