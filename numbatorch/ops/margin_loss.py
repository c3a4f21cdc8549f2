"""Losses that ask for a margin: between embeddings, between classes, between labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.composed import composed
from numbatorch.ops.create import iota
from numbatorch.ops.loss_parts import (
    Array,
    Mean,
    along,
    at_least_zero,
    by_elements,
    draw_reduction,
    reduced,
    spelled,
    widened,
)
from numbatorch.ops.operands import as_node, describe, difference, expanded, result_type
from numbatorch.ops.reduce import any_
from numbatorch.ops.selecting import gather
from numbatorch.ops.statistics import sum
from numbatorch.ops.surface import of_nodes, public
from numbatorch.ops.view import squeeze, unsqueeze

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

F = "torch.nn.functional."


def _one_sign(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = rng.dims((1, 1), (5, 9))
    sign = np.where(rng.random(shape) < 0.5, 1, -1)  # integers, of which nothing is smooth
    return [rng.standard_normal(shape), sign], draw_reduction(rng)


def _two_and_sign(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x, sign), attrs = _one_sign(rng)
    return [x, rng.standard_normal(x.shape), sign], attrs


def _hinge(x: Array, y: Array) -> Array:
    return np.where(y == 1, x, np.maximum(1.0 - x, 0))


@composed(numpy=by_elements(_hinge), sample=_one_sign, hides=True, peer=F + "hinge_embedding_loss")
@public("nn.functional", remembered=True)
def hinge_embedding_loss(
    input: Node,
    target: Node,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """The input where the target is 1, and max(margin - input, 0) where it is -1.

    Args:
        input: distances; the target broadcasts with it.

    >>> hinge_embedding_loss(tensor([0.5, 0.25]), tensor([1, -1]), reduction="none")
    tensor([0.5000, 0.7500])
    """
    where, ne = find("where"), find("ne")
    dtype, (x, y) = widened("hinge_embedding_loss", input, target)
    apart = where.apply(ne.apply(y, 1), at_least_zero(margin - x), 0.0)
    losses = apart + where.apply(ne.apply(y, -1), x, 0.0)
    return reduced(losses, spelled(size_average, reduce, reduction), dtype)


def _ranking(x: Array, y: Array, sign: Array) -> Array:
    return np.asarray(np.maximum(-sign * (x - y), 0))


@composed(numpy=by_elements(_ranking), sample=_two_and_sign, peer=F + "margin_ranking_loss")
@public("nn.functional", remembered=True)
def margin_ranking_loss(
    input1: Node,
    input2: Node,
    target: Node,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """max(margin - target * (input1 - input2), 0), of targets 1 and -1.

    Integers are taken too, and their loss has the default dtype.

    >>> margin_ranking_loss(tensor([3.0]), tensor([1.0]), tensor([-1]), reduction="none")
    tensor([2.])
    """
    if not len(input1.shape) == len(input2.shape) == len(target.shape):
        rows = [describe(x) for x in (input1, input2, target)]
        raise ShapeError(message("margin_ranking_loss", "operands must have one rank", *rows))
    operands = (input1, input2, target)
    dtype, (*_, sign) = widened("margin_ranking_loss", *operands, takes_integers=True)
    apart = difference(input1, input2, sign.dtype)
    losses = at_least_zero(-sign * apart + float(margin))
    return reduced(losses, spelled(size_average, reduce, reduction), dtype)


def _cosine_sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x, y, sign), attrs = _two_and_sign(rng)
    return [x, y, sign[:, 0]], attrs


def _cosine(x: Array, y: Array, sign: Array) -> Array:
    sizes = [np.sqrt((a * a).sum(1) + 1e-12) for a in (x, y)]
    cosine = (x * y).sum(1) / (sizes[0] * sizes[1])
    return np.asarray(np.where(sign == 1, 1 - cosine, np.maximum(cosine, 0)))


@composed(
    numpy=by_elements(_cosine), sample=_cosine_sample, hides=True, peer=F + "cosine_embedding_loss"
)
@public("nn.functional", remembered=True)
def cosine_embedding_loss(
    input1: Node,
    input2: Node,
    target: Node,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """1 - c where the target is 1, max(c - margin, 0) where it is -1, of the cosine c of two rows.

    Args:
        input1, input2: (N, C) or (C,); the loss of integers and bool has the default dtype.
        target: (N,) or ().
    Raises:
        ShapeError: the rows and the target do not fit.

    >>> cosine_embedding_loss(tensor([1.0, 0.0]), tensor([0.0, 1.0]), tensor(1))
    tensor(1.)
    """
    if len(target.shape) > 1 or any(
        len(x.shape) != len(target.shape) + 1 for x in (input1, input2)
    ):
        rows = [describe(x) for x in (input1, input2, target)]
        problem = "operands must be (N, C), (N, C) and (N,), or (C,), (C,) and ()"
        raise ShapeError(message("cosine_embedding_loss", problem, *rows))
    operands = (input1, input2, target)
    dtype, (first, second, sign) = widened("cosine_embedding_loss", *operands, takes_integers=True)
    where, eq, square = find("where"), find("eq"), find("square")
    sizes = [sum(square.apply(x), -1) + 1e-12 for x in (first, second)]
    cosine = sum(first * second, -1) / find("sqrt").apply(sizes[0] * sizes[1])
    near = where.apply(eq.apply(sign, 1), 1.0 - cosine, 0.0)
    losses = near + where.apply(eq.apply(sign, -1), at_least_zero(cosine - float(margin)), 0.0)
    return reduced(losses, spelled(size_average, reduce, reduction), dtype)


def _class_sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    N, C = rng.dims((1, 1), (5, 9))
    attrs = {"p": int(rng.integers(1, 3)), "margin": 0.75}
    return [rng.standard_normal((N, C)), rng.integers(0, C, N)], {**attrs, **draw_reduction(rng)}


def _multi(x: Array, y: Array, p: int, margin: float) -> Array:
    rows = np.arange(len(x))
    apart = np.maximum(margin - x[rows, y][:, None] + x, 0) ** p
    apart[rows, y] = 0
    return np.asarray(apart.sum(1) / x.shape[1])


@composed(numpy=by_elements(_multi), sample=_class_sample, hides=True, peer=F + "multi_margin_loss")
@public("nn.functional", remembered=True)
def multi_margin_loss(
    input: Node,
    target: Node,
    p: int = 1,
    margin: float = 1.0,
    weight: Node | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """Over all classes but the target's: the mean of max(margin - x[target] + x[i], 0)^p.

    Args:
        input: (N, C) or (C,).
        target: class numbers (N,) or ().
        p: 1 or 2.
        weight: (C,), factor on each target class.
    Raises:
        OutOfRange: a class number is not in [0, C); when the result is realized.

    >>> multi_margin_loss(tensor([[0.5, 1.0]]), tensor([0]))
    tensor(0.7500)
    """
    if p not in (1, 2):
        raise OutOfRange(message("multi_margin_loss", f"p is {p}, not 1 or 2"))
    dtype, (x, factors) = widened("multi_margin_loss", input, weight)
    x = x if x.shape else unsqueeze(x, 0)
    chosen = _classes("multi_margin_loss", x, target, target.shape)
    C = x.shape[-1]
    if factors is not None and factors.shape != (C,):
        problem = f"weight must be ({C},), one for each class"
        raise ShapeError(message("multi_margin_loss", problem, f"weight {describe(factors)}"))
    at = unsqueeze(chosen, -1)
    apart = at_least_zero(margin - gather(x, -1, at) + x)
    powers = apart if p == 1 else find("square").apply(apart)
    if factors is not None:
        powers = powers * gather(along(factors, len(x.shape) - 1, x.shape), -1, at)
    other = find("ne").apply(iota(C, x.device), at)
    losses = sum(find("where").apply(other, powers, 0.0), -1) / float(C)
    losses = find("reshape").apply(losses, shape=target.shape)
    return reduced(losses, spelled(size_average, reduce, reduction), dtype)


def _classes(operator: str, input: Node, target: Node, wanted: tuple[int, ...]) -> Node:
    """The target in the shape of the rows of an input (N, C) or (C,)."""
    lead = input.shape[:-1]
    fits = len(input.shape) in (1, 2) and input.shape[-1] > 0
    if target.dtype.kind not in "iu":
        raise DTypeError(message(operator, f"targets must be integers, not {target.dtype.name}"))
    if not fits or wanted not in (lead, lead or (1,)):
        rows = f"input {describe(input)}", f"target {describe(target)}"
        raise ShapeError(message(operator, "targets must be one for each row of classes", *rows))
    return find("reshape").apply(target, shape=lead) if wanted != lead else target


def _label_sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    C = int(rng.integers(1, 9))
    (N,) = rng.dims((1,), (5,))
    order = rng.permuted(np.broadcast_to(np.arange(C), (N, C)), axis=1)
    ends = rng.integers(0, C + 1, (N, 1))
    target = np.where(np.arange(C) < ends, order, -1)
    return [rng.standard_normal((N, C)), target], draw_reduction(rng)


def _multilabel(x: Array, y: Array) -> Array:
    if len(x) > 1000:  # row by row would take long
        halves = [
            _multilabel(part, labels)
            for part, labels in zip(
                np.array_split(x, len(x) // 500), np.array_split(y, len(x) // 500), strict=True
            )
        ]
        return np.concatenate(halves)
    inside = np.cumprod(y >= 0, 1).astype(bool)
    hot = ((y[:, :, None] == np.arange(x.shape[1])) & inside[:, :, None]).any(1)
    apart = np.maximum(1 - (x[:, :, None] - x[:, None, :]), 0)
    return np.asarray((apart * (hot[:, :, None] & ~hot[:, None, :])).sum((1, 2)) / x.shape[1])


@composed(
    numpy=by_elements(_multilabel),
    sample=_label_sample,
    hides=True,
    peer=F + "multilabel_margin_loss",
)
@public("nn.functional", remembered=True)
def multilabel_margin_loss(
    input: Node,
    target: Node,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """The sum of max(1 - x[label] + x[other], 0) over labels and all classes that are none, over C.

    Args:
        input: (N, C) or (C,).
        target: labels in the shape of the input; what stands from the first -1 on counts nothing.
    Raises:
        OutOfRange: a label is not below C; when the result is realized.

    >>> multilabel_margin_loss(tensor([0.5, 0.25, 1.0]), tensor([2, -1, 0]))
    tensor(0.2500)
    """
    if target.shape != input.shape:
        rows = f"input {describe(input)}", f"target {describe(target)}"
        problem = "target must have the shape of the input"
        raise ShapeError(message("multilabel_margin_loss", problem, *rows))
    dtype, (x,) = widened("multilabel_margin_loss", input)
    if not input.shape:
        x, target = unsqueeze(x, 0), unsqueeze(target, 0)
    _classes("multilabel_margin_loss", x, target, x.shape[:-1])
    C, where = x.shape[-1], find("where")
    ended = as_node(find("lt").apply(target, 0), dt.int64, x.device)
    import_module("numbatorch.ops.scan")
    from numbatorch.ops.scan import cumsum  # for this alone

    inside = find("eq").apply(cumsum(ended, -1), 0)  # (..., K)
    labels = where.apply(inside, target, 0)
    square = (*x.shape, C)  # (..., K, C)
    hits = find("eq").apply(expanded(unsqueeze(labels, -1), square), iota(C, x.device))
    hits = find("logical_and").apply(hits, expanded(unsqueeze(inside, -1), square))
    label = squeeze(any_.apply(hits, dims=(len(x.shape) - 1,)), len(x.shape) - 1)
    apart = 1.0 - unsqueeze(gather(x, -1, labels), -1) + unsqueeze(x, -2)
    counted = find("logical_and").apply(
        expanded(unsqueeze(inside, -1), square),
        find("logical_not").apply(expanded(unsqueeze(label, -2), square)),
    )
    losses = sum(where.apply(counted, at_least_zero(apart), 0.0), (-2, -1)) / float(C)
    return reduced(losses, spelled(size_average, reduce, reduction), dtype)


def _labels(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = rng.dims((1, 1), (5, 9))
    return [rng.standard_normal(shape), rng.uniform(0, 1, shape)], draw_reduction(rng)


def _soft(x: Array, y: Array) -> Array:
    return np.asarray((np.logaddexp(0.0, x) - x * y).mean(1))


@composed(
    numpy=by_elements(_soft), sample=_labels, hides=True, peer=F + "multilabel_soft_margin_loss"
)
@public("nn.functional", remembered=True)
def multilabel_soft_margin_loss(
    input: Node,
    target: Node,
    weight: Node | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """The mean over classes of what each costs in `binary_cross_entropy_with_logits`.

    Args:
        input, target: (N, C) or (C,).
        weight: factor on each element, which broadcasts.

    >>> multilabel_soft_margin_loss(nt.zeros(1, 3), nt.ones(1, 3))
    tensor(0.6931)
    """
    if not input.shape:
        problem = f"needs classes, not {describe(input)}"
        raise ShapeError(message("multilabel_soft_margin_loss", problem))
    dtype, (x, y, factors) = widened("multilabel_soft_margin_loss", input, target, weight)
    softplus = find("softplus")
    losses = y * softplus.apply(-x) + (1.0 - y) * softplus.apply(x)
    if factors is not None:
        losses = losses * factors
    rows = sum(losses, -1) / float(x.shape[-1])
    return reduced(rows, spelled(size_average, reduce, reduction), dtype)


def _three(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = rng.dims((1, 1), (5, 9))
    return [rng.standard_normal(shape) for _ in range(3)], draw_reduction(rng)


def _triplet(a: Array, p: Array, n: Array) -> Array:
    near, far = (np.linalg.norm(a - x + 1e-6, axis=-1) for x in (p, n))
    return np.asarray(np.maximum(1 + near - far, 0))


@composed(numpy=by_elements(_triplet), sample=_three, peer=F + "triplet_margin_loss")
@public("nn.functional", remembered=True)
def triplet_margin_loss(
    anchor: Node,
    positive: Node,
    negative: Node,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """max(margin + |anchor - positive| - |anchor - negative|, 0), of p-norms of the last dimension.

    Args:
        eps: added to each difference.
        swap: take the distance of positive and negative where it is the smaller one.

    >>> a, far = tensor([[0.0, 0.0]]), tensor([[3.0, 4.0]])
    >>> triplet_margin_loss(a, a, far, margin=7.0).round(decimals=4)
    tensor(2.)
    """
    way = spelled(size_average, reduce, reduction)
    operands = (anchor, positive, negative)
    return _of_triplets("triplet_margin_loss", operands, margin, swap, way, p=p, eps=eps)


@public("nn.functional", remembered=True)
def triplet_margin_with_distance_loss(
    anchor: Node,
    positive: Node,
    negative: Node,
    *,
    distance_function: Any = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """`triplet_margin_loss` of any distance, a function of two tensors; of 2-norms by default.

    >>> a, far = tensor([[0.0, 0.0]]), tensor([[3.0, 4.0]])
    >>> city = lambda x, y: (x - y).abs().sum(-1)
    >>> triplet_margin_with_distance_loss(a, far, a, distance_function=city)
    tensor(8.)
    """
    name = "triplet_margin_with_distance_loss"
    if distance_function is not None and not callable(distance_function):
        problem = f"distance_function is {distance_function!r}, not a function of two tensors"
        raise TypeError(message(name, problem))
    distance = distance_function and of_nodes(distance_function)
    operands = (anchor, positive, negative)
    return _of_triplets(name, operands, margin, swap, reduction, distance)


def _of_triplets(
    operator: str,
    operands: tuple[Node, Node, Node],
    margin: float,
    swap: bool,
    reduction: Mean,
    distance: Callable[[Any, Any], Any] | None = None,
    p: float = 2.0,
    eps: float = 1e-6,
) -> Node:
    if margin <= 0:
        raise OutOfRange(message(operator, f"margin is {margin}, not above 0"))
    if len({len(x.shape) for x in operands}) > 1:
        rows = [describe(x) for x in operands]
        raise ShapeError(message(operator, "operands must have one rank", *rows))
    pairs = [(0, 1), (0, 2), *([(1, 2)] if swap else [])]
    if distance is None:
        dtype, found = _pairwise_distances(operands, pairs, float(p), eps)
    else:
        given = [distance(operands[i], operands[j]) for i, j in pairs]
        dtype, found = widened(operator, *given)
    near, far, *other = found
    if other:
        far = find("minimum").apply(far, other[0])
    return reduced(at_least_zero(near - far + margin), reduction, dtype)


def _pairwise_distances(
    operands: tuple[Node, Node, Node], pairs: list[tuple[int, int]], p: float, eps: float
) -> tuple[DType, list[Node]]:
    """The distances of pairs of operands in what they are computed in, and the dtype they have."""
    import_module("numbatorch.ops.distance")
    from numbatorch.ops.distance import pairwise_distance  # for this alone

    wide = [as_node(x, x.dtype.compute, x.device) for x in operands]
    found = [pairwise_distance(wide[i], wide[j], p, eps) for i, j in pairs]
    met = result_type(operands)
    return met if met.kind == "f" else found[0].dtype, found
