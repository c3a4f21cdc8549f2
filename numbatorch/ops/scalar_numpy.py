"""The primitives of the scalar language in NumPy: for constant folding, and to run programs."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import message

Array = Any


def _fma_of_pairs(a: Array, b: Array, c: Array) -> Array:
    """a * b + c by the products of halves, whose sum is exact unless they overflow."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = (_halves(x) for x in (a, b))
    error = ((a_high * b_high - product) + (a_high * b_low + a_low * b_high)) + a_low * b_low
    total = product + c
    part = total - product
    rest = (product - (total - part)) + (c - part)
    return np.where(np.isfinite(error + rest), total + (rest + error), total)


def _halves(x: Array) -> tuple[Array, Array]:
    """Two numbers of 26 bits whose sum is x (T. J. Dekker, 1971)."""
    wide = x * 134217729.0
    high = wide - (wide - x)
    return high, x - high


def fma(a: Array, b: Array, c: Array) -> Array:
    """a * b + c: rounded once for float32, and for float64 twice, the second time a tail of it.

    A float32 product is exact in float64. The sum is rounded to odd there, which a second rounding,
    to float32, does not notice: S. Boldo and G. Melquiond, "Emulation of FMA and correctly rounded
    sums", IEEE Transactions on Computers 57 (2008), https://doi.org/10.1109/TC.2007.70819
    """
    if np.result_type(a) != np.float32:
        return _fma_of_pairs(np.float64(a), np.float64(b), np.float64(c))
    product, addend = np.multiply(a, b, dtype=np.float64), np.asarray(c, np.float64)
    total = np.asarray(product + addend)
    part = total - product
    error = (product - (total - part)) + (addend - part)
    even = (total.view(np.int64) & 1) == 0
    inexact = even & np.isfinite(total) & (error != 0)
    odd = np.nextafter(total, np.where(error > 0, np.inf, -np.inf))
    return np.where(inexact, odd, total).astype(np.float32)


def _truncdiv(a: Array, b: Array) -> Array:
    quotient = a // b
    return quotient + ((quotient * b != a) & ((a < 0) != (b < 0)))


_FUNCTIONS: dict[str, Callable[..., Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.true_divide,
    "truncdiv": _truncdiv,
    "neg": np.negative,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "shl": np.left_shift,
    "shr": np.right_shift,
    "invert": np.invert,
    "not": np.logical_not,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "select": np.where,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
    "fabs": np.fabs,
    "copysign": np.copysign,
    "fmod": np.fmod,
    "fma": fma,
    "ldexp": np.ldexp,
    "add_reassoc": np.add,
    "mul_reassoc": np.multiply,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "max": np.maximum,
    "min": np.minimum,
}


def saturate(x: Array, dtype: DType) -> Array:
    """Floats as integers: truncated, the nearest end of the range outside of it, NaN as 0.

    >>> from numbatorch.dtype import uint8
    >>> saturate(np.array([-1.5, 300.0, np.nan]), uint8)
    array([  0, 255,   0], dtype=uint8)
    """
    info, number = np.iinfo(dtype.numpy), dtype.numpy.type
    whole = np.trunc(np.asarray(x, dtype=np.float64))
    above = 2.0 ** (8 * dtype.itemsize - (dtype.kind == "i"))
    over, under = whole >= above, whole < float(info.min)
    inside = np.where(over | under | np.isnan(whole), 0.0, whole).astype(dtype.numpy)
    return np.where(over, number(info.max), np.where(under, number(info.min), inside))


def apply_primitive(name: str, args: Sequence[Array], dtype: DType, payload: Any = None) -> Array:
    """The primitive `name` on NumPy values of one dtype; the result has `dtype`."""
    with np.errstate(all="ignore"):
        if name in ("bits", "from_bits"):
            return np.asarray(args[0]).view(dtype.numpy)
        if name == "saturate":
            return saturate(args[0], dtype)
        if name == "convert":
            return np.asarray(args[0]).astype(dtype.numpy)
        if name == "round":
            return np.asarray(args[0]).astype(payload.numpy).astype(np.float32)
        return np.asarray(_FUNCTIONS[name](*args)).astype(dtype.numpy)


def fold_literals(name: str, operands: Sequence[Any]) -> Any:
    """The primitive `name` on Python numbers, as Python would compute it."""
    if name == "select":
        return operands[1] if operands[0] else operands[2]
    if name == "div":
        return operands[0] / operands[1]
    if name == "fma":
        return operands[0] * operands[1] + operands[2]
    if name == "trunc":
        return math.trunc(operands[0])
    if name not in _FUNCTIONS:
        raise ValueError(message(name, "of literals alone has no type"))
    return _FUNCTIONS[name](*operands).item()
