"""The memory of a text that a decoder goes on with."""

from __future__ import annotations

from dataclasses import dataclass

from numbatorch.backends.base import backend
from numbatorch.device import Device
from numbatorch.dtype import float32
from numbatorch.models.blocks.span import Tables
from numbatorch.tensor import Tensor, from_numpy
from numbatorch.tensor.base import buffer_node


class KVCache:
    """Keys and values of the tokens so far, of all layers in one tensor: a step changes only that.

    Attributes:
        capacity: S, tokens that fit.
        memory: keys and values, (layers, 2, B, G, S, D) float32. It is no memory of the pool, so
            a cache that a larger one replaces leaves nothing, and on CPUs what no token has been
            written to takes none.
        tables: cos and sin of the angles, (S, R/2) each, by what they are made by.
        device: where they are.
        starts: (B,) int64, positions at which the texts begin; None: all at 0.
    """

    starts: Tensor | None = None

    def __init__(
        self,
        layers: int,
        shape: tuple[int, int, int, int],
        tables: Tables,
        device: Device,
    ) -> None:
        """Zeros of `shape` (B, G, S, D) for each of so many layers."""
        self.capacity = shape[2]
        full = (layers, 2, *shape)
        zeros = backend(device).zeros(full, float32)
        self.memory = Tensor(buffer_node(zeros, full, float32, device))
        self.tables = tables
        self.device = device
        self._stages = dict.fromkeys(tables, 0)

    def layer(self, number: int) -> LayerCache:
        """What attention of a layer reads and writes."""
        return LayerCache(self, number)

    def prepare(self, position: int, tokens: int) -> bool:
        """Have the angles of a text of so many tokens from a position on; most models' are fixed.

        Args:
            position: of the first token that is fed next.
            tokens: of the text after that.
        Returns:
            whether the keys before `position` have other angles than a text of this length, which
            is fed again from its beginning on then.
        """
        stale = False
        for rope, tables in self.tables.items():
            stage, before = rope.stage(tokens), self._stages[rope]
            again = stage != before and rope.restarts
            if stage or before:
                first = 0 if again else position
                angles = rope.angles(range(first, tokens), tokens)
                for table, rows in zip(tables, angles, strict=True):
                    table[first:tokens] = from_numpy(rows).to(device=self.device)
                    table.realize()
            stale |= again and position > 0
            self._stages[rope] = stage
        return stale

    def keeps_angles(self, tokens: int) -> bool:
        """Whether the keys so far have the angles of a text of so many tokens."""
        return not any(stage or rope.stage(tokens) for rope, stage in self._stages.items())

    def copy_from(self, other: KVCache, tokens: int) -> None:
        """Take over the first `tokens` of another cache."""
        self.memory[..., :tokens, :] = other.memory[..., :tokens, :]
        self.memory.realize()
        self._stages = dict(other._stages)


@dataclass(frozen=True)
class LayerCache:
    """The part of a cache that belongs to one layer."""

    cache: KVCache
    number: int

    def extended(self, k: Tensor, v: Tensor, position: int) -> tuple[Tensor, Tensor]:
        """Write keys and values (B, G, T, D) from a position on.

        Returns:
            those of all positions, (B, G, S, D) each.
        """
        memory, number, end = self.cache.memory, self.number, position + k.shape[2]
        memory[number, 0, :, :, position:end] = k
        memory[number, 1, :, :, position:end] = v
        return memory[number, 0], memory[number, 1]
