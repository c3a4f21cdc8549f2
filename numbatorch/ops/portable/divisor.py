"""Looks for zeros among what integers are divided by."""

from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.language.words import int64
from numbatorch.ops.divisor import divisor
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import BITS
from numbatorch.ops.registry import BY_ZERO
from numbatorch.shape import numel

RUN = 512  # elements that are looked through before zeros among them are noted


@kernel(T=tuple(BITS.values()))
def note_zeros(
    out: Pointer[T], x: Pointer[T], status: Pointer[int64], size: int, part: int, parts: int
) -> None:
    """out = x, and 1 in `status` where an element is 0."""
    lo, hi = share(size, part, parts)
    while lo < hi:
        end = min(lo + RUN, hi)
        zeros = 0
        for i in range(lo, end):
            value = x[i]
            out[i] = value
            zeros += value == 0
        if zeros > 0:
            status[0] = 1
        lo = end


@lower("portable", divisor)
def _(launcher: Launcher, out: Operand, x: Operand, operator: str) -> None:
    size = numel(x.shape)
    status = launcher.status(problem=BY_ZERO, operator=operator)
    spec = note_zeros(T=BITS[x.dtype.itemsize])
    launcher.launch(spec, out, x, status, size, work=2 * size, items=size)
