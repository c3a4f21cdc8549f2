"""Kernels that sort rows by the bits of their elements, digit by digit from the last one.

Equal keys (`sort_keys.py`) keep their places at every digit, so what is equal stays in order of
position, however the work is shared. A digit that all keys of a row share is passed over.
Source: https://en.wikipedia.org/wiki/Radix_sort
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64, uint32
from numbatorch.ops.lowering import Launcher, Operand
from numbatorch.ops.portable.rows import BITS, sizes_of
from numbatorch.ops.portable.sort_keys import order_of, ordered, place_of, put_key

CHUNK = 8192  # elements of a long row that a thread takes at a time
FEW = 64  # elements of a row that are ranked by comparing each with all others
LONG = 65_536  # elements of a row that threads share


@kernel(T=tuple(BITS.values()))
def make_keys(
    keys: Pointer[int64],
    places: Pointer[uint32],
    sides: Pointer[int64],
    x: Pointer[T],
    rows: int,
    cols: int,
    chunk: int,
    chunks: int,
    kind: int,
    sign: int,
    mask: int,
    largest: int,
    turn: int,
    wide: int,
    part: int,
    parts: int,
) -> None:
    """Keys with their positions; each row begins on side 0."""
    lo, hi = share(rows * chunks, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, chunks)
        first = (item - row * chunks) * chunk
        if first == 0:
            sides[row] = 0
        begin = row * cols
        for i in range(first, min(first + chunk, cols)):
            key = ordered(int64(x[begin + i]), kind, sign, mask, largest, turn)
            put_key(keys, places, begin + i, i, key, wide)


@kernel
def count_digits(
    counts: Pointer[uint32],
    keys: Pointer[int64],
    others: Pointer[int64],
    sides: Pointer[int64],
    at: int,
    rows: int,
    cols: int,
    chunk: int,
    chunks: int,
    shift: int,
    part: int,
    parts: int,
) -> None:
    """How often each value of a digit occurs in each chunk."""
    lo, hi = share(rows * chunks, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, chunks)
        first = (item - row * chunks) * chunk
        source = keys + row * cols
        if sides[at + row] != 0:
            source = others + row * cols
        count = counts + item * 256
        for value in range(256):
            count[value] = 0
        for i in range(first, min(first + chunk, cols)):
            value = (source[i] >> shift) & 255
            count[value] = count[value] + 1


@kernel
def sum_digits(
    starts: Pointer[uint32],
    counts: Pointer[uint32],
    sides: Pointer[int64],
    at: int,
    rows: int,
    cols: int,
    chunks: int,
    part: int,
    parts: int,
) -> None:
    """Counts become those of chunks before; where each value starts; the side of the next digit."""
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        start = starts + row * 256
        for value in range(256):
            start[value] = 0
        for item in range(row * chunks, (row + 1) * chunks):
            count = counts + item * 256
            for value in range(256):
                own = count[value]
                count[value] = start[value]
                start[value] = start[value] + own
        side = 1 - sides[at + row]
        before = int64(0)
        for value in range(256):
            own = int64(start[value])
            if own == cols:
                side = sides[at + row]
            start[value] = before
            before = before + own
        sides[at + rows + row] = side


@kernel
def move_keys(
    keys: Pointer[int64],
    others: Pointer[int64],
    places: Pointer[uint32],
    other_places: Pointer[uint32],
    sides: Pointer[int64],
    starts: Pointer[uint32],
    counts: Pointer[uint32],
    at: int,
    rows: int,
    cols: int,
    chunk: int,
    chunks: int,
    shift: int,
    wide: int,
    part: int,
    parts: int,
) -> None:
    """Keys to the other side in the order of a digit."""
    lo, hi = share(rows * chunks, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, chunks)
        if sides[at + row] != sides[at + rows + row]:
            first = (item - row * chunks) * chunk
            last = min(first + chunk, cols)
            count = counts + item * 256
            for value in range(256):
                count[value] = count[value] + starts[row * 256 + value]
            source = keys + row * cols
            target = others + row * cols
            source_places = places + row * cols
            target_places = other_places + row * cols
            if sides[at + row] != 0:
                source = others + row * cols
                target = keys + row * cols
                source_places = other_places + row * cols
                target_places = places + row * cols
            for i in range(first, last):
                key = source[i]
                value = (key >> shift) & 255
                place = int64(count[value])
                count[value] = place + 1
                target[place] = key
                if wide != 0:
                    target_places[place] = source_places[i]


@kernel(T=tuple(BITS.values()))
def take_sorted(
    values: Pointer[T],
    out: Pointer[int64],
    x: Pointer[T],
    keys: Pointer[int64],
    others: Pointer[int64],
    places: Pointer[uint32],
    other_places: Pointer[uint32],
    sides: Pointer[int64],
    at: int,
    rows: int,
    cols: int,
    chunk: int,
    chunks: int,
    wide: int,
    part: int,
    parts: int,
) -> None:
    """The positions that keys carry, and the elements there."""
    lo, hi = share(rows * chunks, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, chunks)
        first = (item - row * chunks) * chunk
        begin = row * cols
        source = keys + begin
        source_places = places + begin
        if sides[at + row] != 0:
            source = others + begin
            source_places = other_places + begin
        for i in range(first, min(first + chunk, cols)):
            place = place_of(source, source_places, i, wide)
            out[begin + i] = place
            values[begin + i] = x[begin + place]


@kernel(T=tuple(BITS.values()))
def sort_rows(
    values: Pointer[T],
    out: Pointer[int64],
    x: Pointer[T],
    keys: Pointer[int64],
    others: Pointer[int64],
    places: Pointer[uint32],
    other_places: Pointer[uint32],
    counts: Pointer[uint32],
    rows: int,
    cols: int,
    digits: int,
    kind: int,
    sign: int,
    mask: int,
    largest: int,
    turn: int,
    wide: int,
    part: int,
    parts: int,
) -> None:
    """Rows that a thread sorts by itself, one after the other in the memory of the first."""
    lo, hi = share(rows, part, parts)
    count = counts + 512 * lo
    low = 0 if wide != 0 else 32
    for row in range(lo, hi):
        source = keys + lo * cols
        source_places = places + lo * cols
        begin = x + row * cols
        first_keys(source, source_places, count, begin, cols, kind, sign, mask, largest, turn, wide)
        side = 0  # NVVM does not come to an end where two pointers take turns
        for digit in range(digits):
            shift = low + 8 * digit
            source = keys + lo * cols
            target = others + lo * cols
            source_places = places + lo * cols
            target_places = other_places + lo * cols
            if side != 0:
                source = others + lo * cols
                target = keys + lo * cols
                source_places = other_places + lo * cols
                target_places = places + lo * cols
            if count[(source[0] >> shift) & 255] != cols:
                start_counts(count)
                move_row(source, target, source_places, target_places, count, cols, shift, wide)
                side = 1 - side
            else:
                count_next(source, count, cols, shift + 8)
            for value in range(256):
                count[value] = count[256 + value]
        source = keys + lo * cols
        source_places = places + lo * cols
        if side != 0:
            source = others + lo * cols
            source_places = other_places + lo * cols
        for i in range(cols):
            place = place_of(source, source_places, i, wide)
            out[row * cols + i] = place
            values[row * cols + i] = begin[place]


@helper
def first_keys(
    keys: Pointer[int64],
    places: Pointer[uint32],
    count: Pointer[uint32],
    x: Pointer[T],
    cols: int,
    kind: int,
    sign: int,
    mask: int,
    largest: int,
    turn: int,
    wide: int,
) -> None:
    """The keys of a row, while their first digit is counted."""
    for value in range(512):
        count[value] = 0
    for i in range(cols):
        key = ordered(int64(x[i]), kind, sign, mask, largest, turn)
        value = key & 255
        count[value] = count[value] + 1
        put_key(keys, places, i, i, key, wide)


@helper
def start_counts(count: Pointer[uint32]) -> None:
    """Each of 256 counts becomes the sum of those before it; 256 counts behind them become 0."""
    before = int64(0)
    for value in range(256):
        own = int64(count[value])
        count[value] = before
        count[256 + value] = 0
        before = before + own


@helper
def count_next(keys: Pointer[int64], count: Pointer[uint32], cols: int, shift: int) -> None:
    """How often each value of a digit occurs, behind the 256 counts of the digit before."""
    for value in range(256):
        count[256 + value] = 0
    if shift < 64:
        for i in range(cols):
            value = 256 + ((keys[i] >> shift) & 255)
            count[value] = count[value] + 1


@helper
def move_row(
    source: Pointer[int64],
    target: Pointer[int64],
    source_places: Pointer[uint32],
    target_places: Pointer[uint32],
    count: Pointer[uint32],
    cols: int,
    shift: int,
    wide: int,
) -> None:
    """Keys in the order of a digit, while the next digit is counted."""
    following = min(shift + 8, 63)
    for i in range(cols):
        key = source[i]
        value = (key >> shift) & 255
        place = int64(count[value])
        count[value] = place + 1
        target[place] = key
        if wide != 0:
            target_places[place] = source_places[i]
        after = 256 + ((key >> following) & 255)
        count[after] = count[after] + 1


@kernel(T=tuple(BITS.values()))
def rank_rows(
    values: Pointer[T],
    out: Pointer[int64],
    x: Pointer[T],
    keys: Pointer[int64],
    rows: int,
    cols: int,
    turned: int,
    part: int,
    parts: int,
) -> None:
    """Each element to the place that as many others stand before; elements are shared."""
    lo, hi = share(rows * cols, part, parts)
    if lo >= hi:
        return
    for row in range(truncdiv(lo, cols), truncdiv(hi + cols - 1, cols)):
        begin = row * cols
        line = keys + begin
        for i in range(max(lo - begin, 0), min(hi - begin, cols)):
            own = line[i] ^ turned
            rank = 0
            for j in range(i):
                if (line[j] ^ turned) <= own:
                    rank = rank + 1
            for j in range(i + 1, cols):
                if (line[j] ^ turned) < own:
                    rank = rank + 1
            out[begin + rank] = i
            values[begin + rank] = x[begin + i]


def launch_sort(
    launcher: Launcher, outs: tuple[Operand, ...], x: Operand, descending: bool
) -> None:
    """The elements of each row in order, and their positions."""
    rows, cols = sizes_of(x)
    size = rows * cols
    if not size:
        return
    kind = BITS[x.dtype.itemsize]
    order = (*order_of(x.dtype, descending), int(x.dtype.itemsize == 8))
    if cols <= FEW:
        keys = launcher.scratch(8 * size)
        _launch_ranks(launcher, kind, outs, x, keys, order)
        return
    memory = [launcher.scratch(8 * size), launcher.scratch(8 * size)]
    memory += [launcher.scratch(4 * size if order[-1] else 4) for _ in range(2)]
    if cols < LONG:
        counts = launcher.scratch(4 * 512 * rows)
        sizes = (rows, cols, x.dtype.itemsize)
        work = size * (4 + 2 * x.dtype.itemsize)
        words = (*outs, x, *memory, counts, *sizes, *order)
        launcher.launch(sort_rows(T=kind), *words, work=work, items=rows)
        return
    _launch_digits(launcher, kind, outs, x, memory, order)


def _launch_ranks(
    launcher: Launcher,
    kind: str,
    outs: tuple[Operand, ...],
    x: Operand,
    keys: Any,
    order: tuple[int, ...],
) -> None:
    rows, cols = sizes_of(x)
    places = launcher.scratch(4 * rows * cols)
    sides = launcher.scratch(8 * rows)
    words = (keys, places, sides, x, rows, cols, cols, 1, *order[:-1], 1)
    launcher.launch(make_keys(T=kind), *words, work=4 * rows * cols, items=rows)
    turned = order[1] if order[-1] else 0
    words = (*outs, x, keys, rows, cols, turned)
    launcher.launch(rank_rows(T=kind), *words, work=rows * cols * cols, items=rows * cols)


def _launch_digits(
    launcher: Launcher,
    kind: str,
    outs: tuple[Operand, ...],
    x: Operand,
    memory: list[Any],
    order: tuple[int, ...],
) -> None:
    rows, cols = sizes_of(x)
    size, digits, wide = rows * cols, x.dtype.itemsize, order[-1]
    chunks = -(-cols // CHUNK)
    grid = (rows, cols, CHUNK, chunks)
    items = rows * chunks
    counts, starts = launcher.scratch(4 * 256 * items), launcher.scratch(4 * 256 * rows)
    sides = launcher.scratch(8 * rows * (digits + 1))
    keys, others, places, _ = memory
    words = (keys, places, sides, x, *grid, *order)
    launcher.launch(make_keys(T=kind), *words, work=4 * size, items=items)
    for digit in range(digits):
        at, shift = digit * rows, 8 * digit + (0 if wide else 32)
        words = (counts, keys, others, sides, at, *grid, shift)
        launcher.launch(count_digits(), *words, work=2 * size, items=items)
        words = (starts, counts, sides, at, rows, cols, chunks)
        launcher.launch(sum_digits(), *words, work=512 * items, items=rows)
        words = (*memory, sides, starts, counts, at, *grid, shift, wide)
        launcher.launch(move_keys(), *words, work=4 * size, items=items)
    words = (*outs, x, *memory, sides, digits * rows, *grid, wide)
    launcher.launch(take_sorted(T=kind), *words, work=4 * size, items=items)
