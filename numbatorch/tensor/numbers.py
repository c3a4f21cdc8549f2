"""Numbers that are to become elements of a tensor: none of them is silently cut."""

from __future__ import annotations

import math

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, message


def fitting(operator: str, number: float, dtype: DType) -> float:
    """`number` as a Python number that `dtype` holds.

    Where we differ from PyTorch: a number with a fraction is an error for integers, not cut, and
    bool takes 0 and 1 only.

    Raises:
        DTypeError: a number with a fraction, NaN or an infinity for integers; 2 for bool.
        OutOfRange: an integer that the dtype does not hold.

    >>> from numbatorch import dtype
    >>> fitting("fill_", 2.0, dtype.int8)
    2
    """
    if dtype.kind == "b" and number in (0, 1):
        return bool(number)
    if dtype.kind not in "iub":
        return number
    if dtype.kind == "b" or not math.isfinite(number) or number != int(number):
        raise DTypeError(message(operator, f"{number!r} is no value of {dtype.name}"))
    limits = np.iinfo(dtype.numpy)
    if not limits.min <= number <= limits.max:
        raise OutOfRange(message(operator, f"{number!r} does not fit {dtype.name}"))
    return int(number)


def require_no_loss(operator: str, source: DType, target: DType) -> None:
    """Raise DTypeError where elements of `source` would lose their fraction in `target`."""
    if source.kind == "f" and target.kind in "iub":
        raise DTypeError(
            message(
                operator,
                f"values of {source.name} would be cut to {target.name}",
                hint="convert them first, as in value.long()",
            )
        )
