"""pow, floor_divide and remainder in the scalar language, for floats and integers."""

import math

from numbatorch.dtype import float32, float64
from numbatorch.ops.scalar import (
    Form,
    Scalar,
    bits,
    convert,
    copysign,
    floor,
    fma,
    fmod,
    from_bits,
    horner,
    ldexp,
    rarely,
    rint,
    scalar_function,
    trunc,
)
from numbatorch.ops.scalar_exp import (
    EXP2_32,
    EXP2_SHORT,
    EXP64,
    LN2,
    LOG2E,
    ROUND32,
    ROUND32_BITS,
    ROUND64,
    ROUND64_BITS,
    SQRT_HALF64_BITS,
    clamp,
    split_float,
    truncated,
)
from numbatorch.ops.scalar_fused import fused_horner, pair_product, quick_sum
from numbatorch.ops.scalar_integer import (
    integer_floor_divide,
    integer_fmod,
    integer_power,
    integer_remainder,
)
from numbatorch.ops.scalar_program import Operand, Program, Value

INF = math.inf
NAN = math.nan
LOW_27_BITS = -0x8000000

# (2 * atanh(s) - 2 * s) / s**3 in s**2 for |s| <= (sqrt(2) - 1) / (sqrt(2) + 1); error 2**-38
ATANH = (0.23582282535916393, 0.28537302245745994, 0.4000033527741906, 0.666666656451686)

# 2 / ln(2) and 2 / (3 * ln(2)) in pairs, and what follows them in log2((1 + s) / (1 - s)) / s, in
# s**2 for s as above; error 2**-36 of the whole
LOG2_FIRST = (2.88539, 3.851926e-08)
LOG2_THIRD = (0.9617967, -7.028462e-09)
LOG2_REST = (0.33786222, 0.41184795, 0.5770802)

# (3 * atanh(s) / s - 3 - z) / z**2 in z = s**2, s as above; error 2**-66 of the whole
POWER_LOG = (
    0.1979454320861117,
    0.1988522101521211,
    0.23080136248800673,
    0.27272676544898283,
    0.33333333779955115,
    0.42857142855148933,
    0.6000000000000338,
)
# 2 / (3 * ln(2)) in two parts, the first of 26 bits
LOG2_SCALE = (0.9617966860532761, 7.872699542894897e-09)


@scalar_function()
def _power_of_positive(x: Scalar, y: Scalar) -> Scalar:
    """x ** y for finite float32 operands and x > 0, by way of float64."""
    wide = convert(x, float64)
    above = bits(wide) - SQRT_HALF64_BITS
    f = from_bits((above & 0xFFFFFFFFFFFFF) + SQRT_HALF64_BITS) - 1.0
    s = f / (2.0 + f)
    z = s * s
    logarithm = fma(fma(s * z, fused_horner(z, ATANH), s + s), LOG2E, convert(above >> 52, float64))
    exponent = clamp(convert(y, float64) * logarithm, low=-160.0, high=130.0)
    shifted = exponent + ROUND64
    r = exponent - (shifted - ROUND64)
    scale = from_bits((bits(shifted) - (ROUND64_BITS - 1023)) << 52)
    return convert(fused_horner(r, EXP2_SHORT) * scale, float32)


@scalar_function()
def _power_of_magnitude(x: Scalar, y: Scalar) -> Scalar:
    """|x| ** y for every float32."""
    magnitude = abs(x)
    power = _power_of_positive(magnitude, y)
    grows = (magnitude < 1.0) == (y < 0.0)
    edge = magnitude == 0.0 or magnitude == INF or abs(y) == INF
    power = (INF if grows else convert(0.0, float32)) if edge and y == y else power
    return x if x != x else power


@scalar_function()
def _log2_single(magnitude: Scalar) -> Scalar:
    """(high, low): the logarithm to base 2 of a float32, within 2**-36 of it, by odd powers of s.

    log2(m) = s * (2 / ln(2) + s**2 * (2 / (3 * ln(2)) + ...)) for s = (m - 1) / (m + 1).
    """
    k, m = split_float(magnitude)
    f = m - 1.0
    divisor = f + 2.0
    divisor_low = f - (divisor - 2.0)
    s = f / divisor
    s_low = fma(-s, divisor_low, fma(-s, divisor, f)) / divisor
    z, z_low = pair_product(s, s_low, s, s_low)
    third, third_low = LOG2_THIRD
    first, first_low = LOG2_FIRST
    t, t_low = quick_sum(convert(third, float32), z * fused_horner(z, LOG2_REST))
    u, u_low = pair_product(z, z_low, t, t_low + third_low)
    v, v_low = quick_sum(convert(first, float32), u)
    high, low = pair_product(s, s_low, v, (v_low + u_low) + first_low)
    total, rest = quick_sum(convert(k, float32), high)
    return quick_sum(total, rest + low)


@scalar_function()
def _power_of_magnitude_single(x: Scalar, y: Scalar) -> Scalar:
    """|x| ** y for float32 operands, in pairs of float32."""
    magnitude = abs(x)
    log_high, log_low = _log2_single(magnitude)
    bounded = clamp(y, low=-1e10, high=1e10)
    high, low = pair_product(bounded, 0.0, log_high, log_low)
    low = low if abs(high) < 200.0 else 0.0
    high = clamp(high, low=-200.0, high=200.0)
    shifted = high + ROUND32
    r = (high - (shifted - ROUND32)) + low
    power = ldexp(fma(r, fused_horner(r, EXP2_32), 1.0), bits(shifted) - ROUND32_BITS)
    grows = (magnitude == 0.0) == (y < 0.0)
    edge = magnitude == 0.0 or magnitude == INF
    power = (INF if grows else 0.0 * power) if edge and y == y else power
    return x if x != x else power


@scalar_function()
def _log2_pair(magnitude: Scalar) -> Scalar:
    """(high, low): the logarithm to base 2 of a float64, with 26 bits in its high part.

    As in FDLIBM, https://www.netlib.org/fdlibm/e_pow.c: log(m) = 2/3 * s * (3 + s**2 + ...).
    """
    k, m = split_float(magnitude)
    f = m - 1.0
    denominator = 2.0 + f
    denominator_high = truncated(denominator, mask=LOW_27_BITS)
    denominator_low = (f - (denominator - 2.0)) + (denominator - denominator_high)
    s = f / denominator
    s_high = truncated(s, mask=LOW_27_BITS)
    s_low = ((f - s_high * denominator_high) - s_high * denominator_low) / denominator
    z = s * s
    z_high = s_high * s_high
    rest = s_low * (s_high + s) + z * z * horner(z, POWER_LOG)
    t_high = truncated(3.0 + (z_high + rest), mask=LOW_27_BITS)
    t_low = rest - ((t_high - 3.0) - z_high)
    u, v = s_high * t_high, s_low * t_high + t_low * s
    p_high = truncated(u + v, mask=LOW_27_BITS)
    p_low = v - (p_high - u)
    scale_high, scale_low = LOG2_SCALE
    leading = p_high * scale_high
    trailing = p_high * scale_low + p_low * (scale_high + scale_low)
    exponent = convert(k, float64)
    high = truncated((leading + trailing) + exponent, mask=LOW_27_BITS)
    return high, trailing - ((high - exponent) - leading)


@scalar_function()
def _power_of_magnitude_long(x: Scalar, y: Scalar) -> Scalar:
    """|x| ** y for float64 operands."""
    magnitude = abs(x)
    log_high, log_low = _log2_pair(magnitude)
    bounded = clamp(y, low=-7.4e19, high=7.4e19)
    y_high = truncated(bounded, mask=LOW_27_BITS)
    high = y_high * log_high
    low = (bounded - y_high) * log_high + bounded * log_low
    total = high + low
    low = low if abs(total) < 1100.0 else 0.0
    high = clamp(high if abs(total) < 1100.0 else total, low=-1100.0, high=1100.0)
    shifted = (high + low) + ROUND64
    r = ((high - (shifted - ROUND64)) + low) * LN2
    power = ldexp(1.0 + (r + r * r * horner(r, EXP64)), bits(shifted) - ROUND64_BITS)
    grows = (magnitude == 0.0) == (y < 0.0)
    edge = magnitude == 0.0 or magnitude == INF
    power = (INF if grows else 0.0 * power) if edge and y == y else power
    return x if x != x else power


@scalar_function()
def _power_signed(x: Scalar, y: Scalar, power: Scalar) -> Scalar:
    """x ** y from |x| ** y, with the special values of C17, F.10.4.4."""
    half = 0.5 * y
    odd = rint(y) == y and rint(half) != half
    power = copysign(power, x) if odd else power
    undefined = x < 0.0 and rint(y) != y and x != -INF
    power = NAN if undefined else power
    one = y == 0.0 or x == 1.0 or (x == -1.0 and abs(y) == INF)
    return 1.0 if one else power


@scalar_function()
def _general_power(x: Scalar, y: Scalar) -> Scalar:
    """x ** y for integers."""
    return integer_power(x, y)


@_general_power.at(float32)
def _(x: Scalar, y: Scalar) -> Scalar:
    ordinary = x > 0.0 and x < INF and abs(y) < INF
    exact = _power_signed(x, y, _power_of_magnitude(x, y))
    return rarely(not ordinary, exact, _power_of_positive(x, y))


@_general_power.at(float64)
def _(x: Scalar, y: Scalar) -> Scalar:
    return _power_signed(x, y, _power_of_magnitude_long(x, y))


@_general_power.at(float32, "metal")
def _(x: Scalar, y: Scalar) -> Scalar:
    return _power_signed(x, y, _power_of_magnitude_single(x, y))


def _power(program: Program, base: Operand, exponent: Operand) -> Operand:
    """Whole exponents up to 3 that are known from literals multiply, which rounds less."""
    fixed = not isinstance(exponent, Value) or exponent.op == "const"
    if fixed and isinstance(base, Value) and base.dtype.kind == "f":
        literal = float(exponent.payload if isinstance(exponent, Value) else exponent)
        if literal in (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0):
            power: Operand = base
            for _ in range(int(abs(literal)) - 1):
                power = program.op("mul", power, base)
            return power if literal > 0 else program.op("div", 1, power)
    return _general(program, base, exponent)


def _general(program: Program, base: Operand, exponent: Operand) -> Operand:
    dtype = base.dtype if isinstance(base, Value) else exponent.dtype
    operands = [x if isinstance(x, Value) else program.const(x, dtype) for x in (base, exponent)]
    return program.expand(_general_power, operands, {})


pow_ = Form("pow", _power)


@scalar_function()
def floor_divide(lhs: Scalar, rhs: Scalar) -> Scalar:
    """floor(lhs / rhs); integers divided by 0 give 0, -2**(n-1) by -1 wraps."""
    return integer_floor_divide(lhs, rhs)


@scalar_function()
def remainder(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs - rhs * floor(lhs / rhs), with the sign of rhs; integers modulo 0 give 0."""
    return integer_remainder(lhs, rhs)


@scalar_function()
def truncated_remainder(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs - rhs * trunc(lhs / rhs), with the sign of lhs; integers modulo 0 give 0."""
    return integer_fmod(lhs, rhs)


@scalar_function()
def _rest(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs - rhs * trunc(lhs / rhs), exactly."""
    return fmod(lhs, rhs)


@scalar_function()
def _near_rest(lhs: Scalar, rhs: Scalar, *, far: float) -> Scalar:
    """As `_rest`; quotients below `far` are whole numbers in a float, at most one too large."""
    ratio = lhs / rhs
    whole = trunc(ratio)
    rest = lhs if whole == 0.0 else fma(-whole, rhs, lhs)
    beyond = rest != 0.0 and (rest < 0.0) != (lhs < 0.0)
    rest = copysign(rest + copysign(rhs, lhs) if beyond else rest, lhs)
    return rarely(not abs(ratio) < far, fmod(lhs, rhs), rest)


@_rest.at(float32)
def _(lhs: Scalar, rhs: Scalar) -> Scalar:
    return _near_rest(lhs, rhs, far=2.0**22)


@_rest.at(float64)
def _(lhs: Scalar, rhs: Scalar) -> Scalar:
    return _near_rest(lhs, rhs, far=2.0**51)


@_rest.at(float32, "metal")
def _(lhs: Scalar, rhs: Scalar) -> Scalar:
    return fmod(lhs, rhs)


@_rest.at(float64, "metal")
def _(lhs: Scalar, rhs: Scalar) -> Scalar:
    return fmod(lhs, rhs)


def _real_floor_divide(lhs: Scalar, rhs: Scalar) -> Scalar:
    # As NumPy's npy_divmod: from the exact remainder, so that the quotient is whole.
    rest = _rest(lhs, rhs)
    quotient = (lhs - rest) / rhs
    below = rest != 0.0 and (rest < 0.0) != (rhs < 0.0)
    quotient = quotient - 1.0 if below else quotient
    whole = floor(quotient)
    whole = whole + 1.0 if quotient - whole > 0.5 else whole
    ratio = lhs / rhs
    whole = copysign(0.0, ratio) if quotient == 0.0 else whole
    return ratio if rhs == 0.0 else whole


def _real_remainder(lhs: Scalar, rhs: Scalar) -> Scalar:
    rest = _rest(lhs, rhs)
    below = rest != 0.0 and (rest < 0.0) != (rhs < 0.0)
    return rest + rhs if below else (copysign(0.0, rhs) if rest == 0.0 else rest)


def _real_truncated_remainder(lhs: Scalar, rhs: Scalar) -> Scalar:
    return _rest(lhs, rhs)


@scalar_function()
def _step(x: Scalar, y: Scalar, least: Scalar) -> Scalar:
    """The number after x on the way to y, `least` the smallest above 0."""
    whole = bits(x)
    outward = (y > x) == (x > 0.0)
    stepped = from_bits(whole + 1 if outward else whole - 1)
    moved = copysign(least, y) if x == 0.0 else stepped
    return x + y if x != x or y != y else (y if x == y else moved)


@scalar_function(float32)
def nextafter(x: Scalar, y: Scalar) -> Scalar:
    """The number after x on the way to y."""
    return _step(x, y, convert(2.0**-149, float32))


@nextafter.at(float64)
def _(x: Scalar, y: Scalar) -> Scalar:
    return _step(x, y, convert(2.0**-1074, float64))


for _dtype in (float32, float64):
    truncated_remainder.at(_dtype)(_real_truncated_remainder)
    floor_divide.at(_dtype)(_real_floor_divide)
    remainder.at(_dtype)(_real_remainder)
