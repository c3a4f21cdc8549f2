"""Polynomials by fma in the scalar language: the same bits on every device.

Compilers may contract a * b + c or not. Where every multiply-add is written as fma and no other
product is added to anything, there is nothing left to contract. Conversions, + - * / sqrt and fma
round correctly on every device, as long as no result is subnormal, which some GPUs flush.
"""

from numbatorch.ops.scalar import Builder, Form, Operand, Value


def _fused_horner(builder: Builder, x: Value, coefficients: tuple[float, ...]) -> Operand:
    total: Operand = builder.const(coefficients[0], x.dtype)
    for coefficient in coefficients[1:]:
        total = builder.op("fma", total, x, coefficient)
    return total


fused_horner = Form("fused_horner", _fused_horner)  # as horner, each step rounded once
