"""CPU kernel of writes at indices: those of a run are looked at before any is followed."""

from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.language.primitives import truncdiv
from numbatorch.language.words import int64
from numbatorch.ops import scatter as ops
from numbatorch.ops.cpu.index import RUN, all_inside
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import BITS, wide_index
from numbatorch.ops.portable.scatter import scatter_set
from numbatorch.shape import numel


@kernel(T=tuple(BITS.values()))
def put_inside(
    out: Pointer[T],
    index: Pointer[int64],
    value: Pointer[T],
    status: Pointer[int64],
    rows: int,
    count: int,
    cols: int,
    part: int,
    parts: int,
) -> None:
    """out[i, index[i, j]] = value[i, j], in order of j."""
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
                target[index[i]] = value[i]
            at = stop
            row += 1


@lower("cpu", ops.scatter_set)
def _(launcher: Launcher, out: Operand, base: Operand, index: Operand, value: Operand) -> None:
    rows, count, cols = numel(out.shape[:-1]), index.shape[-1], out.shape[-1]
    if rows < launcher.parts:  # threads share a row
        scatter_set(launcher, out, base, index, value)
        return
    where = wide_index(launcher, index)
    spec = put_inside(T=BITS[out.dtype.itemsize])
    arguments = (out, where, value, launcher.status(cols), rows, count, cols)
    launcher.launch(spec, *arguments, work=2 * rows * count, items=rows)
