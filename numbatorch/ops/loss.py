"""Losses over classes: cross entropy, of logits and of logarithms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import compare
from numbatorch.ops.arithmetic import masked_fill
from numbatorch.ops.composed import composed
from numbatorch.ops.index import take
from numbatorch.ops.loss_parts import (
    Array,
    Mean,
    along,
    reduce_reference,
    reduced,
    spelled,
    widened,
)
from numbatorch.ops.nll import cross_entropy_rows, mean_of_counted, nll_mean, nll_rows
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.selecting import gather
from numbatorch.ops.softmax import log_softmax
from numbatorch.ops.statistics import sum
from numbatorch.ops.surface import public
from numbatorch.ops.view import reshape, squeeze, unsqueeze
from numbatorch.shape import numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw


def _sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    N, C = rng.dims((1, 1), (6, 9))
    target = rng.integers(0, C, N)
    target[rng.random(N) < 0.2] = -100
    return [rng.standard_normal((N, C)), target], {"reduction": str(rng.choice(["none", "sum"]))}


def _nll_reference(logs: Array, target: Array, *, reduction: Mean) -> Array:
    chosen = logs[np.arange(len(target)), np.maximum(target, 0)]
    return reduce_reference(np.where(target < 0, 0.0, -chosen), reduction)


def _cross_entropy(logits: Array, target: Array, *, reduction: Mean) -> Array:
    logs = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    return _nll_reference(logs, target, reduction=reduction)


@composed(
    numpy=_cross_entropy, sample=_sample, hides=True, peer="torch.nn.functional.cross_entropy"
)
@public("nn.functional", remembered=True)
def cross_entropy(
    input: Node,
    target: Node,
    weight: Node | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    label_smoothing: float = 0.0,
) -> Node:
    """-log(softmax(input)) of the target class, in nats; of half types taken in float32.

    Args:
        input: logits (N, C), (C,) or (N, C, d1, ...).
        target: class numbers (N,), () or (N, d1, ...); or probabilities in the shape of input.
        weight: (C,), factor on each class; the mean is over the sum of the targets' weights.
        ignore_index: target class that adds nothing, and that the mean leaves out; of
            probabilities none.
        reduction: "mean", "sum" or "none".
        label_smoothing: share of the target that is spread over all classes.
        size_average, reduce: of older PyTorch; `reduction` says what they said.
    Raises:
        OutOfRange: a class number is not in [0, C); when the result is realized.

    >>> cross_entropy(tensor([[0.0, 0.0]]), tensor([1]))
    tensor(0.6931)
    """
    way = spelled(size_average, reduce, reduction)
    losses, counts, dtype = each_loss(
        "cross_entropy", input, target, weight, ignore_index, label_smoothing
    )
    if counts is not None and weight is None:
        return _reduced(losses, target, ignore_index, way, dtype)
    return reduced(losses, way, dtype, counts)


def each_loss(
    operator: str,
    input: Node,
    target: Node,
    weight: Node | None,
    ignore_index: int,
    label_smoothing: float,
) -> tuple[Node, Node | None, DType]:
    """Cross entropies, what each counts in the mean, 1 if None, and the dtype of what is made."""
    if not 0 <= label_smoothing <= 1:
        problem = f"label_smoothing is {label_smoothing}, not in [0, 1]"
        raise OutOfRange(message(operator, problem))
    if not input.shape:
        raise ShapeError(message(operator, f"needs classes, not {describe(input)}"))
    dtype, (wide, factors) = widened(operator, input, weight)
    axis = 0 if len(input.shape) == 1 else 1
    if factors is not None:
        _check_weight(operator, factors, wide, axis)
    if target.dtype.kind != "f" and not label_smoothing:
        return *_nll(operator, wide, target, factors, ignore_index, axis, logits=True), dtype
    logs = log_softmax(wide, axis)
    if target.dtype.kind == "f":
        if ignore_index >= 0:
            problem = f"ignore_index {ignore_index} is a class, but targets are probabilities"
            raise ValueError(message(operator, problem, f"target {describe(target)}"))
        return _of_probabilities(operator, logs, target, factors, label_smoothing), None, dtype
    losses, counts = _nll(operator, logs, target, factors, ignore_index, axis)
    share = label_smoothing / logs.shape[axis]
    each = -sum(logs if factors is None else logs * along(factors, axis, logs.shape), axis)
    spread = compare.where.apply(compare.ne.apply(target, ignore_index), each, 0.0)
    return losses * (1 - label_smoothing) + spread * share, counts, dtype


def _of_probabilities(
    operator: str, logs: Node, target: Node, weight: Node | None, smoothing: float
) -> Node:
    """The mean is over the elements of a batch, whatever the weights."""
    axis = 0 if len(logs.shape) == 1 else 1
    if target.shape != logs.shape:
        problem = "probabilities must have the shape of the logits"
        shown = f"input {describe(logs)}", f"target {describe(target)}"
        raise ShapeError(message(operator, problem, *shown))
    shares = as_node(target, logs.dtype, target.device)
    if smoothing:
        shares = shares * (1 - smoothing) + smoothing / logs.shape[axis]
    if weight is not None:
        shares = shares * along(weight, axis, logs.shape)
    return -sum(shares * logs, axis)


def _check_weight(operator: str, weight: Node, logs: Node, axis: int) -> None:
    if weight.shape != logs.shape[axis : axis + 1]:
        problem = f"weight must be floats ({logs.shape[axis]},), one for each class"
        raise ShapeError(message(operator, problem, f"weight {describe(weight)}"))


def _check_target(operator: str, x: Node, target: Node, axis: int) -> None:
    if target.dtype.kind not in "iu" or target.shape != x.shape[:axis] + x.shape[axis + 1 :]:
        problem = "targets must be integers of the shape of the input without its classes"
        shown = f"input {describe(x)}", f"target {describe(target)}"
        raise ShapeError(message(operator, problem, *shown))


def _nll(
    operator: str,
    x: Node,
    target: Node,
    weight: Node | None,
    ignore_index: int,
    axis: int,
    logits: bool = False,
) -> tuple[Node, Node]:
    """-weight * x of each target class, and what it counts in the mean; 0 where ignored.

    Args:
        logits: whether the logarithms are the log_softmax of x.
    """
    _check_target(operator, x, target, axis)
    counted = compare.ne.apply(target, ignore_index)
    if axis == len(x.shape) - 1:
        losses = (cross_entropy_rows if logits else nll_rows).apply(x, target, ignored=ignore_index)
    else:
        chosen = compare.where.apply(counted, target, 0)
        logs = log_softmax(x, axis) if logits else x
        found = -squeeze(gather(logs, axis, unsqueeze(chosen, axis)), axis)
        losses = masked_fill(found, compare.logical_not.apply(counted), 0.0)
    if weight is None:
        return losses, counted
    chosen = compare.where.apply(counted, target, 0)
    factors = compare.where.apply(counted, take.apply(weight, chosen), 0.0)
    return losses * factors, factors


@composed(numpy=_nll_reference, sample=_sample, hides=True, peer="torch.nn.functional.nll_loss")
@public("nn.functional", remembered=True)
def nll_loss(
    input: Node,
    target: Node,
    weight: Node | None = None,
    size_average: bool | None = None,
    ignore_index: int = -100,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """As `cross_entropy`, of logarithms of probabilities.

    >>> nll_loss(tensor([[-1.0, -2.0]]), tensor([1])).item()
    2.0
    """
    if not input.shape:
        raise ShapeError(message("nll_loss", f"needs classes, not {describe(input)}"))
    dtype, (logs, factors) = widened("nll_loss", input, weight)
    axis = 0 if len(input.shape) == 1 else 1
    if factors is not None:
        _check_weight("nll_loss", factors, logs, axis)
    way = spelled(size_average, reduce, reduction)
    if way == "mean" and factors is None and len(logs.shape) == 2:
        _check_target("nll_loss", logs, target, axis)
        return as_node(nll_mean.apply(logs, target, ignored=ignore_index), dtype, logs.device)
    losses, counts = _nll("nll_loss", logs, target, factors, ignore_index, axis)
    if factors is None:
        return _reduced(losses, target, ignore_index, way, dtype)
    return reduced(losses, way, dtype, counts)


def _reduced(losses: Node, target: Node, ignore_index: int, way: Mean, dtype: DType) -> Node:
    """`reduced` of losses of which those count whose target is not `ignore_index`."""
    if way != "mean":
        return reduced(losses, way, dtype)
    rows = [
        x if len(x.shape) == 1 else reshape.apply(x, shape=(numel(x.shape),))
        for x in (losses, target)
    ]
    return as_node(mean_of_counted.apply(*rows, ignored=ignore_index), dtype, losses.device)
