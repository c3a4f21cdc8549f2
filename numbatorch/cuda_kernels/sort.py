"""GPU kernels that choose the first elements of each row in an order, one after the other.

A group of threads looks through the row for each. Where many are chosen, or from many rows, a
heap for each row (ops/portable/sort.py) is less work.
"""

from numbatorch.cuda_kernels.rows import THREADS, groups_of_rows
from numbatorch.language.groups import barrier, group, groups, shared, thread, threads
from numbatorch.language.kernel import Pointer, T, kernel
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import sort as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable import sort as portable
from numbatorch.ops.portable.rows import sizes_of
from numbatorch.ops.portable.sort import ORDERED, comes_before

FEW = 128  # elements to choose
ROWS = 1024


@kernel(T=ORDERED)
def topk_rows(
    values: Pointer[T],
    out: Pointer[int64],
    x: Pointer[T],
    rows: int,
    cols: int,
    k: int,
    largest: int,
) -> None:
    """The first k elements of each row, and their positions."""
    found = shared(int64, THREADS)  # a position for each thread, or -1
    for row in range(group(), rows, groups()):
        source = x + row * cols
        last = -1
        for number in range(k):
            best = -1
            for i in range(thread(), cols, threads()):
                if last < 0 or comes_before(source, last, i, largest):
                    if best < 0 or comes_before(source, i, best, largest):
                        best = i
            found[thread()] = best
            barrier()
            half = truncdiv(threads(), 2)
            while half > 0:
                if thread() < half:
                    other = found[thread() + half]
                    best = found[thread()]
                    if other >= 0 and (best < 0 or comes_before(source, other, best, largest)):
                        found[thread()] = other
                barrier()
                half = truncdiv(half, 2)
            last = found[0]
            if thread() == 0:
                out[row * k + number] = last
                values[row * k + number] = source[last]
            barrier()


@lower("gpu", ops.topk_)
def _(launcher: Launcher, outs: tuple[Operand, ...], x: Operand, *, k: int, largest: bool) -> None:
    rows, cols = sizes_of(x)
    if k > FEW or rows > ROWS:
        portable.topk(launcher, outs, x, k=k, largest=largest)
        return
    spec = topk_rows(T=x.dtype)
    grid = groups_of_rows(rows, cols)
    work = rows * cols * k
    launcher.launch(spec, *outs, x, rows, cols, k, int(largest), work=work, **grid)
