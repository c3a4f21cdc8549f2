"""MultiheadAttention: projections around attention of several heads, over `ops/multi_head.py`.

Letters: N batch, T queries, S keys, E all heads.
"""

from __future__ import annotations

import math
from typing import Any

from numbatorch.apart import import_module
from numbatorch.dtype import DType
from numbatorch.errors import OutOfRange, ShapeError, message
from numbatorch.nn.checks import require_tensors
from numbatorch.nn.initial import draws
from numbatorch.nn.linear import Linear
from numbatorch.nn.module import Module, Parameter
from numbatorch.tensor import Tensor, no_grad, zeros
from numbatorch.tensor.creation import Where


def xavier(weight: Tensor) -> None:
    """`nn.init.xavier_uniform_`, where layers draw first values."""
    import_module("numbatorch.nn.init")
    from numbatorch.nn.init import xavier_uniform_  # with distributions, which import spares

    if draws():
        xavier_uniform_(weight)


class MultiheadAttention(Module):
    """Attention of several heads between projections: softmax(q k^T / sqrt(D)) v of each head.

    Args:
        embed_dim: E, of the queries and of what is given; a multiple of num_heads.
        dropout: probability at which a weight is left out while training.
        bias: of the projections.
        add_bias_kv: a key and a value more, which are learned.
        add_zero_attn: a key and a value of zeros more.
        kdim, vdim: sizes of keys and values; embed_dim unless given.
        batch_first: inputs and output are (N, T, E), not (T, N, E).
    Attributes:
        in_proj_weight: (3 * E, E), of queries, keys and values; None where kdim or vdim differs.
        q_proj_weight, k_proj_weight, v_proj_weight: (E, E), (E, kdim) and (E, vdim), or None.
        in_proj_bias: (3 * E,) or None.
        out_proj: the linear layer that gives the output.
        bias_k, bias_v: (1, 1, E) or None.
    Raises:
        ShapeError: embed_dim is not a multiple of num_heads, or a size is not positive.
        OutOfRange: dropout is no probability.
    Source: https://arxiv.org/abs/1706.03762

    >>> attention = MultiheadAttention(4, 2, batch_first=True)
    >>> x = nt.randn(2, 3, 4)
    >>> out, weights = attention(x, x, x)
    >>> out.shape, weights.shape
    ((2, 3, 4), (2, 3, 3))
    """

    in_proj_weight: Parameter | None
    q_proj_weight: Parameter | None
    k_proj_weight: Parameter | None
    v_proj_weight: Parameter | None
    in_proj_bias: Parameter | None
    bias_k: Parameter | None
    bias_v: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Where = None,
        dtype: DType | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(embed_dim, num_heads, dropout)
        self.embed_dim = embed_dim
        self.kdim = embed_dim if kdim is None else kdim
        self.vdim = embed_dim if vdim is None else vdim
        self.num_heads = num_heads
        self.dropout = dropout
        self.batch_first = batch_first
        self.head_dim = embed_dim // num_heads
        self.add_zero_attn = add_zero_attn
        where: dict[str, Any] = {"device": device, "dtype": dtype}
        alike = self.kdim == self.vdim == embed_dim
        self._qkv_same_embed_dim = alike
        shapes = {
            "in_proj_weight": (3 * embed_dim, embed_dim) if alike else None,
            "q_proj_weight": None if alike else (embed_dim, embed_dim),
            "k_proj_weight": None if alike else (embed_dim, self.kdim),
            "v_proj_weight": None if alike else (embed_dim, self.vdim),
            "in_proj_bias": (3 * embed_dim,) if bias else None,
            "bias_k": (1, 1, embed_dim) if add_bias_kv else None,
            "bias_v": (1, 1, embed_dim) if add_bias_kv else None,
        }
        for name, shape in shapes.items():
            made = None if shape is None else Parameter(zeros(shape, **where))
            self.register_parameter(name, made)
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, **where)
        self._reset_parameters()

    def _reset_parameters(self) -> None:
        for weight in (
            self.in_proj_weight,
            self.q_proj_weight,
            self.k_proj_weight,
            self.v_proj_weight,
        ):
            if weight is not None:
                xavier(weight)
        with no_grad():
            for bias in (self.in_proj_bias, self.out_proj.bias):
                if bias is not None:
                    bias.zero_()
            for extra in (self.bias_k, self.bias_v):
                if extra is not None and draws():
                    extra.normal_(0.0, math.sqrt(1 / self.embed_dim))

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output and the weights, as `F.multi_head_attention_forward`.

        Without weights attention is one kernel that keeps no scores, unless a mask is of floats.

        Args:
            query: (T, N, E), or (N, T, E) with batch_first, or (T, E) without a batch.
            key: (S, N, kdim), and value (S, N, vdim), as query.
            key_padding_mask: (N, S), or (S,) without a batch; True where a key is not seen, or
                floats that are added to the scores.
            need_weights: give the weights too.
            attn_mask: (T, S) or (N * num_heads, T, S); True where a key is not seen, or floats
                that are added to the scores.
            average_attn_weights: of all heads.
            is_causal: attn_mask, which has to be given, hides later keys and no others.
        Returns:
            The shape of query, and the weights (N, T, S), or (N, num_heads, T, S), or None. A query
            that sees no key gets NaN with weights, and zeros of all heads without, as in PyTorch
            but for its fast path of inference.
        Raises:
            ShapeError: shapes do not fit each other.
            DTypeError: a mask is neither of bool nor of floats.
        """
        import_module("numbatorch.ops.multi_head")
        from numbatorch.ops.multi_head import multi_head  # of this layer alone

        require_tensors("MultiheadAttention", query=query, key=key, value=value)
        if query.ndim and query.shape[-1] != self.embed_dim:
            rows = (f"query {tuple(query.shape)} {query.dtype.name}", f"embed_dim {self.embed_dim}")
            raise ShapeError(message("MultiheadAttention", "query has another size", *rows))
        apart = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        found: tuple[Tensor, Tensor | None] = multi_head(
            query,
            key,
            value,
            self.num_heads,
            (self.in_proj_weight, self.in_proj_bias),
            (self.bias_k, self.bias_v, self.add_zero_attn),
            (self.out_proj.weight, self.out_proj.bias),
            (attn_mask, key_padding_mask),
            None if self._qkv_same_embed_dim else apart,
            (None, None),
            self.dropout if self.training else 0.0,
            need_weights,
            average_attn_weights,
            is_causal,
            self.batch_first,
        )
        return found


def _check_sizes(embed_dim: int, num_heads: int, dropout: float) -> None:
    name = "MultiheadAttention"
    if embed_dim <= 0 or num_heads <= 0:
        problem = f"embed_dim {embed_dim} and num_heads {num_heads} have to be positive"
        raise ShapeError(message(name, problem))
    if embed_dim % num_heads:
        problem = f"embed_dim {embed_dim} is not a multiple of num_heads {num_heads}"
        raise ShapeError(message(name, problem))
    if not 0 <= dropout <= 1:
        raise OutOfRange(message(name, f"the probability {dropout} is not in [0, 1]"))
