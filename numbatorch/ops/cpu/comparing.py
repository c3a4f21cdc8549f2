"""CPU kernels that look elements up, in a table of a range or in buckets by hash."""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.primitives import select
from numbatorch.language.words import bool_, int64, uint8
from numbatorch.ops import comparing as ops
from numbatorch.ops.cpu.sort_values import WORDS, keyed, make_keys
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import BITS
from numbatorch.shape import numel

SLOTS = 8  # keys of a bucket, which are compared at once
RANGE = 65_536  # numbers between the extremes for which a table has a byte each
BLOCK = 256  # elements whose keys are made before they are looked up
# 2**64 divided by the golden ratio. Source: https://en.wikipedia.org/wiki/Hash_function
GOLDEN = -7046029254386353131
EMPTY, TABLE, BUCKETS = 0, 1, 2  # what the first word of a header says


@helper
def one_zero(keys: Any, size: int, kind: int) -> None:
    """The keys of both zeros of floats become one."""
    if kind == 2:
        for i in range(size):
            keys[i] = select(int64(keys[i]) == -1, 0, int64(keys[i]))


@helper
def bucket_of(key: int, shift: int) -> int:
    """The bucket of a key, by the upper bits of a product."""
    mixed = (key ^ ((key >> 32) & 0xFFFFFFFF)) * GOLDEN
    bucket: int = (mixed >> shift) & ((1 << (64 - shift)) - 1)
    return bucket


@helper
def put_bucket(buckets: Any, filled: Pointer[uint8], key: Any, shift: int, last: int) -> None:
    """A key into its bucket, or into the next one that is not full, if it is not there."""
    bucket = bucket_of(int64(key), shift)
    while True:
        count = int64(filled[bucket])
        slots = buckets + SLOTS * bucket
        for i in range(count):
            if slots[i] == key:
                return
        if count < SLOTS:
            slots[count] = key
            filled[bucket] = count + 1
            return
        bucket = (bucket + 1) & last


@kernel(T=tuple(BITS.values()), U=WORDS)
def note_tests(
    header: Pointer[int64],
    table: Pointer[uint8],
    buckets: Pointer[U],
    keys: Pointer[U],
    tests: Pointer[T],
    count: int,
    shift: int,
    kind: int,
    rest: int,
    largest: int,
    turn: int,
    up: int,
    part: int,
    parts: int,
) -> None:
    """A table or buckets of what is looked for; a slot that holds nothing holds the first key.

    That is found in its own bucket only, where it is. No NaN is noted.
    """
    if part != 0:
        return
    header[0] = EMPTY
    if count == 0:
        return
    make_keys(keys, tests, count, kind, rest, largest, turn, up)
    one_zero(keys, count, kind)
    low, high = int64(keys[0]), int64(keys[0])
    for i in range(count):
        low = min(low, int64(keys[i]))
        high = max(high, int64(keys[i]))
    size = high - low
    if kind != 2 and 0 <= size and size < RANGE:
        header[0] = TABLE
        header[1] = low
        header[2] = size
        for i in range(size + 1):
            table[i] = 0
        for i in range(count):
            table[int64(keys[i]) - low] = 1
        return
    first = 0
    while first < count and kind == 2 and int64(keys[first]) == rest:
        first += 1
    if first == count:
        return
    header[0] = BUCKETS
    header[1] = int64(keys[first])
    last = (1 << (64 - shift)) - 1
    for bucket in range(last + 1):
        table[bucket] = 0
        for i in range(SLOTS):
            buckets[SLOTS * bucket + i] = keys[first]
    for i in range(first, count):
        if kind != 2 or int64(keys[i]) != rest:
            put_bucket(buckets, table, keys[i], shift, last)


@helper
def in_buckets(buckets: Any, first: int, key: Any, shift: int) -> int:
    """Whether a key is in its bucket, or, where that is full, in one behind it."""
    bucket = bucket_of(int64(key), shift)
    last = (1 << (64 - shift)) - 1
    found = 0
    full = 1
    while full != 0 and found == 0:
        slots = buckets + SLOTS * bucket
        for i in range(SLOTS):
            found |= slots[i] == key
        full = int64(slots[SLOTS - 1]) != first
        bucket = (bucket + 1) & last
    return found


@kernel(T=tuple(BITS.values()), U=WORDS)
def look_up(
    out: Pointer[bool_],
    x: Pointer[T],
    header: Pointer[int64],
    table: Pointer[uint8],
    buckets: Pointer[U],
    blocks: Pointer[U],
    size: int,
    shift: int,
    kind: int,
    rest: int,
    largest: int,
    turn: int,
    up: int,
    part: int,
    parts: int,
) -> None:
    """Whether each element is among what `note_tests` noted."""
    lo, hi = share(size, part, parts)
    keys = blocks + part * BLOCK
    low = header[1]
    most = header[2]
    for begin in range(lo, hi, BLOCK):
        count = min(BLOCK, hi - begin)
        make_keys(keys, x + begin, count, kind, rest, largest, turn, up)
        one_zero(keys, count, kind)
        target = out + begin
        if header[0] == TABLE:
            for i in range(count):
                place = int64(keys[i]) - low
                inside = 0 <= place and place <= most
                target[i] = inside & (table[select(inside, place, 0)] != 0)
        elif header[0] == BUCKETS:
            for i in range(count):
                target[i] = in_buckets(buckets, low, keys[i], shift) != 0
        else:
            for i in range(count):
                target[i] = False


@lower("cpu", ops.isin_)
def _(launcher: Launcher, out: Operand, x: Operand, tests: Operand) -> None:
    size, count = numel(x.shape), numel(tests.shape)
    types, width, order = keyed(x.dtype, descending=False)
    bits = max(count.bit_length() - 1, 1)  # two keys to a bucket at most
    header = launcher.scratch(24)
    table = launcher.scratch(max(RANGE, 1 << bits))
    buckets = launcher.scratch(width * SLOTS << bits)
    keys = launcher.scratch(width * max(count, 1))
    blocks = launcher.scratch(width * BLOCK * launcher.parts)
    noting = (header, table, buckets, keys, tests, count, 64 - bits, *order)
    launcher.launch(note_tests(**types), *noting, work=16 * count, serial=True, items=1)
    looking = (out, x, header, table, buckets, blocks, size, 64 - bits, *order)
    launcher.launch(look_up(**types), *looking, work=8 * size, items=size)
