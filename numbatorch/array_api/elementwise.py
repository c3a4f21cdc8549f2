"""Functions of each element."""

from __future__ import annotations

from typing import Any

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.array_api.array import Array, lift, meet
from numbatorch.errors import DTypeError, message


def _unary(name: str, ours: str = "", same: str = "") -> Any:
    """The function of ours under the standard's name; of the kinds `same` it is the array."""

    def function(x: Any, /) -> Array:
        if x.dtype.kind in same:
            return lift(x.clone())
        return lift(getattr(nt, ours or name)(x))

    return _named(function, name, ours)


def _binary(name: str, ours: str = "", kinds: str = "") -> Any:
    def function(x1: Any, x2: Any, /) -> Array:
        lhs, rhs = meet(name, x1, x2)
        if kinds and lhs.dtype.kind not in kinds:
            raise DTypeError(message(name, f"has no meaning for {lhs.dtype.name}"))
        return lift(getattr(nt, ours or name)(lhs, rhs))

    return _named(function, name, ours)


def _named(function: Any, name: str, ours: str) -> Any:
    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"As numbatorch.{ours or name}, in the dtype where the arrays meet."
    return function


acos, acosh, asin, asinh = map(_unary, ("acos", "acosh", "asin", "asinh"))
atan, atanh, cos, cosh = map(_unary, ("atan", "atanh", "cos", "cosh"))
sin, sinh, tan, tanh = map(_unary, ("sin", "sinh", "tan", "tanh"))
exp, expm1, log, log1p = map(_unary, ("exp", "expm1", "log", "log1p"))
log2, log10, sqrt, square = map(_unary, ("log2", "log10", "sqrt", "square"))
reciprocal, signbit, logical_not = map(_unary, ("reciprocal", "signbit", "logical_not"))
isfinite, isinf, isnan, imag = map(_unary, ("isfinite", "isinf", "isnan", "imag"))
abs = _unary("abs")
negative = _unary("negative", "neg")
bitwise_invert = _unary("bitwise_invert", "bitwise_not")
ceil, floor, trunc = (_unary(name, same="iu") for name in ("ceil", "floor", "trunc"))
conj = _unary("conj", same="fiub")
real = _unary("real", same="fiub")
sign = _unary("sign", "sgn")

add = _binary("add")
subtract = _binary("subtract", "sub")
multiply = _binary("multiply", "mul")
divide = _binary("divide", "div", kinds="fc")
remainder = _binary("remainder")
pow = _binary("pow", kinds="iufc")
atan2 = _binary("atan2", kinds="f")
copysign = _binary("copysign", kinds="f")
hypot = _binary("hypot", kinds="f")
logaddexp = _binary("logaddexp", kinds="f")
nextafter = _binary("nextafter", kinds="f")
maximum, minimum = map(_binary, ("maximum", "minimum"))
bitwise_and, bitwise_or, bitwise_xor = (
    _binary(name, kinds="iub") for name in ("bitwise_and", "bitwise_or", "bitwise_xor")
)
bitwise_left_shift = _binary("bitwise_left_shift", kinds="iu")
bitwise_right_shift = _binary("bitwise_right_shift", kinds="iu")
logical_and, logical_or, logical_xor = (
    _binary(name, kinds="b") for name in ("logical_and", "logical_or", "logical_xor")
)
equal = _binary("equal", "eq")
not_equal = _binary("not_equal", "ne")
less, less_equal = _binary("less", "lt"), _binary("less_equal", "le")
greater, greater_equal = _binary("greater", "gt"), _binary("greater_equal", "ge")


def floor_divide(x1: Any, x2: Any, /) -> Array:
    """floor(x1 / x2); of an infinity the quotient."""
    lhs, rhs = meet("floor_divide", x1, x2)
    found = nt.floor_divide(lhs, rhs)
    if lhs.dtype.kind == "f":
        infinite = nt.logical_or(nt.isinf(lhs), nt.isinf(rhs))
        found = nt.where(infinite, lhs / rhs, found)
    return lift(found)


def positive(x: Array, /) -> Array:
    """x."""
    return lift(x.clone())


def round(x: Array, /) -> Array:
    """x to the nearest integer, halves to the even one; the parts of complex numbers each."""
    if x.dtype.kind in "iu":
        return positive(x)
    if x.dtype.is_complex:
        return lift(nt.complex(nt.round(nt.real(x)), nt.round(nt.imag(x))))
    return lift(nt.round(x))


def clip(x: Array, /, min: Any = None, max: Any = None) -> Array:
    """x, no less than `min` and no more than `max`, in the dtype of x."""
    out: Any = x
    if min is not None:
        out = nt.maximum(out, _bound(x, min))
    if max is not None:
        out = nt.minimum(out, _bound(x, max))
    return lift(out.clone() if out is x else out)


def _bound(x: Array, value: Any) -> Any:
    if isinstance(value, nt.Tensor):
        return value.to(x.dtype)
    if x.dtype.kind in "iu":
        limits = nt.iinfo(x.dtype)
        if value in (float("inf"), float("-inf")):
            value = limits.max if value > 0 else limits.min
        value = sorted((limits.min, int(value), limits.max))[1]
    elif isinstance(value, float) and x.dtype is dt.float32:
        value = float(nt.tensor(value, dtype=dt.float32).item())
    return nt.full((), value, dtype=x.dtype, device=x.device)
