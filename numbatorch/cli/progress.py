"""Progress of long commands on standard error: a bar on a terminal, elsewhere a line at times."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PARTS = 10  # of the total, with a line after each
SECONDS = 30.0  # after which a line comes, however little was done
LEAST_SECONDS = 2.0  # between two lines, so that a short command has none


@contextmanager
def bar(label: str, unit: str = "B") -> Iterator[Callable[[int], Callable[[int], Any]]]:
    """What makes a bar of a total, once that is known; it goes when the block ends.

    >>> with bar("write") as of:
    ...     advance = of(100)
    ...     _ = advance(50)
    """
    if sys.stderr is None or not sys.stderr.isatty():  # without a console there is none
        yield lambda total: Lines(label, unit, total).advance
        return
    from tqdm import tqdm

    made: list[Any] = []

    def of(total: int) -> Callable[[int], Any]:
        scale = unit == "B"
        shown = tqdm(
            total=total, desc=label, unit=unit, unit_scale=scale, leave=False, file=sys.stderr
        )
        made.append(shown)
        advance: Callable[[int], Any] = shown.update
        return advance

    try:
        yield of
    finally:
        for shown in made:
            shown.close()


class Lines:
    """Says how far a command is: after each tenth of its work, and after 30 seconds."""

    def __init__(self, label: str, unit: str, total: int) -> None:
        self._label, self._unit, self._total = label, unit, total
        self._done = self._part = 0
        self._start = self._last = time.monotonic()

    def advance(self, count: int) -> None:
        """So much more is done."""
        self._done += count
        now = time.monotonic()
        waited, part = now - self._last, PARTS * self._done // max(self._total, 1)
        due = waited >= SECONDS or (waited >= LEAST_SECONDS and part > self._part)
        if sys.stderr is None or not due:
            return
        self._last, self._part = now, part
        print(f"{self._label}: {self._said(now - self._start)}", file=sys.stderr, flush=True)

    def _said(self, seconds: float) -> str:
        done, total, unit = self._done, self._total, f" {self._unit}s"
        if self._unit == "B":
            done, total, unit = done // 10**6, total // 10**6, " MB"
        share = self._done / self._total if self._total else 1.0
        return f"{share:.0%}, {done} of {total}{unit}, {seconds:.0f} s"
