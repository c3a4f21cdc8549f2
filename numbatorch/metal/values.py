"""Expressions of a kernel while it is printed: their text and type, conversions, loads, stores."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.language.words import ElementType
from numbatorch.metal.msl import PointerType, Static, Type, literal, spelling, type_name

# How tightly an operator binds in C++; what binds less than its place asks for gets parentheses.
ATOM, UNARY, MUL, ADD, SHIFT, ORDER, EQUAL, AND, XOR, OR, BOTH, EITHER, CHOICE = range(13, 0, -1)

# Operators that Clang warns of as operands of others, if they stand there without parentheses.
_MIXED = {SHIFT: {ADD}, XOR: {AND}, OR: {AND, XOR}, EITHER: {BOTH}}

_PYTHON: dict[type, DType] = {int: dt.int64, float: dt.float32, bool: dt.bool_}

INDEX_BITS = 40  # what index arithmetic is taken to need, where it meets data


class Refused(Exception):
    """What cannot be printed; the statement it stands in adds where."""

    def __init__(self, problem: str, hint: str | None = None, dtype: bool = False) -> None:
        super().__init__(problem)
        self.hint = hint
        self.dtype = dtype


@dataclass(frozen=True)
class Expr:
    """An expression.

    Attributes:
        text: of MSL; of an int64 constant without a suffix.
        type: of the value.
        level: how tightly the text binds.
        number: the value, if it is known.
        bits: that data may fill of an integer; 0 for indices, whose arithmetic does not overflow.
        positive: an integer that is surely above 0.
        narrow: the same result in the operands' narrow type, for a conversion back to it.
        truth: the condition that this is 1 or 0 of.
    """

    text: str
    type: Type
    level: int = ATOM
    number: Any = None
    bits: int = 0
    positive: bool = False
    narrow: "Expr | None" = None
    truth: "Expr | None" = None

    def at(self, level: int) -> str:
        """The text as an operand of what binds as tightly as `level`."""
        return self.text if self.level >= level else f"({self.text})"

    def left(self, level: int) -> str:
        """The text before an operator of `level`."""
        return f"({self.text})" if self.level in _MIXED.get(level, ()) else self.at(level)

    def right(self, level: int) -> str:
        """The text behind an operator of `level`."""
        return f"({self.text})" if self.level in _MIXED.get(level, ()) else self.at(level + 1)

    @property
    def exact(self) -> str:
        """The text, with exactly the type in C++ too."""
        if self.number is not None and isinstance(self.type, DType):
            return literal(self.number, self.type)
        return self.text

    @property
    def dtype(self) -> DType:
        """The type of a number; anything else is refused."""
        if not isinstance(self.type, DType):
            what = "a pointer" if isinstance(self.type, PointerType) else describe(self.type)
            raise Refused(f"{self.text or what} is {what}, not a number")
        return self.type

    @property
    def pointer(self) -> PointerType:
        """The type of a pointer; anything else is refused."""
        if not isinstance(self.type, PointerType):
            raise Refused(f"{self.text or 'this'} is {describe(self.type)}, not a pointer")
        return self.type


NOTHING = Expr("", Static(None))


def describe(kind: Type) -> str:
    """A type for messages."""
    if isinstance(kind, DType):
        return kind.name
    if isinstance(kind, Static):
        value = kind.value
        return str(getattr(value, "__name__", None) or value)
    return spelling(kind)


def element_of(value: Any) -> DType | None:
    """The dtype that a word names, if it names one."""
    if isinstance(value, DType):
        return value
    if isinstance(value, ElementType):
        if value.element not in dt.by_name:
            raise Refused(f"{value.element} is bound to no type here")
        return dt.by_name[value.element]
    return _PYTHON.get(value) if isinstance(value, type) else None


def constant(value: Any, dtype: DType | None = None) -> Expr:
    """A number that is known; without a dtype as Python's own, in float32 for floats."""
    if dtype is None:
        kinds = {bool: dt.bool_, int: dt.int64, float: dt.float32}
        dtype = kinds[type(value)]
    if dtype.kind == "b":
        return Expr(literal(value, dtype), dtype, number=bool(value))
    if dtype.kind in "iu":
        number = wrapped(int(value), dtype)
        plain = abs(number) < 1 << 31 and (dtype.kind == "i" or dtype.itemsize < 4)
        text = str(number) if plain else literal(number, dtype)
        level = UNARY if number < 0 else ATOM
        return Expr(text, dtype, level, number, positive=number > 0)
    text = literal(value, dtype)
    with np.errstate(over="ignore"):
        rounded = float(np.float32(value))
    return Expr(text, dtype, UNARY if text.startswith("-") else ATOM, rounded)


def wrapped(value: int, dtype: DType) -> int:
    """The integer that `value` becomes in the bits of a dtype."""
    size = 8 * dtype.itemsize
    value &= (1 << size) - 1
    return value - (1 << size) if dtype.kind == "i" and value >> (size - 1) else value


def convert(value: Expr, dtype: DType) -> Expr:
    """`value` as `dtype`; for a half type rounded to it and held in float32."""
    if dtype is dt.float64:
        raise Refused("Metal has no float64", "use float32", dtype=True)
    source = value.dtype
    if dtype.compute is not dtype:
        return _rounded(convert(value, dt.float32), dtype)
    if value.number is not None:
        return _converted_constant(value, dtype)
    if source is dtype:
        return value
    if dtype.kind == "b":
        return Expr(f"{value.at(EQUAL)} != {_zero(source)}", dtype, EQUAL)
    if value.narrow is not None and value.narrow.type is dtype:
        return value.narrow
    truth = value if source.kind == "b" else value.truth
    bits = min(value.bits, 8 * dtype.itemsize) if source.kind in "iu" else 8 * dtype.itemsize
    if dtype.kind == "f":
        bits = 0
    return Expr(
        f"{type_name(dtype)}({value.text})",
        dtype,
        bits=bits,
        positive=value.positive and dtype.itemsize >= source.itemsize,
        truth=truth,
    )


def _zero(dtype: DType) -> str:
    return "0.0f" if dtype.kind == "f" else "0"


def _converted_constant(value: Expr, dtype: DType) -> Expr:
    number = value.number
    if dtype.kind in "iu" and isinstance(number, float):
        if not math.isfinite(number):
            raise Refused(f"{number} is no {dtype.name}")
        number = math.trunc(number)
    return constant(number, dtype)


def _rounded(value: Expr, dtype: DType) -> Expr:
    if value.number is not None:
        with np.errstate(over="ignore"):
            return constant(float(np.array(value.number).astype(dtype.numpy)), dt.float32)
    return Expr(_widened(_narrowed(value, dtype), dtype), dt.float32)


def _narrowed(value: Expr, dtype: DType) -> str:
    """The text of a float32 as stored in a half type."""
    if dtype.itemsize == 1:
        return f"to_{dtype.name}({value.text})"
    return f"{type_name(dtype)}({value.text})"


def _widened(text: str, dtype: DType) -> str:
    """The text of an element of a half type as float32."""
    return f"from_{dtype.name}({text})" if dtype.itemsize == 1 else f"float({text})"


def assigned(value: Expr, dtype: DType) -> str:
    """The text of `value` where C++ converts it to a variable of `dtype`."""
    if value.number is None and value.dtype.kind in "iu" and dtype.kind in "iu":
        if value.narrow is None or value.narrow.type is not dtype:
            widens = dtype.itemsize > value.dtype.itemsize
            return value.text if widens or value.type is dtype else convert(value, dtype).text
    return convert(value, dtype).text


def truth(value: Expr) -> Expr:
    """`value` as a condition."""
    return convert(value, dt.bool_)


def unify(lhs: Type, rhs: Type) -> Type:
    """The type of a variable or result that is of either type."""
    if lhs == rhs:
        return lhs
    if isinstance(lhs, DType) and isinstance(rhs, DType) and "f" not in (lhs.kind, rhs.kind):
        if "b" in (lhs.kind, rhs.kind):
            return dt.int64
        found = dt.promote(lhs, rhs) if dt.uint64 not in (lhs, rhs) else None
        if lhs.kind == rhs.kind:
            found = lhs if lhs.itemsize > rhs.itemsize else rhs
        if found is not None:
            return found
    raise Refused(f"is {describe(lhs)} in one place and {describe(rhs)} in another; convert one")


def unify_values(lhs: Expr, rhs: Expr) -> tuple[Expr, Expr]:
    """Two values in the type that holds both; a known integer fits a float."""
    if not isinstance(lhs.type, DType) or not isinstance(rhs.type, DType):
        unify(lhs.type, rhs.type)
        return lhs, rhs
    if "f" in (lhs.type.kind, rhs.type.kind):
        return convert(lhs, dt.float32), convert(rhs, dt.float32)
    for one, other in ((lhs, rhs), (rhs, lhs)):
        if one.number is not None and other.number is None and one.type is dt.int64:
            if other.dtype is dt.uint64 and one.number >= 0:
                return convert(lhs, dt.uint64), convert(rhs, dt.uint64)
    kind = unify(lhs.type, rhs.type)
    assert isinstance(kind, DType)
    return convert(lhs, kind), convert(rhs, kind)


def _element(pointer: Expr, index: Expr) -> str:
    kind = pointer.pointer
    if index.dtype.kind not in "iu":
        raise Refused(f"an index is an integer, not {index.dtype.name}")
    text = index.text if kind.step == 1 else f"{index.at(MUL)} * {kind.step}"
    return f"{pointer.at(ATOM)}[{text}]"


def load(pointer: Expr, index: Expr) -> Expr:
    """`pointer[index]` in the type that it is held in."""
    place, dtype = _element(pointer, index), pointer.pointer.element
    if dtype.kind in "bq":
        return Expr(place, dt.uint8, bits=8)
    if dtype.compute is not dtype:
        return Expr(_widened(place, dtype), dt.float32)
    return Expr(place, dtype, bits=8 * dtype.itemsize if dtype.kind in "iu" else 0)


def store(pointer: Expr, index: Expr, value: Expr) -> str:
    """The statement `pointer[index] = value`, which rounds to the element's type."""
    place, dtype = _element(pointer, index), pointer.pointer.element
    if dtype.kind == "b":
        condition = value.truth or truth(value)
        return f"{place} = uchar({condition.text});"
    if dtype.compute is not dtype and dtype.kind == "f":
        return f"{place} = {_narrowed(convert(value, dt.float32), dtype)};"
    held = dt.uint8 if dtype.kind == "q" else dtype
    return f"{place} = {assigned(value, held)};"


def moved(pointer: Expr, sign: str, count: Expr) -> Expr:
    """`pointer + count` or `pointer - count`, in elements."""
    kind = pointer.pointer
    if count.dtype.kind not in "iu":
        raise Refused(f"a pointer moves by integers, not {count.dtype.name}")
    if count.number == 0:
        return pointer
    places = count
    if kind.step != 1:
        places = Expr(f"{count.at(MUL)} * {kind.step}", dt.int64, MUL)
    return Expr(f"{pointer.at(ADD)} {sign} {places.at(MUL)}", kind, ADD)
