"""The scalar language: what a body may say, the program it becomes, its text, and its errors."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError
from numbatorch.ops import activation, binary, scalar_math, unary
from numbatorch.ops.families import all_ops
from numbatorch.ops.registry import Elementwise
from numbatorch.ops.scalar import (
    Scalar,
    bits,
    convert,
    fma,
    from_bits,
    ldexp,
    scalar_function,
    select,
)
from numbatorch.ops.scalar_numpy import saturate
from numbatorch.ops.scalar_program import print_numba
from numbatorch.ops.scalar_reader import Builder
from numbatorch.ops.scalar_run import evaluate, run
from tests.compare import tolerance

SCALE = 2.5
OPS = [op for op in all_ops() if isinstance(op, Elementwise) and not op.name.startswith("random")]
COMPUTED = [d for d in dt.PLAIN + dt.COMPLEX if d.compute is d]
SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -2.5, 3.5, np.inf, -np.inf, np.nan)


def lines(
    function: object, dtypes: list[DType], target: str = "numba", **attrs: object
) -> list[str]:
    builder = Builder(target)
    args = [builder.input(f"x{i}", dtype) for i, dtype in enumerate(dtypes)]
    return print_numba(builder, [builder.call(function, args, attrs)])


@scalar_function()
def blend(x: Scalar, y: Scalar, *, weight: float = 0.25) -> Scalar:
    """A body that uses most of the syntax."""
    part = x * SCALE
    part += y
    low, high = part, abs(y) ** 2
    return low if -1 < x <= 1 and not y == 0 else high * weight


def test_body_prints_typed_assignments() -> None:
    assert lines(blend, [dt.float32, dt.float32]) == [
        "v0 = x0 * float32(2.5)",
        "v1 = v0 + x1",
        "v2 = fabs(x1)",
        "v3 = v2 * v2",
        "v4 = float32(-1.0) < x0",
        "v5 = x0 <= float32(1.0)",
        "v6 = v4 & v5",
        "v7 = x1 == float32(0.0)",
        "v8 = not v7",
        "v9 = v6 & v8",
        "v10 = v3 * float32(0.25)",
        "v11 = select(v9, v1, v10)",
    ]


def test_attributes_are_literals_or_values() -> None:
    assert "v10 = v3 * float32(0.5)" in lines(blend, [dt.float32] * 2, weight=0.5)
    builder = Builder()
    x, weight = builder.input("x", dt.float32), builder.input("w", dt.float64)
    builder.call(activation.leaky_relu_, [x], {"negative_slope": weight})
    assert "v0 = float32(w)" in print_numba(builder)


def test_operators_expand_inside_of_bodies() -> None:
    @scalar_function()
    def doubled_relu(x: Scalar) -> Scalar:
        return activation.relu_(x) + scalar_math.maximum(x, 0)

    assert lines(doubled_relu, [dt.int32]) == [
        "v0 = x0 <= int32(0)",
        "v1 = select(v0, int32(0), x0)",
        "v2 = x0 > int32(0)",
        "v3 = x0 != x0",
        "v4 = v2 | v3",
        "v5 = select(v4, x0, int32(0))",
        "v6 = int32(v1 + v5)",
    ]


def test_equal_instructions_are_made_once() -> None:
    @scalar_function()
    def twice(x: Scalar) -> Scalar:
        return (x + 1) * (x + 1)

    assert lines(twice, [dt.float64]) == ["v0 = x0 + 1.0", "v1 = v0 * v0"]


def test_minus_zero_and_zero_are_different_literals() -> None:
    builder = Builder()
    assert builder.const(0.0, dt.float32) is not builder.const(-0.0, dt.float32)
    assert builder.const(-0.0, dt.float32).name == "float32(-0.0)"


def test_literals_fold() -> None:
    @scalar_function()
    def folded(x: Scalar) -> Scalar:
        return x * (2 * SCALE - 1) * convert(1, dt.float32) if SCALE > 2 else x

    assert lines(folded, [dt.float32]) == ["v0 = x0 * float32(4.0)"]


def test_only_what_roots_need_is_printed() -> None:
    builder = Builder(prefix="t")
    x = builder.input("x", dt.float32)
    root = builder.call(unary.square, [x])
    builder.call(unary.exp, [x])
    assert print_numba(builder, [root]) == ["t0 = x * x"]
    assert len(print_numba(builder)) > 20


def test_narrow_integers_wrap() -> None:
    assert lines(binary.add, [dt.int8, dt.int8]) == ["v0 = int8(x0 + x1)"]
    assert lines(binary.add, [dt.int64, dt.int64]) == ["v0 = x0 + x1"]
    assert lines(binary.add, [dt.bool_, dt.bool_]) == ["v0 = x0 | x1"]
    assert lines(unary.neg, [dt.uint16]) == ["v0 = uint16(uint16(0) - x0)"]


def test_whole_exponents_multiply() -> None:
    @scalar_function()
    def powers(x: Scalar) -> Scalar:
        return x**3 + x**-1

    assert lines(powers, [dt.float32]) == [
        "v0 = x0 * x0",
        "v1 = x0 * v0",
        "v2 = float32(1.0) / x0",
        "v3 = v1 + v2",
    ]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 0.1, 1e-45, 3.4e38, 16777217.0])
def test_float_literals_are_read_back_exactly(value: float) -> None:
    const = Builder().const(value, dt.float32)
    names = {"float32": np.float32, "inf": np.inf, "nan": np.nan}
    np.testing.assert_array_equal(eval(const.name, names), np.float32(value))


def test_casts_round_to_half_types_and_saturate() -> None:
    builder = Builder()
    x = builder.input("x", dt.float64)
    assert builder.cast(x, dt.bfloat16).dtype is dt.float32
    builder.cast(x, dt.uint8)
    builder.cast(x, dt.bool_)
    assert print_numba(builder) == [
        "v0 = float32(x)",
        "v1 = round_bfloat16(v0)",
        "v2 = to_uint8(x)",
        "v3 = x != 0.0",
    ]


def test_saturation_is_exact_at_the_ends_of_int64() -> None:
    x = np.array([2.0**63, 2.0**63 - 1024, -(2.0**63), -(2.0**64), np.nan, -0.9])
    expected = [2**63 - 1, 2**63 - 1024, -(2**63), -(2**63), 0, 0]
    assert saturate(x, dt.int64).tolist() == expected


def test_bits_are_reinterpreted() -> None:
    @scalar_function()
    def next_up(x: Scalar) -> Scalar:
        return from_bits(bits(x) + 1)

    x = np.float32([1.0, 2.0])
    np.testing.assert_array_equal(run(next_up, x), np.nextafter(x, np.float32(np.inf)))


def nearest(exact: Fraction) -> np.float32:
    """The float32 nearest to `exact`, of two the even one."""
    about = np.float32(float(exact))
    around = [np.nextafter(about, np.float32(to)) for to in (-np.inf, np.inf)]
    key = lambda x: (abs(Fraction(float(x)) - exact), int(x.view(np.int32)) & 1)  # noqa: E731
    return min([about, *around], key=key)


def test_fma_of_float32_is_rounded_once() -> None:
    rng = np.random.default_rng(0)
    # 24929 * 673 = 2**24 + 1 lies between two neighbours: the addend decides, however small.
    ties = [(24929.0, 673.0, 2.0**-40), (24929.0, 673.0, -(2.0**-40)), (24929.0, -673.0, 2.0**-99)]
    near = [(a, b, -a * b * (1 + e)) for a, b, e in rng.uniform(-1, 1, (300, 3))]
    tiny = [(a * 2.0**-70, b * 2.0**-75, c * 2.0**-148) for a, b, c in rng.uniform(-1, 1, (300, 3))]
    a, b, c = np.array([*ties, *near, *tiny], np.float32).T
    expected = [
        nearest(Fraction(x) * Fraction(y) + Fraction(z))
        for x, y, z in zip(a.tolist(), b.tolist(), c.tolist(), strict=True)
    ]
    np.testing.assert_array_equal(run(fma, a, b, c), np.array(expected))
    np.testing.assert_array_equal(
        run(fma, *np.float32([[np.inf, 3e38, np.nan], [2, 3e38, 1], [1, -3e38, 1]])),
        np.float32([np.inf, np.inf, np.nan]),
    )


# At their roots and poles, and at infinity, test_scalar_special.py says what they are.
ELSEWHERE = {"digamma", "trigamma", "i0", "i1"}


@pytest.mark.parametrize(
    "op", [op for op in OPS if op.name not in ELSEWHERE], ids=lambda op: op.name
)
def test_program_equals_reference(op: Elementwise) -> None:
    rng = np.random.default_rng(0)
    for dtype in [d for d in COMPUTED if d in op.dtypes]:
        target = dt.complex64 if dtype.is_complex else dt.int16
        attrs = {"dtype": target} if op.name == "cast" else dict(op.defaults)
        arrays = [draw(rng, op, op.fixed.get(i, dtype)) for i in range(op.arity)]
        result = op.result_dtype(dtype, attrs).numpy
        exact = [x.astype(np.complex128) if x.dtype.kind == "c" else x for x in arrays]
        with np.errstate(all="ignore"):
            expected = np.asarray(op.reference(*exact, **attrs)).astype(result)
        actual = run(op, *arrays, **attrs)
        assert actual.dtype == expected.dtype, dtype
        kind = "composite" if dtype.is_complex else "elementwise"  # of several functions
        limit = tolerance(dtype.name, kind)
        np.testing.assert_allclose(
            actual, expected, limit.relative, limit.absolute, err_msg=dtype.name
        )


def draw(rng: np.random.Generator, op: Elementwise, dtype: DType) -> np.ndarray:
    if dtype.kind == "b":
        return rng.random(200) < 0.5
    if dtype.is_complex:
        return (rng.uniform(*op.domain, 200) + 1j * rng.uniform(*op.domain, 200)).astype(
            dtype.numpy
        )
    if dtype.kind == "f":
        special = rng.choice(SPECIAL, 50)
        return np.append(special, rng.uniform(*op.domain, 150)).astype(dtype.numpy)
    info = np.iinfo(dtype.numpy)
    ends = rng.choice(np.array([info.min, info.max, info.max // 2, 0, 1], dtype.numpy), 50)
    small = rng.integers(-6 if dtype.kind == "i" else 0, 7, 150)
    return np.append(ends, small.astype(dtype.numpy))


@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))
def test_integer_division_is_floored_and_never_traps(lhs: int, rhs: int) -> None:
    a, b = np.array([lhs]), np.array([rhs])
    quotient, rest = run(scalar_math.floor_divide, a, b)[0], run(scalar_math.remainder, a, b)[0]
    if rhs == 0:
        assert (quotient, rest) == (0, 0)
    else:
        wrapped = (lhs // rhs + 2**63) % 2**64 - 2**63
        assert (quotient, rest) == (wrapped, lhs % rhs)


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**31 - 1))
def test_integer_powers_wrap(base: int, exponent: int) -> None:
    result = run(scalar_math.pow_, np.array([base], np.int32), np.array([exponent], np.int32))
    assert int(result[0]) % 2**32 == pow(base, exponent, 2**32)


def test_shifts_past_the_last_bit() -> None:
    x = np.array([-7, 7], np.int32)
    amount = np.array([32, -1], np.int32)
    assert run(scalar_math.left_shift, x, amount).tolist() == [0, 0]
    assert run(scalar_math.right_shift, x, amount).tolist() == [-1, 0]


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_no_float64_is_computed_with_on_metal(op: Elementwise) -> None:
    for dtype in set(op.dtypes) & set(COMPUTED) - {dt.float64, dt.complex128}:
        builder = Builder("metal")
        dtypes = [op.fixed.get(i, dtype) for i in range(op.arity)]
        args = [builder.operand(f"x{i}", d) for i, d in enumerate(dtypes)]
        target = dt.complex64 if dtype.is_complex else dt.float32
        attrs = {"dtype": target} if op.name == "cast" else dict(op.defaults)
        builder.call(op, args, attrs)
        assert all(value.dtype is not dt.float64 for value in builder.instructions), dtype


def test_evaluate_runs_a_program_of_several_roots() -> None:
    builder = Builder()
    x = builder.input("x", dt.float32)
    roots = [builder.call(unary.square, [x]), builder.call(unary.neg, [x])]
    square, negative = evaluate(builder, roots, {"x": np.float32([3.0])})
    assert (square.tolist(), negative.tolist()) == ([9.0], [-3.0])


@scalar_function()
def loops(x: Scalar) -> Scalar:
    """Not in the language."""
    for _ in range(3):
        x = x * x
    return x


@scalar_function()
def prints(x: Scalar) -> Scalar:
    """Not in the language."""
    return print(x)


@scalar_function()
def misspelt(x: Scalar) -> Scalar:
    """Not in the language."""
    return x + missing  # type: ignore[name-defined]  # noqa: F821


@scalar_function()
def float_literal(x: Scalar) -> Scalar:
    """Not for integers."""
    return x * 1.5


@scalar_function()
def scaled_by_long(x: Scalar, y: Scalar) -> Scalar:
    """The power has another size than what it scales."""
    return ldexp(x, y)


@scalar_function()
def mixed(x: Scalar, y: Scalar) -> Scalar:
    """Not for two types."""
    return unary.square(x) + y


@scalar_function()
def endless(x: Scalar) -> Scalar:
    """Not in the language."""
    return endless(x)


@scalar_function()
def silent(x: Scalar) -> Scalar:
    """Not in the language."""
    y = x + 1  # noqa: F841


@scalar_function()
def general_power(x: Scalar) -> Scalar:
    """Not in the language."""
    return x**0.5


@scalar_function()
def untyped(x: Scalar) -> Scalar:
    """Not in the language."""
    return x + select(x > 0, 1, 2)


@pytest.mark.parametrize(
    ("function", "dtypes", "error", "text"),
    [
        (loops, "float32", ValueError, "loops: For is not in the scalar language"),
        (prints, "float32", ValueError, "prints: print is not in the scalar language"),
        (misspelt, "float32", ValueError, "misspelt: missing is not defined"),
        (float_literal, "int32", DTypeError, "literal 1.5 meets a int32 operand"),
        (mixed, "float32 float64", DTypeError, "operands are float32 and float64"),
        (scaled_by_long, "float32 int64", DTypeError, "float32 is scaled by int32, not int64"),
        (endless, "float32", ValueError, "no recursion"),
        (silent, "float32", ValueError, "a scalar body ends in return"),
        (general_power, "float32", ValueError, "integer literal on its right; else call pow"),
        (untyped, "float32", DTypeError, "of two literals has no type"),
        (blend, "float32", ValueError, "takes 2 operands, not 1"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_errors_say_what_and_where(
    function: object, dtypes: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        lines(function, [dt.by_name[name] for name in dtypes.split()])
    message = str(caught.value)
    assert text in message
    if function is not blend:
        assert "test_scalar.py:" in message


def test_error_shows_its_line() -> None:
    with pytest.raises(ValueError, match="is not in the scalar language") as caught:
        lines(prints, [dt.float32])
    where, source = str(caught.value).splitlines()[1:]
    number = int(where.rpartition(":")[2])
    with open(__file__, encoding="utf-8") as file:
        assert "return print(x)" in file.readlines()[number - 1]
    assert source.strip() == "print"


def test_unknown_and_missing_attributes() -> None:
    with pytest.raises(ValueError, match="has no attribute slope"):
        lines(activation.leaky_relu_, [dt.float32], slope=0.1)
    with pytest.raises(ValueError, match="attribute low is missing"):
        lines(scalar_math.clamp, [dt.float32], high=0.1)


def test_functions_without_a_body_for_the_type() -> None:
    with pytest.raises(DTypeError, match="exp: the scalar language has it for float32 and float64"):
        lines(scalar_math.exp, [dt.int32])
