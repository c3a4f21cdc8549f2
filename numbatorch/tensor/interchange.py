"""Memory shared with other libraries: DLPack in both directions, and Python's buffer protocol.

NumPy makes and takes the capsules of DLPack; for what it has no type for, such as bfloat16, it
handles integers of the size, and the type is written into the capsule here.
DLPack: https://dmlc.github.io/dlpack/latest/
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, GradientError, message
from numbatorch.ops.operands import describe
from numbatorch.tensor.base import Array, Handle, host_array

NAMESPACE = "numbatorch.array_api"
VERSIONS = tuple(f"{year}.12" for year in range(2021, 2026))  # of the array API standard
CPU = (1, 0)  # kDLCPU, the first
VERSIONED = (1, 0)  # from this version on a capsule says whether its memory may be written to
_NAMES = (b"dltensor", b"dltensor_versioned")
_HEADERS = (0, 32)  # bytes before the tensor of a capsule: version, manager, deleter, flags
_TYPE = 20  # bytes before the type of a tensor: data, device, number of dimensions

# Codes of DLPack's types that NumPy does not know; the bits are those of the dtype.
_CODES = {
    "bfloat16": 4,
    "float8_e4m3fn": 10,
    "float8_e4m3fnuz": 11,
    "float8_e5m2": 12,
    "float8_e5m2fnuz": 13,
    "float8_e8m0fnu": 14,
}
_OF_CODE = {code: name for name, code in _CODES.items()}


class _Type(ctypes.Structure):
    """DLDataType."""

    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


def _type_of(capsule: Any) -> _Type:
    """The type of elements in a capsule, where it lies.

    Raises:
        BufferError: the object is no capsule of DLPack, or one that was taken.
    """
    api = ctypes.pythonapi
    valid, pointer = api.PyCapsule_IsValid, api.PyCapsule_GetPointer
    valid.argtypes = pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    pointer.restype = ctypes.c_void_p
    for name, header in zip(_NAMES, _HEADERS, strict=True):
        if valid(capsule, name):
            return _Type.from_address(pointer(capsule, name) + header + _TYPE)
    raise BufferError(
        message("from_dlpack", "what __dlpack__ gave is no capsule that can be taken")
    )


class _Writable:
    """The memory of an array, as if it could be written to."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.__array_interface__ = dict(array.__array_interface__)
        self.__array_interface__["data"] = (array.__array_interface__["data"][0], False)


class InterchangeMethods(Handle):
    """What other libraries ask tensors for."""

    __slots__ = ()

    def _shared(self, operator: str) -> Array:
        """The elements in host memory, read-only and kept alive by the array."""
        node = self._noted()
        if node.requires_grad:
            problem, hint = "the tensor requires a gradient", "detach() it first"
            raise GradientError(message(operator, problem, describe(node), hint=hint))
        return host_array(node)

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """A capsule of DLPack over the elements, which are read-only unless they are a copy.

        Consumers of versions before 1.0 cannot be told that, and so get a copy unless `copy` is
        False.

        Raises:
            BufferError: the tensor is on a GPU and `dl_device` is not the host, nothing reads its
                dtype, or no copy is allowed where one is needed.
            GradientError: the tensor requires a gradient.
        """
        device = self.node.device
        on_host = device.kind in ("cpu", "numpy")
        if dl_device is not None and tuple(dl_device) != CPU:
            raise BufferError(message("__dlpack__", f"{device} is exported to the host only"))
        if not on_host and dl_device is None:
            hint = "cpu() is a copy on the host"
            raise BufferError(message("__dlpack__", f"the tensor is on {device}", hint=hint))
        if stream is not None:
            raise BufferError(message("__dlpack__", "memory of the host has no streams"))
        if not on_host and copy is False:
            raise BufferError(
                message("__dlpack__", f"memory of {device} reaches the host by a copy")
            )
        if self.node.dtype.kind == "q" and self.node.dtype.name not in _CODES:
            problem = f"nothing reads {self.node.dtype.name} by DLPack"
            raise BufferError(message("__dlpack__", problem, describe(self.node)))
        array = self._shared("__dlpack__")
        told = max_version is not None and tuple(max_version) >= VERSIONED
        if copy is False and not told:
            array = np.asarray(_Writable(array))
        elif copy or not told:
            array = array.copy()
        return _capsule(array, self.node.dtype, told)

    def __dlpack_device__(self) -> tuple[int, int]:
        """Type and number of the device: 1 is the host, 2 CUDA, 8 Metal."""
        device: Device = self.node.device
        return {"cuda": 2, "metal": 8}.get(device.kind, 1), device.index

    def __array_namespace__(self, /, *, api_version: str | None = None) -> Any:
        """The functions of the array API standard, which take tensors, and give arrays of theirs.

        Raises:
            ValueError: another version of the standard is asked for.
        """
        if api_version not in (None, *VERSIONS):
            raise ValueError(message("__array_namespace__", f"no version {api_version}"))
        return sys.modules.get(NAMESPACE) or import_module(NAMESPACE)

    def __buffer__(self, flags: int) -> memoryview:
        """The elements as a read-only buffer; Python asks for it from 3.12 on.

        Raises:
            BufferError: the buffer is to be written to, or Python has no format of the dtype.
        """
        if flags & 1:  # PyBUF_WRITABLE
            raise BufferError(message("buffer", "the elements of a tensor are read-only here"))
        try:
            return self._shared("buffer").data
        except ValueError as err:
            problem = f"buffers have no format for {self.node.dtype.name}"
            raise BufferError(message("buffer", problem)) from err

    @property
    def __array_interface__(self) -> dict[str, Any]:
        """The elements for NumPy and what reads as it does; the memory is kept alive."""
        kind = self.node.dtype
        if kind.kind == "q" or kind.name in _CODES:  # which NumPy takes through __array__
            raise AttributeError(f"{kind.name} has no type in NumPy", name="__array_interface__")
        array = self._shared("numpy")
        return {"version": 3, "shape": array.shape, "typestr": array.dtype.str, "data": array}


def _capsule(array: Array, kind: DType, versioned: bool) -> Any:
    code = _CODES.get(kind.name)
    plain = array if code is None else array.view(f"u{kind.itemsize}")
    if not versioned:
        capsule = plain.__dlpack__()
    else:
        export: Any = plain.__dlpack__
        try:
            capsule = export(max_version=VERSIONED)
        except TypeError:  # NumPy 2.0 exports by the older version, where all may be written to
            capsule = plain.copy().__dlpack__()
    if code is not None:
        _type_of(capsule).code = code
    return capsule


class _Taken:
    """A capsule for NumPy to take."""

    def __init__(self, capsule: Any) -> None:
        self._capsule = capsule

    def __dlpack__(self, **_options: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return CPU


def _export(source: Any, copy: bool | None) -> Any:
    """The capsule of an object of another library, in host memory."""
    kind, number = source.__dlpack_device__()
    asked: dict[str, Any] = {"max_version": VERSIONED}
    if int(kind) != CPU[0]:
        asked["dl_device"] = CPU
    if copy is not None:
        asked["copy"] = copy
    try:
        return source.__dlpack__(**asked)
    except TypeError:  # of a version before 1.0
        if int(kind) == CPU[0]:
            return source.__dlpack__()
        problem = f"an array on device ({int(kind)}, {number}) is not exported to the host"
        raise BufferError(message("from_dlpack", problem)) from None


def array_of_dlpack(source: Any, copy: bool | None) -> Array:
    """The elements of an object with `__dlpack__`, over its memory unless it makes a copy.

    Raises:
        TypeError: the object has no `__dlpack__`.
        BufferError: it does not export, or its elements have no dtype here.
    """
    if not hasattr(source, "__dlpack__") or not hasattr(source, "__dlpack_device__"):
        problem = f"takes an object with __dlpack__, not {type(source).__name__}"
        raise TypeError(message("from_dlpack", problem))
    capsule = _export(source, copy)
    kind = _type_of(capsule)
    name = _OF_CODE.get(kind.code)
    if name is not None:
        kind.code = 1  # an unsigned integer
    array = np.from_dlpack(_Taken(capsule))
    if name is not None:
        array = array.view(dt.named("from_dlpack", name).elements)
    try:
        dt.from_numpy(array.dtype)
    except DTypeError as err:
        raise BufferError(message("from_dlpack", str(err))) from err
    return array
