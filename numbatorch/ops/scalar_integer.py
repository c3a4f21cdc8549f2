"""Words of the scalar language on integers: division, powers and shifts that never trap."""

import numpy as np

from numbatorch.ops.scalar import Builder, Form, Operand, Value


def _bits(x: Value) -> int:
    return 8 * x.dtype.itemsize


def _operands(builder: Builder, lhs: Operand, rhs: Operand) -> tuple[Value, Value]:
    dtype = lhs.dtype if isinstance(lhs, Value) else rhs.dtype
    return tuple(x if isinstance(x, Value) else builder.const(x, dtype) for x in (lhs, rhs))  # type: ignore[return-value]


def _truncated(builder: Builder, lhs: Value, rhs: Value) -> Value:
    """lhs / rhs toward zero; the divisors that trap, 0 and -1 of the lowest number, become 1."""
    unsafe = builder.op("eq", rhs, 0)
    if lhs.dtype.kind == "i":
        lowest = int(np.iinfo(lhs.dtype.numpy).min)
        overflow = builder.op("and", builder.op("eq", lhs, lowest), builder.op("eq", rhs, -1))
        unsafe = builder.op("or", unsafe, overflow)
    divisor = builder.op("select", unsafe, 1, rhs)
    quotient: Value = builder.op("truncdiv", lhs, divisor)
    return quotient


def _floor_divide(builder: Builder, lhs: Operand, rhs: Operand) -> Operand:
    lhs, rhs = _operands(builder, lhs, rhs)
    quotient = _truncated(builder, lhs, rhs)
    if lhs.dtype.kind == "i":
        rest = builder.op("sub", lhs, builder.op("mul", quotient, rhs))
        below = _opposite(builder, rest, rhs)
        quotient = builder.op("select", below, builder.op("sub", quotient, 1), quotient)
    return builder.op("select", builder.op("eq", rhs, 0), 0, quotient)


def _remainder(builder: Builder, lhs: Operand, rhs: Operand) -> Operand:
    lhs, rhs = _operands(builder, lhs, rhs)
    product = builder.op("mul", _truncated(builder, lhs, rhs), rhs)
    rest = builder.op("sub", lhs, product)
    if lhs.dtype.kind == "i":
        below = _opposite(builder, rest, rhs)
        rest = builder.op("select", below, builder.op("add", rest, rhs), rest)
    return builder.op("select", builder.op("eq", rhs, 0), 0, rest)


def _opposite(builder: Builder, rest: Value, divisor: Value) -> Value:
    """Whether a remainder is not zero and its sign is not the divisor's."""
    signs = builder.op("lt", builder.op("xor", rest, divisor), 0)
    opposite: Value = builder.op("and", builder.op("ne", rest, 0), signs)
    return opposite


def _power(builder: Builder, base: Operand, exponent: Operand) -> Operand:
    """Wrapping, by repeated squaring over every bit of the exponent."""
    base, exponent = _operands(builder, base, exponent)
    signed = base.dtype.kind == "i"
    result: Operand = builder.const(1, base.dtype)
    square = base
    rest = exponent
    for _ in range(_bits(exponent) - signed):
        odd = builder.op("ne", builder.op("and", rest, 1), 0)
        result = builder.op("mul", result, builder.op("select", odd, square, 1))
        square = builder.op("mul", square, square)
        rest = builder.op("shr", rest, 1)
        if rest.op == "const" and rest.payload == 0:
            break
    if not signed:
        return result
    odd = builder.op("ne", builder.op("and", exponent, 1), 0)
    one = builder.const(1, base.dtype)
    unit = builder.op("select", builder.op("and", builder.op("eq", base, -1), odd), -1, one)
    magnitude_one = builder.op("or", builder.op("eq", base, 1), builder.op("eq", base, -1))
    inverse = builder.op("select", magnitude_one, unit, 0)
    return builder.op("select", builder.op("lt", exponent, 0), inverse, result)


def _shift(builder: Builder, name: str, x: Operand, amount: Operand) -> Operand:
    """Shifts of a negative amount, or past the last bit, leave what a full shift leaves."""
    x, amount = _operands(builder, x, amount)
    last = _bits(x) - 1
    inside = builder.op("le", amount, last)
    if amount.dtype.kind == "i":
        inside = builder.op("and", inside, builder.op("ge", amount, 0))
    shifted = builder.op(name, x, builder.op("select", inside, amount, last))
    if name == "shl" or x.dtype.kind == "u":
        return builder.op("select", inside, shifted, 0)
    return shifted


def _sign(builder: Builder, x: Value) -> Operand:
    """1, 0 or -1; NaN stays."""
    negative = x if x.dtype.kind == "u" else builder.op("select", builder.op("lt", x, 0), -1, x)
    return builder.op("select", builder.op("gt", x, 0), 1, negative)


integer_floor_divide = Form("floor_divide", _floor_divide)
integer_remainder = Form("remainder", _remainder)
integer_power = Form("pow", _power)
left_shift = Form("left_shift", lambda builder, x, amount: _shift(builder, "shl", x, amount))
right_shift = Form("right_shift", lambda builder, x, amount: _shift(builder, "shr", x, amount))
sign = Form("sign", _sign)
