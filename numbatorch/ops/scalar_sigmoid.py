"""The logistic function and activations made of it, in the scalar language, within 2 ulp.

For float32, e**-|x| is p * 2**n with what p was rounded by, quotients are corrected by what is left
of the division, and 2**n comes last, so that tails are rounded once where they are subnormal.
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
    ROUND32,
    ROUND32_BITS,
    clamp,
    exp,
    scaled,
    split_exponent,
)
from numbatorch.ops.scalar_fused import fused_horner

FAR = 80.0  # below, neither e**-x nor what it is multiplied by is subnormal
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
    return _edged(x, scaled(y, n, mantissa=23, bias=127) if negative else y)


@scalar_function()
def _near(x: Scalar, like: Scalar, n: Scalar, r: Scalar) -> Scalar:
    """x / (1 + e), times e where `like` < 0, for e = e**r * 2**n, no subnormal number."""
    growth = fma(r * r, fused_horner(r, EXP32), r)
    p = 1.0 + growth
    scale = from_bits((n + 127) << 23)
    t = fma(p, scale, 1.0)
    negative = like < 0.0
    factor = p if negative else 1.0
    top = x * factor
    top_rest = fma(x, growth - (p - 1.0) if negative else 0.0, fma(x, factor, -top))
    q = top / t
    left = fma(-q, fma(p, scale, 1.0 - t), fma(-q, t, top) + top_rest)
    y = fma(left, fma(t, -0.5, INVERSE), q)
    return copysign(y * scale if negative else y, x)


@scalar_function()
def _near_power(x: Scalar) -> Scalar:
    """(n, r): e**-|x| is e**r * 2**n."""
    return split_exponent(-abs(x), ln2=LN2_32, magic=ROUND32, magic_bits=ROUND32_BITS)


@scalar_function()
def sigmoid(x: Scalar) -> Scalar:
    """1 / (1 + e**-x)."""
    e = exp(-abs(x))
    return (e if x < 0.0 else 1.0) / (1.0 + e)


@sigmoid.at(float32)
def _(x: Scalar) -> Scalar:
    n, p, rest, e = _power_below(x)
    negative = x < 0.0
    t = 1.0 + e
    top, top_rest = (p if negative else 1.0), (rest if negative else 0.0)
    y = _quotient(top, top_rest, t, e - (t - 1.0), INVERSE - 0.5 * t)
    y = scaled(y, n, mantissa=23, bias=127) if negative else y
    near_n, near_r = _near_power(x)
    usual = _near(convert(1.0, float32), x, near_n, near_r)
    return rarely(not abs(x) < FAR, x if x != x else y, usual)


@scalar_function()
def silu(x: Scalar) -> Scalar:
    """x / (1 + e**-x)."""
    return x / (1.0 + exp(-x))


@silu.at(float32)
def _(x: Scalar) -> Scalar:
    n, p, rest, e = _power_below(x)
    far = _weighted(x, x < 0.0, n, p, rest, e)
    near_n, near_r = _near_power(x)
    return rarely(not abs(x) < FAR, far, _near(x, x, near_n, near_r))


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
    return _edged(x, scaled(y, n, mantissa=23, bias=127) if negative else y)
