"""Public functions of losses: PyTorch's, on nodes."""

from __future__ import annotations

from typing import Literal

from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import compare, unary
from numbatorch.ops.arithmetic import masked_fill
from numbatorch.ops.index import take
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.selecting import gather
from numbatorch.ops.shaping import reshape, squeeze, unsqueeze
from numbatorch.ops.softmax import log_softmax
from numbatorch.ops.statistics import mean, sum
from numbatorch.ops.surface import public

Mean = Literal["none", "mean", "sum"]


@public("nn.functional")
def cross_entropy(
    input: Node,
    target: Node,
    weight: Node | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
) -> Node:
    """-log(softmax(input)) of the target class, in nats.

    Args:
        input: logits (N, C), (C,) or (N, C, d1, ...).
        target: class numbers (N,), () or (N, d1, ...); or probabilities in the shape of input.
        weight: (C,), factor on each class; the mean is over the sum of the targets' weights.
        ignore_index: target class that adds nothing, and that the mean leaves out.
        reduction: "mean", "sum" or "none".
        label_smoothing: share of the target that is spread over all classes.
        size_average, reduce: of older PyTorch; `reduction` says what they said.
    Raises:
        OutOfRange: a class number is not in [0, C); when the result is realized.

    >>> cross_entropy(tensor([[0.0, 0.0]]), tensor([1]))
    tensor(0.6931)
    """
    axis = 0 if len(input.shape) == 1 else 1
    logs = log_softmax(input, axis)
    if target.dtype.kind == "f":
        return _of_probabilities(logs, target, weight, reduction, label_smoothing, axis)
    losses, counts = _nll("cross_entropy", logs, target, weight, ignore_index, axis)
    if label_smoothing:
        share = label_smoothing / logs.shape[axis]
        each = -sum(logs if weight is None else logs * _along(weight, logs, axis), axis)
        spread = compare.where.apply(compare.ne.apply(target, ignore_index), each, 0.0)
        losses = losses * (1 - label_smoothing) + spread * share
    return _reduced(losses, reduction, counts)


def _of_probabilities(
    logs: Node, target: Node, weight: Node | None, reduction: Mean, smoothing: float, axis: int
) -> Node:
    """The mean is over the elements of a batch, whatever the weights."""
    if target.shape != logs.shape:
        problem = "probabilities must have the shape of the logits"
        shown = f"input {describe(logs)}", f"target {describe(target)}"
        raise ShapeError(message("cross_entropy", problem, *shown))
    if smoothing:
        target = target * (1 - smoothing) + smoothing / logs.shape[axis]
    if weight is not None:
        target = target * _along(weight, logs, axis)
    return _reduced(-sum(target * logs, axis), reduction)


def _along(weight: Node, logs: Node, axis: int) -> Node:
    """The weights of the classes, which stand along `axis` of `logs`, in the shape of `logs`."""
    _check_weight("cross_entropy", weight, logs, axis)
    shape = [1] * len(logs.shape)
    shape[axis] = logs.shape[axis]
    return expanded(reshape(weight, shape), logs.shape)


def _check_weight(operator: str, weight: Node, logs: Node, axis: int) -> None:
    if weight.shape != logs.shape[axis : axis + 1] or weight.dtype.kind != "f":
        problem = f"weight must be floats ({logs.shape[axis]},), one for each class"
        raise ShapeError(message(operator, problem, f"weight {describe(weight)}"))


def _nll(
    operator: str, logs: Node, target: Node, weight: Node | None, ignore_index: int, axis: int
) -> tuple[Node, Node]:
    """-weight * logs of each target class, and what it counts in the mean; 0 where ignored."""
    if target.dtype.kind not in "iu" or target.shape != logs.shape[:axis] + logs.shape[axis + 1 :]:
        problem = "targets must be integers of the shape of the input without its classes"
        shown = f"input {describe(logs)}", f"target {describe(target)}"
        raise ShapeError(message(operator, problem, *shown))
    counted = compare.ne.apply(target, ignore_index)
    chosen = compare.where.apply(counted, target, 0)
    losses = -squeeze(gather(logs, axis, unsqueeze(chosen, axis)), axis)
    if weight is None:
        return masked_fill(losses, compare.logical_not.apply(counted), 0.0), counted
    _check_weight(operator, weight, logs, axis)
    factors = compare.where.apply(counted, take.apply(weight, chosen), 0.0)
    return losses * factors, factors


def _reduced(losses: Node, reduction: Mean, counts: Node | None = None) -> Node:
    """The losses, their sum, or that over the sum of what each counts, 1 unless given."""
    if reduction == "none":
        return losses
    if reduction == "sum":
        return sum(losses)
    if counts is None:
        return mean(losses)
    wide, device = losses.dtype.compute, losses.device
    total, count = (as_node(x, wide, device) for x in (losses, counts))
    return as_node(sum(total) / sum(count), losses.dtype, device)


@public("nn.functional")
def nll_loss(
    input: Node,
    target: Node,
    weight: Node | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """As `cross_entropy`, of logarithms of probabilities.

    >>> nll_loss(tensor([[-1.0, -2.0]]), tensor([1])).item()
    2.0
    """
    axis = 0 if len(input.shape) == 1 else 1
    losses, counts = _nll("nll_loss", input, target, weight, ignore_index, axis)
    return _reduced(losses, reduction, counts)


@public("nn.functional")
def mse_loss(
    input: Node,
    target: Node,
    size_average: None = None,
    reduce: None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    weight: Node | None = None,
) -> Node:
    """(input - target)^2; times `weight`, and the mean over its sum."""
    return _weighted(unary.square.apply(input - target), weight, reduction)


@public("nn.functional")
def l1_loss(
    input: Node,
    target: Node,
    size_average: None = None,
    reduce: None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    weight: Node | None = None,
) -> Node:
    """|input - target|; times `weight`, and the mean over its sum."""
    return _weighted(unary.abs_.apply(input - target), weight, reduction)


def _weighted(losses: Node, weight: Node | None, reduction: Mean) -> Node:
    if weight is None:
        return _reduced(losses, reduction)
    return _reduced(losses * weight, reduction, expanded(weight, losses.shape))
