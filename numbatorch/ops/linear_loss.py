"""Cross entropy of what a linear layer gives, all rows at once or some at a time."""

from __future__ import annotations

from typing import Literal

from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.linear import linear
from numbatorch.ops.linear_loss_options import LinearCrossEntropyOptions
from numbatorch.ops.loss import each_loss
from numbatorch.ops.loss_parts import reduced
from numbatorch.ops.operands import describe
from numbatorch.ops.splitting import split
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat, reshape
from numbatorch.shape import Shape, numel

NAME = "linear_cross_entropy"


@public("nn.functional", remembered=True)
def linear_cross_entropy(
    input: Node,
    linear_weight: Node,
    target: Node,
    *,
    linear_bias: Node | None = None,
    weight: Node | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    ignore_index: int | None = None,
    label_smoothing: float = 0.0,
    options: LinearCrossEntropyOptions | None = None,
) -> Node:
    """`cross_entropy` of the logits that a linear layer gives.

    Args:
        input: (N, I) or (I,).
        linear_weight: (C, d1, ..., I), and linear_bias (C, d1, ...).
        target, weight, reduction, ignore_index, label_smoothing: as of `cross_entropy`.
        options: how many rows are taken at a time, so that not all logits lie in memory
            where no gradient is taken; a gradient keeps those of all rows, and chunks save nothing.
    Raises:
        ShapeError: shapes do not fit each other.
        ValueError: ignore_index is given beside probabilities.

    >>> linear_cross_entropy(tensor([[1.0]]), tensor([[0.0], [0.0]]), tensor([1]))
    tensor(0.6931)
    """
    fits = len(input.shape) in (1, 2) and len(linear_weight.shape) >= 2
    fits = fits and input.shape[-1] == linear_weight.shape[-1]
    fits = fits and (len(input.shape) == 2 or len(linear_weight.shape) == 2)
    if not fits or (linear_bias is not None and linear_bias.shape != linear_weight.shape[:-1]):
        rows = [f"input {describe(input)}", f"linear_weight {describe(linear_weight)}"]
        if linear_bias is not None:
            rows.append(f"linear_bias {describe(linear_bias)}")
        problem = "shapes must be (N, I) or (I,), (C, d1, ..., I) and (C, d1, ...)"
        raise ShapeError(message(NAME, problem, *rows))
    if target.dtype.kind == "f" and ignore_index is not None:
        problem = "probabilities have no class that is left out: ignore_index is given"
        raise ValueError(message(NAME, problem))
    outputs = linear_weight.shape[:-1]
    flat = reshape.apply(linear_weight, shape=(numel(outputs), linear_weight.shape[-1]))
    bias = linear_bias if linear_bias is None else reshape.apply(linear_bias, shape=flat.shape[:1])
    ignored = -100 if ignore_index is None else ignore_index
    found = []
    for x, wanted in _chunks(input, target, outputs, options):
        logits = reshape.apply(linear(x, flat, bias), shape=(*x.shape[:-1], *outputs))
        found.append(each_loss(NAME, logits, wanted, weight, ignored, label_smoothing))
    losses, counts, dtype = found[0]
    if len(found) > 1:
        losses = cat([loss for loss, _, _ in found], 0)
        counted = [count for _, count, _ in found if count is not None]
        counts = cat(counted, 0) if counted else None
    return reduced(losses, reduction, dtype, counts)


def _chunks(
    input: Node, target: Node, outputs: Shape, options: LinearCrossEntropyOptions | None
) -> list[tuple[Node, Node]]:
    """Rows that are taken at a time, with their targets."""
    if options is None or len(input.shape) == 1 or not input.shape[0]:
        return [(input, target)]
    N, features = input.shape
    if not target.shape or target.shape[0] != N:
        rows = f"input {describe(input)}", f"target {describe(target)}"
        raise ShapeError(message(NAME, "input and target differ in the batch", *rows))
    size = options.rows(N, features, outputs[0])
    return list(zip(split(input, size), split(target, size), strict=True))
