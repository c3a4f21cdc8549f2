"""Tensors made from data: numbers, lists, arrays, blocks."""

from __future__ import annotations

import functools
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
from numbatorch.graph import Node, grad_enabled
from numbatorch.ops import create
from numbatorch.ops.numbers import converted, require_held
from numbatorch.ops.operands import describe, require_in_range
from numbatorch.ops.surface import names_itself
from numbatorch.shape import Shape
from numbatorch.tensor.base import Array, Handle, host_array, host_node
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.host import unchanging
from numbatorch.tensor.interchange import array_of_dlpack
from numbatorch.tensor.narrow import packed
from numbatorch.tensor.new_methods import NewMethods

Where = Device | str | None

create.leaves_come_from(host_node)


def finished(node: Node, requires_grad: bool) -> Tensor:
    """A tensor on `node`, a leaf if it requires a gradient."""
    out = Tensor(node)
    return out.requires_grad_() if requires_grad else out


@names_itself
def tensor(
    data: Any,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor with a copy of `data`: numbers, nested lists, arrays, tensors of other libraries.

    Args:
        dtype: for Python's floats and complex numbers `get_default_dtype()` and what holds it, for
            integers int64, for bool bool unless given; NumPy arrays and tensors keep their own,
            and tensors in a list beside numbers have what all of them promote to.
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
        if target.is_storage:
            require_held("tensor", array, target)
            node = host_node(packed(array, target), target, as_device(device))
            return finished(node, requires_grad)
        if target.kind == "q":
            raise DTypeError(message("tensor", f"{target.name} cannot be made from numbers"))
        node = host_node(converted("tensor", array, target), target, as_device(device))
    except MemoryError as err:
        raise host_out_of_memory("tensor", err) from err
    return finished(node, requires_grad)


@names_itself
def as_tensor(data: Any, dtype: dt.Like | None = None, device: Where = None) -> Tensor:
    """`data` as a tensor: a tensor itself where dtype and device are those asked for, else a copy.

    >>> x = tensor([1, 2])
    >>> as_tensor(x) is x, as_tensor([1, 2], dtype=dt.float32).dtype
    (True, numbatorch.float32)
    """
    if isinstance(data, Tensor):
        return data.to(dtype=dtype, device=device)
    if isinstance(data, np.ndarray):
        return from_numpy(data, device).to(dtype=dtype)
    return tensor(data, dtype, device)


@names_itself
def asarray(
    obj: Any,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`obj` as a tensor, of a value of its own if `copy`; a leaf if it is to require a gradient.

    Raises:
        ValueError: `copy` is False, and only a copy has the dtype or device.

    >>> asarray(np.float32([1, 2])), asarray([1, 2], dtype=nt.float64).dtype
    (tensor([1., 2.]), numbatorch.float64)
    """
    made = as_tensor(obj, dtype, device)
    if copy is False and (made is not obj or not isinstance(obj, Tensor)):
        raise ValueError(message("asarray", f"{type(obj).__name__} becomes a tensor by a copy"))
    if requires_grad or copy:
        made = made.detach().clone() if made is obj and requires_grad else made.clone()
    return made.requires_grad_() if requires_grad else made


def _array(data: Any, asked: DType | None) -> Array:
    """A new array with the elements of `data`.

    Where no dtype is asked for, Python floats get the default; else they stay float64.
    """
    if isinstance(data, np.ndarray | np.generic):
        return _native(np.array(data, order="C"))
    if hasattr(data, "__dlpack__"):
        return array_of_dlpack(data, None).copy(order="C")
    try:
        kinds: set[DType] = set()
        values = _without_tensors(data, kinds)
        if asked is None and kinds:
            return _promoted(data, values, kinds)
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
    default = dt.default_dtype()
    return converted("tensor", array, default.complex if array.dtype.kind == "c" else default)


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


def _without_tensors(data: Any, kinds: set[DType]) -> Any:
    """Nested lists with arrays in the places of tensors, whose dtypes `kinds` gets."""
    if isinstance(data, Handle):
        kinds.add(data.node.dtype)
        return Tensor(data.node).detach().numpy()
    if not isinstance(data, np.ndarray | np.generic) and hasattr(data, "__dlpack__"):
        return array_of_dlpack(data, None)
    if isinstance(data, list | tuple):
        return [_without_tensors(item, kinds) for item in data]
    return data


def _promoted(data: Any, values: Any, kinds: set[DType]) -> Array:
    """Nested lists with tensors, in what their dtypes and those of their numbers promote to."""
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple):
            waiting += item
        elif not isinstance(item, Handle):
            kinds.add(dt.from_numpy(_array(item, None).dtype))
    target = functools.reduce(dt.promote, kinds)
    return converted("tensor", np.array(values, order="C"), target)


def _holds_python_floats(data: Any, array: Array) -> bool:
    """Whether elements came from Python numbers (or from nothing) and not from NumPy values."""
    if array.dtype not in (np.float64, np.complex128):
        return False
    while isinstance(data, list | tuple):
        if not data:
            return True
        data = data[0]
    return not isinstance(data, np.ndarray | np.generic) and not hasattr(data, "__dlpack__")


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
        kind = dt.from_numpy(array.dtype)
        if kind.is_storage:
            array = np.ascontiguousarray(array).reshape(array.shape).view(np.uint8)
        node = host_node(array, kind, as_device(device))
    except MemoryError as err:
        raise host_out_of_memory("from_numpy", err) from err
    return Tensor(node)


@names_itself
def from_dlpack(ext_tensor: Any, *, device: Where = None, copy: bool | None = None) -> Tensor:
    """A tensor over the memory of an object of another library, by DLPack.

    Who writes to that memory changes the tensor, and all that was called but not computed yet;
    changing the tensor never changes the memory.

    Args:
        ext_tensor: has `__dlpack__`: tensors of PyTorch, arrays of NumPy and JAX.
        copy: whether the elements are copied; None copies where there is no other way.
    Raises:
        BufferError: the object does not export its memory, or `copy` is False and it has to.

    >>> from_dlpack(np.arange(3))
    tensor([0, 1, 2])
    """
    if isinstance(ext_tensor, Tensor):
        made = ext_tensor.detach().to(device=device)
        return made.clone() if copy else made
    array = array_of_dlpack(ext_tensor, copy)
    if copy is False and as_device(device).kind not in ("cpu", "numpy"):
        problem = f"device {as_device(device)} shares no memory with the host"
        raise BufferError(message("from_dlpack", problem))
    return from_numpy(array, device, share=True)


def frombuffer(
    buffer: Any,
    *,
    dtype: dt.Like,
    count: int = -1,
    offset: int = 0,
    requires_grad: bool = False,
) -> Tensor:
    """A tensor of one dimension over the memory of an object with the buffer protocol.

    Who writes to that memory changes the tensor, and all that was called but not computed yet;
    changing the tensor never changes the memory.

    Args:
        count: elements; all that there are unless given.
        offset: bytes before the first.
    Raises:
        ShapeError: the buffer is too small, or the rest of it no whole number of elements.

    >>> frombuffer(bytearray([1, 2, 3, 4]), dtype=dt.uint8, offset=1)
    tensor([2, 3, 4], dtype=numbatorch.uint8)
    """
    kind = dt.named("frombuffer", dtype)
    if kind.kind == "q":
        raise DTypeError(message("frombuffer", f"{kind.name} is packed", hint="use from_blocks"))
    raw = np.frombuffer(buffer, np.uint8) if memoryview(buffer).nbytes else np.empty(0, np.uint8)
    rest = raw.size - offset
    asked = rest if count < 0 else count * kind.itemsize
    if not 0 <= offset <= raw.size or asked > rest or asked % kind.itemsize:
        wanted = "a whole number of" if count < 0 else str(count)
        problem = f"{raw.size} bytes from {offset} on do not hold {wanted} elements"
        rule = f"{kind.name} takes {kind.itemsize} bytes"
        raise ShapeError(message("frombuffer", problem, rule))
    part = raw[offset : offset + asked]
    if part.ctypes.data % kind.numpy.alignment:
        part = part.copy()
    found = from_numpy(part.view(kind.numpy), share=True)
    return found.requires_grad_() if requires_grad else found


@names_itself
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

    >>> data = np.zeros(34, np.uint8)  # one block: a scale of two bytes, 32 of int8
    >>> from_blocks(data, "Q8_0", (1, 32)).float().sum()
    tensor(0.)
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


@names_itself
def quantize(input: Tensor, dtype: DType | str, imatrix: Tensor | None = None) -> Tensor:
    """The values packed in GGML blocks, rounded as ggml's encoder does.

    Args:
        input: (..., K) floats, K a multiple of the type's block.
        dtype: a block type with an encoder, or its name.
        imatrix: (K,), how much the error of each column counts.
    Returns:
        the shape of input, on its device.
    Raises:
        GradientError: input requires a gradient.
        DTypeError: nothing encodes the type.
        ShapeError: rows are not whole blocks, or not as long as the imatrix.
        FormatError: input has NaN, infinity or what is too large for the scales of blocks.

    >>> weight = quantize(tensor([[1.0] * 32] * 2), "Q4_0")
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
    importance = None if imatrix is None else host_array(imatrix.node)
    packed = blocks.quantize(host_array(input.node), kind, importance)
    return Tensor(host_node(packed, kind, input.device, tuple(input.shape)))


NewMethods._from_data = staticmethod(tensor)
