"""Functions of complex numbers beside NumPy's: at special points, at large and small numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from numbatorch.graph import find
from numbatorch.ops.scalar_run import run
from numbatorch.testing import tolerance

Array = np.ndarray[Any, Any]

PARTS = np.array([0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 2.5, -2.5, np.inf, -np.inf, np.nan])


def expm1(x: Array) -> Array:
    """NumPy's makes NaN of both parts of what C would have infinite, or -1."""
    y = np.where(np.isfinite(x), np.expm1(x), np.exp(x) - 1)
    y.real += 0.0  # -0 is 0 in the array API standard
    return y


def tanh(x: Array) -> Array:
    """At infinity with the zero of the array API standard: that of b, in C of sin(2 * b)."""
    y = np.tanh(x)
    far = np.isinf(x.real) & np.isfinite(x.imag)
    y.imag[far] = np.copysign(0, x.imag[far])
    return y


def tan(x: Array) -> Array:
    """-i * tanh(i * x)."""
    turned = x.copy()
    turned.real, turned.imag = -x.imag, x.real
    y = tanh(turned)
    turned.real, turned.imag = y.imag, -y.real
    return turned


FUNCTIONS: dict[str, Callable[..., Any]] = {
    **{name: getattr(np, name) for name in "abs angle exp exp2 log log1p log2 log10".split()},
    **{name: getattr(np, name) for name in "sqrt sin cos sinh cosh square".split()},
    **{f"a{name}": getattr(np, f"arc{name}") for name in "sin cos tan sinh cosh tanh".split()},
    "expm1": expm1,
    "tan": tan,
    "tanh": tanh,
    "reciprocal": lambda x: 1 / x,
}
# The part that is an angle: of an infinite one no sine has a sign.
ANGLE = {
    **dict.fromkeys("exp exp2 expm1 sinh cosh tanh".split(), np.imag),
    **dict.fromkeys("sin cos tan".split(), np.real),
}
KINDS = [(np.complex128, "numba"), (np.complex64, "numba"), (np.complex64, "metal")]


def pairs(real: Array, imag: Array, dtype: Any) -> Array:
    out = np.empty((len(real), len(imag)), dtype)
    out.real, out.imag = real[:, None], imag
    return out.ravel()


@pytest.mark.parametrize(("dtype", "target"), KINDS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_zeros_infinities_and_nan_are_those_of_numpy(name: str, dtype: Any, target: str) -> None:
    """Which NumPy takes from C: ISO/IEC 9899:2018, annex G.6."""
    x = pairs(PARTS, PARTS, dtype)
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[name](x.astype(np.complex128))
        found = run(find(name), x, target=target)
    limit = tolerance(np.dtype(dtype).name, "elementwise")
    known = ~np.isnan(x)
    if name in ANGLE:
        known &= np.isfinite(ANGLE[name](x))
    for part in (np.real, np.imag) if np.iscomplexobj(expected) else (np.real,):
        ours, theirs = part(found), part(expected).astype(found.real.dtype)
        same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
        unsigned = ~known & ((theirs == 0) | np.isinf(theirs)) & (np.abs(ours) == np.abs(theirs))
        with np.errstate(invalid="ignore"):
            near = np.abs(ours - theirs) <= 4 * limit.relative * np.abs(theirs)
        turned = known & (theirs == 0) & (np.signbit(ours) != np.signbit(theirs))
        wrong = np.flatnonzero(~(same | unsigned | near) | turned)
        rows = [f"{x[i]}: {found[i]}, not {expected[i]}" for i in wrong]
        assert not rows, (part.__name__, rows)


def test_quotients_and_products_of_special_numbers_are_those_of_numpy() -> None:
    special = pairs(PARTS, PARTS, np.complex128)
    x, y = (part.ravel() for part in np.meshgrid(special, special))
    for name, reference in (("div", np.divide), ("mul", np.multiply)):
        with np.errstate(all="ignore"):
            found, expected = run(find(name), x, y), reference(x, y)
        for part in (np.real, np.imag):
            np.testing.assert_allclose(part(found), part(expected), 1e-15, err_msg=name)


def log1p(x: Array) -> Array:
    """NumPy's adds 1 to x first."""
    inner = np.log1p(x.real * (x.real + 2) + x.imag * x.imag) / 2
    near = np.abs(x) < 0.5
    return np.where(near, inner + 1j * np.arctan2(x.imag, x.real + 1), np.log1p(x))


@pytest.mark.parametrize(("dtype", "wide"), [("complex64", "complex128"), ("complex128", "G")])
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("exp2", "square")])
def test_large_and_small_numbers_keep_their_digits(name: str, dtype: str, wide: str) -> None:
    """Distances in the plane, beside NumPy with a wider exponent and mantissa."""
    if np.finfo(wide).nmant <= np.finfo(dtype).nmant:
        pytest.skip("long double has no more digits than double here")
    rng, ends = np.random.default_rng(0), np.finfo(dtype)
    edges = [float(ends.max), 1.0, 5 * float(ends.smallest_subnormal)]
    powers = rng.uniform(np.log(ends.tiny), np.log(ends.max), (2, 600))
    parts = np.exp(powers) * rng.choice([-1, 1], (2, 600))
    parts[:, :200] = rng.uniform(-1.05, 1.05, (2, 200)) * np.log(ends.max)
    parts[0, 200:300] = rng.choice([-1, 1], 100) * (1 + np.exp(rng.uniform(-36, -1, 100)))
    parts[:, -9:] = np.reshape(np.meshgrid(edges, edges), (2, 9))
    x = (parts[0] + 1j * parts[1]).astype(dtype)
    with np.errstate(all="ignore"):
        expected = {**FUNCTIONS, "log1p": log1p, "expm1": np.expm1}[name](x.astype(wide))
        found = run(find(name), x)
        size = np.abs(expected)
        kept = np.isfinite(expected) & (size < ends.max / 2) & (size > ends.tiny)
        off = np.abs(found - expected)[kept] / size[kept] / ends.eps
    worst = int(np.argmax(off))
    assert kept.sum() > 200
    assert off[worst] <= 4, (off[worst], x[kept][worst], found[kept][worst], expected[kept][worst])
