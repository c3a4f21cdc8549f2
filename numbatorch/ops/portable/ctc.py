"""Kernels of the loss of sequences that are not aligned, and of its gradient: a sequence each.

Logarithms of sums over paths stand in rows of L = 2 S + 1 places between edges of -inf. The largest
of a row is taken from the next one, so that sums of long sequences lose no digits.
"""

import math
from typing import Any

from numbatorch.language.kernel import Pointer, T, helper, kernel, share
from numbatorch.language.primitives import add_reassoc, inf, maximum
from numbatorch.language.scalar_word import scalar_word
from numbatorch.language.words import int64
from numbatorch.ops import ctc as ops
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import WIDE, wide_index
from numbatorch.ops.scalar import Scalar, scalar_function
from numbatorch.ops.scalar_math import exp, log
from numbatorch.shape import numel

EDGE = 2  # places of -inf before a row's and behind them
MORE = 4  # rows of a sequence beside those of its times
LEAST = -80.0  # powers below e**LEAST are nothing beside 1; subnormal ones would be slow


@scalar_function()
def _power(x: Scalar) -> Scalar:
    """e**x of x <= 0."""
    value = exp(LEAST if x < LEAST else x)
    return 0.0 if x < LEAST else value


@scalar_function()
def _finite(x: Scalar) -> Scalar:
    """x, and 0 for infinities."""
    return 0.0 if abs(x) == math.inf else x


@scalar_function()
def _log_sum(a: Scalar, b: Scalar, c: Scalar) -> Scalar:
    """log(exp(a) + exp(b) + exp(c))."""
    top = b if b > a else a
    top = _finite(c if c > top else top)
    return log(_power(a - top) + _power(b - top) + _power(c - top)) + top


finite = scalar_word(_finite)
power = scalar_word(_power)
log_sum = scalar_word(_log_sum)
log_of = scalar_word(log)


@helper
def fill(out: Pointer[T], count: int, value: float) -> None:
    """out[i] = value."""
    for i in range(count):
        out[i] = value


@helper
def top_of(x: Pointer[T], count: int, low: float) -> float:
    """The largest of x[i], NaN if one is."""
    top = low
    for i in range(count):
        top = maximum(top, x[i])
    return top


@helper
def log_total(x: Pointer[T], count: int, zero: float, low: float) -> float:
    """log(sum(exp(x[i])))."""
    top = finite(top_of(x, count, low))
    total = zero
    for i in range(count):
        total = add_reassoc(total, power(x[i] - top))
    value: float = log_of(total) + top
    return value


@helper
def start_of(sizes: Pointer[int64], row: int, width: int) -> int:
    """Where the labels of a sequence begin: in rows of a width, or one after the other if -1."""
    if width >= 0:
        return row * width
    start: int = int64(0)
    for i in range(row):
        start += sizes[i]
    return start


@helper
def legal(
    times: Pointer[int64], sizes: Pointer[int64], row: int, start: int, steps: int, width: int,
    most: int, wrong_time: Pointer[int64], wrong_size: Pointer[int64],
) -> bool:  # fmt: skip
    """Whether the lengths of a sequence are not below 0, nor beyond what there is."""
    room = width if width >= 0 else most - start
    fits = True
    if times[row] < 0 or times[row] > steps:
        wrong_time[0] = 1
        fits = False
    if sizes[row] < 0 or start < 0 or sizes[row] > room:
        wrong_size[0] = 1
        fits = False
    return fits


@helper
def read_labels(
    places: Pointer[int64], bars: Pointer[T], labels: Pointer[int64], size: int, blank: int,
    C: int, wrong: Pointer[int64], zero: float, low: float,
) -> bool:  # fmt: skip
    """The class at each place, and 0 where a path may come from two places before, else -inf.

    It may to place 1, for paths begin before place 0. False where a label is no class.
    """
    fill(bars, 2 * size + 1 + EDGE, low)
    places[0] = blank
    for i in range(size):
        label = labels[i]
        if label < 0 or label >= C:
            wrong[0] = 1
            return False
        places[2 * i + 1] = label
        places[2 * i + 2] = blank
        if i == 0 or (label != places[2 * i - 1] and label != blank):
            bars[2 * i + 1] = zero
    return True


@helper
def sum_paths(
    rows: Pointer[T], bars: Pointer[T], places: Pointer[int64], scores: Pointer[T], count: int,
    turn: int, L: int, apart: int, C: int, zero: float, low: float,
) -> tuple[float, float]:  # fmt: skip
    """Rows after each of `count` times, the last at `count & turn`; what was taken from that one.

    And the sum of the logarithms below.

    Rows begin with one of no times, in which a path stands before place 0. Behind a row's places
    is the logarithm of the sum of all classes. Scores of times lie `apart`.
    """
    step = L + 2 * EDGE
    fill(rows, step, low)
    rows[1] = zero
    passed, lost, shift, left = zero, zero, zero, zero
    for t in range(count):
        last = rows + (t & turn) * step
        now = rows + ((t + 1) & turn) * step
        line = scores + t * apart
        total = log_total(line, C, zero, low)
        less = total + shift
        fill(now, EDGE, low)
        for s in range(L):
            here = log_sum(last[s + 2], last[s + 1], last[s] + bars[s])
            now[s + EDGE] = here + (line[places[s]] - less)
        now[L + EDGE] = total
        left += total
        added = shift - lost  # what rounding has lost comes with the next
        longer = passed + added
        lost = (longer - passed) - added
        passed = longer
        shift = finite(top_of(now + EDGE, L, low))
    return passed, left


@kernel(T=WIDE)
def ctc_rows(
    out: Pointer[T], left: Pointer[T], scores: Pointer[T], targets: Pointer[int64],
    times: Pointer[int64], sizes: Pointer[int64], rows: Pointer[T], places: Pointer[int64],
    wrong_time: Pointer[int64], wrong_size: Pointer[int64], wrong_label: Pointer[int64],
    blank: int, steps: int, N: int, C: int, width: int, most: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out, left (N,) = the losses of scores (T, N, C), and the sums of their logsumexp."""
    zero, low = T(0.0), -T(inf)
    lo, hi = share(N, part, parts)
    for n in range(lo, hi):
        start = start_of(sizes, n, width)
        if legal(times, sizes, n, start, steps, width, most, wrong_time, wrong_size):
            size, count = sizes[n], times[n]
            L = 2 * size + 1
            where = places + (2 * start + n)
            bars = rows + (2 * start + n * (1 + 2 * EDGE)) * MORE
            sums = bars + (L + 2 * EDGE)
            if read_labels(where, bars, targets + start, size, blank, C, wrong_label, zero, low):
                line = scores + n * C
                passed, total = sum_paths(sums, bars, where, line, count, 1, L, N * C, C, zero, low)
                left[n] = total
                last = sums + (count & 1) * (L + 2 * EDGE)
                out[n] = -(log_sum(last[L + 1], last[L], low) + passed)


@helper
def write_slope(
    out: Pointer[T], line: Pointer[T], shares: Pointer[T], back: Pointer[T],
    places: Pointer[int64], L: int, C: int, g: float, zero: float, low: float,
) -> None:  # fmt: skip
    """g times softmax less the share of the paths at each class; `shares` are their sums so far.

    `back` has those from a place on. Where no path is, NaN.
    """
    for s in range(L):
        shares[s] = shares[s] + back[s]
    top = top_of(shares, L, low)
    total = zero
    for s in range(L):
        value = power(shares[s] - top)
        shares[s] = value
        total = add_reassoc(total, value)
    slope = g if top > low else top - top
    less = shares[L]
    for c in range(C):
        out[c] = power(line[c] - less) * slope
    scale = slope / total
    blanks = zero
    for s in range(0, L, 2):
        blanks = add_reassoc(blanks, shares[s])
    out[places[0]] = out[places[0]] - blanks * scale
    for s in range(1, L, 2):
        out[places[s]] = out[places[s]] - shares[s] * scale


@helper
def share_paths(
    out: Pointer[T], rows: Pointer[T], bars: Pointer[T], next: Pointer[T], back: Pointer[T],
    places: Pointer[int64], scores: Pointer[T], count: int, L: int, apart: int, C: int, g: float,
    zero: float, low: float,
) -> None:  # fmt: skip
    """The cotangents of scores, from the last time on; `rows` are those of `sum_paths`."""
    step = L + 2 * EDGE
    fill(next, step, low)
    fill(back, step, low)
    back[L - 1] = zero
    if L > 1:
        back[L - 2] = zero
    for i in range(count):
        t = count - 1 - i
        line = scores + t * apart
        now = rows + ((t + 1) * step + EDGE)
        less = now[L]
        write_slope(out + t * apart, line, now, back, places, L, C, g, zero, low)
        for s in range(L):
            next[s] = back[s] + (line[places[s]] - less)
        shift = finite(top_of(next, L, low))
        for s in range(L):
            here = log_sum(next[s], next[s + 1], next[s + 2] + bars[s + 2])
            back[s] = here - shift


@kernel(T=WIDE)
def ctc_backward_rows(
    out: Pointer[T], g: Pointer[T], scores: Pointer[T], targets: Pointer[int64],
    times: Pointer[int64], sizes: Pointer[int64], rows: Pointer[T], places: Pointer[int64],
    wrong_time: Pointer[int64], wrong_size: Pointer[int64], wrong_label: Pointer[int64],
    blank: int, steps: int, N: int, C: int, width: int, most: int, part: int, parts: int,
) -> None:  # fmt: skip
    """out (T, N, C) = the cotangents of scores, of those g (N,) of the losses."""
    zero, low = T(0.0), -T(inf)
    lo, hi = share(N, part, parts)
    for n in range(lo, hi):
        start = start_of(sizes, n, width)
        if legal(times, sizes, n, start, steps, width, most, wrong_time, wrong_size):
            size, count = sizes[n], times[n]
            L = 2 * size + 1
            step = L + 2 * EDGE
            where = places + (2 * start + n)
            bars = rows + (2 * start + n * (1 + 2 * EDGE)) * (MORE + steps)
            sums = bars + 3 * step
            line = scores + n * C
            target = out + n * C
            if g[n] == zero:
                count = int64(0)
            for t in range(count, steps):
                fill(target + t * N * C, C, zero)
            if read_labels(where, bars, targets + start, size, blank, C, wrong_label, zero, low):
                sum_paths(sums, bars, where, line, count, -1, L, N * C, C, zero, low)
                share_paths(
                    target, sums, bars, bars + step, bars + 2 * step, where, line, count, L,
                    N * C, C, g[n], zero, low,
                )  # fmt: skip


def _launch(
    launcher: Launcher,
    spec: Any,
    operands: tuple[Operand, ...],
    lengths: Any,
    rows: int,
    blank: int,
) -> None:
    """Launch a kernel whose sequences have so many rows of `lengths`, (targets, times, sizes)."""
    scores, targets = operands[-1], lengths[0]
    steps, N, C = scores.shape
    flat = len(targets.shape) == 1
    most = numel(targets.shape)
    room = (2 * most + N * (1 + 2 * EDGE)) * rows
    width = -1 if flat else targets.shape[1]
    labels = most if flat else width
    launcher.launch(
        spec,
        *operands,
        *(wide_index(launcher, x) for x in lengths),
        launcher.scratch(scores.dtype.nbytes(room)),
        launcher.scratch(8 * (2 * most + N)),
        launcher.status(problem=f"an input length is not in [0, {steps}]"),
        launcher.status(problem=f"target lengths are below 0, or beyond {labels} labels"),
        launcher.status(problem=f"a class is not in [0, {C})"),
        *(blank, steps, N, C, width, most),
        work=20 * steps * (2 * most + N * (1 + C)),
        items=N,
    )


@lower("portable", ops.ctc)
def _(
    launcher: Launcher, outs: tuple[Operand, ...], scores: Operand, *lengths: Operand, blank: int
) -> None:
    _launch(launcher, ctc_rows(T=scores.dtype), (*outs, scores), lengths, MORE, blank)


@lower("portable", ops.ctc_backward)
def _(
    launcher: Launcher, out: Operand, g: Operand, scores: Operand, *lengths: Operand, blank: int
) -> None:
    rows = MORE + scores.shape[0]
    _launch(launcher, ctc_backward_rows(T=out.dtype), (out, g, scores), lengths, rows, blank)
