"""Kernels that choose the first elements of each row in an order: a heap of those found so far.

The heap of positions grows in the result itself, the last in the order at its root, and is then
taken apart from the end: https://en.wikipedia.org/wiki/Heapsort.
"""

from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import sort as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.radix import launch_sort
from numbatorch.ops.portable.rows import FLOAT, INDEX, sizes_of

ORDERED = (*FLOAT, *INDEX, "bool")


@helper
def comes_before(x: Any, i: int, j: int, largest: int) -> Any:
    """Whether element i stands before element j in the order; NaN is the largest of all."""
    a, b = x[i], x[j]
    if a < b:
        return largest == 0
    if b < a:
        return largest != 0
    if (a != a) == (b != b):
        return i < j
    return (a != a) == (largest != 0)


@helper
def later_child(heap: Pointer[int64], place: int, size: int, x: Any, largest: int) -> int:
    """Which place below `place` holds the later element; `size` or more if there is none."""
    child = 2 * place + 1
    if child + 1 < size and comes_before(x, heap[child], heap[child + 1], largest):
        child = child + 1
    return child


@helper
def sift_down(heap: Pointer[int64], size: int, item: int, x: Any, largest: int) -> None:
    """Put `item` into the heap in the place of its root."""
    place = 0
    child = later_child(heap, place, size, x, largest)
    while child < size and comes_before(x, item, heap[child], largest):
        heap[place] = heap[child]
        place = child
        child = later_child(heap, place, size, x, largest)
    heap[place] = item


@kernel(T=ORDERED)
def topk_rows(
    values: Pointer[T],
    out: Pointer[int64],
    x: Pointer[T],
    rows: int,
    cols: int,
    k: int,
    largest: int,
    part: int,
    parts: int,
) -> None:
    """The first k elements of each row, and their positions."""
    lo, hi = share(rows, part, parts)
    for row in range(lo, hi):
        source = x + row * cols
        heap = out + row * k
        for i in range(k):
            place = i
            above = truncdiv(place - 1, 2)
            while place > 0 and comes_before(source, heap[above], i, largest):
                heap[place] = heap[above]
                place = above
                above = truncdiv(place - 1, 2)
            heap[place] = i
        for i in range(k, cols):
            if comes_before(source, i, heap[0], largest):
                sift_down(heap, k, i, source, largest)
        for size in range(k - 1, 0, -1):
            item = heap[size]
            heap[size] = heap[0]
            sift_down(heap, size, item, source, largest)
        for i in range(k):
            values[row * k + i] = source[heap[i]]


@lower("portable", ops.topk_)
def topk(
    launcher: Launcher, outs: tuple[Operand, ...], x: Operand, *, k: int, largest: bool
) -> None:
    """A row for each thread."""
    rows, cols = sizes_of(x)
    rows = rows if k else 0
    spec = topk_rows(T=x.dtype)
    sizes = (rows, cols, k, int(largest))
    launcher.launch(spec, *outs, x, *sizes, work=2 * rows * cols, items=rows)


@lower("portable", ops.sort_)
def _(launcher: Launcher, outs: tuple[Operand, ...], x: Operand, *, descending: bool) -> None:
    launch_sort(launcher, outs, x, descending)
