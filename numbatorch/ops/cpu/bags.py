"""CPU kernel of the cotangent of a table whose rows were added up in bags."""

from numbatorch.language.kernel import Pointer, T, kernel
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import bags as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE, pieces_of, share_block, wide_index
from numbatorch.shape import numel


@kernel(T=WIDE)
def bag_rows_backward(
    out: Pointer[T], g: Pointer[T], index: Pointer[int64], status: Pointer[int64],
    bags: int, count: int, cols: int, bound: int, divisor: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out[index[b, n], :] += g[b, :] / divisor, in order; many columns are shared, or the rows."""
    pieces = pieces_of(bound, parts)
    if cols >= 16 * parts:
        pieces = parts
    first, last, lo, hi = share_block(bound, cols, pieces, part, parts)
    for row in range(first, last):
        for j in range(row * cols + lo, row * cols + hi):
            out[j] = T(0.0)
    for n in range(bags * count):
        row = index[n]
        if row < 0 or row >= bound:
            status[0] = 1
            status[1] = row
        elif first <= row and row < last:
            target = out + row * cols
            source = g + truncdiv(n, count) * cols
            for j in range(lo, hi):
                target[j] = target[j] + source[j] / T(divisor)


@lower("cpu", ops.sum_bags_backward)
def _(
    launcher: Launcher, out: Operand, g: Operand, index: Operand, *, mean: bool, rows: int
) -> None:
    bags, count = index.shape
    cols = g.shape[1]
    launcher.launch(
        bag_rows_backward(T=out.dtype),
        *(out, g, wide_index(launcher, index), launcher.status(rows)),
        *(bags, count, cols, rows, max(count, 1) if mean else 1),
        work=numel(out.shape) + 2.0 * bags * count * cols,
    )
