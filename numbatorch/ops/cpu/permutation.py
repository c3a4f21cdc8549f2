"""CPU kernels for random permutations: words go to buckets by their upper bits, then in order."""

from numbatorch.language.kernel import Pointer, kernel, share
from numbatorch.language.words import int64
from numbatorch.ops import permutation as ops
from numbatorch.ops.cpu.sort_words import SPARE, STACK, sort_words
from numbatorch.ops.lowering import Launcher, Operand, lower

BUCKET = 256  # words that a bucket is for: so few are sorted in the nearest cache
MOST = 4096  # buckets that are written to side by side


@kernel
def count_words(
    counts: Pointer[int64],
    words: Pointer[int64],
    size: int,
    pieces: int,
    buckets: int,
    shift: int,
    part: int,
    parts: int,
) -> None:
    """How many words of each piece go to each bucket."""
    lo, hi = share(pieces, part, parts)
    for piece in range(lo, hi):
        begin, end = share(size, piece, pieces)
        own = counts + piece * buckets
        for bucket in range(buckets):
            own[bucket] = 0
        middle = own + (buckets >> 1)
        for i in range(begin, end):
            middle[words[i] >> shift] += 1


@kernel
def begin_buckets(
    starts: Pointer[int64],
    counts: Pointer[int64],
    pieces: int,
    buckets: int,
    part: int,
    parts: int,
) -> None:
    """Where buckets begin, and in `counts` where each piece writes its part of each."""
    place = 0
    for bucket in range(buckets):
        starts[bucket] = place
        for piece in range(pieces):
            count = counts[piece * buckets + bucket]
            counts[piece * buckets + bucket] = place
            place += count
    starts[buckets] = place


@kernel
def fill_buckets(
    target: Pointer[int64],
    counts: Pointer[int64],
    words: Pointer[int64],
    size: int,
    pieces: int,
    buckets: int,
    shift: int,
    part: int,
    parts: int,
) -> None:
    """The words of each piece, in its part of each bucket."""
    lo, hi = share(pieces, part, parts)
    for piece in range(lo, hi):
        begin, end = share(size, piece, pieces)
        middle = counts + piece * buckets + (buckets >> 1)
        for i in range(begin, end):
            word = words[i]
            place = middle[word >> shift]
            target[place] = word
            middle[word >> shift] = place + 1


@kernel
def order_buckets(
    out: Pointer[int64],
    words: Pointer[int64],
    starts: Pointer[int64],
    spare: Pointer[int64],
    stacks: Pointer[int64],
    buckets: int,
    mask: int,
    part: int,
    parts: int,
) -> None:
    """The lower bits of the words of each bucket in order."""
    lo, hi = share(buckets, part, parts)
    aside = spare + part * SPARE
    stack = stacks + part * STACK
    for bucket in range(lo, hi):
        begin = starts[bucket]
        end = starts[bucket + 1]
        sort_words(words + begin, aside, stack, end - begin)
        for i in range(begin, end):
            out[i] = words[i] & mask


@lower("cpu", ops.places_in_order)
def _(launcher: Launcher, out: Operand, words: Operand, *, mask: int) -> None:
    (size,) = words.shape
    if not size:
        return
    bits = min((size // BUCKET).bit_length(), MOST.bit_length() - 1)
    buckets, pieces = max(1 << bits, 2), launcher.parts
    shift = 64 - (buckets.bit_length() - 1)
    counts = launcher.scratch(8 * pieces * buckets)
    starts, target = launcher.scratch(8 * (buckets + 1)), launcher.scratch(8 * size)
    grid = (size, pieces, buckets, shift)
    launcher.launch(count_words(), counts, words, *grid, work=2 * size, items=pieces)
    beginning = (starts, counts, pieces, buckets)
    launcher.launch(begin_buckets(), *beginning, work=pieces * buckets, serial=True, items=1)
    filling = (target, counts, words, *grid)
    launcher.launch(fill_buckets(), *filling, work=4 * size, items=pieces)
    spare, stacks = (launcher.scratch(8 * n * launcher.parts) for n in (SPARE, STACK))
    ordering = (out, target, starts, spare, stacks, buckets, mask)
    launcher.launch(order_buckets(), *ordering, work=12 * size, items=buckets)
