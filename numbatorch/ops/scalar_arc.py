"""Inverse circular and hyperbolic functions, and circles of half turns, in the scalar language.

Within 2 ulp, the hyperbolic ones 3 ulp in float64. float32 is computed in float32: polynomials near
0, reductions to logarithms and arcs farther out. W. Kahan, "Branch cuts for complex elementary
functions" (1987), has those of complex numbers, `scalar_complex_arc.py`.
"""

import math

from numbatorch.dtype import float32, float64, int64
from numbatorch.ops.scalar import (
    Scalar,
    also_float32,
    convert,
    copysign,
    from_bits,
    horner,
    rint,
    scalar_function,
    sqrt,
)
from numbatorch.ops.scalar_exp import (
    EXP32,
    LN2_32,
    ROUND32,
    ROUND32_BITS,
    exp,
    expm1,
    log1p,
    log_sum,
    one_plus,
    split_exponent,
    split_float,
)
from numbatorch.ops.scalar_trig import (
    HALF_PI,
    HALF_PI_LOW,
    at_quadrant,
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

# atan(r) / r**3 - 1 / r**2 in r**2 for |r| <= 0.66, as a quotient: S. L. Moshier, Cephes,
# https://www.netlib.org/cephes
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
PI, PI_LOW = math.pi, 1.2246467991473532e-16
QUARTER_PI, QUARTER_PI_LOW = math.pi / 4, 3.061616997868383e-17

# The float32 forms of (f(x) / x - 1) / x**2 in x**2; errors of f(x) / x: atan for |x| <= 1, 2**-28;
# asin for |x| <= 1/2, 2**-31; sinh for |x| <= 1, 2**-31; asinh for |x| <= 3/4, 2**-30; atanh for
# |x| <= 1/2, 2**-29
ATAN32 = (
    -0.001823116,
    0.011046255,
    -0.031422142,
    0.058201257,
    -0.08417543,
    0.10956933,
    -0.14265126,
    0.19998628,
    -0.33333302,
)
ASIN32 = (0.03761694, 0.014362824, 0.031829067, 0.044514213, 0.075005196, 0.1666666)
SINH32 = (2.7839255e-06, 0.00019842635, 0.008333311, 0.16666667)
ASINH32 = (
    -0.0029870651,
    0.010461217,
    -0.019708155,
    0.029772447,
    -0.044565517,
    0.07499526,
    -0.16666657,
)
ATANH32 = (0.17724296, 0.05094574, 0.11835247, 0.14221294, 0.200026, 0.333333)
PI32, PI32_LOW = 3.1415927, -8.742278e-08
HALF_PI32, HALF_PI32_LOW = 1.5707964, -4.371139e-08
LARGE32 = 4096.0  # from it on x**2 + 1 is x**2


@scalar_function()
def _odd(x: Scalar, z: Scalar, *, coefficients: tuple[float, ...]) -> Scalar:
    """x + x * z * p(z), where z is x**2."""
    return x + x * z * horner(z, coefficients)


@scalar_function(float64)
def atan_between(x: Scalar) -> Scalar:
    """atan(x) for 0 <= x <= 1."""
    far = x > 0.66
    r = (x - 1) / (x + 1) if far else x
    square = r * r
    inner = r * (square * horner(square, ATAN64_OVER) / horner(square, ATAN64_UNDER)) + r
    return QUARTER_PI + (inner + QUARTER_PI_LOW) if far else inner


@atan_between.at(float32)
def _(x: Scalar) -> Scalar:
    return _odd(x, x * x, coefficients=ATAN32)


@scalar_function(float64)
def atan2(y: Scalar, x: Scalar) -> Scalar:
    """The angle of the point (x, y) to the x axis, from -pi to pi."""
    wide, high = abs(x), abs(y)
    steep = high > wide
    large, small = (high if steep else wide), (wide if steep else high)
    ratio = 1 if wide == INF and high == INF else (0 if large == 0 else small / large)
    inner = atan_between(ratio)
    first = HALF_PI - inner + HALF_PI_LOW if steep else inner
    turned = PI - first + PI_LOW if copysign(1.0, x) < 0 else first
    return NAN if x != x or y != y else copysign(turned, y)


@atan2.at(float32)
def _(y: Scalar, x: Scalar) -> Scalar:
    wide, high = abs(x), abs(y)
    steep = high > wide
    large, small = (high if steep else wide), (wide if steep else high)
    ratio = 1.0 if wide == INF and high == INF else (0.0 if large == 0.0 else small / large)
    inner = atan_between(ratio)
    first = HALF_PI32 - (inner - HALF_PI32_LOW) if steep else inner
    turned = PI32 - (first - PI32_LOW) if copysign(1.0, x) < 0.0 else first
    return NAN if x != x or y != y else copysign(turned, y)


@scalar_function(float64)
def atan(x: Scalar) -> Scalar:
    """The angle between -pi/2 and pi/2 whose tangent is x."""
    size = abs(x)
    steep = size > 1.0
    inner = atan_between(1.0 / size if steep else size)
    return copysign(HALF_PI - (inner - HALF_PI_LOW) if steep else inner, x)


@atan.at(float32)
def _(x: Scalar) -> Scalar:
    size = abs(x)
    steep = size > 1.0
    inner = atan_between((1.0 if steep else size) / (size if steep else 1.0))
    return copysign(HALF_PI32 - (inner - HALF_PI32_LOW) if steep else inner, x)


@scalar_function()
def _asin_centre(x: Scalar) -> Scalar:
    """asin(x) for |x| <= 1/2."""
    z = x * x
    return x + x * z * horner(z, ASIN)


@scalar_function(float64)
def asin(x: Scalar) -> Scalar:
    """The angle between -pi/2 and pi/2 whose sine is x; NaN for |x| > 1."""
    size = abs(x)
    far = size > 0.5
    inner = _asin_centre(sqrt((1.0 - size) * 0.5) if far else size)
    return copysign(HALF_PI - (2.0 * inner - HALF_PI_LOW) if far else inner, x)


@asin.at(float32)
def _(x: Scalar) -> Scalar:
    size = abs(x)
    far = size > 0.5
    z = (1.0 - size) * 0.5 if far else size * size
    r = sqrt(z) if far else size
    rest = r * z * horner(z, ASIN32)
    head = HALF_PI32 - 2.0 * r
    outer = head + (((HALF_PI32 - head) - 2.0 * r) - (2.0 * rest - HALF_PI32_LOW))
    return copysign(outer if far else r + rest, x)


@scalar_function(float64)
def acos(x: Scalar) -> Scalar:
    """The angle between 0 and pi whose cosine is x; NaN for |x| > 1."""
    size = abs(x)
    far = size > 0.5
    inner = _asin_centre(sqrt((1.0 - size) * 0.5) if far else x)
    outer = 2.0 * inner if x > 0.0 else PI - (2.0 * inner - PI_LOW)
    return outer if far else HALF_PI - (inner - HALF_PI_LOW)


@acos.at(float32)
def _(x: Scalar) -> Scalar:
    size = abs(x)
    far = size > 0.5
    z = (1.0 - size) * 0.5 if far else size * size
    inner = _odd(sqrt(z) if far else x, z, coefficients=ASIN32)
    outer = 2.0 * inner if x > 0.0 else PI32 - (2.0 * inner - PI32_LOW)
    return outer if far else HALF_PI32 - (inner - HALF_PI32_LOW)


@scalar_function(float32)
def _half_exp(x: Scalar) -> Scalar:
    """e**x / 2 for x >= 0, infinite only where that is too large."""
    n, r = split_exponent(
        90.0 if x > 90.0 else x, ln2=LN2_32, magic=ROUND32, magic_bits=ROUND32_BITS
    )
    return (1.0 + (r + r * r * horner(r, EXP32))) * from_bits((n + 125) << 23) * 2.0


@scalar_function(float64)
def sinh(x: Scalar) -> Scalar:
    """(e**x - e**-x) / 2."""
    size = abs(x)
    less = expm1(size if size < 25.0 else 25.0)
    half = exp(size * 0.5)
    y = 0.5 * (less + less / (less + 1.0)) if size < 25.0 else (0.5 * half) * half
    return copysign(y, x)


@sinh.at(float32)
def _(x: Scalar) -> Scalar:
    growing = _half_exp(abs(x))
    outer = copysign(growing - 0.25 / growing, x)
    return _odd(x, x * x, coefficients=SINH32) if abs(x) < 1.0 else outer


@scalar_function(float64)
def cosh(x: Scalar) -> Scalar:
    """(e**x + e**-x) / 2."""
    half = exp(abs(x) * 0.5)
    growing = (0.5 * half) * half
    return growing + 0.25 / growing


@cosh.at(float32)
def _(x: Scalar) -> Scalar:
    growing = _half_exp(abs(x))
    return growing + 0.25 / growing


@scalar_function(float32)
def _log_of_sum(u: Scalar, low: Scalar, double: Scalar) -> Scalar:
    """log(u + low), of twice that where `double` holds; low is 0 from 2**24 on."""
    k, m = split_float(u)
    f = (m - 1.0) + low * from_bits((127 - (k if k < 127 else 127)) << 23)
    y = log_sum(f, k + 1 if double else k, ln2=LN2_32, real=float32)
    return y if u < INF else u


@scalar_function(float64)
def asinh(x: Scalar) -> Scalar:
    """log(x + sqrt(x**2 + 1))."""
    size = abs(x)
    square = size * size
    large = size > LARGE
    inner = log1p(size - 1.0 if large else size + square / (1.0 + sqrt(square + 1.0)))
    return copysign(inner + LN2 if large else inner, x)


@asinh.at(float32)
def _(x: Scalar) -> Scalar:
    size = abs(x)
    large = size > LARGE32
    bounded = LARGE32 if large else size
    root = sqrt(bounded * bounded + 1.0)
    total = root + bounded
    rest = bounded - (total - root)
    outer = _log_of_sum(size if large else total, 0.0 if large else rest, large)
    inner = _odd(size, size * size, coefficients=ASINH32)
    return copysign(inner if size < 0.75 else outer, x)


@scalar_function(float64)
def acosh(x: Scalar) -> Scalar:
    """log(x + sqrt(x**2 - 1)); NaN for x < 1."""
    above = x - 1.0
    large = x > LARGE
    inner = log1p(above if large else above + sqrt(above * (x + 1.0)))
    return NAN if x < 1.0 else (inner + LN2 if large else inner)


@acosh.at(float32)
def _(x: Scalar) -> Scalar:
    large = x > LARGE32
    above = (LARGE32 if large else x) - 1.0
    root = sqrt(above * above + 2.0 * above)
    total = root + above
    u, error = one_plus(total)
    rest = error + (above - (total - root))
    y = _log_of_sum(x if large else u, 0.0 if large else rest, large)
    return NAN if x < 1.0 else y


@scalar_function(float64)
def atanh(x: Scalar) -> Scalar:
    """log((1 + x) / (1 - x)) / 2; NaN for |x| > 1."""
    size = abs(x)
    return copysign(0.5 * log1p(2.0 * size / (1.0 - size)), x)


@atanh.at(float32)
def _(x: Scalar) -> Scalar:
    size = abs(x)
    k, m = split_float((1.0 + size) / (1.0 - size))
    y = 0.5 * log_sum(m - 1.0, k, ln2=LN2_32, real=float32)
    outer = copysign(y if size < 1.0 else (INF if size == 1.0 else convert(NAN, float32)), x)
    return _odd(x, x * x, coefficients=ATANH32) if size < 0.5 else outer


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
