"""Choices among classes that a gradient flows through: the Gumbel-softmax distribution."""

from __future__ import annotations

from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import create
from numbatorch.ops.known_calls import warn
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.softmax import softmax
from numbatorch.ops.statistics import argmax
from numbatorch.ops.surface import public
from numbatorch.ops.view import reshape
from numbatorch.ops.write_through import straight_through
from numbatorch.shape import normalize_dim


@public("nn.functional")
def gumbel_softmax(
    logits: Node, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Node:
    """softmax((logits + g) / tau) with g = -log(e), e drawn from the exponential distribution.

    The largest element is at each class as often as softmax(logits) says.

    Args:
        tau: above 0; the smaller, the closer to a single class.
        hard: give 1 at the largest element and 0 elsewhere, with the gradient of the soft values.
        eps: of no effect, as in PyTorch.
    Returns:
        The shape and dtype of logits; half types are computed in float32. Numbers drawn have
        float32's precision.
    Raises:
        OutOfRange: tau is not above 0.
        DTypeError: logits are not of floats.
    Source: https://arxiv.org/abs/1611.00712, https://arxiv.org/abs/1611.01144

    >>> gumbel_softmax(tensor([0.0, 100.0, 0.0]), hard=True)
    tensor([0., 1., 0.])
    """
    name = "gumbel_softmax"
    if logits.dtype.kind != "f":
        raise DTypeError(message(name, "needs floats", f"logits {describe(logits)}"))
    if not logits.shape:
        raise ShapeError(message(name, "needs classes", f"logits {describe(logits)}"))
    if not tau > 0:
        raise OutOfRange(message(name, f"tau {tau} is not above 0"))
    if eps != 1e-10:
        warn(f"{name}: eps has no effect", stacklevel=3)
    axis = normalize_dim(name, dim, len(logits.shape))
    wide, device = logits.dtype.compute, logits.device
    drawn = create.drawn("random_exponential", logits.shape, create.next_key(device))
    gumbel = -find("log").apply(as_node(drawn, wide, device))
    values = softmax((as_node(logits, wide, device) + gumbel) / tau, axis)
    soft = as_node(values, logits.dtype, device)
    if not hard:
        return soft
    size = logits.shape[axis]
    places = reshape.apply(
        create.iota(size, device), shape=(size, *(1,) * (len(logits.shape) - 1 - axis))
    )
    chosen = find("eq").apply(argmax(soft, axis, keepdim=True), places)
    return straight_through(soft, as_node(chosen, logits.dtype, device))
