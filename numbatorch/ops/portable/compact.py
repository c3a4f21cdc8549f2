"""Kernels that find where True stands, or runs begin: chunks are counted, then written."""

from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.language.words import bool_, int64
from numbatorch.ops import compact as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.sort import ORDERED

CHUNK = 1024  # elements for one thread of a GPU


@kernel
def count_chunks(
    counts: Pointer[int64],
    mask: Pointer[bool_],
    size: int,
    chunk: int,
    chunks: int,
    part: int,
    parts: int,
) -> None:
    """How often True stands in each chunk."""
    lo, hi = share(chunks, part, parts)
    for item in range(lo, hi):
        total = 0
        for i in range(item * chunk, min((item + 1) * chunk, size)):
            if mask[i]:
                total = total + 1
        counts[item] = total


@kernel
def sum_counts(
    total: Pointer[int64], counts: Pointer[int64], chunks: int, part: int, parts: int
) -> None:
    """Each count becomes the sum of those before it, and total that of all."""
    if part == 0:
        before = 0
        for item in range(chunks):
            own = counts[item]
            counts[item] = before
            before = before + own
        total[0] = before


@kernel
def write_positions(
    out: Pointer[int64],
    total: Pointer[int64],
    before: Pointer[int64],
    mask: Pointer[bool_],
    size: int,
    chunk: int,
    chunks: int,
    part: int,
    parts: int,
) -> None:
    """Positions of True to the front, in order, and zeros behind them.

    A position is written whether True stands there or not, and kept by taking the next place.
    """
    lo, hi = share(chunks, part, parts)
    for item in range(lo, hi):
        place = before[item]
        end = total[0]
        if item + 1 < chunks:
            end = before[item + 1]
        i = item * chunk
        while place < end:
            out[place] = i
            place = place + mask[i]
            i = i + 1
    lo, hi = share(size - total[0], part, parts)
    for i in range(lo, hi):
        out[total[0] + i] = 0


@lower("portable", ops.compact)
def _(launcher: Launcher, outs: tuple[Operand, ...], mask: Operand) -> None:
    found, total = outs
    (size,) = mask.shape
    chunks = -(-size // CHUNK)
    counts = launcher.scratch(8 * chunks)
    sizes = (size, CHUNK, chunks)
    launcher.launch(count_chunks(), counts, mask, *sizes, work=size, items=chunks)
    launcher.launch(sum_counts(), total, counts, chunks, work=chunks, items=1)
    words = (found, total, counts, mask, *sizes)
    launcher.launch(write_positions(), *words, work=2 * size, items=chunks)


@kernel(T=ORDERED)
def count_runs(
    counts: Pointer[int64],
    x: Pointer[T],
    size: int,
    chunk: int,
    chunks: int,
    part: int,
    parts: int,
) -> None:
    """How many runs of equal elements begin in each chunk."""
    lo, hi = share(chunks, part, parts)
    for item in range(lo, hi):
        total = 0
        if item == 0:
            total = 1
        for i in range(max(item * chunk, 1), min((item + 1) * chunk, size)):
            if x[i] != x[i - 1]:
                total = total + 1
        counts[item] = total


@kernel(T=ORDERED)
def write_runs(
    values: Pointer[T],
    out: Pointer[int64],
    total: Pointer[int64],
    before: Pointer[int64],
    x: Pointer[T],
    size: int,
    chunk: int,
    chunks: int,
    valued: int,
    placed: int,
    part: int,
    parts: int,
) -> None:
    """The first elements of runs if `valued`, where they stand if `placed`, and zeros behind them.

    An element is written whether it begins a run or not, as in `write_positions`.
    """
    lo, hi = share(chunks, part, parts)
    for item in range(lo, hi):
        place = before[item]
        end = total[0]
        if item + 1 < chunks:
            end = before[item + 1]
        i = item * chunk
        if i == 0:
            if valued != 0:
                values[0] = x[0]
            if placed != 0:
                out[0] = 0
            place = 1
            i = 1
        while place < end:
            if valued != 0:
                values[place] = x[i]
            if placed != 0:
                out[place] = i
            if x[i] != x[i - 1]:
                place = place + 1
            i = i + 1
    lo, hi = share(size - total[0], part, parts)
    for i in range(lo, hi):
        if valued != 0:
            values[total[0] + i] = 0
        if placed != 0:
            out[total[0] + i] = 0


@lower("portable", ops.run_starts)
def _(launcher: Launcher, outs: tuple[Operand, ...], x: Operand) -> None:
    values, found, total = outs
    (size,) = x.shape
    chunks = -(-size // CHUNK)
    counts = launcher.scratch(8 * max(chunks, 1))
    sizes = (size, CHUNK, chunks)
    launcher.launch(count_runs(T=x.dtype), counts, x, *sizes, work=size, items=chunks)
    launcher.launch(sum_counts(), total, counts, chunks, work=chunks, items=1)
    wanted = int(launcher.wanted(values)), int(launcher.wanted(found))
    words = (values, found, total, counts, x, *sizes, *wanted)
    launcher.launch(write_runs(T=x.dtype), *words, work=2 * size, items=chunks)
