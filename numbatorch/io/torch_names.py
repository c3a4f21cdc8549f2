"""What pickles of PyTorch ask for by name: types of storages, functions that rebuild tensors."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.io.reading import short_repr
from numbatorch.io.unpickling import NAMES as PLAIN_NAMES
from numbatorch.io.unpickling import Named, shown
from numbatorch.shape import Shape

DIMS_LIMIT = 64  # PyTorch's
LARGEST = 2**63 - 1


class Storage:
    """Where the bytes of a storage lie, and what arrays of it there are already.

    Attributes:
        name: in the file, for people.
        offset: first byte in the file.
        nbytes: how many there are.
        kept: whatever was made of the whole storage, by dtype.
    """

    def __init__(self, name: str, offset: int, nbytes: int) -> None:
        self.name, self.offset, self.nbytes = name, offset, nbytes
        self.kept: dict[Any, Any] = {}


class TypedStorage(NamedTuple):
    """A storage, or a part of one, as a pickle names it.

    Attributes:
        dtype: of the elements; None where tensors say it.
        start: the first element of the part.
        numel: elements; bytes where there is no dtype.
    """

    storage: Storage
    dtype: DType | None
    start: int
    numel: int


class StoredTensor(NamedTuple):
    """A tensor of a file, before anything of it is read.

    Attributes:
        offset: of its first element, in elements from the beginning of the storage.
        shape, strides: in elements.
        requires_grad: whether it was a leaf or parameter that does.
        conjugate, negative: whether the elements are to be conjugated, and negated.
    """

    storage: Storage
    dtype: DType
    offset: int
    shape: Shape
    strides: Shape
    requires_grad: bool = False
    conjugate: bool = False
    negative: bool = False


class StorageType:
    """A class of storages.

    Attributes:
        dtype: of the elements; None where it is bytes.
    """

    __slots__ = ("dtype", "name")

    def __init__(self, name: str, dtype: DType | None) -> None:
        self.name, self.dtype = name, dtype


def _sizes(machine: Any, value: Any, what: str) -> Shape:
    plain = type(value) is tuple and len(value) <= DIMS_LIMIT
    if not plain or not all(type(size) is int and 0 <= size <= LARGEST for size in value):
        numbers = plain and all(type(size) is int for size in value)
        text = short_repr(value) if numbers else shown(value)
        machine.refuse(f"gives a tensor the impossible {what} {text}")
    sizes: Shape = value
    return sizes


def stored(
    machine: Any, given: Any, dtype: Any, offset: Any, size: Any, stride: Any
) -> StoredTensor:
    """A tensor whose every element lies in its storage."""
    if type(given) is not TypedStorage:
        machine.refuse(f"makes a tensor of {shown(given)}, which is no storage")
    kind = dtype or given.dtype
    if type(kind) is not DType:
        machine.refuse(f"makes a tensor of elements of {shown(kind)}")
    count = given.numel if given.dtype is not None else given.numel // kind.itemsize
    if given.dtype not in (None, kind):
        machine.refuse(f"reads a storage of {given.dtype.name} as {kind.name}")
    shape, strides = _sizes(machine, size, "shape"), _sizes(machine, stride, "strides")
    (start,) = _sizes(machine, (offset,), "offset")
    if len(shape) != len(strides):
        machine.refuse(f"gives a tensor of {len(shape)} dimensions {len(strides)} strides")
    elements = math.prod(shape)
    if math.prod(max(size, 1) for size in shape) * kind.itemsize > LARGEST:
        machine.refuse(f"gives a tensor the impossible shape {str(shape)[:80]}")
    last = start + sum((n - 1) * step for n, step in zip(shape, strides, strict=True))
    if start > count or (elements and last >= count):
        where = f"storage {given.storage.name} of {count} elements"
        reach = f"shape {str(shape)[:80]}, strides {str(strides)[:80]}, offset {start}"
        machine.refuse(f"makes a tensor that leaves {where}: {reach}")
    return StoredTensor(given.storage, kind, given.start + start, shape, strides)


def _flagged(machine: Any, tensor: StoredTensor, needs: Any, hooks: Any, metadata: Any) -> Any:
    """The tensor with what else is said of it."""
    if type(needs) is not bool:
        machine.refuse(f"says of a tensor that requires_grad is {shown(needs)}")
    if hooks:
        machine.refuse(f"gives a tensor hooks: {shown(hooks)}")
    said = metadata or {}
    bits = type(said) is dict and all(type(value) is bool for value in said.values())
    if not bits or not said.keys() <= {"conj", "neg"}:
        machine.refuse(f"says of a tensor what is not read: {shown(metadata)}")
    conjugate = said.get("conj", False) and tensor.dtype.is_complex
    return machine.tensor(
        tensor._replace(requires_grad=needs, conjugate=conjugate, negative=said.get("neg", False))
    )


def _counted(machine: Any, arguments: tuple[Any, ...], fewest: int, most: int) -> None:
    if not fewest <= len(arguments) <= most:
        machine.refuse(f"rebuilds a tensor of {len(arguments)} arguments")


def _tensor(machine: Any, arguments: tuple[Any, ...]) -> Any:
    """torch._utils._rebuild_tensor(storage, offset, size, stride)."""
    _counted(machine, arguments, 4, 4)
    return machine.tensor(stored(machine, arguments[0], None, *arguments[1:]))


def _tensor_v2(machine: Any, arguments: tuple[Any, ...]) -> Any:
    """The same, then requires_grad, hooks and metadata."""
    _counted(machine, arguments, 6, 7)
    found = stored(machine, arguments[0], None, *arguments[1:4])
    return _flagged(machine, found, arguments[4], arguments[5], (*arguments, None)[6])


def _tensor_v3(machine: Any, arguments: tuple[Any, ...]) -> Any:
    """The same of a storage of bytes: the dtype stands before the metadata."""
    _counted(machine, arguments, 7, 8)
    found = stored(machine, arguments[0], arguments[6], *arguments[1:4])
    return _flagged(machine, found, arguments[4], arguments[5], (*arguments, None)[7])


def _parameter(machine: Any, arguments: tuple[Any, ...]) -> Any:
    """torch._utils._rebuild_parameter(data, requires_grad, hooks): a tensor that is a leaf."""
    _counted(machine, arguments, 3, 3)
    data, needs, hooks = arguments
    if type(needs) is not bool or hooks:
        machine.refuse(f"gives a parameter hooks: {shown(hooks)}")
    return machine.parameter(data, needs)


def _from_type(machine: Any, arguments: tuple[Any, ...]) -> Any:
    """torch._tensor._rebuild_from_type_v2(function, type, arguments, state): a plain tensor."""
    _counted(machine, arguments, 4, 4)
    function, kind, given, state = arguments
    if kind not in (NAMES["torch.Tensor"], NAMES["torch.nn.parameter.Parameter"]):
        machine.refuse(f"makes a tensor of class {shown(kind)}")
    if state:
        machine.refuse(f"gives a tensor attributes: {shown(state)}")
    return machine.call(function, given)


def _size(machine: Any, arguments: tuple[Any, ...]) -> Shape:
    """torch.Size, as a tuple."""
    _counted(machine, arguments, 1, 1)
    (given,) = arguments
    return _sizes(machine, tuple(given) if type(given) is list else given, "shape")


def _device(machine: Any, arguments: tuple[Any, ...]) -> str:
    """torch.device, as text."""
    name, number = (*arguments, None)[:2] if arguments else (None, None)
    text = type(name) is str and name.isprintable() and len(arguments) <= 2
    if not text or not (number is None or type(number) is int):
        machine.refuse("makes a device of something else than its name and number")
    return f"{name}" if number is None else f"{name}:{number}"


_STORAGES = {
    "Double": dt.float64,
    "Float": dt.float32,
    "Half": dt.float16,
    "BFloat16": dt.bfloat16,
    "Long": dt.int64,
    "Int": dt.int32,
    "Short": dt.int16,
    "Char": dt.int8,
    "Byte": dt.uint8,
    "Bool": dt.bool_,
    "ComplexDouble": dt.complex128,
    "ComplexFloat": dt.complex64,
}
_ALIASES = {
    "float": "float32",
    "double": "float64",
    "half": "float16",
    "long": "int64",
    "int": "int32",
    "short": "int16",
    "cfloat": "complex64",
    "cdouble": "complex128",
}
_CALLS = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor_v2,
    "torch._utils._rebuild_tensor_v3": _tensor_v3,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._tensor._rebuild_from_type_v2": _from_type,
    "torch.Tensor": None,
    "torch.nn.parameter.Parameter": None,
    "torch.Size": _size,
    "torch.device": _device,
}
NAMES: dict[str, Any] = {
    **PLAIN_NAMES,
    **{name: Named(name, call) for name, call in _CALLS.items()},
    **{f"torch.{name}": kind for name, kind in dt.by_name.items() if kind.kind != "q"},
    **{f"torch.{kind.name}": kind for kind in dt.STORAGE if kind.name.startswith("float8")},
    **{f"torch.{name}": dt.by_name[full] for name, full in _ALIASES.items()},
    **{
        f"{module}.{name}Storage": StorageType(f"{module}.{name}Storage", kind)
        for module in ("torch", "torch.cuda")
        for name, kind in _STORAGES.items()
    },
    **{
        name: StorageType(name, None)
        for name in ("torch.storage.UntypedStorage", "torch.UntypedStorage")
    },
}
