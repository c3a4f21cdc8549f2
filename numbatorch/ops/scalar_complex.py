"""Complex numbers in the scalar language: each primitive and function as a body over the parts.

Results are within a few ulp of the true value in the sense of |actual - true| <= ulp * |true|; of
infinities, NaN and signed zeros they are those of C: ISO/IEC 9899:2018 (C17), annex G.6.
W. Kahan, "Branch cuts for complex elementary functions", in "The State of the Art in Numerical
Analysis" (1987); R. L. Smith, "Algorithm 116: complex division", CACM 5 (1962).
"""

import math
from collections.abc import Callable
from typing import Any

from numbatorch.dtype import COMPLEX, float32, float64
from numbatorch.ops.scalar import (
    Scalar,
    ScalarFunction,
    absolute,
    convert,
    copysign,
    imag,
    pair,
    real,
    scalar_function,
    select,
    sqrt,
)
from numbatorch.ops.scalar_arc import atan2, cosh, sinh
from numbatorch.ops.scalar_exp import (
    exp,
    expm1,
    log,
    log1p,
    log2,
    maximum,
    minimum,
    tanh,
)
from numbatorch.ops.scalar_sigmoid import sigmoid
from numbatorch.ops.scalar_trig import cos, sin, tan

INF = math.inf
NAN = math.nan
EXP_88, EXP_709 = math.exp(88), math.exp(709)
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
    """Smith's: divided by the larger part of y first, so that y * conj(y) does not overflow.

    By 0, whatever the signs of its parts, each part of x is divided by itself, as in NumPy.
    """
    wide = absolute(real(y)) >= absolute(imag(y))
    large, small = (real(y) if wide else imag(y)), (imag(y) if wide else real(y))
    zero = real(y) == 0 and imag(y) == 0
    ratio = small / large
    length = absolute(large) if zero else large + small * ratio
    along = real(x) + imag(x) * ratio if wide else real(x) * ratio + imag(x)
    across = imag(x) - real(x) * ratio if wide else imag(x) * ratio - real(x)
    return pair((real(x) if zero else along) / length, (imag(x) if zero else across) / length)


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
    """The root in the right half plane: its larger part first, without cancellation.

    Of a multiple, so that nothing overflows, or loses digits to subnormals.
    """
    a, b = real(x), imag(x)
    tiny = absolute(a) < 1e-30 and absolute(b) < 1e-30
    along, across = (a * 2.0**59 if tiny else a / 8), (b * 2.0**59 if tiny else b / 8)
    root = sqrt(absolute(along) + hypot(along, across))
    infinite = absolute(b) == INF
    large = INF if infinite else (root * 2.0**-30 if tiny else root * 2)
    small = INF if infinite else (0 if large == 0 else absolute(b) / large * 0.5)
    right = a >= 0
    return pair(large if right else small, copysign(small if right else large, b))


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
def hyperbolic(x: Scalar) -> Scalar:
    """(sinh(x), cosh(x)) over scale, and scale, which is not 1 where they may overflow."""
    size, scale = _in_two_steps(absolute(x))
    less = expm1(size)
    inverse = 1 if less == INF else less / (less + 1)
    far = scale > 1
    half = 0.5 * less + 0.5
    sinh = half if far else (less + inverse) * 0.5
    return copysign(sinh, x), half if far else 1 + less * inverse * 0.5, scale


@scalar_function(float32)
def _in_two_steps(x: Scalar) -> Scalar:
    """(y, scale): e**x is e**y * scale. It may overflow where its product with a sine does not."""
    far = x > 88
    return x - 88 if far else x, EXP_88 if far else convert(1, float32)


@_in_two_steps.at(float64)
def _(x: Scalar) -> Scalar:
    far = x > 709
    return x - 709 if far else x, EXP_709 if far else convert(1, float64)


@scalar_function()
def circle(size: Scalar, angle: Scalar) -> Scalar:
    """(sin(angle), cos(angle)), to be multiplied by what grows with `size`.

    Those of 0 if there is no angle but an infinite size: the product is infinite, or 0, all the
    same, and 0 times infinity is NaN.
    """
    lost = absolute(size) == INF and not absolute(angle) < INF
    turn = 0 if lost else angle
    return sin(turn), cos(turn)


@of_complex(exp)
def _(x: Scalar) -> Scalar:
    power, scale = _in_two_steps(real(x))
    size = exp(power)
    sine, cosine = circle(real(x), imag(x))
    across = (1 if imag(x) == 0 else size) * sine
    return pair(size * cosine * scale, across * scale)


@of_complex(expm1)
def _(x: Scalar) -> Scalar:
    """The real part, exp(a) * cos(b) - 1, as expm1(a) * cos(b) + (cos(b) - 1).

    It is 0 at -0, too, as the array API standard has it.
    """
    power, scale = _in_two_steps(real(x))
    size = exp(power)
    sine, cosine = circle(real(x), imag(x))
    rest = 0 - sine * sine / (1 + cosine) if cosine > 0 else cosine - 1
    along = size * cosine * scale if scale > 1 else expm1(real(x)) * cosine + rest
    return pair(along, (1 if imag(x) == 0 else size) * sine * scale)


@of_complex(sinh)
def _(x: Scalar) -> Scalar:
    """sinh(a) * cos(b) + i * cosh(a) * sin(b); a zero factor makes 0 of whatever it meets."""
    a, b = real(x), imag(x)
    long, wide, scale = hyperbolic(a)
    sine, cosine = circle(a, b)
    along = long * (copysign(1, cosine) if a == 0 else cosine)
    return pair(along * scale, (1 if b == 0 else wide) * sine * scale)


@of_complex(cosh)
def _(x: Scalar) -> Scalar:
    """cosh(a) * cos(b) + i * sinh(a) * sin(b); a zero factor makes 0 of whatever it meets."""
    a, b = real(x), imag(x)
    long, wide, scale = hyperbolic(a)
    sine, cosine = circle(a, b)
    flat = b == 0
    across = (copysign(1, a) if flat else long) * (
        copysign(1, sine) if a == 0 and not flat else sine
    )
    return pair(wide * cosine * scale, across * scale)


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
    y = log(x)
    return pair(real(y) / LN2, imag(y) / LN2)


@of_complex(sin)
def _(x: Scalar) -> Scalar:
    """-i * sinh(i * x)."""
    turned = sinh(pair(-imag(x), real(x)))
    return pair(imag(turned), -real(turned))


@of_complex(cos)
def _(x: Scalar) -> Scalar:
    return cosh(pair(-imag(x), real(x)))


@of_complex(tanh)
def _(x: Scalar) -> Scalar:
    """(sinh(a) * cosh(a) + i * sin(b) * cos(b)) / (sinh(a)**2 + cos(b)**2).

    Where sinh(a) is large, all of them over sinh(a). At infinity the imaginary part is a zero with
    the sign of b, as the array API standard has it; C gives it that of sin(2 * b).
    """
    a, b = real(x), imag(x)
    less = expm1(absolute(a))
    size = (less + (1 if less == INF else less / (less + 1))) * 0.5
    far = size > 1
    over = 1 / size if far else 1
    long = 1 if far else size
    turn = copysign(0, b) if absolute(a) == INF else b
    sine, cosine = sin(turn), cos(turn)
    below = long * long + cosine * over * (cosine * over)
    along = long * sqrt(long * long + over * over) / below
    across = sine * over * (cosine * over) / below
    return pair(a if a == 0 else copysign(along, a), b if b == 0 else across)


@of_complex(sigmoid)
def _(x: Scalar) -> Scalar:
    """By tanh around the poles, which lie at odd multiples of i * pi."""
    around = absolute(real(x)) < 1
    power = exp(x if real(x) < 0 else -x)
    rest = (1 if real(x) >= 0 else power) / (1 + power)
    return tanh(x * 0.5) * 0.5 + 0.5 if around else rest


@of_complex(tan)
def _(x: Scalar) -> Scalar:
    """-i * tanh(i * x)."""
    turned = tanh(pair(-imag(x), real(x)))
    return pair(imag(turned), -real(turned))
