"""Every word of kernels as a Python function, for numba-cuda's simulator.

Imported only where NUMBA_ENABLE_CUDASIM is set. While a kernel runs the simulator puts its own
module in the place of the global `cuda`.
"""

import math
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from numbatorch import dtype as dtypes
from numbatorch.backends.cuda.simulated_memory import (
    HELD,
    Int32,
    Pointer,
    Region,
    conversion,
    held_type,
    holder,
    wrapped,
)
from numbatorch.language import groups, primitives, words
from numbatorch.ops import scalar_numpy

_lock = threading.Lock()


class ElementWord:
    """An element type: converts when called."""

    def __init__(self, element: str) -> None:
        self.element = element
        self._convert = conversion(element)

    def __call__(self, value: Any) -> Any:
        return self._convert(value)


def _float(value: Any) -> Any:
    return value if isinstance(value, np.float32 | np.float64) else np.float64(value)


def _same(*values: Any) -> tuple[Any, ...]:
    kinds = {type(value) for value in values}
    if len(kinds) == 1 and kinds <= {np.float32, np.float64}:
        return values
    kind = np.float64 if kinds != {np.float32} else np.float32
    return tuple(kind(value) for value in values)


def _unary(function: Any) -> Callable[[Any], Any]:
    return lambda value: function(_float(value))


def _binary(function: Any) -> Callable[[Any, Any], Any]:
    return lambda a, b: function(*_same(a, b))


def fma(a: Any, b: Any, c: Any) -> Any:
    """a * b + c, rounded once for float32."""
    a, b, c = _same(a, b, c)
    if isinstance(a, np.float32):
        return np.float32(scalar_numpy.fma(a, b, c))
    exact = getattr(math, "fma", None)
    if exact is not None and np.isfinite(a) and np.isfinite(b) and np.isfinite(c):
        return np.float64(exact(a, b, c))
    return np.float64(np.longdouble(a) * np.longdouble(b) + np.longdouble(c))


def minimum(a: Any, b: Any) -> Any:
    """The smaller; NaN if either is, and -0.0 is below 0.0."""
    a, b = _same(a, b)
    if a != a or b != b:
        return a + b
    if a == b:
        return a if np.signbit(a) else b
    return a if a < b else b


def maximum(a: Any, b: Any) -> Any:
    """The larger; NaN if either is, and 0.0 is above -0.0."""
    a, b = _same(a, b)
    if a != a or b != b:
        return a + b
    if a == b:
        return b if np.signbit(a) else a
    return a if a > b else b


def select(condition: Any, chosen: Any, other: Any) -> Any:
    """One of two numbers."""
    result = chosen if condition else other
    if type(chosen) is type(other):
        return result
    return np.result_type(chosen, other).type(result)


def bits(value: Any) -> Any:
    """The bits of a float as an integer of its size."""
    if isinstance(value, np.float32):
        return Int32(value.view(np.int32))
    return np.float64(value).view(np.int64)


def from_bits(value: Any) -> Any:
    """The float of the bits of a 32- or 64-bit integer."""
    if isinstance(value, HELD["int32"] | HELD["uint32"]):
        return np.uint32(int(value) & 0xFFFFFFFF).view(np.float32)
    return np.uint64(int(value) & 0xFFFFFFFFFFFFFFFF).view(np.float64)


def truncdiv(a: Any, b: Any) -> Any:
    """The quotient rounded toward zero."""
    quotient = abs(int(a)) // abs(int(b))
    signed = quotient if (a < 0) == (b < 0) else -quotient
    if isinstance(a, np.uint64) or isinstance(b, np.uint64):
        return np.uint64(signed)
    return np.int64(signed) if isinstance(a, np.integer) or isinstance(b, np.integer) else signed


def _saturating(kind: str) -> Callable[[Any], Any]:
    info = np.iinfo(dtypes.by_name[kind].numpy)
    low, high, hold = int(info.min), int(info.max), HELD[kind]

    def convert(value: Any) -> Any:
        if value != value:
            return hold(0)
        if abs(value) == np.inf:
            return hold(high if value > 0 else low)
        return hold(min(max(int(value), low), high))

    return convert


def atomic_add(pointer: Pointer, index: Any, value: Any) -> Any:
    """Add to an element and give what stood there before."""
    with _lock:
        before = pointer[index]
        kind = held_type(pointer.element)
        total = wrapped(int(before) + int(value), kind) if "int" in kind else before + value
        pointer[index] = total
    return before


def share(n: Any, part: Any, parts: Any) -> tuple[int, int]:
    """The range of `n` items for a part."""
    each, rest = divmod(int(n), int(parts))
    low = each * int(part) + min(int(part), rest)
    return low, low + each + (part < rest)


def address(pointer: Pointer) -> Any:
    """The address in a pointer."""
    return np.int64(pointer.address)


def view(pointer: Any, element: ElementWord) -> Pointer:
    """A pointer or an address as a pointer to another type."""
    if isinstance(pointer, Pointer):
        return Pointer(element.element, pointer.region, pointer.offset)
    return Pointer.to(element.element, int(pointer))


def _caller() -> tuple[Any, int]:
    frame = sys._getframe(2)
    return frame.f_code, frame.f_lasti


def barrier() -> None:
    """Wait for the group's threads; where each thread waited is compared at the end."""
    _meet(_caller())


def _meet(site: tuple[Any, int]) -> None:
    current: Any = threading.current_thread()
    current.met = hash((getattr(current, "met", 0), site))
    cuda.syncthreads()


def _state() -> dict[Any, Any]:
    """What the threads of this group share: made anew by the first of them."""
    current: Any = threading.current_thread()
    manager = current._manager
    with _lock:
        if not hasattr(manager, "numbatorch_state"):
            manager.numbatorch_state = {}
    found: dict[Any, Any] = manager.numbatorch_state
    return found


def _array(element: str, size: int) -> Pointer:
    """New memory full of NaN and odd bytes."""
    data = np.full(size * dtypes.by_name[element].itemsize, 0xFF, np.uint8)
    return Pointer(element, Region(int(data.ctypes.data), data), 0)


def shared(element: ElementWord, size: int) -> Pointer:
    """The array of the group that this place in the kernel names."""
    key = ("shared", element.element, size, *_caller())
    state = _state()
    with _lock:
        if key not in state:
            state[key] = _array(element.element, size)
    found: Pointer = state[key]
    return found


def local(element: ElementWord, size: int) -> Pointer:
    """An array of the thread."""
    return _array(element.element, size)


def _reduced(value: Any, combine: Callable[[Any, Any], Any], site: tuple[Any, int]) -> Any:
    """Combine the threads' values pairwise: halves of a warp first, then the warps."""
    state = _state()
    values = state.setdefault(("values", site), {})
    _meet(site)
    values[cuda.threadIdx.x] = value
    _meet(site)
    row = [values[i] for i in range(cuda.blockDim.x)]
    warps = []
    for first in range(0, len(row), 32):
        warps.append(_halved(row[first : first + 32], combine))
    result = _halved(warps, combine)
    _meet(site)
    return result


def _halved(row: list[Any], combine: Callable[[Any, Any], Any]) -> Any:
    while len(row) > 1:
        half = len(row) // 2
        row = [combine(row[i], row[i + half]) for i in range(half)]
    return row[0]


def group_sum(value: Any) -> Any:
    """Sum over the group."""
    return _reduced(_float(value), lambda a, b: a + b, _caller())


def group_max(value: Any) -> Any:
    """Largest over the group."""
    return _reduced(_float(value), np.fmax, _caller())


def finish_tile(finish: Any, *tile: Any) -> None:
    """Call the epilogue."""
    if finish is not None:
        finish(*(int(place) for place in tile))


FUNCTIONS: dict[Any, Callable[..., Any]] = {
    primitives.sqrt: _unary(np.sqrt),
    primitives.floor: _unary(np.floor),
    primitives.ceil: _unary(np.ceil),
    primitives.trunc: _unary(np.trunc),
    primitives.rint: _unary(np.rint),
    primitives.fabs: _unary(np.fabs),
    primitives.copysign: _binary(np.copysign),
    primitives.fmod: _binary(np.fmod),
    primitives.fma: fma,
    primitives.ldexp: lambda a, b: np.ldexp(a, int(b)),
    primitives.minimum: minimum,
    primitives.maximum: maximum,
    primitives.add_reassoc: lambda a, b: a + b,
    primitives.mul_reassoc: lambda a, b: a * b,
    primitives.select: select,
    primitives.bits: bits,
    primitives.from_bits: from_bits,
    primitives.truncdiv: truncdiv,
    primitives.to_int8: _saturating("int8"),
    primitives.to_int16: _saturating("int16"),
    primitives.to_int32: _saturating("int32"),
    primitives.to_int64: _saturating("int64"),
    primitives.to_uint8: _saturating("uint8"),
    primitives.to_uint16: _saturating("uint16"),
    primitives.to_uint32: _saturating("uint32"),
    primitives.to_uint64: _saturating("uint64"),
    primitives.atomic_add: atomic_add,
    words.share: share,
    words.address: address,
    words.view: view,
    groups.thread: lambda: cuda.threadIdx.x,
    groups.threads: lambda: cuda.blockDim.x,
    groups.group: lambda: cuda.blockIdx.x,
    groups.groups: lambda: cuda.gridDim.x,
    groups.barrier: barrier,
    groups.shared: shared,
    groups.local: local,
    groups.group_sum: group_sum,
    groups.group_max: group_max,
    groups.add_atomically: atomic_add,
    groups.finish_tile: finish_tile,
}

_KINDS = {kind: name for name, kind in HELD.items()} | {bool: "bool", np.bool_: "bool"}


def kind_of(value: Any) -> str:
    """The element type of a number that a kernel holds."""
    found = _KINDS.get(type(value))
    if found is None:
        found = "int64" if isinstance(value, int) else "float64"
    return found


def hold(value: Any, kind: str) -> Any:
    """The number as a kernel holds one of this type."""
    return bool(value) if kind == "bool" else holder(kind)(value)


@cuda.jit  # type: ignore[untyped-decorator]
def _thread(call: Callable[[int, int, int], None]) -> None:
    call(cuda.grid(1), cuda.gridsize(1), cuda.blockIdx.x)


def on_grid(call: Callable[[int, int, int], None], groups: int, threads: int) -> None:
    """Call a function in every thread of a grid: number of the thread, their count, the group."""
    _thread[groups, threads](call)
