"""exp, log, tanh ... in the scalar language: branch-free, so that LLVM vectorises them.

Polynomials are minimax fits (Remez) of the functions named; reductions follow W. J. Cody and
W. Waite, "Software Manual for the Elementary Functions" (1980), and J.-M. Muller, "Elementary
Functions" (3rd ed., 2016). Every function is within 2 ulp of the true value unless its docstring
says otherwise; subnormals, infinities, NaN and the sign of zero are right.
"""

import math

from numbatorch.dtype import DType, float32, float64
from numbatorch.ops.scalar import (
    Scalar,
    also_float32,
    bits,
    convert,
    copysign,
    from_bits,
    horner,
    ldexp,
    paired_horner,
    scalar_function,
    sqrt,
)

INF = math.inf
NAN = math.nan
LOG2E = 1.4426950408889634
LN2 = math.log(2)
SQRT_HALF = 0.7071067811865476

# Adding 1.5 * 2**mantissa rounds to a whole number, which then stands in the low bits.
ROUND32, ROUND32_BITS = 12582912.0, 0x4B400000
ROUND64, ROUND64_BITS = 6755399441055744.0, 0x4338000000000000
SQRT_HALF32_BITS, SQRT_HALF64_BITS = 0x3F3504F3, 0x3FE6A09E667F3BCD

# ln 2 in two parts, the first so short that its product with any exponent is exact.
LN2_32 = (0.693359375, -2.12194440e-4)
LN2_64 = (6.93147180369123816490e-01, 1.90821492927058770002e-10)

# 1 / ln 10 and log10(2), the first parts of 12 bits
LOG10E = (0.4342041015625, 9.038034075182765e-05)
LOG10_2 = (0.301025390625, 4.605038981195214e-06)

# (exp(r) - 1 - r) / r**2 for |r| <= ln(2) / 2; errors 2**-34, 2**-64 of exp(r)
EXP32 = (0.0001978996, 0.001394476, 0.008333499, 0.041666295, 0.16666666, 0.5)
EXP64 = (
    2.082680954113103e-09,
    2.5112045277045728e-08,
    2.755758106094824e-07,
    2.7557234844834727e-06,
    2.4801586927943047e-05,
    0.0001984126989641497,
    0.0013888888889114588,
    0.00833333333331702,
    0.041666666666666095,
    0.16666666666666682,
    0.5,
)

# (2**r - 1) / r for |r| <= 1/2; error 2**-28.9 of 2**r
EXP2_32 = (0.00015353342, 0.0013398901, 0.009618438, 0.055503324, 0.24022648, 0.6931472)

# 2**r for |r| <= 1/2; error 2**-29
EXP2_SHORT = (
    0.000153457495955128,
    0.0013399959210005502,
    0.009618489354933117,
    0.05550328707148623,
    0.2402264688563965,
    0.6931472057705907,
    1.0000000005547462,
)

# (log(1 + f) - f + f**2 / 2) / f**3 for sqrt(1/2) <= 1 + f <= sqrt(2); error 2**-30
LOG32 = (
    0.06747103,
    -0.11675915,
    0.11888084,
    -0.12405535,
    0.14219557,
    -0.16668,
    0.20002119,
    -0.2500001,
    0.33333313,
)

# (2 * atanh(s) - 2 * s) / s**3 in z = s**2 for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1)
ATANH64 = (
    0.14796107342944598,
    0.15314035800064119,
    0.18183564860664186,
    0.2222219856378233,
    0.28571428742469546,
    0.3999999999941436,
    0.6666666666666734,
)

# (exp(r) - 1 - r) / r**2, and (2 * atanh(s) - 2 * s) / s**3 in z = s**2 for z <= 1/9; errors 2**-55
# of exp(r), 2**-52 of 2 * atanh(s)
EXP_BELOW = (
    2.510038549551032e-08,
    2.7620088445409746e-07,
    2.7557268459997064e-06,
    2.4801521295954376e-05,
    0.00019841269863053618,
    0.0013888888917213717,
    0.008333333333330062,
    0.04166666666662413,
    0.16666666666666669,
    0.5000000000000001,
)
ATANH_BELOW = (
    0.16870700661168045,
    0.10322669270465684,
    0.13502342471763581,
    0.15373274876357335,
    0.18182261108419787,
    0.2222221255792971,
    0.2857142867666099,
    0.39999999999560126,
    0.6666666666666697,
)

# (tanh(x) / x - 1) / x**2 in x**2 for |x| <= 0.6: errors 2**-28, 2**-58 of tanh(x) / x; 2**-53
# of itself
TANH32 = (-0.0059059053, 0.020805418, -0.053786695, 0.13331959, -0.333333)
TANH64 = (
    -1.7210757699296575e-05,
    7.937708639234478e-05,
    -0.00023045049050102295,
    0.0005872141595034373,
    -0.0014552230195048962,
    0.0035920388370873344,
    -0.008863226954873408,
    0.021869488015918377,
    -0.053968253949873486,
    0.133333333333009,
    -0.3333333333333313,
)

TANH_REST = (
    9.916372416416241e-07,
    -4.945692670034688e-06,
    1.5014299115711977e-05,
    -3.890849770067712e-05,
    9.680943521624041e-05,
    -0.00023910757250025918,
    0.0005900243334839051,
    -0.001455834073197924,
    0.0035921280149849334,
    -0.008863235528937866,
    0.02186948853612935,
    -0.0539682539682536,
    0.13333333333333333,
    -0.3333333333333333,
)


@scalar_function()
def maximum(lhs: Scalar, rhs: Scalar) -> Scalar:
    """The larger operand; NaN if one is NaN."""
    return lhs if lhs > rhs or lhs != lhs else rhs


@scalar_function()
def minimum(lhs: Scalar, rhs: Scalar) -> Scalar:
    """The smaller operand; NaN if one is NaN."""
    return lhs if lhs < rhs or lhs != lhs else rhs


@scalar_function()
def clamp(x: Scalar, *, low: float, high: float) -> Scalar:
    """x within [low, high]; NaN stays."""
    x = low if x < low else x
    return high if x > high else x


@scalar_function()
def truncated(x: Scalar, *, mask: int) -> Scalar:
    """x without the low bits of its mantissa."""
    return from_bits(bits(x) & mask)


@scalar_function()
def split_exponent(x: Scalar, *, ln2: tuple[float, float], magic: float, magic_bits: int) -> Scalar:
    """(n, r): x = n * ln(2) + r with |r| <= ln(2) / 2, n an integer."""
    shifted = x * LOG2E + magic
    whole = shifted - magic
    high, low = ln2
    return bits(shifted) - magic_bits, (x - whole * high) - whole * low


@scalar_function(float32)
def exp(x: Scalar) -> Scalar:
    """e**x."""
    x = clamp(x, low=-104.0, high=89.0)
    n, r = split_exponent(x, ln2=LN2_32, magic=ROUND32, magic_bits=ROUND32_BITS)
    return ldexp(1.0 + (r + r * r * paired_horner(r, EXP32)), n)


@exp.at(float64)
def _(x: Scalar) -> Scalar:
    x = clamp(x, low=-746.0, high=710.0)
    n, r = split_exponent(x, ln2=LN2_64, magic=ROUND64, magic_bits=ROUND64_BITS)
    return ldexp(1.0 + (r + r * r * horner(r, EXP64)), n)


@scalar_function()
def _expm1_scaled(e: Scalar, n: Scalar, *, mantissa: int, bias: int) -> Scalar:
    """(1 + e) * 2**n - 1; half of it is computed, for 2**n may be too large."""
    scale = from_bits((n + (bias - 1)) << mantissa)
    return 2.0 * (scale * e + (scale - 0.5))


@scalar_function(float32)
def expm1(x: Scalar) -> Scalar:
    """e**x - 1."""
    bounded = clamp(x, low=-18.0, high=89.0)
    n, r = split_exponent(bounded, ln2=LN2_32, magic=ROUND32, magic_bits=ROUND32_BITS)
    y = _expm1_scaled(r + r * r * paired_horner(r, EXP32), n, mantissa=23, bias=127)
    return x if abs(x) < 3e-8 else y


@expm1.at(float64)
def _(x: Scalar) -> Scalar:
    bounded = clamp(x, low=-38.0, high=710.0)
    n, r = split_exponent(bounded, ln2=LN2_64, magic=ROUND64, magic_bits=ROUND64_BITS)
    y = _expm1_scaled(r + r * r * horner(r, EXP64), n, mantissa=52, bias=1023)
    return x if abs(x) < 5e-17 else y


@scalar_function(float32)
def split_float(x: Scalar) -> Scalar:
    """(k, m): x = m * 2**k with sqrt(1/2) <= m < sqrt(2), for positive finite x; k an integer."""
    subnormal = x < 1.1754943508222875e-38
    above = bits(x * 8388608.0 if subnormal else x) - SQRT_HALF32_BITS
    k = above >> 23
    return k - 23 if subnormal else k, from_bits((above & 0x7FFFFF) + SQRT_HALF32_BITS)


@split_float.at(float64)
def _(x: Scalar) -> Scalar:
    subnormal = x < 2.2250738585072014e-308
    above = bits(x * 4503599627370496.0 if subnormal else x) - SQRT_HALF64_BITS
    k = above >> 52
    return k - 52 if subnormal else k, from_bits((above & 0xFFFFFFFFFFFFF) + SQRT_HALF64_BITS)


@scalar_function(float32)
def _log_rest(f: Scalar) -> Scalar:
    """log(1 + f) - f + f**2 / 2."""
    return f * f * f * paired_horner(f, LOG32)


@_log_rest.at(float64)
def _(f: Scalar) -> Scalar:
    s = f / (2.0 + f)
    z = s * s
    return s * (0.5 * f * f + z * horner(z, ATANH64))


@scalar_function()
def log_special(x: Scalar, y: Scalar) -> Scalar:
    """y, the logarithm of a positive finite x; else what belongs to x."""
    y = y if x < INF else x
    return y if x > 0.0 else (-INF if x == 0.0 else (NAN if x < 0.0 else x))


@scalar_function()
def log_sum(f: Scalar, k: Scalar, *, ln2: tuple[float, float], real: DType) -> Scalar:
    """log(1 + f) + k * ln(2)."""
    high, low = ln2
    exponent = convert(k, real)
    rest = _log_rest(f) + exponent * low
    return exponent * high + (f - (0.5 * f * f - rest))


@scalar_function(float32)
def log(x: Scalar) -> Scalar:
    """The natural logarithm."""
    k, m = split_float(x)
    return log_special(x, log_sum(m - 1.0, k, ln2=LN2_32, real=float32))


@log.at(float64)
def _(x: Scalar) -> Scalar:
    k, m = split_float(x)
    return log_special(x, log_sum(m - 1.0, k, ln2=LN2_64, real=float64))


@scalar_function()
def one_plus(x: Scalar) -> Scalar:
    """(u, e): u = 1 + x rounded, e the error of the rounding."""
    u = 1.0 + x
    part = u - 1.0
    return u, (1.0 - (u - part)) + (x - part)


@scalar_function(float32)
def log1p(x: Scalar) -> Scalar:
    """log(1 + x)."""
    u, error = one_plus(x)
    k, m = split_float(u)
    f = (m - 1.0) + error * from_bits((127 - minimum(k, 127)) << 23)
    y = log_special(u, log_sum(f, k, ln2=LN2_32, real=float32))
    return x if x == 0.0 or x == INF else y


@log1p.at(float64)
def _(x: Scalar) -> Scalar:
    u, error = one_plus(x)
    k, m = split_float(u)
    f = (m - 1.0) + error * from_bits((1023 - minimum(k, 1023)) << 52)
    y = log_special(u, log_sum(f, k, ln2=LN2_64, real=float64))
    return x if x == 0.0 or x == INF else y


@scalar_function()
def _log2_sum(
    f: Scalar, k: Scalar, *, log2e: tuple[float, float], mask: int, real: DType
) -> Scalar:
    """log2(1 + f) + k; the leading product is exact."""
    high, low = log2e
    half = 0.5 * f * f
    head = truncated(f - half, mask=mask)
    tail = ((f - head) - half) + _log_rest(f)
    exponent = convert(k, real)
    leading = head * high
    total = exponent + leading
    return total + (((exponent - total) + leading) + (tail * high + (tail + head) * low))


@scalar_function(float32)
def log2(x: Scalar) -> Scalar:
    """The logarithm to base 2."""
    k, m = split_float(x)
    log2e = (1.4423828125, 0.00031222838896340733)
    y = _log2_sum(m - 1.0, k, log2e=log2e, mask=-0x1000, real=float32)
    return log_special(x, y)


@log2.at(float64)
def _(x: Scalar) -> Scalar:
    k, m = split_float(x)
    log2e = (1.4426946640014648, 3.768874985636099e-07)
    y = _log2_sum(m - 1.0, k, log2e=log2e, mask=-0x100000000, real=float64)
    return log_special(x, y)


@scalar_function()
def _log10_sum(f: Scalar, k: Scalar, *, mask: int, real: DType) -> Scalar:
    """log10(1 + f) + k * log10(2); the leading products are exact."""
    high, low = LOG10E
    two_high, two_low = LOG10_2
    half = 0.5 * f * f
    head = truncated(f - half, mask=mask)
    tail = ((f - head) - half) + _log_rest(f)
    exponent = convert(k, real) * two_high
    leading = head * high
    total = exponent + leading
    rest = tail * high + ((tail + head) * low + convert(k, real) * two_low)
    return total + (((exponent - total) + leading) + rest)


@scalar_function(float32)
def log10(x: Scalar) -> Scalar:
    """The logarithm to base 10."""
    k, m = split_float(x)
    return log_special(x, _log10_sum(m - 1.0, k, mask=-0x1000, real=float32))


@log10.at(float64)
def _(x: Scalar) -> Scalar:
    k, m = split_float(x)
    return log_special(x, _log10_sum(m - 1.0, k, mask=-0x100000000, real=float64))


@scalar_function()
def rsqrt(x: Scalar) -> Scalar:
    """1 / sqrt(x)."""
    return 1.0 / sqrt(x)


@also_float32
@scalar_function(float64)
def tanhshrink(x: Scalar) -> Scalar:
    """x - tanh(x), without cancellation near 0."""
    z = x * x
    inner = x if x == 0.0 else -(x * z * horner(z, TANH_REST))
    return x - copysign(_tanh_outer(abs(x)), x) if abs(x) >= 0.6 else inner


@scalar_function(float32)
def exp2(x: Scalar) -> Scalar:
    """2**x."""
    x = clamp(x, low=-152.0, high=129.0)
    shifted = x + ROUND32
    r = x - (shifted - ROUND32)
    return ldexp(1.0 + r * horner(r, EXP2_32), bits(shifted) - ROUND32_BITS)


@exp2.at(float64)
def _(x: Scalar) -> Scalar:
    x = clamp(x, low=-1080.0, high=1025.0)
    shifted = x + ROUND64
    r = (x - (shifted - ROUND64)) * LN2
    n = bits(shifted) - ROUND64_BITS
    return ldexp(1.0 + (r + r * r * horner(r, EXP64)), n)


@scalar_function()
def _tanh_outer(a: Scalar) -> Scalar:
    return 1.0 - 2.0 / (1.0 + exp(2.0 * a))


@scalar_function(float32)
def tanh(x: Scalar) -> Scalar:
    """The hyperbolic tangent."""
    z = x * x
    inner = x + x * z * horner(z, TANH32)
    doubled = 2.0 * abs(x)
    bounded = 20.0 if doubled > 20.0 else doubled
    n, r = split_exponent(bounded, ln2=LN2_32, magic=ROUND32, magic_bits=ROUND32_BITS)
    e = (1.0 + (r + r * r * paired_horner(r, EXP32))) * from_bits((n + 127) << 23)
    return copysign(inner if abs(x) < 0.6 else 1.0 - 2.0 / (1.0 + e), x)


@tanh.at(float64)
def _(x: Scalar) -> Scalar:
    z = x * x
    inner = x + x * z * horner(z, TANH64)
    return copysign(inner if abs(x) < 0.6 else _tanh_outer(abs(x)), x)


@scalar_function(float64)
def log_one_more(gap: Scalar) -> Scalar:
    """log(1 + e**gap) for -700 <= gap <= 0, to 51 bits."""
    shifted = gap * LOG2E + ROUND64
    r = gap - (shifted - ROUND64) * LN2
    scale = from_bits((bits(shifted) - (ROUND64_BITS - 1023)) << 52)
    e = (1.0 + (r + r * r * paired_horner(r, EXP_BELOW))) * scale
    s = e / (2.0 + e)
    z = s * s
    return s * (2.0 + z * paired_horner(z, ATANH_BELOW))


@scalar_function(float64)
def logaddexp(x: Scalar, y: Scalar) -> Scalar:
    """log(e**x + e**y)."""
    high, low = maximum(x, y), minimum(x, y)
    gap = 0.0 if high == low else low - high
    return high + log1p(exp(gap))


@logaddexp.at(float32)
def _(x: Scalar, y: Scalar) -> Scalar:
    high, low = convert(maximum(x, y), float64), convert(minimum(x, y), float64)
    gap = 0.0 if high == low else low - high
    # Terms cancel where the result is near 0, so they are float64.
    return convert(high + log_one_more(-120.0 if gap < -120.0 else gap), float32)


@also_float32
@scalar_function(float64)
def logaddexp2(x: Scalar, y: Scalar) -> Scalar:
    """log2(2**x + 2**y)."""
    high, low = maximum(x, y), minimum(x, y)
    gap = 0.0 if high == low else low - high
    return high + log1p(exp(gap * LN2)) * LOG2E


@also_float32
@scalar_function(float64)
def logit(x: Scalar) -> Scalar:
    """log(x / (1 - x))."""
    rest = 1.0 - x
    near = x > 0.25 and x < 0.75
    around = log1p((x - rest) / rest if near else 0.0)
    return around if near else log(x / rest)
