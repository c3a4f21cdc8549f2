"""scaled_dot_product_attention: PyTorch's rules of shapes and masks over the attention operator."""

from __future__ import annotations

import math

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import compare
from numbatorch.ops.attention import attention
from numbatorch.ops.create import iota
from numbatorch.ops.dropping import dropout
from numbatorch.ops.matmul import matmul
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.rearranging import interleaved
from numbatorch.ops.shaping import reshape, unsqueeze
from numbatorch.ops.softmax import softmax
from numbatorch.ops.statistics import all
from numbatorch.ops.surface import public
from numbatorch.ops.view import transpose
from numbatorch.shape import broadcast, numel

_NAME = "scaled_dot_product_attention"


@public("nn.functional")
def scaled_dot_product_attention(
    query: Node,
    key: Node,
    value: Node,
    attn_mask: Node | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Node:
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
    Raises:
        DTypeError: the mask is neither of bool nor of floats.
    Source: https://arxiv.org/abs/1706.03762

    >>> q, k = nt.zeros(2, 4), nt.zeros(2, 4)
    >>> scaled_dot_product_attention(q, k, tensor([[1.0], [3.0]]), is_causal=True)
    tensor([[1.],
            [2.]])
    """
    operands = (query, key, value)
    _check(query, key, value, enable_gqa)
    batch = broadcast(_NAME, *(node.shape[:-3] for node in operands))
    q, k, v = (_four_dims(node, batch) for node in operands)
    if not enable_gqa:
        heads = max(q.shape[1], k.shape[1])
        q, k, v = (expanded(node, (node.shape[0], heads, *node.shape[2:])) for node in (q, k, v))
    (B, H, T, _D), S = q.shape, k.shape[2]
    mask = attn_mask
    if mask is not None:
        if mask.dtype is not dt.bool_ and mask.dtype.kind != "f":
            shown = f"attn_mask {describe(mask)}"
            raise DTypeError(message(_NAME, "a mask is of bool or floats", shown))
        mask = reshape(expanded(mask, (*batch, H, T, S)), (B, H, T, S))
    causal = is_causal
    if is_causal and (T > S or (mask is not None and mask.dtype is not dt.bool_)):
        mask, causal = _with_causal(mask, q, S), False
    if dropout_p or (mask is not None and mask.dtype is not dt.bool_):
        out = _plain_attention(q, k, v, mask, causal, scale, dropout_p)
    else:
        out = attention(q, k, v, mask, causal=causal, scale=scale)
    return reshape(out, (*batch, *((H,) if len(query.shape) > 2 else ()), T, v.shape[3]))


def _check(query: Node, key: Node, value: Node, enable_gqa: bool) -> None:
    operands = (query, key, value)
    if min(len(node.shape) for node in operands) < 2:
        problem = "needs two dimensions at least"
        raise ShapeError(message(_NAME, problem, *map(describe, operands)))
    if enable_gqa or len(query.shape) == 2 or len(key.shape) == 2:
        return
    heads, groups = query.shape[-3], key.shape[-3]
    if heads != groups and 1 not in (heads, groups):
        problem = f"{heads} query heads but {groups} key heads"
        raise ShapeError(message(_NAME, problem, hint="enable_gqa=True repeats key heads"))


def _four_dims(node: Node, batch: tuple[int, ...]) -> Node:
    heads = node if len(node.shape) > 2 else unsqueeze(node, 0)
    rows = heads.shape[-3:]
    return reshape(expanded(heads, (*batch, *rows)), (numel(batch), *rows))


def _with_causal(mask: Node | None, q: Node, S: int) -> Node:
    """A mask that also hides later keys."""
    B, H, T, _D = q.shape
    seen = compare.le.apply(iota(S, q.device), unsqueeze(iota(T, q.device), 1))  # (T, S)
    if mask is None:
        return expanded(seen, (B, H, T, S))
    if mask.dtype is dt.bool_:
        return compare.logical_and.apply(mask, seen)
    return compare.where.apply(seen, mask, -math.inf)


def _plain_attention(
    q: Node,
    k: Node,
    v: Node,
    mask: Node | None,
    causal: bool,
    scale: float | None,
    dropout_p: float,
) -> Node:
    repeat = q.shape[1] // k.shape[1]
    wide = q.dtype.compute  # float16 holds no scores over 65504
    queries, keys, values = (as_node(node, wide, q.device) for node in (q, k, v))
    if repeat != 1:
        keys, values = (interleaved(node, repeat, 1) for node in (keys, values))
    factor = q.shape[-1] ** -0.5 if scale is None else scale
    scores = matmul(queries * factor, transpose(keys, -1, -2))
    seen = _with_causal(None, q, k.shape[2]) if causal else None
    if mask is not None and mask.dtype is dt.bool_:
        seen = mask if seen is None else compare.logical_and.apply(mask, seen)
    elif mask is not None:
        scores = scores + as_node(mask, wide, q.device)
    if seen is not None:
        scores = compare.where.apply(seen, scores, -math.inf)
    hidden = all(compare.eq.apply(scores, -math.inf), -1, keepdim=True)
    weights = softmax(compare.where.apply(hidden, 0.0, scores), -1)
    weights = dropout(compare.where.apply(hidden, 0.0, weights), dropout_p)
    return as_node(matmul(weights, values), q.dtype, q.device)
