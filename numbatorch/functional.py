"""Functions of tensors with PyTorch's names: layers without state, losses, activations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from numbatorch import dtype as dt
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import find
from numbatorch.ops.attention import attention as _attention
from numbatorch.ops.index import embedding as _embedding
from numbatorch.ops.matmul import linear as _linear
from numbatorch.ops.operands import describe
from numbatorch.ops.registry import lifted
from numbatorch.shape import broadcast, numel
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.creation import arange, ones, zeros
from numbatorch.tensor.random import bernoulli_mask

attention = lifted(_attention)


def rope(
    x: Tensor, cos: Tensor, sin: Tensor, *, position: int = 0, interleaved: bool = False
) -> Tensor:
    """Rotary embedding of x (B, H, T, D) by tables (positions, D/2), from row `position` on."""
    op = find("rope")
    return Tensor(op.apply(x.node, cos.node, sin.node, position=position, interleaved=interleaved))


def relu(input: Tensor) -> Tensor:
    """max(input, 0)."""
    return input.relu()


def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """input where it is positive, negative_slope * input elsewhere."""
    return Tensor(find("leaky_relu").apply(input.node, negative_slope=negative_slope))


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-input))."""
    return input.sigmoid()


def tanh(input: Tensor) -> Tensor:
    """Hyperbolic tangent."""
    return input.tanh()


def silu(input: Tensor) -> Tensor:
    """input * sigmoid(input)."""
    return input.silu()


def gelu(input: Tensor, approximate: Literal["none", "tanh"] = "none") -> Tensor:
    """input * Phi(input), or its approximation through "tanh"."""
    return input.gelu(approximate)


def softplus(input: Tensor, beta: float = 1.0) -> Tensor:
    """log(1 + exp(beta * input)) / beta."""
    scaled = input if beta == 1 else input * beta
    out = Tensor(find("softplus").apply(scaled.node))
    return out if beta == 1 else out / beta


def softmax(input: Tensor, dim: int = -1) -> Tensor:
    """exp(x - max) / sum(exp(x - max)) along `dim`."""
    return input.softmax(dim)


def log_softmax(input: Tensor, dim: int = -1) -> Tensor:
    """log(softmax(input)) along `dim`."""
    return input.log_softmax(dim)


def normalize(input: Tensor, p: float = 2.0, dim: int = -1, eps: float = 1e-12) -> Tensor:
    """input / max(norm, eps) along `dim`.

    Where we differ from PyTorch: `dim` is the last one unless given; only p = 2.
    """
    if p != 2:
        raise ValueError(message("normalize", f"p is {p}; only 2 is there"))
    wide = input.to(input.dtype.compute)  # float16 has no 1e-12
    return (wide / wide.norm(dim, keepdim=True).clamp(min=eps)).to(input.dtype)


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """input @ weight.T + bias.

    Args:
        input: (..., K).
        weight: (N, K), plain or in GGML blocks.
        bias: (N,).
    Returns:
        (..., N).
    """
    return Tensor(_linear(input.node, weight.node, None if bias is None else bias.node))


def embedding(input: Tensor, weight: Tensor) -> Tensor:
    """Rows of `weight` (V, C), plain or in GGML blocks, for each number in `input`.

    Returns:
        (*input.shape, C).
    """
    return Tensor(_embedding(weight.node, input.node))


def one_hot(tensor: Tensor, num_classes: int) -> Tensor:
    """int64 (*tensor.shape, num_classes) with 1 at the class of each element, 0 elsewhere.

    Where we differ from PyTorch: `num_classes` has to be given, and a class out of its range is
    a row of zeros.
    """
    classes = arange(num_classes, device=tensor.device)
    return (tensor.unsqueeze(-1) == classes).long()


def _over_last(operator: str, input: Tensor, normalized_shape: Sequence[int]) -> tuple[Tensor, int]:
    """`input` with the dimensions of `normalized_shape`, which must be its last, as one."""
    shape = tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        raise ShapeError(
            message(
                operator, f"the last dimensions are not {shape}", f"input {describe(input.node)}"
            )
        )
    lead = input.shape[: -len(shape)]
    return input.reshape((*lead, numel(shape))), numel(shape)


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions.

    Args:
        normalized_shape: sizes of the last dimensions; weight and bias have this shape.
        eps: added to the variance.
    Source: https://arxiv.org/abs/1607.06450
    """
    flat, size = _over_last("layer_norm", input, normalized_shape)
    scale = ones(size, dtype=input.dtype, device=input.device)
    shift = zeros(size, dtype=input.dtype, device=input.device)
    scale = scale if weight is None else weight.reshape(size)
    shift = shift if bias is None else bias.reshape(size)
    out = find("layer_norm").apply(flat.node, scale.node, shift.node, eps=eps)
    return Tensor(out).reshape(input.shape)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions; the mean is taken in float32.

    Args:
        normalized_shape: sizes of the last dimensions; weight has this shape.
        eps: added to the mean square; the distance from 1 to the next float unless given.
    Source: https://arxiv.org/abs/1910.07467
    """
    flat, size = _over_last("rms_norm", input, normalized_shape)
    scale = ones(size, dtype=input.dtype, device=input.device)
    if weight is not None:
        scale = weight.reshape(size)
    added = _EPSILON.get(input.dtype.name, 2.0**-23) if eps is None else eps
    return Tensor(find("rms_norm").apply(flat.node, scale.node, eps=added)).reshape(input.shape)


_EPSILON = {"float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def dropout(input: Tensor, p: float = 0.5, training: bool = True) -> Tensor:
    """Each element 0 with probability p, else divided by 1 - p; `input` when not training."""
    if not 0 <= p <= 1:
        raise OutOfRange(message("dropout", f"the probability {p} is not in [0, 1]"))
    if not training or p == 0:
        return input
    if p == 1:
        return input * 0
    dropped = bernoulli_mask(input.shape, p, input.device)
    return (input * (1 / (1 - p))).masked_fill(Tensor(dropped), 0.0)


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(query key^T * scale + mask) value.

    Args:
        query: (..., H, T, D), or (T, D).
        key, value: (..., G, S, D) and (..., G, S, E); G is H unless enable_gqa.
        attn_mask: broadcastable to (..., H, T, S); bool, True where the query may see the key,
            or floats to be added to the scores.
        is_causal: query t sees keys 0 to t.
        scale: 1 / sqrt(D) unless given.
    Returns:
        (..., H, T, E). Where we differ from PyTorch: zeros, not NaN, for a query that sees nothing.
    Source: https://arxiv.org/abs/1706.03762
    """
    operator = "scaled_dot_product_attention"
    if min(query.ndim, key.ndim, value.ndim) < 2:
        shapes = [describe(t.node) for t in (query, key, value)]
        raise ShapeError(message(operator, "needs two dimensions at least", *shapes))
    if not enable_gqa and query.ndim > 2 and query.size(-3) != key.size(-3):
        if 1 not in (query.size(-3), key.size(-3)):
            problem = f"{query.size(-3)} query heads but {key.size(-3)} key heads"
            raise ShapeError(message(operator, problem, hint="enable_gqa=True repeats key heads"))
    batch = broadcast(operator, *(t.shape[:-3] for t in (query, key, value)))
    q, k, v = (_four_dims(t, batch) for t in (query, key, value))
    if not enable_gqa:
        heads = max(q.size(1), k.size(1))
        q, k, v = (t.expand(t.size(0), heads, t.size(2), t.size(3)) for t in (q, k, v))
    T, S = q.size(2), k.size(2)
    shape = (*batch, *((q.size(1),) if query.ndim > 2 else ()), T)
    mask = attn_mask
    if mask is not None:
        wide = (*batch, q.size(1), T, S)
        mask = mask.expand(wide).reshape(q.size(0), q.size(1), T, S)
    causal = is_causal
    if is_causal and (T > S or (mask is not None and mask.dtype is not dt.bool_)):
        mask, causal = _with_causal(mask, T, S, q), False
    if dropout_p or (mask is not None and mask.dtype is not dt.bool_):
        out = _plain_attention(q, k, v, mask, causal, scale, dropout_p)
    else:
        out = attention(q, k, v, mask, causal=causal, scale=scale)
    return out.reshape((*shape, v.size(3)))


def _four_dims(tensor: Tensor, batch: tuple[int, ...]) -> Tensor:
    heads = tensor if tensor.ndim > 2 else tensor.unsqueeze(0)
    rows = heads.shape[-3:]
    return heads.expand((*batch, *rows)).reshape((numel(batch), *rows))


def _with_causal(mask: Tensor | None, T: int, S: int, like: Tensor) -> Tensor:
    """A mask that also hides later keys."""
    rows = arange(T, device=like.device).unsqueeze(1)
    seen = arange(S, device=like.device) <= rows  # (T, S)
    if mask is None:
        return seen.expand(like.size(0), like.size(1), T, S)
    if mask.dtype is dt.bool_:
        return mask & seen
    return mask.masked_fill(~seen, -math.inf)


def _plain_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None,
    causal: bool,
    scale: float | None,
    dropout_p: float,
) -> Tensor:
    repeat = q.size(1) // k.size(1)
    keys, values = (t if repeat == 1 else t.repeat_interleave(repeat, 1) for t in (k, v))
    scores = q @ keys.mT * (q.size(-1) ** -0.5 if scale is None else scale)
    seen = _with_causal(None, q.size(2), k.size(2), q) if causal else None
    if mask is not None and mask.dtype is dt.bool_:
        seen = mask if seen is None else mask & seen
    elif mask is not None:
        scores = scores + mask
    if seen is not None:
        scores = scores.masked_fill(~seen, -math.inf)
    hidden = (scores == -math.inf).all(-1, keepdim=True)
    weights = scores.masked_fill(hidden, 0.0).softmax(-1).masked_fill(hidden, 0.0)
    return dropout(weights, dropout_p) @ values


def cross_entropy(
    input: Tensor,
    target: Tensor,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """-log(softmax(input)) of the target class, in nats.

    Args:
        input: logits (N, C), (C,) or (N, C, d1, ...).
        target: class numbers (N,), () or (N, d1, ...); or probabilities in the shape of input.
        ignore_index: target class that adds nothing, and that the mean leaves out.
        reduction: "mean", "sum" or "none".
        label_smoothing: share of the target that is spread over all classes.
    Raises:
        OutOfRange: a class number is not in [0, C); when the result is realized.
    """
    axis = 0 if input.ndim == 1 else 1
    logs = input.log_softmax(axis)
    if target.dtype.kind == "f":
        return _reduced(reduction, -_soft_targets(logs, target, label_smoothing, axis).sum(axis))
    losses, counted = _nll(logs, target, ignore_index, axis)
    if label_smoothing:
        smooth = (-logs.mean(axis)).masked_fill(~counted, 0.0)
        losses = losses * (1 - label_smoothing) + smooth * label_smoothing
    return _reduced(reduction, losses, counted)


def _soft_targets(logs: Tensor, target: Tensor, smoothing: float, axis: int) -> Tensor:
    if target.shape != logs.shape:
        raise ShapeError(
            message(
                "cross_entropy",
                "probabilities must have the shape of the logits",
                f"input {describe(logs.node)}",
                f"target {describe(target.node)}",
            )
        )
    if smoothing:
        target = target * (1 - smoothing) + smoothing / logs.size(axis)
    return target * logs


def _nll(logs: Tensor, target: Tensor, ignore_index: int, axis: int) -> tuple[Tensor, Tensor]:
    """-logs of each target class, 0 where it is to be ignored; and where it is not."""
    if target.dtype.kind not in "iu" or target.shape != logs.shape[:axis] + logs.shape[axis + 1 :]:
        raise ShapeError(
            message(
                "cross_entropy",
                "targets must be integers of the shape of the input without its classes",
                f"input {describe(logs.node)}",
                f"target {describe(target.node)}",
            )
        )
    counted = target != ignore_index
    picked = logs.gather(axis, target.masked_fill(~counted, 0).unsqueeze(axis)).squeeze(axis)
    return (-picked).masked_fill(~counted, 0.0), counted


def nll_loss(
    input: Tensor, target: Tensor, ignore_index: int = -100, reduction: str = "mean"
) -> Tensor:
    """As `cross_entropy`, of logarithms of probabilities."""
    losses, counted = _nll(input, target, ignore_index, 0 if input.ndim == 1 else 1)
    return _reduced(reduction, losses, counted)


def mse_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Squared differences."""
    return _reduced(reduction, (input - target).square())


def l1_loss(input: Tensor, target: Tensor, reduction: str = "mean") -> Tensor:
    """Absolute differences."""
    return _reduced(reduction, (input - target).abs())


def _reduced(reduction: str, losses: Tensor, counted: Tensor | None = None) -> Tensor:
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    if reduction != "mean":
        raise ValueError(message("loss", f"reduction is {reduction!r}, not none, sum or mean"))
    if counted is None:
        return losses.mean()
    return losses.sum() / counted.sum()._to_dtype(losses.dtype)
