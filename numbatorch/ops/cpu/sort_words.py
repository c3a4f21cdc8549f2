"""What CPU kernels sort: keys and positions in one word each, taken apart by pivots.

A word is a key of 32 bits over its position, so no two are equal and the order is stable. Of wider
keys the 32 bits from the highest one on in which a row differs go first, and runs of words that
agree in them are put in order by the rest.
Source: https://arxiv.org/abs/2205.05982
"""

from typing import Any

from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.primitives import truncdiv
from numbatorch.language.simd.sorting import lanes, median, sort_few, take_apart, take_rest
from numbatorch.language.words import int64

STACK = 256  # words: four for each of the parts that wait, which are halves at most
LEVELS = 48  # after so many pivots of bad luck the middle between the extremes is taken
RUN = 24  # elements that are inserted one by one
LOWEST = -(1 << 63)


@helper
def sort_up_to_128(target: Any, source: Any, size: int) -> None:
    """A few words in order."""
    if size <= 8:
        sort_few(target, source, size, 8)
    elif size <= 16:
        sort_few(target, source, size, 16)
    elif size <= 32:
        sort_few(target, source, size, 32)
    elif size <= 64:
        sort_few(target, source, size, 64)
    else:
        sort_few(target, source, size, 128)


@helper
def pivot_of(words: Any, size: int, level: int) -> int:
    """A number that some words are not above, and some are unless they are all alike."""
    if level < LEVELS:
        middle: int = median(words, truncdiv(size - 1, lanes(words) - 1))
        return middle
    low, high = int64(words[0]), int64(words[0])
    for i in range(size):
        low = min(low, int64(words[i]))
        high = max(high, int64(words[i]))
    between: int = (low & high) + ((low ^ high) >> 1)
    return between


@helper
def divide(target: Any, source: Any, size: int, pivot: int) -> int:
    """Words up to the pivot in front of the others; returns how many they are."""
    left = 0
    right = size
    i = 0
    step = lanes(source)
    while i + step <= size:
        below = take_apart(target, left, right, source + i, pivot)
        left += below
        right -= step - below
        i += step
    if i < size:
        left += take_rest(target, left, right, source + i, size - i, pivot)
    return left


@helper
def divide_alike(words: Any, target: Any, source: Any, size: int, pivot: int) -> int:
    """`divide` where no word is above the pivot: those that equal it are at their place then."""
    count = 0
    lowest = -(1 << 31) if lanes(words) == 16 else LOWEST
    if pivot > lowest:
        count = divide(target, source, size, pivot - 1)
    for i in range(count, size):
        words[i] = pivot
    return count


@helper(inline=False)
def sort_words(words: Any, spare: Any, stack: Pointer[int64], size: int) -> None:
    """Words in ascending order; `spare` holds as many."""
    depth = 0
    low = 0
    high = size
    side = 0
    level = 0
    while depth >= 0:
        source = words + low
        target = spare + low
        if side != 0:
            source = spare + low
            target = words + low
        if high - low <= 128:
            sort_up_to_128(words + low, source, high - low)
            depth -= 1
            if depth >= 0:
                low = stack[4 * depth]
                high = stack[4 * depth + 1]
                side = stack[4 * depth + 2]
                level = stack[4 * depth + 3]
        else:
            pivot = pivot_of(source, high - low, level)
            count = divide(target, source, high - low, pivot)
            side = 1 - side
            level += 1
            if count == high - low:
                high = low + divide_alike(words + low, target, source, count, pivot)
            else:
                first = low
                last = low + count
                if 2 * count > high - low:
                    low = last
                else:
                    first = last
                    last = high
                    high = low + count
                stack[4 * depth] = first
                stack[4 * depth + 1] = last
                stack[4 * depth + 2] = side
                stack[4 * depth + 3] = level
                depth += 1


@helper
def shift_of(differing: int) -> int:
    """How far keys go down so that the highest bit in which they differ is among 32."""
    if differing < 0:
        return 32
    shift = 0
    while (differing >> shift) > 0xFFFFFFFF:
        shift += 1
    return shift


@helper
def word_of(key: int, place: int) -> int:
    """The lower 32 bits of a key over a position, in signed order."""
    return ((key << 32) ^ LOWEST) | place


@helper
def put_run(
    out: Pointer[int64],
    full: Pointer[int64],
    words: Pointer[int64],
    spare: Pointer[int64],
    stack: Pointer[int64],
    first: int,
    last: int,
    shift: int,
) -> None:
    """Positions of words that agree in their upper half, in the order of whole keys."""
    if last - first <= RUN:
        for i in range(first, last):
            place = words[i] & 0xFFFFFFFF
            key = full[place] ^ LOWEST
            j = i
            while j > first and (full[out[j - 1]] ^ LOWEST) > key:
                out[j] = out[j - 1]
                j -= 1
            out[j] = place
        return
    low = (1 << shift) - 1
    for i in range(first, last):
        place = words[i] & 0xFFFFFFFF
        words[i] = word_of(full[place] & low, place)
    sort_words(words + first, spare + first, stack, last - first)
    for i in range(first, last):
        out[i] = words[i] & 0xFFFFFFFF


@helper
def put_places(
    out: Pointer[int64],
    full: Pointer[int64],
    words: Pointer[int64],
    spare: Pointer[int64],
    stack: Pointer[int64],
    lo: int,
    hi: int,
    shift: int,
) -> None:
    """The positions that words carry, run by run."""
    if shift == 0:
        for i in range(lo, hi):
            out[i] = words[i] & 0xFFFFFFFF
        return
    i = lo
    while i < hi:
        last = i + 1
        while last < hi and (words[last] >> 32) == (words[i] >> 32):
            last += 1
        if last == i + 1:
            out[i] = words[i] & 0xFFFFFFFF
        else:
            put_run(out, full, words, spare, stack, i, last, shift)
        i = last
