"""Tensors of one number everywhere, or of none that has a meaning; forms of other tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import device as as_device
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import find
from numbatorch.ops import create
from numbatorch.ops.numbers import fitting, require_no_loss
from numbatorch.ops.operands import describe, scalar_dtype
from numbatorch.ops.surface import names_itself
from numbatorch.shape import Shape, normalize_dim, numel, sizes_of
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.creation import Where, finished


@names_itself
def full(
    size: Any,
    fill_value: Any,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """`fill_value` everywhere; its own dtype unless one is given, for bool whether it is not 0.

    >>> full((2,), 7), full((2,), 0.5), full((2,), True)
    (tensor([7, 7]), tensor([0.5000, 0.5000]), tensor([True, True]))
    """
    value = fill_value.item() if isinstance(fill_value, np.generic | Tensor) else fill_value
    shape = shape_of("full", (size,) if isinstance(size, int) else size)
    kind = asked("full", dtype) or scalar_dtype(value)
    number = bool(value) if kind is dt.bool_ else fitting("full", value, kind)
    return finished(create.full(shape, number, kind, as_device(device)), requires_grad)


def zeros(
    *size: Any, dtype: dt.Like | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """0 everywhere, of the default dtype unless given.

    >>> zeros(2), zeros(2, 0).shape
    (tensor([0., 0.]), (2, 0))
    """
    shape = shape_of("zeros", size)
    node = create.full(shape, 0, asked("zeros", dtype) or dt.default_dtype(), as_device(device))
    return finished(node, requires_grad)


def ones(
    *size: Any, dtype: dt.Like | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """1 everywhere, of the default dtype unless given.

    >>> ones(2), ones((1, 2), dtype=nt.int8)
    (tensor([1., 1.]), tensor([[1, 1]], dtype=numbatorch.int8))
    """
    shape = shape_of("ones", size)
    node = create.full(shape, 1, asked("ones", dtype) or dt.default_dtype(), as_device(device))
    return finished(node, requires_grad)


@names_itself
def empty(
    *size: Any, dtype: dt.Like | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """Values of no meaning, which happen to be 0.

    >>> empty(2, 0).shape
    (2, 0)
    """
    return zeros(*size, dtype=dtype, device=device, requires_grad=requires_grad)


def asked(operator: str, dtype: dt.Like | None) -> DType | None:
    """The dtype that a caller named, if any."""
    kind = None if dtype is None else dt.named(operator, dtype)
    if kind is not None and kind.kind == "q":
        hint = "convert floats to it" if kind.is_storage else "quantize makes such of floats"
        raise DTypeError(message(operator, f"makes no values of {kind.name}", hint=hint))
    return kind


def shape_of(operator: str, size: Any) -> Shape:
    """Sizes given one by one or as a sequence, none of them negative."""
    shape = sizes_of(operator, tuple(size))
    if any(n < 0 for n in shape):
        raise ShapeError(message(operator, f"{shape} is not a shape"))
    return shape


@names_itself
def full_like(
    input: Tensor,
    fill_value: Any,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """`fill_value` in the shape, dtype and device of `input` unless given.

    >>> full_like(tensor([1.0, 2.0]), 7)
    tensor([7., 7.])
    """
    where = input.device if device is None else device
    kind = input.dtype if dtype is None else dtype
    return full(input.shape, fill_value, dtype=kind, device=where, requires_grad=requires_grad)


@names_itself
def zeros_like(
    input: Tensor,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """0 in the shape, dtype and device of `input` unless given.

    >>> zeros_like(tensor([True]))
    tensor([False])
    """
    return full_like(input, 0, dtype=dtype, device=device, requires_grad=requires_grad)


@names_itself
def ones_like(
    input: Tensor,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """1 in the shape, dtype and device of `input` unless given.

    >>> ones_like(tensor([1, 2]))
    tensor([1, 1])
    """
    return full_like(input, 1, dtype=dtype, device=device, requires_grad=requires_grad)


@names_itself
def empty_like(
    input: Tensor,
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Values of no meaning in the shape, dtype and device of `input` unless given.

    >>> empty_like(nt.ones(2, dtype=nt.int8)).dtype
    numbatorch.int8
    """
    return zeros_like(input, dtype=dtype, device=device, requires_grad=requires_grad)


@names_itself
def empty_strided(
    size: int | Sequence[int],
    stride: int | Sequence[int],
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Values of no meaning, neighbours in dimension i `stride[i]` elements apart.

    >>> empty_strided((2, 3), (1, 2)).stride()
    (1, 2)
    """
    shape = shape_of("empty_strided", sizes_of("empty_strided", size))
    steps = sizes_of("empty_strided", stride)
    places = 1 + sum((n - 1) * step for n, step in zip(shape, steps, strict=False))
    whole = empty(max(places, 1) if numel(shape) else 0, dtype=dtype, device=device)
    found = whole.as_strided(shape, steps)
    return found.requires_grad_() if requires_grad else found


@names_itself
def empty_permuted(
    size: int | Sequence[int],
    physical_layout: Sequence[int],
    *,
    dtype: dt.Like | None = None,
    device: Where = None,
    requires_grad: bool = False,
) -> Tensor:
    """Values of no meaning, whose dimensions lie in memory in the order of `physical_layout`.

    >>> empty_permuted((2, 3), (1, 0)).stride()
    (1, 2)
    """
    shape = shape_of("empty_permuted", sizes_of("empty_permuted", size))
    order = [normalize_dim("empty_permuted", dim, len(shape)) for dim in physical_layout]
    if sorted(order) != list(range(len(shape))):
        problem = f"{tuple(physical_layout)} is no order of {len(shape)} dimensions"
        raise ShapeError(message("empty_permuted", problem))
    laid = empty([shape[i] for i in order], dtype=dtype, device=device)
    found = laid.permute([order.index(i) for i in range(len(order))])
    return found.requires_grad_() if requires_grad else found


@names_itself
def scalar_tensor(
    s: Any, *, dtype: dt.Like | None = None, device: Where = None, requires_grad: bool = False
) -> Tensor:
    """A 0-d tensor of one number, of the default dtype unless given.

    >>> scalar_tensor(2)
    tensor(2.)
    """
    kind = dt.default_dtype() if dtype is None else dtype
    return full((), s, dtype=kind, device=device, requires_grad=requires_grad)


@names_itself
def fill(input: Tensor, value: Any) -> Tensor:
    """`value`, a number or a 0-d tensor, in the shape, dtype and device of `input`.

    Raises:
        ShapeError: `value` has dimensions.

    >>> fill(tensor([1, 2]), 7)
    tensor([7, 7])
    """
    if isinstance(value, Tensor):
        if value.shape:
            rows = (f"input {describe(input.node)}", f"value {describe(value.node)}")
            raise ShapeError(message("fill", "the value must be 0-d", *rows))
        require_no_loss("fill", value.dtype, input.dtype)
        filling: Any = value.to(dtype=input.dtype, device=input.device).node
    elif input.dtype is dt.bool_:
        filling = bool(value)
    else:
        filling = fitting("fill", value, input.dtype)
    node = input.node
    nowhere = create.full(node.shape, False, dt.bool_, node.device)
    return Tensor(find("where").apply(nowhere, node, filling))  # its gradient is 0


@names_itself
def zero_(input: Tensor) -> Tensor:
    """As `Tensor.zero_`.

    >>> x = tensor([1, 2])
    >>> zero_(x) is x, x
    (True, tensor([0, 0]))
    """
    return input.zero_()
