"""Inverse circular and hyperbolic functions, and circles of half turns, in the scalar language.

Computed in float64, where float32 is rounded once; within 2 ulp, the hyperbolic ones 3 ulp in
float64. W. Kahan, "Branch cuts for complex elementary functions" (1987), has those of complex
numbers, `scalar_complex_arc.py`.
"""

import math

from numbatorch.dtype import float64, int64
from numbatorch.ops.scalar import (
    Scalar,
    also_float32,
    convert,
    copysign,
    horner,
    rint,
    scalar_function,
    sqrt,
)
from numbatorch.ops.scalar_exp import exp, expm1, log1p
from numbatorch.ops.scalar_trig import (
    HALF_PI,
    HALF_PI_LOW,
    PI,
    PI_LOW,
    at_quadrant,
    atan_between,
    cos_kernel,
    sin_kernel,
)

INF = math.inf
NAN = math.nan
LN2 = math.log(2)
LARGE = 1e9  # beyond it x**2 + 1 is x**2

# (asin(x) - x) / x**3 in x**2 for |x| <= 1/2; error 2**-58 of the result
ASIN = (
    0.02961201126495512,
    -0.01924167174674304,
    0.019554513336123378,
    0.0030448799094556773,
    0.009319560794767446,
    0.009621842970100282,
    0.011566459612121669,
    0.01396378001220357,
    0.017352816540325496,
    0.02237215744350722,
    0.03038194447553234,
    0.044642857142551895,
    0.07500000000000118,
    0.16666666666666666,
)


@also_float32
@scalar_function(float64)
def atan(x: Scalar) -> Scalar:
    """The angle between -pi/2 and pi/2 whose tangent is x."""
    size = abs(x)
    steep = size > 1.0
    inner = atan_between(1.0 / size if steep else size)
    return copysign(HALF_PI - (inner - HALF_PI_LOW) if steep else inner, x)


@scalar_function()
def _asin_centre(x: Scalar) -> Scalar:
    """asin(x) for |x| <= 1/2."""
    z = x * x
    return x + x * z * horner(z, ASIN)


@also_float32
@scalar_function(float64)
def asin(x: Scalar) -> Scalar:
    """The angle between -pi/2 and pi/2 whose sine is x; NaN for |x| > 1."""
    size = abs(x)
    far = size > 0.5
    inner = _asin_centre(sqrt((1.0 - size) * 0.5) if far else size)
    return copysign(HALF_PI - (2.0 * inner - HALF_PI_LOW) if far else inner, x)


@also_float32
@scalar_function(float64)
def acos(x: Scalar) -> Scalar:
    """The angle between 0 and pi whose cosine is x; NaN for |x| > 1."""
    size = abs(x)
    far = size > 0.5
    inner = _asin_centre(sqrt((1.0 - size) * 0.5) if far else x)
    outer = 2.0 * inner if x > 0.0 else PI - (2.0 * inner - PI_LOW)
    return outer if far else HALF_PI - (inner - HALF_PI_LOW)


@also_float32
@scalar_function(float64)
def sinh(x: Scalar) -> Scalar:
    """(e**x - e**-x) / 2."""
    size = abs(x)
    less = expm1(size if size < 25.0 else 25.0)
    half = exp(size * 0.5)
    y = 0.5 * (less + less / (less + 1.0)) if size < 25.0 else (0.5 * half) * half
    return copysign(y, x)


@also_float32
@scalar_function(float64)
def cosh(x: Scalar) -> Scalar:
    """(e**x + e**-x) / 2."""
    half = exp(abs(x) * 0.5)
    growing = (0.5 * half) * half
    return growing + 0.25 / growing


@also_float32
@scalar_function(float64)
def asinh(x: Scalar) -> Scalar:
    """log(x + sqrt(x**2 + 1))."""
    size = abs(x)
    square = size * size
    large = size > LARGE
    inner = log1p(size - 1.0 if large else size + square / (1.0 + sqrt(square + 1.0)))
    return copysign(inner + LN2 if large else inner, x)


@also_float32
@scalar_function(float64)
def acosh(x: Scalar) -> Scalar:
    """log(x + sqrt(x**2 - 1)); NaN for x < 1."""
    above = x - 1.0
    large = x > LARGE
    inner = log1p(above if large else above + sqrt(above * (x + 1.0)))
    return NAN if x < 1.0 else (inner + LN2 if large else inner)


@also_float32
@scalar_function(float64)
def atanh(x: Scalar) -> Scalar:
    """log((1 + x) / (1 - x)) / 2; NaN for |x| > 1."""
    size = abs(x)
    return copysign(0.5 * log1p(2.0 * size / (1.0 - size)), x)


@scalar_function()
def _half_turns(x: Scalar) -> Scalar:
    """(quadrant, sin(r), cos(r)) of x half turns, pi * x radians, x of float64."""
    rest = x - 2.0 * rint(x * 0.5)
    quadrant = rint(rest * 2.0)
    r = (rest - quadrant * 0.5) * PI
    return convert(quadrant, int64), sin_kernel(r), cos_kernel(r)


@also_float32
@scalar_function(float64)
def sinpi(x: Scalar) -> Scalar:
    """sin(pi * x), for every x."""
    quadrant, sine, cosine = _half_turns(x)
    return at_quadrant(quadrant, sine, cosine)


@also_float32
@scalar_function(float64)
def cospi(x: Scalar) -> Scalar:
    """cos(pi * x), for every x."""
    quadrant, sine, cosine = _half_turns(x)
    return at_quadrant(quadrant + 1, sine, cosine)


@also_float32
@scalar_function(float64)
def sinc(x: Scalar) -> Scalar:
    """sin(pi * x) / (pi * x), 1 at 0."""
    return 1.0 if x == 0.0 else sinpi(x) / (x * PI)
