"""Tensors made from data, from constants and from ranges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.device import Device
from numbatorch.device import device as as_device
from numbatorch.dtype import DType
from numbatorch.errors import (
    DTypeError,
    GradientError,
    OutOfRange,
    ShapeError,
    host_out_of_memory,
    message,
)
from numbatorch.graph import Node, find, grad_enabled
from numbatorch.ops import create
from numbatorch.ops.numbers import converted, fitting
from numbatorch.ops.operands import describe, require_in_range, scalar_dtype
from numbatorch.ops.view import reshape
from numbatorch.shape import Shape, sizes_of
from numbatorch.tensor.base import Array, Handle, host_array, host_node
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.host import unchanging

Where = Device | str | None

create.leaves_come_from(host_node)


def finished(node: Node, requires_grad: bool) -> Tensor:
    """A tensor on `node`, a leaf if it requires a gradient."""
    out = Tensor(node)
    return out.requires_grad_() if requires_grad else out


def tensor(
    data: Any,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor with a copy of `data`: a number, nested lists, a NumPy array, or a tensor.

    Args:
        dtype: default float32 for Python floats, complex64 for complex numbers, int64 for integers,
            bool; NumPy arrays and tensors keep their own.
    Raises:
        ShapeError: nested lists of unequal lengths.
        OutOfRange: an integer that the dtype does not hold.
        DTypeError: a fraction or NaN for integers; `.int()` of a tensor cuts it.

    >>> tensor([[1, 2], [3, 4]])
    tensor([[1, 2],
            [3, 4]])
    """
    asked = None if dtype is None else dt.named("tensor", dtype)
    if isinstance(data, Handle):
        where = data.node.device if device is None else device
        out = Tensor(data.node).detach()
        if asked is None or asked.kind not in "iu" or data.node.dtype.kind != "f":
            out = out.to(device=where, dtype=asked)
            return out.requires_grad_() if requires_grad else out
        data, device = out.numpy(), where
    try:
        array = _array(data, asked)
        target = asked or dt.from_numpy(array.dtype)
        if target.kind == "q":
            raise DTypeError(message("tensor", f"{target.name} cannot be made from numbers"))
        node = host_node(converted("tensor", array, target), target, as_device(device))
    except MemoryError as err:
        raise host_out_of_memory("tensor", err) from err
    return finished(node, requires_grad)


def _array(data: Any, asked: DType | None) -> Array:
    """A new array with the elements of `data`.

    Where no dtype is asked for, Python floats become float32; else they stay float64.
    """
    if isinstance(data, np.ndarray | np.generic):
        return _native(np.array(data, order="C"))
    try:
        values = _without_tensors(data)
        array = np.array(values, order="C")
        if array.dtype == object or (array.dtype == np.float64 and np.any(abs(array) >= 2**63)):
            array = _with_large_integers(values, array, asked)
    except ValueError as err:
        raise ShapeError(message("tensor", f"nested lists do not form an array: {err}")) from err
    except OverflowError as err:
        raise OutOfRange(message("tensor", str(err))) from err
    if array.dtype.kind not in "fiubc":
        raise DTypeError(message("tensor", f"elements of {array.dtype} are not supported"))
    if asked is not None:
        return array
    if array.dtype == np.uint64:
        raise OutOfRange(message("tensor", "an integer does not fit int64", hint="give a dtype"))
    if not _holds_python_floats(data, array):
        return array
    return converted("tensor", array, dt.complex64 if array.dtype.kind == "c" else dt.float32)


def _with_large_integers(values: Any, array: Array, asked: DType | None) -> Array:
    """`array` of `values`, which NumPy cannot hold or rounds: an integer is 2**63 or larger."""
    found = np.array(values, dtype=object)
    if not all(isinstance(value, int | float | np.number) for value in found.flat):
        return array
    if asked is not None and asked.kind == "f":
        return found.astype(np.float64)
    if not all(isinstance(value, int | np.integer) for value in found.flat):
        return array
    target = asked if asked is not None and asked.kind in "iu" else dt.int64
    for value in found.flat:
        require_in_range("tensor", int(value), target)
    return found.astype(target.numpy)


def _native(array: Array) -> Array:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _without_tensors(data: Any) -> Any:
    if isinstance(data, Handle):
        return Tensor(data.node).detach().numpy()
    if isinstance(data, list | tuple):
        return [_without_tensors(item) for item in data]
    return data


def _holds_python_floats(data: Any, array: Array) -> bool:
    """Whether elements came from Python numbers (or from nothing) and not from NumPy values."""
    if array.dtype not in (np.float64, np.complex128):
        return False
    while isinstance(data, list | tuple):
        if not data:
            return True
        data = data[0]
    return not isinstance(data, np.ndarray | np.generic | Handle)


def from_numpy(array: Array, device: Where = None, *, share: bool = False) -> Tensor:
    """A tensor of the elements of a NumPy array: a copy, unless the array is read-only.

    Args:
        share: use the memory of a writable array too, where its layout allows. Who writes to it
            changes the tensor, and all that was called but not computed yet; `realize` computes.

    Where we differ from PyTorch: a writable array is copied unless it is shared, and changing a
    tensor never changes the array.

    >>> array = np.zeros(2)
    >>> copied, shared = from_numpy(array) + 1, from_numpy(array, share=True) + 1
    >>> array[0] = 5
    >>> copied.tolist(), shared.tolist()
    ([1.0, 1.0], [6.0, 1.0])
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(message("from_numpy", f"takes an array, not {type(array).__name__}"))
    try:
        array = _native(array if share else unchanging(array))
        node = host_node(array, dt.from_numpy(array.dtype), as_device(device))
    except MemoryError as err:
        raise host_out_of_memory("from_numpy", err) from err
    return Tensor(node)


def from_blocks(
    data: Array, dtype: DType | str, shape: Shape, device: Where = None, *, share: bool = False
) -> Tensor:
    """A tensor of GGML blocks, (N, K), from their bytes: a copy, unless the array is read-only.

    Args:
        data: uint8, the rows of blocks one after the other.
        dtype: a block type or its name, also one of a plugin.
        shape: of the values; the last dimension holds whole blocks.
        share: use the memory of a writable array too, which must not be written to.
    Raises:
        DTypeError: nothing decodes the type: names those that are known.
        ShapeError: the bytes are not those of the shape.
    """
    import_module("numbatorch.ops.blocks")
    from numbatorch.ops import blocks

    kind = blocks.find("from_blocks", dtype).dtype
    columns = shape[-1] if shape else 1
    if columns % kind.block or data.nbytes != kind.nbytes(math.prod(shape)):
        rows = f"blocks of {kind.block} values take {kind.itemsize} bytes, rows are whole blocks"
        problem = f"{data.nbytes} bytes are not {tuple(shape)} in {kind.name}"
        raise ShapeError(message("from_blocks", problem, rows))
    if data.dtype != np.uint8:
        raise DTypeError(message("from_blocks", f"data is {data.dtype} instead of uint8"))
    stable = data if share else unchanging(data)
    packed = stable.reshape(*shape[:-1], kind.nbytes(columns))
    return Tensor(host_node(packed, kind, as_device(device), tuple(shape)))


def quantize(input: Tensor, dtype: DType | str) -> Tensor:
    """The values packed in GGML blocks, rounded as ggml's reference encoder does.

    Args:
        input: (..., K) floats, K a multiple of the type's block.
        dtype: a block type with an encoder, or its name.
    Returns:
        the shape of input, on its device.
    Raises:
        GradientError: input requires a gradient.
        DTypeError: nothing encodes the type.
        ShapeError: rows are not whole blocks.

    >>> weight = quantize(ones(2, 32), "Q4_0")
    >>> weight.dtype, weight.to(dt.float32).sum().item()
    (numbatorch.Q4_0, 64.0)
    """
    import_module("numbatorch.ops.blocks")
    from numbatorch.ops import blocks

    if input.requires_grad and grad_enabled():
        rows = (describe(input.node),)
        hint = "detach() it first"
        raise GradientError(message("quantize", "no gradient flows through it", *rows, hint=hint))
    kind = blocks.find("quantize", dtype).dtype
    packed = blocks.quantize(host_array(input.node), kind)
    return Tensor(host_node(packed, kind, input.device, tuple(input.shape)))


def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """`fill_value` everywhere; its own dtype unless one is given."""
    value = fill_value.item() if isinstance(fill_value, np.generic | Tensor) else fill_value
    shape = _shape("full", (size,) if isinstance(size, int) else size)
    kind = _asked("full", dtype) or scalar_dtype(value)
    node = create.full(shape, fitting("full", value, kind), kind, as_device(device))
    return finished(node, requires_grad)


def zeros(
    *size: Any, dtype: dt.Like | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """0 everywhere, float32 unless given."""
    shape = _shape("zeros", size)
    node = create.full(shape, 0, _asked("zeros", dtype) or dt.float32, as_device(device))
    return finished(node, requires_grad)


def ones(
    *size: Any, dtype: dt.Like | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """1 everywhere, float32 unless given."""
    shape = _shape("ones", size)
    node = create.full(shape, 1, _asked("ones", dtype) or dt.float32, as_device(device))
    return finished(node, requires_grad)


def empty(
    *size: Any, dtype: dt.Like | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """Values of no meaning, which happen to be 0."""
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


def _asked(operator: str, dtype: dt.Like | None) -> DType | None:
    return None if dtype is None else dt.named(operator, dtype)


def _shape(operator: str, size: Any) -> Shape:
    shape = sizes_of(operator, tuple(size))
    if any(n < 0 for n in shape):
        raise ShapeError(message(operator, f"{shape} is not a shape"))
    return shape


def full_like(
    input: Tensor, fill_value: Any, *, dtype: dt.Like | None = None, device: Where = None
) -> Tensor:
    """`fill_value` in the shape, dtype and device of `input` unless given."""
    where = input.device if device is None else device
    return full(input.shape, fill_value, dtype=dtype or input.dtype, device=where)


def zeros_like(input: Tensor, *, dtype: dt.Like | None = None, device: Where = None) -> Tensor:
    """0 in the shape, dtype and device of `input` unless given."""
    return full_like(input, 0, dtype=dtype, device=device)


def ones_like(input: Tensor, *, dtype: dt.Like | None = None, device: Where = None) -> Tensor:
    """1 in the shape, dtype and device of `input` unless given."""
    return full_like(input, 1, dtype=dtype, device=device)


def empty_like(input: Tensor, *, dtype: dt.Like | None = None, device: Where = None) -> Tensor:
    """Values of no meaning in the shape, dtype and device of `input` unless given."""
    return zeros_like(input, dtype=dtype, device=device)


def arange(
    start: float,
    end: float | None = None,
    step: float = 1,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, ... up to but without `end`; int64 for integers, else float32.

    >>> arange(1, 4)
    tensor([1, 2, 3])
    """
    asked: list[Any] = [x.item() if isinstance(x, Tensor) else x for x in (start, end, step)]
    start, end, step = asked
    first, last = (0, start) if end is None else (start, end)
    if step == 0 or not all(map(math.isfinite, (first, last, step))):
        raise ShapeError(message("arange", f"no range from {first} to {last} by {step}"))
    if (last - first) * step < 0:
        raise ShapeError(message("arange", f"the step {step} leads from {first} away from {last}"))
    whole = all(isinstance(number, int) for number in (first, last, step))
    size = -((first - last) // step) if whole else math.ceil((last - first) / step)
    target = _asked("arange", dtype) or (dt.int64 if whole else dt.float32)
    if target.kind in "iub":
        first, step = (
            fitting("arange", number, target if number != int(number) else dt.int64)
            for number in (first, step)
        )
        for number in (first, first + (int(size) - 1) * step) if size else ():
            fitting("arange", number, target)
    _shape("arange", (int(size),))
    where = as_device(device)
    if target.kind == "f" and not where.has_float64:  # in float32 the last would be far off
        array = (first + step * np.arange(int(size), dtype=np.float64)).astype(target.numpy)
        return finished(host_node(array, target, where), requires_grad)
    return finished(create.arange(first, step, int(size), target, where), requires_grad)


def linspace(
    start: float,
    end: float,
    steps: int,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """`steps` numbers at equal distances from `start` to `end`, both of them among it.

    Raises:
        DTypeError: a number between them is no integer, and the dtype is one of integers.
    """
    target = _asked("linspace", dtype) or dt.float32
    (steps,) = _shape("linspace", (steps,))
    try:
        array = converted("linspace", np.linspace(start, end, steps), target)
    except MemoryError as err:
        raise host_out_of_memory("linspace", err) from err
    return finished(host_node(array, target, as_device(device)), requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """1 on the diagonal of an (n, m) matrix, 0 elsewhere; m is n unless given."""
    where = as_device(device)
    rows, columns = _shape("eye", (n, n if m is None else m))
    down = reshape.apply(create.iota(rows, where), shape=(rows, 1))
    node = find("eq").apply(down, create.iota(columns, where))
    return finished(
        find("cast").apply(node, dtype=_asked("eye", dtype) or dt.float32), requires_grad
    )
