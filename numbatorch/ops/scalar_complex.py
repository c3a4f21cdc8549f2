"""Complex numbers in the scalar language: each primitive and function as a body over the parts.

Results are within a few ulp of the true value in the sense of |actual - true| <= ulp * |true|.
W. Kahan, "Branch cuts for complex elementary functions", in "The State of the Art in Numerical
Analysis" (1987); R. L. Smith, "Algorithm 116: complex division", CACM 5 (1962).
"""

import math
from collections.abc import Callable
from typing import Any

from numbatorch.dtype import COMPLEX
from numbatorch.ops.scalar import (
    Scalar,
    ScalarFunction,
    absolute,
    copysign,
    imag,
    pair,
    real,
    scalar_function,
    select,
    sqrt,
)
from numbatorch.ops.scalar_exp import (
    exp,
    expm1,
    log,
    log1p,
    log2,
    maximum,
    minimum,
    sigmoid,
    tanh,
)
from numbatorch.ops.scalar_trig import atan2, cos, sin, tan

INF = math.inf
NAN = math.nan
LN2 = math.log(2)

# By the name of a primitive, what it does to complex numbers.
RULES: dict[str, ScalarFunction] = {}


def _rule(name: str) -> Callable[[Callable[..., Any]], ScalarFunction]:
    """Decorator: the body is what the primitive `name` does."""

    def register(body: Callable[..., Any]) -> ScalarFunction:
        RULES[name] = scalar_function()(body)
        return RULES[name]

    return register


def of_complex(function: ScalarFunction) -> Callable[[Callable[..., Any]], ScalarFunction]:
    """Decorator: the body is that of `function` for complex numbers."""

    def register(body: Callable[..., Any]) -> ScalarFunction:
        for dtype in COMPLEX:
            function.at(dtype)(body)
        return function

    return register


@_rule("add")
def _(x: Scalar, y: Scalar) -> Scalar:
    return pair(real(x) + real(y), imag(x) + imag(y))


@_rule("sub")
def _(x: Scalar, y: Scalar) -> Scalar:
    return pair(real(x) - real(y), imag(x) - imag(y))


@_rule("mul")
def _(x: Scalar, y: Scalar) -> Scalar:
    along = real(x) * real(y) - imag(x) * imag(y)
    return pair(along, real(x) * imag(y) + imag(x) * real(y))


@_rule("div")
def _(x: Scalar, y: Scalar) -> Scalar:
    """Smith's: divided by the larger part of y first, so that y * conj(y) does not overflow."""
    wide = absolute(real(y)) >= absolute(imag(y))
    large, small = (real(y) if wide else imag(y)), (imag(y) if wide else real(y))
    ratio = 0 if large == 0 else small / large
    length = large + small * ratio
    along = real(x) + imag(x) * ratio if wide else real(x) * ratio + imag(x)
    across = imag(x) - real(x) * ratio if wide else imag(x) * ratio - real(x)
    return pair(along / length, across / length)


@_rule("neg")
def _(x: Scalar) -> Scalar:
    return pair(-real(x), -imag(x))


@_rule("eq")
def _(x: Scalar, y: Scalar) -> Scalar:
    return real(x) == real(y) and imag(x) == imag(y)


@_rule("ne")
def _(x: Scalar, y: Scalar) -> Scalar:
    return real(x) != real(y) or imag(x) != imag(y)


@_rule("select")
def _(condition: Scalar, x: Scalar, y: Scalar) -> Scalar:
    along = select(condition, real(x), real(y))
    return pair(along, select(condition, imag(x), imag(y)))


@_rule("fabs")
def _(x: Scalar) -> Scalar:
    return hypot(real(x), imag(x))


@_rule("sqrt")
def _(x: Scalar) -> Scalar:
    """The root in the right half plane: its larger part first, without cancellation."""
    halves = absolute(real(x)) * 0.5 + hypot(real(x) * 0.5, imag(x) * 0.5)
    large = sqrt(halves)
    small = 0 if large == 0 else absolute(imag(x)) / large * 0.5
    right = real(x) >= 0
    return pair(large if right else small, copysign(small if right else large, imag(x)))


@scalar_function()
def hypot(x: Scalar, y: Scalar) -> Scalar:
    """sqrt(x**2 + y**2) without overflow on the way; infinite if one of the two is."""
    large, small = maximum(absolute(x), absolute(y)), minimum(absolute(x), absolute(y))
    ratio = 0 if large == 0 else small / large
    infinite = absolute(x) == INF or absolute(y) == INF
    return INF if infinite else large * sqrt(1 + ratio * ratio)


@scalar_function()
def _log_hypot(x: Scalar, y: Scalar) -> Scalar:
    """log(hypot(x, y)), without cancellation where that is near 1."""
    large, small = maximum(absolute(x), absolute(y)), minimum(absolute(x), absolute(y))
    ratio = 0 if large == 0 else small / large
    near = large > 0.5 and large < 2.0
    square = (large - 1) * (large + 1) + small * small
    around = log1p(square if near else ratio * ratio) * 0.5
    infinite = absolute(x) == INF or absolute(y) == INF
    return INF if infinite else (around if near else log(large) + around)


@scalar_function()
def angle(x: Scalar) -> Scalar:
    """The angle of x to the real axis, from -pi to pi."""
    return atan2(imag(x), real(x))


@scalar_function()
def _hyperbolic(x: Scalar) -> Scalar:
    """(sinh(x), cosh(x))."""
    less = expm1(absolute(x))
    inverse = 1 if less == INF else less / (less + 1)
    sinh = (less + inverse) * 0.5
    return copysign(sinh, x), INF if less == INF else 1 + less * inverse * 0.5


@of_complex(exp)
def _(x: Scalar) -> Scalar:
    size = exp(real(x))
    flat = imag(x) == 0
    return pair(size if flat else size * cos(imag(x)), imag(x) if flat else size * sin(imag(x)))


@of_complex(expm1)
def _(x: Scalar) -> Scalar:
    """The real part, exp(a) * cos(b) - 1, as expm1(a) * cos(b) - 2 * sin(b / 2)**2."""
    half = sin(imag(x) * 0.5)
    along = expm1(real(x)) * cos(imag(x)) - half * half * 2
    return pair(along, exp(real(x)) * sin(imag(x)))


@of_complex(log)
def _(x: Scalar) -> Scalar:
    return pair(_log_hypot(real(x), imag(x)), angle(x))


@of_complex(log1p)
def _(x: Scalar) -> Scalar:
    """Near 0 the real part is log1p(2 * a + a**2 + b**2) / 2."""
    a, b = real(x), imag(x)
    near = absolute(a) < 0.5 and absolute(b) < 0.5
    inner = log1p((a * (a + 2) + b * b) if near else 0.0) * 0.5
    return pair(inner if near else _log_hypot(a + 1, b), atan2(b, a + 1))


@of_complex(log2)
def _(x: Scalar) -> Scalar:
    return log(x) / LN2


@of_complex(sin)
def _(x: Scalar) -> Scalar:
    sinh, cosh = _hyperbolic(imag(x))
    flat = imag(x) == 0
    return pair(sin(real(x)) * cosh, imag(x) if flat else cos(real(x)) * sinh)


@of_complex(cos)
def _(x: Scalar) -> Scalar:
    sinh, cosh = _hyperbolic(imag(x))
    return pair(cos(real(x)) * cosh, -(sin(real(x)) * sinh))


@of_complex(tanh)
def _(x: Scalar) -> Scalar:
    """Kahan's, and beyond 11, where tanh(a) is 1 in float32, what sinh(a) = exp(a) / 2 leaves."""
    a, b = real(x), imag(x)
    sinh, _cosh = _hyperbolic(clamped(a))
    slope = tan(b)
    beta = 1 + slope * slope
    below = 1 + beta * sinh * sinh
    along = beta * sqrt(1 + sinh * sinh) * sinh / below
    far = absolute(a) > 20
    rest = 4 * sin(b) * cos(b) * exp(-2 * absolute(a))
    return pair(copysign(1.0, a) if far else along, rest if far else slope / below)


@scalar_function()
def clamped(a: Scalar) -> Scalar:
    """a between -20 and 20, whose squared exponentials do not overflow."""
    return maximum(minimum(a, 20), -20)


@of_complex(sigmoid)
def _(x: Scalar) -> Scalar:
    """By tanh around the poles, which lie at odd multiples of i * pi."""
    around = absolute(real(x)) < 1
    return tanh(x * 0.5) * 0.5 + 0.5 if around else 1 / (1 + exp(-x))


@of_complex(tan)
def _(x: Scalar) -> Scalar:
    """-i * tanh(i * x)."""
    turned = tanh(pair(-imag(x), real(x)))
    return pair(imag(turned), -real(turned))
