"""Attention of several heads without angles, over a text itself or over what an encoder gave.

Letters: B batch, T tokens, S keys, H heads, D head size, C hidden size.
"""

from numbatorch import nn
from numbatorch.models.blocks.attention import merge_heads, split_heads
from numbatorch.models.blocks.cache import LayerCache
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor

Keys = tuple[Tensor, Tensor]  # keys and values, (B, H, S, D) each


class HeadAttention(nn.Module):
    """softmax(q k^T / sqrt(D)) v of each head; queries, values and output have biases, keys none.

    Source: https://arxiv.org/abs/1706.03762
    """

    def __init__(self, hidden: int, heads: int) -> None:
        """C and H, a divisor of it."""
        self.size = hidden // heads
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.v_proj = nn.Linear(hidden, hidden)
        self.q_proj = nn.Linear(hidden, hidden)
        self.out_proj = nn.Linear(hidden, hidden)

    def keys(self, x: Tensor) -> Keys:
        """Keys and values of what is looked at, (B, S, C)."""
        return split_heads(self.k_proj(x), self.size), split_heads(self.v_proj(x), self.size)

    def forward(
        self,
        x: Tensor,
        seen: Keys | None = None,
        causal: bool = False,
        memory: LayerCache | None = None,
        position: int = 0,
    ) -> Tensor:
        """x: (B, T, C) -> (B, T, C).

        Args:
            seen: what is looked at; `x` itself unless given.
            causal: whether a token sees none behind it.
            memory: keys and values of all positions, written from `position` on.
            position: of the first token; may be a plan variable.
        """
        q = split_heads(self.q_proj(x), self.size)  # (B, H, T, D)
        k, v = self.keys(x) if seen is None else seen
        if memory is not None:
            k, v = memory.extended(k, v, position)  # (B, H, S, D)
        attended = F.attention(q, k, v, causal=causal, position=position if causal else 0)
        out: Tensor = self.out_proj(merge_heads(attended))
        return out
