"""Memory: where each value of a plan lives, and one arena in which temporary values take turns."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

ALIGNMENT = 64


@dataclass(eq=False)
class Memory:
    """A piece of memory that launches read or write.

    Attributes:
        kind: leaf (a realized buffer), output (allocated for each run), temporary (in the
            arena), zeroed (kept with the plan, zero before the first run).
        nbytes: size.
        index: number among the leaves or outputs.
        offset: place in the arena, for temporaries.
        first, last: numbers of the launches that first write and last touch it.
    """

    kind: str
    nbytes: int
    index: int = 0
    offset: int = 0
    first: int = -1
    last: int = -1

    def touch(self, launch: int) -> None:
        """Note that launch number `launch` reads or writes this memory."""
        if self.first < 0:
            self.first = launch
        self.last = max(self.last, launch)


def pack_arena(memories: Iterable[Memory]) -> int:
    """Give every temporary an offset such that those alive together do not overlap.

    Larger ones are placed first, each in the lowest gap that fits.

    Returns:
        bytes that the arena needs.
    """
    temporaries = [m for m in memories if m.kind == "temporary" and m.nbytes]
    placed: list[Memory] = []
    total = 0
    for memory in sorted(temporaries, key=lambda m: (-m.nbytes, m.first)):
        size = _aligned(memory.nbytes)
        at = 0
        first, last = memory.first, memory.last
        for rival in placed:  # by offset
            if rival.first > last or first > rival.last:
                continue
            if rival.offset >= at + size:
                break
            at = max(at, rival.offset + _aligned(rival.nbytes))
        memory.offset = at
        total = max(total, at + size)
        insort(placed, memory, key=_offset)
    return total


_offset = attrgetter("offset")


def _aligned(nbytes: int) -> int:
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def overlap(a: Memory, b: Memory) -> bool:
    """Whether the two share bytes."""
    if a is b:
        return True
    if a.kind != "temporary" or b.kind != "temporary":
        return False
    return a.offset < b.offset + b.nbytes and b.offset < a.offset + a.nbytes
