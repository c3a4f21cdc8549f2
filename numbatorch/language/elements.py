"""LLVM IR that loads and stores elements: half types are stored narrow and held in float32.

A store rounds to nearest, ties to even, and keeps NaN; what is too large for float8_e4m3fn is NaN.
"""

from typing import Any, NamedTuple

from llvmlite import ir

from numbatorch import dtype as dtypes
from numbatorch.language import targets

i8, i16, i32 = ir.IntType(8), ir.IntType(16), ir.IntType(32)
f16, f32, f64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()


def storage(name: str) -> Any:
    """The LLVM type that an element has in memory."""
    dtype = dtypes.by_name[name]
    if dtype.kind == "q":
        return i8
    if dtype.kind == "f" and dtype.itemsize > 1 and name != "bfloat16":
        return {8: f64, 4: f32, 2: f16}[dtype.itemsize]
    return ir.IntType(dtype.itemsize * 8)


def widen(builder: Any, name: str, value: Any) -> Any:
    """The value held for a stored element; `value` may be a vector."""
    if name == "float16":
        if not targets.current().converts_half:
            return _widen_half(builder, value)
        return builder.fpext(builder.bitcast(value, like(value, f16)), like(value, f32))
    if name == "bfloat16":
        bits = builder.shl(builder.zext(value, like(value, i32)), constant(value, i32, 16))
        return builder.bitcast(bits, like(value, f32))
    if name == "float8_e4m3fn":
        return _widen_e4m3(builder, value)
    if name == "float8_e5m2":
        bits = builder.shl(builder.zext(value, like(value, i16)), constant(value, i16, 8))
        return widen(builder, "float16", bits)
    return value


def narrow(builder: Any, name: str, value: Any) -> Any:
    """The stored element for a held value; `value` may be a vector."""
    if name == "float16":
        if not targets.current().converts_half:
            return builder.bitcast(_narrow_bits(builder, value, _HALF), like(value, f16))
        return builder.fptrunc(value, like(value, f16))
    if name == "bfloat16":
        return _narrow_bfloat16(builder, value)
    if name == "float8_e4m3fn":
        return _narrow_bits(builder, value, _E4M3)
    if name == "float8_e5m2":
        return _narrow_bits(builder, value, _E5M2)
    if name == "bool":
        nonzero = builder.icmp_unsigned("!=", value, constant(value, i8, 0))
        return builder.zext(nonzero, like(value, i8))
    return value


def like(value: Any, scalar: Any) -> Any:
    """`scalar`, or a vector of it as long as `value`."""
    if isinstance(value.type, ir.VectorType):
        return ir.VectorType(scalar, value.type.count)
    return scalar


def constant(value: Any, scalar: Any, number: float) -> Any:
    """A constant of type `scalar`, splatted as long as `value`."""
    if isinstance(value.type, ir.VectorType):
        return ir.Constant(ir.VectorType(scalar, value.type.count), [number] * value.type.count)
    return ir.Constant(scalar, number)


def _narrow_bfloat16(builder: Any, value: Any) -> Any:
    """Add half a unit of the last place, less one if that place is even, and cut."""
    bits = builder.bitcast(value, like(value, i32))
    odd = builder.and_(builder.lshr(bits, constant(value, i32, 16)), constant(value, i32, 1))
    rounded = builder.add(builder.add(bits, odd), constant(value, i32, 0x7FFF))
    sign = builder.and_(bits, constant(value, i32, 0x80000000))
    quiet = builder.or_(sign, constant(value, i32, 0x7FC00000))
    nan = builder.fcmp_unordered("uno", value, value)
    chosen = builder.select(nan, quiet, rounded)
    return builder.trunc(builder.lshr(chosen, constant(value, i32, 16)), like(value, i16))


def _widen_half(builder: Any, value: Any) -> Any:
    """The float32 of a float16, by integer arithmetic on its bits."""

    def number(code: int) -> Any:
        return constant(value, i32, code)

    bits = builder.zext(builder.bitcast(value, like(value, i16)), like(value, i32))
    sign = builder.shl(builder.and_(bits, number(0x8000)), number(16))
    size = builder.and_(bits, number(0x7FFF))
    # With the exponent too small by 112 subnormals stay exact: scale by 2**112 instead of adding.
    shifted = builder.bitcast(builder.shl(size, number(13)), like(value, f32))
    scaled = builder.bitcast(
        builder.fmul(shifted, constant(value, f32, 2.0**112)), like(value, i32)
    )
    special = builder.icmp_unsigned(">=", size, number(0x7C00))
    held = builder.select(special, builder.or_(scaled, number(0x7F800000)), scaled)
    return builder.bitcast(builder.or_(held, sign), like(value, f32))


class _Form(NamedTuple):
    """A narrow float.

    Attributes:
        width: bits in all.
        mantissa: bits of the mantissa.
        bias: of the exponent.
        overflow: the code that too large a magnitude takes.
        nan: the code of NaN.
        largest: the bits of the largest float32 that does not overflow.
    """

    width: int
    mantissa: int
    bias: int
    overflow: int
    nan: int
    largest: int


# Float8 formats: https://arxiv.org/abs/2209.05433.
_E4M3 = _Form(8, 3, 7, 0x7F, 0x7F, 0x43E80000)  # above 464, half way from 448 to the 480 it lacks
_E5M2 = _Form(8, 2, 15, 0x7C, 0x7E, 0x476FFFFF)  # from 61440, half way from 57344 to 65536
_HALF = _Form(16, 10, 15, 0x7C00, 0x7E00, 0x477FEFFF)  # from 65520, half way from 65504 to 65536


def _narrow_bits(builder: Any, value: Any, form: _Form) -> Any:
    """Round a float32 to a narrow float, by integer arithmetic on its bits."""
    mantissa, bias = form.mantissa, form.bias

    def number(code: int) -> Any:
        return constant(value, i32, code)

    bits = builder.bitcast(value, like(value, i32))
    sign = builder.and_(builder.lshr(bits, number(32 - form.width)), number(1 << (form.width - 1)))
    size = builder.and_(bits, number(0x7FFFFFFF))

    # Normal results: rebias the exponent, then round away the low mantissa bits, ties to even.
    cut = 23 - mantissa
    odd = builder.and_(builder.lshr(size, number(cut)), number(1))
    offset = (1 << (cut - 1)) - 1 - ((127 - bias) << 23)
    rounded = builder.add(builder.add(size, odd), number(offset & 0xFFFFFFFF))
    normal = builder.lshr(rounded, number(cut))

    # Subnormal results: adding a power of two whose last place is theirs makes the adder round.
    magic = (127 + 23 - (bias + mantissa - 1)) << 23
    magnitude = builder.bitcast(size, like(value, f32))
    summed = builder.fadd(magnitude, builder.bitcast(number(magic), like(value, f32)))
    small = builder.sub(builder.bitcast(summed, like(value, i32)), number(magic))

    is_small = builder.icmp_unsigned("<", size, number((128 - bias) << 23))
    code = builder.select(is_small, small, normal)
    code = builder.select(
        builder.icmp_unsigned(">", size, number(form.largest)), number(form.overflow), code
    )
    is_nan = builder.icmp_unsigned(">", size, number(0x7F800000))
    code = builder.select(is_nan, number(form.nan), code)
    return builder.trunc(builder.or_(code, sign), like(value, ir.IntType(form.width)))


def _widen_e4m3(builder: Any, value: Any) -> Any:
    """The float32 of a float8_e4m3fn, by integer arithmetic on its bits."""

    def number(code: int) -> Any:
        return constant(value, i32, code)

    bits = builder.zext(value, like(value, i32))
    sign = builder.shl(builder.and_(bits, number(0x80)), number(24))
    size = builder.and_(bits, number(0x7F))
    # With the exponent too small by 120 subnormals stay exact: scale by 2**120 instead of adding.
    shifted = builder.bitcast(builder.shl(size, number(20)), like(value, f32))
    scaled = builder.fmul(shifted, constant(value, f32, 2.0**120))
    is_nan = builder.icmp_unsigned("==", size, number(0x7F))
    held = builder.select(is_nan, number(0x7FC00000), builder.bitcast(scaled, like(value, i32)))
    return builder.bitcast(builder.or_(held, sign), like(value, f32))
