"""Attention of several heads with its projections, as PyTorch's MultiheadAttention computes it.

Letters: N batch, T queries, S keys, E all heads, D one head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.compare import logical_not, logical_or, where
from numbatorch.ops.composed import composed
from numbatorch.ops.dropping import dropout
from numbatorch.ops.known_calls import KnownCalls
from numbatorch.ops.linear import linear
from numbatorch.ops.matmul import matmul
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduce import mean
from numbatorch.ops.scaled_attention import scaled_dot_product_attention
from numbatorch.ops.shaping import permute, reshape, select, squeeze, transpose, unsqueeze
from numbatorch.ops.softmax import softmax
from numbatorch.ops.splitting import chunk, split
from numbatorch.ops.surface import on_tensors, public
from numbatorch.ops.view import cat
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
NAME = "multi_head_attention_forward"
Weights = tuple[Node | None, Node | None, Node | None]
NONE: Weights = (None, None, None)


def _require(holds: bool, rule: str, *nodes: Node | None) -> None:
    if not holds:
        rows = [describe(node) for node in nodes if node is not None]
        raise ShapeError(message(NAME, rule, *rows))


def _projected(
    operands: tuple[Node, Node, Node],
    heads: int,
    packed: Node | None,
    bias: Node | None,
    weights: Weights,
) -> list[Node]:
    """Queries, keys and values (..., heads, D), by weights of their own or by the packed one.

    What has one source is one product.
    """
    query, key, value = operands
    if packed is None:
        biases = (None, None, None) if bias is None else chunk(bias, 3)
        own = zip(operands, weights, biases, strict=True)
        return [_product(x, w, b, 1, heads)[0] for x, w, b in own]
    if query is key is value:
        return _product(query, packed, bias, 3, heads)
    E = packed.shape[0] // 3
    first, rest = split(packed, [E, 2 * E])
    first_bias, rest_bias = (None, None) if bias is None else split(bias, [E, 2 * E])
    found = _product(query, first, first_bias, 1, heads)
    if key is value:
        return found + _product(key, rest, rest_bias, 2, heads)
    halves = (None, None) if rest_bias is None else chunk(rest_bias, 2)
    for x, w, b in zip((key, value), chunk(rest, 2), halves, strict=True):
        found += _product(x, w, b, 1, heads)
    return found


def _product(x: Node, weight: Node | None, bias: Node | None, parts: int, heads: int) -> list[Node]:
    """x @ weight.T + bias (..., parts * E), as parts of (..., heads, E / heads)."""
    if weight is None:
        raise ShapeError(message(NAME, "a weight of the projections is missing"))
    out = linear(x, weight, bias)
    size = weight.shape[0] // parts
    _require(size % heads == 0, f"{size} is not a multiple of {heads} heads", weight)
    apart = reshape(out, (*out.shape[:-1], parts, heads, size // heads))
    return [select(apart, -3, i) for i in range(parts)]


def _by_head(x: Node, batch_first: bool) -> Node:
    """(S, N, heads, D), or (N, S, heads, D), as (N, heads, S, D)."""
    return permute(x, (0, 2, 1, 3) if batch_first else (1, 2, 0, 3))


def _joined(x: Node, batch_first: bool) -> Node:
    """(N, heads, T, D) as (T, N, heads * D), or (N, T, heads * D)."""
    turned = permute(x, (0, 2, 1, 3) if batch_first else (2, 0, 1, 3))
    return reshape(turned, (*turned.shape[:2], x.shape[1] * x.shape[3]))


def _extended(x: Node, extra: Node | None, zero: bool, static: Node | None) -> Node:
    """Keys or values by head, with one that is learned and one of zeros after them if asked."""
    N, heads, _S, D = x.shape
    if static is not None:
        _require(extra is None, "a bias is not added to static keys or values", static, extra)
        fits = len(static.shape) == 3 and static.shape[::2] == (N * heads, D)
        _require(fits, f"static keys and values are {(N * heads, 'S', D)}", static)
        x = reshape(static, (N, heads, static.shape[1], D))
    more = []
    if extra is not None:
        _require(numel(extra.shape) == heads * D, f"bias_k and bias_v are of {heads * D}", extra)
        more.append(expanded(reshape(extra, (1, heads, 1, D)), (N, heads, 1, D)))
    if zero:
        more.append(const(0.0, x.dtype, x.device, (N, heads, 1, D)))
    return cat([x, *more], 2) if more else x


def _masks(
    attn_mask: Node | None, padding: Node | None, scores: Shape, more: int, batched: bool
) -> list[Node]:
    """Masks that broadcast to scores (N, heads, T, S), of which the last `more` keys are seen."""
    N, heads, T, S = (*scores[:-1], scores[-1] - more)
    found = []
    if attn_mask is not None:
        whole = ((T, S), (1, T, S), (N * heads, T, S))
        rule = f"attn_mask must be {whole[0]} or {whole[2]}"
        _require(attn_mask.shape in whole, rule, attn_mask)
        shape = (1, 1) if numel(attn_mask.shape) == T * S else (N, heads)
        found.append(_widened("attn_mask", reshape(attn_mask, (*shape, T, S)), more))
    if padding is not None:
        wanted: Shape = (N, S) if batched else (S,)
        _require(padding.shape == wanted, f"key_padding_mask must be {wanted}", padding)
        found.append(_widened("key_padding_mask", reshape(padding, (N, 1, 1, S)), more))
    return found


def _widened(name: str, mask: Node, more: int) -> Node:
    """A mask with `more` keys that all may be seen."""
    if mask.dtype.kind != "f" and mask.dtype is not dt.bool_:
        raise DTypeError(message(NAME, f"{name} is of bool or floats", describe(mask)))
    if not more:
        return mask
    return cat([mask, const(False, mask.dtype, mask.device, (*mask.shape[:-1], more))], -1)


def _added(masks: list[Node], like: Node) -> Node | None:
    """The sum of masks as numbers that are added to scores: -inf where a bool mask is True."""
    total: Node | None = None
    for mask in masks:
        if mask.dtype is dt.bool_:
            zero = const(0.0, like.dtype, like.device, mask.shape)
            mask = where.apply(mask, -float("inf"), zero)
        else:
            mask = as_node(mask, like.dtype, like.device)
        total = mask if total is None else total + mask
    return total


def _seen(masks: list[Node], like: Node) -> Node | None:
    """Masks as scaled_dot_product_attention takes them: True for keys that are seen, or floats."""
    if not masks or any(mask.dtype is not dt.bool_ for mask in masks):
        return _added(masks, like)
    hidden = masks[0] if len(masks) == 1 else logical_or.apply(*masks)
    return logical_not.apply(hidden)


def _weighed(q: Node, k: Node, v: Node, masks: list[Node], p: float) -> tuple[Node, Node]:
    """Values by their weights, and the weights (N, heads, T, S); scores are scaled first."""
    wide = q.dtype.compute
    queries = as_node(q, wide, q.device) * q.shape[-1] ** -0.5
    scores = matmul(queries, transpose(as_node(k, wide, q.device), -1, -2))
    mask = _added(masks, queries)
    if mask is not None:
        scores = scores + mask
    weights = softmax(scores, -1)
    if p > 0:
        weights = dropout(weights, p)
    out = matmul(weights, as_node(v, wide, q.device))
    return as_node(out, q.dtype, q.device), as_node(weights, q.dtype, q.device)


def _check(query: Node, key: Node, value: Node, heads: int, apart: bool, batch: int) -> None:
    nodes = (query, key, value)
    ranks = {len(node.shape) for node in nodes}
    _require(ranks in ({2}, {3}), "query, key and value are all (S, E) or all (S, N, E)", *nodes)
    E = query.shape[-1]
    _require(heads > 0 and E % heads == 0, f"{E} is not a multiple of {heads} heads", query)
    alike = key.shape[:-1] == value.shape[:-1] if apart else key.shape == value.shape
    _require(alike, "key and value differ", key, value)
    alike = len(query.shape) == 2 or query.shape[batch] == key.shape[batch]
    _require(alike, "query and key differ in the batch", query, key)


def attended(
    query: Node,
    key: Node,
    value: Node,
    num_heads: int,
    in_projection: tuple[Node | None, Node | None],
    extras: tuple[Node | None, Node | None, bool],
    out_projection: tuple[Node, Node | None],
    masks: tuple[Node | None, Node | None],
    apart: Weights | None = None,
    static: tuple[Node | None, Node | None] = (None, None),
    dropout_p: float = 0.0,
    need_weights: bool = True,
    average: bool = True,
    is_causal: bool = False,
    batch_first: bool = False,
) -> tuple[Node, Node | None]:
    """What multi_head_attention_forward gives, for inputs (N, S, E) too: batch_first."""
    _check(query, key, value, num_heads, apart is not None, 0 if batch_first else 1)
    attn_mask, padding = masks
    _require(not is_causal or attn_mask is not None, "is_causal needs attn_mask")
    bias_k, bias_v, zero = extras
    _require((bias_k is None) == (bias_v is None), "bias_k needs bias_v, and bias_v bias_k")
    batched = len(query.shape) == 3
    operands = (query, key, value)
    if not batched:
        batch_first = True
        once = {id(x): unsqueeze(x, 0) for x in operands}
        operands = (once[id(query)], once[id(key)], once[id(value)])
    packed, bias = in_projection
    if apart is None and packed is None:
        raise ShapeError(message(NAME, "a weight of the projections is missing"))
    own = None if apart is not None else packed
    projected = _projected(operands, num_heads, own, bias, apart or NONE)
    q, k, v = (_by_head(x, batch_first) for x in projected)
    k = _extended(k, bias_k, zero, static[0])
    v = _extended(v, bias_v, zero, static[1])
    more = (bias_k is not None) + zero
    known = _masks(attn_mask, padding, (*q.shape[:3], k.shape[2]), more, batched)
    weights: Node | None = None
    if need_weights:
        out, weights = _weighed(q, k, v, known, dropout_p)
        weights = mean(weights, 1) if average else weights
    else:
        causal = is_causal and not more
        seen = _seen(known[1:] if causal else known, q)
        out = scaled_dot_product_attention(q, k, v, seen, dropout_p, causal)
    result = linear(_joined(out, batch_first), *out_projection)
    if batched:
        return result, weights
    return squeeze(result, 0), weights if weights is None else squeeze(weights, 0)


# The same on tensors, for nn.MultiheadAttention.
multi_head: Any = on_tensors(attended, "MultiheadAttention", known=KnownCalls())


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
        is_causal: attn_mask, which has to be given, hides later keys and no others, so that it is
            not read where no weights are needed and no key is added.
    Returns:
        (T, N, E), and the weights (N, T, S), or (N, num_heads, T, S), or None.
        A query that sees no key gets NaN with weights, and zeros of all heads without.
    Source: https://arxiv.org/abs/1706.03762

    >>> x, one = nt.ones(2, 1), nt.ones(1, 1)
    >>> given = (1, 1, nt.ones(3, 1), None, None, None, False, 0.0, one, None)
    >>> out, weights = nt.nn.functional.multi_head_attention_forward(x, x, x, *given)
    >>> out.tolist(), weights.tolist()
    ([[1.0], [1.0]], [[0.5, 0.5], [0.5, 0.5]])
    """
    E = embed_dim_to_check
    _require(query.shape[-1:] == (E,), f"embed_dim_to_check is {E}", query)
    apart = (q_proj_weight, k_proj_weight, v_proj_weight) if use_separate_proj_weight else None
    return attended(
        query,
        key,
        value,
        num_heads,
        (in_proj_weight, in_proj_bias),
        (bias_k, bias_v, add_zero_attn),
        (out_proj_weight, out_proj_bias),
        (attn_mask, key_padding_mask),
        apart,
        (static_k, static_v),
        dropout_p if training else 0.0,
        need_weights,
        average_attn_weights,
        is_causal,
    )
