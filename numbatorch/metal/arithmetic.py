"""Operators of kernels in MSL, with the types that Numba gives them on the CPU.

Integers narrower than 64 bits are computed in 64; floats are float32. Arithmetic on indices is
plain, on integers that were loaded it wraps, which C leaves undefined for signed types.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.metal import values
from numbatorch.metal.msl import PointerType, type_name
from numbatorch.metal.values import Expr, Refused, constant, convert, moved, truth

_LEVELS = {
    "*": values.MUL,
    "/": values.MUL,
    "+": values.ADD,
    "-": values.ADD,
    "<<": values.SHIFT,
    ">>": values.SHIFT,
    "&": values.AND,
    "^": values.XOR,
    "|": values.OR,
}
_WRAPS = {"+": "wrap_add", "-": "wrap_sub", "*": "wrap_mul", "<<": "wrap_shl"}
_CONDITIONS = {"&": ("&&", values.BOTH), "|": ("||", values.EITHER), "^": ("!=", values.EQUAL)}
_COMPARES: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}
_FOLDS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "//": operator.floordiv,
    "%": operator.mod,
    "<<": operator.lshift,
    ">>": operator.rshift,
    "&": operator.and_,
    "|": operator.or_,
    "^": operator.xor,
}


def binary(sign: str, lhs: Expr, rhs: Expr, wraps: bool = True) -> Expr:
    """`lhs sign rhs`, for numbers, conditions, and a pointer with an integer.

    Args:
        wraps: signed integers that hold data wrap around.
    """
    if isinstance(lhs.type, PointerType) and sign in "+-":
        return moved(lhs, sign, rhs)
    kinds = lhs.dtype.kind + rhs.dtype.kind
    if kinds == "bb" and sign in _CONDITIONS:
        text, level = _CONDITIONS[sign]
        return Expr(f"{lhs.left(level)} {text} {rhs.right(level)}", dt.bool_, level)
    if "f" in kinds or sign == "/":
        return _real(sign, lhs, rhs)
    return _whole(sign, lhs, rhs, wraps)


def _real(sign: str, lhs: Expr, rhs: Expr) -> Expr:
    if sign not in "+-*/":
        raise Refused(f"{sign} is for integers here, not for {lhs.dtype.name}, {rhs.dtype.name}")
    lhs, rhs = convert(lhs, dt.float32), convert(rhs, dt.float32)
    if lhs.number is not None and rhs.number is not None:
        with np.errstate(all="ignore"):
            result = _FOLDS[sign](np.float32(lhs.number), np.float32(rhs.number))
        return constant(float(result), dt.float32)
    level = _LEVELS[sign]
    return Expr(f"{lhs.at(level)} {sign} {rhs.at(level + 1)}", dt.float32, level)


def whole_type(sign: str, lhs: DType, rhs: DType) -> DType:
    """Numba's type: 64 bits, signed if an operand is; a shift goes by its left operand."""
    kinds = lhs.kind if sign in ("<<", ">>") else lhs.kind + rhs.kind
    return dt.uint64 if set(kinds) == {"u"} else dt.int64


def _whole(sign: str, lhs: Expr, rhs: Expr, wraps: bool) -> Expr:
    kind = whole_type(sign, lhs.dtype, rhs.dtype)
    if lhs.number is not None and rhs.number is not None:
        return _folded(sign, lhs.number, rhs.number, kind)
    if sign in ("//", "%"):
        return _floored(sign, lhs, rhs, kind)
    bits = _bits(sign, lhs, rhs)
    narrow = _narrow(sign, lhs, rhs)
    positive = lhs.positive and rhs.positive and sign in "+*"
    if wraps and kind is dt.int64 and bits > 63 and sign in _WRAPS:
        one, other = convert(lhs, kind), convert(rhs, kind)
        text = f"{_WRAPS[sign]}({one.exact}, {other.exact})"
        return Expr(text, kind, bits=64, narrow=narrow)
    level = _LEVELS[sign]
    first = _operand(lhs, kind, always=sign in ("<<", ">>") or rhs.dtype is not kind)
    second = rhs if sign in ("<<", ">>") else _operand(rhs, kind, always=False)
    text = f"{first.left(level)} {sign} {second.right(level)}"
    return Expr(text, kind, level, bits=min(bits, 64), positive=positive, narrow=narrow)


def _operand(value: Expr, kind: DType, always: bool) -> Expr:
    """An operand that C++ computes with in `kind`, by itself if `always`, or beside such a one."""
    if value.number is not None:
        fitting = convert(value, kind)
        return Expr(fitting.exact, kind) if always and fitting.number >= 0 else fitting
    mixed = value.dtype is dt.uint64 and kind is dt.int64
    return convert(value, kind) if always or mixed else value


def _folded(sign: str, lhs: Any, rhs: Any, kind: DType) -> Expr:
    if sign in ("//", "%") and rhs == 0:
        raise Refused("division by zero")
    return constant(_FOLDS[sign](int(lhs), int(rhs)), kind)


def _floored(sign: str, lhs: Expr, rhs: Expr, kind: DType) -> Expr:
    """Division and remainder with Python's meaning: of powers of two by shift and mask."""
    bits = lhs.bits if sign == "//" or rhs.bits == 0 else rhs.bits
    number = rhs.number
    if number is not None and number > 0 and number & (number - 1) == 0:
        if sign == "//":
            return binary(">>", convert(lhs, kind), constant(number.bit_length() - 1))
        return binary("&", convert(lhs, kind), constant(number - 1, kind))
    one, other = convert(lhs, kind), convert(rhs, kind)
    name = {"//": "floor_div", "%": "floor_mod"}[sign]
    return Expr(f"{name}({one.exact}, {other.exact})", kind, bits=bits)


def _bits(sign: str, lhs: Expr, rhs: Expr) -> int:
    """Bits that the result may fill; 0 where no data is involved."""
    if lhs.bits == 0 and rhs.bits == 0:
        return 0
    one, other = (
        x.bits or (abs(x.number).bit_length() if x.number is not None else values.INDEX_BITS)
        for x in (lhs, rhs)
    )
    match sign:
        case "+" | "-":
            return max(one, other) + 1
        case "*":
            return one + other
        case "<<":
            return one + rhs.number if isinstance(rhs.number, int) else 64
        case ">>":
            return max(one - rhs.number, 1) if isinstance(rhs.number, int) else one
        case "&":
            masks = [x.number for x in (lhs, rhs) if x.number is not None and x.number >= 0]
            return min(one, other) if masks else max(one, other)
        case _:
            return max(one, other)


def _narrow(sign: str, lhs: Expr, rhs: Expr) -> Expr | None:
    """The result in the type of both operands, wrapped around, if that is narrower than 64 bits."""
    kind = lhs.dtype
    shift = sign in ("<<", ">>") and rhs.number is not None and 0 <= rhs.number < 8 * kind.itemsize
    if kind.kind not in "iu" or kind.itemsize == 8 or not (rhs.dtype is kind or shift):
        return None
    level, name, size = _LEVELS[sign], type_name(kind), 8 * kind.itemsize
    text = f"{lhs.left(level)} {sign} {rhs.right(level)}"
    if sign in "&^|" or sign == ">>" or (size == 32 and kind.kind == "u"):
        return Expr(text, kind, level, bits=size)
    if size == 32:
        return Expr(f"{_WRAPS[sign]}({lhs.exact}, {convert(rhs, kind).exact})", kind, bits=size)
    if sign == "<<" or kind is dt.uint16:
        text = f"uint({lhs.text}) {sign} {rhs.right(level)}"
    return Expr(f"{name}({text})", kind, bits=size)


def unary(sign: str, value: Expr) -> Expr:
    """`-x`, `+x`, `~x` or `not x`."""
    if sign == "not":
        condition = truth(value)
        if condition.number is not None:
            return constant(not condition.number)
        return Expr(f"!{condition.at(values.UNARY)}", dt.bool_, values.UNARY)
    kind = value.dtype
    if sign == "+":
        return value
    if value.number is not None:
        number = -value.number if sign == "-" else ~value.number
        return constant(number, kind if kind.kind == "f" else whole_type("+", kind, kind))
    if kind.kind == "f" and sign == "-":
        return Expr(f"-{_apart(value)}", kind, values.UNARY)
    if kind.kind in "fb":
        raise Refused(f"{sign} has no meaning for {kind.name}")
    if sign == "-":
        return binary("-", constant(0, kind), value)
    narrow = None
    if kind.itemsize < 8:
        text = f"~{value.at(values.UNARY)}"
        if kind.kind == "u" and kind.itemsize < 4:
            narrow = Expr(f"{type_name(kind)}({text})", kind, bits=8 * kind.itemsize)
        else:
            narrow = Expr(text, kind, values.UNARY, bits=8 * kind.itemsize)
    wide = convert(value, whole_type("+", kind, kind))
    text = f"~{wide.at(values.UNARY)}"
    return Expr(text, wide.type, values.UNARY, bits=value.bits, narrow=narrow)


def _apart(value: Expr) -> str:
    """An operand of a sign, so that two of them do not become one token."""
    text = value.at(values.UNARY)
    return f"({text})" if text.startswith("-") else text


def compare(sign: str, lhs: Expr, rhs: Expr) -> Expr:
    """`lhs sign rhs`, a condition."""
    if lhs.number is not None and rhs.number is not None:
        return constant(bool(_COMPARES[sign](lhs.number, rhs.number)))
    if lhs.text == rhs.text and lhs.text.isidentifier():
        return _with_itself(sign, lhs)
    lhs, rhs = _comparable(lhs, rhs)
    level = values.EQUAL if sign in ("==", "!=") else values.ORDER
    return Expr(f"{lhs.at(level + 1)} {sign} {rhs.at(level + 1)}", dt.bool_, level)


def _with_itself(sign: str, value: Expr) -> Expr:
    """A comparison of a variable with itself, which Clang warns of."""
    if value.dtype.kind != "f":
        return constant(_COMPARES[sign](0, 0))
    unordered = Expr(f"isnan({value.text})", dt.bool_)
    if sign == "!=":
        return unordered
    return unary("not", unordered) if _COMPARES[sign](0, 0) else constant(False)


def _comparable(lhs: Expr, rhs: Expr) -> tuple[Expr, Expr]:
    one, other = lhs.dtype, rhs.dtype
    if "f" in one.kind + other.kind:
        return convert(lhs, dt.float32), convert(rhs, dt.float32)
    if one is other or "b" in one.kind + other.kind:
        return lhs, rhs
    for value, beside in ((lhs, other), (rhs, one)):
        if value.number is not None and beside.kind in "iu":
            info = np.iinfo(beside.numpy)
            if info.min <= value.number <= info.max:
                return tuple(convert(x, beside) for x in (lhs, rhs))  # type: ignore[return-value]
    if one.kind != other.kind and dt.uint64 in (one, other):
        raise Refused(f"compares {one.name} with {other.name}; convert one")
    if one.kind == other.kind:
        return lhs, rhs
    return convert(lhs, dt.int64), convert(rhs, dt.int64)


def both(sign: str, lhs: Expr, rhs: Expr) -> Expr:
    """`lhs and rhs` with sign "&&", `lhs or rhs` with "||"."""
    lhs, rhs = truth(lhs), truth(rhs)
    for value, other in ((lhs, rhs), (rhs, lhs)):
        if value.number is not None:
            return other if value.number == (sign == "&&") else value
    level = values.BOTH if sign == "&&" else values.EITHER
    return Expr(f"{lhs.left(level)} {sign} {rhs.right(level)}", dt.bool_, level)


def choice(condition: Expr, chosen: Expr, other: Expr) -> Expr:
    """`chosen if condition else other`."""
    condition = truth(condition)
    if condition.number is not None:
        return chosen if condition.number else other
    chosen, other = values.unify_values(chosen, other)
    known = chosen.number is not None and other.number is not None
    one, two = (Expr(x.exact, x.type) if known else x for x in (chosen, other))
    above = values.CHOICE + 1
    text = f"{condition.at(above)} ? {one.at(above)} : {two.at(values.CHOICE)}"
    return Expr(
        text,
        chosen.type,
        values.CHOICE,
        bits=max(chosen.bits, other.bits),
        positive=chosen.positive and other.positive,
    )


def extreme(name: str, operands: list[Expr]) -> Expr:
    """`min` or `max` as Python has it: of equal or unordered operands the first."""
    result = operands[0]
    for value in operands[1:]:
        lhs, rhs = values.unify_values(result, value)
        kind = lhs.dtype
        if lhs.number is not None and rhs.number is not None:
            result = constant({"min": min, "max": max}[name](lhs.number, rhs.number), kind)
            continue
        bits, positive = max(lhs.bits, rhs.bits), lhs.positive and rhs.positive
        positive = positive or (name == "max" and (lhs.positive or rhs.positive))
        function = name if kind.kind in "iu" else {"min": "smaller", "max": "larger"}[name]
        text = f"{function}({lhs.exact}, {rhs.exact})"
        result = Expr(text, kind, bits=bits, positive=positive)
    return result


def absolute(value: Expr) -> Expr:
    """The absolute value, in the same type."""
    kind = value.dtype
    if value.number is not None and math.isfinite(value.number):
        return constant(abs(value.number), kind)
    if kind.kind == "f":
        return Expr(f"fabs({value.text})", kind)
    return value if kind.kind in "ub" else Expr(f"abs({value.exact})", kind, bits=value.bits)
