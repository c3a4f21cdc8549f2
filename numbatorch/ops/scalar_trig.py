"""sin, cos and tan in the scalar language: within 2 ulp; see scalar_exp.py.

A float32 below 2**16 is reduced in float32, a larger one in float64; on Metal, which has none, in
integers.
"""

import math

from numbatorch.dtype import float32, float64, int64, uint32, uint64
from numbatorch.ops.scalar import (
    Scalar,
    bits,
    convert,
    copysign,
    fma,
    from_bits,
    horner,
    rarely,
    rint,
    scalar_function,
)
from numbatorch.ops.scalar_exp import ROUND32, ROUND64
from numbatorch.ops.scalar_fused import fused_horner

# 2 / pi times 2**0, 2**30, 2**60 and 2**90 modulo 4, in parts: the products of the first two, of 29
# bits, with a float32 are exact.
TWO_OVER_PI_PARTS = (
    (0.6366197690367699, 3.3308114738561656e-09, 2.276010073078396e-18),
    (3.5764315873384476, 2.4438471940557704e-09, 1.3253800155962945e-17),
    (2.6240609511733055, 6.780578945542182e-09, 1.1929127434899379e-17),
    (3.2805912122130394, 5.358222449070027e-09, 4.6834445619539e-18),
)
# 2 / pi times 2**(122 k) modulo 4 for k = 0 ... 7, in six parts of 53 bits: a column a part.
TWO_OVER_PI_COLUMNS = (
    (
        0.636619772367581,
        3.0133902035640325,
        0.33635629873937534,
        0.39268872315986103,
        2.73151426986118,
        2.0519547356398724,
        3.991704553597582,
        3.7023002361946302,
    ),
    (
        2.93709554037182e-16,
        1.9781437487036245e-16,
        6.750132644108802e-17,
        1.7056740817463133e-16,
        9.304476786726367e-17,
        4.1887979263279586e-16,
        2.3726189646861464e-16,
        2.4372052843373757e-16,
    ),
    (
        1.0181664387499708e-32,
        2.36762121990147e-32,
        3.0933066639106505e-32,
        2.413106177441486e-32,
        4.1258168773596823e-32,
        4.3598237555865985e-32,
        4.071530673945891e-32,
        1.7966769041124888e-32,
    ),
    (
        8.45299044315484e-49,
        6.2285039693713634e-49,
        4.5805661259816496e-48,
        4.8645327960408266e-48,
        3.090713550268458e-48,
        5.29403979962096e-48,
        2.3652755593739083e-48,
        2.9903148105238476e-48,
    ),
    (
        3.387198856659888e-64,
        3.4880101824310566e-64,
        7.727657568248292e-65,
        1.3666418740579229e-64,
        5.6142436986978377e-64,
        4.984322341967125e-64,
        5.9476531242103293e-64,
        1.9602149042759603e-64,
    ),
    (
        3.853576277141524e-80,
        6.647744973064476e-80,
        1.0357800786941052e-80,
        1.64923263037486e-80,
        5.3773411789321316e-80,
        3.9553247864843745e-80,
        2.5086669572220197e-80,
        9.473225687485487e-81,
    ),
)
SCALES = tuple(2.0 ** (-122 * k) for k in range(8))
HALF_PI_HIGH = 1.5707963109016418  # of 26 bits
HALF_PI_REST = 1.5893254712295857e-08
LOW_27_BITS = -0x8000000
POWER_OF_TWO = (2.0**-30, 2.0**-60, 2.0**-90)

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
HALF_PI, HALF_PI_LOW = math.pi / 2, 6.123233995736766e-17
HALF_PI32 = (1.5707964, -4.371139e-08)

FAR = 65536.0  # from here on float32 is not enough to reduce a float32
TWO_OVER_PI = 0.63661975
HALF_PI_PARTS = (1.5707964, -4.371139e-08, -1.7151245e-15)
# (tan(r) - r) / r**3 in r**2 for |r| <= pi / 4; error 2**-29 of tan(r)
TAN32 = (
    0.0044418327,
    -4.6190584e-05,
    0.010945545,
    0.02123861,
    0.05406865,
    0.13332583,
    0.33333352,
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
def _part(size: Scalar, *, parts: tuple[float, float, float, float]) -> Scalar:
    """Of four numbers the one for operands of this size."""
    first, second, third, fourth = parts
    far = third if size < 2.0**114 else convert(fourth, float64)
    return first if size < 2.0**54 else (second if size < 2.0**84 else far)


@scalar_function()
def _modulo(x: Scalar) -> Scalar:
    """x modulo 4, between -2 and 2, exactly."""
    return x - 4.0 * rint(x * 0.25)


@scalar_function()
def _reduce_short(x: Scalar) -> Scalar:
    """(quadrant, r): a float32 x = quadrant * pi / 2 + r, in float64.

    A large x is a multiple of 2**30 and more, of which 2 / pi modulo 4 is enough.
    """
    x = convert(x, float64)
    size = abs(x)
    (a1, a2, a3), (b1, b2, b3), (c1, c2, c3), (d1, d2, d3) = TWO_OVER_PI_PARTS
    down, far_down, farthest = POWER_OF_TWO
    x = x * _part(size, parts=(1.0, down, far_down, farthest))
    first = _modulo(x * _part(size, parts=(a1, b1, c1, d1)))
    second = _modulo(x * _part(size, parts=(a2, b2, c2, d2)))
    third = x * _part(size, parts=(a3, b3, c3, d3))
    quadrant = rint(first + second)
    r = ((first - quadrant) + second) + third
    return bits(quadrant + ROUND64), r * HALF_PI


@scalar_function()
def _two_sum(a: Scalar, b: Scalar) -> Scalar:
    """(s, e): s = a + b rounded, e the error of the rounding (D. Knuth, TAOCP 2, 4.2.2)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


@scalar_function()
def _product(x: Scalar, y: Scalar) -> Scalar:
    """(p, e): p = x * y rounded, e the error of the rounding."""
    product = x * y
    return product, fma(x, y, -product)


@scalar_function()
def _window(size: Scalar, *, column: tuple[float, ...]) -> Scalar:
    """Of eight numbers the one for operands of this size."""
    c0, c1, c2, c3, c4, c5, c6, c7 = column
    high = c6 if size < 2.0**907 else convert(c7, float64)
    high = c4 if size < 2.0**663 else (c5 if size < 2.0**785 else high)
    low = c2 if size < 2.0**419 else convert(c3, float64)
    low = c0 if size < 2.0**175 else (c1 if size < 2.0**297 else low)
    return low if size < 2.0**541 else high


@scalar_function()
def _accumulated(r: Scalar, e: Scalar, rest: Scalar, term: Scalar) -> Scalar:
    """r + term, what it is rounded by added to e, and that sum's rounding to rest."""
    r, error = _two_sum(r, term)
    e, last = _two_sum(e, error)
    return r, e, rest + last


@scalar_function()
def _reduce_long(x: Scalar) -> Scalar:
    """(quadrant, r, e): x = quadrant * pi / 2 + (r + e), in float64.

    A large x is a multiple of 2**(122 k), of which 2 / pi modulo 4 is enough. The products with its
    parts are exact sums of two numbers, each taken modulo 4.
    """
    size = abs(x)
    x1, x2, x3, x4, x5, x6 = TWO_OVER_PI_COLUMNS
    x = x * _window(size, column=SCALES)
    p1, e1 = _product(x, _window(size, column=x1))
    p2, e2 = _product(x, _window(size, column=x2))
    p3, e3 = _product(x, _window(size, column=x3))
    p4, e4 = _product(x, _window(size, column=x4))
    p5, e5 = _product(x, _window(size, column=x5))
    p6 = x * _window(size, column=x6)
    p1, e1, p2, e2 = _modulo(p1), _modulo(e1), _modulo(p2), _modulo(e2)
    p3, e3, p4 = _modulo(p3), _modulo(e3), _modulo(p4)
    quadrant = rint(((p1 + e1) + (p2 + e2)) + ((p3 + e3) + p4))
    r, e = _two_sum(p1, -quadrant)
    r, e, rest = _accumulated(r, e, 0.0, e1)
    r, e, rest = _accumulated(r, e, rest, p2)
    r, e, rest = _accumulated(r, e, rest, e2)
    r, e, rest = _accumulated(r, e, rest, p3)
    r, e, rest = _accumulated(r, e, rest, e3)
    r, e, rest = _accumulated(r, e, rest, p4)
    r, e, rest = _accumulated(r, e, rest, e4)
    r, e, rest = _accumulated(r, e, rest, p5)
    r, e = _two_sum(r, e)
    r, rest = _two_sum(r, (e + rest) + (e5 + p6))
    r_high = from_bits(bits(r) & LOW_27_BITS)
    r_low = r - r_high
    y = r * HALF_PI
    e = ((r_high * HALF_PI_HIGH - y) + (r_high * HALF_PI_REST + r_low * HALF_PI_HIGH)) + (
        r_low * HALF_PI_REST
    )
    return bits(quadrant + ROUND64), y, e + (r * HALF_PI_LOW + rest * HALF_PI)


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
def sin_kernel(r: Scalar) -> Scalar:
    """sin(r) for |r| <= pi / 4."""
    z = r * r
    return copysign(r + r * z * horner(z, SIN32), r)


@sin_kernel.at(float64)
def _(r: Scalar) -> Scalar:
    z = r * r
    return copysign(r + r * z * horner(z, SIN64), r)


@scalar_function(float32)
def cos_kernel(r: Scalar) -> Scalar:
    """cos(r) for |r| <= pi / 4."""
    z = r * r
    return 1.0 - (0.5 * z - z * z * horner(z, COS32))


@cos_kernel.at(float64)
def _(r: Scalar) -> Scalar:
    z = r * r
    return 1.0 - (0.5 * z - z * z * horner(z, COS64))


@scalar_function()
def _reduce_to_single(x: Scalar) -> Scalar:
    """(quadrant, r, e): a float32 x = quadrant * pi / 2 + (r + e), the rest in float32."""
    quadrant, wide = _reduce_short(x)
    r = convert(wide, float32)
    return quadrant, r, convert(wide - convert(r, float64), float32)


@scalar_function()
def _sin_single(r: Scalar, e: Scalar) -> Scalar:
    """sin(r + e) in float32."""
    z = r * r
    return r + (r * z * horner(z, SIN32) + e)


@scalar_function()
def _cos_single(r: Scalar, e: Scalar) -> Scalar:
    """cos(r + e) in float32."""
    z = r * r
    return 1.0 - (0.5 * z - (z * z * horner(z, COS32) - r * e))


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
def at_quadrant(quadrant: Scalar, sine: Scalar, cosine: Scalar) -> Scalar:
    """The sine of an angle, from the sine and cosine of its rest."""
    y = sine if (quadrant & 1) == 0 else cosine
    return y if (quadrant & 2) == 0 else -y


@scalar_function()
def _reduce_near(x: Scalar) -> Scalar:
    """(quadrant, r, e): a float32 x = quadrant * pi / 2 + (r + e), where |x| < FAR.

    x - quadrant * p is exact for the first part p of pi / 2. What the next difference is rounded by
    is known where it changed less than is left of it, for `change` is exact there.
    """
    shifted = fma(x, TWO_OVER_PI, ROUND32)
    quadrant = shifted - ROUND32
    first, second, third = HALF_PI_PARTS
    head = fma(quadrant, -first, x)
    r = fma(quadrant, -second, head)
    change = head - r
    rounded = fma(quadrant, -second, change) if abs(change) <= abs(r) else 0.0
    return bits(shifted), r, fma(quadrant, -third, rounded)


@scalar_function()
def _circle(x: Scalar, turn: Scalar) -> Scalar:
    """The sine of x + turn * pi / 2 for a float32 |x| < FAR."""
    quadrant, r, e = _reduce_near(x)
    quadrant = quadrant + turn
    z = r * r
    sine = fma(r * z, fused_horner(z, SIN32), e) + r
    cosine = fma(z * z, fused_horner(z, COS32), r * -e) + fma(z, -0.5, 1.0)
    y = sine if (quadrant & 1) == 0 else cosine
    return from_bits(bits(y) ^ ((quadrant & 2) << 30))


@scalar_function(float32)
def sin(x: Scalar) -> Scalar:
    """The sine, for every finite x; within 2 ulp, on Metal 1 ulp."""
    quadrant, r, e = _reduce_to_single(x)
    far = at_quadrant(quadrant, _sin_single(r, e), _cos_single(r, e))
    y = rarely(abs(x) >= FAR, far, _circle(x, 0))
    return x if x == 0.0 else y


@sin.at(float32, "metal")
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_exactly(x)
    y = at_quadrant(quadrant, _sin_pair(r, e), _cos_pair(r, e))
    return (y if bits(x) >= 0 else -y) if abs(x) < math.inf else math.nan


@sin.at(float64)
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_long(x)
    y = at_quadrant(quadrant, _sin_tailed(r, e), _cos_tailed(r, e))
    return x if abs(x) < 1e-8 else y


@scalar_function(float32)
def cos(x: Scalar) -> Scalar:
    """The cosine, for every finite x; within 2 ulp, on Metal 1 ulp."""
    quadrant, r, e = _reduce_to_single(x)
    far = at_quadrant(quadrant + 1, _sin_single(r, e), _cos_single(r, e))
    return rarely(abs(x) >= FAR, far, _circle(x, 1))


@cos.at(float32, "metal")
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_exactly(x)
    y = at_quadrant(quadrant + 1, _sin_pair(r, e), _cos_pair(r, e))
    return y if abs(x) < math.inf else math.nan


@cos.at(float64)
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_long(x)
    return at_quadrant(quadrant + 1, _sin_tailed(r, e), _cos_tailed(r, e))


@scalar_function()
def _tan_at(quadrant: Scalar, sine: Scalar, cosine: Scalar) -> Scalar:
    even = (quadrant & 1) == 0
    return (sine if even else -cosine) / (cosine if even else sine)


@scalar_function()
def _tan_near(x: Scalar) -> Scalar:
    """tan(x) for a float32 |x| < FAR."""
    quadrant, r, e = _reduce_near(x)
    z = r * r
    tangent = fma(r * z, fused_horner(z, TAN32), e) + r
    even = (quadrant & 1) == 0
    return (tangent if even else -1.0) / (1.0 if even else tangent)


@scalar_function(float32)
def tan(x: Scalar) -> Scalar:
    """The tangent, for every finite x; within 2 ulp, on Metal 2.5 ulp."""
    quadrant, r = _reduce_short(x)
    far = convert(_tan_at(quadrant, sin_kernel(r), cos_kernel(r)), float32)
    return x if x == 0.0 else rarely(abs(x) >= FAR, far, _tan_near(x))


@tan.at(float32, "metal")
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_exactly(x)
    y = _tan_at(quadrant, _sin_pair(r, e), _cos_pair(r, e))
    return (y if bits(x) >= 0 else -y) if abs(x) < math.inf else math.nan


@tan.at(float64)
def _(x: Scalar) -> Scalar:
    quadrant, r, e = _reduce_long(x)
    y = _tan_at(quadrant, _sin_tailed(r, e), _cos_tailed(r, e))
    return x if abs(x) < 1e-8 else y
