"""float32 arithmetic by fma in the scalar language: polynomials, and pairs of floats.

Compilers may contract a * b + c or not. Where every multiply-add is written as fma and no other
product is added to anything, there is nothing left to contract, and results are the same bits on
every device: conversions, + - * / sqrt and fma round correctly everywhere, as long as no result is
subnormal, which some GPUs flush.

A pair (high, low) stands for their sum and has about 48 bits; it takes the place of float64 where a
device has none. T. J. Dekker, "A floating-point technique for extending the available precision",
Numerische Mathematik 18 (1971), https://doi.org/10.1007/BF01397083
"""

from numbatorch.ops.scalar import Form, Scalar, fma, scalar_function
from numbatorch.ops.scalar_program import Operand, Program, Value


def _fused_horner(program: Program, x: Value, coefficients: tuple[float, ...]) -> Operand:
    total: Operand = program.const(coefficients[0], x.dtype)
    for coefficient in coefficients[1:]:
        total = program.op("fma", total, x, coefficient)
    return total


def _fused_pairs(program: Program, x: Value, coefficients: tuple[float, ...]) -> Operand:
    square = program.op("mul", x, x)
    single = len(coefficients) % 2
    total: Operand | None = program.const(coefficients[0], x.dtype) if single else None
    for i in range(single, len(coefficients), 2):
        pair = program.op("fma", x, coefficients[i], coefficients[i + 1])
        total = pair if total is None else program.op("fma", total, square, pair)
    assert total is not None
    return total


fused_pairs = Form("fused_pairs", _fused_pairs)  # as paired_horner, each step rounded once
fused_horner = Form("fused_horner", _fused_horner)  # as horner, each step rounded once


@scalar_function()
def quick_sum(a: Scalar, b: Scalar) -> Scalar:
    """The pair a + b, exactly, where |a| >= |b| or a is 0."""
    high = a + b
    return high, b - (high - a)


@scalar_function()
def pair_product(a_high: Scalar, a_low: Scalar, b_high: Scalar, b_low: Scalar) -> Scalar:
    """The pair a * b of two pairs, within 2**-44 of it."""
    high = a_high * b_high
    low = fma(a_high, b_high, -high)
    return quick_sum(high, fma(a_high, b_low, fma(a_low, b_high, low)))
