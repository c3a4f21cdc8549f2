"""How a long row is shared out: its pieces are divided alike, and a thread gathers a part of all.

Between which numbers a part lies follows from a sample of the row, so each part is sorted by itself
and stands where it belongs.
Source: https://en.wikipedia.org/wiki/Samplesort
"""

from typing import Any

from numbatorch.language.kernel import Pointer, helper, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.simd.sorting import lanes
from numbatorch.language.words import int64
from numbatorch.ops.cpu.sort_words import NETWORK, divide

SAMPLE = 1024  # words of a row, fewer than a piece has


@helper
def divide_few(words: Any, size: int, pivot: int) -> int:
    """`divide`, one by one."""
    count = 0
    for i in range(size):
        word = words[i]
        if word <= pivot:
            words[i] = words[count]
            words[count] = word
            count += 1
    return count


@helper
def split_piece(
    words: Any, spare: Any, sample: Any, ends: Pointer[int64], pieces: int, size: int
) -> None:
    """Words divided where an ordered sample is, into a power of two of parts; where they end."""
    ends[pieces - 1] = size
    half = pieces >> 1
    while half > 0:
        for part in range(0, pieces, 2 * half):
            low = int64(0)
            if part > 0:
                low = ends[part - 1]
            source = words + low
            count = ends[part + 2 * half - 1] - low
            pivot = int64(sample[truncdiv((part + half) * SAMPLE, pieces)])
            if count > NETWORK * lanes(words):
                count = divide(source, spare, count, pivot)
            else:
                count = divide_few(source, count, pivot)
            ends[part + half - 1] = low + count
        half >>= 1


@helper
def part_ends(ends: Pointer[int64], pieces: int, part: int) -> int:
    """Where a part of a row ends."""
    last: int = int64(0)
    if part >= 0:
        for piece in range(pieces):
            last += ends[piece * pieces + part]
    return last


@helper
def gather_part(
    target: Any, words: Any, ends: Pointer[int64], cols: int, pieces: int, part: int
) -> None:
    """The words of all pieces of a row that belong to a part, one piece behind the other."""
    place = 0
    for piece in range(pieces):
        begin, _ = share(cols, piece, pieces)
        own = ends + piece * pieces
        first = begin
        if part > 0:
            first += own[part - 1]
        for i in range(first, begin + own[part]):
            target[place] = words[i]
            place += 1
