"""Inverse circular and hyperbolic functions of complex numbers, with Kahan's branch cuts.

W. Kahan, "Branch cuts for complex elementary functions", in "The State of the Art in Numerical
Analysis" (1987).
"""

import math

from numbatorch.ops.scalar import Scalar, absolute, copysign, imag, pair, real, sqrt
from numbatorch.ops.scalar_arc import (
    acos,
    acosh,
    asin,
    asinh,
    atan,
    atanh,
    cosh,
    cospi,
    sinc,
    sinh,
    sinpi,
)
from numbatorch.ops.scalar_complex import of_complex
from numbatorch.ops.scalar_exp import exp, exp2, log, log1p, log10, logaddexp
from numbatorch.ops.scalar_trig import atan2, cos, sin

LN2 = math.log(2)
LN10 = math.log(10)
PI = math.pi

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


@of_complex(sinh)
def _(x: Scalar) -> Scalar:
    flat = imag(x) == 0
    return pair(sinh(real(x)) * cos(imag(x)), imag(x) if flat else cosh(real(x)) * sin(imag(x)))


@of_complex(cosh)
def _(x: Scalar) -> Scalar:
    return pair(cosh(real(x)) * cos(imag(x)), sinh(real(x)) * sin(imag(x)))


@of_complex(asin)
def _(x: Scalar) -> Scalar:
    below = sqrt(pair(1 - real(x), -imag(x)))
    above = sqrt(pair(1 + real(x), imag(x)))
    along = real(below) * real(above) - imag(below) * imag(above)
    across = real(below) * imag(above) - imag(below) * real(above)
    return pair(atan2(real(x), along), asinh(across))


@of_complex(acos)
def _(x: Scalar) -> Scalar:
    below = sqrt(pair(1 - real(x), -imag(x)))
    above = sqrt(pair(1 + real(x), imag(x)))
    across = real(above) * imag(below) - imag(above) * real(below)
    return pair(2 * atan2(real(below), real(above)), asinh(across))


@of_complex(asinh)
def _(x: Scalar) -> Scalar:
    """-i * asin(i * x)."""
    turned = asin(pair(-imag(x), real(x)))
    return pair(imag(turned), -real(turned))


@of_complex(acosh)
def _(x: Scalar) -> Scalar:
    below = sqrt(pair(real(x) - 1, imag(x)))
    above = sqrt(pair(real(x) + 1, imag(x)))
    along = real(below) * real(above) + imag(below) * imag(above)
    return pair(asinh(along), 2 * atan2(imag(below), real(above)))


@of_complex(atanh)
def _(x: Scalar) -> Scalar:
    """Of a large x about 1 / x, with half a turn."""
    a, b = absolute(real(x)), imag(x)
    large = a > 1e8 or absolute(b) > 1e8
    size = absolute(x)
    along = log1p(4 * a / ((1 - a) * (1 - a) + b * b)) * 0.25
    along = a / size / size if large else along
    across = 0.5 * atan2(2 * b, (1 - a) * (1 + a) - b * b)
    across = copysign(0.5 * PI, b) if large else across
    return pair(copysign(along, real(x)), across)


@of_complex(atan)
def _(x: Scalar) -> Scalar:
    """-i * atanh(i * x)."""
    turned = atanh(pair(-imag(x), real(x)))
    return pair(imag(turned), -real(turned))


@of_complex(exp2)
def _(x: Scalar) -> Scalar:
    return exp(x * LN2)


@of_complex(log10)
def _(x: Scalar) -> Scalar:
    return log(x) / LN10


@of_complex(logaddexp)
def _(x: Scalar, y: Scalar) -> Scalar:
    first = real(x) >= real(y)
    large, small = (x if first else y), (y if first else x)
    return large + log1p(exp(small - large))


@of_complex(sinpi)
def _(x: Scalar) -> Scalar:
    across = imag(x) * PI
    return pair(sinpi(real(x)) * cosh(across), cospi(real(x)) * sinh(across))


@of_complex(sinc)
def _(x: Scalar) -> Scalar:
    return pair(1.0 + 0 * real(x), 0 * real(x)) if x == 0 else sinpi(x) / (x * PI)
