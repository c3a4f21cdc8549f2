"""Transformers over patches of images: pre-norm layers, whose every token sees all tokens.

Letters: B batch, T tokens, H heads, D head size, C hidden size.
"""

from numbatorch import nn
from numbatorch.models.blocks.attention import merge_heads, split_heads
from numbatorch.models.blocks.images import ACTIVATIONS
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor


class Attention(nn.Module):
    """Self-attention without a mask, and its output projection."""

    def __init__(self, hidden: int, heads: int, bias: bool) -> None:
        self.size = hidden // heads
        self.query = nn.Linear(hidden, hidden, bias=bias)
        self.key = nn.Linear(hidden, hidden, bias=bias)
        self.value = nn.Linear(hidden, hidden, bias=bias)
        self.out = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        q, k, v = (
            split_heads(project(x), self.size)  # (B, H, T, D)
            for project in (self.query, self.key, self.value)
        )
        out: Tensor = self.out(merge_heads(F.attention(q, k, v)))
        return out


class Layer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)).

    With `scaled`, what is added has a factor for each channel. Source:
    https://arxiv.org/abs/2103.17239
    """

    def __init__(
        self,
        hidden: int,
        heads: int,
        intermediate: int,
        activation: str = "gelu",
        eps: float = 1e-6,
        bias: bool = True,
        scaled: bool = False,
    ) -> None:
        self.activation = activation
        self.norm1 = nn.LayerNorm(hidden, eps=eps)
        self.attention = Attention(hidden, heads, bias)
        self.norm2 = nn.LayerNorm(hidden, eps=eps)
        self.up = nn.Linear(hidden, intermediate)
        self.down = nn.Linear(intermediate, hidden)
        self.scale1 = self.scale2 = None
        if scaled:
            from numbatorch import ones  # the package's names are there once models are used

            self.scale1, self.scale2 = (nn.Parameter(ones(hidden)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        attended = self.attention(self.norm1(x))
        x = x + (attended if self.scale1 is None else attended * self.scale1)
        wide = ACTIVATIONS[self.activation](self.up(self.norm2(x)))
        out: Tensor = self.down(wide)
        return x + (out if self.scale2 is None else out * self.scale2)
