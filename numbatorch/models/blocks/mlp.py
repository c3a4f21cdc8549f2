"""Feed-forward parts of layers."""

from typing import Literal

from numbatorch import nn
from numbatorch.nn import functional as F
from numbatorch.tensor import Tensor

Activation = Literal["silu", "gelu_tanh"]


def activated(x: Tensor, activation: Activation) -> Tensor:
    """silu(x), or gelu(x) by its approximation with tanh."""
    return F.silu(x) if activation == "silu" else F.gelu(x, approximate="tanh")


class GatedMLP(nn.Module):
    """down(silu(gate(x)) * up(x)), or with gelu. Source: https://arxiv.org/abs/2002.05202"""

    def __init__(
        self,
        hidden: int,
        wide: int,
        bias: bool = False,
        activation: Activation = "silu",
        fused: bool = False,
    ) -> None:
        """With `fused`, one matrix `gate_up_proj` gives the gate and what it is for."""
        self.activation: Activation = activation
        self.fused = fused
        if fused:
            self.gate_up_proj = nn.Linear(hidden, 2 * wide, bias=bias)
        else:
            self.gate_proj = nn.Linear(hidden, wide, bias=bias)
            self.up_proj = nn.Linear(hidden, wide, bias=bias)
        self.down_proj = nn.Linear(wide, hidden, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        gate, up = self._projected(x)
        out: Tensor = self.down_proj(activated(gate, self.activation) * up)
        return out

    def _projected(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.fused:
            gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
            return gate, up
        return self.gate_proj(x), self.up_proj(x)
