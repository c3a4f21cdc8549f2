"""Attention of decoders, and the cut of vectors into heads that all attention has.

Letters: B batch, T tokens, S keys, H query heads, G key/value heads, D head size, C hidden size.
"""

from numbatorch import nn
from numbatorch.models.blocks.cache import LayerCache
from numbatorch.models.blocks.rotary import Rope
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor


def split_heads(x: Tensor, size: int) -> Tensor:
    """(B, T, H * D) -> (B, H, T, D)."""
    B, T, _ = x.shape
    return x.reshape(B, T, -1, size).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(B, H, T, D) -> (B, T, H * D)."""
    B, _, T, _ = x.shape
    return x.transpose(1, 2).reshape(B, T, -1)


class Attention(nn.Module):
    """Grouped-query attention over rotated queries and keys.

    Source: https://arxiv.org/abs/2305.13245
    """

    def __init__(
        self,
        hidden: int,
        heads: int,
        groups: int,
        rope: Rope,
        bias: bool = False,
        out_bias: bool = False,
    ) -> None:
        """C, H, G and D; `bias` of queries, keys and values, `out_bias` of the output."""
        self.rope = rope
        self.q_proj = nn.Linear(hidden, heads * rope.size, bias=bias)
        self.k_proj = nn.Linear(hidden, groups * rope.size, bias=bias)
        self.v_proj = nn.Linear(hidden, groups * rope.size, bias=bias)
        self.o_proj = nn.Linear(heads * rope.size, hidden, bias=out_bias)

    def forward(
        self,
        x: Tensor,
        tables: tuple[Tensor, Tensor],
        memory: LayerCache | None,
        position: int,
    ) -> Tensor:
        """x: (B, T, C) -> (B, T, C).

        Args:
            tables: cos and sin (positions, D/2).
            memory: keys and values of all positions, written from `position` on.
            position: of the first of the T.
        """
        size, interleaved = self.rope.size, self.rope.interleaved
        q = split_heads(self.q_proj(x), size)  # (B, H, T, D)
        k = split_heads(self.k_proj(x), size)  # (B, G, T, D)
        v = split_heads(self.v_proj(x), size)
        q = F.rope(q, *tables, position=position, interleaved=interleaved)
        k = F.rope(k, *tables, position=position, interleaved=interleaved)
        if memory is not None:
            k, v = memory.extended(k, v, position)  # (B, G, S, D)
        heads = F.attention(q, k, v, causal=True, position=position)  # (B, H, T, D)
        out: Tensor = self.o_proj(merge_heads(heads))
        return out
