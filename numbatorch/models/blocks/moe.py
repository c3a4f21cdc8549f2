"""Mixtures of experts: feed-forward parts of which a router takes a few for each token.

Letters: B batch, T tokens, M all tokens, E experts, k experts of a token, C hidden size.
"""

from numbatorch import nn
from numbatorch.models.blocks.mlp import Activation, activated
from numbatorch.nn import functional as F
from numbatorch.nn.initial import bound_of, uniform
from numbatorch.ops.matmul import Compute
from numbatorch.tensor import Tensor


class ExpertLinear(nn.Module):
    """Linear layers of one shape, of which each row takes one.

    Attributes:
        experts: E.
        weight: (E * outputs, inputs), the experts' weights one below the other, as GGUF files
            stack them.
        compute: as of `F.linear`.
    """

    compute: Compute | None = None

    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        self.experts = experts
        shape = (experts * outputs, inputs)
        self.weight = uniform(bound_of(inputs), *shape, dtype=None, device=None)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """x: (M, inputs), index: (M,) of the experts -> (M, outputs)."""
        return F.expert_linear(x, self.weight, index, self.experts, compute=self.compute)


class Experts(nn.Module):
    """Gated feed-forward parts, of which each row takes one."""

    def __init__(self, experts: int, hidden: int, wide: int, activation: Activation) -> None:
        self.activation: Activation = activation
        self.gate_proj = ExpertLinear(experts, hidden, wide)
        self.up_proj = ExpertLinear(experts, hidden, wide)
        self.down_proj = ExpertLinear(experts, wide, hidden)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        """x: (M, C), index: (M,) of the experts -> (M, C)."""
        gated = activated(self.gate_proj(x, index), self.activation) * self.up_proj(x, index)
        out: Tensor = self.down_proj(gated, index)
        return out


class SparseMLP(nn.Module):
    """The sum over the k most probable experts of a token of probability times expert(x).

    Probabilities are the softmax of `gate` over all experts, and with `normalized` they are
    divided by the sum of the k.
    Source: https://arxiv.org/abs/1701.06538
    """

    def __init__(
        self,
        hidden: int,
        wide: int,
        experts: int,
        used: int,
        normalized: bool,
        activation: Activation = "silu",
    ) -> None:
        """C, width of an expert, E and k."""
        self.used = used
        self.normalized = normalized
        self.gate = nn.Linear(hidden, experts, bias=False)
        self.experts = Experts(experts, hidden, wide, activation)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, T, C) -> (B, T, C)."""
        B, T, C = x.shape
        M, k = B * T, self.used
        rows = x.reshape(M, C)
        shares, chosen = F.softmax(self.gate(rows), -1).topk(k)  # (M, k) each
        if self.normalized:
            shares = shares / shares.sum(-1, keepdim=True)
        asked = rows[:, None].expand(M, k, C).reshape(M * k, C)
        found = self.experts(asked, chosen.reshape(M * k)).reshape(M, k, C)
        out: Tensor = (found * shares[..., None]).sum(1).reshape(B, T, C)
        return out
