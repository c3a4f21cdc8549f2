"""Methods of Tensor that change dtype or device, or hand the values to Python and NumPy."""

from __future__ import annotations

import builtins
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import Device
from numbatorch.device import device as as_device
from numbatorch.dtype import DType
from numbatorch.errors import DeviceError, DTypeError, GradientError, ShapeError, message
from numbatorch.graph import find
from numbatorch.ops.operands import describe
from numbatorch.ops.surface import names_itself
from numbatorch.ops.view import clone, detach
from numbatorch.shape import numel
from numbatorch.tensor import narrow
from numbatorch.tensor.base import (
    Array,
    Handle,
    detached,
    host_array,
    is_leaf,
    is_tracing,
    running,
)
from numbatorch.tensor.host import number
from numbatorch.tensor.moving import to_device
from numbatorch.tensor.views import Alias

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor


class ConversionMethods(Handle):
    """Reading values realizes them."""

    __slots__ = ()

    def to(
        self,
        *targets: Any,
        dtype: dt.Like | None = None,
        device: Any = None,
        non_blocking: builtins.bool = False,
        copy: builtins.bool = False,
    ) -> Tensor:
        """The tensor with another dtype, on another device, or like another tensor.

        Args:
            targets: a dtype or its name, a device or its name, a tensor, or a device and a dtype;
                then `non_blocking` and `copy`.
            non_blocking: nothing is waited for in any case.
            copy: make a value of its own where nothing changes, too.
        Returns:
            this tensor where nothing changes; gradients flow back from another device.
        Raises:
            BackendUnavailable: the device is not there, or what drives it is not installed.

        >>> x = tensor([1, 2])
        >>> x.to(nt.float64).dtype, x.to("cpu", nt.int8).dtype, x.to(nt.int64) is x
        (numbatorch.float64, numbatorch.int8, True)
        """
        flags = [target for target in targets if target is True or target is False]
        if flags:
            if len(flags) > 2 or targets[-len(flags) :] != tuple(flags):
                raise TypeError(message("to", f"takes non_blocking and copy last, not {targets}"))
            targets, copy = targets[: -len(flags)], flags[1] if len(flags) > 1 else copy
        for target in targets:
            if target is None:
                continue
            if isinstance(target, DType | np.dtype | type) or _names_dtype(target):
                dtype = target
            elif isinstance(target, Handle):
                dtype, device = target.node.dtype, target.node.device
            elif isinstance(target, str | Device):
                device = _named_device(target)
            else:
                problem = f"{target!r} is neither a dtype, a device nor a tensor"
                raise TypeError(message("to", problem))
        out = self._of(self._noted())
        if device is not None:
            out = out._of(to_device(out.node, as_device(device)))
        out = out if dtype is None else out._to_dtype(dt.named("to", dtype))
        return out.clone() if copy and out is self else out

    def _to_dtype(self, dtype: DType) -> Tensor:
        node = self._noted()
        if dtype is node.dtype:
            return self._of(node)
        if node.dtype.is_complex and dtype.kind in "fiu":
            problem = f"{describe(node)} as {dtype.name} loses the imaginary part"
            hint = "real, imag and abs say which part"
            warnings.warn(message("to", problem, hint=hint), UserWarning, stacklevel=3)
            return self._apply(find("real"))._to_dtype(dtype)
        if node.dtype.is_storage:
            return self._of(narrow.decoded(node))._to_dtype(dtype)
        if dtype.is_storage and node.dtype.kind != "q":
            return self._tensor(narrow.encoded(node, dtype))
        if "q" not in (dtype.kind, node.dtype.kind):
            return self._apply(find("cast"), dtype=dtype)
        if node.dtype.kind == "q" and dtype.kind == "f":
            return self._apply(find("dequantize"))._to_dtype(dtype)
        raise DTypeError(message("to", f"{describe(node)} does not convert to {dtype.name}"))

    def cpu(self) -> Tensor:
        """The tensor on device "cpu".

        >>> tensor([1]).cpu().device
        device(kind='cpu', index=0)
        """
        return self.to(device="cpu")

    @names_itself
    def cuda(self, device: builtins.int | str | None = None) -> Tensor:
        """The tensor on a GPU of NVIDIA: on the one that is given, by number or name, or the first.

        Raises:
            DeviceError: `device` is no such GPU.

        >>> tensor([1]).cuda(1).device  # doctest: +SKIP
        device(kind='cuda', index=1)
        """
        name = f"cuda:{device}" if type(device) is builtins.int else device or "cuda"
        where = as_device(str(name))
        if where.kind != "cuda":
            raise DeviceError(message("cuda", f"takes a device cuda:0, cuda:1, ..., not {where}"))
        return self.to(device=where)

    def double(self) -> Tensor:
        """The values as float64.

        >>> tensor([1]).double()
        tensor([1.], dtype=numbatorch.float64)
        """
        return self._to_dtype(dt.float64)

    def float(self) -> Tensor:
        """The values as float32; GGML blocks are decoded.

        >>> tensor([1, 2]).float()
        tensor([1., 2.])
        """
        return self._to_dtype(dt.float32)

    def half(self) -> Tensor:
        """The values as float16.

        >>> tensor([1e5]).half().item()
        inf
        """
        return self._to_dtype(dt.float16)

    def bfloat16(self) -> Tensor:
        """The values as bfloat16.

        >>> tensor([1.01]).bfloat16().item()
        1.0078125
        """
        return self._to_dtype(dt.bfloat16)

    def long(self) -> Tensor:
        """The values as int64, floats truncated.

        >>> tensor([1.9, -1.9]).long()
        tensor([ 1, -1])
        """
        return self._to_dtype(dt.int64)

    def int(self) -> Tensor:
        """The values as int32, floats truncated.

        >>> tensor([1.9, -1.9]).int()
        tensor([ 1, -1], dtype=numbatorch.int32)
        """
        return self._to_dtype(dt.int32)

    def short(self) -> Tensor:
        """The values as int16, floats truncated.

        >>> tensor([1.9]).short()
        tensor([1], dtype=numbatorch.int16)
        """
        return self._to_dtype(dt.int16)

    def char(self) -> Tensor:
        """The values as int8, floats truncated.

        >>> tensor([-1.9]).char()
        tensor([-1], dtype=numbatorch.int8)
        """
        return self._to_dtype(dt.int8)

    def byte(self) -> Tensor:
        """The values as uint8, floats truncated.

        >>> tensor([1.9]).byte()
        tensor([1], dtype=numbatorch.uint8)
        """
        return self._to_dtype(dt.uint8)

    def cfloat(self) -> Tensor:
        """The values as complex64.

        >>> tensor([1.0]).cfloat()
        tensor([1.+0.j])
        """
        return self._to_dtype(dt.complex64)

    def cdouble(self) -> Tensor:
        """The values as complex128.

        >>> tensor([1.0]).cdouble().dtype
        numbatorch.complex128
        """
        return self._to_dtype(dt.complex128)

    def bool(self) -> Tensor:
        """Whether each element is not zero.

        >>> tensor([0.0, 0.5]).bool()
        tensor([False,  True])
        """
        return self._to_dtype(dt.bool_)

    def type(self, dtype: dt.Like | None = None) -> Any:
        """The tensor with another dtype; or the name of the one that it has.

        >>> from numbatorch import tensor
        >>> tensor(1).type(), tensor(1).type("float32")
        ('numbatorch.int64', tensor(1.))
        """
        if dtype is None:
            return repr(self.node.dtype)
        return self._to_dtype(dt.named("type", dtype))

    def numpy(self) -> Array:
        """The elements as an array, read-only: it may share the tensor's memory and keeps it alive.

        bfloat16, float8 and storage types come as those of ml_dtypes, GGML blocks as their bytes.
        Where we differ from PyTorch: the array cannot be written to.

        Raises:
            GradientError: the tensor requires a gradient; use detach().numpy().

        >>> tensor([1, 2]).numpy()
        array([1, 2])
        """
        if self.node.requires_grad:
            raise GradientError(
                message(
                    "numpy",
                    "the tensor requires a gradient",
                    describe(self.node),
                    hint="use detach().numpy()",
                )
            )
        array = host_array(self._noted(), "numpy")
        return array.view(self.node.dtype.elements) if self.node.dtype.is_storage else array

    def __array__(self, dtype: Any = None, copy: builtins.bool | None = None) -> Array:
        array = self.numpy()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            if copy is False:
                raise ValueError(message("numpy", f"{self.node.dtype.name} is not {dtype} as is"))
            return array.astype(dtype)
        return array.copy() if copy else array

    # NumPy's operators give way to ours.
    __array_ufunc__ = None

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers; one number for a 0-d tensor.

        >>> tensor([[1.5], [2.0]]).tolist(), tensor(3).tolist()
        ([[1.5], [2.0]], 3)
        """
        return _plain(host_array(narrow.readable(self._noted()), "tolist")).tolist()

    def item(self) -> Any:
        """The only element, as a Python number.

        Raises:
            ShapeError: there is not exactly one element.

        >>> tensor([[2]]).item()
        2
        """
        return self._number("item")

    def _number(self, operator: str) -> Any:
        node = self._noted()
        if numel(node.shape) != 1:
            problem = "only a tensor of one element is a number"
            raise ShapeError(message(operator, problem, f"tensor {describe(node)}"))
        if not is_tracing():
            with running:
                found = number(node)
            if found is not None:
                return found
        return _plain(host_array(narrow.readable(node), operator)).item()

    def __bool__(self) -> builtins.bool:
        if numel(self.node.shape) != 1:
            raise ShapeError(
                message(
                    "bool",
                    "the truth of several elements is ambiguous"
                    if numel(self.node.shape)
                    else "a tensor without elements is neither true nor false",
                    describe(self.node),
                    hint="any() or all() of it is one truth value",
                )
            )
        return builtins.bool(self._number("bool"))

    def __float__(self) -> builtins.float:
        return builtins.float(self._number("float"))

    def __complex__(self) -> complex:
        return complex(self._number("complex"))

    def __int__(self) -> builtins.int:
        return builtins.int(self._number("int"))

    def __index__(self) -> builtins.int:
        if self.node.dtype.kind not in "iub" or self.node.shape:
            raise TypeError(
                message("index", "only a 0-d tensor of integers is one", describe(self.node))
            )
        return builtins.int(self.item())

    def detach(self) -> Tensor:
        """The same value, through which no gradient flows; it shares memory with this tensor.

        >>> x = tensor([1.0], requires_grad=True)
        >>> x.detach().requires_grad
        False
        """
        return self._view(detached(self._noted()), ((detach, {}),))

    def detach_(self) -> Tensor:
        """Stop gradients from flowing through this tensor, in place.

        Raises:
            GradientError: the tensor is a view of another, which shares its history.

        >>> (tensor([1.0], requires_grad=True) * 2).detach_().is_leaf
        True
        """
        if isinstance(self._place, Alias):
            problem = "a view shares its history with the tensor that it is of"
            raise GradientError(
                message("detach_", problem, describe(self._noted()), hint="detach()")
            )
        self._put(detached(self._noted()))
        return self._of(self.node)

    def is_nonzero(self) -> builtins.bool:
        """Whether the only element is not 0.

        Raises:
            ShapeError: there is not exactly one element.

        >>> tensor([[0.5]]).is_nonzero()
        True
        """
        return builtins.bool(self._number("is_nonzero"))

    def get_device(self) -> builtins.int:
        """The number of the tensor's GPU; -1 where it lies on none.

        >>> tensor([1]).cpu().get_device()
        -1
        """
        device = self.node.device
        return device.index if device.kind in ("cuda", "metal") else -1

    @property
    def is_cpu(self) -> builtins.bool:
        """Whether the tensor lies in the memory of the host.

        >>> tensor([1]).cpu().is_cpu
        True
        """
        return self.node.device.kind in ("cpu", "numpy")

    @property
    def is_cuda(self) -> builtins.bool:
        """Whether the tensor lies on a GPU of NVIDIA.

        >>> tensor([1]).cpu().is_cuda
        False
        """
        return self.node.device.kind == "cuda"

    def clone(self) -> Tensor:
        """The same value as one of its own, which gradients flow through.

        Nothing is copied before one of the two changes.

        >>> x = tensor([1])
        >>> y = x.clone().add_(1)
        >>> x, y
        (tensor([1]), tensor([2]))
        """
        return self._of(clone.apply(self._noted()))

    def requires_grad_(self, requires_grad: builtins.bool = True) -> Tensor:
        """Make this tensor a leaf whose `.grad` is filled by `backward`, or stop that; in place.

        Raises:
            DTypeError: the tensor is neither of floats nor of complex numbers.
            GradientError: the tensor was computed from ones that require a gradient.

        >>> tensor([1.0]).requires_grad_().requires_grad
        True
        """
        node = self._noted()
        if node.requires_grad != requires_grad:
            if requires_grad:
                self._become_leaf(node)
            elif is_leaf(node):
                self._put(detached(node))
                if isinstance(self._place, Alias):
                    self._place.leaf = False
            else:
                raise GradientError(
                    message(
                        "requires_grad_",
                        "only a leaf can stop requiring a gradient",
                        describe(node),
                        hint="use detach()",
                    )
                )
        return self._of(self.node)


def _names_dtype(target: Any) -> builtins.bool:
    return isinstance(target, str) and (target in dt.by_name or target in dt.storage_by_name)


def _named_device(target: str | Device) -> Device:
    try:
        return as_device(target)
    except DeviceError as err:
        problem = f"{target!r} names neither a dtype nor a device"
        raise DeviceError(message("to", problem, str(err))) from None


def _plain(array: Array) -> Array:
    """The array in a type whose elements Python knows."""
    return array if array.dtype.kind in "fiubc" else array.astype(np.float32)
