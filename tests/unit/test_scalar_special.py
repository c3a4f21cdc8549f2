"""Special functions of the scalar language in float32 over the whole domain of each, beside SciPy.

With float64 as a type, and with pairs of float32 in its place.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special

from numbatorch.ops import (
    scalar_arc,
    scalar_bessel,
    scalar_complex_arc,
    scalar_error,
    scalar_exp,
    scalar_gamma,
    scalar_sigmoid,
)
from numbatorch.ops.scalar import ScalarFunction
from numbatorch.ops.scalar_run import run
from tests.unit.test_scalar_math import errors_in_ulp

Array = np.ndarray[Any, Any]


def trigamma(x: Array) -> Array:
    below = x < 0
    turn = np.pi / np.sin(np.pi * (x - 2 * np.rint(x / 2)))
    positive = special.polygamma(1, np.where(below, 1 - x, x))
    reflected = np.where(x == np.rint(x), np.inf, turn**2 - positive)
    return np.where(below, reflected, positive)


def mish(x: Array) -> Array:
    n = np.exp(np.minimum(x, 40)) * (np.exp(np.minimum(x, 40)) + 2)
    return x * (n / (n + 2))


def tanhshrink(x: Array) -> Array:
    small = abs(x) < 0.02
    z = np.where(small, x, 0) ** 2
    series = x * z * (1 / 3 - z * (2 / 15 - z * (17 / 315 - z * 62 / 2835)))
    return np.where(small, series, x - np.tanh(x))


# reference, (low, high) of the operands, largest error in ulp
FUNCTIONS: dict[ScalarFunction, tuple[Callable[..., Any], tuple[float, float], float]] = {
    scalar_arc.acos: (np.arccos, (-1, 1), 2.0),
    scalar_arc.acosh: (np.arccosh, (1, 9), 2.0),
    scalar_arc.asin: (np.arcsin, (-1, 1), 2.0),
    scalar_arc.asinh: (np.arcsinh, (-99, 99), 2.0),
    scalar_arc.atan: (np.arctan, (-9, 9), 2.0),
    scalar_arc.atanh: (np.arctanh, (-1, 1), 2.0),
    scalar_arc.cosh: (np.cosh, (-92, 92), 2.0),
    scalar_arc.sinh: (np.sinh, (-92, 92), 2.0),
    scalar_bessel.i0: (special.i0, (-92, 92), 1.0),
    scalar_bessel.i0e: (special.i0e, (-92, 92), 1.0),
    scalar_bessel.i1: (special.i1, (-92, 92), 1.0),
    scalar_bessel.i1e: (special.i1e, (-92, 92), 1.0),
    scalar_error.erfc: (special.erfc, (-5, 11), 1.0),
    scalar_error.erfcx: (special.erfcx, (-9, 60), 1.0),
    scalar_error.erfinv: (special.erfinv, (-1, 1), 2.0),
    scalar_error.log_ndtr: (special.log_ndtr, (-40, 12), 1.0),
    scalar_error.ndtr: (special.ndtr, (-15, 7), 1.0),
    scalar_error.ndtri: (special.ndtri, (0, 1), 1.0),
    scalar_error.normal_cdf: (special.ndtr, (-15, 7), 4.0),
    scalar_error.gelu: (lambda x: x * special.ndtr(x), (-15, 7), 5.0),
    scalar_exp.exp2: (np.exp2, (-152, 130), 1.5),
    scalar_exp.log10: (np.log10, (0, 30), 1.0),
    scalar_exp.logit: (special.logit, (0, 1), 1.0),
    scalar_exp.tanhshrink: (tanhshrink, (-5, 5), 1.0),
    scalar_gamma.digamma: (special.psi, (-20, 60), 4.0),
    scalar_gamma.lgamma: (special.gammaln, (-20, 60), 4.0),
    scalar_gamma.trigamma: (trigamma, (-20, 60), 4.0),
    scalar_sigmoid.mish: (mish, (-110, 25), 2.0),
    scalar_sigmoid.sigmoid: (special.expit, (-110, 25), 1.5),
    scalar_sigmoid.silu: (lambda x: x * special.expit(x), (-110, 25), 1.5),
}


def operands(low: float, high: float) -> Array:
    rng = np.random.default_rng(0)
    special_ones = [0.0, 1.0, -1.0, 0.5, 2.0, np.nan, np.inf, 1e-30, 3e38, 1e20, -1e20]
    small = rng.standard_normal(2_000) * 10.0 ** rng.uniform(-18, 0, 2_000)
    parts = [np.float32([*special_ones]), rng.uniform(low, high, 10_000), small]
    any_bits = rng.integers(0, 2**32, 4_000, dtype=np.uint32).view(np.float32)
    return np.concatenate([np.concatenate(parts).astype(np.float32), any_bits])


@pytest.mark.parametrize("target", ["numba", "metal"])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_float32_is_within_its_ulps(function: ScalarFunction, target: str) -> None:
    reference, (low, high), limit = FUNCTIONS[function]
    x = operands(low, high)
    with np.errstate(all="ignore"):
        exact = reference(x.astype(np.float64))
        known = np.isfinite(x) | np.isnan(x)
        if function.name == "digamma":
            known &= (x > 0) | (abs(x) < 2**22)
        tiny = abs(exact) < 2.0**-120  # a pair has float32's exponents
        kept = known & ~(tiny if target == "metal" else False)
        errors = errors_in_ulp(run(function, x[kept], target=target), exact[kept])
    worst = int(np.argmax(errors))
    assert errors[worst] <= limit, (errors[worst], x[kept][worst])


@pytest.mark.parametrize("target", ["numba", "metal"])
def test_gelu_by_tanh_is_within_its_ulps(target: str) -> None:
    linear, cubic = math.sqrt(8 / math.pi), 0.044715 * math.sqrt(8 / math.pi)
    x = operands(-11, 7)
    x = x[np.isfinite(x)]
    wide = x.astype(np.float64)
    exact = wide * special.expit(wide * linear + wide**3 * cubic)
    kept = abs(exact) >= 2.0**-120 if target == "metal" else np.full(x.shape, True)
    found = run(scalar_sigmoid.sigmoid_of_cubic, x[kept], target=target, linear=linear, cubic=cubic)
    assert errors_in_ulp(found, exact[kept]).max() <= 1.5


@pytest.mark.parametrize("target", ["numba", "metal"])
def test_the_slope_of_gelu_is_within_an_ulp_of_one(target: str) -> None:
    x = operands(-15, 7)
    wide = x[np.isfinite(x)].astype(np.float64)
    exact = special.ndtr(wide) + wide * np.exp(-wide * wide / 2) / math.sqrt(math.tau)
    found = run(scalar_error.gelu_slope, x[np.isfinite(x)], target=target)
    assert abs(found - exact).max() <= np.finfo(np.float32).eps


def test_functions_keep_the_sign_of_zero() -> None:
    zero = np.float32([-0.0, 0.0])
    odd = ("asin", "asinh", "atan", "atanh", "sinh", "i1", "i1e", "erfinv", "tanhshrink")
    odd += ("gelu", "silu", "mish")
    for function in FUNCTIONS:
        if function.name in odd:
            for target in ("numba", "metal"):
                found = run(function, zero, target=target)
                assert list(np.signbit(found)) == [True, False], (function.name, target)


def test_float64_near_the_roots_of_lgamma() -> None:
    x = np.array([1 + 1e-9, 2 - 1e-9, 2 + 1e-12])
    slopes = np.array([-np.euler_gamma, 1 - np.euler_gamma, 1 - np.euler_gamma])
    away = x - np.array([1, 2, 2])
    expected = away * slopes + 0.5 * away**2 * np.array([1, 1, 1]) * [math.pi**2 / 6, 0.645, 0.645]
    np.testing.assert_allclose(run(scalar_gamma.lgamma, x), expected, rtol=1e-13)


def test_inverse_functions_of_complex_numbers_have_numpys_branch_cuts() -> None:
    parts = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.5, -2.5]
    real, imag = (a.ravel() for a in np.meshgrid(parts, parts))
    rng = np.random.default_rng(0)
    x = np.empty(real.size + 500, np.complex128)
    x.real = np.append(real, rng.standard_normal(500))
    x.imag = np.append(imag, rng.standard_normal(500))
    for name in ("acos", "acosh", "asin", "asinh", "atan", "atanh", "sinh", "cosh"):
        numpy_name = name if name in ("sinh", "cosh") else f"arc{name[1:]}"
        with np.errstate(all="ignore"):
            expected = getattr(np, numpy_name)(x)
            found = run(getattr(scalar_complex_arc, name), x)
        fine = np.isfinite(expected)
        np.testing.assert_allclose(found[fine], expected[fine], rtol=1e-13, atol=1e-15)


def test_float64_inverse_hyperbolic_functions_of_large_numbers() -> None:
    x = 10.0 ** np.linspace(8, 308, 2_000)
    for function, reference in ((scalar_arc.asinh, np.arcsinh), (scalar_arc.acosh, np.arccosh)):
        assert errors_in_ulp(run(function, x), reference(x.astype(np.longdouble))).max() <= 2


def test_float64_tails_of_the_error_function() -> None:
    x = np.concatenate([np.linspace(0, 60, 5_001), 10.0 ** np.linspace(1, 308, 1_000), [np.inf]])
    np.testing.assert_allclose(run(scalar_error.erfcx, x), special.erfcx(x), rtol=4e-15)
    below = -x[x < 1e150]
    np.testing.assert_allclose(run(scalar_error.log_ndtr, below), special.log_ndtr(below), 1e-14)
