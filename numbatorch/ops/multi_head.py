"""Attention of several heads with its projections, as PyTorch's MultiheadAttention computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.compare import where
from numbatorch.ops.composed import composed
from numbatorch.ops.dropping import dropout
from numbatorch.ops.linear import linear
from numbatorch.ops.matmul import matmul
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduce import mean
from numbatorch.ops.scaled_attention import scaled_dot_product_attention
from numbatorch.ops.shaping import permute, reshape, squeeze, transpose, unsqueeze
from numbatorch.ops.softmax import softmax
from numbatorch.ops.splitting import chunk
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
NAME = "multi_head_attention_forward"
Weights = tuple[Node | None, Node | None, Node | None]


def _require(holds: bool, rule: str, *nodes: Node) -> None:
    if not holds:
        raise ShapeError(message(NAME, rule, *map(describe, nodes)))


def _added(name: str, mask: Node | None, like: Node) -> Node | None:
    """A mask as numbers that are added to scores: -inf where a bool mask is True."""
    if mask is None:
        return None
    if mask.dtype.kind == "f":
        return as_node(mask, like.dtype, like.device)
    if mask.dtype is not dt.bool_:
        raise DTypeError(message(NAME, f"{name} is of bool or floats", describe(mask)))
    zero = const(0.0, like.dtype, like.device, mask.shape)
    return where.apply(mask, -float("inf"), zero)


def _widened(mask: Node | None, more: int) -> Node | None:
    """A mask with `more` keys that all may be seen."""
    if mask is None or not more:
        return mask
    return cat([mask, const(0.0, mask.dtype, mask.device, (*mask.shape[:-1], more))], -1)


def _projected(
    operands: tuple[Node, Node, Node], packed: Node | None, bias: Node | None, weights: Weights
) -> list[Node]:
    """Queries, keys and values: each by a weight of its own, or by a third of the packed one."""
    each: Sequence[Node | None] = weights if packed is None else chunk(packed, 3)
    biases: Sequence[Node | None] = (None, None, None) if bias is None else chunk(bias, 3)
    found = []
    for x, weight, added in zip(operands, each, biases, strict=True):
        if weight is None:
            raise ShapeError(message(NAME, "a weight of the projections is missing"))
        found.append(linear(x, weight, added))
    return found


def _by_head(x: Node, heads: int) -> Node:
    """(S, B, E) as (B * heads, S, E / heads)."""
    S, B, E = x.shape
    return transpose(reshape(x, (S, B * heads, E // heads)), 0, 1)


def _extended(x: Node, extra: Node | None, zero: bool, heads: int, static: Node | None) -> Node:
    """Keys or values by head, with one that is learned and one of zeros after them if asked."""
    if extra is not None:
        _require(static is None, "a bias is not added to static keys or values", extra)
        x = cat([x, expanded(reshape(extra, (1, 1, x.shape[2])), (1, *x.shape[1:]))], 0)
    if static is None:
        found = _by_head(x, heads)
    else:
        fits = len(static.shape) == 3 and static.shape[0] == x.shape[1] * heads
        _require(fits, "static keys and values are (N * heads, S, E / heads)", static, x)
        found = static
    if zero:
        shape = (found.shape[0], 1, found.shape[2])
        found = cat([found, const(0.0, found.dtype, found.device, shape)], 1)
    return found


def _mask_of(
    attn_mask: Node | None, padding: Node | None, more: int, B: int, heads: int, T: int, S: int
) -> Node | None:
    """What is added to scores (B * heads, T, S + more)."""
    if attn_mask is not None:
        if len(attn_mask.shape) == 2:
            attn_mask = unsqueeze(attn_mask, 0)
        fits = attn_mask.shape in ((1, T, S), (B * heads, T, S))
        _require(fits, f"attn_mask must be {(T, S)} or {(B * heads, T, S)}", attn_mask)
    mask = _widened(attn_mask, more)
    padding = _widened(padding, more)
    if padding is not None:
        _require(padding.shape == (B, S + more), f"key_padding_mask must be {(B, S)}", padding)
        wide = expanded(reshape(padding, (B, 1, 1, S + more)), (B, heads, 1, S + more))
        padding = reshape(wide, (B * heads, 1, S + more))
        mask = padding if mask is None else mask + padding
    return mask


def _weighed(q: Node, k: Node, v: Node, mask: Node | None, dropout_p: float) -> tuple[Node, Node]:
    """Values by their weights, and the weights (N * heads, T, S); scores are scaled first."""
    wide = q.dtype.compute
    queries = as_node(q, wide, q.device) * q.shape[-1] ** -0.5
    scores = matmul(queries, transpose(as_node(k, wide, q.device), -1, -2))
    if mask is not None:
        scores = scores + expanded(as_node(mask, wide, q.device), scores.shape)
    weights = softmax(scores, -1)
    if dropout_p > 0:
        weights = dropout(weights, dropout_p)
    out = matmul(weights, as_node(v, wide, q.device))
    return as_node(out, q.dtype, q.device), as_node(weights, q.dtype, q.device)


def _shown(weights: Node, shape: Shape, average: bool, batched: bool) -> Node:
    """Weights (N * heads, T, S) as (N, heads, T, S), or the mean over heads."""
    found = reshape(weights, (*shape, *weights.shape[1:]))
    found = mean(found, 1) if average else found
    return found if batched else squeeze(found, 0)


def _unweighed(
    q: Node, k: Node, v: Node, mask: Node | None, dropout_p: float, shape: Shape
) -> Node:
    """What `_weighed` gives first, by kernels that keep no weights."""
    if mask is not None:
        whole = expanded(mask, (q.shape[0], q.shape[1], k.shape[1]))
        mask = reshape(whole, (*shape, *whole.shape[1:]))
    q, k, v = (reshape(x, (*shape, *x.shape[1:])) for x in (q, k, v))
    out = scaled_dot_product_attention(q, k, v, mask, dropout_p)
    return reshape(out, (out.shape[0] * out.shape[1], *out.shape[2:]))


def _check(query: Node, key: Node, value: Node, embed_dim: int, heads: int, apart: bool) -> None:
    nodes = (query, key, value)
    ranks = {len(node.shape) for node in nodes}
    _require(ranks in ({2}, {3}), "query, key and value are all (S, E) or (S, N, E)", *nodes)
    E = query.shape[-1]
    _require(embed_dim == E, f"embed_dim_to_check is {embed_dim}", query)
    _require(heads > 0 and E % heads == 0, f"{E} is not a multiple of {heads} heads", query)
    alike = key.shape[:-1] == value.shape[:-1] if apart else key.shape == value.shape
    _require(alike, "key and value differ", key, value)


def _reference(
    q: Array, k: Array, w: Array, b: Array, out: Array, mask: Array, *, num_heads: int
) -> tuple[Array, Array]:
    E = q.shape[-1]
    parts = [x @ w[i * E : (i + 1) * E].T + b[i * E : (i + 1) * E] for i, x in enumerate((q, k, k))]
    heads = [x.reshape(*x.shape[:2], num_heads, -1).transpose(1, 2, 0, 3) for x in parts]
    scores = heads[0] @ heads[1].swapaxes(-1, -2) / np.sqrt(E // num_heads) + mask
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    weights = powers / powers.sum(-1, keepdims=True)
    return (weights @ heads[2]).transpose(2, 0, 1, 3).reshape(q.shape) @ out.T, weights.mean(1)


def _sample(rng: Draw) -> Any:
    T, S, N, H, D = (int(n) for n in rng.integers((1, 1, 1, 1, 1), (5, 5, 3, 3, 4)))
    E = H * D
    shapes = ((T, N, E), (S, N, E), (3 * E, E), 3 * E, (E, E), (T, S))
    return [rng.standard_normal(shape) for shape in shapes], {"num_heads": H}


def _called(function: Any, nodes: Any, attrs: Any) -> Any:
    q, k, w, b, out, mask = nodes
    heads, E = attrs["num_heads"], q.shape[-1]
    given = (q, k, k, E, heads, w, b, None, None, False, 0.0, out, None)
    return function(*given, attn_mask=mask)


@composed(
    numpy=_reference,
    sample=_sample,
    call=_called,
    dtypes=(dt.float64, dt.float32),
    source="https://arxiv.org/abs/1706.03762",
)
@public("nn.functional")
def multi_head_attention_forward(
    query: Node,
    key: Node,
    value: Node,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Node | None,
    in_proj_bias: Node | None,
    bias_k: Node | None,
    bias_v: Node | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Node,
    out_proj_bias: Node | None,
    training: bool = True,
    key_padding_mask: Node | None = None,
    need_weights: bool = True,
    attn_mask: Node | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Node | None = None,
    k_proj_weight: Node | None = None,
    v_proj_weight: Node | None = None,
    static_k: Node | None = None,
    static_v: Node | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Node, Node | None]:
    """Attention of num_heads heads over projections of query, key and value, projected again.

    Args:
        query, key, value: (T, N, E) and (S, N, E), or without N.
        in_proj_weight, in_proj_bias: (3 * E, E) and (3 * E,), of all three projections.
        bias_k, bias_v: (E,), one key and value more.
        add_zero_attn: a key and value of zeros more.
        key_padding_mask: (N, S); True, or -inf, for keys that are not seen.
        need_weights: give the weights too.
        attn_mask: (T, S) or (N * num_heads, T, S); True where a key is not seen, or floats that are
            added to the scores.
        use_separate_proj_weight: take q_proj_weight, k_proj_weight and v_proj_weight.
        static_k, static_v: (N * num_heads, S, E / num_heads), in place of the projected ones.
        average_attn_weights: of all heads.
        is_causal: attn_mask, which has to be given, hides later keys.
    Returns:
        (T, N, E), and the weights (N, T, S), or (N, num_heads, T, S), or None.
    Source: https://arxiv.org/abs/1706.03762

    >>> x, one = nt.ones(2, 1), nt.ones(1, 1)
    >>> given = (1, 1, nt.ones(3, 1), None, None, None, False, 0.0, one, None)
    >>> out, weights = nt.nn.functional.multi_head_attention_forward(x, x, x, *given)
    >>> out.tolist(), weights.tolist()
    ([[1.0], [1.0]], [[0.5, 0.5], [0.5, 0.5]])
    """
    apart = use_separate_proj_weight
    _check(query, key, value, embed_dim_to_check, num_heads, apart)
    _require(not is_causal or attn_mask is not None, "is_causal needs attn_mask")
    _require((bias_k is None) == (bias_v is None), "bias_k needs bias_v, and bias_v bias_k")
    batched = len(query.shape) == 3
    padding = _added("key_padding_mask", key_padding_mask, query)
    if not batched:
        query, key, value = (unsqueeze(x, 1) for x in (query, key, value))
        padding = None if padding is None else unsqueeze(padding, 0)
    T, B, E = query.shape
    weights = (q_proj_weight, k_proj_weight, v_proj_weight)
    packed = None if apart else in_proj_weight
    q, k, v = _projected((query, key, value), packed, in_proj_bias, weights)
    q = _by_head(q, num_heads)
    k = _extended(k, bias_k, add_zero_attn, num_heads, static_k)
    v = _extended(v, bias_v, add_zero_attn, num_heads, static_v)
    more = (bias_k is not None) + add_zero_attn
    added = _added("attn_mask", attn_mask, query)
    mask = _mask_of(added, padding, more, B, num_heads, T, k.shape[1] - more)
    p = dropout_p if training else 0.0
    shape = (B, num_heads)
    if need_weights:
        out, found = _weighed(q, k, v, mask, p)
        weighed = _shown(found, shape, average_attn_weights, batched)
    else:
        out, weighed = _unweighed(q, k, v, mask, p, shape), None
    joined = reshape(permute(out, (1, 0, 2)), (T, B, E))
    result = linear(joined, out_proj_weight, out_proj_bias)
    return result if batched else squeeze(result, 1), weighed
