"""Bars of long commands, on standard error and only on a terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bar(label: str, unit: str = "B") -> Iterator[Callable[[int], Callable[[int], Any]]]:
    """What makes a bar of a total, once that is known; it goes when the block ends.

    >>> with bar("write") as of:
    ...     advance = of(100)
    ...     _ = advance(50)
    """
    from tqdm import tqdm

    made: list[Any] = []

    def of(total: int) -> Callable[[int], Any]:
        shown = tqdm(
            total=total,
            desc=label,
            unit=unit,
            unit_scale=unit == "B",
            leave=False,
            file=sys.stderr,
            disable=not sys.stderr.isatty(),
        )
        made.append(shown)
        advance: Callable[[int], Any] = shown.update
        return advance

    try:
        yield of
    finally:
        for shown in made:
            shown.close()
