"""Words of kernels: element types, the primitives that ops/scalar.py prints, bit casts, atomics.

Each is bound to LLVM IR when a kernel that uses it is compiled.
"""

import inspect
import math
from collections.abc import Callable
from typing import Any

from numbatorch.language.processor import current_cpu
from numbatorch.language.words import (
    Intrinsic,
    bfloat16,
    bool_,
    float8_e4m3fn,
    float8_e5m2,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    intrinsic,
    uint8,
    uint16,
    uint32,
    uint64,
)

__all__ = [
    "add_reassoc",
    "atomic_add",
    "bfloat16",
    "bits",
    "bool_",
    "ceil",
    "copysign",
    "fabs",
    "float8_e4m3fn",
    "float8_e5m2",
    "float16",
    "float32",
    "float64",
    "floor",
    "fma",
    "fmod",
    "from_bits",
    "inf",
    "int8",
    "int16",
    "int32",
    "int64",
    "ldexp",
    "maximum",
    "minimum",
    "mul_reassoc",
    "nan",
    "rint",
    "round_bfloat16",
    "round_float8_e4m3fn",
    "round_float8_e5m2",
    "round_float16",
    "select",
    "sqrt",
    "to_int8",
    "to_int16",
    "to_int32",
    "to_int64",
    "to_uint8",
    "to_uint16",
    "to_uint32",
    "to_uint64",
    "trunc",
    "truncdiv",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]

inf = math.inf
nan = math.nan


def _declare(builder: Any, name: str, result: Any, operands: Any) -> Any:
    from llvmlite import ir
    from numba.core import cgutils

    kind = ir.FunctionType(result, [operand.type for operand in operands])
    return cgutils.get_or_insert_function(builder.module, kind, name)


def _suffix(kind: Any) -> str:
    """How LLVM spells a scalar type in the name of an intrinsic."""
    from llvmlite import ir

    if isinstance(kind, ir.IntType):
        return f"i{kind.width}"
    return "f32" if isinstance(kind, ir.FloatType) else "f64"


def _with_operands(definition: Callable[..., Any], count: int) -> Any:
    """Give a definition over `*operands` the signature that Numba asks for."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ["typingctx", *"abcd"[:count]]
    parameters = [inspect.Parameter(name, kind) for name in names]
    definition.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return definition


def _float_intrinsic(name: str, count: int, doc: str) -> Intrinsic:
    """`count` floats of one type to that type, through the LLVM intrinsic `llvm.<name>`."""

    def definition(typingctx: Any, *operands: Any) -> Any:
        from numba.core import types
        from numba.core.typing import signature

        if not all(isinstance(operand, types.Float) for operand in operands):
            return None
        kind = types.float64 if types.float64 in operands else types.float32

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            result = values[0].type
            full = f"llvm.{name}.{_suffix(result)}"
            return builder.call(_declare(builder, full, result, values), values)

        return signature(kind, *[kind] * count), codegen

    definition.__name__ = name
    definition.__doc__ = doc
    return Intrinsic(_with_operands(definition, count), False)


sqrt = _float_intrinsic("sqrt", 1, "Square root, correctly rounded.")
floor = _float_intrinsic("floor", 1, "Largest integral value that is not larger.")
ceil = _float_intrinsic("ceil", 1, "Smallest integral value that is not smaller.")
trunc = _float_intrinsic("trunc", 1, "The integral part.")
rint = _float_intrinsic("rint", 1, "Nearest integral value, ties to even.")
fabs = _float_intrinsic("fabs", 1, "Absolute value of a float.")
copysign = _float_intrinsic("copysign", 2, "The magnitude of a with the sign of b.")
fma = _float_intrinsic("fma", 3, "a * b + c, rounded once.")
minimum = _float_intrinsic("minimum", 2, "The smaller; NaN if either is, and -0.0 is below 0.0.")
maximum = _float_intrinsic("maximum", 2, "The larger; NaN if either is, and 0.0 is above -0.0.")


@intrinsic
def add_reassoc(typingctx: Any, a: Any, b: Any) -> Any:
    """a + b of numbers, where LLVM may change the order of a chain of sums and so vectorise it."""
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.fadd(*values, flags=("reassoc", "contract", "nsz"))

    return (signature(a, a, b), codegen) if a == b else None


@intrinsic
def mul_reassoc(typingctx: Any, a: Any, b: Any) -> Any:
    """a * b of numbers, as `add_reassoc`."""
    from numba.core.typing.templates import signature

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.fmul(*values, flags=("reassoc",))

    return (signature(a, a, b), codegen) if a == b else None


@intrinsic
def fmod(typingctx: Any, a: Any, b: Any) -> Any:
    """The remainder of a / b with the sign of a, exact."""
    from numba.core import types
    from numba.core.typing import signature

    if not (isinstance(a, types.Float) and isinstance(b, types.Float)):
        return None
    kind = types.float64 if types.float64 in (a, b) else types.float32

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.frem(*values)

    return signature(kind, kind, kind), codegen


@intrinsic
def select(typingctx: Any, condition: Any, chosen: Any, other: Any) -> Any:
    """`chosen` where the condition holds, else `other`; both are computed, nothing branches."""
    from numba.core import types
    from numba.core.typing import signature

    numbers = types.Number | types.Boolean
    if not (isinstance(chosen, numbers) and isinstance(other, numbers)):
        return None
    kind = typingctx.unify_types(types.unliteral(chosen), types.unliteral(other))

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.select(*values)

    return signature(kind, types.boolean, kind, kind), codegen


def _bit_cast(typingctx: Any, value: Any, pairs: dict[str, str]) -> Any:
    from numba.core import types
    from numba.core.typing import signature

    if str(types.unliteral(value)) not in pairs:
        return None
    result = getattr(types, pairs[str(types.unliteral(value))])

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.bitcast(values[0], context.get_value_type(sig.return_type))

    return signature(result, types.unliteral(value)), codegen


@intrinsic
def bits(typingctx: Any, value: Any) -> Any:
    """The bits of a float: float32 -> int32, float64 -> int64."""
    return _bit_cast(typingctx, value, {"float32": "int32", "float64": "int64"})


@intrinsic
def from_bits(typingctx: Any, value: Any) -> Any:
    """The float with these bits: int32, uint32 -> float32, int64, uint64 -> float64."""
    pairs = {"int32": "float32", "uint32": "float32", "int64": "float64", "uint64": "float64"}
    return _bit_cast(typingctx, value, pairs)


def scaling(scale: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """The definition of a word on a float and an integer of its size, made by `scale`."""

    def definition(typingctx: Any, a: Any, b: Any) -> Any:
        from numba.core import types
        from numba.core.typing import signature

        kinds = {types.float32: types.int32, types.float64: types.int64}
        if kinds.get(a) != types.unliteral(b):
            return None

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            return scale(builder, *values)

        return signature(a, a, kinds[a]), codegen

    return definition


def scaled_in_steps(builder: Any, value: Any, power: Any) -> Any:
    """value * 2**power as two products with powers of two, of which the second rounds."""
    mantissa, bias = (23, 127) if _suffix(value.type) == "f32" else (52, 1023)

    def number(whole: int) -> Any:
        return power.type(whole)

    half = builder.ashr(power, number(1))
    for step in (half, builder.sub(power, half)):
        factor = builder.shl(builder.add(step, number(bias)), number(mantissa))
        value = builder.fmul(value, builder.bitcast(factor, value.type))
    return value


def _scaled(builder: Any, value: Any, power: Any) -> Any:
    if not current_cpu().has("avx512dq"):  # LLVM would call a library
        return scaled_in_steps(builder, value, power)
    name = f"llvm.ldexp.{_suffix(value.type)}.{_suffix(power.type)}"
    return builder.call(_declare(builder, name, value.type, [value, power]), [value, power])


@intrinsic
def ldexp(typingctx: Any, a: Any, b: Any) -> Any:
    """a * 2**b, rounded once; b is from -252 to 254, of float64 from -2044 to 2046."""
    return scaling(_scaled)(typingctx, a, b)


@intrinsic
def truncdiv(typingctx: Any, a: Any, b: Any) -> Any:
    """Integer quotient rounded toward zero, of the wider type; b is not 0 and the result fits."""
    from numba.core import types
    from numba.core.typing import signature

    if not (isinstance(a, types.Integer) and isinstance(b, types.Integer)):
        return None
    a, b = types.unliteral(a), types.unliteral(b)
    kind = a if a.bitwidth >= b.bitwidth else b

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        return builder.sdiv(*values) if kind.signed else builder.udiv(*values)

    return signature(kind, kind, kind), codegen


def _saturating(name: str) -> Intrinsic:
    def definition(typingctx: Any, *operands: Any) -> Any:
        from llvmlite import ir
        from numba.core import types
        from numba.core.typing import signature

        if not isinstance(operands[0], types.Float):
            return None
        result = getattr(types, name)

        def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            kind = ir.IntType(result.bitwidth)
            step = "fptosi" if result.signed else "fptoui"
            full = f"llvm.{step}.sat.{_suffix(kind)}.{_suffix(values[0].type)}"
            return builder.call(_declare(builder, full, kind, values), values)

        return signature(result, operands[0]), codegen

    definition.__name__ = f"to_{name}"
    definition.__doc__ = f"A float as {name}: toward zero, out of range saturates, NaN is 0."
    return Intrinsic(_with_operands(definition, 1), False)


to_int8 = _saturating("int8")
to_int16 = _saturating("int16")
to_int32 = _saturating("int32")
to_int64 = _saturating("int64")
to_uint8 = _saturating("uint8")
to_uint16 = _saturating("uint16")
to_uint32 = _saturating("uint32")
to_uint64 = _saturating("uint64")

# A value rounded to a narrow type and held in float32: what a call of the element type does.
round_float16 = float16
round_bfloat16 = bfloat16
round_float8_e4m3fn = float8_e4m3fn
round_float8_e5m2 = float8_e5m2


@intrinsic
def atomic_add(typingctx: Any, pointer: Any, index: Any, value: Any) -> Any:
    """Add to `pointer[index]`, an integer element, and give what stood there before."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.typing import signature

    from numbatorch.language import numba_pointers

    if not isinstance(pointer, numba_pointers.PointerType):
        return None
    kind = numba_pointers.held(pointer.element)
    if not isinstance(kind, types.Integer):
        return None

    def codegen(context: Any, builder: Any, sig: Any, values: Any) -> Any:
        stored = ir.IntType(kind.bitwidth)
        base = builder.bitcast(values[0], stored.as_pointer())
        place = builder.gep(base, [values[1]], inbounds=True)
        return builder.atomic_rmw("add", place, values[2], "seq_cst")

    return signature(kind, pointer, types.int64, kind), codegen
