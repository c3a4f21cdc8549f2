"""What CPU kernels sort: keys and positions in one word each, taken apart by pivots.

A word is a key of 32 bits over its position, so no two are equal and the order is stable. Of wider
keys the 32 bits from the highest one on in which a row differs go first, and runs of words that
agree in them are put in order by the rest.
Source: https://arxiv.org/abs/2205.05982
"""

from typing import Any

from numbatorch.language.kernel import Pointer, helper
from numbatorch.language.primitives import truncdiv
from numbatorch.language.simd.sorting import lanes, median, sort_few, take_apart, take_rest, width
from numbatorch.language.words import int64

STACK = 256  # words: three for each of the parts that wait, which are halves at most
LEVELS = 48  # after so many pivots of bad luck the middle between the extremes is taken
NETWORK = 16  # vectors that are put in order in registers, twice `AT_ONCE`
AT_ONCE = 8  # vectors that are read before they are written
SPARE = 384  # words that stand aside: three times as many, of 32 bits
RUN = 24  # elements that are inserted one by one
LOWEST = -(1 << 63)


@helper
def sort_by_network(words: Any, size: int) -> None:
    """Words in order, no more than `NETWORK` vectors of them."""
    if size <= lanes(words):
        sort_few(words, size, 1)
    elif size <= 2 * lanes(words):
        sort_few(words, size, 2)
    elif size <= 4 * lanes(words):
        sort_few(words, size, 4)
    elif size <= 8 * lanes(words):
        sort_few(words, size, 8)
    else:
        sort_few(words, size, NETWORK)


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
def divide_rest(target: Any, source: Any, size: int, pivot: int, start: int, end: int) -> int:
    """Words up to the pivot to `start` and on, others to below `end`; returns where these begin."""
    step = lanes(source)
    first = size & (step - 1)
    left = start
    right = end
    if first > 0:
        below = take_rest(target, left, right, source, first, pivot)
        left += below
        right -= first - below
    for i in range(first, size, step):
        below = take_apart(target, left, right, source + i, pivot, 1)
        left += below
        right -= step - below
    return left


@helper
def divide(words: Any, spare: Any, size: int, pivot: int) -> int:
    """Words up to the pivot in front of the others; returns how many they are.

    A group is read from the end that has less room, so there is room for it at either; `spare`
    holds what no group was read over.
    """
    step = AT_ONCE * lanes(words)
    for i in range(step):
        spare[i] = words[i]
        spare[step + i] = words[size - step + i]
    left = 0
    right = size
    first = step
    last = size - step
    while first + step <= last:
        place = first
        if right - last < first - left:
            last -= step
            place = last
        else:
            first += step
        below = take_apart(words, left, right, words + place, pivot, AT_ONCE)
        left += below
        right -= step - below
    for i in range(last - first):
        spare[2 * step + i] = words[first + i]
    return divide_rest(words, spare, 2 * step + last - first, pivot, left, right)


@helper
def divide_alike(words: Any, spare: Any, size: int, pivot: int) -> int:
    """`divide` where no word is above the pivot: those that equal it are at their place then."""
    count = 0
    lowest = -(1 << 31) if width(words) == 32 else LOWEST
    if pivot > lowest:
        count = divide(words, spare, size, pivot - 1)
    for i in range(count, size):
        words[i] = pivot
    return count


@helper(inline=False)
def sort_words(words: Any, spare: Any, stack: Pointer[int64], size: int) -> None:
    """Words in ascending order; `spare` holds as many, but no more than `SPARE`."""
    depth = 0
    low = 0
    high = size
    level = 0
    while depth >= 0:
        source = words + low
        if high - low <= NETWORK * lanes(words):
            sort_by_network(source, high - low)
            depth -= 1
            if depth >= 0:
                low = stack[3 * depth]
                high = stack[3 * depth + 1]
                level = stack[3 * depth + 2]
        else:
            pivot = pivot_of(source, high - low, level)
            count = divide(source, spare, high - low, pivot)
            level += 1
            if count == high - low:
                high = low + divide_alike(source, spare, count, pivot)
            else:
                first = low
                last = low + count
                if 2 * count > high - low:
                    low = last
                else:
                    first = last
                    last = high
                    high = low + count
                stack[3 * depth] = first
                stack[3 * depth + 1] = last
                stack[3 * depth + 2] = level
                depth += 1


@helper(inline=False)
def select_words(words: Any, spare: Any, size: int, place: int) -> None:
    """What stands at `place` in ascending order is put there, nothing larger before it."""
    low = 0
    high = size
    level = 0
    while high - low > NETWORK * lanes(words):
        source = words + low
        pivot = pivot_of(source, high - low, level)
        count = divide(source, spare, high - low, pivot)
        level += 1
        if count == high - low:
            count = divide_alike(source, spare, count, pivot)
            high = low + count
            if place >= high:
                low = high
        elif place < low + count:
            high = low + count
        else:
            low = low + count
    sort_by_network(words + low, high - low)


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
