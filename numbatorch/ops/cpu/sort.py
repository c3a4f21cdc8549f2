"""CPU kernels that sort rows, by themselves or in parts of their order; see sort_words.py."""

from numbatorch.language.kernel import Pointer, T, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import sort as ops
from numbatorch.ops.cpu.sort_parts import SAMPLE, gather_part, part_ends, split_piece
from numbatorch.ops.cpu.sort_select import launch_first, launch_kth
from numbatorch.ops.cpu.sort_values import launch_values
from numbatorch.ops.cpu.sort_words import (
    SPARE,
    STACK,
    put_places,
    shift_of,
    sort_words,
    word_of,
)
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import BITS, sizes_of
from numbatorch.ops.portable.sort import topk
from numbatorch.ops.portable.sort_keys import order_of, ordered

PIECE = 16384  # elements of a row that are worth a thread of their own


@kernel(T=tuple(BITS.values()))
def sort_rows(
    values: Pointer[T],
    out: Pointer[int64],
    x: Pointer[T],
    words: Pointer[int64],
    spare: Pointer[int64],
    full: Pointer[int64],
    stacks: Pointer[int64],
    rows: int,
    cols: int,
    kind: int,
    sign: int,
    mask: int,
    largest: int,
    turn: int,
    wide: int,
    part: int,
    parts: int,
) -> None:
    """Rows are shared, and each thread sorts its own in one place of memory."""
    lo, hi = share(rows, part, parts)
    own = words + part * cols
    other = spare + part * cols
    keys = full + wide * part * cols
    stack = stacks + part * STACK
    for row in range(lo, hi):
        source = x + row * cols
        places = out + row * cols
        shift = 0
        if wide != 0:
            differing = int64(0)
            first = ordered(int64(source[0]), kind, sign, mask, largest, turn)
            for i in range(cols):
                key = ordered(int64(source[i]), kind, sign, mask, largest, turn)
                keys[i] = key
                differing |= key ^ first
            shift = shift_of(differing)
            for i in range(cols):
                own[i] = word_of(keys[i] >> shift, i)
        else:
            for i in range(cols):
                key = ordered(int64(source[i]), kind, sign, mask, largest, turn)
                own[i] = word_of(key, i)
        sort_words(own, other, stack, cols)
        put_places(places, keys, own, other, stack, 0, cols, shift)
        target = values + row * cols
        for i in range(cols):
            target[i] = source[places[i]]


@kernel(T=("uint64",))
def key_pieces(
    full: Pointer[int64],
    differing: Pointer[int64],
    x: Pointer[T],
    rows: int,
    cols: int,
    pieces: int,
    kind: int,
    sign: int,
    mask: int,
    largest: int,
    turn: int,
    part: int,
    parts: int,
) -> None:
    """Whole keys of pieces of rows, and the bits in which they differ from the row's first."""
    lo, hi = share(rows * pieces, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, pieces)
        begin, end = share(cols, item - row * pieces, pieces)
        source = x + row * cols
        keys = full + row * cols
        first = ordered(int64(source[0]), kind, sign, mask, largest, turn)
        bits = int64(0)
        for i in range(begin, end):
            key = ordered(int64(source[i]), kind, sign, mask, largest, turn)
            keys[i] = key
            bits |= key ^ first
        differing[item] = bits


@helper
def row_shift(differing: Pointer[int64], row: int, pieces: int, wide: int) -> int:
    """`shift_of` of all pieces of a row."""
    if wide == 0:
        return 0
    bits = int64(0)
    for item in range(row * pieces, (row + 1) * pieces):
        bits |= differing[item]
    return shift_of(bits)


@kernel(T=tuple(BITS.values()))
def split_words(
    words: Pointer[int64],
    ends: Pointer[int64],
    full: Pointer[int64],
    differing: Pointer[int64],
    samples: Pointer[int64],
    spare: Pointer[int64],
    stacks: Pointer[int64],
    x: Pointer[T],
    rows: int,
    cols: int,
    pieces: int,
    kind: int,
    sign: int,
    mask: int,
    largest: int,
    turn: int,
    wide: int,
    part: int,
    parts: int,
) -> None:
    """The words of each piece of each row, divided into parts."""
    lo, hi = share(rows * pieces, part, parts)
    aside = spare + part * SPARE
    sample = samples + part * SAMPLE
    for item in range(lo, hi):
        row = truncdiv(item, pieces)
        begin, end = share(cols, item - row * pieces, pieces)
        shift = row_shift(differing, row, pieces, wide)
        source = x + row * cols
        keys = full + wide * row * cols
        own = words + row * cols
        for i in range(SAMPLE):
            place = i * truncdiv(cols, SAMPLE)
            if wide != 0:
                sample[i] = word_of(keys[place] >> shift, place)
            else:
                key = ordered(int64(source[place]), kind, sign, mask, largest, turn)
                sample[i] = word_of(key, place)
        sort_words(sample, aside, stacks + part * STACK, SAMPLE)
        if wide != 0:
            for i in range(begin, end):
                own[i] = word_of(keys[i] >> shift, i)
        else:
            for i in range(begin, end):
                key = ordered(int64(source[i]), kind, sign, mask, largest, turn)
                own[i] = word_of(key, i)
        split_piece(own + begin, aside, sample, ends + item * pieces, pieces, end - begin)


@kernel
def sort_parts(
    target: Pointer[int64],
    words: Pointer[int64],
    ends: Pointer[int64],
    spare: Pointer[int64],
    stacks: Pointer[int64],
    rows: int,
    cols: int,
    pieces: int,
    part: int,
    parts: int,
) -> None:
    """The words of each part of each row in order."""
    lo, hi = share(rows * pieces, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, pieces)
        piece = item - row * pieces
        bounds = ends + row * pieces * pieces
        first = part_ends(bounds, pieces, piece - 1)
        size = part_ends(bounds, pieces, piece) - first
        own = target + row * cols + first
        gather_part(own, words + row * cols, bounds, cols, pieces, piece)
        sort_words(own, spare + part * SPARE, stacks + part * STACK, size)


@kernel
def find_runs(
    starts: Pointer[int64],
    words: Pointer[int64],
    rows: int,
    cols: int,
    pieces: int,
    part: int,
    parts: int,
) -> None:
    """Where in each piece, or behind it, the first run begins that did not begin before it."""
    lo, hi = share(rows * pieces, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, pieces)
        begin, _ = share(cols, item - row * pieces, pieces)
        own = words + row * cols
        i = begin
        while begin > 0 and i < cols and (own[i] >> 32) == (own[begin - 1] >> 32):
            i += 1
        starts[item] = i


@kernel
def place_pieces(
    out: Pointer[int64],
    words: Pointer[int64],
    spare: Pointer[int64],
    full: Pointer[int64],
    differing: Pointer[int64],
    starts: Pointer[int64],
    stacks: Pointer[int64],
    rows: int,
    cols: int,
    pieces: int,
    wide: int,
    part: int,
    parts: int,
) -> None:
    """The positions of sorted words, by runs."""
    lo, hi = share(rows * pieces, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, pieces)
        at = row * cols
        begin = starts[item]
        end = cols
        if item + 1 < (row + 1) * pieces:
            end = starts[item + 1]
        shift = row_shift(differing, row, pieces, wide)
        stack = stacks + item * STACK
        put_places(out + at, full + wide * at, words + at, spare + at, stack, begin, end, shift)


@kernel(T=tuple(BITS.values()))
def take_places(
    values: Pointer[T],
    x: Pointer[T],
    places: Pointer[int64],
    size: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """The elements of rows at positions."""
    lo, hi = share(size, part, parts)
    if lo >= hi:
        return
    for row in range(truncdiv(lo, cols), truncdiv(hi + cols - 1, cols)):
        source = x + row * cols
        for i in range(max(lo, row * cols), min(hi, (row + 1) * cols)):
            values[i] = source[places[i]]


@lower("cpu", ops.sort_)
def _(launcher: Launcher, outs: tuple[Operand, ...], x: Operand, *, descending: bool) -> None:
    rows, cols = sizes_of(x)
    if not rows * cols:
        return
    pieces = 1
    while 2 * pieces * rows <= launcher.parts and cols >= 2 * pieces * PIECE:
        pieces *= 2
    if not launcher.wanted(outs[1]):
        launch_values(launcher, outs[0], x, pieces, descending)
        return
    wide = int(x.dtype.itemsize == 8)
    order = (*order_of(x.dtype, descending), wide)
    if pieces > 1:
        _launch_pieces(launcher, outs, x, pieces, order)
        return
    size = launcher.parts * cols
    words, spare, full = (launcher.scratch(8 * n) for n in (size, size, max(size * wide, 1)))
    stacks = launcher.scratch(8 * STACK * launcher.parts)
    launcher.launch(
        sort_rows(T=BITS[x.dtype.itemsize]),
        *(*outs, x, words, spare, full, stacks, rows, cols, *order),
        work=_work(rows, cols),
        items=rows,
    )


def _work(rows: int, cols: int) -> float:
    return rows * cols * (4 + cols.bit_length())


def _launch_pieces(
    launcher: Launcher,
    outs: tuple[Operand, ...],
    x: Operand,
    pieces: int,
    order: tuple[int, ...],
) -> None:
    rows, cols = sizes_of(x)
    size, items, wide = rows * cols, rows * pieces, order[-1]
    kind = BITS[x.dtype.itemsize]
    values, places = outs
    words, spare, full = (launcher.scratch(8 * n) for n in (size, size, max(size * wide, 1)))
    differing, starts = launcher.scratch(8 * items), launcher.scratch(8 * items)
    stacks = launcher.scratch(8 * STACK * launcher.parts)
    grid = (rows, cols, pieces)
    if wide:
        keyed = (full, differing, x, *grid, *order[:-1])
        launcher.launch(key_pieces(T=kind), *keyed, work=4 * size, items=items)
    ends = launcher.scratch(8 * items * pieces)
    samples, aside = (launcher.scratch(8 * n * launcher.parts) for n in (SAMPLE, SPARE))
    splitting = (words, ends, full, differing, samples, aside, stacks, x, *grid, *order)
    launcher.launch(split_words(T=kind), *splitting, work=4 * size, items=items)
    sorting = (spare, words, ends, aside, stacks, *grid)
    launcher.launch(sort_parts(), *sorting, work=_work(rows, cols), items=items)
    words, spare = spare, words
    launcher.launch(find_runs(), starts, words, *grid, work=items, items=items)
    placing = (places, words, spare, full, differing, starts, stacks, *grid, wide)
    launcher.launch(place_pieces(), *placing, work=2 * size, items=items)
    taking = (values, x, places, size, cols)
    launcher.launch(take_places(T=kind), *taking, work=2 * size, items=size)


@lower("cpu", ops.kth_)
def _(launcher: Launcher, outs: tuple[Operand, ...], x: Operand, *, k: int) -> None:
    launch_kth(launcher, outs, x, k)


@lower("cpu", ops.topk_)
def _(launcher: Launcher, outs: tuple[Operand, ...], x: Operand, *, k: int, largest: bool) -> None:
    if launcher.wanted(outs[1]) or not k:
        topk(launcher, outs, x, k=k, largest=largest)
    else:
        launch_first(launcher, outs[0], x, k, largest)
