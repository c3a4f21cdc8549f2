"""Attention of decoders, and the cut of vectors into heads that all attention has.

Letters: B batch, T tokens, S keys, H query heads, G key/value heads, D head size, C hidden size.
"""

from dataclasses import dataclass

from numbatorch import nn
from numbatorch.models.blocks.cache import LayerCache
from numbatorch.models.blocks.rotary import Rope
from numbatorch.models.blocks.span import Span
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


@dataclass(frozen=True)
class Scores:
    """How the scores of queries and keys are made, where they are not plain causal attention's."""

    window: int | None = None  # keys that a token sees, its own among them; None: all so far
    scale: float | None = None  # factor on the scores; None: 1 / sqrt(D)
    softcap: float | None = None  # scores become softcap * tanh(scores / softcap)
    norm_eps: float | None = None  # queries and keys have norms with this eps over D; None: none


class Attention(nn.Module):
    """Grouped-query attention over rotated queries and keys.

    Source: https://arxiv.org/abs/2305.13245, of its norms https://arxiv.org/abs/2302.05442, of
    windows https://arxiv.org/abs/2310.06825, of capped scores https://arxiv.org/abs/2408.00118
    """

    def __init__(
        self,
        hidden: int,
        heads: int,
        groups: int,
        rope: Rope,
        bias: bool = False,
        out_bias: bool = False,
        scores: Scores = Scores(),
        fused: bool = False,
    ) -> None:
        """C, H, G and D; `bias` of queries, keys and values, `out_bias` of the output.

        With `fused`, one matrix `qkv_proj` gives queries, keys and values in this order.
        """
        self.rope = rope
        self.scores = scores
        self.fused = fused
        self.widths = (heads * rope.size, groups * rope.size, groups * rope.size)
        if fused:
            self.qkv_proj = nn.Linear(hidden, sum(self.widths), bias=bias)
        else:
            self.q_proj = nn.Linear(hidden, heads * rope.size, bias=bias)
            self.k_proj = nn.Linear(hidden, groups * rope.size, bias=bias)
            self.v_proj = nn.Linear(hidden, groups * rope.size, bias=bias)
        self.o_proj = nn.Linear(heads * rope.size, hidden, bias=out_bias)
        if scores.norm_eps is not None:
            self.q_norm = nn.RMSNorm(rope.size, eps=scores.norm_eps)
            self.k_norm = nn.RMSNorm(rope.size, eps=scores.norm_eps)

    def forward(self, x: Tensor, span: Span, memory: LayerCache | None) -> Tensor:
        """x: (B, T, C) -> (B, T, C).

        Args:
            span: where the T tokens stand.
            memory: keys and values of all positions, written from the span's on.
        """
        q, k, v = (split_heads(part, self.rope.size) for part in self._projected(x))
        if self.scores.norm_eps is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k = self._turned(q, span), self._turned(k, span)  # (B, H, T, D), (B, G, T, D)
        if memory is not None:
            k, v = memory.extended(k, v, span.position)  # (B, G, S, D)
        out: Tensor = self.o_proj(merge_heads(self._attended(q, k, v, span)))
        return out

    def _projected(self, x: Tensor) -> tuple[Tensor, ...]:
        if self.fused:
            return tuple(self.qkv_proj(x).split(self.widths, dim=-1))
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)

    def _turned(self, x: Tensor, span: Span) -> Tensor:
        """By the angles of the positions; dimensions from R on stay as they are."""
        rope, R = self.rope, self.rope.turned
        cos, sin = span.tables[rope]
        head = x if R == rope.size else x[..., :R]
        turned = F.rope(head, cos, sin, position=span.position, interleaved=rope.interleaved)
        if R == rope.size:
            return turned
        from numbatorch import cat  # the package's names are there once models are used

        return cat([turned, x[..., R:]], -1)

    def _attended(self, q: Tensor, k: Tensor, v: Tensor, span: Span) -> Tensor:
        """(B, H, T, D)."""
        scores = self.scores
        return F.attention(
            q,
            k,
            v,
            span.mask,
            causal=True,
            scale=scores.scale,
            position=span.position,
            window=scores.window,
            softcap=scores.softcap,
        )
