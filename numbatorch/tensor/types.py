"""Questions about dtypes: in which one values meet, and whether one may become another."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.ops import operands
from numbatorch.tensor.base import Handle
from numbatorch.tensor.core import Tensor


def promote_types(type1: dt.Like, type2: dt.Like) -> DType:
    """The dtype that elements of two types meet in.

    Where we differ from PyTorch: uint16, uint32 and uint64 meet signed integers in the type that
    holds both, and float8 meets other floats in the wider type.

    >>> promote_types(nt.int32, nt.float16), promote_types("uint8", "int8")
    (numbatorch.float16, numbatorch.int16)
    """
    return dt.promote(dt.named("promote_types", type1), dt.named("promote_types", type2))


def result_type(tensor1: Any, tensor2: Any) -> DType:
    """The dtype of what arithmetic makes of two tensors or numbers.

    A number, and a tensor without dimensions, counts only if it is of a higher kind (bool, integer,
    float, complex) than a tensor with dimensions.

    >>> result_type(nt.tensor([1, 2], dtype=nt.int8), 1.5)
    numbatorch.float32
    """
    return operands.result_type([_operand(tensor1), _operand(tensor2)])


def _operand(value: Any) -> Any:
    if isinstance(value, Handle):
        return value.node
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, bool | int | float | complex):
        raise TypeError(message("result_type", f"{value!r} is neither a tensor nor a number"))
    return value


def can_cast(from_: dt.Like, to: dt.Like) -> bool:
    """Whether elements keep their kind: not complex to real, float to integer, or any to bool.

    >>> can_cast(nt.int64, nt.float16), can_cast(nt.float32, nt.int64)
    (True, False)
    """
    source, target = dt.named("can_cast", from_), dt.named("can_cast", to)
    if "q" in (source.kind, target.kind):
        return source is target
    if source.is_complex and not target.is_complex:
        return False
    if source.kind == "f" and target.kind in "iu":
        return False
    return source.kind == "b" or target.kind != "b"


def typename(obj: Any) -> str:
    """The type of a tensor's elements, of a class its name, of anything else that of its class.

    Names have their module, but for Python's own.

    >>> typename(nt.ones(2)), typename(nt.nn.Linear(1, 1)), typename(3)
    ('numbatorch.float32', 'numbatorch.nn.linear.Linear', 'int')
    """
    if isinstance(obj, Tensor):
        return str(obj.type())
    module = getattr(obj, "__module__", None)
    name = getattr(obj, "__qualname__", None) or getattr(obj, "__name__", type(obj).__name__)
    return str(name) if module in (None, "builtins") else f"{module}.{name}"


def get_default_dtype() -> DType:
    """The dtype of Python's floats, and of tensors that are made without one; float32 at first.

    >>> get_default_dtype()
    numbatorch.float32
    """
    return dt.default_dtype()


def set_default_dtype(d: dt.Like) -> None:
    """Let tensors that are made without a dtype, and integers that become floats, have this one.

    In all threads. A complex number gets the type whose parts hold it.

    Raises:
        DTypeError: the type is not float64, float32, float16 or bfloat16.

    >>> set_default_dtype(nt.float64)
    >>> nt.tensor([1.5]).dtype, (nt.arange(3) / 2).dtype
    (numbatorch.float64, numbatorch.float64)
    >>> set_default_dtype(nt.float32)
    """
    kind = dt.named("set_default_dtype", d)
    if kind not in (dt.float64, dt.float32, dt.float16, dt.bfloat16):
        problem = f"{kind.name} is not float64, float32, float16 or bfloat16"
        raise DTypeError(message("set_default_dtype", problem))
    dt.Default.dtype = kind


def is_tensor(obj: object) -> bool:
    """Whether an object is a tensor.

    >>> is_tensor(tensor(1)), is_tensor([1])
    (True, False)
    """
    return isinstance(obj, Tensor)
