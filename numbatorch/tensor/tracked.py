"""Objects that count changes of their attributes, so that a replay need not look at each one."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

_numbers = itertools.count(1)


class Changes:
    """Counts changes of attributes of what is `Tracked`.

    Attributes:
        last: number of the last one.
    """

    last = 0


class Tracked:
    """What counts changes of its attributes: modules."""

    if not TYPE_CHECKING:  # a type checker would take any attribute for right

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            Changes.last = next(_numbers)

        def __delattr__(self, name: str) -> None:
            super().__delattr__(name)
            Changes.last = next(_numbers)
