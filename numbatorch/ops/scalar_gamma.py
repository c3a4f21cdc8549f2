"""The logarithm of the gamma function and its derivatives, computed in float64.

M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions" (1964): 6.1.41, 6.3.18 and
6.4.12 far out, where nearer operands are moved to by the recurrences 6.1.15, 6.3.5 and 6.4.6; the
reflections 6.1.17, 6.3.7 and 6.4.7 below 0.
"""

import math

from numbatorch.dtype import float64
from numbatorch.ops.scalar import Form, Scalar, also_float32, paired_horner, scalar_function
from numbatorch.ops.scalar_arc import cospi, sinpi
from numbatorch.ops.scalar_exp import log
from numbatorch.ops.scalar_program import Operand, Program

INF = math.inf
NAN = math.nan
PI = math.pi
LOG_PI = math.log(math.pi)
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)

# lgamma(2 + t) / (t * (1 + t)) for |t| <= 1; error 2**-55
LGAMMA = (
    1.0669069443730467e-10,
    -2.1929033871615188e-10,
    -3.757748036671072e-10,
    7.708683039254055e-10,
    1.311580769368583e-09,
    -2.6977201552657587e-09,
    -4.928665205470492e-10,
    9.849156305952999e-10,
    6.4340474171170495e-09,
    -1.3356469556165446e-08,
    1.9598224545887634e-08,
    -4.1039410908133404e-08,
    9.184727299586606e-08,
    -1.9294644382653655e-07,
    4.034779932322155e-07,
    -8.524724847142307e-07,
    1.8081707112591225e-06,
    -3.847454638539412e-06,
    8.222176284085957e-06,
    -1.7661651717757542e-05,
    3.81688910777123e-05,
    -8.30951294385275e-05,
    0.00018255263893318132,
    -0.000405707397257618,
    0.0009153769222580459,
    -0.0021081308339671347,
    0.004998641164697176,
    -0.012384192193371038,
    0.03296500062115583,
    -0.10031730167435392,
    0.42278433509846713,
)

# Bernoulli numbers B(2 k) over 2 k (2 k - 1), over 2 k, and as they are, from the highest k down.
STIRLING = (
    -1.3924322169059011,
    0.17964437236883057,
    -0.029550653594771242,
    0.00641025641025641,
    -0.0019175269175269176,
    0.0008417508417508417,
    -0.0005952380952380953,
    0.0007936507936507937,
    -0.002777777777777778,
    0.08333333333333333,
)
DIGAMMA = (
    281.46014492753625,
    -26.456212121212122,
    3.0539543302701198,
    -0.4432598039215686,
    0.08333333333333333,
    -0.021092796092796094,
    0.007575757575757576,
    -0.004166666666666667,
    0.003968253968253968,
    -0.008333333333333333,
    0.08333333333333333,
)
TRIGAMMA = (
    6192.123188405797,
    -529.1242424242424,
    54.971177944862156,
    -7.092156862745098,
    1.1666666666666667,
    -0.2531135531135531,
    0.07575757575757576,
    -0.03333333333333333,
    0.023809523809523808,
    -0.03333333333333333,
    0.16666666666666666,
)


def _shifted(program: Program, x: Operand, square: bool) -> Operand:
    """(y, s): y = x + n >= 8, s the sum of 1 / (x + k), or of its square, over k < n; x >= 0."""
    over, under = program.number(0.0, float64), program.number(1.0, float64)
    for _ in range(8):
        factor = program.op("mul", x, x) if square else x
        near = program.op("lt", x, 8.0)
        more = program.op("add", program.op("mul", over, factor), under)
        over = program.op("select", near, more, over)
        under = program.op("select", near, program.op("mul", under, factor), under)
        x = program.op("select", near, program.op("add", x, 1.0), x)
    return x, program.op("div", over, under)


def _lowered(program: Program, x: Operand) -> Operand:
    """(y, p): y = x - n < 3, p the product of x - k for 0 < k <= n; x < 8."""
    product: Operand = program.number(1.0, float64)
    for _ in range(5):
        far = program.op("ge", x, 3.0)
        below = program.op("sub", x, 1.0)
        product = program.op("select", far, program.op("mul", product, below), product)
        x = program.op("select", far, below, x)
    return x, product


shifted = Form("shifted", _shifted)
lowered = Form("lowered", _lowered)


@scalar_function()
def _lgamma_positive(x: Scalar) -> Scalar:
    small, large = x < 1.0, x >= 8.0
    y, product = lowered(7.0 if large else x)
    t = x - 1.0 if small else y - 2.0
    above = x if small else y - 1.0
    centre = t * above * paired_horner(t, LGAMMA)
    logarithm = log(x if small or large else product)
    near = centre - logarithm if small else centre + logarithm
    inverse = 1.0 / x
    series = inverse * paired_horner(inverse * inverse, STIRLING)
    far = (x - 0.5) * (logarithm - 1.0) + ((HALF_LOG_TAU - 0.5) + series)
    return far if large else near


@also_float32
@scalar_function(float64)
def lgamma(x: Scalar) -> Scalar:
    """log(|gamma(x)|); near its roots below 0 only the absolute error is small."""
    size = abs(x)
    y = _lgamma_positive(size + 1.0 if x < 0.0 else size)
    sine = abs(sinpi(size))
    reflected = INF if sine == 0.0 else (LOG_PI - log(sine)) - y
    return INF if size == INF or x == 0.0 else (reflected if x < 0.0 else y)


@also_float32
@scalar_function(float64)
def digamma(x: Scalar) -> Scalar:
    """The derivative of log(gamma(x)); at 0 -inf, at whole numbers below NaN."""
    below = x < 0.0
    y, total = shifted(1.0 - x if below else x, False)
    inverse = 1.0 / y
    square = inverse * inverse
    series = square * paired_horner(square, DIGAMMA) + 0.5 * inverse
    positive = (log(y) - series) - total
    y = positive - PI * cospi(x) / sinpi(x) if below else positive
    y = NAN if below and sinpi(x) == 0.0 else y
    return -1.0 / x if x == 0.0 else y


@also_float32
@scalar_function(float64)
def trigamma(x: Scalar) -> Scalar:
    """The second derivative of log(gamma(x)); infinite at 0 and at whole numbers below."""
    below = x < 0.0
    y, total = shifted(1.0 - x if below else x, True)
    inverse = 1.0 / y
    square = inverse * inverse
    positive = (
        inverse + (square * (inverse * paired_horner(square, TRIGAMMA)) + 0.5 * square)
    ) + total
    turn = PI / sinpi(x)
    return INF if x == 0.0 else (turn * turn - positive if below else positive)
