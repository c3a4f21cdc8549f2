"""Looks for elements that an operator has no meaning for; the others are handed on."""

from numbatorch.errors import DivisionByZero
from numbatorch.language.kernel import Pointer, T, kernel, share
from numbatorch.language.words import int64
from numbatorch.ops.demanded import divisor, outside, within
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.operands import BY_ZERO
from numbatorch.ops.portable.rows import BITS, WIDE
from numbatorch.shape import numel

RUN = 512  # elements that are looked through before what is wrong among them is noted


@kernel(T=tuple(BITS.values()))
def note_zeros(
    out: Pointer[T], x: Pointer[T], status: Pointer[int64], size: int, part: int, parts: int
) -> None:
    """out = x, and 1 in `status` where an element is 0."""
    lo, hi = share(size, part, parts)
    while lo < hi:
        end = min(lo + RUN, hi)
        wrong = 0
        for i in range(lo, end):
            value = x[i]
            out[i] = value
            wrong += value == 0
        if wrong > 0:
            status[0] = 1
        lo = end


@kernel(T=WIDE)
def note_outside(
    out: Pointer[T],
    x: Pointer[T],
    status: Pointer[int64],
    low: float,
    high: float,
    size: int,
    part: int,
    parts: int,
) -> None:
    """out = x, and 1 in `status` where an element is not in [low, high]."""
    lo, hi = share(size, part, parts)
    while lo < hi:
        end = min(lo + RUN, hi)
        right = 0
        for i in range(lo, end):
            value = x[i]
            out[i] = value
            right += (value >= T(low)) & (value <= T(high))
        if right < end - lo:
            status[0] = 1
        lo = end


@lower("portable", divisor)
def _(launcher: Launcher, out: Operand, x: Operand) -> None:
    size = numel(x.shape)
    status = launcher.status(problem=BY_ZERO, error=DivisionByZero)
    spec = note_zeros(T=BITS[x.dtype.itemsize])
    launcher.launch(spec, out, x, status, size, work=2 * size, items=size)


@lower("portable", within)
def _(launcher: Launcher, out: Operand, x: Operand, low: float, high: float, name: str) -> None:
    size = numel(x.shape)
    status = launcher.status(problem=outside(name, low, high))
    spec = note_outside(T=x.dtype.name)
    launcher.launch(spec, out, x, status, low, high, size, work=3 * size, items=size)
