"""CPU kernels of indexing: the same places of many rows, and counts of numbers."""

from numbatorch.language.kernel import Pointer, T, U, helper, kernel, share
from numbatorch.language.primitives import select, truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import index as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.index import ADDED_TYPES, HALF, launch_sums, scatter_add
from numbatorch.ops.portable.rows import BITS, INDEX, wide_index
from numbatorch.shape import numel

RUN = 1024  # indices that are looked at before they are followed
SIDES = 4  # counts of a number side by side: an addition need not wait for the one before
FEW = 65_536  # counts that each thread has for itself, however few numbers there are


@helper
def all_inside(
    index: Pointer[int64], first: int, last: int, bound: int, turn: int, status: Pointer[int64]
) -> bool:
    """Whether no index is out of range; else the last such is noted."""
    wrong = 0
    for i in range(first, last):
        wrong |= (index[i] < -turn) | (index[i] >= bound)
    if wrong == 0:
        return True
    for i in range(first, last):
        if index[i] < -turn or index[i] >= bound:
            status[0] = 1
            status[1] = index[i]
    return False


@kernel(T=tuple(BITS.values()))
def take_places(
    out: Pointer[T],
    x: Pointer[T],
    index: Pointer[int64],
    status: Pointer[int64],
    rows: int,
    count: int,
    bound: int,
    cols: int,
    turn: int,
    part: int,
    parts: int,
) -> None:
    """out[r, i, :] = x[r, index[i], :], after a look at indices in a run; `turn` to those below 0.

    Those of many rows are looked at once.
    """
    if rows > 1 and not all_inside(index, 0, count, bound, turn, status):
        return
    lo, hi = share(rows * count, part, parts)
    at = lo
    while at < hi:
        row = truncdiv(at, count)
        first = at - row * count
        last = min(min(count, first + hi - at), first + RUN)
        source = x + row * bound * cols
        target = out + row * count * cols
        if rows == 1 and not all_inside(index, first, last, bound, turn, status):
            return
        if cols == 1:
            for i in range(first, last):
                place = index[i]
                target[i] = source[place + select(place < 0, turn, 0)]
        else:
            for i in range(first, last):
                place = index[i]
                there = source + (place + select(place < 0, turn, 0)) * cols
                here = target + i * cols
                for j in range(cols):
                    here[j] = there[j]
        at += last - first


@lower("cpu", ops.take_within)
def _(launcher: Launcher, out: Operand, x: Operand, index: Operand, *, from_end: bool) -> None:
    rows, bound, cols = x.shape
    count = index.shape[0]
    where = wide_index(launcher, index)
    grid = (rows, count, bound, cols, bound if from_end else 0)
    launcher.launch(
        take_places(T=BITS[x.dtype.itemsize]),
        *(out, x, where, launcher.status(bound, -bound if from_end else 0), *grid),
        work=rows * count * (cols + 8) / 4,
        items=rows * count,
    )


@kernel(T=tuple(BITS.values()))
def gather_inside(
    out: Pointer[T],
    x: Pointer[T],
    index: Pointer[int64],
    status: Pointer[int64],
    rows: int,
    count: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """out[i, j] = x[i, index[i, j]], after a look at the indices of a run."""
    lo, hi = share(rows * count, part, parts)
    for begin in range(lo, hi, RUN):
        end = min(begin + RUN, hi)
        if not all_inside(index, begin, end, cols, 0, status):
            return
        row = truncdiv(begin, count)
        at = begin
        while at < end:
            last = min((row + 1) * count, end)
            source = x + row * cols
            for i in range(at, last):
                out[i] = source[index[i]]
            at = last
            row += 1


@kernel(T=ADDED_TYPES, U=(*ADDED_TYPES, *HALF))
def add_inside(
    out: Pointer[T],
    index: Pointer[int64],
    value: Pointer[U],
    status: Pointer[int64],
    rows: int,
    count: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """out[i, index[i, j]] += value[i, j], in order of j, after a look at the indices of a run."""
    first, last = share(rows, part, parts)
    for begin in range(first * count, last * count, RUN):
        end = min(begin + RUN, last * count)
        if not all_inside(index, begin, end, cols, 0, status):
            return
        row = truncdiv(begin, count)
        at = begin
        while at < end:
            stop = min((row + 1) * count, end)
            target = out + row * cols
            for i in range(at, stop):
                col = index[i]
                target[col] = target[col] + value[i]
            at = stop
            row += 1


@lower("cpu", ops.gather)
def _(launcher: Launcher, out: Operand, x: Operand, index: Operand) -> None:
    rows, count, cols = numel(index.shape[:-1]), index.shape[-1], x.shape[-1]
    where = wide_index(launcher, index)
    spec = gather_inside(T=BITS[x.dtype.itemsize])
    arguments = (out, x, where, launcher.status(cols), rows, count, cols)
    launcher.launch(spec, *arguments, work=2 * rows * count, items=rows * count)


@lower("cpu", ops.scatter_add)
def _(launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand) -> None:
    rows, cols = numel(out.shape[:-1]), out.shape[-1]
    if rows < launcher.parts:  # threads share a row
        scatter_add(launcher, out, base, index, value)
        return
    sizes = (rows, index.shape[-1], cols)
    launch_sums(launcher, add_inside, out, index, value, *sizes, items=rows)


@kernel(T=INDEX)
def count_each(
    sides: Pointer[int64],
    index: Pointer[T],
    count: int,
    size: int,
    pieces: int,
    part: int,
    parts: int,
) -> None:
    """How often each number occurs in each piece, `SIDES` counts of each."""
    lo, hi = share(pieces, part, parts)
    for piece in range(lo, hi):
        own = sides + piece * SIDES * size
        for i in range(SIDES * size):
            own[i] = 0
        first, last = share(count, piece, pieces)
        for begin in range(first, last, RUN):
            end = min(begin + RUN, last)
            low, high = int64(0), int64(0)
            for i in range(begin, end):
                low = min(low, int64(index[i]))
                high = max(high, int64(index[i]))
            if low == 0 and high < size:
                for i in range(begin, end):
                    place = (i & (SIDES - 1)) * size + int64(index[i])
                    own[place] = own[place] + 1
            else:
                for i in range(begin, end):
                    number = int64(index[i])
                    if number >= 0 and number < size:
                        place = (i & (SIDES - 1)) * size + number
                        own[place] = own[place] + 1


@kernel
def sum_sides(
    out: Pointer[int64], sides: Pointer[int64], size: int, many: int, part: int, parts: int
) -> None:
    """The sums of counts that are `size` apart."""
    lo, hi = share(size, part, parts)
    for i in range(lo, hi):
        out[i] = 0
    for side in range(many):
        own = sides + side * size
        for i in range(lo, hi):
            out[i] = out[i] + own[i]


@lower("cpu", ops.count_numbers)
def _(launcher: Launcher, out: Operand, index: Operand, *, size: int) -> None:
    count = numel(index.shape)
    pieces = launcher.parts if size * launcher.parts <= max(count, FEW) else 1
    sides = launcher.scratch(8 * max(SIDES * size * pieces, 1))
    counting = (sides, index, count, size, pieces)
    launcher.launch(count_each(T=index.dtype), *counting, work=2 * count, items=pieces)
    many = SIDES * pieces
    launcher.launch(sum_sides(), out, sides, size, many, work=many * size, items=size)
