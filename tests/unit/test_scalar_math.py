"""Accuracy of the scalar library against wider arithmetic, over the whole range of each type."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from numbatorch.ops import scalar_math
from numbatorch.ops.scalar_run import run

Array = np.ndarray[Any, Any]

# longdouble is float64 itself on some platforms, where it is no reference for float64.
LONG = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant
NEEDS_LONG = pytest.mark.skipif(not LONG, reason="longdouble is no wider than float64")
DTYPES = [np.float32, pytest.param(np.float64, marks=NEEDS_LONG)]

# Types and targets of the functions that have a body of their own where there is no float64.
PROGRAMS = [
    (np.float32, "numba"),
    (np.float32, "metal"),
    pytest.param((np.float64, "numba"), marks=NEEDS_LONG),
]

_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])

# reference, (low, high) of the operands, largest error in ulp
FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[float, float], float]] = {
    "exp": (np.exp, (-110, 90), 1.0),
    "expm1": (np.expm1, (-20, 90), 2.0),
    "log": (np.log, (0, 3), 1.0),
    "log1p": (np.log1p, (-1, 3), 1.5),
    "log2": (np.log2, (0.3, 3), 1.0),
    "tanh": (np.tanh, (-10, 10), 1.5),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), (-110, 40), 2.1),
    "sin": (np.sin, (-1e6, 1e6), 1.5),
    "cos": (np.cos, (-1e6, 1e6), 1.5),
    "tan": (np.tan, (-1e6, 1e6), 2.0),
    "rsqrt": (lambda x: 1 / np.sqrt(x), (0, 100), 1.5),
}


def errors_in_ulp(actual: Array, exact: Array) -> Array:
    """Distance to the exact value in units in the last place of the type of `actual`."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(actual.dtype)
        finite = np.isfinite(rounded)
        step = np.spacing(np.abs(np.where(finite, rounded, 1))).astype(exact.dtype)
        distance = np.abs(actual.astype(exact.dtype) - exact) / step
    same = (actual == rounded) | (np.isnan(actual) & np.isnan(rounded))
    return np.where(same, 0, np.where(np.isnan(distance), np.inf, distance))


def check(actual: Array, exact: Array, limit: float, *operands: Array) -> None:
    errors = errors_in_ulp(actual, exact)
    worst = int(np.argmax(errors))
    at = ", ".join(repr(x[worst]) for x in operands)
    assert errors[worst] <= limit, f"{errors[worst]:.3g} ulp at {at}: {actual[worst]!r}"
    zero = (actual == 0) & (exact == 0)
    np.testing.assert_array_equal(np.signbit(actual[zero]), np.signbit(exact[zero]))


def wide(x: Array) -> Array:
    return x.astype(np.float64 if x.dtype == np.float32 else np.longdouble)


def operands(dtype: Any, low: float, high: float, everything: bool) -> Array:
    """Special values, the interval, small numbers of both signs, and arbitrary bits."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0]
    if everything:
        special += [info.max, -info.max, info.smallest_subnormal, -info.smallest_subnormal]
    small = rng.standard_normal(20_000) * 10.0 ** rng.uniform(-18, 0, 20_000)
    parts = [special, rng.uniform(low, high, 60_000), small]
    with np.errstate(over="ignore"):
        x = np.concatenate(parts).astype(dtype)
    if not everything:
        return x
    integer = np.uint32 if dtype == np.float32 else np.uint64
    bits = rng.integers(0, np.iinfo(integer).max, 60_000, dtype=integer)
    return np.append(x, bits.view(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_ulp(name: str, dtype: Any) -> None:
    reference, (low, high), limit = FUNCTIONS[name]
    if name == "exp" and dtype == np.float64:
        low, high = -750, 712
    x = operands(dtype, low, high, True)
    actual = run(getattr(scalar_math, name), x)
    assert actual.dtype == dtype
    with np.errstate(all="ignore"):
        check(actual, reference(wide(x)), limit, x)


@pytest.mark.parametrize("dtype", DTYPES)
def test_atan2_in_ulp(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    special = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-30, 1e30]
    y, x = (a.ravel() for a in np.meshgrid(special, special))
    y, x = (np.append(a, rng.standard_normal(50_000)).astype(dtype) for a in (y, x))
    check(run(scalar_math.atan2, y, x), np.arctan2(wide(y), wide(x)), 2.0, y, x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf(dtype: Any) -> None:
    x = operands(dtype, -6.5, 6.5, True)
    with np.errstate(invalid="ignore"):
        exact = _erf(x.astype(np.float64))
    check(run(scalar_math.erf, x), exact, 1.5 if dtype == np.float32 else 2.0, x)


def test_normal_cdf_keeps_its_digits_in_the_tail() -> None:
    x = np.linspace(-12, 8, 20_001).astype(np.float32)
    exact = 0.5 * _erfc(-x.astype(np.float64) / math.sqrt(2))
    check(run(scalar_math.normal_cdf, x), exact, 4.0, x)
    check(run(scalar_math.normal_cdf, x, target="metal"), exact, 4.0, x)


def test_exp_underflows_gradually() -> None:
    x = np.linspace(-104, -87, 10_001).astype(np.float32)
    check(run(scalar_math.exp, x), np.exp(x.astype(np.float64)), 1.0, x)
    assert run(scalar_math.exp, np.float32([-103.9])).item() == pytest.approx(1.4e-45, rel=0.01)


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_circles_far_out(name: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1e8, 1e8, 50_000).astype(dtype)
    check(run(getattr(scalar_math, name), x), getattr(np, name)(wide(x)), 2.0, x)
    assert np.isnan(
        run(getattr(scalar_math, name), np.array([np.inf, -np.inf, np.nan], dtype))
    ).all()


# Numbers and their sines, cosines and tangents, by mpmath with 1,400 bits; the last float64 but one
# is as near to a multiple of pi / 2 as a float64 gets.
FAR_OUT = {
    np.float32: [
        (1e10, -0.48750602508751069153, 0.87311962267685600118, -0.55834963781124184656),
        (1e20, 0.65657667785459028997, 0.75425928307010551814, 0.87049200797647192724),
        (3e38, 0.87490488776443438416, -0.48429478354190691555, -1.8065544323351714568),
    ],
    np.float64: [
        (1e20, -0.64525128526578084421, 0.7639704044417283004, -0.84460246301988425418),
        (1e22, -0.85220084976718880177, 0.5232147853951389455, -1.6287782256068988785),
        (1e300, -0.81788191211590859705, -0.57538611195754904669, 1.4214488238747244124),
        (5.319372648326541e255, 1.0, -4.6871659242546276111e-19, -2133485385753703843.7),
        (3e38, -0.023678459894696412354, 0.99971962596370751331, -0.023685100581946566238),
    ],
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_circles_at_huge_operands(dtype: Any) -> None:
    rows = np.array(FAR_OUT[dtype])
    x = rows[:, 0].astype(dtype)
    for column, name in enumerate(("sin", "cos", "tan"), 1):
        function = getattr(scalar_math, name)
        check(run(function, x), rows[:, column], 2.0, x)
        check(run(function, -x), rows[:, column] * (1 if name == "cos" else -1), 2.0, x)


@pytest.mark.parametrize(("name", "limit"), [("sin", 1.0), ("cos", 1.0), ("tan", 2.5)])
def test_circles_are_exact_everywhere_on_metal(name: str, limit: float) -> None:
    quarters = np.arange(1, 20_001) * (math.pi / 2)
    inside = np.random.default_rng(0).uniform(-100, 100, 60_000)
    near = np.concatenate([quarters, -quarters, inside]).astype(np.float32)
    x = np.append(operands(np.float32, -1e6, 1e6, True), near)
    with np.errstate(all="ignore"):
        actual = run(getattr(scalar_math, name), x, target="metal")
        check(actual, getattr(np, name)(wide(x)), limit, x)


SPECIAL = [0.0, 1.0, 2.0, 3.0, 0.5, 2.5, 1e300, 1e-300, 1e17, 2.0**24 + 1, 2.0**53 - 1, math.inf]


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
def test_pow_special_values_are_those_of_c(program: tuple[Any, str]) -> None:
    dtype, target = program
    with np.errstate(all="ignore"):
        values = np.array([*SPECIAL, *(-x for x in SPECIAL), math.nan]).astype(dtype)
        x, y = (a.ravel() for a in np.meshgrid(values, values))
        check(run(scalar_math.pow_, x, y, target=target), np.power(wide(x), wide(y)), 2.0, x, y)


@pytest.mark.parametrize("program", PROGRAMS, ids=str)
@pytest.mark.parametrize("case", ["ordinary", "near one", "negative", "wide"])
def test_pow_error_in_ulp(case: str, program: tuple[Any, str]) -> None:
    dtype, target = program
    rng, n = np.random.default_rng(0), 40_000
    x, y = {
        "ordinary": (rng.uniform(0, 10, n), rng.uniform(-20, 20, n)),
        "near one": (1 + rng.uniform(-1e-4, 1e-4, n), rng.uniform(-1e6, 1e6, n)),
        "negative": (-rng.uniform(0, 10, n), rng.integers(-30, 30, n)),
        "wide": (np.exp(rng.uniform(-80, 80, n)), rng.uniform(-1.2, 1.2, n)),
    }[case]
    x, y = x.astype(dtype), y.astype(dtype)
    with np.errstate(all="ignore"):
        check(run(scalar_math.pow_, x, y, target=target), np.power(wide(x), wide(y)), 1.5, x, y)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_float_division_is_numpys(dtype: Any) -> None:
    rng = np.random.default_rng(0)
    special = [0.0, -0.0, 1.0, -1.0, 3.5, -3.5, math.inf, -math.inf, math.nan, 1e-30, 1e30]
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid(special, special))
    x = np.append(x, rng.uniform(-100, 100, 10_000)).astype(dtype)
    y = np.append(y, rng.uniform(-3, 3, 10_000)).astype(dtype)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(run(scalar_math.remainder, x, y), np.remainder(x, y))
        np.testing.assert_array_equal(run(scalar_math.floor_divide, x, y), np.floor_divide(x, y))
