"""Where the tokens of one call of a decoder stand, and what its layers share because of that.

Letters: B texts, S keys, R dimensions of a head that are turned.
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
        mask: which keys are of the text, (B, 1, 1, S) bool, where the texts of a batch begin at
            several positions; None if all are. Later keys count as its own: attention is causal.
    """

    def __init__(
        self,
        position: int,
        keys: int,
        tables: Tables,
        device: Device,
        starts: Tensor | None = None,
    ) -> None:
        """`keys` is S, of which the first stands at position 0; `starts` (B,) are the positions
        at which the texts of a batch begin."""
        self.position = position
        self.tables = tables
        self.mask: Tensor | None = None
        if starts is not None:
            self.mask = arange(keys, device=device) >= starts[:, None, None, None]
