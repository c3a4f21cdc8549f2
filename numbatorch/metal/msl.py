"""Prints programs of the scalar language as Metal Shading Language statements.

Kernels must be compiled without fast math: NaN, infinities and -0.0 keep their meaning.
"""

import math
from collections.abc import Sequence
from typing import Any

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.ops.scalar import Builder, Value, reachable

TYPES: dict[DType, str] = {
    dt.float32: "float",
    dt.float16: "half",
    dt.bfloat16: "bfloat",
    dt.int64: "long",
    dt.int32: "int",
    dt.int16: "short",
    dt.int8: "char",
    dt.uint64: "ulong",
    dt.uint32: "uint",
    dt.uint16: "ushort",
    dt.uint8: "uchar",
    dt.bool_: "bool",
}

_INFIX = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "truncdiv": "/",
    "and": "&",
    "or": "|",
    "xor": "^",
    "shl": "<<",
    "shr": ">>",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
}
_PREFIX = {"neg": "-", "invert": "~", "not": "!"}
# The last two convert through functions of the kernels' header: Metal has no 8-bit floats.
_ROUND = {
    dt.float16: "float(half({}))",
    dt.bfloat16: "float(bfloat({}))",
    dt.float8_e4m3: "round_float8_e4m3({})",
    dt.float8_e5m2: "round_float8_e5m2({})",
}
# C overflows signed integers without a defined result, unsigned ones wrap.
_WRAPS = ("add", "sub", "mul", "shl", "neg")


def type_name(dtype: DType) -> str:
    """The MSL type of a dtype; Metal has no float64."""
    if dtype not in TYPES:
        hint = "use float32" if dtype is dt.float64 else None
        raise DTypeError(message("metal", f"has no {dtype.name}", hint=hint))
    return TYPES[dtype]


def literal(number: Any, dtype: DType) -> str:
    """`number` as an MSL literal of `dtype`."""
    if dtype.kind == "b":
        return "true" if number else "false"
    if dtype.kind in "iu":
        return _integer_literal(int(number), dtype)
    type_name(dtype)
    value = float(number)
    if math.isnan(value):
        return "NAN"
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return f"{value!r}f"


def _integer_literal(value: int, dtype: DType) -> str:
    if dtype.itemsize < 4:
        return f"{type_name(dtype)}({value})"
    suffix = ("u" if dtype.kind == "u" else "") + ("l" if dtype.itemsize == 8 else "")
    if value == -(1 << (8 * dtype.itemsize - 1)):
        return f"({value + 1}{suffix} - 1{suffix})"
    return f"{value}{suffix}"


def operand(value: Value) -> str:
    """The text of a value as an operand."""
    return literal(value.payload, value.dtype) if value.op == "const" else value.name


def print_msl(builder: Builder, roots: Sequence[Value] | None = None) -> list[str]:
    """The program as MSL statements, one declaration a line.

    Args:
        builder: the program, of a Builder with target "metal".
        roots: the values that the kernel uses; all by default.
    """
    return [
        f"{type_name(value.dtype)} {value.name} = {_expression(value)};"
        for value in reachable(builder.instructions, roots)
    ]


def _expression(value: Value) -> str:
    texts = [operand(a) for a in value.args]
    name = type_name(value.dtype)
    integer = value.dtype.kind in "iu"
    match value.op:
        case "native":
            return f"{value.payload}({', '.join(texts)})"
        case "select":
            condition, chosen, other = texts
            return f"{condition} ? {chosen} : {other}"
        case "bits" | "from_bits":
            return f"as_type<{name}>({texts[0]})"
        case "convert":
            return f"{name}({texts[0]})"
        case "saturate":
            return _saturate(texts[0], value.dtype)
        case "round":
            return _ROUND[value.payload].format(*texts)
        case op if op in _WRAPS and value.dtype.kind == "i":
            return _wrapping(op, texts, value.dtype)
        case op if op in _INFIX:
            text = f"{texts[0]} {_INFIX[op]} {texts[1]}"
            return f"{name}({text})" if integer and value.dtype.itemsize < 4 else text
        case op if op in _PREFIX:
            text = f"{_PREFIX[op]}{texts[0]}"
            return f"{name}({text})" if integer and value.dtype.itemsize < 4 else text
        case op:
            return f"{op}({', '.join(texts)})"


def _wrapping(op: str, texts: list[str], dtype: DType) -> str:
    """Two's complement arithmetic through the unsigned type, at least 32 bits wide."""
    wide = "ulong" if dtype.itemsize == 8 else "uint"
    if op == "neg":
        return f"{type_name(dtype)}({wide}(0) - {wide}({texts[0]}))"
    lhs, rhs = texts
    return f"{type_name(dtype)}({wide}({lhs}) {_INFIX[op]} {wide}({rhs}))"


def _saturate(text: str, dtype: DType) -> str:
    """Truncation; the nearest end of the range outside of it, NaN as 0."""
    name = type_name(dtype)
    bits = 8 * dtype.itemsize
    low = -(1 << (bits - 1)) if dtype.kind == "i" else 0
    high = (1 << (bits - 1 if dtype.kind == "i" else bits)) - 1
    first, last = literal(low, dtype), literal(high, dtype)
    over = f"{text} >= {float(high + 1)!r}f"
    under = f"{text} <= {float(low)!r}f"
    return f"isnan({text}) ? {name}(0) : {over} ? {last} : {under} ? {first} : {name}({text})"
