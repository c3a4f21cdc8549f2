"""Inverse circular and hyperbolic functions of complex numbers, with Kahan's branch cuts.

W. Kahan, "Branch cuts for complex elementary functions", in "The State of the Art in Numerical
Analysis" (1987).
"""

import math

from numbatorch.dtype import float32, float64
from numbatorch.ops.scalar import (
    Scalar,
    absolute,
    convert,
    copysign,
    fma,
    imag,
    pair,
    real,
    scalar_function,
    sqrt,
)
from numbatorch.ops.scalar_arc import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atan2,
    atanh,
    cosh,
    cospi,
    sinc,
    sinh,
    sinpi,
)
from numbatorch.ops.scalar_complex import circle, hyperbolic, of_complex
from numbatorch.ops.scalar_exp import exp, exp2, log, log1p, log10, logaddexp

INF = math.inf
LN2, LN2_LOW = math.log(2), 2.3190468138462996e-17
LN10 = math.log(10)
PI, PI_LOW = math.pi, 1.2246467991473532e-16

__all__ = [
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cosh",
    "exp2",
    "log10",
    "logaddexp",
    "sinc",
    "sinh",
    "sinpi",
]


@scalar_function(float32)
def _product(x: Scalar, *, factor: float, more: float) -> Scalar:
    """(p, e): x * (factor + more) is p + e; e is 0 where p itself is not worth it."""
    wide = convert(x, float64) * factor
    product = convert(wide, float32)
    rest = convert(wide - convert(product, float64), float32)
    return product, rest if absolute(rest) < 1e-3 else 0


@_product.at(float64)
def _(x: Scalar, *, factor: float, more: float) -> Scalar:
    product = x * factor
    rest = fma(x, factor, -product) + x * more
    return product, rest if absolute(rest) < 1e-3 else 0


@scalar_function()
def _asinh_of_four(x: Scalar) -> Scalar:
    """asinh(4 * x), also of an x so large that 4 * x overflows."""
    far = absolute(x) > 1e30
    y = asinh(x if far else 4 * x)
    return y + copysign(2 * LN2, x) if far else y


@of_complex(asin)
def _(x: Scalar) -> Scalar:
    """Kahan's; of infinities the angle to the imaginary axis, and an infinite height."""
    below = sqrt(pair(1 - real(x), -imag(x)))
    above = sqrt(pair(1 + real(x), imag(x)))
    along = real(below) * real(above) - imag(below) * imag(above)
    across = real(below) / 4 * imag(above) - imag(below) / 4 * real(above)
    infinite = absolute(real(x)) == INF or absolute(imag(x)) == INF
    turn = atan2(real(x), absolute(imag(x)) if infinite else along)
    height = copysign(INF, imag(x)) if infinite else _asinh_of_four(across)
    return pair(real(x) if real(x) == 0 else turn, height)


@of_complex(acos)
def _(x: Scalar) -> Scalar:
    """Kahan's; of infinities the angle to the real axis, and an infinite height."""
    below = sqrt(pair(1 - real(x), -imag(x)))
    above = sqrt(pair(1 + real(x), imag(x)))
    across = real(above) / 4 * imag(below) - imag(above) / 4 * real(below)
    infinite = absolute(real(x)) == INF or absolute(imag(x)) == INF
    high = absolute(imag(x)) if infinite else real(below)
    turn = atan2(high, real(x) if infinite else real(above))
    turn = turn if infinite else 2 * turn
    height = -copysign(INF, imag(x)) if infinite else _asinh_of_four(across)
    return pair(0.5 * PI if real(x) == 0 else turn, height)


@of_complex(asinh)
def _(x: Scalar) -> Scalar:
    """-i * asin(i * x)."""
    turned = asin(pair(-imag(x), real(x)))
    return pair(imag(turned), -real(turned))


@of_complex(acosh)
def _(x: Scalar) -> Scalar:
    """i * acos(x) or -i * acos(x), the one in the right half plane."""
    turned = acos(x)
    return pair(absolute(imag(turned)), copysign(real(turned), imag(x)))


@of_complex(atanh)
def _(x: Scalar) -> Scalar:
    """Of a large x 1 / x, and half a turn."""
    a, b = absolute(real(x)), absolute(imag(x))
    size = absolute(x)
    infinite, large = size == INF, a > 1e8 or b > 1e8
    inverse = pair(0 if infinite else a / size / size, 0 if infinite else b / size / size)
    near = a == 1 and b < 1e-19  # whose square may be 0
    quotient = 4 * a / ((1 - a) * (1 - a) + b * b)
    inner = log1p(2 / (b * 2.0**60) - 1 if near else quotient) * 0.5
    inner = inner + 30 * LN2 if near else inner * 0.5
    along = real(inverse) if large else inner
    turn = 0.5 * atan2(2 * b, (1 - a) * (1 + a) - b * b)
    across = 0.5 * PI - imag(inverse) if large else turn
    return pair(
        copysign(0 if a == 0 else along, real(x)), b if b != b else copysign(across, imag(x))
    )


@of_complex(atan)
def _(x: Scalar) -> Scalar:
    """-i * atanh(i * x)."""
    turned = atanh(pair(-imag(x), real(x)))
    return pair(imag(turned), -real(turned))


@of_complex(exp2)
def _(x: Scalar) -> Scalar:
    """In two steps, for 2**a may overflow where its product with a sine does not."""
    far = real(x) > 100
    size = exp2(real(x) - 100 if far else real(x))
    turn, rest = _product(imag(x), factor=LN2, more=LN2_LOW)
    sine, cosine = circle(real(x), turn)
    along = size * (cosine - rest * sine)
    across = imag(x) if imag(x) == 0 else size * (sine + rest * cosine)
    return pair(along * 2.0**100 if far else along, across * 2.0**100 if far else across)


@of_complex(log10)
def _(x: Scalar) -> Scalar:
    y = log(x)
    return pair(real(y) / LN10, imag(y) / LN10)


@of_complex(logaddexp)
def _(x: Scalar, y: Scalar) -> Scalar:
    first = real(x) >= real(y)
    large, small = (x if first else y), (y if first else x)
    gap = 0 if small == large else small - large  # infinite ones, too
    return y if real(large) == -INF else large + log1p(exp(gap))  # the logarithm of 0 is of 0 + 0


@of_complex(sinpi)
def _(x: Scalar) -> Scalar:
    turn, rest = _product(imag(x), factor=PI, more=PI_LOW)
    long, wide, scale = hyperbolic(turn)
    along, across = wide + rest * long, long + rest * wide
    return pair(sinpi(real(x)) * along * scale, cospi(real(x)) * across * scale)


@of_complex(sinc)
def _(x: Scalar) -> Scalar:
    return pair(1.0 + 0 * real(x), 0 * real(x)) if x == 0 else sinpi(x) / (x * PI)
