"""sin, cos and tan in the scalar language: branch-free, within 2 ulp; see scalar_exp.py.

float32 reduces its operand in float64, which Metal lacks: there they are Metal's own functions.
"""

from numbatorch.dtype import float32, float64
from numbatorch.ops.scalar import Scalar, bits, convert, copysign, horner, scalar_function
from numbatorch.ops.scalar_exp import ROUND64, clamp

TWO_OVER_PI = 0.6366197723675814

# pi / 2 in parts: the products of all but the last with a quotient below 2**28 (the pair of
# FDLIBM, https://www.netlib.org/fdlibm) or 2**30 are exact.
HALF_PI_SHORT = (1.57079631090164184570, 1.58932547735281966916e-08)
HALF_PI_LONG = (
    1.570796251296997,
    7.549789415861596e-08,
    5.390302529957765e-15,
    3.2820031633724233e-22,
    3.7950107727212256e-29,
)

# (sin(r) - r) / r**3 and (cos(r) - 1 + r**2 / 2) / r**4 in r**2 for |r| <= pi / 4;
# errors 2**-38 of r, 2**-43; 2**-58 of r, 2**-64
SIN32 = (2.718305e-06, -0.00019839335, 0.008333329, -0.16666667)
COS32 = (-2.7210166e-07, 2.479952e-05, -0.0013888883, 0.041666668)
SIN64 = (
    1.5896789326562725e-10,
    -2.5050757999662626e-08,
    2.7557313691136815e-06,
    -0.00019841269829805444,
    0.008333333333322411,
    -0.16666666666666632,
)
COS64 = (
    -1.1359648304594057e-11,
    2.087572328384397e-09,
    -2.7557314352418067e-07,
    2.4801587289482506e-05,
    -0.0013888888888874125,
    0.0416666666666666,
)


@scalar_function()
def _reduce_short(x: Scalar) -> Scalar:
    """(quadrant, r): a float32 x = quadrant * pi / 2 + r, all in float64."""
    x = convert(x, float64)
    shifted = x * TWO_OVER_PI + ROUND64
    whole = shifted - ROUND64
    high, low = HALF_PI_SHORT
    r = (x - whole * high) - whole * low
    return bits(shifted), clamp(r, low=-0.7855, high=0.7855)


@scalar_function()
def _two_sum(a: Scalar, b: Scalar) -> Scalar:
    """(s, e): s = a + b rounded, e the error of the rounding (D. Knuth, TAOCP 2, 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@scalar_function()
def _reduce_long(x: Scalar) -> Scalar:
    """(quadrant, r, e): x = quadrant * pi / 2 + (r + e), in float64."""
    shifted = x * TWO_OVER_PI + ROUND64
    whole = shifted - ROUND64
    first, second, third, fourth, last = HALF_PI_LONG
    r, e1 = _two_sum(x - whole * first, -(whole * second))
    r, e2 = _two_sum(r, -(whole * third))
    r, e3 = _two_sum(r, -(whole * fourth))
    tail = ((e1 + e2) + e3) - whole * last
    total = clamp(r + tail, low=-0.7855, high=0.7855)
    return bits(shifted), total, clamp((r - total) + tail, low=-1e-15, high=1e-15)


@scalar_function(float32)
def _sin_kernel(r: Scalar) -> Scalar:
    z = r * r
    return copysign(r + r * z * horner(z, SIN32), r)


@_sin_kernel.at(float64)
def _(r: Scalar) -> Scalar:
    z = r * r
    return copysign(r + r * z * horner(z, SIN64), r)


@scalar_function(float32)
def _cos_kernel(r: Scalar) -> Scalar:
    z = r * r
    return 1.0 - (0.5 * z - z * z * horner(z, COS32))


@_cos_kernel.at(float64)
def _(r: Scalar) -> Scalar:
    z = r * r
    return 1.0 - (0.5 * z - z * z * horner(z, COS64))


@scalar_function()
def _sin_tailed(r: Scalar, e: Scalar) -> Scalar:
    """sin(r + e) in float64."""
    z = r * r
    return r + (r * z * horner(z, SIN64) + e * (1.0 - 0.5 * z))


@scalar_function()
def _cos_tailed(r: Scalar, e: Scalar) -> Scalar:
    """cos(r + e) in float64."""
    z = r * r
    half = 0.5 * z
    head = 1.0 - half
    return head + (((1.0 - head) - half) + (z * z * horner(z, COS64) - r * e))


@scalar_function()
def _at_quadrant(quadrant: Scalar, sine: Scalar, cosine: Scalar) -> Scalar:
    """The sine of an angle, from the sine and cosine of its rest."""
    y = sine if (quadrant & 1) == 0 else cosine
    return y if (quadrant & 2) == 0 else -y


@scalar_function(float32, native="sin")
def sin(x: Scalar) -> Scalar:
    """The sine; 2 ulp up to |x| = 1e8, between -1 and 1 for every finite x."""
    quadrant, r = _reduce_short(x)
    r = convert(r, float32)
    return _at_quadrant(quadrant, _sin_kernel(r), _cos_kernel(r))


@sin.at(float64)
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_long(x)
    y = _at_quadrant(quadrant, _sin_tailed(r, e), _cos_tailed(r, e))
    return x if x == 0.0 else y


@scalar_function(float32, native="cos")
def cos(x: Scalar) -> Scalar:
    """The cosine; 2 ulp up to |x| = 1e8, between -1 and 1 for every finite x."""
    quadrant, r = _reduce_short(x)
    r = convert(r, float32)
    return _at_quadrant(quadrant + 1, _sin_kernel(r), _cos_kernel(r))


@cos.at(float64)
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_long(x)
    return _at_quadrant(quadrant + 1, _sin_tailed(r, e), _cos_tailed(r, e))


@scalar_function()
def _tan_at(quadrant: Scalar, sine: Scalar, cosine: Scalar) -> Scalar:
    even = (quadrant & 1) == 0
    return (sine if even else -cosine) / (cosine if even else sine)


@scalar_function(float32, native="tan")
def tan(x: Scalar) -> Scalar:
    """The tangent; 2 ulp up to |x| = 1e8."""
    quadrant, r = _reduce_short(x)
    return convert(_tan_at(quadrant, _sin_kernel(r), _cos_kernel(r)), float32)


@tan.at(float64)
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_long(x)
    y = _tan_at(quadrant, _sin_tailed(r, e), _cos_tailed(r, e))
    return x if x == 0.0 else y
