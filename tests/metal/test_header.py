"""The types and functions of tests/metal/metal_stdlib against NumPy and ml_dtypes."""

import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from numbatorch.errors import KernelError
from tests.metal import clang
from tests.metal.device import AVAILABLE
from tests.metal.text import run

pytestmark = pytest.mark.skipif(not AVAILABLE, reason="there is no C++ compiler, or no Linux")

Array = np.ndarray[Any, Any]

NARROW = {"half": np.dtype(np.float16), "bfloat": np.dtype(ml_dtypes.bfloat16)}
ALL_BITS = np.arange(1 << 16, dtype=np.uint16)
SPECIAL = np.array([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, 3e38, 0.1], np.float32)


def assert_same(found: Array, expected: Array) -> None:
    """Equal bit by bit, but any NaN is as good as another."""
    both = np.isnan(found.astype(np.float32)) & np.isnan(expected.astype(np.float32))
    bits = f"u{found.itemsize}"
    wrong = np.flatnonzero((found.view(bits) != expected.view(bits)) & ~both)
    assert not wrong.size, f"{wrong.size} differ, first at {wrong[0]}: {found[wrong[0]]}"


def edges(dtype: np.dtype[Any]) -> Array:
    """Floats on both sides of each place where rounding to `dtype` changes, and at it."""
    finite = ALL_BITS.view(dtype).astype(np.float32)
    finite = np.sort(finite[np.isfinite(finite)])
    # Ends before the overflow, whose midpoint is not between two finite numbers.
    top = finite[-1]
    step = finite[-1] - finite[-2]
    between = ((finite[1:].astype(np.float64) + finite[:-1]) / 2).astype(np.float32)
    over = (np.float64(top) + np.float64(step) / 2) * np.array([-1, 1])
    values = np.concatenate([finite, between, over.astype(np.float32), SPECIAL, -SPECIAL])
    up = np.nextafter(values, np.float32(np.inf))
    return np.concatenate([values, up, np.nextafter(values, np.float32(-np.inf))])


@pytest.mark.parametrize("kind", NARROW)
def test_every_16_bit_float_widens_exactly(kind: str) -> None:
    values = ALL_BITS.view(NARROW[kind])
    body = "out[i] = x[i];"
    out = run(body, threads=256, groups=256, x=values, out=np.zeros(1 << 16, np.float32))["out"]
    assert_same(out, values.astype(np.float32))


@pytest.mark.parametrize("kind", NARROW)
def test_floats_round_to_nearest_even_at_every_edge(kind: str) -> None:
    values = edges(NARROW[kind])
    body = f"for (long j = 0; j < {values.size}; j++) out[j] = {kind}(x[j]);"
    out = run(body, x=values, out=np.zeros(values.size, NARROW[kind]))["out"]
    with np.errstate(over="ignore", invalid="ignore"):
        assert_same(out, values.astype(NARROW[kind]))


@pytest.mark.slow
@pytest.mark.parametrize("kind", NARROW)
def test_every_float_rounds_to_nearest_even(kind: str) -> None:
    for start in range(0, 1 << 32, 1 << 26):
        values = np.arange(start, start + (1 << 26), dtype=np.uint32).view(np.float32)
        body = f"for (long j = 0; j < {values.size}; j++) out[j] = {kind}(x[j]);"
        out = run(body, x=values, out=np.zeros(values.size, NARROW[kind]))["out"]
        with np.errstate(over="ignore", invalid="ignore"):
            assert_same(out, values.astype(NARROW[kind]))


def drawn(kind: str, size: int) -> tuple[Array, Array]:
    """Pairs of any bits: NaN, infinities and subnormals among them."""
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 1 << 16, (2, size)).astype(np.uint16)
    return pairs[0].view(NARROW[kind]), pairs[1].view(NARROW[kind])


@pytest.mark.parametrize("sign", "+-*/")
@pytest.mark.parametrize("kind", NARROW)
def test_arithmetic_of_16_bit_floats_rounds_once(kind: str, sign: str) -> None:
    a, b = drawn(kind, 1 << 16)
    body = f"out[i] = a[i] {sign} b[i];"
    out = run(body, threads=256, groups=256, a=a, b=b, out=np.empty_like(a))["out"]
    with np.errstate(all="ignore"):
        assert_same(out, eval(f"a {sign} b"))


def test_arithmetic_of_narrow_and_wide_floats_is_wide() -> None:
    a = np.array([0.1, 2.5], np.float16)
    b = np.array([0.3, 1e-8], np.float32)
    body = "out[i] = a[i] * b[i]; back[i] = a[i] + 1; back[i] += b[i];"
    found = run(body, threads=2, a=a, b=b, out=np.empty_like(b), back=np.empty_like(a))
    np.testing.assert_array_equal(found["out"], a.astype(np.float32) * b)
    expected = ((a + np.float16(1)).astype(np.float32) + b).astype(np.float16)
    np.testing.assert_array_equal(found["back"], expected)


def test_comparisons_and_signs_of_half() -> None:
    a = np.array([0.0, -0.0, 1.0, np.nan, np.inf], np.float16)
    b = np.array([-0.0, 0.0, 2.0, np.nan, -np.inf], np.float16)
    body = "less[i] = a[i] < b[i]; same[i] = a[i] == b[i]; other[i] = -a[i];"
    flags = {"less": np.zeros(5, bool), "same": np.zeros(5, bool)}
    found = run(body, threads=5, a=a, b=b, other=a.copy(), **flags)
    np.testing.assert_array_equal(found["less"], a < b)
    np.testing.assert_array_equal(found["same"], a == b)
    np.testing.assert_array_equal(np.signbit(found["other"]), ~np.signbit(a))


def test_literals_are_single_precision() -> None:
    x = np.array([3.0], np.float32)
    body = "out[0] = x[0] * 0.1 == x[0] * 0.1f && sizeof(1.0) == 4; half_of[0] = 0.5h;"
    found = run(body, x=x, out=np.zeros(1, bool), half_of=np.zeros(1, np.float16))
    assert found["out"][0] and found["half_of"][0] == 0.5


SAME_NAME = "sin cos tan sinh cosh tanh exp exp2 log log2 log10 sqrt floor ceil trunc rint fabs abs"
UNARY: dict[str, Callable[[Array], Array]] = {
    **{name: getattr(np, name) for name in SAME_NAME.split()},
    **{f"a{name}": getattr(np, f"arc{name}") for name in "sin cos tan sinh cosh tanh".split()},
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "exp10": lambda x: 10**x,
    "fract": lambda x: x - np.floor(x),
    "round": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x),
}


@pytest.mark.parametrize("kind", ["float", "half"])
def test_math_functions(kind: str) -> None:
    dtype = np.dtype(np.float32 if kind == "float" else np.float16)
    x = np.concatenate([np.linspace(-6, 6, 97), [0.5, 1.5, 2.5, -0.0, np.inf, -np.inf, np.nan]])
    x = x.astype(dtype)
    outs = {f"{name}_": np.empty_like(x) for name in UNARY}
    places = [*UNARY]
    lines = [f"{name}_[i] = {'precise::' * (n % 2)}{name}(x[i]);" for n, name in enumerate(places)]
    found = run("\n".join(lines), threads=x.size, x=x, **outs)
    for name, reference in UNARY.items():
        with np.errstate(all="ignore"):
            expected = reference(x.astype(np.float64)).astype(dtype)
        limit = 4 * np.finfo(dtype).eps
        inner = np.isfinite(x) | (name != "fract")  # of infinity it is not defined
        np.testing.assert_allclose(
            found[f"{name}_"][inner], expected[inner], limit, np.finfo(dtype).tiny, err_msg=name
        )


BINARY: dict[str, Callable[[Array, Array], Array]] = {
    **{name: getattr(np, name) for name in "fmin fmax fmod copysign".split()},
    "min": np.fmin,
    "max": np.fmax,
    "pow": np.power,
    "atan2": np.arctan2,
    "fdim": lambda a, b: np.where(np.isnan(a) | np.isnan(b), np.nan, np.maximum(a - b, 0)),
}


def test_functions_of_two_numbers() -> None:
    values = np.array([0.0, 1.5, -2.25, 7.0, 1e20, np.inf, -np.inf, np.nan], np.float32)
    a, b = (x.reshape(-1).copy() for x in np.meshgrid(values, values))
    outs = {f"{name}_": np.empty_like(a) for name in BINARY}
    lines = [f"{name}_[i] = {name}(a[i], b[i]);" for name in BINARY]
    found = run("\n".join(lines), threads=a.size, a=a, b=b, **outs)
    for name, reference in BINARY.items():
        with np.errstate(all="ignore"):
            expected = reference(a.astype(np.float64), b.astype(np.float64)).astype(np.float32)
            if name == "fdim":
                expected = np.where(a > b, expected, np.where(a <= b, np.float32(0), expected))
        np.testing.assert_allclose(found[f"{name}_"], expected, 1e-6, err_msg=name)


def test_kinds_of_floats() -> None:
    names = ["isnan", "isinf", "isfinite", "signbit"]
    lines = [f"{name}_[i] = {name}(x[i]);" for name in names]
    outs = {f"{name}_": np.zeros(SPECIAL.size, bool) for name in names}
    found = run("\n".join(lines), threads=SPECIAL.size, x=SPECIAL, **outs)
    for name in names:
        np.testing.assert_array_equal(found[f"{name}_"], getattr(np, name)(SPECIAL), name)


def test_fma_rounds_once() -> None:
    rng = np.random.default_rng(1)
    a, b, c = (rng.standard_normal(4096).astype(np.float32) for _ in range(3))
    c = np.where(np.arange(4096) % 2, -(a * b), c).astype(np.float32)
    out = run("out[i] = fma(a[i], b[i], c[i]);", threads=1024, groups=4, a=a, b=b, c=c, out=a)[
        "out"
    ]
    exact = a.astype(np.longdouble) * b + c
    np.testing.assert_array_equal(out, exact.astype(np.float32))


def test_half_fma_rounds_once() -> None:
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0x2C00, 0x4C00, 1 << 16).astype(np.uint16).view(np.float16) for _ in "ab")
    c = rng.integers(0x8000, 0x9C00, 1 << 16).astype(np.uint16).view(np.float16)
    body = "out[i] = fma(a[i], b[i], c[i]);"
    out = run(body, threads=1024, groups=64, a=a, b=b, c=c, out=np.empty_like(a))["out"]
    exact = a.astype(np.float64) * b.astype(np.float64) + c.astype(np.float64)  # in 53 bits
    assert_same(out, exact.astype(np.float16))
    twice = exact.astype(np.float32).astype(np.float16)
    assert np.count_nonzero(twice != out), "the values tell one rounding from two"


def test_clamp_select_and_as_type() -> None:
    x = np.array([-3.0, 0.25, np.nan, 9.0], np.float32)
    body = """
      low[i] = clamp(x[i], -1.0, 1.0);
      chosen[i] = select(0.0, x[i], x[i] > 0);
      bits[i] = as_type<uint>(x[i]);
      halves[i] = as_type<ushort>(as_type<half2>(as_type<uint>(x[i])).y);
    """
    outs = {"low": np.empty_like(x), "chosen": np.empty_like(x)}
    outs |= {"bits": np.empty(4, np.uint32), "halves": np.empty(4, np.uint16)}
    found = run(body, threads=4, x=x, **outs)
    np.testing.assert_array_equal(found["low"], [-1, 0.25, -1, 1])
    np.testing.assert_array_equal(found["chosen"], [0, 0.25, 0, 9])
    np.testing.assert_array_equal(found["bits"], x.view(np.uint32))
    np.testing.assert_array_equal(found["halves"], x.view(np.uint16)[1::2])


@pytest.mark.parametrize("name", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64"])
def test_integer_functions(name: str) -> None:
    info = np.iinfo(name)
    bits, mask = info.bits, (1 << info.bits) - 1
    values = [info.min, info.min + 1, 0, 1, 2, 3, 5, 100, info.max - 1, info.max]
    x = np.array(values, name)
    y = x[::-1].copy()
    names = "popcount clz ctz rotate abs min max".split()
    calls = ["(x[i])"] * 3 + ["(x[i], y[i])", "(x[i])", "(x[i], y[i])", "(x[i], y[i])"]
    lines = [f"{n}_[i] = {n}{call};" for n, call in zip(names, calls, strict=True)]
    lines.append("shorter_[i] = clamp(x[i], y[0], y[0]);")
    outs = {f"{n}_": np.empty_like(x) for n in [*names, "shorter"]}
    found = run("\n".join(lines), threads=x.size, x=x, y=y, **outs)
    raw = [int(v) & mask for v in x]
    by = [
        (int(v) & mask) % bits if bits >= 32 else int(np.uint32(int(v) & 0xFFFFFFFF)) % bits
        for v in y
    ]
    expected = {
        "popcount": [v.bit_count() for v in raw],
        "clz": [bits - v.bit_length() for v in raw],
        "ctz": [(v & -v).bit_length() - 1 if v else bits for v in raw],
        "rotate": [(v << n | v >> (bits - n)) & mask for v, n in zip(raw, by, strict=True)],
        "abs": [abs(int(v)) & mask for v in x],
        "min": np.minimum(x, y),
        "max": np.maximum(x, y),
        "shorter": np.full_like(x, y[0]),
    }
    for key, value in expected.items():
        wrapped = [int(v) & mask for v in value]
        np.testing.assert_array_equal([int(v) & mask for v in found[f"{key}_"]], wrapped, key)


def test_high_half_of_products() -> None:
    a = np.array([-5, 7, 1 << 40, -(1 << 62), (1 << 63) - 1], np.int64)
    body = "out[i] = mulhi(a[i], a[i] + 1); low[i] = mulhi(uint(a[i]), 0xfffffff1u);"
    found = run(body, threads=4, a=a, out=np.empty_like(a), low=np.empty(5, np.uint32))
    for v, high, low in zip(a[:4], found["out"], found["low"], strict=False):
        assert int(high) == int(v) * (int(v) + 1) >> 64
        assert int(low) == (int(v) & 0xFFFFFFFF) * 0xFFFFFFF1 >> 32


def test_vectors() -> None:
    a = np.arange(12, dtype=np.float32) - 5
    body = """
      device float4* rows = (device float4*)a;
      float4 v = rows[i] * 2 + float4(1, 2, 3, 4);
      uint3 n = uint3(float3(v.x, v.y, v.z) + 100.0f);
      out[i] = dot(v, float4(1.0f)) + v[3] - v.w + float(n.z);
      rows[i] = max(v, float4(0.0f));
      n += 1u;
      flags[i] = any(v < 0.0f) && all(n == uint3(n.x, n.y, n.z)) && sizeof(float3) == 16;
    """
    found = run(body, threads=3, a=a, out=np.empty(3, np.float32), flags=np.zeros(3, bool))
    v = a.reshape(3, 4) * 2 + [1, 2, 3, 4]
    np.testing.assert_array_equal(found["out"], v.sum(1) + np.trunc(v[:, 2] + 100))
    np.testing.assert_array_equal(found["a"], np.maximum(v, 0).reshape(-1))
    np.testing.assert_array_equal(found["flags"], (v < 0).any(1))


NEEDS_CLANG = pytest.mark.skipif(not clang.INSTALLED, reason="pip install libclang")
SPACES = (
    "threadgroup float* y = x;",
    "device float* y = (threadgroup float*)shared; y[0] = 1;",
    "thread float* y = x;",
    "float y[2]; x = y;",
)


@pytest.mark.parametrize(
    "body",
    [
        "double y = x[0];",
        "bfloat y = 1.0f;",
        "bfloat y = x[0];",
        "bfloat y = half(1.0f);",
        "x[0] = erf(x[0]);",
        "x[0] = std::sin(x[0]);",
        "long y = min(1, 2l);",
        "long y = simd_sum(3l);",
        "float4 y = int4(1);",
        *(pytest.param(body, marks=NEEDS_CLANG) for body in SPACES),
    ],
)
def test_what_metal_lacks_does_not_compile(body: str) -> None:
    with pytest.raises(KernelError, match=r"(?s)^run: (clang|the C\+\+ compiler) refuses") as e:
        run(body, x=np.zeros(1, np.float32))
    assert ".metal" in str(e.value)
    assert math.isfinite(run("x[0] = 1;", x=np.zeros(1, np.float32))["x"][0])
