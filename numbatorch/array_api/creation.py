"""Arrays from data, ranges and constants; and questions about dtypes."""

from __future__ import annotations

from typing import Any

import numpy as np

import numbatorch as nt
from numbatorch import dtype as dt
from numbatorch.array_api.array import Array, lift, lifted
from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.errors import message
from numbatorch.limits import FloatLimits, IntegerLimits

float32, float64 = dt.float32, dt.float64
complex64, complex128 = dt.complex64, dt.complex128
int8, int16, int32, int64 = dt.int8, dt.int16, dt.int32, dt.int64
uint8, uint16, uint32, uint64 = dt.uint8, dt.uint16, dt.uint32, dt.uint64
bool = dt.bool_

_KINDS = {
    "bool": (dt.bool_,),
    "signed integer": (int8, int16, int32, int64),
    "unsigned integer": (uint8, uint16, uint32, uint64),
    "real floating": (float32, float64),
    "complex floating": (complex64, complex128),
}
_KINDS["integral"] = (*_KINDS["signed integer"], *_KINDS["unsigned integer"])
_KINDS["numeric"] = (*_KINDS["integral"], *_KINDS["real floating"], *_KINDS["complex floating"])


def asarray(
    obj: Any,
    /,
    *,
    dtype: DType | None = None,
    device: Any = None,
    copy: Any = None,
) -> Array:
    """An array of numbers, nested lists, an array of this or another library.

    Raises:
        ValueError: `copy` is False, and only a copy has the dtype or device.
    """
    if isinstance(obj, nt.Tensor):
        same = dtype in (None, obj.dtype) and device in (None, obj.device)
        if copy is False and not same:
            raise ValueError(message("asarray", "another dtype or device takes a copy"))
        made = obj.to(dtype=dtype, device=device)
        return lift(made.clone() if copy else made)
    if copy is False and not hasattr(obj, "__dlpack__"):
        raise ValueError(message("asarray", f"{type(obj).__name__} becomes an array by a copy"))
    if copy is False:
        return from_dlpack(obj, device=device, copy=False)
    return lift(nt.tensor(obj, dtype=dtype, device=device))


def arange(
    start: Any,
    /,
    stop: Any = None,
    step: Any = 1,
    *,
    dtype: DType | None = None,
    device: Any = None,
) -> Array:
    """start, start + step, ... below `stop`; empty where the step leads away from it."""
    first, last = (0, start) if stop is None else (start, stop)
    kind = dtype
    if kind is None:
        whole = all(isinstance(x, int) for x in (first, last, step))
        kind = int64 if whole else dt.default_dtype()
    if (last - first) * step <= 0:
        return lift(nt.empty(0, dtype=kind, device=device))
    return lift(nt.arange(first, last, step, dtype=kind, device=device))


def linspace(
    start: Any,
    stop: Any,
    /,
    num: int,
    *,
    dtype: DType | None = None,
    device: Any = None,
    endpoint: Any = True,
) -> Array:
    """`num` numbers at equal distances from `start` to `stop`, without that unless `endpoint`."""
    default = dt.default_dtype()
    wide = default.complex if isinstance(start + stop, complex) else default
    kind = wide if dtype is None else dtype
    array = np.linspace(start, stop, num, endpoint=endpoint)
    return lift(nt.from_numpy(array, device).to(kind))


def empty(shape: Any, *, dtype: DType | None = None, device: Any = None) -> Array:
    """Values of no meaning."""
    return lift(nt.empty(_sizes(shape), dtype=dtype, device=device))


def zeros(shape: Any, *, dtype: DType | None = None, device: Any = None) -> Array:
    """0 everywhere."""
    return lift(nt.zeros(_sizes(shape), dtype=dtype, device=device))


def ones(shape: Any, *, dtype: DType | None = None, device: Any = None) -> Array:
    """1 everywhere."""
    return lift(nt.ones(_sizes(shape), dtype=dtype, device=device))


def full(shape: Any, fill_value: Any, *, dtype: DType | None = None, device: Any = None) -> Array:
    """`fill_value` everywhere."""
    return lift(nt.full(_sizes(shape), fill_value, dtype=dtype, device=device))


def _sizes(shape: Any) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)


def empty_like(x: Array, /, *, dtype: DType | None = None, device: Any = None) -> Array:
    """Values of no meaning in the shape, dtype and device of x unless given."""
    return lift(nt.empty_like(x, dtype=dtype, device=device))


def zeros_like(x: Array, /, *, dtype: DType | None = None, device: Any = None) -> Array:
    """0 in the shape, dtype and device of x unless given."""
    return lift(nt.zeros_like(x, dtype=dtype, device=device))


def ones_like(x: Array, /, *, dtype: DType | None = None, device: Any = None) -> Array:
    """1 in the shape, dtype and device of x unless given."""
    return lift(nt.ones_like(x, dtype=dtype, device=device))


def full_like(
    x: Array, /, fill_value: Any, *, dtype: DType | None = None, device: Any = None
) -> Array:
    """`fill_value` in the shape, dtype and device of x unless given."""
    return lift(nt.full_like(x, fill_value, dtype=dtype, device=device))


def eye(
    n_rows: int,
    n_cols: int | None = None,
    /,
    *,
    k: int = 0,
    dtype: DType | None = None,
    device: Any = None,
) -> Array:
    """1 on diagonal `k`, 0 elsewhere."""
    columns = n_rows if n_cols is None else n_cols
    array = np.eye(n_rows, columns, k, dtype=np.bool_)
    kind = dt.default_dtype() if dtype is None else dtype
    return lift(nt.from_numpy(array, device).to(kind))


def from_dlpack(x: Any, /, *, device: Any = None, copy: Any = None) -> Array:
    """An array over the memory of one of another library."""
    return lift(nt.from_dlpack(x, device=device, copy=copy))


def meshgrid(*arrays: Array, indexing: str = "xy") -> tuple[Array, ...]:
    """The coordinates of a grid."""
    return lifted(nt.meshgrid(*arrays, indexing=indexing)) if arrays else ()


def tril(x: Array, /, *, k: int = 0) -> Array:
    """The lower triangle, up to diagonal `k`."""
    return lift(nt.tril(x, k))


def triu(x: Array, /, *, k: int = 0) -> Array:
    """The upper triangle, from diagonal `k` on."""
    return lift(nt.triu(x, k))


def astype(x: Array, dtype: DType, /, *, copy: Any = True, device: Any = None) -> Array:
    """The array in another dtype; a copy in the same one unless `copy` is False."""
    made = x.to(dtype=dtype, device=device)
    return lift(made.clone() if copy and made is x else made)


def _kind(value: Any) -> DType:
    return value if isinstance(value, DType) else value.dtype


def can_cast(from_: Any, to: DType, /) -> Any:
    """Whether values of one dtype, or an array, keep what they are in another."""
    source = _kind(from_)
    try:
        return dt.promote(source, to) is to
    except TypeError:
        return False


def finfo(type: Any, /) -> FloatLimits:
    """What a dtype of floats holds; its `dtype` is one, where PyTorch has a name."""
    kind = _kind(type)
    return nt.finfo(kind)._replace(dtype=kind.part)


def iinfo(type: Any, /) -> IntegerLimits:
    """What a dtype of integers holds; its `dtype` is one, where PyTorch has a name."""
    kind = _kind(type)
    return nt.iinfo(kind)._replace(dtype=kind)


def isdtype(dtype: DType, kind: Any) -> Any:
    """Whether a dtype is another, of a kind, or any of several.

    Raises:
        ValueError: there is no such kind.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, each) for each in kind)
    if isinstance(kind, str):
        if kind not in _KINDS:
            raise ValueError(message("isdtype", f"no kind is called {kind!r}"))
        return dtype in _KINDS[kind]
    return dtype is kind


def result_type(*arrays_and_dtypes: Any) -> DType:
    """The dtype in which arrays, dtypes and numbers meet."""
    from numbatorch.array_api.array import _with_number

    kinds = [_kind(x) for x in arrays_and_dtypes if isinstance(x, DType | nt.Tensor)]
    if not kinds:
        raise TypeError(message("result_type", "needs an array or a dtype"))
    found = kinds[0]
    for kind in kinds[1:]:
        found = dt.promote(found, kind)
    for x in arrays_and_dtypes:
        if not isinstance(x, DType | nt.Tensor):
            found = _with_number("result_type", found, x)
    return found


class Info:
    """What the namespace can do."""

    def capabilities(self) -> dict[str, Any]:
        """Boolean indices and shapes that depend on values are there."""
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """The device of arrays that are made without one."""
        return nt.device()

    def default_dtypes(self, *, device: Any = None) -> dict[str, DType]:
        """The dtypes of arrays that are made without one."""
        default = dt.default_dtype()
        return {
            "real floating": default,
            "complex floating": default.complex,
            "integral": int64,
            "indexing": int64,
        }

    def devices(self) -> tuple[Device, ...]:
        """Devices of which there is one for certain."""
        return (nt.device("cpu"),)

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, DType]:
        """dtypes by their names, of a kind if one is given."""
        every = (*_KINDS["bool"], *_KINDS["numeric"])
        return {x.name: x for x in every if kind is None or isdtype(x, kind)}


def __array_namespace_info__() -> Info:
    """What the namespace can do."""
    return Info()
