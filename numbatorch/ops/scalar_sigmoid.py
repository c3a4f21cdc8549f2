"""The logistic function and activations made of it, in the scalar language, within 2 ulp.

For float32, quotients are corrected by what is left of the division, and what it divides by is a
pair with what it was rounded by. Where e**-|x| may be subnormal it is p * 2**n, and 2**n comes
last, so that tails are rounded once.
"""

from numbatorch.dtype import float32, float64
from numbatorch.ops.scalar import (
    Scalar,
    bits,
    convert,
    copysign,
    fma,
    from_bits,
    horner,
    ldexp,
    rarely,
    rint,
    scalar_function,
)
from numbatorch.ops.scalar_exp import (
    EXP32,
    INF,
    LN2,
    LN2_32,
    LOG2E,
    NAN,
    ROUND32,
    ROUND32_BITS,
    clamp,
    exp,
    split_exponent,
)
from numbatorch.ops.scalar_fused import fused_pairs

FAR = 80.0  # below, neither e**-x nor what it divides is subnormal
LEAST = -126  # exponent of the smallest normal float32
INVERSE = 1.457  # less t / 2 it is 1 / t within 10% for t between 1 and 2


@scalar_function()
def _power(n: Scalar, r: Scalar) -> Scalar:
    """(n, p, rest, e): e**r * 2**n is (p + rest) * 2**n, and e that power, 0 where it is tiny."""
    growth = r + r * r * horner(r, EXP32)
    p = 1.0 + growth
    e = p * from_bits(((n if n > LEAST else LEAST) + 127) << 23)
    return n, p, growth - (p - 1.0), e


@scalar_function()
def _power_below(x: Scalar) -> Scalar:
    """`_power` of e**-|x|."""
    x = clamp(-abs(x), low=-120.0, high=0.0)
    n, r = split_exponent(x, ln2=LN2_32, magic=ROUND32, magic_bits=ROUND32_BITS)
    return _power(n, r)


@scalar_function()
def _quotient(top: Scalar, top_rest: Scalar, t: Scalar, t_rest: Scalar, inverse: Scalar) -> Scalar:
    """(top + top_rest) / (t + t_rest), given about 1 / t."""
    q = top / t
    return q + ((fma(-q, t, top) + top_rest) - q * t_rest) * inverse


@scalar_function()
def _gated(
    x: Scalar, factor: Scalar, rest: Scalar, t: Scalar, t_rest: Scalar, inverse: Scalar
) -> Scalar:
    """x * (factor + rest) / (t + t_rest), given about 1 / t."""
    bounded = -120.0 if x < -120.0 else x  # e**x times it is 0
    top = bounded * factor
    top_rest = fma(bounded, factor, -top) + bounded * rest
    return _quotient(top, top_rest, t, t_rest, inverse)


@scalar_function()
def _edged(x: Scalar, y: Scalar) -> Scalar:
    """y with the sign of x; infinity for infinity, NaN for -infinity as PyTorch has it."""
    return copysign(y, x) if abs(x) < INF else x * (x if x > 0.0 else 0.0)


@scalar_function()
def _weighted(x: Scalar, negative: Scalar, n: Scalar, p: Scalar, rest: Scalar, e: Scalar) -> Scalar:
    """x / (1 + e), times e where `negative` holds."""
    t = 1.0 + e
    factor, factor_rest = (p if negative else 1.0), (rest if negative else 0.0)
    y = _gated(x, factor, factor_rest, t, e - (t - 1.0), INVERSE - 0.5 * t)
    return _edged(x, ldexp(y, n) if negative else y)


@scalar_function()
def _gate(top: Scalar, x: Scalar) -> Scalar:
    """top / (1 + e**-x) for |x| < FAR: divided by a pair, of which 1 + 2**n is exact."""
    shifted = fma(x, -LOG2E, ROUND32)
    whole = shifted - ROUND32
    high, low = LN2_32
    r = fma(whole, -low, fma(whole, -high, -x))
    growth = fma(r * r, fused_pairs(r, EXP32), r)  # e**r - 1
    scale = from_bits((bits(shifted) - (ROUND32_BITS - 127)) << 23)
    large, small = (scale if scale > 1.0 else 1.0), (1.0 if scale > 1.0 else scale)
    total = large + small
    more = fma(growth, scale, (large - total) + small)
    t = total + more
    t_rest = more - (t - total)
    inverse = 1.0 / t
    q = top * inverse
    return copysign(fma(fma(-q, t_rest, fma(-q, t, top)), inverse, q), top)


@scalar_function()
def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + e**-x)."""
    e = exp(-abs(x))
    return (e if x < 0.0 else 1.0) / (1.0 + e)


@sigmoid.at(float32)
def _(x: Scalar) -> Scalar:
    far = 1.0 if x > 0.0 else exp(x)
    return rarely(not abs(x) < FAR, far, _gate(convert(1.0, float32), x))


@scalar_function()
def silu(x: Scalar) -> Scalar:
    """x / (1 + e**-x)."""
    return x / (1.0 + exp(-x))


@silu.at(float32)
def _(x: Scalar) -> Scalar:
    bounded = clamp(x, low=-120.0, high=0.0)
    n, r = split_exponent(bounded, ln2=LN2_32, magic=ROUND32, magic_bits=ROUND32_BITS)
    y = fma(bounded, r + r * r * horner(r, EXP32), bounded)
    y = ldexp(y, n)
    far = x if x > 0.0 else (y if abs(x) < INF else NAN)
    return rarely(not abs(x) < FAR, far, _gate(x, x))


@scalar_function()
def sigmoid_of_cubic(x: Scalar, *, linear: float, cubic: float) -> Scalar:
    """x / (1 + e**-(linear * x + cubic * x**3)), for positive factors."""
    return x / (1.0 + exp(-(x * (x * x * cubic + linear))))


@sigmoid_of_cubic.at(float32)
def _(x: Scalar, *, linear: float, cubic: float) -> Scalar:
    size = clamp(abs(convert(x, float64)), low=0.0, high=32.0)
    exponent = clamp(size * (size * size * cubic + linear), low=0.0, high=120.0)
    whole = rint(exponent * -LOG2E)
    r = convert(-exponent - whole * LN2, float32)
    n, p, rest, e = _power(bits(convert(whole, float32) + ROUND32) - ROUND32_BITS, r)
    return _weighted(x, x < 0.0, n, p, rest, e)


@scalar_function()
def mish(x: Scalar) -> Scalar:
    """x * tanh(log(1 + e**x)) = x * n / (n + 2), where n = e**x * (e**x + 2)."""
    e = exp(x if x < 30 else 30)
    n = e * (e + 2.0)
    y = x * (n / (n + 2.0))
    return x if x > 20 else y


@mish.at(float32)
def _(x: Scalar) -> Scalar:
    n, p, rest, e = _power_below(x)
    half = 0.5 * e
    near = 1.0 + half
    factor, factor_rest = p * near, fma(p, near, -(p * near)) + p * (half - (near - 1.0))
    square = e * half
    below = near + (half + square)
    below_rest = half - ((below - near) - square)
    negative = x < 0.0
    doubled = e + e
    above_factor = 1.0 + doubled
    above_rest = doubled - (above_factor - 1.0)
    quad = doubled * e
    above = above_factor + quad
    t = below if negative else above
    t_rest = below_rest if negative else (quad - (above - above_factor)) + above_rest
    chosen = factor if negative else above_factor
    chosen_rest = factor_rest + rest * near if negative else above_rest
    y = _gated(x, chosen, chosen_rest, t, t_rest, 1.0 / t)
    return _edged(x, ldexp(y, n) if negative else y)
