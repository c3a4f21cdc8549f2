"""The error function and its relatives in the scalar language, most of them computed in float64.

M. J. Wichura, "Algorithm AS 241: the percentage points of the normal distribution", Applied
Statistics 37 (1988), https://doi.org/10.2307/2347330
"""

import math

from numbatorch.dtype import float32, float64
from numbatorch.ops.scalar import (
    Scalar,
    also_float32,
    convert,
    copysign,
    fma,
    from_bits,
    horner,
    paired_horner,
    scalar_function,
    sqrt,
)
from numbatorch.ops.scalar_exp import (
    EXP32,
    LN2_32,
    ROUND32,
    ROUND32_BITS,
    SQRT_HALF,
    clamp,
    exp,
    log,
    log1p,
    split_exponent,
    truncated,
)

INF = math.inf
NAN = math.nan

BORDER = 0.92  # of the polynomials for the centre and the tail
FAR = 26.0  # where the tail's ends, for erfc is 0 from there on
ROOT_OF_PI = 1.7724538509055159
INVERSE_ROOT_OF_TAU = 1 / math.sqrt(math.tau)
# x sqrt(pi) e**(x**2) erfc(x) in 1 / (2 x**2), asymptotic: https://dlmf.nist.gov/7.12.E1
FAR_ERFC = (10395.0, -945.0, 105.0, -15.0, 3.0, -1.0, 1.0)

# (erf(x) / x - 1) in x**2 for |x| <= 0.92; errors 2**-31, 2**-60
ERF32 = (
    8.397273e-05,
    -0.0008149684,
    0.0052017057,
    -0.026859699,
    0.11283702,
    -0.37612635,
    0.12837917,
)
ERF64 = (
    -8.345866783215967e-10,
    1.3987023214100864e-08,
    -1.626444129524102e-07,
    1.6454051475092357e-06,
    -1.4925223949956427e-05,
    0.00012055317879864761,
    -0.00085483266705458,
    0.005223977620206797,
    -0.026866170644672595,
    0.11283791670953049,
    -0.37612638903183715,
    0.1283791670955126,
)

# (1 - Phi(a)) * exp(a**2 / 2) / t in t = 1 / (1 + 17/64 * a) for 0 <= a <= 14.5; error 2**-26.1
NORMAL_STEP = 0.265625
DOWN = 2.0**-64
NORMAL_TAIL = (
    0.030651143,
    -0.14222144,
    0.21197467,
    -0.1104211,
    0.13405256,
    0.061877698,
    0.10255886,
    0.10553904,
    0.105988584,
)

# erfc(a) * exp(a**2) / t in t = 1 / (1 + c * a) for a >= 0.92, with c = 0.4 and 0.3
ERFC32 = (
    0.06559909977689073,
    -0.24113184915104366,
    0.26175267979540234,
    -0.08589989152835317,
    0.18263844047752628,
    0.1557719251631567,
    0.21017201172995081,
    0.22544024447479186,
    0.22568529174316712,
)
ERFC64 = (
    0.0036942418261650587,
    -0.03516588083626015,
    0.14958464981650837,
    -0.37406822917421934,
    0.6131422457606781,
    -0.7070326955957945,
    0.61442084831371,
    -0.4179960627387378,
    0.21398022629005883,
    -0.09569271821631038,
    0.037270600201214886,
    0.013036890250654194,
    0.04552319135714099,
    0.06988519995859625,
    0.09827441654004018,
    0.12458151466876154,
    0.1464075105671058,
    0.16164029970805002,
    0.1692568755641492,
    0.16925687505710654,
)

# AS 241: near the median, and in the tails up to and from r = 5 on, highest power first.
CENTRE_OVER = (
    2509.0809287301226727,
    33430.575583588128105,
    67265.770927008700853,
    45921.953931549871457,
    13731.693765509461125,
    1971.5909503065514427,
    133.14166789178437745,
    3.387132872796366608,
)
CENTRE_UNDER = (
    5226.495278852854561,
    28729.085735721942674,
    39307.89580009271061,
    21213.794301586595867,
    5394.1960214247511077,
    687.1870074920579083,
    42.313330701600911252,
    1.0,
)
TAIL_OVER = (
    7.7454501427834140764e-4,
    0.0227238449892691845833,
    0.24178072517745061177,
    1.27045825245236838258,
    3.64784832476320460504,
    5.7694972214606914055,
    4.6303378461565452959,
    1.42343711074968357734,
)
TAIL_UNDER = (
    1.05075007164441684324e-9,
    5.475938084995344946e-4,
    0.0151986665636164571966,
    0.14810397642748007459,
    0.68976733498510000455,
    1.6763848301838038494,
    2.05319162663775882187,
    1.0,
)
FAR_OVER = (
    2.01033439929228813265e-7,
    2.71155556874348757815e-5,
    0.0012426609473880784386,
    0.026532189526576123093,
    0.29656057182850489123,
    1.7848265399172913358,
    5.4637849111641143699,
    6.6579046435011037772,
)
FAR_UNDER = (
    2.04426310338993978564e-15,
    1.4215117583164458887e-7,
    1.8463183175100546818e-5,
    7.868691311456132591e-4,
    0.0148753612908506148525,
    0.13692988092273580531,
    0.59983220655588793769,
    1.0,
)


# erfinv(x) / x, for w = -log(1 - x**2): in w for w < 5, error 2**-28; in sqrt(w) - 3 beyond, error
# 2**-29. The constants stand apart, in two parts. M. Giles, "Approximating the erfinv function",
# GPU Computing Gems, Jade Edition (2011), has the variables.
ERFINV_NEAR = (
    3.0826905e-10,
    -1.6466444e-08,
    3.0223865e-07,
    -2.4520982e-06,
    5.666667e-06,
    4.0877283e-05,
    -0.00012256195,
    -0.002338067,
    0.011550121,
    0.2320136,
)
ERFINV_FAR = (
    -2.948738e-05,
    0.00016096493,
    -0.00027790674,
    -0.000120739904,
    0.0014756336,
    -0.0035666474,
    0.0056874845,
    -0.007642887,
    0.00944533,
    1.0016752,
)
ERFINV_CONSTANTS = ((0.88622695, -2.66232e-08), (2.8329768, -1.6769771e-08))


@scalar_function(float32)
def _erfc_tail(a: Scalar) -> Scalar:
    """1 - erf(a) for a >= 0.92; as accurate as exp(-a**2), to a**2 ulp."""
    a = 10.1 if a > 10.1 else a
    t = 1.0 / (1.0 + 0.4 * a)
    return exp(-(a * a)) * (t * paired_horner(t, ERFC32))


@_erfc_tail.at(float64)
def _(a: Scalar) -> Scalar:
    a = 27.3 if a > 27.3 else a
    t = 1.0 / (1.0 + 0.3 * a)
    return exp(-(a * a)) * (t * horner(t, ERFC64))


@scalar_function(float32)
def erf_centre(x: Scalar) -> Scalar:
    """erf(x) for |x| <= 0.92."""
    return x + x * paired_horner(x * x, ERF32)


@erf_centre.at(float64)
def _(x: Scalar) -> Scalar:
    return x + x * horner(x * x, ERF64)


@scalar_function()
def erf(x: Scalar) -> Scalar:
    """The error function."""
    a = abs(x)
    return erf_centre(x) if a < 0.92 else copysign(1.0 - _erfc_tail(a), x)


@scalar_function(float32)
def _normal_bound(x: Scalar) -> Scalar:
    """|x|, but no more than where the tail beyond is 0."""
    a = abs(x)
    return 14.5 if a > 14.5 else a


@scalar_function(float32)
def _tail_parts(a: Scalar) -> Scalar:
    """(e, f): 2**-64 e f = 1 - Phi(a) for 0 <= a <= 14.5, where e is 2**64 e**(-a**2 / 2), nearly.

    What rounding takes from the square and from t goes into the exponent: a tail is off by about
    0.7 + 2.3 * t times as much as t.
    """
    under = 1.0 + a * NORMAL_STEP
    t = 1.0 / under
    off = fma(-t, under, 1.0) - t * fma(a, NORMAL_STEP, 1.0 - under)
    square = a * a
    lost = fma(a, a, -square)
    n, r = split_exponent(square * -0.5, ln2=LN2_32, magic=ROUND32, magic_bits=ROUND32_BITS)
    r = r + (off * (0.7 + 2.3 * t) - 0.5 * lost)
    power = (1.0 + (r + r * r * paired_horner(r, EXP32))) * from_bits((n + (127 + 64)) << 23)
    return power, t * paired_horner(t, NORMAL_TAIL)


@scalar_function()
def _normal_tail(a: Scalar) -> Scalar:
    """1 - Phi(a) for a >= 1.3 in float64."""
    a = 38.6 if a > 38.6 else a
    t = 1.0 / (1.0 + (0.3 * SQRT_HALF) * a)
    return 0.5 * (exp_of_square(a, sign=-0.5) * (t * horner(t, ERFC64)))


@scalar_function(float32)
def normal_cdf(x: Scalar) -> Scalar:
    """(1 + erf(x / sqrt(2))) / 2, to 4 ulp of float32 over its whole tail."""
    power, rest = _tail_parts(_normal_bound(x))
    tail = power * rest * DOWN
    y = tail if x < 0.0 else 1.0 - tail
    return x if x != x else y


@normal_cdf.at(float64)
def _(x: Scalar) -> Scalar:
    centre = 0.5 + 0.5 * erf_centre(x * SQRT_HALF)
    tail = _normal_tail(abs(x))
    return centre if abs(x) < 1.3 else (tail if x < 0.0 else 1.0 - tail)


@scalar_function()
def gelu(x: Scalar) -> Scalar:
    """x * (1 + erf(x / sqrt(2))) / 2, to 5 ulp of float32 over its whole tail."""
    return x * normal_cdf(x)


@gelu.at(float32)
def _(x: Scalar) -> Scalar:
    a = _normal_bound(x)
    power, rest = _tail_parts(a)
    rectified = -0.0 if x < 0.0 else x
    y = fma(power * (a * rest), -DOWN, rectified)
    return y if abs(x) < INF else x * rectified


@scalar_function()
def gelu_slope(x: Scalar) -> Scalar:
    """Phi(x) + x * e**(-x**2 / 2) / sqrt(2 * pi); right to an ulp of 1."""
    bounded = clamp(x, low=-40.0, high=40.0)  # the density is 0 from there on
    return normal_cdf(x) + bounded * INVERSE_ROOT_OF_TAU * exp(bounded * bounded * -0.5)


@gelu_slope.at(float32)
def _(x: Scalar) -> Scalar:
    a = _normal_bound(x)
    power, rest = _tail_parts(a)
    slope = power * (rest - a * INVERSE_ROOT_OF_TAU) * DOWN
    y = slope if x < 0.0 else 1.0 - slope
    return x if x != x else y


@scalar_function(float64)
def exp_of_square(x: Scalar, *, sign: float) -> Scalar:
    """e**(sign * x**2), the square to twice as many digits: |x| <= 39."""
    high = truncated(x, mask=-0x8000000)
    rest = (x - high) * (x + high) * sign
    return exp(high * high * sign) * (1.0 + rest * (1.0 + rest * (0.5 + rest * (1 / 6))))


@scalar_function()
def _erfcx_positive(x: Scalar) -> Scalar:
    """e**(x**2) * erfc(x) for x >= 0."""
    t = 1.0 / (1.0 + 0.3 * x)
    bounded = x if x < BORDER else BORDER
    near = exp_of_square(bounded, sign=1.0) * (1.0 - erf_centre(bounded))
    far = horner(0.5 / (x * x), FAR_ERFC) / (x * ROOT_OF_PI)
    return near if x < BORDER else (t * horner(t, ERFC64) if x < FAR else far)


@scalar_function()
def _percentage_point(q: Scalar, tail: Scalar) -> Scalar:
    """x > 0 with Phi(x) = 1/2 + q, 0 <= q <= 1/2, and tail = 1/2 - q as exactly as it is known."""
    u = 0.180625 - q * q
    centre = q * (horner(u, CENTRE_OVER) / horner(u, CENTRE_UNDER))
    r = sqrt(-log(tail))
    near, far = r - 1.6, r - 5.0
    outer = horner(far, FAR_OVER) / horner(far, FAR_UNDER)
    middle = horner(near, TAIL_OVER) / horner(near, TAIL_UNDER)
    return centre if q <= 0.425 else (middle if r <= 5.0 else outer)


@scalar_function(float64)
def erfinv(x: Scalar) -> Scalar:
    """y with erf(y) = x; infinite at -1 and 1, NaN beyond."""
    size = abs(x)
    y = _percentage_point(size * 0.5, (1.0 - size) * 0.5) * SQRT_HALF
    y = INF if size == 1.0 else (NAN if size > 1.0 else y)
    return y if x > 0.0 else (x if x == 0.0 else -y)


@erfinv.at(float32)
def _(x: Scalar) -> Scalar:
    w = -log(fma(-x, x, 1.0))
    near = w < 5.0
    root = sqrt(w)
    root_rest = fma(-root, root, w) * (0.3 - 0.045 * root)  # about divided by twice the root
    (near_head, near_tail), (far_head, far_tail) = ERFINV_CONSTANTS
    t = w if near else root - 3.0
    steep = paired_horner(w, ERFINV_NEAR) if near else paired_horner(t, ERFINV_FAR)
    head = near_head if near else convert(far_head, float32)
    rest = near_tail if near else far_tail + root_rest
    slope = fma(t, steep, head)
    y = fma(x, slope, x * (fma(t, steep, head - slope) + rest))
    return x * INF if abs(x) == 1.0 else (x if x == 0.0 else y)


@also_float32
@scalar_function(float64)
def ndtri(p: Scalar) -> Scalar:
    """x with Phi(x) = p; infinite at 0 and 1, NaN beyond."""
    q = p - 0.5
    y = _percentage_point(abs(q), p if q < 0.0 else 1.0 - p)
    y = -y if q < 0.0 else y
    y = -INF if p == 0.0 else (INF if p == 1.0 else y)
    return NAN if p < 0.0 or p > 1.0 else y


@also_float32
@scalar_function(float64)
def erfc(x: Scalar) -> Scalar:
    """1 - erf(x), to the last digits of its tail."""
    size = abs(x)
    bounded = 28.0 if size > 28.0 else size
    t = 1.0 / (1.0 + 0.3 * bounded)
    outer = exp_of_square(bounded, sign=-1.0) * (t * horner(t, ERFC64))
    return 1.0 - erf_centre(x) if size < BORDER else (outer if x > 0.0 else 2.0 - outer)


@also_float32
@scalar_function(float64)
def erfcx(x: Scalar) -> Scalar:
    """e**(x**2) * erfc(x)."""
    size = abs(x)
    right = _erfcx_positive(size)
    bounded = 28.0 if size > 28.0 else size
    y = right if x >= 0.0 else 2.0 * exp_of_square(bounded, sign=1.0) - right
    return x if x != x else y


@also_float32
@scalar_function(float64)
def ndtr(x: Scalar) -> Scalar:
    """(1 + erf(x / sqrt(2))) / 2, to the last digits of its tail."""
    return normal_cdf(x)


@also_float32
@scalar_function(float64)
def log_ndtr(x: Scalar) -> Scalar:
    """log((1 + erf(x / sqrt(2))) / 2)."""
    u = x * SQRT_HALF
    below = (x * -0.5) * x + log(0.5 * _erfcx_positive(abs(u)))
    return below if x < -1.0 else log1p(-normal_cdf(-x))
