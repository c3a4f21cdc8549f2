"""Corner cases of the elementwise operators, written down: PyTorch's answers unless it says so."""

import math
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError
from tests.compare import assert_close, assert_launches

F = nt.nn.functional
INF, NAN = math.inf, math.nan


def values(x: Any) -> Any:
    return np.asarray(x.tolist())


@pytest.mark.parametrize(
    ("name", "operands", "expected"),
    [
        ("fmod", ([-7, 7], [3, -3]), [-1, 1]),
        ("fmod", ([-7.5, 7.5, 1.0], [2.0, -2.0, 0.0]), [-1.5, 1.5, NAN]),
        ("gcd", ([12, -18, 0, -128], [8, 12, 0, 0]), [4, 6, 0, 128]),
        ("lcm", ([4, -6, 0], [6, 4, 5]), [12, 12, 0]),
        ("fmax", ([NAN, 1.0, NAN], [2.0, NAN, NAN]), [2.0, 1.0, NAN]),
        ("fmin", ([NAN, 1.0, 3.0], [2.0, NAN, 1.0]), [2.0, 1.0, 1.0]),
        ("copysign", ([1.0, -2.0, 0.0], [-0.0, 0.0, -1.0]), [-1.0, 2.0, -0.0]),
        ("heaviside", ([-1.0, 0.0, 2.0, NAN], [0.5] * 4), [0.0, 0.5, 1.0, 0.0]),
        ("ldexp", ([1.0, 3.0], [-149.0, 126.0]), [2.0**-149, 3 * 2.0**126]),
        ("nextafter", ([1.0, 0.0, 1.0], [2.0, -1.0, 1.0]), [1 + 2.0**-23, -(2.0**-149), 1.0]),
        ("xlogy", ([0.0, 0.0, 2.0], [0.0, NAN, 1.0]), [0.0, NAN, 0.0]),
        ("atan2", ([0.0, -0.0, INF], [-1.0, -1.0, INF]), [math.pi, -math.pi, math.pi / 4]),
        ("hypot", ([3e38, INF], [1e38, NAN]), [3.1622776e38, INF]),
        ("logaddexp", ([-INF, INF, 500.0], [-INF, INF, 500.0]), [-INF, INF, 500 + math.log(2)]),
        ("remainder", ([-7, 7, 5.0], [3, -3, 0]), [2, -2, NAN]),
    ],
)
def test_functions_of_two_operands_at_corners(
    name: str, operands: Any, expected: list[float]
) -> None:
    found = getattr(nt, name)(*(nt.tensor(x) for x in operands))
    assert_close(values(found), np.array(expected), dtype="float32", signed_zeros=True)


@pytest.mark.parametrize(
    ("name", "operand", "expected"),
    [
        ("lgamma", [0.0, -1.0, 1.0, 2.0, INF, -INF], [INF, INF, 0.0, 0.0, INF, INF]),
        ("digamma", [0.0, -0.0, -1.0, 1.0, INF], [-INF, INF, NAN, -0.5772156649, INF]),
        ("erfinv", [-1.0, 1.0, 1.5, -0.0], [-INF, INF, NAN, -0.0]),
        ("logit", [0.0, 1.0, 2.0, 0.5], [-INF, INF, NAN, 0.0]),
        ("sinc", [0.0, 1.0, 0.5], [1.0, 0.0, 2 / math.pi]),
        ("frac", [-1.5, 2.25], [-0.5, 0.25]),
        ("acosh", [0.5, 1.0], [NAN, 0.0]),
        ("atanh", [1.0, -1.0, 2.0], [INF, -INF, NAN]),
        ("log10", [1000.0, 1e-3, 0.0, -1.0], [3.0, -3.0, -INF, NAN]),
        ("exp2", [10.0, -149.0, 128.0], [1024.0, 2.0**-149, INF]),
        ("nan_to_num", [NAN, INF, -INF], [0.0, 3.4028235e38, -3.4028235e38]),
        ("signbit", [-0.0, 0.0, -NAN], [True, False, True]),
        ("isneginf", [-INF, INF], [True, False]),
        ("sigmoid", [-100.0, 100.0], [3.783506e-44, 1.0]),
        ("i0", [0.0, -1.0, INF], [1.0, 1.2660658778, INF]),
    ],
)
def test_functions_of_one_operand_at_corners(
    name: str, operand: list[float], expected: list[Any]
) -> None:
    found = values(getattr(nt, name)(nt.tensor(operand)))
    assert_close(found * 1.0, np.array(expected) * 1.0, dtype="float32", absolute=2.0**-149)


def test_polygamma_and_zeta() -> None:
    x = nt.tensor([1.0, -0.5], dtype=nt.float64, requires_grad=True)
    found = [nt.polygamma(n, x).tolist()[0] for n in range(4)]
    expected = [-0.5772156649015329, 1.6449340668482264, -2.4041138063191886, 6.493939402266829]
    assert_close(np.array(found), np.array(expected), dtype="float64")
    nt.lgamma(x).sum().backward()
    assert_close(x.grad, np.array([-0.5772156649015329, 0.03648997397857652]), dtype="float64")
    assert_close(nt.special.zeta(2.0, nt.tensor(1.0)), np.float32(math.pi**2 / 6))


def second(function: Any, at: float) -> float:
    x = nt.tensor(at, dtype=nt.float64, requires_grad=True)
    (first,) = nt.autograd.grad(function(x), x, create_graph=True)
    return float(nt.autograd.grad(first, x)[0].item())


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (nt.sinc, 0.0, -(math.pi**2) / 3),
        (nt.i0, 0.0, 0.5),
        (F.elu, 0.0, 1.0),
        (F.celu, -1.0, math.exp(-1)),
        (F.tanhshrink, 0.0, 0.0),
        (F.softsign, 1.0, -0.25),
        (lambda x: nt.special.xlog1py(x, x), 0.0, 2.0),
        (nt.special.log_ndtr, -3.0, -0.9159),
    ],
)
def test_second_derivatives(function: Any, at: float, expected: float) -> None:
    assert second(function, at) == pytest.approx(expected, rel=2e-2, abs=1e-12)


def test_gradients_at_corners() -> None:
    x = nt.tensor([0.0, 1.0, 2.0], requires_grad=True)
    (nt.hypot(x, x * 0) + nt.atan2(x * 0, x) + nt.fmax(x, nt.ones(3))).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 2.0, 2.0]
    x = nt.tensor([-1.0, 0.0, 3.0], requires_grad=True)
    nt.clamp(x, nt.tensor([0.0, 0.0, 0.0]), nt.tensor([1.0, 1.0, 3.0])).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [0.0, 1.0, 1.0]


def test_products_are_taken_in_the_dtype_of_the_sum() -> None:
    few, half = nt.tensor([100], dtype=nt.int8), nt.tensor([257.0])
    assert nt.addcmul(nt.tensor([0]), few, few).tolist() == [10_000]
    third = nt.addcdiv(nt.tensor([0j]), nt.tensor([1.0]).bfloat16(), half, value=1 + 2**-10)
    assert third.tolist() == [np.float32(1 + 2**-10) / np.float32(257)]


def test_dtypes_and_refusals() -> None:
    whole, real = nt.tensor([1, 2]), nt.tensor([1.0, 2.0])
    assert nt.float_power(whole, 2).dtype is nt.float64
    assert nt.atan2(whole, whole).dtype is nt.float32
    assert nt.clamp(whole, 1.5).dtype is nt.float32 and nt.clamp(whole, 1).dtype is nt.int64
    assert F.hardtanh(whole).dtype is nt.int64 and nt.nan_to_num(whole) is whole
    assert nt.mul(2, whole).tolist() == [2, 4] and nt.floor_divide(5, whole).tolist() == [5, 2]
    assert nt.square(whole > 1).tolist() == [0, 1]
    for wrong, error in (
        (lambda: nt.addcdiv(whole, whole, whole), DTypeError),
        (lambda: nt.gcd(real, real), DTypeError),
        (lambda: nt.lerp(real, real.double(), 0.5), DTypeError),
        (lambda: nt.isclose(real, whole), DTypeError),
        (lambda: nt.isclose(real, real, rtol=-1.0), ValueError),
        (lambda: nt.add(whole, whole, alpha=0.5), DTypeError),
        (lambda: nt.maximum(real, 2.0), TypeError),
        (lambda: nt.gcd(whole, 2), TypeError),
        (lambda: nt.ge(2, real), TypeError),
        (lambda: nt.mul(2, 3), TypeError),
        (lambda: F.rrelu(real, 0.5, 0.25), ValueError),
        (lambda: nt.polygamma(-1, real), ValueError),
        (lambda: nt.round(whole, decimals=1), DTypeError),
        (lambda: F.glu(nt.ones(3)), ShapeError),
        (lambda: F.glu(nt.ones(2), 3), OutOfRange),
        (lambda: F.prelu(nt.ones(2, 3), nt.ones(2)), ShapeError),
        (lambda: F.softshrink(real, -1.0), ValueError),
    ):
        with pytest.raises(error):
            wrong()


def test_functions_in_place_give_their_operand_and_write_through_views() -> None:
    x = nt.tensor([-1.0, 0.5])
    y = x[:1]
    assert x.acos_() is x and F.relu(x, inplace=True) is x
    assert y.tolist() == x.tolist()[:1] == [pytest.approx(math.pi)]
    assert F.elu(x, 1.0, True) is x and x.gt_(2).tolist() == [1.0, 0.0]


def test_nextafter_of_half_types_is_theirs() -> None:
    x, y = nt.tensor([1.0, 0.0, 3.0]), nt.tensor([2.0, -1.0, NAN])
    assert_close(
        nt.nextafter(x.bfloat16(), y.bfloat16()).float(), [1 + 2.0**-7, -(2.0**-133), NAN], "exact"
    )
    assert_close(
        nt.nextafter(x.half(), y.half()).float(), [1 + 2.0**-10, -(2.0**-24), NAN], "exact"
    )


@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int32", "uint64", "int64", "float16", "float64"]
)
@pytest.mark.parametrize("count", [65, 1000, 20_000])
@pytest.mark.parametrize("span", [2, 100, 2**40])
def test_isin_by_table_and_by_hash(dtype: str, count: int, span: int) -> None:
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        tests = rng.integers(-span, span, count).astype(dtype)
        others = rng.integers(-span, span, 2000).astype(dtype)
    if tests.dtype.kind == "f":
        tests[:9], others[:9] = NAN, NAN
        tests[9], others[9] = 0.0, -0.0
    x = np.append(others, tests[::3])
    found = nt.isin(nt.tensor(x), nt.tensor(tests)).numpy()
    np.testing.assert_array_equal(found, np.isin(x, tests))


def test_isin_of_keys_in_the_same_buckets_and_of_nan_alone() -> None:
    tests = np.arange(0, 2**40, 2**24)
    x = np.concatenate([tests, tests + 1, tests * 3])
    np.testing.assert_array_equal(
        nt.isin(nt.tensor(x), nt.tensor(tests)).numpy(), np.isin(x, tests)
    )
    assert not nt.isin(nt.tensor([NAN, 0.0]), nt.full((99,), NAN)).any()


def test_isin_of_few_and_of_many() -> None:
    x = nt.arange(6).reshape(2, 3)
    expected = [[False, True, False], [True, False, False]]
    assert nt.isin(x, nt.tensor([1, 3])).tolist() == expected
    many = nt.cat([nt.tensor([1, 3]), nt.arange(100) + 50])
    assert nt.isin(x, many).tolist() == expected
    assert nt.isin(x, nt.zeros(0, dtype=nt.int64), invert=True).all()
    assert nt.isin(2, x).item() and not nt.isin(nt.tensor(NAN), nt.tensor([NAN])).item()


def test_activations_and_special_functions_fuse() -> None:
    x = nt.ones(4, 4).realize()
    assert_launches(F.mish(nt.special.erfcx(nt.lgamma(x + 1) * 2) - nt.asinh(x)), 1)
    assert_launches(nt.clamp(nt.sinc(F.hardswish(x)), x * 0, x * 2), 1)
