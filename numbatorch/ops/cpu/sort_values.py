"""CPU kernels that sort where nobody asks for positions: keys alone, of 32 bits or 64.

Source of the merge: https://arxiv.org/abs/1406.2628
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops.cpu.sort_words import LOWEST, STACK, sort_words
from numbatorch.ops.lowering import Launcher, Operand
from numbatorch.ops.portable.rows import sizes_of
from numbatorch.ops.portable.sort_keys import BITS, order_of, ordered

WORDS = ("int32", "int64")


@kernel(T=tuple(BITS.values()), U=WORDS)
def make_keys(
    keys: Pointer[U],
    x: Pointer[T],
    size: int,
    kind: int,
    sign: int,
    mask: int,
    largest: int,
    turn: int,
    lift: int,
    part: int,
    parts: int,
) -> None:
    """Keys whose signed order is that of the elements."""
    lo, hi = share(size, part, parts)
    for i in range(lo, hi):
        keys[i] = ordered(int64(x[i]), kind, sign, mask, largest, turn) ^ lift


@kernel(T=tuple(BITS.values()), U=WORDS)
def take_keys(
    values: Pointer[T],
    keys: Pointer[U],
    size: int,
    kind: int,
    sign: int,
    mask: int,
    turn: int,
    lift: int,
    part: int,
    parts: int,
) -> None:
    """The elements that keys were made of; every NaN is one."""
    lo, hi = share(size, part, parts)
    for i in range(lo, hi):
        key = ((int64(keys[i]) ^ lift) & mask) ^ turn
        bits = key
        if kind == 1:
            bits = key ^ sign
        elif kind == 3:
            bits = key ^ mask
            if (key & sign) != 0:
                bits = key ^ sign
        values[i] = bits


@kernel(U=WORDS)
def sort_keys(
    keys: Pointer[U],
    spare: Pointer[U],
    stacks: Pointer[int64],
    rows: int,
    cols: int,
    pieces: int,
    part: int,
    parts: int,
) -> None:
    """Each piece of each row in order."""
    lo, hi = share(rows * pieces, part, parts)
    stack = stacks + part * STACK
    for item in range(lo, hi):
        row = truncdiv(item, pieces)
        begin, end = share(cols, item - row * pieces, pieces)
        at = row * cols + begin
        sort_words(keys + at, spare + at, stack, end - begin)


@helper
def split(a: Any, b: Any, n: int, m: int, count: int) -> int:
    """How many of the first `count` words of two merged runs come from the first."""
    low = max(count - m, 0)
    high = min(count, n)
    while low < high:
        middle = (low + high) >> 1
        if a[middle] < b[count - 1 - middle]:
            low = middle + 1
        else:
            high = middle
    return low


@kernel(U=WORDS)
def merge_pieces(
    target: Pointer[U],
    source: Pointer[U],
    rows: int,
    cols: int,
    pieces: int,
    width: int,
    part: int,
    parts: int,
) -> None:
    """Runs of `width` pieces merged by twos; each piece of the result is made by itself."""
    lo, hi = share(rows * pieces, part, parts)
    for item in range(lo, hi):
        row = truncdiv(item, pieces)
        piece = item - row * pieces
        begin, end = share(cols, piece, pieces)
        pair = truncdiv(piece, 2 * width) * 2 * width
        first, _ = share(cols, pair, pieces)
        middle, _ = share(cols, pair + width, pieces)
        _, last = share(cols, pair + 2 * width - 1, pieces)
        a = source + row * cols + first
        b = source + row * cols + middle
        n = middle - first
        m = last - middle
        i = split(a, b, n, m, begin - first)
        j = begin - first - i
        out = target + row * cols
        place = begin
        while place < end and i < n and j < m:
            one = a[i]
            two = b[j]
            out[place] = min(one, two)
            i += one <= two
            j += one > two
            place += 1
        while place < end and i < n:
            out[place] = a[i]
            i += 1
            place += 1
        while place < end:
            out[place] = b[j]
            j += 1
            place += 1


def launch_values(
    launcher: Launcher, values: Operand, x: Operand, pieces: int, descending: bool
) -> None:
    """The elements of each row in order."""
    rows, cols = sizes_of(x)
    size, bytes_ = rows * cols, x.dtype.itemsize
    word = WORDS[bytes_ == 8]
    kind, sign, mask, largest, turn = order_of(x.dtype, descending)
    kind = 3 if kind == 2 else kind
    lift = {4: 1 << 31, 8: LOWEST}.get(bytes_, 0)
    keys, spare = (launcher.scratch(max(bytes_, 4) * size) for _ in range(2))
    making = (keys, x, size, kind, sign, mask, largest, turn, lift)
    launcher.launch(make_keys(T=BITS[bytes_], U=word), *making, work=2 * size, items=size)
    stacks = launcher.scratch(8 * STACK * launcher.parts)
    work = size * (4 + cols.bit_length())
    sorting = (keys, spare, stacks, rows, cols, pieces)
    launcher.launch(sort_keys(U=word), *sorting, work=work, items=rows * pieces)
    width = 1
    while width < pieces:
        merging = (spare, keys, rows, cols, pieces, width)
        launcher.launch(merge_pieces(U=word), *merging, work=2 * size, items=rows * pieces)
        keys, spare, width = spare, keys, 2 * width
    taking = (values, keys, size, kind, sign, mask, turn, lift)
    launcher.launch(take_keys(T=BITS[bytes_], U=word), *taking, work=2 * size, items=size)
