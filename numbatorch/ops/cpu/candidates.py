"""The largest of a row of logits, in order: what is left of a vocabulary before samplers go on.

The row is read once, for the largest of each block of elements. As many elements as are looked for
are not below the largest of as many blocks, so only these blocks are looked at again. What may be
one of the largest is a word of 64 bits: a key in the order of the elements over the place counted
backwards, so no two are equal, and of equal elements the first is the largest word.
"""

from numbatorch.language.kernel import Pointer, helper, kernel
from numbatorch.language.primitives import bits
from numbatorch.language.simd.vectors import lanes, splat, vlargest, vload, vmax, vstore
from numbatorch.language.words import float32, float64, int32, int64, view

BLOCK = 64  # elements
BLOCKS = 8192  # most blocks of a row
ROOM = 4096  # words that stand aside until the largest of them are taken
LIMIT = 256  # most elements that are looked for
VECTOR = 64  # bytes, at most
LOWEST = -(1 << 63)
SHARE, NEAR = 0, 1  # kinds of filters
INFINITY = 0x7F800000  # bits of a size that is none are larger


@helper
def key_of(value: float) -> int:
    """An integer of 32 bits in the order of the elements; both zeros are alike."""
    key = int64(bits(value))
    if key < 0:
        key = -(key & 0x7FFFFFFF)  # so -0.0 is 0 too
    found: int = key
    return found


@helper
def word_of(value: float, place: int) -> int:
    """A key over the place, counted backwards."""
    word: int = (key_of(value) << 32) | (0xFFFFFFFF - place)
    return word


@helper
def largest_of_blocks(words: Pointer[int64], x: Pointer[float32], size: int) -> bool:
    """The largest word that could be in each block; returns whether an element is NaN."""
    n = lanes(x)
    sizes = splat(int32(0), n)
    last = int64(0)
    number = 0
    for start in range(0, size, BLOCK):
        tops = splat(x[start], n)
        end = min(start + BLOCK, size)
        whole = end - (end - start) % n
        for i in range(start, whole, n):
            tops = vmax(vload(x + i, n), tops)
            sizes = vmax(vload(view(x + i, int32), n) & 0x7FFFFFFF, sizes)
        top = vlargest(tops)
        for i in range(whole, end):
            top = x[i] if x[i] > top else top
            last = max(last, int64(bits(x[i])) & 0x7FFFFFFF)
        words[number] = word_of(top, 0)
        number += 1
    vstore(view(words + number, int32), sizes)
    for i in range(n):
        last = max(last, int64(view(words + number, int32)[i]))
    is_nan: bool = last > INFINITY
    return is_nan


@helper
def least_of(words: Pointer[int64], size: int, count: int, slack: int) -> int:
    """A number that at least `count` words are not below, and at most `slack` words more.

    The words are all different, or those above `count` are let in.
    """
    low, high = words[0], words[0]
    for i in range(size):
        low = min(low, words[i])
        high = max(high, words[i])
    found = size
    while found > count + slack and low < high:
        middle = (low & high) + ((low ^ high) >> 1)
        middle += 1
        above = 0
        for i in range(size):
            above += 1 if words[i] >= middle else 0
        if above >= count:
            low = middle
            found = above
        else:
            high = middle - 1
    least: int = low
    return least


@helper
def keep(words: Pointer[int64], size: int, least: int) -> int:
    """Move the words that are not below `least` to the front; returns how many they are."""
    kept = 0
    for i in range(size):
        word = words[i]
        words[kept] = word
        kept += 1 if word >= least else 0
    return kept


@helper
def put_in_order(
    places: Pointer[int64],
    values: Pointer[float32],
    words: Pointer[int64],
    x: Pointer[float32],
    have: int,
    count: int,
) -> None:
    """The `count` largest of the elements that `have` words stand for, each at its place."""
    for i in range(have):
        word = words[i]
        before = 0
        for j in range(have):
            before += 1 if words[j] > word else 0
        if before < count:
            place = 0xFFFFFFFF - (word & 0xFFFFFFFF)
            places[before] = place
            values[before] = x[place]


@kernel
def largest_in_order(
    places: Pointer[int64],
    values: Pointer[float32],
    shifted: Pointer[float32],
    found: Pointer[int64],
    words: Pointer[int64],
    tops: Pointer[int64],
    divisors: Pointer[float32],
    x: Pointer[float32],
    size: int,
    count: int,
    rows: int,
    part: int,
    parts: int,
) -> None:
    """The `count` largest of `size` elements and their places, of equal ones the first.

    Args:
        places, values: (count,).
        shifted: (rows, count), what the values over each of the divisors are above the first one.
        found: a word that becomes `count`, or 0 if an element is NaN; nothing is written then.
        words: memory for `ROOM + BLOCK` words.
        tops: memory for as many words as there are blocks, and a vector.
        divisors: (rows,).
        count: at most `size` and `LIMIT`.
    """
    found[0] = 0
    if not largest_of_blocks(tops, x, size):
        blocks = (size + BLOCK - 1) // BLOCK
        least = LOWEST
        if blocks > count:
            least = least_of(tops, blocks, count, count >> 2) & ~0xFFFFFFFF
        have = 0
        for number in range(blocks):
            if tops[number] >= least:
                start = number * BLOCK
                for i in range(start, min(start + BLOCK, size)):
                    word = word_of(x[i], i)
                    words[have] = word
                    have += 1 if word >= least else 0
                if have > ROOM:
                    least = least_of(words, have, count, count)
                    have = keep(words, have, least)
        if have > 2 * count:
            have = keep(words, have, least_of(words, have, count, count >> 2))
        put_in_order(places, values, words, x, have, count)
        for row in range(rows):
            first = values[0] / divisors[row]
            for i in range(count):
                shifted[row * count + i] = values[i] / divisors[row] - first
        found[0] = count


@kernel
def sums_of_left(
    sums: Pointer[float64],
    left: Pointer[int64],
    values: Pointer[float32],
    weights: Pointer[float32],
    divisors: Pointer[float32],
    steps: Pointer[float64],
    count: int,
    number: int,
    part: int,
    parts: int,
) -> None:
    """Filters over values in descending order, and the running sums of the weights that are left.

    Args:
        sums: (count,).
        left: a word, how many are left.
        weights: (2, count), the exponentials of `shifted` above; the last row is summed up.
        divisors: (2,).
        steps: (number, 4): a kind, its number, how many are left at least, and a row. Left are
            the fewest that have a `SHARE` of all weight, or those `NEAR` the first value.
    """
    kept = count
    for step in range(number):
        kind = int64(steps[4 * step])
        limit = steps[4 * step + 1]
        least = int64(steps[4 * step + 2])
        row = int64(steps[4 * step + 3])
        inside = 0
        if kind == SHARE:
            total = float64(0.0)
            for i in range(kept):
                total += float64(weights[row * count + i])
            goal = limit * total
            total = float64(0.0)
            for i in range(kept):
                total += float64(weights[row * count + i])
                inside += 1 if total < goal else 0
            inside += 1
        else:
            bound = values[0] / divisors[row] + float32(limit)
            for i in range(kept):
                inside += 1 if values[i] / divisors[row] >= bound else 0
        kept = min(kept, max(inside, least))
    left[0] = kept
    total = float64(0.0)
    for i in range(kept):
        total += float64(weights[count + i])
        sums[i] = total
