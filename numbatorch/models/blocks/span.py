"""Where the tokens of one call of a decoder stand, and what its layers share because of that.

Letters: B texts, T tokens, S keys, R dimensions of a head that are turned.
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

    def __init__(
        self,
        position: int,
        tokens: int,
        keys: int,
        tables: Tables,
        device: Device,
        starts: Tensor | None = None,
    ) -> None:
        """`tokens` is T, `keys` S, of which the first stands at position 0; `starts` (B,) are the
        positions at which the texts of a batch begin."""
        self.position = position
        self.tables = tables
        self._tokens = tokens
        self._keys = keys
        self._device = device
        self._starts = starts
        self._seen: dict[int | None, Tensor | None] = {}

    def mask(self, window: int | None) -> Tensor | None:
        """Which keys are of the text and within the last `window` of each token: (T, S) bool, or
        (B, 1, T, S) where texts begin at several positions; None if all are.

        Later keys count as seen, for attention is causal anyway.
        """
        if window is not None and window >= self._keys:
            window = None
        if window not in self._seen:
            self._seen[window] = self._mask(window)
        return self._seen[window]

    def _mask(self, window: int | None) -> Tensor | None:
        found = None
        if window is not None or self._starts is not None:
            keys = arange(self._keys, device=self._device)
        if window is not None:
            oldest = arange(self._tokens, device=self._device) + (self.position - window + 1)
            found = keys[None, :] >= oldest[:, None]
        if self._starts is not None:
            own = keys >= self._starts[:, None, None, None]  # (B, 1, 1, S)
            found = own if found is None else own & found
        return found

    def seen(self, window: int | None) -> Tensor:
        """Which keys each token sees: its own and earlier ones of the text within the window,
        (T, S) bool, or (B, 1, T, S)."""
        keys = arange(self._keys, device=self._device)
        own = arange(self._tokens, device=self._device) + self.position
        causal = keys[None, :] <= own[:, None]
        mask = self.mask(window)
        return causal if mask is None else causal & mask
