"""CPU kernels that sort where nobody asks for positions: keys alone, of 32 bits or 64."""

from typing import Any

from numbatorch.dtype import DType
from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.simd.sorting import width
from numbatorch.language.words import int32, int64, view
from numbatorch.ops.cpu.sort_parts import SAMPLE, gather_part, part_ends, split_piece
from numbatorch.ops.cpu.sort_words import SPARE, STACK, sort_words
from numbatorch.ops.lowering import Launcher, Operand
from numbatorch.ops.portable.rows import BITS, sizes_of
from numbatorch.ops.portable.sort_keys import NAN

WORDS = ("int32", "int64")


@helper
def key_of(bits: int, kind: int, rest: int, largest: int, turn: int) -> int:
    """The key of an element whose bits are the upper ones of a word; in signed order.

    Args:
        kind: 0 for unsigned numbers, 1 for signed ones, 2 for floats; every NaN is the last.
        rest: all bits of a word but the sign.
        largest: bits of the size of infinity.
        turn: -1 for descending order, else 0.
    """
    key = bits
    if kind == 0:
        key = bits ^ ~rest
    elif kind == 2:
        key = bits ^ ((bits >> 63) & rest)
        if (bits & rest) > largest:
            key = rest
    return key ^ turn


@helper
def bits_of(key: int, kind: int, rest: int, turn: int) -> int:
    """What a key was made of, but for the bits of a NaN."""
    turned = key ^ turn
    bits = turned
    if kind == 0:
        bits = turned ^ ~rest
    elif kind == 2:
        bits = turned ^ ((turned >> 63) & rest)
    return bits


@helper
def make_keys(
    keys: Any, x: Any, size: int, kind: int, rest: int, largest: int, turn: int, up: int
) -> None:
    """Keys of elements, which are shifted `up`; all that words of 32 bits need has so many."""
    if width(keys) == 32:
        for i in range(size):
            bits = int32(int32(x[i]) << (up & 31))
            keys[i] = key_of(bits, kind, int32(rest), int32(largest), int32(turn))
    else:
        for i in range(size):
            keys[i] = key_of(int64(x[i]), kind, rest, largest, turn)


@helper
def take_keys(values: Any, keys: Any, size: int, kind: int, rest: int, turn: int, up: int) -> None:
    """The elements that keys were made of; every NaN is one."""
    if width(keys) == 32:
        for i in range(size):
            values[i] = bits_of(keys[i], kind, int32(rest), int32(turn)) >> (up & 31)
    else:
        for i in range(size):
            values[i] = bits_of(keys[i], kind, rest, turn)


@kernel(T=tuple(BITS.values()), U=WORDS)
def sort_value_rows(
    values: Pointer[T],
    x: Pointer[T],
    keys: Pointer[U],
    spare: Pointer[U],
    stacks: Pointer[int64],
    rows: int,
    cols: int,
    kind: int,
    rest: int,
    largest: int,
    turn: int,
    up: int,
    in_place: int,
    part: int,
    parts: int,
) -> None:
    """Rows are shared, and each thread sorts its own, in one place of memory or where they go."""
    lo, hi = share(rows, part, parts)
    aside = spare + part * SPARE
    stack = stacks + part * STACK
    for row in range(lo, hi):
        own = keys + part * cols
        if in_place != 0:
            own = view(values + row * cols, U)
        make_keys(own, x + row * cols, cols, kind, rest, largest, turn, up)
        sort_words(own, aside, stack, cols)
        take_keys(values + row * cols, own, cols, kind, rest, turn, up)


@kernel(T=tuple(BITS.values()), U=WORDS)
def split_values(
    keys: Pointer[U],
    ends: Pointer[int64],
    x: Pointer[T],
    samples: Pointer[U],
    spare: Pointer[U],
    stacks: Pointer[int64],
    rows: int,
    cols: int,
    pieces: int,
    kind: int,
    rest: int,
    largest: int,
    turn: int,
    up: int,
    part: int,
    parts: int,
) -> None:
    """The keys of each piece of each row, divided into parts."""
    lo, hi = share(rows * pieces, part, parts)
    aside = spare + part * SPARE
    sample = samples + part * SAMPLE
    for item in range(lo, hi):
        row = truncdiv(item, pieces)
        begin, end = share(cols, item - row * pieces, pieces)
        source = x + row * cols
        for i in range(SAMPLE):
            place = i * truncdiv(cols, SAMPLE)
            make_keys(sample + i, source + place, 1, kind, rest, largest, turn, up)
        sort_words(sample, aside, stacks + part * STACK, SAMPLE)
        own = keys + row * cols + begin
        make_keys(own, source + begin, end - begin, kind, rest, largest, turn, up)
        split_piece(own, aside, sample, ends + item * pieces, pieces, end - begin)


@kernel(T=tuple(BITS.values()), U=WORDS)
def sort_value_parts(
    values: Pointer[T],
    keys: Pointer[U],
    others: Pointer[U],
    ends: Pointer[int64],
    spare: Pointer[U],
    stacks: Pointer[int64],
    rows: int,
    cols: int,
    pieces: int,
    kind: int,
    rest: int,
    turn: int,
    up: int,
    in_place: int,
    part: int,
    parts: int,
) -> None:
    """The elements of each part of each row in order, sorted in `others` or where they go."""
    lo, hi = share(rows * pieces, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, pieces)
        piece = item - row * pieces
        bounds = ends + row * pieces * pieces
        first = part_ends(bounds, pieces, piece - 1)
        size = part_ends(bounds, pieces, piece) - first
        target = values + row * cols + first
        own = others + row * cols + first
        if in_place != 0:
            own = view(target, U)
        gather_part(own, keys + row * cols, bounds, cols, pieces, piece)
        sort_words(own, spare + part * SPARE, stacks + part * STACK, size)
        take_keys(target, own, size, kind, rest, turn, up)


def keyed(dtype: DType, descending: bool) -> tuple[dict[str, str], int, tuple[int, ...]]:
    """Types of elements and keys, bytes of a key, and the last arguments of `make_keys`."""
    width = max(dtype.itemsize, 4)
    up = 8 * (width - dtype.itemsize)
    kind = {"f": 2, "i": 1}.get(dtype.kind, 0)
    rest, largest = (1 << (8 * width - 1)) - 1, NAN.get(dtype.name, 0) << up
    types = {"T": BITS[dtype.itemsize], "U": WORDS[width == 8]}
    return types, width, (kind, rest, largest, -int(descending), up)


def launch_values(
    launcher: Launcher, values: Operand, x: Operand, pieces: int, descending: bool
) -> None:
    """The elements of each row in order."""
    rows, cols = sizes_of(x)
    size = rows * cols
    types, width, order = keyed(x.dtype, descending)
    kind, rest, _largest, turn, up = order
    stacks = launcher.scratch(8 * STACK * launcher.parts)
    aside = launcher.scratch(width * SPARE * launcher.parts)
    work = size * (4 + cols.bit_length())
    in_place = not up
    if pieces == 1:
        keys = launcher.scratch(8 if in_place else width * cols * launcher.parts)
        sorting = (values, x, keys, aside, stacks, rows, cols, *order, int(in_place))
        launcher.launch(sort_value_rows(**types), *sorting, work=work, items=rows)
        return
    keys = launcher.scratch(width * size)
    others = launcher.scratch(8 if in_place else width * size)
    ends = launcher.scratch(8 * rows * pieces * pieces)
    samples = launcher.scratch(width * SAMPLE * launcher.parts)
    splitting = (keys, ends, x, samples, aside, stacks, rows, cols, pieces, *order)
    launcher.launch(split_values(**types), *splitting, work=4 * size, items=rows * pieces)
    sorting = (values, keys, others, ends, aside, stacks, rows, cols, pieces)
    given = (*sorting, kind, rest, turn, up, int(in_place))
    launcher.launch(sort_value_parts(**types), *given, work=work, items=rows * pieces)
