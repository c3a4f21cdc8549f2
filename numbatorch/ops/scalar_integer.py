"""Words of the scalar language on integers: division, powers and shifts that never trap."""

import numpy as np

from numbatorch.ops.scalar import Form
from numbatorch.ops.scalar_program import Operand, Program, Value


def _bits(x: Value) -> int:
    return 8 * x.dtype.itemsize


def _operands(program: Program, lhs: Operand, rhs: Operand) -> tuple[Value, Value]:
    dtype = lhs.dtype if isinstance(lhs, Value) else rhs.dtype
    return tuple(x if isinstance(x, Value) else program.const(x, dtype) for x in (lhs, rhs))  # type: ignore[return-value]


def _truncated(program: Program, lhs: Value, rhs: Value) -> Value:
    """lhs / rhs toward zero; the divisors that trap, 0 and -1 of the lowest number, become 1."""
    unsafe = program.op("eq", rhs, 0)
    if lhs.dtype.kind == "i":
        lowest = int(np.iinfo(lhs.dtype.numpy).min)
        overflow = program.op("and", program.op("eq", lhs, lowest), program.op("eq", rhs, -1))
        unsafe = program.op("or", unsafe, overflow)
    divisor = program.op("select", unsafe, 1, rhs)
    quotient: Value = program.op("truncdiv", lhs, divisor)
    return quotient


def _floor_divide(program: Program, lhs: Operand, rhs: Operand) -> Operand:
    lhs, rhs = _operands(program, lhs, rhs)
    quotient = _truncated(program, lhs, rhs)
    if lhs.dtype.kind == "i":
        rest = program.op("sub", lhs, program.op("mul", quotient, rhs))
        below = _opposite(program, rest, rhs)
        quotient = program.op("select", below, program.op("sub", quotient, 1), quotient)
    return program.op("select", program.op("eq", rhs, 0), 0, quotient)


def _truncated_remainder(program: Program, lhs: Operand, rhs: Operand) -> Operand:
    lhs, rhs = _operands(program, lhs, rhs)
    product = program.op("mul", _truncated(program, lhs, rhs), rhs)
    return program.op("select", program.op("eq", rhs, 0), 0, program.op("sub", lhs, product))


def _remainder(program: Program, lhs: Operand, rhs: Operand) -> Operand:
    lhs, rhs = _operands(program, lhs, rhs)
    product = program.op("mul", _truncated(program, lhs, rhs), rhs)
    rest = program.op("sub", lhs, product)
    if lhs.dtype.kind == "i":
        below = _opposite(program, rest, rhs)
        rest = program.op("select", below, program.op("add", rest, rhs), rest)
    return program.op("select", program.op("eq", rhs, 0), 0, rest)


def _opposite(program: Program, rest: Value, divisor: Value) -> Value:
    """Whether a remainder is not zero and its sign is not the divisor's."""
    signs = program.op("lt", program.op("xor", rest, divisor), 0)
    opposite: Value = program.op("and", program.op("ne", rest, 0), signs)
    return opposite


def _power(program: Program, base: Operand, exponent: Operand) -> Operand:
    """Wrapping, by repeated squaring over every bit of the exponent."""
    base, exponent = _operands(program, base, exponent)
    signed = base.dtype.kind == "i"
    result: Operand = program.const(1, base.dtype)
    square = base
    rest = exponent
    for _ in range(_bits(exponent) - signed):
        odd = program.op("ne", program.op("and", rest, 1), 0)
        result = program.op("mul", result, program.op("select", odd, square, 1))
        square = program.op("mul", square, square)
        rest = program.op("shr", rest, 1)
        if rest.op == "const" and rest.payload == 0:
            break
    if not signed:
        return result
    odd = program.op("ne", program.op("and", exponent, 1), 0)
    one = program.const(1, base.dtype)
    unit = program.op("select", program.op("and", program.op("eq", base, -1), odd), -1, one)
    magnitude_one = program.op("or", program.op("eq", base, 1), program.op("eq", base, -1))
    inverse = program.op("select", magnitude_one, unit, 0)
    return program.op("select", program.op("lt", exponent, 0), inverse, result)


def _shift(program: Program, name: str, x: Operand, amount: Operand) -> Operand:
    """Shifts of a negative amount, or past the last bit, leave what a full shift leaves."""
    x, amount = _operands(program, x, amount)
    last = _bits(x) - 1
    inside = program.op("le", amount, last)
    if amount.dtype.kind == "i":
        inside = program.op("and", inside, program.op("ge", amount, 0))
    shifted = program.op(name, x, program.op("select", inside, amount, last))
    if name == "shl" or x.dtype.kind == "u":
        return program.op("select", inside, shifted, 0)
    return shifted


def _signbit(program: Program, x: Value) -> Operand:
    if x.dtype.kind == "f":
        return program.op("lt", program.op("copysign", 1.0, x), 0)
    none = program.op("ne", x, x)
    return program.op("lt", x, 0) if x.dtype.kind == "i" else none


def _is_real(program: Program, x: Operand) -> Operand:
    if isinstance(x, Value):
        whole = program.const(0, x.dtype)
        return program.op("eq", whole, whole)
    return program.op("eq", x.imag, 0)


def _sign(program: Program, x: Value) -> Operand:
    """1, 0 or -1; NaN stays, -0.0 becomes 0.0, and bool is as it was."""
    if x.dtype.kind == "b":
        return x
    rest = program.op("add", x, 0.0) if x.dtype.kind == "f" else x
    negative = (
        rest if x.dtype.kind == "u" else program.op("select", program.op("lt", x, 0), -1, rest)
    )
    return program.op("select", program.op("gt", x, 0), 1, negative)


integer_floor_divide = Form("floor_divide", _floor_divide)
integer_remainder = Form("remainder", _remainder)
integer_fmod = Form("fmod", _truncated_remainder)
integer_power = Form("pow", _power)
left_shift = Form("left_shift", lambda program, x, amount: _shift(program, "shl", x, amount))
right_shift = Form("right_shift", lambda program, x, amount: _shift(program, "shr", x, amount))
sign = Form("sign", _sign)
signbit = Form("signbit", _signbit)
is_real = Form("is_real", _is_real)
