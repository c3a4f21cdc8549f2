"""What element types hold: `finfo` of floats, `iinfo` of integers, with PyTorch's attributes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.dtype import DType, Like, named
from numbatorch.errors import DTypeError, message


class FloatLimits(NamedTuple):
    """What a type of floats holds.

    Attributes:
        bits: of one element.
        eps: from 1 to the next number.
        max, min: the largest and the least finite number.
        smallest_normal, tiny: the smallest number above 0 with a full mantissa.
        resolution: 10 ** -digits, of the decimal digits that every number keeps.
        dtype: the type's name.
    """

    bits: int
    eps: float
    max: float
    min: float
    smallest_normal: float
    tiny: float
    resolution: float
    dtype: Any

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class IntegerLimits(NamedTuple):
    """What a type of integers holds.

    Attributes:
        bits: of one element.
        max, min: the largest and the least number.
        dtype: the type's name.
    """

    bits: int
    max: int
    min: int
    dtype: Any

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


def finfo(type: Like | None = None) -> FloatLimits:
    """What a type of floats holds; of complex numbers, what a part of them does.

    Args:
        type: the default dtype unless given.
    Raises:
        DTypeError: the type is one of integers, bool or blocks.

    >>> finfo("float16").max, finfo("bfloat16").eps
    (65504.0, 0.0078125)
    """
    kind = (dt.default_dtype() if type is None else named("finfo", type)).part
    if kind.held.kind != "f":
        raise DTypeError(message("finfo", f"{kind.name} is no type of floats", hint="use iinfo"))
    import_module("ml_dtypes")
    import ml_dtypes

    limits_of: Any = ml_dtypes.finfo
    found = limits_of(kind.elements)
    normal = float(found.smallest_normal)
    return FloatLimits(
        bits=int(found.bits),
        eps=float(found.eps),
        max=float(found.max),
        min=float(found.min),
        smallest_normal=normal,
        tiny=normal,
        resolution=10.0 ** math.ceil(math.log10(found.eps)),
        dtype=kind.name,
    )


def iinfo(type: Like) -> IntegerLimits:
    """What a type of integers holds.

    Raises:
        DTypeError: the type is none of integers.

    >>> iinfo("int8")
    iinfo(min=-128, max=127, dtype=int8)
    """
    kind: DType = named("iinfo", type)
    if kind.held.kind not in "iu":
        hint = "use finfo" if kind.held.part.kind == "f" else None
        raise DTypeError(message("iinfo", f"{kind.name} is no type of integers", hint=hint))
    import_module("ml_dtypes")
    import ml_dtypes

    limits_of: Any = ml_dtypes.iinfo
    found = limits_of(kind.elements)
    return IntegerLimits(int(found.bits), int(found.max), int(found.min), kind.name)
