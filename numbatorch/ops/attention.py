"""Scaled dot-product attention: grouped heads, a causal rule, windows, capped scores, a mask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.matmul import matmul_
from numbatorch.ops.operands import IOTA, as_node, const, describe, expanded
from numbatorch.ops.reduce import any_, reduced, sum_
from numbatorch.ops.softmax import softmax_
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.unary import tanh
from numbatorch.ops.view import reshape, transpose
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


@structured(source="https://arxiv.org/abs/1706.03762", strided=(0, 1, 2, 3))
def attention_(
    q: Array,
    k: Array,
    v: Array,
    *mask: Array,
    scale: float,
    causal: bool,
    position: int,
    window: int | None = None,
    softcap: float | None = None,
) -> Any:
    """softmax(q k^T * scale, over the keys that may be seen) v, accumulated in float32.

    Args:
        q: (B, H, T, D).
        k, v: (B, G, S, D) and (B, G, S, E); H is a multiple of G, query head h reads h * G // H.
        mask: none, or one (B, H, T, S) bool, True where the query may see the key.
        scale: factor on the scores.
        causal: query t sees keys 0 to position + t.
        position: of the first query among the keys; may be a plan variable.
        window: how many keys a query of a causal one sees, its own the last; None: all so far.
        softcap: scores x become softcap * tanh(x / softcap); None: they stay.
    Returns:
        (B, H, T, E); zeros for a query that sees nothing.
    """
    T, S = q.shape[2], k.shape[2]
    repeat = q.shape[1] // k.shape[1] if k.shape[1] else 1
    scores = np.matmul(q, np.repeat(k, repeat, 1).swapaxes(-1, -2)) * scale
    if softcap is not None:
        scores = softcap * np.tanh(scores / softcap)
    seen = np.ones(scores.shape, bool)
    own = int(position) + np.arange(T)[:, None]
    if causal:
        seen &= np.arange(S) <= own
    if window is not None:
        seen &= np.arange(S) > own - window
    for allowed in mask:
        seen &= allowed.astype(bool)
    scores = np.where(seen, scores, -np.inf)
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    powers = np.where(seen, np.exp(scores - np.where(np.isfinite(top), top, 0)), 0)
    total = powers.sum(-1, keepdims=True)
    weights = powers / np.where(total == 0, 1, total)
    return np.matmul(weights, np.repeat(v, repeat, 1))


@attention_.infer
def _(
    q: Node,
    k: Node,
    v: Node,
    *mask: Node,
    scale: float,
    causal: bool,
    position: int,
    window: int | None = None,
    softcap: float | None = None,
) -> tuple[Shape, DType]:
    fits = len(q.shape) == len(k.shape) == len(v.shape) == 4
    fits = fits and q.shape[0] == k.shape[0] == v.shape[0] and k.shape[1:3] == v.shape[1:3]
    fits = fits and q.shape[3] == k.shape[3] and k.shape[1] > 0 and q.shape[1] % k.shape[1] == 0
    fits = fits and q.dtype.kind == "f" and q.dtype is k.dtype is v.dtype
    shown = [f"q {describe(q)}", f"k {describe(k)}", f"v {describe(v)}"]
    if not fits:
        raise ShapeError(
            message("attention", "q (B, H, T, D), k (B, G, S, D), v (B, G, S, E)", *shown)
        )
    for allowed in mask:
        if allowed.shape != (*q.shape[:3], k.shape[2]) or allowed.dtype is not dt.bool_:
            wanted = (*q.shape[:3], k.shape[2])
            raise ShapeError(
                message("attention", f"mask must be {wanted} bool", f"mask {describe(allowed)}")
            )
    first, last = int(position), int(position) + q.shape[2] - 1
    if causal and (first < 0 or last >= k.shape[2]):
        raise OutOfRange(
            message("attention", f"queries at {first} to {last} of {k.shape[2]} keys", *shown)
        )
    if window is not None and (window < 1 or not causal):
        rule = "a window is of 1 key or more, and of a causal attention"
        raise ValueError(message("attention", f"window {window}, causal {causal}", rule))
    if softcap is not None and not 0 < softcap < float("inf"):
        raise ValueError(message("attention", f"softcap {softcap} is not positive"))
    return (*q.shape[:3], v.shape[3]), q.dtype


@attention_.multiplies
def _(y: Node) -> int:
    q, k, v = y.inputs[:3]
    keys = most_keys(k.shape[2], y.attrs["window"])
    return numel(q.shape[:3]) * keys * (q.shape[3] + v.shape[3])


def most_keys(keys: int, window: int | None) -> int:
    """How many of the keys a query may see."""
    return keys if window is None else min(keys, window)


@attention_.vjp
def _(g: Node, y: Node, q: Node, k: Node, v: Node, *mask: Node, **attrs: Any) -> list[Node | None]:
    return [*attention_backward.parts(g, q, k, v, *mask, **attrs), *([None] * len(mask))]


@attention_.fallback
def _(q: Node, k: Node, v: Node, *mask: Node, **attrs: Any) -> Node:
    weights, _slopes, _keys = _weights(q, k, mask, **attrs)
    values = as_node(_repeat_heads(v, q.shape[1] // v.shape[1]), weights.dtype, q.device)
    return as_node(matmul_.apply(weights, values), q.dtype, q.device)


def _weights(
    q: Node,
    k: Node,
    mask: tuple[Node, ...],
    *,
    scale: float,
    causal: bool,
    position: int,
    window: int | None,
    softcap: float | None,
) -> tuple[Node, Node | None, Node]:
    """The weights (B, H, T, S) in the dtype computed in, zeros in a row that sees nothing; the
    derivatives of capped scores, if they are; keys."""
    _B, H, T, _D = q.shape
    G, S = k.shape[1:3]
    wide = q.dtype.compute
    keys = as_node(_repeat_heads(k, H // G), wide, q.device)
    scores = matmul_.apply(as_node(q, wide, q.device), transpose(keys, -1, -2)) * scale
    slopes = None
    if softcap is not None:
        bent = tanh.apply(scores / softcap)
        scores, slopes = bent * softcap, 1.0 - bent * bent
    seen = [*mask]
    if causal:
        own = expanded(reshape.apply(_iota(T, q), shape=(T, 1)), (T, S)) + position
        places = expanded(_iota(S, q), (T, S))
        seen.append(expanded(find("le").apply(places, own), scores.shape))
        if window is not None:
            seen.append(expanded(find("gt").apply(places, own - window), scores.shape))
    if not seen:
        return softmax_.apply(scores), slopes, keys
    allowed = seen[0]
    for other in seen[1:]:
        allowed = find("logical_and").apply(allowed, other)
    zero = const(0.0, wide, q.device, scores.shape)
    hidden = const(-float("inf"), wide, q.device, scores.shape)
    some = expanded(reduced(any_, allowed, -1, keepdim=True), scores.shape)
    scores = find("where").apply(allowed, scores, find("where").apply(some, hidden, zero))
    return find("where").apply(some, softmax_.apply(scores), zero), slopes, keys


@structured(strided=(1, 2, 3, 4))
def attention_backward(
    g: Array,
    q: Array,
    k: Array,
    v: Array,
    *mask: Array,
    scale: float,
    causal: bool,
    position: int,
    window: int | None = None,
    softcap: float | None = None,
) -> tuple[Array, ...]:
    """Cotangents of attention's q, k and v, accumulated in float32.

    With P the weights, dP = g v^T and dS = P (dP - sum(P dP)) * scale: dq = dS k, dk = dS^T q,
    dv = P^T g. Of capped scores s, dS is multiplied by their derivative 1 - (s / softcap)^2.
    """
    G, S = k.shape[1:3]
    repeat = q.shape[1] // G
    keys, values = np.repeat(k, repeat, 1), np.repeat(v, repeat, 1)
    ones = np.broadcast_to(np.eye(S, dtype=q.dtype), (*k.shape[:2], S, S))
    rules = {"causal": causal, "position": position, "window": window}
    weights = attention_.reference(q, k, ones, *mask, scale=scale, softcap=softcap, **rules)
    change = np.matmul(g, values.swapaxes(-1, -2))
    scores = weights * (change - (weights * change).sum(-1, keepdims=True)) * scale
    if softcap is not None:
        plain = np.matmul(q, keys.swapaxes(-1, -2)) * scale
        scores = scores * (1 - np.tanh(plain / softcap) ** 2)
    dk = np.matmul(scores.swapaxes(-1, -2), q).reshape(len(k), G, repeat, *k.shape[2:]).sum(2)
    dv = np.matmul(weights.swapaxes(-1, -2), g).reshape(len(k), G, repeat, *v.shape[2:]).sum(2)
    return np.matmul(scores, keys), dk, dv


@attention_backward.infer
def _(g: Node, q: Node, k: Node, v: Node, *mask: Node, **attrs: Any) -> list[tuple[Shape, DType]]:
    assert attention_.rule is not None
    shape, dtype = attention_.rule(q, k, v, *mask, **attrs)
    if g.shape != shape or g.dtype is not dtype:
        wanted = f"g must be {shape} {dtype.name}"
        raise ShapeError(message("attention_backward", wanted, f"g {describe(g)}"))
    return [(node.shape, dtype) for node in (q, k, v)]


@attention_backward.fallback
def _(g: Node, q: Node, k: Node, v: Node, *mask: Node, scale: float, **attrs: Any) -> Any:
    weights, slopes, keys = _weights(q, k, mask, scale=scale, **attrs)
    wide, wide_q = (as_node(node, weights.dtype, q.device) for node in (g, q))
    values = as_node(_repeat_heads(v, q.shape[1] // v.shape[1]), weights.dtype, q.device)
    change = matmul_.apply(wide, transpose(values, -1, -2))
    inner = expanded(reduced(sum_, weights * change, -1, keepdim=True), weights.shape)
    scores = weights * (change - inner) * scale
    if slopes is not None:
        scores = scores * slopes
    dk = _sum_heads(matmul_.apply(transpose(scores, -1, -2), wide_q), k.shape[1])
    dv = _sum_heads(matmul_.apply(transpose(weights, -1, -2), wide), k.shape[1])
    return tuple(as_node(x, q.dtype, q.device) for x in (matmul_.apply(scores, keys), dk, dv))


@attention_.samples
def _(rng: Draw) -> Any:
    low, high = (1, 1, 1, 0, 1, 1, 0), (3, 3, 3, 9, 9, 9, 9)
    *sizes, more = rng.dims(low, high, most=1100)  # keys: ranges of them are joined
    B, G, R, T, D, E = (min(size, 259) for size in sizes)
    H, S, causal = G * R, T + more, bool(rng.random() < 0.5)
    q, k, v = (rng.standard_normal(s) for s in ((B, H, T, D), (B, G, S, D), (B, G, S, E)))
    position = int(rng.integers(0, S - T + 1)) if causal else 0
    window = int(rng.integers(1, S + 2)) if causal and rng.random() < 0.5 else None
    softcap = 0.5 + 1.5 * float(rng.random()) if rng.random() < 0.5 else None
    attrs = {"scale": D**-0.5, "causal": causal, "position": position}
    attrs = {**attrs, "window": window, "softcap": softcap}
    mask = [rng.random((B, H, T, S)) < 0.7] if rng.random() < 0.5 else []
    return [q, k, v, *mask], attrs


@attention_backward.samples
def _(rng: Draw) -> Any:
    assert attention_.sample is not None
    (q, k, v, *mask), attrs = attention_.sample(rng)
    g = rng.standard_normal((*q.shape[:3], v.shape[3]))
    return [g, q, k, v, *mask], attrs


attention_.hides = attention_backward.hides = True


def _iota(size: int, like: Node) -> Node:
    return Node(IOTA, (), {}, (size,), dt.int64, like.device)


def _repeat_heads(x: Node, repeat: int) -> Node:
    if repeat == 1:
        return x
    B, G, S, D = x.shape
    wide = expanded(reshape.apply(x, shape=(B, G, 1, S, D)), (B, G, repeat, S, D))
    return reshape.apply(wide, shape=(B, G * repeat, S, D))


def _sum_heads(x: Node, groups: int) -> Node:
    """The sum over the heads of each group, what `_repeat_heads` is the transpose of."""
    B, H, S, D = x.shape
    if H == groups:
        return x
    return reduced(sum_, reshape.apply(x, shape=(B, groups, H // groups, S, D)), 2)


@public("nn.functional")
def attention(
    q: Node,
    k: Node,
    v: Node,
    mask: Node | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
    position: int = 0,
    window: int | None = None,
    softcap: float | None = None,
) -> Node:
    """softmax(q k^T * scale) v over the keys that may be seen. Not in PyTorch.

    Args:
        q: (B, H, T, D).
        k, v: (B, G, S, D) and (B, G, S, E), H a multiple of G.
        mask: bool, broadcastable to (B, H, T, S); True where the query may see the key.
        causal: query t sees keys 0 to position + t.
        scale: default 1 / sqrt(D).
        position: of the first query among the keys.
        window: query t of a causal one sees the last `window` keys up to position + t; what lies
            outside of it is not read. None: all of them.
        softcap: scores x become softcap * tanh(x / softcap). None: they stay.
    Returns:
        (B, H, T, E), dtype of q.
    Raises:
        ShapeError: the shapes are not those.
        OutOfRange: a causal query stands outside of the keys.
        ValueError: a window of no keys, or without `causal`; a softcap that is not positive.
    Source: https://arxiv.org/abs/1706.03762, of windows https://arxiv.org/abs/2004.05150, of
    capped scores https://arxiv.org/abs/2408.00118

    >>> q = k = nt.zeros(1, 2, 3, 4)
    >>> v = nt.arange(3.0).reshape(1, 1, 3, 1).expand(1, 2, 3, 1)
    >>> attention(q, k, v, causal=True)[0, 0, :, 0]
    tensor([0.0000, 0.5000, 1.0000])
    >>> attention(q, k, v, causal=True, window=2)[0, 0, :, 0]
    tensor([0.0000, 0.5000, 1.5000])
    """
    if any(len(x.shape) != 4 for x in (q, k, v)) or (scale is None and not q.shape[-1]):
        problem = "q, k and v must have four dimensions, the last of q and k not empty"
        rows = [f"{name} {describe(x)}" for name, x in (("q", q), ("k", k), ("v", v))]
        raise ShapeError(message("attention", problem, *rows))
    if scale is None:
        scale = q.shape[-1] ** -0.5
    masks = () if mask is None else (expanded(mask, (*q.shape[:3], k.shape[2])),)
    rules = {"causal": causal, "position": position, "window": window}
    return attention_.apply(q, k, v, *masks, scale=scale, softcap=softcap, **rules)
