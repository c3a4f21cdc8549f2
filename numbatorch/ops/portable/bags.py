"""Kernel of sums of bags: rows of a table are added to the result where they are found."""

from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import bags as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE, wide_index
from numbatorch.shape import numel


@kernel(T=WIDE)
def bag_rows(
    out: Pointer[T], weight: Pointer[T], index: Pointer[int64], status: Pointer[int64],
    bags: int, count: int, cols: int, bound: int, divisor: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out[b, :] = the sum of weight[index[b, n], :] / divisor; the elements of out are shared."""
    lo, hi = share(bags * cols, part, parts)
    if lo >= hi:
        return
    for bag in range(truncdiv(lo, cols), truncdiv(hi + cols - 1, cols)):
        target = out + bag * cols
        first, last = max(lo - bag * cols, 0), min(hi - bag * cols, cols)
        for j in range(first, last):
            target[j] = T(0.0)
        for n in range(bag * count, (bag + 1) * count):
            row = index[n]
            if row < 0 or row >= bound:
                status[0] = 1
                status[1] = row
            else:
                source = weight + row * cols
                for j in range(first, last):
                    target[j] = target[j] + source[j]
        if divisor > 1:
            for j in range(first, last):
                target[j] = target[j] / T(divisor)


@lower("portable", ops.sum_bags)
def _(launcher: Launcher, out: Operand, weight: Operand, index: Operand, *, mean: bool) -> None:
    bags, count = index.shape
    bound, cols = weight.shape
    size = numel(out.shape)
    launcher.launch(
        bag_rows(T=out.dtype),
        *(out, weight, wide_index(launcher, index), launcher.status(bound)),
        *(bags, count, cols, bound, max(count, 1) if mean else 1),
        work=size * (count + 1) / 2,
        items=size,
    )
