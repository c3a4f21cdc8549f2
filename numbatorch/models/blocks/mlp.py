"""Feed-forward parts of layers."""

from numbatorch import nn
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor


class GatedMLP(nn.Module):
    """down(silu(gate(x)) * up(x)). Source: https://arxiv.org/abs/2002.05202"""

    def __init__(self, hidden: int, wide: int, bias: bool = False) -> None:
        self.gate_proj = nn.Linear(hidden, wide, bias=bias)
        self.up_proj = nn.Linear(hidden, wide, bias=bias)
        self.down_proj = nn.Linear(wide, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out
