"""Losses over classes: cross entropy, of logits, of logarithms, of a linear layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch.apart import import_module
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
        ignore_index: target class that adds nothing, and that the mean leaves out.
        reduction: "mean", "sum" or "none".
        label_smoothing: share of the target that is spread over all classes.
        size_average, reduce: of older PyTorch; `reduction` says what they said.
    Raises:
        OutOfRange: a class number is not in [0, C); when the result is realized.

    >>> cross_entropy(tensor([[0.0, 0.0]]), tensor([1]))
    tensor(0.6931)
    """
    way = spelled(size_average, reduce, reduction)
    if not 0 <= label_smoothing <= 1:
        problem = f"label_smoothing is {label_smoothing}, not in [0, 1]"
        raise OutOfRange(message("cross_entropy", problem))
    if not input.shape:
        raise ShapeError(message("cross_entropy", f"needs classes, not {describe(input)}"))
    dtype, (wide, factors) = widened("cross_entropy", input, weight)
    axis = 0 if len(input.shape) == 1 else 1
    logs = log_softmax(wide, axis)
    if factors is not None:
        _check_weight("cross_entropy", factors, logs, axis)
    if target.dtype.kind == "f":
        return _of_probabilities(logs, target, factors, way, label_smoothing, dtype)
    losses, counts = _nll("cross_entropy", logs, target, factors, ignore_index, axis)
    if label_smoothing:
        share = label_smoothing / logs.shape[axis]
        each = -sum(logs if factors is None else logs * along(factors, axis, logs.shape), axis)
        spread = compare.where.apply(compare.ne.apply(target, ignore_index), each, 0.0)
        losses = losses * (1 - label_smoothing) + spread * share
    return reduced(losses, way, dtype, counts)


def _of_probabilities(
    logs: Node, target: Node, weight: Node | None, way: Mean, smoothing: float, dtype: DType
) -> Node:
    """The mean is over the elements of a batch, whatever the weights."""
    axis = 0 if len(logs.shape) == 1 else 1
    if target.shape != logs.shape:
        problem = "probabilities must have the shape of the logits"
        shown = f"input {describe(logs)}", f"target {describe(target)}"
        raise ShapeError(message("cross_entropy", problem, *shown))
    shares = as_node(target, logs.dtype, target.device)
    if smoothing:
        shares = shares * (1 - smoothing) + smoothing / logs.shape[axis]
    if weight is not None:
        shares = shares * along(weight, axis, logs.shape)
    return reduced(-sum(shares * logs, axis), way, dtype)


def _check_weight(operator: str, weight: Node, logs: Node, axis: int) -> None:
    if weight.shape != logs.shape[axis : axis + 1]:
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
    factors = compare.where.apply(counted, take.apply(weight, chosen), 0.0)
    kept = masked_fill(losses, compare.logical_not.apply(counted), 0.0)
    return kept * factors, factors


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
    losses, counts = _nll("nll_loss", logs, target, factors, ignore_index, axis)
    return reduced(losses, spelled(size_average, reduce, reduction), dtype, counts)


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
    options: None = None,
) -> Node:
    """`cross_entropy` of the logits that a linear layer gives.

    Args:
        input: (N, I) or (I,).
        linear_weight: (C, d1, ..., I), and linear_bias (C, d1, ...).
        target, weight, reduction, ignore_index, label_smoothing: as of `cross_entropy`.
        options: there are none.

    >>> linear_cross_entropy(tensor([[1.0]]), tensor([[0.0], [0.0]]), tensor([1]))
    tensor(0.6931)
    """
    fits = len(input.shape) in (1, 2) and len(linear_weight.shape) >= 2
    fits = fits and input.shape[-1] == linear_weight.shape[-1]
    fits = fits and (len(input.shape) == 2 or len(linear_weight.shape) == 2)
    if not fits or (linear_bias is not None and linear_bias.shape != linear_weight.shape[:-1]):
        rows = [f"input {describe(input)}", f"linear_weight {describe(linear_weight)}"]
        problem = "shapes must be (N, I) or (I,), (C, d1, ..., I) and (C, d1, ...)"
        raise ShapeError(message("linear_cross_entropy", problem, *rows))
    if target.dtype.kind == "f" and ignore_index is not None:
        problem = "probabilities have no class that is left out: ignore_index is given"
        raise ValueError(message("linear_cross_entropy", problem))
    import_module("numbatorch.ops.linear")
    from numbatorch.ops.linear import linear  # for this alone

    outputs = linear_weight.shape[:-1]
    flat = reshape.apply(linear_weight, shape=(numel(outputs), linear_weight.shape[-1]))
    bias = linear_bias if linear_bias is None else reshape.apply(linear_bias, shape=flat.shape[:1])
    logits = reshape.apply(linear(input, flat, bias), shape=(*input.shape[:-1], *outputs))
    ignored = -100 if ignore_index is None else ignore_index
    found: Node = cross_entropy(
        logits,
        target,
        weight,
        ignore_index=ignored,
        reduction=reduction,
        label_smoothing=label_smoothing,
    )
    return found
