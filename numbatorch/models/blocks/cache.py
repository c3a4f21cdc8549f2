"""The memory of a text that a decoder goes on with."""

from numbatorch.device import Device
from numbatorch.tensor import Tensor, realize, zeros


class KVCache:
    """Keys and values of the tokens so far, one pair of tensors a layer.

    Attributes:
        capacity: S, tokens that fit.
        layers: keys and values, (B, G, S, D) float32 each, a layer.
        tables: cos and sin of the rotary angles, (S, D/2) each.
        device: where they are.
    """

    def __init__(
        self,
        layers: int,
        shape: tuple[int, int, int, int],
        tables: tuple[Tensor, Tensor],
        device: Device,
    ) -> None:
        """Zeros of `shape` (B, G, S, D) for each of so many layers."""
        self.capacity = shape[2]
        self.layers = [
            (zeros(*shape, device=device), zeros(*shape, device=device)) for _ in range(layers)
        ]
        self.tables = tables
        self.device = device

    def copy_from(self, other: "KVCache", tokens: int) -> None:
        """Take over the first `tokens` of another cache."""
        for mine, theirs in zip(self.tensors(), other.tensors(), strict=True):
            mine[:, :, :tokens] = theirs[:, :, :tokens]
        realize(*self.tensors())

    def settle(self) -> None:
        """Compute what was written last; where plans are replayed, that is done already."""
        if self.layers and self.layers[-1][1].node.buffer is None:
            realize(*self.tensors())

    def tensors(self) -> list[Tensor]:
        """Keys and values of all layers."""
        return [tensor for pair in self.layers for tensor in pair]
