"""Methods of Tensor that make others like it: `new_zeros`, `new_tensor` and their kin."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from numbatorch import dtype as dt
from numbatorch.device import Device
from numbatorch.device import device as as_device
from numbatorch.errors import ShapeError, message
from numbatorch.ops.numbers import fitting
from numbatorch.ops.operands import const
from numbatorch.ops.surface import names_itself
from numbatorch.shape import numel, sizes_of
from numbatorch.tensor.base import Handle

if TYPE_CHECKING:
    from numbatorch.tensor.core import Tensor

Where = Device | str | None


class NewMethods(Handle):
    """With the dtype and on the device of this tensor unless given."""

    __slots__ = ()

    _from_data: ClassVar[Callable[..., Tensor]]  # nt.tensor

    @names_itself
    def new_full(
        self,
        size: int | Sequence[int],
        fill_value: float,
        *,
        dtype: dt.Like | None = None,
        device: Where = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """`fill_value` everywhere, with the dtype and on the device of this tensor unless given.

        >>> tensor([1]).new_full((2,), 7)
        tensor([7, 7])
        """
        kind = self.node.dtype if dtype is None else dt.named("new_full", dtype)
        where = self.node.device if device is None else as_device(device)
        value = bool(fill_value) if kind is dt.bool_ else fitting("new_full", fill_value, kind)
        shape = sizes_of("new_full", size)
        if any(n < 0 for n in shape):
            raise ShapeError(message("new_full", f"{shape} is not a shape"))
        out = self._tensor(const(value, kind, where, shape))
        return out.requires_grad_() if requires_grad else out

    @names_itself
    def new_zeros(
        self,
        *size: Any,
        dtype: dt.Like | None = None,
        device: Where = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """Zeros, with the dtype and on the device of this tensor unless given.

        >>> tensor([1]).new_zeros(2, dtype=nt.float32)
        tensor([0., 0.])
        """
        shape = sizes_of("new_zeros", size)
        return self.new_full(shape, 0, dtype=dtype, device=device, requires_grad=requires_grad)

    @names_itself
    def new_ones(
        self,
        *size: Any,
        dtype: dt.Like | None = None,
        device: Where = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """Ones, with the dtype and on the device of this tensor unless given.

        >>> tensor([True]).new_ones(2)
        tensor([True, True])
        """
        shape = sizes_of("new_ones", size)
        return self.new_full(shape, 1, dtype=dtype, device=device, requires_grad=requires_grad)

    @names_itself
    def new_empty(
        self,
        *size: Any,
        dtype: dt.Like | None = None,
        device: Where = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """Values of no meaning, with the dtype and on the device of this tensor unless given.

        >>> tensor([1]).new_empty(2, 3).shape
        (2, 3)
        """
        shape = sizes_of("new_empty", size)
        return self.new_full(shape, 0, dtype=dtype, device=device, requires_grad=requires_grad)

    @names_itself
    def new_empty_strided(
        self,
        size: int | Sequence[int],
        stride: int | Sequence[int],
        *,
        dtype: dt.Like | None = None,
        device: Where = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """Values of no meaning, neighbours in dimension i `stride[i]` elements apart.

        >>> tensor([1]).new_empty_strided((2, 3), (1, 2)).stride()
        (1, 2)
        """
        shape, steps = (sizes_of("new_empty_strided", x) for x in (size, stride))
        places = 1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=False))
        whole = self.new_full(max(places, 1) if numel(shape) else 0, 0, dtype=dtype, device=device)
        out = whole.as_strided(shape, steps)
        return out.requires_grad_() if requires_grad else out

    @names_itself
    def new_tensor(
        self,
        data: Any,
        *,
        dtype: dt.Like | None = None,
        device: Where = None,
        requires_grad: bool = False,
    ) -> Tensor:
        """A tensor with a copy of `data`, with the dtype and on the device of this unless given.

        >>> tensor([0.5]).new_tensor([1, 2])
        tensor([1., 2.])
        """
        kind = self.node.dtype if dtype is None else dt.named("new_tensor", dtype)
        where = self.node.device if device is None else as_device(device)
        return self._from_data(data, kind, where, requires_grad)
