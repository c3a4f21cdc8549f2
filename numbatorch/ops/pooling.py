"""Largest elements of windows: max, adaptive and fractional pooling in 1, 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node, grad_enabled
from numbatorch.ops import window_reference as reference
from numbatorch.ops.binary import maximum
from numbatorch.ops.composed import composed
from numbatorch.ops.create import leaf
from numbatorch.ops.padding import pad
from numbatorch.ops.pool import max_windows
from numbatorch.ops.reduction import ValuesAndIndices, lowest
from numbatorch.ops.surface import public
from numbatorch.ops.view import clone, narrow, reshape
from numbatorch.ops.window import (
    adaptive_spans,
    counted,
    images,
    output_sizes,
    sizes,
    spans,
    strides,
)
from numbatorch.shape import Shape, numel

Array = np.ndarray[Any, Any]
Sizes = int | Sequence[int]
FEW = 16  # elements of a window up to which slices are compared
OutputSizes = int | Sequence[int | None] | None


def _of_windows(
    input: Node, lead: Shape, where: Sequence[Array], dilation: Shape
) -> ValuesAndIndices:
    """The largest element of each window, and its place in the last dimensions."""
    shape = input.shape[len(lead) :]
    ones = (1,) * (3 - len(shape))
    flat = reshape.apply(input, shape=(numel(lead), *ones, *shape))
    whole = np.array([[0, 1]])
    tables = [leaf(n, dt.int64, input.device) for n in (*[whole] * len(ones), *where)]
    parts = max_windows.parts(flat, *tables, dilation=(*ones, *dilation))
    outs = (*lead, *map(len, where))
    return ValuesAndIndices(*(reshape.apply(part, shape=outs) for part in parts))


def _of_slices(input: Node, lead: int, given: Sequence[tuple[int, ...]]) -> Node:
    """The largest elements alone, of the slices that hold the first, second, ... of each window.

    They fuse into one kernel of vectors, many times as quick as finding places.
    """
    sides: list[int] = []
    for size, outs, k, step, padding, apart in given:
        end = (outs - 1) * step + (k - 1) * apart + 1 - padding
        sides = [padding, max(end - size, 0), *sides]
    padded = pad(input, sides, value=lowest(input.dtype)) if any(sides) else input
    found: Node | None = None
    for place in product(*(range(k) for _, _, k, *_ in given)):
        part = padded
        for dim, (i, (_, outs, _, step, _, apart)) in enumerate(zip(place, given, strict=True)):
            part = narrow(part, lead + dim, i * apart, outs, step)
        found = part if found is None else maximum.apply(found, part)
    assert found is not None
    return clone.apply(found)


def _largest(
    operator: str,
    input: Node,
    rank: int,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    kernel = sizes(operator, "kernel_size", kernel_size, rank)
    steps = strides(operator, stride, kernel)
    pads = sizes(operator, "padding", padding, rank, 0)
    apart = sizes(operator, "dilation", dilation, rank)
    lead, shape = images(operator, input, rank)
    outs = counted(operator, input, kernel, steps, pads, apart, ceil_mode)
    given = zip(shape, outs, kernel, steps, pads, apart, strict=True)
    places = not return_indices and not (input.requires_grad and grad_enabled())
    if places and numel(kernel) <= FEW:
        return _of_slices(input, len(lead), tuple(given))
    found = _of_windows(input, lead, [spans(*numbers) for numbers in given], apart)
    return found if return_indices else found.values


def _adaptive(
    operator: str,
    input: Node,
    rank: int,
    output_size: int | Sequence[int | None] | None,
    return_indices: bool,
) -> Any:
    if input.dtype.kind != "f":
        raise DTypeError(message(operator, f"takes floats, not {input.dtype.name}"))
    lead, shape = images(operator, input, rank)
    outs = output_sizes(operator, output_size, shape)
    where = [adaptive_spans(size, out) for size, out in zip(shape, outs, strict=True)]
    found = _of_windows(input, lead, where, (1,) * rank)
    return found if return_indices else found.values


@composed(
    numpy=reference.largest,
    sample=reference.pooled(1, average=False),
    dtypes=dt.NUMBERS,
    peer="torch.nn.functional.max_pool1d",
)
@public("nn.functional", remembered=True)
def max_pool1d(
    input: Node,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of a signal; NaN is larger than all.

    Args:
        input: (N, C, L), or without N.
        kernel_size, stride, padding: one number each; stride is kernel_size unless given.
        dilation: from one element of a window to the next.
        ceil_mode: a last window may reach out of the padding.
        return_indices: give (values, indices), the places in L as in row-major order.

    >>> max_pool1d(tensor([[1, 3, 5, 4]]), 2)
    tensor([[3, 5]])
    """
    return _largest(
        "max_pool1d",
        input,
        1,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        return_indices,
    )


@composed(
    numpy=reference.largest,
    sample=reference.pooled(2, average=False),
    dtypes=dt.NUMBERS,
    peer="torch.nn.functional.max_pool2d",
)
@public("nn.functional", remembered=True)
def max_pool2d(
    input: Node,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of an image; NaN is larger than all.

    Args:
        input: (N, C, H, W), or without N.
        kernel_size, stride, padding: one number or one each; stride is kernel_size unless given.
        dilation: from one element of a window to the next.
        ceil_mode: a last window may reach out of the padding.
        return_indices: give (values, indices), the places in H, W as in row-major order.

    >>> max_pool2d(tensor([[[1, 3], [5, 7]]]), 2, return_indices=True).indices
    tensor([[[3]]])
    """
    return _largest(
        "max_pool2d",
        input,
        2,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        return_indices,
    )


@composed(
    numpy=reference.largest,
    sample=reference.pooled(3, average=False),
    dtypes=dt.NUMBERS,
    peer="torch.nn.functional.max_pool3d",
)
@public("nn.functional", remembered=True)
def max_pool3d(
    input: Node,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The largest element of each window of a volume; NaN is larger than all.

    Args:
        input: (N, C, D, H, W), or without N.
        kernel_size, stride, padding: one number or one each; stride is kernel_size unless given.
        dilation: from one element of a window to the next.
        ceil_mode: a last window may reach out of the padding.
        return_indices: give (values, indices), the places in D, H, W as in row-major order.

    >>> max_pool3d(nt.ones(1, 2, 2, 2), 2).shape
    (1, 1, 1, 1)
    """
    return _largest(
        "max_pool3d",
        input,
        3,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        return_indices,
    )


@composed(
    numpy=reference.adaptive_largest,
    sample=reference.adapted(1, distinct=True),
    peer="torch.nn.functional.adaptive_max_pool1d",
)
@public("nn.functional")
def adaptive_max_pool1d(
    input: Node, output_size: int | Sequence[int], return_indices: bool = False
) -> Any:
    """The largest elements of output_size windows of about the same size, which cover the input.

    Window i goes from floor(i * size / outs) to ceil((i + 1) * size / outs).

    Args:
        input: (N, C, L), or without N.
        output_size: how many windows.
        return_indices: give (values, indices), the places in L as in row-major order.

    >>> adaptive_max_pool1d(nt.ones(1, 4), 2).shape
    (1, 2)
    """
    return _adaptive("adaptive_max_pool1d", input, 1, output_size, return_indices)


@composed(
    numpy=reference.adaptive_largest,
    sample=reference.adapted(2, distinct=True),
    peer="torch.nn.functional.adaptive_max_pool2d",
)
@public("nn.functional")
def adaptive_max_pool2d(
    input: Node, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """The largest elements of output_size windows of about the same size, which cover the input.

    Window i goes from floor(i * size / outs) to ceil((i + 1) * size / outs).

    Args:
        input: (N, C, H, W), or without N.
        output_size: of windows: one number, or one or None for each dimension;
            None keeps the size.
        return_indices: give (values, indices), the places in H, W as in row-major order.

    >>> adaptive_max_pool2d(nt.ones(1, 4, 4), 2).shape
    (1, 2, 2)
    """
    return _adaptive("adaptive_max_pool2d", input, 2, output_size, return_indices)


@composed(
    numpy=reference.adaptive_largest,
    sample=reference.adapted(3, distinct=True),
    peer="torch.nn.functional.adaptive_max_pool3d",
)
@public("nn.functional")
def adaptive_max_pool3d(
    input: Node, output_size: int | Sequence[int | None] | None, return_indices: bool = False
) -> Any:
    """The largest elements of output_size windows of about the same size, which cover the input.

    Window i goes from floor(i * size / outs) to ceil((i + 1) * size / outs).

    Args:
        input: (N, C, D, H, W), or without N.
        output_size: of windows: one number, or one or None for each dimension;
            None keeps the size.
        return_indices: give (values, indices), the places in D, H, W as in row-major order.

    >>> adaptive_max_pool3d(nt.ones(1, 4, 4, 4), 2).shape
    (1, 2, 2, 2)
    """
    return _adaptive("adaptive_max_pool3d", input, 3, output_size, return_indices)
