"""Numbers that are to become elements of a tensor: none of them is silently cut."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch.apart import numpy_ignores_errors
from numbatorch.dtype import DType, from_numpy
from numbatorch.errors import DTypeError, OutOfRange, message
from numbatorch.limits import iinfo
from numbatorch.ops.operands import require_in_range
from numbatorch.variable import is_variable

Array = np.ndarray[Any, Any]


def fitting(operator: str, number: Any, dtype: DType) -> Any:
    """`number` as a Python number that `dtype` holds.

    Where we differ from PyTorch: a number with a fraction is an error for integers, not cut, and
    bool takes 0 and 1 only.

    Raises:
        DTypeError: a complex number for real ones, a number with a fraction, NaN or an infinity for
            integers; 2 for bool.
        OutOfRange: an integer that the dtype does not hold.
        TypeError: it is no number.

    >>> from numbatorch import dtype
    >>> fitting("fill_", 2.0, dtype.int8)
    2
    """
    known = isinstance(number, int | float | complex) or is_variable(number)
    if not known and not hasattr(number, "__float__"):
        raise TypeError(message(operator, f"{number!r} is no number"))
    if dtype.is_complex and isinstance(number, complex):
        return number
    if isinstance(number, complex):
        raise DTypeError(message(operator, f"{number!r} is no value of {dtype.name}"))
    if dtype.kind == "b" and number in (0, 1):
        return bool(number)
    if dtype.kind not in "iub":
        return _as_float(operator, number, dtype)
    if dtype.kind == "b" or not math.isfinite(number) or number != int(number):
        raise DTypeError(message(operator, f"{number!r} is no value of {dtype.name}"))
    require_in_range(operator, int(number), dtype)
    return int(number)


def _as_float(operator: str, number: float, dtype: DType) -> float:
    try:
        float(number)
    except OverflowError:
        problem = f"an integer of {int(number).bit_length()} bits does not fit {dtype.name}"
        raise OutOfRange(message(operator, problem)) from None
    return number


def converted(operator: str, array: Array, dtype: DType) -> Array:
    """The elements of `array` in `dtype`; floats are rounded, integers must fit as they are.

    Raises:
        DTypeError: a fraction, NaN or an infinity for integers.
        OutOfRange: an integer that the dtype does not hold.
    """
    if array.dtype.kind == "c" and not dtype.is_complex:
        raise DTypeError(message(operator, f"complex numbers are no values of {dtype.name}"))
    if dtype.kind in "iu" and array.size:
        kind = from_numpy(array.dtype).kind
        if kind == "f":
            _require_whole(operator, array.astype(np.float64), dtype)
        if kind != "b":
            require_in_range(operator, int(array.min()), dtype)
            require_in_range(operator, int(array.max()), dtype)
    if array.dtype == dtype.numpy:
        return array
    with numpy_ignores_errors():
        return array.astype(dtype.numpy)


def require_held(operator: str, array: Array, dtype: DType) -> None:
    """Raise unless a storage type holds the elements of an array; floats are rounded to its own.

    Raises:
        DTypeError: a fraction, NaN or an infinity for integers.
        OutOfRange: an integer that the dtype does not hold.
    """
    if dtype.held.kind not in "iu" or not array.size:
        return
    if from_numpy(array.dtype).kind == "f":
        _require_whole(operator, array.astype(np.float64), dtype)
    least, most = int(array.min()), int(array.max())
    limits = iinfo(dtype)
    for number in (least, most):
        if not limits.min <= number <= limits.max:
            rule = f"{dtype.name} goes from {limits.min} to {limits.max}"
            raise OutOfRange(message(operator, f"{number} does not fit {dtype.name}", rule))


def _require_whole(operator: str, array: Array, dtype: DType) -> None:
    cut = array[~np.isfinite(array) | (array != np.trunc(array))]
    if cut.size:
        raise DTypeError(
            message(
                operator,
                f"{cut.flat[0].item()!r} is no value of {dtype.name}",
                hint="a tensor of floats is cut by .int() or .long()",
            )
        )


def require_no_loss(operator: str, source: DType, target: DType) -> None:
    """Raise DTypeError where elements of `source` would lose their fraction in `target`.

    What complex numbers would lose, `cast` refuses.
    """
    if source.kind == "f" and target.kind in "iub":
        raise DTypeError(
            message(
                operator,
                f"values of {source.name} would be cut to {target.name}",
                hint="convert them first, as in value.long()",
            )
        )
