"""sin, cos and tan in the scalar language: branch-free, within 2 ulp; see scalar_exp.py.

float32 reduces its operand in float64, or in integers on Metal, which has none.
"""

import math

from numbatorch.dtype import float32, float64, int64, uint32, uint64
from numbatorch.ops.scalar import (
    Scalar,
    bits,
    convert,
    copysign,
    fma,
    horner,
    scalar_function,
)
from numbatorch.ops.scalar_exp import ROUND64, clamp
from numbatorch.ops.scalar_fused import fused_horner

INF = math.inf
NAN = math.nan
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

# The binary digits of 2 / pi, 32 to a word, after a word before the point.
TWO_OVER_PI_DIGITS = (
    0x00000000,
    0xA2F9836E,
    0x4E441529,
    0xFC2757D1,
    0xF534DDC0,
    0xDB629599,
    0x3C439041,
    0xFE5163AB,
)
# atan(r) / r**3 - 1 / r**2 in r**2 for |r| <= tan(pi / 8), and as a quotient for |r| <= 0.66:
# S. L. Moshier, Cephes, https://www.netlib.org/cephes
ATAN32 = (8.05374449538e-2, -1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1)
ATAN64_OVER = (
    -8.750608600031904122785e-1,
    -1.615753718733365076637e1,
    -7.500855792314704667340e1,
    -1.228866684490136173410e2,
    -6.485021904942025371773e1,
)
ATAN64_UNDER = (
    1.0,
    2.485846490142306297962e1,
    1.650270098316988542046e2,
    4.328810604912902668951e2,
    4.853903996359136964868e2,
    1.945506571482613964425e2,
)
TAN_EIGHTH_TURN = 0.4142135623730950
PI, PI_LOW = math.pi, 1.2246467991473532e-16
HALF_PI, HALF_PI_LOW = math.pi / 2, 6.123233995736766e-17
QUARTER_PI, QUARTER_PI_LOW = math.pi / 4, 3.061616997868383e-17
HALF_PI32 = (1.5707964, -4.371139e-08)

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


@scalar_function()
def _digits(at: Scalar, shift: Scalar, *, words: tuple[int, int, int, int, int, int]) -> Scalar:
    """32 binary digits of two neighbouring words: the pair number `at`, from digit `shift` on."""
    w0, w1, w2, w3, w4, w5 = words
    high, low = convert(w4, uint64), convert(w5, uint64)
    high, low = (w3 if at == 3 else high), (w4 if at == 3 else low)
    high, low = (w2 if at == 2 else high), (w3 if at == 2 else low)
    high, low = (w1 if at == 1 else high), (w2 if at == 1 else low)
    high, low = (w0 if at == 0 else high), (w1 if at == 0 else low)
    return (((high << 32) | low) << convert(shift, uint64)) >> 32


@scalar_function()
def _quarters(x: Scalar) -> Scalar:
    """x * 2 / pi modulo 4 in units of 2**-62, for a float32 x >= 1/2.

    M. H. Payne and R. N. Hanek, "Radian reduction for trigonometric functions", SIGNUM Newsletter
    18 (1983): only 96 digits of 2 / pi count; those before them give multiples of 4.
    """
    word = convert(bits(x), uint32)
    first = (word >> 23) - 120
    at, shift = first >> 5, first & 31
    w0, w1, w2, w3, w4, w5, w6, w7 = TWO_OVER_PI_DIGITS
    mantissa = convert((word & 0x7FFFFF) | 0x800000, uint64)
    high = mantissa * _digits(at, shift, words=(w0, w1, w2, w3, w4, w5))
    middle = mantissa * _digits(at, shift, words=(w1, w2, w3, w4, w5, w6))
    low = mantissa * _digits(at, shift, words=(w2, w3, w4, w5, w6, w7))
    return (high << 32) + middle + (low >> 32)


@scalar_function()
def _reduce_exactly(x: Scalar) -> Scalar:
    """(quadrant, r, e): |x| = quadrant * pi / 2 + (r + e) for every finite float32, in float32."""
    size = abs(x)
    quarters = _quarters(size)
    rest = convert(quarters << 2, int64)
    high = convert(rest, float32)
    low = convert(rest - convert(high, int64), float32)
    half_pi, correction = HALF_PI32
    high, low = high * 2.0**-64, low * 2.0**-64
    r = high * half_pi
    e = fma(high, half_pi, -r) + fma(high, correction, low * half_pi)
    small = size < 0.78
    quadrant = convert((quarters + (1 << 61)) >> 62, int64)
    return (0 if small else quadrant), (size if small else r), (0.0 if small else e)


@scalar_function()
def _sin_pair(r: Scalar, e: Scalar) -> Scalar:
    """sin(r + e) in float32."""
    z = r * r
    return r + fma(r * z, fused_horner(z, SIN32), fma(e * -0.5, z, e))


@scalar_function()
def _cos_pair(r: Scalar, e: Scalar) -> Scalar:
    """cos(r + e) in float32."""
    z = r * r
    head = fma(z, -0.5, 1.0)
    return head + fma(z * z, fused_horner(z, COS32), fma(z, -0.5, 1.0 - head) - r * e)


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


@scalar_function(float32)
def sin(x: Scalar) -> Scalar:
    """The sine; 2 ulp up to |x| = 1e8, between -1 and 1 for every finite x; on Metal 1 ulp."""
    quadrant, r = _reduce_short(x)
    r = convert(r, float32)
    return _at_quadrant(quadrant, _sin_kernel(r), _cos_kernel(r))


@sin.at(float32, "metal")
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_exactly(x)
    y = _at_quadrant(quadrant, _sin_pair(r, e), _cos_pair(r, e))
    return (y if bits(x) >= 0 else -y) if abs(x) < math.inf else math.nan


@sin.at(float64)
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_long(x)
    y = _at_quadrant(quadrant, _sin_tailed(r, e), _cos_tailed(r, e))
    return x if x == 0.0 else y


@scalar_function(float32)
def cos(x: Scalar) -> Scalar:
    """The cosine; 2 ulp up to |x| = 1e8, between -1 and 1 for every finite x; on Metal 1 ulp."""
    quadrant, r = _reduce_short(x)
    r = convert(r, float32)
    return _at_quadrant(quadrant + 1, _sin_kernel(r), _cos_kernel(r))


@cos.at(float32, "metal")
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_exactly(x)
    y = _at_quadrant(quadrant + 1, _sin_pair(r, e), _cos_pair(r, e))
    return y if abs(x) < math.inf else math.nan


@cos.at(float64)
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_long(x)
    return _at_quadrant(quadrant + 1, _sin_tailed(r, e), _cos_tailed(r, e))


@scalar_function()
def _tan_at(quadrant: Scalar, sine: Scalar, cosine: Scalar) -> Scalar:
    even = (quadrant & 1) == 0
    return (sine if even else -cosine) / (cosine if even else sine)


@scalar_function(float32)
def tan(x: Scalar) -> Scalar:
    """The tangent; 2 ulp up to |x| = 1e8, on Metal 2.5 ulp."""
    quadrant, r = _reduce_short(x)
    return convert(_tan_at(quadrant, _sin_kernel(r), _cos_kernel(r)), float32)


@tan.at(float32, "metal")
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_exactly(x)
    y = _tan_at(quadrant, _sin_pair(r, e), _cos_pair(r, e))
    return (y if bits(x) >= 0 else -y) if abs(x) < math.inf else math.nan


@tan.at(float64)
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_long(x)
    y = _tan_at(quadrant, _sin_tailed(r, e), _cos_tailed(r, e))
    return x if x == 0.0 else y


@scalar_function(float32)
def _atan_between(x: Scalar) -> Scalar:
    """atan(x) for 0 <= x <= 1; error 2**-24."""
    far = x > TAN_EIGHTH_TURN
    r = (x - 1) / (x + 1) if far else x
    square = r * r
    inner = r * square * horner(square, ATAN32) + r
    return QUARTER_PI + inner if far else inner


@_atan_between.at(float64)
def _(x: Scalar) -> Scalar:
    far = x > 0.66
    r = (x - 1) / (x + 1) if far else x
    square = r * r
    inner = r * (square * horner(square, ATAN64_OVER) / horner(square, ATAN64_UNDER)) + r
    return QUARTER_PI + (inner + QUARTER_PI_LOW) if far else inner


@scalar_function()
def atan2(y: Scalar, x: Scalar) -> Scalar:
    """The angle of the point (x, y) to the x axis, from -pi to pi; float32 within 3 ulp."""
    wide, high = abs(x), abs(y)
    steep = high > wide
    large, small = (high if steep else wide), (wide if steep else high)
    ratio = 1 if wide == INF and high == INF else (0 if large == 0 else small / large)
    inner = _atan_between(ratio)
    first = HALF_PI - inner + HALF_PI_LOW if steep else inner
    turned = PI - first + PI_LOW if copysign(1.0, x) < 0 else first
    return NAN if x != x or y != y else copysign(turned, y)
