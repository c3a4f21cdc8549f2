"""float64 where a device has none, Metal: pairs of float32 in the scalar language.

A `Double` (high, low) stands for high + low, |low| <= ulp(high) / 2: 48 bits, in float32's range.
On such a target `convert(x, float64)` gives one, and primitives on it are the bodies below. So what
float32 computes in float64 on other devices is written once. Bits of a double cannot be read.

Only + - * / sqrt and fma are taken, which round correctly and are not contracted here: every
product that is added to something is an fma. T. J. Dekker, "A floating-point technique for
extending the available precision", Numerische Mathematik 18 (1971),
https://doi.org/10.1007/BF01397083; M. Joldes, J.-M. Muller, V. Popescu, "Tight and rigorous error
bounds for basic building blocks of double-word arithmetic", ACM TOMS 44 (2017).
"""

import math
from collections.abc import Callable
from typing import Any

from numbatorch.ops.scalar import (
    Scalar,
    ScalarFunction,
    absolute,
    copysign,
    double,
    floor,
    fma,
    head,
    rint,
    scalar_function,
    select,
    sqrt,
    tail,
)

INF = math.inf

# By the name of a primitive, what it does to doubles.
RULES: dict[str, ScalarFunction] = {}


def _rule(name: str) -> Callable[[Callable[..., Any]], ScalarFunction]:
    """Decorator: the body is what the primitive `name` does."""

    def register(body: Callable[..., Any]) -> ScalarFunction:
        RULES[name] = scalar_function()(body)
        return RULES[name]

    return register


@scalar_function()
def _normal(high: Scalar, low: Scalar) -> Scalar:
    """high + low, |low| <= |high|; an infinite or undefined `high` alone."""
    whole = absolute(high) < INF and low == low
    total = high + low
    return double(total if whole else high, low - (total - high) if whole else 0.0)


@scalar_function()
def _two_sum(a: Scalar, b: Scalar) -> Scalar:
    """(s, e): s = a + b rounded, e the error of the rounding."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@_rule("add")
def _(x: Scalar, y: Scalar) -> Scalar:
    high, error = _two_sum(head(x), head(y))
    low, rest = _two_sum(tail(x), tail(y))
    sum_high = high + (error + low)
    sum_low = (error + low) - (sum_high - high)
    whole = absolute(high) < INF
    return _normal(sum_high if whole else high, sum_low + rest if whole else 0.0)


@_rule("sub")
def _(x: Scalar, y: Scalar) -> Scalar:
    return x + (-y)


@_rule("mul")
def _(x: Scalar, y: Scalar) -> Scalar:
    high = head(x) * head(y)
    error = fma(head(x), head(y), -high)
    return _normal(high, fma(head(x), tail(y), fma(tail(x), head(y), error)))


@_rule("div")
def _(x: Scalar, y: Scalar) -> Scalar:
    high = head(x) / head(y)
    rest = fma(-high, head(y), head(x)) + fma(-high, tail(y), tail(x))
    return _normal(high, rest / head(y))


@_rule("fma")
def _(x: Scalar, y: Scalar, z: Scalar) -> Scalar:
    return x * y + z


@_rule("sqrt")
def _(x: Scalar) -> Scalar:
    high = sqrt(head(x))
    rest = fma(-high, high, head(x)) + tail(x)
    return _normal(high, rest / (high + high))


@_rule("neg")
def _(x: Scalar) -> Scalar:
    return double(-head(x), -tail(x))


@_rule("fabs")
def _(x: Scalar) -> Scalar:
    return double(absolute(head(x)), tail(x) if head(x) > 0 else -tail(x))


@_rule("copysign")
def _(x: Scalar, y: Scalar) -> Scalar:
    same = (copysign(1.0, head(x)) < 0) == (copysign(1.0, head(y)) < 0)
    return x if same else -x


@_rule("floor")
def _(x: Scalar) -> Scalar:
    high = floor(head(x))
    return _normal(high, floor(tail(x)) if high == head(x) else 0.0)


@_rule("rint")
def _(x: Scalar) -> Scalar:
    """Of two as near the one that `tail` leans to, else the even one."""
    near = rint(head(x))
    gap = head(x) - near
    tie = absolute(gap) == 0.5 and tail(x) != 0.0 and (gap > 0) == (tail(x) > 0)
    moved = near + copysign(1.0, gap)
    return _normal(moved if tie else near, rint(tail(x)) if gap == 0.0 else 0.0)


@_rule("lt")
def _(x: Scalar, y: Scalar) -> Scalar:
    return head(x) < head(y) or (head(x) == head(y) and tail(x) < tail(y))


@_rule("gt")
def _(x: Scalar, y: Scalar) -> Scalar:
    return y < x


@_rule("le")
def _(x: Scalar, y: Scalar) -> Scalar:
    return head(x) < head(y) or (head(x) == head(y) and tail(x) <= tail(y))


@_rule("ge")
def _(x: Scalar, y: Scalar) -> Scalar:
    return y <= x


@_rule("eq")
def _(x: Scalar, y: Scalar) -> Scalar:
    return head(x) == head(y) and tail(x) == tail(y)


@_rule("ne")
def _(x: Scalar, y: Scalar) -> Scalar:
    return head(x) != head(y) or tail(x) != tail(y)


@_rule("select")
def _(condition: Scalar, x: Scalar, y: Scalar) -> Scalar:
    high = select(condition, head(x), head(y))
    return double(high, select(condition, tail(x), tail(y)))
