"""Where the tokens of one call of a decoder stand, and what its layers share because of that.

Letters: T tokens, S keys, R dimensions of a head that are turned.
"""

from collections.abc import Mapping

from numbatorch.device import Device
from numbatorch.models.blocks.rotary import Rope
from numbatorch.tensor import Tensor, arange

Tables = Mapping[Rope, tuple[Tensor, Tensor]]


class Span:
    """T tokens from a position on.

    Attributes:
        position: of the first token; may be a plan variable.
        tables: cos and sin (positions, R/2) of each kind of angles that the layers have.
    """

    def __init__(self, position: int, tokens: int, keys: int, tables: Tables, device: Device):
        """`tokens` is T, `keys` S, of which the first stands at position 0."""
        self.position = position
        self.tables = tables
        self._tokens = tokens
        self._keys = keys
        self._device = device
        self._seen: dict[int | None, Tensor | None] = {None: None}

    def mask(self, window: int | None) -> Tensor | None:
        """Which keys are within the last `window` of each token: (T, S) bool; None if all are.

        Later keys count as seen, for attention is causal anyway.
        """
        if window is not None and window >= self._keys:
            return None
        if window not in self._seen:
            assert window is not None
            keys = arange(self._keys, device=self._device)
            oldest = arange(self._tokens, device=self._device) + (self.position - window + 1)
            self._seen[window] = keys[None, :] >= oldest[:, None]
        return self._seen[window]

    def seen(self, window: int | None) -> Tensor:
        """Which keys each token sees: its own and earlier ones within the window, (T, S) bool."""
        keys = arange(self._keys, device=self._device)
        own = arange(self._tokens, device=self._device) + self.position
        causal = keys[None, :] <= own[:, None]
        mask = self.mask(window)
        return causal if mask is None else causal & mask
