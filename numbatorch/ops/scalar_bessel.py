"""Modified Bessel functions of the first kind, computed in float64.

The power series up to |x| = 8 (Abramowitz and Stegun, 9.6.10), whose terms are all positive; beyond
it sqrt(x) * e**-x * I(x) is a polynomial in 8 / x.
"""

import math

from numbatorch.dtype import float64
from numbatorch.ops.scalar import Scalar, also_float32, copysign, horner, scalar_function, sqrt
from numbatorch.ops.scalar_exp import exp

INF = math.inf
BORDER = 8.0
TERMS = 30

# 1 / (k!)**2 and 1 / (k! * (k + 1)!), the highest k first
SERIES0 = tuple(1 / math.factorial(k) ** 2 for k in reversed(range(TERMS)))
SERIES1 = tuple(1 / (math.factorial(k) * math.factorial(k + 1)) for k in reversed(range(TERMS)))

# sqrt(x) * e**-x * I0(x), and of I1(x), in 8 / x for x >= 8; errors 2**-53
FAR0 = (
    0.0004564239425667149,
    -0.004946732027962788,
    0.02479851420055745,
    -0.07628739967702916,
    0.16115242264504226,
    -0.247951980254461,
    0.28775108003052513,
    -0.25746559955012743,
    0.18009904215884992,
    -0.09930596955619408,
    0.0433264116012903,
    -0.014954338242435741,
    0.0040669758158161755,
    -0.0008642913780102672,
    0.00014185862063324504,
    -1.7257358411381738e-05,
    2.4790402883167792e-06,
    2.660781503256634e-06,
    1.0927918056261565e-05,
    5.706903014318292e-05,
    0.00043829108125822356,
    0.006233473131262672,
    0.3989422804014327,
)
FAR1 = (
    -0.00047516802365472427,
    0.0051583182483779235,
    -0.02590447705482271,
    0.0798382871072217,
    -0.16898758494287802,
    0.2605523239447968,
    -0.3030414232673048,
    0.2717736829616532,
    -0.19056544723505672,
    0.10533880645053749,
    -0.046075925137500966,
    0.015944639489659202,
    -0.004347608236147105,
    0.0009263122476636002,
    -0.00015242942065105608,
    1.856140921337216e-05,
    -2.765135469077418e-06,
    -3.266723732408937e-06,
    -1.4049264663890154e-05,
    -7.98966802825771e-05,
    -0.0007304851344339821,
    -0.018700419393806605,
    0.39894228040143265,
)


@scalar_function()
def _scaled(x: Scalar, *, far: tuple[float, ...]) -> Scalar:
    """e**-x * I(x) for x >= 8."""
    size = x if x > BORDER else BORDER
    return horner(BORDER / size, far) / sqrt(size)


@scalar_function()
def _grown(x: Scalar, *, far: tuple[float, ...]) -> Scalar:
    """I(x) for x >= 8."""
    half = exp(x * 0.5)
    return half * _scaled(x, far=far) * half


@scalar_function()
def _quarter(x: Scalar) -> Scalar:
    """x**2 / 4 for x <= 8."""
    bounded = x if x < BORDER else BORDER
    return bounded * bounded * 0.25


@also_float32
@scalar_function(float64)
def i0(x: Scalar) -> Scalar:
    """The modified Bessel function of the first kind and order 0."""
    size = abs(x)
    near = horner(_quarter(size), SERIES0)
    y = _grown(size, far=FAR0) if size > BORDER else near
    return INF if size == INF else (x if x != x else y)


@also_float32
@scalar_function(float64)
def i0e(x: Scalar) -> Scalar:
    """e**-|x| * i0(x)."""
    size = abs(x)
    near = horner(_quarter(size), SERIES0) * exp(-size)
    y = _scaled(size, far=FAR0) if size > BORDER else near
    return x if x != x else (0.0 if size == INF else y)


@also_float32
@scalar_function(float64)
def i1(x: Scalar) -> Scalar:
    """The modified Bessel function of the first kind and order 1."""
    size = abs(x)
    near = 0.5 * size * horner(_quarter(size), SERIES1)
    y = _grown(size, far=FAR1) if size > BORDER else near
    return x if x != x or size == INF else copysign(y, x)


@also_float32
@scalar_function(float64)
def i1e(x: Scalar) -> Scalar:
    """e**-|x| * i1(x)."""
    size = abs(x)
    near = 0.5 * size * horner(_quarter(size), SERIES1) * exp(-size)
    y = _scaled(size, far=FAR1) if size > BORDER else near
    return x if x != x else copysign(0.0 if size == INF else y, x)
