"""What became of a run that an interrupt may have cut short."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from numbatorch.backends.memory import Buffer


@dataclass(slots=True)
class Outcome:
    """Results of a run, for a caller that has to note them although an exception came.

    A run may overwrite its operands. So once it has, its results must be noted: nothing could be
    computed from the operands again.

    Attributes:
        buffers: one per root.
        final: whether the launches that may overwrite operands were made.
    """

    buffers: list[Buffer] = field(default_factory=list)
    final: bool = False

    def settle(self, note: Callable[[list[Buffer]], None]) -> None:
        """Have final results noted; an interrupt meanwhile waits until that is done.

        Args:
            note: may be called again after an interrupt, so calls must not add up.
        """
        late: KeyboardInterrupt | None = None
        while self.final:
            try:
                note(self.buffers)
                break
            except KeyboardInterrupt as interrupt:
                late = interrupt
        if late is not None:
            raise late
