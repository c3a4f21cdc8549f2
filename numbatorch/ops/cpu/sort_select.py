"""CPU kernels that take rows apart until an element, or the first few, are at their place.

Source: https://en.wikipedia.org/wiki/Quickselect
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.words import int64
from numbatorch.ops.cpu.sort_values import WORDS, keyed, make_keys, take_keys
from numbatorch.ops.cpu.sort_words import SPARE, STACK, select_words, sort_words
from numbatorch.ops.lowering import Launcher, Operand
from numbatorch.ops.portable.rows import BITS, sizes_of


@helper
def place_of_kth(keys: Any, size: int, k: int, key: int, kind: int) -> int:
    """Where the element stands that is the k-th in a stable order and has this key."""
    low = key
    high = key
    if kind == 2 and (key == 0 or key == -1):  # both zeros
        low = -1
        high = 0
    before = 0
    for i in range(size):
        before += int64(keys[i]) < low
    place = 0
    for i in range(size):
        number = int64(keys[i])
        if low <= number and number <= high:
            if before == k:
                place = i
                break
            before += 1
    return place


@kernel(T=tuple(BITS.values()), U=WORDS)
def kth_rows(
    values: Pointer[T],
    places: Pointer[int64],
    x: Pointer[T],
    keys: Pointer[U],
    spare: Pointer[U],
    rows: int,
    cols: int,
    k: int,
    placed: int,
    kind: int,
    rest: int,
    largest: int,
    turn: int,
    up: int,
    part: int,
    parts: int,
) -> None:
    """The element of each row that has k before it, and where it stands if `placed`."""
    lo, hi = share(rows, part, parts)
    own = keys + part * cols
    aside = spare + part * SPARE
    for row in range(lo, hi):
        source = x + row * cols
        make_keys(own, source, cols, kind, rest, largest, turn, up)
        select_words(own, aside, cols, k)
        take_keys(values + row, own + k, 1, kind, rest, turn, up)
        if placed != 0:
            key = int64(own[k])
            make_keys(own, source, cols, kind, rest, largest, turn, up)
            places[row] = place_of_kth(own, cols, k, key, kind)


@kernel(T=tuple(BITS.values()), U=WORDS)
def first_rows(
    values: Pointer[T],
    x: Pointer[T],
    keys: Pointer[U],
    spare: Pointer[U],
    stacks: Pointer[int64],
    rows: int,
    cols: int,
    k: int,
    kind: int,
    rest: int,
    largest: int,
    turn: int,
    up: int,
    part: int,
    parts: int,
) -> None:
    """The first k elements of each row in order."""
    lo, hi = share(rows, part, parts)
    own = keys + part * cols
    aside = spare + part * SPARE
    for row in range(lo, hi):
        make_keys(own, x + row * cols, cols, kind, rest, largest, turn, up)
        select_words(own, aside, cols, k - 1)
        sort_words(own, aside, stacks + part * STACK, k)
        take_keys(values + row * k, own, k, kind, rest, turn, up)


def launch_kth(launcher: Launcher, outs: tuple[Operand, ...], x: Operand, k: int) -> None:
    """The k-th elements of rows, and their positions if anybody wants them."""
    rows, cols = sizes_of(x)
    types, width, order = keyed(x.dtype, descending=False)
    keys = launcher.scratch(width * cols * launcher.parts)
    spare = launcher.scratch(width * SPARE * launcher.parts)
    placed = int(launcher.wanted(outs[1]))
    given = (*outs, x, keys, spare, rows, cols, k, placed, *order)
    launcher.launch(kth_rows(**types), *given, work=8 * rows * cols, items=rows)


def launch_first(launcher: Launcher, values: Operand, x: Operand, k: int, descending: bool) -> None:
    """The first k elements of rows in order."""
    rows, cols = sizes_of(x)
    types, width, order = keyed(x.dtype, descending)
    keys = launcher.scratch(width * cols * launcher.parts)
    spare = launcher.scratch(width * SPARE * launcher.parts)
    stacks = launcher.scratch(8 * STACK * launcher.parts)
    given = (values, x, keys, spare, stacks, rows, cols, k, *order)
    launcher.launch(first_rows(**types), *given, work=8 * rows * cols, items=rows)
