"""Kernels of distributions that take several random numbers for one, an element at a time.

What each does is said in `ops/distributions.py`, whose NumPy functions take the same numbers.
"""

from typing import Any

from numbatorch import dtype as dt
from numbatorch.language.kernel import Pointer, helper, kernel, share
from numbatorch.language.primitives import fabs, floor, nan, sqrt
from numbatorch.language.scalar_word import scalar_word
from numbatorch.language.words import float64, uint32
from numbatorch.ops import distributions as ops
from numbatorch.ops import random, scalar_math
from numbatorch.ops.lowering import Launcher, Operand, lower
from numbatorch.ops.portable.rows import convert, in_type
from numbatorch.shape import numel

NEXT = 1 << ops.ATTEMPT
MOST = ops.MOST
SMALL = ops.SMALL
TURN = 6.283185307179586
HALF_LOG_TURN = 0.9189385332046727  # log(2 * pi) / 2
OPERATIONS = 200  # about what a number takes

uniform_at = scalar_word(random.uniform_at)
exp = scalar_word(scalar_math.exp)
log = scalar_word(scalar_math.log)
log1p = scalar_word(scalar_math.log1p)
cos = scalar_word(scalar_math.cos)


@helper
def log_factorial(k: float) -> float:
    """log(k!), from 16 on by Stirling's series."""
    if k < 16.0:
        product = 1.0
        factor = 2.0
        while factor <= k:
            product = product * factor
            factor = factor + 1.0
        small: float = log(product)
        return small
    x = k + 1.0
    inverse = 1.0 / x
    z = inverse * inverse
    series = inverse * (1.0 / 12.0 - z * (1.0 / 360.0 - z * (1.0 / 1260.0 - z / 1680.0)))
    found: float = (x - 0.5) * log(x) - x + HALF_LOG_TURN + series
    return found


@helper
def count_up(u: float, rate: float) -> float:
    """How many probabilities fit below u."""
    chance: float = exp(-rate)
    found = 0.0
    while u > chance and found < MOST:
        u = u - chance
        found = found + 1.0
        chance = chance * rate / found
    return found


@kernel
def draw_poisson(
    out: Pointer[float64],
    rate: Pointer[float64],
    key: Pointer[uint32],
    size: int,
    part: int,
    parts: int,
) -> None:
    """out[i] from Poisson's distribution of mean rate[i]."""
    lo, hi = share(size, part, parts)
    for i in range(lo, hi):
        lam = rate[i]
        if not lam >= 0.0:
            out[i] = nan
        elif lam == 0.0:
            out[i] = 0.0
        elif lam < SMALL:
            out[i] = count_up(uniform_at(i, key[0], key[1]), lam)
        else:
            b = 0.931 + 2.53 * sqrt(lam)
            a = -0.059 + 0.02483 * b
            inverse = 1.1239 + 1.1328 / (b - 3.4)
            edge = 0.9277 - 3.6224 / (b - 2.0)
            loglam = log(lam)
            place = i
            k = 0.0
            for _attempt in range(MOST):
                half = uniform_at(place, key[0], key[1]) - 0.5
                v = uniform_at(place + NEXT, key[0], key[1])
                place = place + 2 * NEXT
                us = 0.5 - fabs(half)
                k = floor((2.0 * a / us + b) * half + lam + 0.43)
                if us >= 0.07 and v <= edge:
                    break
                if k >= 0.0 and (us >= 0.013 or v <= us):
                    height = log(v * inverse / (a / (us * us) + b))
                    if height <= k * loglam - lam - log_factorial(k):
                        break
            out[i] = k


@kernel
def draw_gamma(
    out: Pointer[float64],
    alpha: Pointer[float64],
    key: Pointer[uint32],
    size: int,
    part: int,
    parts: int,
) -> None:
    """out[i] from the gamma distribution of shape alpha[i]."""
    lo, hi = share(size, part, parts)
    for i in range(lo, hi):
        shape = alpha[i]
        if not shape > 0.0:
            out[i] = nan
        else:
            d = shape - 1.0 / 3.0
            if shape < 1.0:
                d = shape + 1.0 - 1.0 / 3.0
            c = 1.0 / sqrt(9.0 * d)
            place = i + NEXT
            v = 0.0
            for _attempt in range(MOST):
                u = uniform_at(place, key[0], key[1])
                turn = uniform_at(place + NEXT, key[0], key[1])
                distance = uniform_at(place + 2 * NEXT, key[0], key[1])
                place = place + 3 * NEXT
                normal = sqrt(-2.0 * log(distance)) * cos(TURN * turn)
                root = 1.0 + c * normal
                if root > 0.0:
                    v = root * root * root
                    square = normal * normal
                    if u < 1.0 - 0.0331 * square * square:  # where the next holds for certain
                        break
                    if log(u) < 0.5 * square + d * (1.0 - v + log(v)):
                        break
            found = d * v
            if shape < 1.0:
                found = found * exp(log(uniform_at(i, key[0], key[1])) / max(shape, 1e-300))
            out[i] = found


@kernel
def draw_binomial(
    out: Pointer[float64],
    count: Pointer[float64],
    prob: Pointer[float64],
    key: Pointer[uint32],
    size: int,
    part: int,
    parts: int,
) -> None:
    """out[i] of count[i] tries, each with probability prob[i]."""
    lo, hi = share(size, part, parts)
    for i in range(lo, hi):
        n = count[i]
        p = prob[i]
        if not (n >= 0.0 and p >= 0.0 and p <= 1.0):
            out[i] = nan
            continue
        if p > 0.5:
            p = 1.0 - p
        k = 0.0
        place = i
        if p > 0.0 and n * p < SMALL:
            left = uniform_at(i, key[0], key[1])
            chance = exp(n * log1p(-p))
            while left > chance and k < n and k < MOST:
                left = left - chance
                k = k + 1.0
                chance = chance * (n - k + 1.0) * p / (k * (1.0 - p))
        elif p > 0.0:
            spread = sqrt(n * p * (1.0 - p))
            b = 1.15 + 2.53 * spread
            a = -0.0873 + 0.0248 * b + 0.01 * p
            edge = 0.92 - 4.2 / b
            height = (2.83 + 5.1 / b) * spread
            odds = log(p / (1.0 - p))
            mode = floor((n + 1.0) * p)
            top = log_factorial(mode) + log_factorial(n - mode)
            for _attempt in range(MOST):
                half = uniform_at(place, key[0], key[1]) - 0.5
                v = uniform_at(place + NEXT, key[0], key[1])
                place = place + 2 * NEXT
                us = 0.5 - fabs(half)
                k = floor((2.0 * a / us + b) * half + n * p + 0.5)
                if k >= 0.0 and k <= n:
                    if us >= 0.07 and v <= edge:
                        break
                    ratio = top - log_factorial(k) - log_factorial(n - k) + (k - mode) * odds
                    if log(v * height / (a / (us * us) + b)) <= ratio:
                        break
        if prob[i] > 0.5:
            k = n - k
        out[i] = k


def _launch(launcher: Launcher, spec: Any, out: Operand, given: tuple[Operand, ...]) -> None:
    """One kernel over operands in float64, whose results are rounded to the dtype of `out`."""
    *operands, key = given
    size = numel(out.shape)
    wide = [in_type(launcher, x, dt.float64) for x in operands]
    target = out if out.dtype is dt.float64 else launcher.scratch(8 * size)
    launcher.launch(spec, target, *wide, key, size, work=OPERATIONS * size, items=size)
    if out.dtype is not dt.float64:
        rounding = convert(T=out.dtype, U=dt.float64)
        launcher.launch(rounding, out, target, size, work=size, items=size)


@lower("cpu", ops.poisson)
def _(launcher: Launcher, out: Operand, rate: Operand, key: Operand) -> None:
    _launch(launcher, draw_poisson(), out, (rate, key))


@lower("cpu", ops.standard_gamma)
def _(launcher: Launcher, out: Operand, alpha: Operand, key: Operand) -> None:
    _launch(launcher, draw_gamma(), out, (alpha, key))


@lower("cpu", ops.binomial)
def _(launcher: Launcher, out: Operand, count: Operand, prob: Operand, key: Operand) -> None:
    _launch(launcher, draw_binomial(), out, (count, prob, key))
