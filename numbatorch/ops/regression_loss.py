"""Losses of each element by itself: distances to a target, likelihoods of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch.dtype import FLOATS
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import scalar_math as m
from numbatorch.ops.composed import composed
from numbatorch.ops.loss_parts import (
    Array,
    by_elements,
    draw_reduction,
    reduced,
    require_same_shape,
    spelled,
    warn_of_shapes,
    widened,
)
from numbatorch.ops.operands import as_node, const, describe
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.statistics import sum
from numbatorch.ops.surface import public
from numbatorch.ops.view import detach, unsqueeze
from numbatorch.ops.write_through import with_history

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

F = "torch.nn.functional."


def _pair(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = rng.dims((1, 1), (5, 9))
    return [rng.standard_normal(shape), rng.standard_normal(shape)], draw_reduction(rng)


@composed(numpy=by_elements(lambda x, y: (x - y) ** 2), sample=_pair, peer=F + "mse_loss")
@public("nn.functional", remembered=True)
def mse_loss(
    input: Node,
    target: Node,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    weight: Node | None = None,
) -> Node:
    """(input - target)^2; times `weight`, and the mean over its sum.

    Args:
        weight: in the shape of the input.

    >>> mse_loss(tensor([1.0, 5.0]), tensor([0.0, 2.0]))
    tensor(5.)
    """
    warn_of_shapes("mse_loss", input, target)
    dtype, (x, y, factors) = widened("mse_loss", input, target, weight)
    losses = find("square").apply(x - y)
    if factors is not None:
        require_same_shape("mse_loss", factors, input)
        losses = losses * factors
    return reduced(losses, spelled(size_average, reduce, reduction), dtype, factors)


@composed(numpy=by_elements(lambda x, y: np.abs(x - y)), sample=_pair, peer=F + "l1_loss")
@public("nn.functional", remembered=True)
def l1_loss(
    input: Node,
    target: Node,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    weight: Node | None = None,
) -> Node:
    """|input - target|; times `weight`, and the mean over its sum.

    Args:
        weight: in the shape of the input.

    >>> l1_loss(tensor([1.0, 5.0]), tensor([0.0, 2.0]), reduction="none")
    tensor([1., 3.])
    """
    warn_of_shapes("l1_loss", input, target)
    way = spelled(size_average, reduce, reduction)
    if input.dtype.is_complex or target.dtype.is_complex:
        apart = find("abs").apply(input - target)
        dtype, (losses, factors) = widened("l1_loss", apart, weight)
    else:
        dtype, (x, y, factors) = widened("l1_loss", input, target, weight)
        losses = find("abs").apply(x - y)
    if factors is not None:
        require_same_shape("l1_loss", factors, input)
        losses = losses * factors
    return reduced(losses, way, dtype, factors)


def _bent(x: Array, *, beta: float = 1.0) -> Array:
    size = np.abs(x)
    return np.asarray(np.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta))


@elementwise(numpy=_bent, dtypes=FLOATS, places=())
def bent(x: Scalar, *, beta: float = 1.0) -> Scalar:
    """|x| - beta / 2, and x^2 / (2 beta) where |x| is below beta > 0: its slope is continuous."""
    size = abs(x)
    return size * size * (0.5 / beta) if size < beta else size - 0.5 * beta


@bent.vjp
def _(g: Node, y: Node, x: Node, *, beta: float) -> Node:
    return g * bent_slope.apply(x, beta=beta)


@elementwise(numpy=lambda x, *, beta=1.0: np.clip(x / beta, -1, 1), dtypes=FLOATS, places=())
def bent_slope(x: Scalar, *, beta: float = 1.0) -> Scalar:
    """x / beta, within -1 and 1."""
    return m.clamp(x * (1.0 / beta), low=-1.0, high=1.0)


@bent_slope.vjp
def _(g: Node, y: Node, x: Node, *, beta: float) -> Node:
    inside = find("lt").apply(find("abs").apply(x), beta)
    return find("where").apply(inside, g / beta, 0.0)


def _bend(x: Array, y: Array, beta: float) -> Array:
    return _bent(x - y, beta=beta)


def _with(name: str, value: float) -> Callable[[Draw], tuple[list[Any], dict[str, Any]]]:
    def sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
        operands, attrs = _pair(rng)
        return operands, {**attrs, name: value}

    return sample


@composed(numpy=by_elements(_bend), sample=_with("beta", 0.75), peer=F + "smooth_l1_loss")
@public("nn.functional", remembered=True)
def smooth_l1_loss(
    input: Node,
    target: Node,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    beta: float = 1.0,
) -> Node:
    """|d| - beta / 2 of the difference d, and d^2 / (2 beta) where |d| is below beta.

    Raises:
        OutOfRange: `beta` is negative.

    >>> smooth_l1_loss(tensor([0.5, 3.0]), tensor([0.0, 0.0]), reduction="none")
    tensor([0.1250, 2.5000])
    """
    warn_of_shapes("smooth_l1_loss", input, target)
    if beta < 0:
        raise OutOfRange(message("smooth_l1_loss", f"beta is {beta}, below 0"))
    dtype, (x, y) = widened("smooth_l1_loss", input, target)
    losses = bent.apply(x - y, beta=beta) if beta else find("abs").apply(x - y)
    return reduced(losses, spelled(size_average, reduce, reduction), dtype)


def _huber(x: Array, y: Array, delta: float) -> Array:
    return np.asarray(delta * _bend(x, y, delta))


@composed(numpy=by_elements(_huber), sample=_with("delta", 0.75), peer=F + "huber_loss")
@public("nn.functional", remembered=True)
def huber_loss(
    input: Node,
    target: Node,
    reduction: Literal["none", "mean", "sum"] = "mean",
    delta: float = 1.0,
    weight: Node | None = None,
) -> Node:
    """delta (|d| - delta / 2) of the difference d, and d^2 / 2 where |d| is at most delta.

    Args:
        weight: in the shape of the input, factor on each element; the mean is over their number.
    Raises:
        OutOfRange: `delta` is not above 0.

    >>> huber_loss(tensor([0.5, 3.0]), tensor([0.0, 0.0]), reduction="none")
    tensor([0.1250, 2.5000])
    """
    warn_of_shapes("huber_loss", input, target)
    if delta <= 0:
        raise OutOfRange(message("huber_loss", f"delta is {delta}, not above 0"))
    dtype, (x, y, factors) = widened("huber_loss", input, target, weight)
    losses = bent.apply(x - y, beta=delta) * delta
    if factors is not None:
        require_same_shape("huber_loss", factors, input)
        losses = losses * factors
    return reduced(losses, reduction, dtype)


def _kl(x: Array, y: Array) -> Array:
    import scipy.special

    return np.asarray(scipy.special.xlogy(y, y) - y * x)


def _shares(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = rng.dims((1, 1), (5, 9))
    return [rng.standard_normal(shape), rng.uniform(0.1, 0.9, shape)], draw_reduction(rng)


def _without_mean(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    return _shares(rng)[0], {"reduction": str(rng.choice(["none", "sum"]))}  # PyTorch warns of it


@composed(numpy=by_elements(_kl), sample=_without_mean, hides=True, peer=F + "kl_div")
@public("nn.functional", remembered=True)
def kl_div(
    input: Node,
    target: Node,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum", "batchmean"] = "mean",
    log_target: bool = False,
) -> Node:
    """target * (log(target) - input): the Kullback-Leibler divergence, of logarithms.

    Args:
        reduction: "batchmean" for the sum over the size of the first dimension.
        log_target: whether the target holds logarithms as well.

    >>> kl_div(tensor([[0.5, 0.5]]).log(), tensor([[1.0, 0.0]]), reduction="batchmean")
    tensor(0.6931)
    """
    way = spelled(size_average, reduce, reduction)
    dtype, (x, y) = widened("kl_div", input, target)
    if log_target:
        losses = find("exp").apply(y) * (y - x)
    else:
        zero = find("eq").apply(y, 0)
        logs = find("log").apply(find("where").apply(zero, 1.0, y))
        losses = y * logs - y * x
    if way != "batchmean":
        return reduced(losses, way, dtype)
    total = sum(losses)
    size = float(input.shape[0]) if input.shape else 1.0
    return as_node(total / size, dtype, input.device)


def _poisson(x: Array, y: Array) -> Array:
    return np.asarray(np.exp(x) - y * x)


@composed(numpy=by_elements(_poisson), sample=_shares, peer=F + "poisson_nll_loss")
@public("nn.functional", remembered=True)
def poisson_nll_loss(
    input: Node,
    target: Node,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """exp(input) - target * input: what a count costs under a Poisson distribution.

    Args:
        log_input: whether the input is the logarithm of the rate; else input - target *
            log(input + eps) is taken.
        full: add Stirling's approximation of log(target!) where the target is above 1.
    Returns:
        the default dtype, of counts and inputs that are integers.

    >>> poisson_nll_loss(tensor([0.0]), tensor([2.0]), full=True)
    tensor(1.6518)
    """
    dtype, (x, y) = widened("poisson_nll_loss", input, target, takes_integers=True)
    log = find("log")
    losses = find("exp").apply(x) - y * x if log_input else x - y * log.apply(x + eps)
    if full:
        above = find("gt").apply(y, 1)
        count = find("where").apply(above, y, 1.0)
        factorial = count * log.apply(count) - count + log.apply(count * (2 * math.pi)) * 0.5
        losses = losses + find("where").apply(above, factorial, 0.0)
    return reduced(losses, spelled(size_average, reduce, reduction), dtype)


def _gaussian(x: Array, y: Array, var: Array) -> Array:
    return np.asarray(0.5 * (np.log(var) + (x - y) ** 2 / var))


def _triple(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x, y), attrs = _pair(rng)
    return [x, y, rng.uniform(0.5, 2.0, x.shape)], attrs


@composed(numpy=by_elements(_gaussian), sample=_triple, hides=True, peer=F + "gaussian_nll_loss")
@public("nn.functional", remembered=True)
def gaussian_nll_loss(
    input: Node,
    target: Node,
    var: Node | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """(log(var) + (input - target)^2 / var) / 2: what a target costs under a normal distribution.

    Where we differ from PyTorch: a negative variance in a tensor gives NaN.

    Args:
        var: in the shape of the input, without its last dimension, or with size 1 for one.
        full: add log(2 pi) / 2.
        eps: the least variance; its gradient is that of the variance all the same.
    Raises:
        OutOfRange: `eps` is not above 0, or a number `var` is negative.

    >>> gaussian_nll_loss(tensor([1.0]), tensor([3.0]), tensor([4.0]))
    tensor(1.1931)
    """
    if eps <= 0:
        raise OutOfRange(message("gaussian_nll_loss", f"eps is {eps}, not above 0"))
    if not isinstance(var, Node):
        if var < 0:
            raise OutOfRange(message("gaussian_nll_loss", f"the variance {var} is negative"))
        var = const(float(var), input.dtype, input.device, input.shape)
    elif var.shape != input.shape:
        var = _variances(var, input)
    dtype, (x, y, spread) = widened("gaussian_nll_loss", input, target, var)
    where = find("where")
    least = where.apply(find("lt").apply(spread, 0), math.nan, spread)
    least = detach.apply(where.apply(find("lt").apply(least, eps), eps, least))
    spread = with_history(spread, least) if spread.requires_grad else least
    losses = (find("log").apply(spread) + find("square").apply(x - y) / spread) * 0.5
    if full:
        losses = losses + 0.5 * math.log(2 * math.pi)
    return reduced(losses, reduction, dtype)


def _variances(var: Node, input: Node) -> Node:
    if var.shape == input.shape[:-1]:
        return unsqueeze(var, -1)
    pairs = list(zip(input.shape, var.shape, strict=False))
    other = [n for wanted, n in pairs if wanted != n]
    if len(var.shape) != len(input.shape) or other != [1]:
        rows = f"input {describe(input)}", f"var {describe(var)}"
        raise ShapeError(message("gaussian_nll_loss", "var does not fit the input", *rows))
    return var


def _soft_margin(x: Array, y: Array) -> Array:
    return np.asarray(np.logaddexp(0.0, -y * x))


def _signs(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    (x, y), attrs = _pair(rng)
    return [x, np.where(y > 0, 1.0, -1.0)], attrs


@composed(numpy=by_elements(_soft_margin), sample=_signs, peer=F + "soft_margin_loss")
@public("nn.functional", remembered=True)
def soft_margin_loss(
    input: Node,
    target: Node,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """log(1 + exp(-target * input)), of targets 1 and -1, without overflow.

    >>> soft_margin_loss(tensor([0.0, 1000.0]), tensor([1, -1]), reduction="none")
    tensor([6.9315e-01, 1.0000e+03])
    """
    dtype, (x, y) = widened("soft_margin_loss", input, target)
    losses = find("softplus").apply(-(y * x))
    return reduced(losses, spelled(size_average, reduce, reduction), dtype)


def _entropy(x: Array, y: Array) -> Array:
    with np.errstate(divide="ignore"):
        kept = [np.maximum(np.log(x), -100), np.maximum(np.log1p(-x), -100)]
    return np.asarray((y - 1) * kept[1] - y * kept[0])


@elementwise(numpy=_entropy, dtypes=FLOATS, places=(), domain=(0.05, 0.95))
def binary_entropy(x: Scalar, y: Scalar) -> Scalar:
    """-y log(x) - (1 - y) log(1 - x), each logarithm -100 at least."""
    return (y - 1.0) * m.maximum(m.log1p(-x), -100.0) - y * m.maximum(m.log(x), -100.0)


@binary_entropy.vjp
def _(g: Node, _out: Node, x: Node, y: Node) -> tuple[Node, Node]:
    """As in PyTorch the slope at 0 and 1 is that of a probability 1e-12 away from them."""
    where, size = find("where"), (1.0 - x) * x
    small = find("lt").apply(size, 1e-12)
    return (
        g * (x - y) / where.apply(small, 1e-12, size),
        g * (find("log1p").apply(-x) - find("log").apply(x)),
    )


def _probabilities(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    shape = rng.dims((1, 1), (5, 9))
    return [rng.uniform(0.05, 0.95, shape) for _ in range(2)], draw_reduction(rng)


@composed(
    numpy=by_elements(_entropy), sample=_probabilities, hides=True, peer=F + "binary_cross_entropy"
)
@public("nn.functional", remembered=True)
def binary_cross_entropy(
    input: Node,
    target: Node,
    weight: Node | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
) -> Node:
    """-target * log(input) - (1 - target) * log(1 - input), each logarithm -100 at least.

    Where we differ from PyTorch: of an input that is not in [0, 1] it is NaN.

    Args:
        input: probabilities.
        target: in the shape of the input.
        weight: factor on each element, which broadcasts; the mean is over the number of elements.

    >>> binary_cross_entropy(tensor([0.5, 0.0]), tensor([1.0, 1.0]), reduction="none")
    tensor([  0.6931, 100.0000])
    """
    _require_alike("binary_cross_entropy", input, target)
    dtype, (x, y, factors) = widened("binary_cross_entropy", input, target, weight)
    losses = binary_entropy.apply(x, y)
    if factors is not None:
        losses = losses * factors
    return reduced(losses, spelled(size_average, reduce, reduction), dtype)


def _require_alike(operator: str, input: Node, target: Node) -> None:
    if target.shape != input.shape:
        rows = f"input {describe(input)}", f"target {describe(target)}"
        raise ShapeError(message(operator, "target must have the shape of the input", *rows))


def _logit_entropy(x: Array, y: Array) -> Array:
    return np.asarray(np.logaddexp(0.0, x) - x * y)


@composed(
    numpy=by_elements(_logit_entropy),
    sample=_shares,
    peer=F + "binary_cross_entropy_with_logits",
)
@public("nn.functional", remembered=True)
def binary_cross_entropy_with_logits(
    input: Node,
    target: Node,
    weight: Node | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Literal["none", "mean", "sum"] = "mean",
    pos_weight: Node | None = None,
) -> Node:
    """`binary_cross_entropy` of sigmoid(input), without overflow or rounded zeros.

    Args:
        weight: factor on each element, which broadcasts; the mean is over the number of elements.
        pos_weight: factor on target * log(sigmoid(input)), which broadcasts.

    >>> binary_cross_entropy_with_logits(tensor([-1000.0]), tensor([1.0]))
    tensor(1000.)
    """
    _require_alike("binary_cross_entropy_with_logits", input, target)
    given = (input, target, weight, pos_weight)
    dtype, (x, y, factors, positive) = widened("binary_cross_entropy_with_logits", *given)
    cost = find("softplus").apply(-x)
    if positive is not None:
        cost = cost * (1.0 + (positive - 1.0) * y)
    losses = (1.0 - y) * x + cost
    if factors is not None:
        losses = losses * factors
    return reduced(losses, spelled(size_average, reduce, reduction), dtype)
