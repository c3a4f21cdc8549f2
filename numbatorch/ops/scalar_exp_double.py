"""exp and log of a float64 made of two float32 (scalar_double.py), within 2**-30 of the result."""

import math

from numbatorch.dtype import float32, float64, int32
from numbatorch.ops.scalar import (
    Scalar,
    convert,
    double,
    from_bits,
    head,
    horner,
    ldexp,
    rint,
    scalar_function,
    tail,
)
from numbatorch.ops.scalar_error import exp_of_square
from numbatorch.ops.scalar_exp import (
    EXP32,
    INF,
    LOG2E,
    clamp,
    exp,
    expm1,
    log,
    log1p,
    log_one_more,
    log_special,
    split_float,
)
from numbatorch.ops.scalar_power import ATANH

LN2 = math.log(2)
EXP_CUBIC = EXP32[:-1]


@scalar_function()
def _doubled(x: Scalar, n: Scalar) -> Scalar:
    """x * 2**n."""
    high = ldexp(head(x), n)
    return double(high, ldexp(tail(x), n))


@scalar_function()
def _split(x: Scalar) -> Scalar:
    """(n, e**r - 1): x = n * ln(2) + r with |r| <= ln(2) / 2, n a whole float32."""
    whole = rint(head(x) * LOG2E)
    r = x - convert(whole, float64) * LN2
    cubic = convert(head(r) * horner(head(r), EXP_CUBIC), float64)
    return whole, r + r * r * (cubic + 0.5)


@exp.at(float64, "metal")
def _(x: Scalar) -> Scalar:
    n, rest = _split(clamp(x, low=-104.0, high=89.0))
    return _doubled(rest + 1.0, convert(n, int32))


@expm1.at(float64, "metal")
def _(x: Scalar) -> Scalar:
    n, rest = _split(clamp(x, low=-40.0, high=89.0))
    scale = convert(from_bits((convert(n, int32) + 126) << 23), float64)
    y = (scale * rest + (scale - 0.5)) * 2.0
    return x if head(x) == 0.0 else y


@scalar_function()
def _mantissa(x: Scalar) -> Scalar:
    """(k, f): x = (1 + f) * 2**k with sqrt(1/2) <= 1 + f < sqrt(2)."""
    k, m = split_float(head(x))
    rest = ldexp(tail(x), -k)
    return convert(k, float32), convert(m - 1.0, float64) + convert(rest, float64)


@scalar_function()
def _log_sum(k: Scalar, f: Scalar) -> Scalar:
    """k * ln(2) + log(1 + f)."""
    s = f / (f + 2.0)
    z = s * s
    rest = convert(head(z) * horner(head(z), ATANH), float64)
    return convert(k, float64) * LN2 + s * (rest + 2.0)


@log.at(float64, "metal")
def _(x: Scalar) -> Scalar:
    k, f = _mantissa(x)
    return log_special(x, _log_sum(k, f))


@log1p.at(float64, "metal")
def _(x: Scalar) -> Scalar:
    u = x + 1.0
    k, f = _mantissa(u)
    near = abs(head(x)) < 0.25
    y = _log_sum(0.0 if near else k, x if near else f)
    return x if head(x) == 0.0 or head(x) == INF else log_special(u, y)


@log_one_more.at(float64, "metal")
def _(gap: Scalar) -> Scalar:
    return log1p(exp(gap))


@exp_of_square.at(float64, "metal")
def _(x: Scalar, *, sign: float) -> Scalar:
    return exp(x * x * sign)
