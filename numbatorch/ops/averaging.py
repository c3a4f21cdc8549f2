"""Means over windows: average, adaptive and power-average pooling in 1, 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, message
from numbatorch.graph import Node
from numbatorch.ops import window_reference as reference
from numbatorch.ops.activation import relu_
from numbatorch.ops.arithmetic import div
from numbatorch.ops.bands import Band, along_all, band
from numbatorch.ops.composed import composed
from numbatorch.ops.create import leaf
from numbatorch.ops.operands import as_node, const, expanded
from numbatorch.ops.reduce import mean
from numbatorch.ops.surface import public
from numbatorch.ops.unary import abs_, sign
from numbatorch.ops.window import (
    adaptive_spans,
    counted,
    images,
    output_sizes,
    sizes,
    spans,
    strides,
)

Array = np.ndarray[Any, Any]
Sizes = int | Sequence[int]
OutputSizes = int | Sequence[int | None] | None


@cache
def _sums(size: int, outs: int, kernel: int, stride: int, padding: int) -> Band:
    return _ones(spans(size, outs, kernel, stride, padding), size)


@cache
def _adaptive_sums(size: int, outs: int) -> Band:
    return _ones(adaptive_spans(size, outs), size)


def _ones(where: Array, size: int) -> Band:
    starts, counts = where.T
    return band(starts, counts, np.ones((len(where), int(counts.max(initial=0)))), size)


def _divided(total: Node, divisors: Sequence[Array], input: Node) -> Node:
    """Sums over the product of the numbers that each dimension has."""
    shape = tuple(len(numbers) for numbers in divisors)
    product = np.ones(())
    for numbers in divisors:
        product = product[..., None] * numbers
    one = product.flat[0] if product.size else 1
    if (product == one).all():
        below = const(one if total.dtype.kind == "f" else int(one), total.dtype, input.device)
    else:
        below = expanded(leaf(product.reshape(shape), total.dtype, input.device), total.shape)
    mode: Literal["trunc"] | None = None if total.dtype.kind == "f" else "trunc"
    return as_node(div(total, below, rounding_mode=mode), input.dtype, input.device)


def _average(
    operator: str,
    input: Node,
    rank: int,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Node:
    if input.dtype.kind != "f" and input.dtype is not dt.int64:
        raise DTypeError(message(operator, f"takes floats or int64, not {input.dtype.name}"))
    if divisor_override == 0:
        raise OutOfRange(message(operator, "divisor_override is 0"))
    kernel = sizes(operator, "kernel_size", kernel_size, rank)
    steps = strides(operator, stride, kernel)
    pads = sizes(operator, "padding", padding, rank, 0)
    lead, shape = images(operator, input, rank)
    outs = counted(operator, input, kernel, steps, pads, (1,) * rank, ceil_mode)
    tables, divisors = {}, []
    for number, given in enumerate(zip(shape, outs, kernel, steps, pads, strict=True)):
        size, out, k, step, pad = given
        tables[len(lead) + number] = _sums(size, out, k, step, pad)
        first = np.arange(out) * step - pad
        whole = np.minimum(first + k, size + pad) - first
        divisors.append(whole if count_include_pad else spans(size, out, k, step, pad)[:, 1])
    total = along_all(input, tables)
    if divisor_override is not None:
        divisors = [np.full(outs[0], divisor_override), *(np.ones(n) for n in outs[1:])]
    return _divided(total, divisors, input)


@composed(
    numpy=reference.average,
    sample=reference.pooled(1, average=True),
    peer="torch.nn.functional.avg_pool1d",
)
@public("nt", "nn.functional")
def avg_pool1d(
    input: Node,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Node:
    """Means of windows of a signal, with zeros around.

    Args:
        input: (N, C, L), or without N; floats, or int64, whose means are truncated.
        kernel_size, stride, padding: one number; stride is kernel_size unless given.
        ceil_mode: a last window may reach out of the padding.
        count_include_pad: means are over zeros of the padding too.

    >>> avg_pool1d(tensor([[1.0, 3.0, 5.0]]), 2, 1)
    tensor([[2., 4.]])
    """
    return _average(
        "avg_pool1d",
        input,
        1,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
    )


@composed(
    numpy=reference.average,
    sample=reference.pooled(2, average=True),
    peer="torch.nn.functional.avg_pool2d",
)
@public("nn.functional")
def avg_pool2d(
    input: Node,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Node:
    """Means of windows of an image, with zeros around.

    Args:
        input: (N, C, H, W), or without N; floats, or int64, whose means are truncated.
        kernel_size, stride, padding: one number or one each; stride is kernel_size unless given.
        ceil_mode: a last window may reach out of the padding.
        count_include_pad: means are over zeros of the padding too.
        divisor_override: divide sums by it, not by how many there are.

    >>> avg_pool2d(tensor([[[1.0, 3.0], [5.0, 7.0]]]), 2)
    tensor([[[4.]]])
    """
    return _average(
        "avg_pool2d",
        input,
        2,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


@composed(
    numpy=reference.average,
    sample=reference.pooled(3, average=True),
    peer="torch.nn.functional.avg_pool3d",
)
@public("nn.functional")
def avg_pool3d(
    input: Node,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Node:
    """Means of windows of a volume, with zeros around.

    Args:
        input: (N, C, D, H, W), or without N; floats, or int64, whose means are truncated.
        kernel_size, stride, padding: one number or one each; stride is kernel_size unless given.
        ceil_mode: a last window may reach out of the padding.
        count_include_pad: means are over zeros of the padding too.
        divisor_override: divide sums by it, not by how many there are.

    >>> avg_pool3d(nt.ones(1, 2, 2, 2), 2).shape
    (1, 1, 1, 1)
    """
    return _average(
        "avg_pool3d",
        input,
        3,
        kernel_size,
        stride,
        padding,
        ceil_mode,
        count_include_pad,
        divisor_override,
    )


def _adaptive(
    operator: str, input: Node, rank: int, output_size: int | Sequence[int | None] | None
) -> Node:
    if input.dtype.kind != "f":
        raise DTypeError(message(operator, f"takes floats, not {input.dtype.name}"))
    lead, shape = images(operator, input, rank)
    outs = output_sizes(operator, output_size, shape)
    if all(size == 1 for size in outs):
        return mean(input, tuple(range(len(lead), len(input.shape))), keepdim=True)
    tables, divisors = {}, []
    for number, (size, out) in enumerate(zip(shape, outs, strict=True)):
        tables[len(lead) + number] = _adaptive_sums(size, out)
        divisors.append(adaptive_spans(size, out)[:, 1])
    return _divided(along_all(input, tables), divisors, input)


@composed(
    numpy=reference.adaptive_average,
    sample=reference.adapted(1),
    peer="torch.nn.functional.adaptive_avg_pool1d",
)
@public("nt", "nn.functional")
def adaptive_avg_pool1d(input: Node, output_size: int | Sequence[int]) -> Node:
    """Means of output_size windows of about the same size, which cover the input.

    Window i goes from floor(i * size / outs) to ceil((i + 1) * size / outs).

    Args:
        input: (N, C, L), or without N.
        output_size: how many windows.

    >>> adaptive_avg_pool1d(nt.ones(1, 4), 2).shape
    (1, 2)
    """
    return _adaptive("adaptive_avg_pool1d", input, 1, output_size)


@composed(
    numpy=reference.adaptive_average,
    sample=reference.adapted(2),
    peer="torch.nn.functional.adaptive_avg_pool2d",
)
@public("nn.functional")
def adaptive_avg_pool2d(input: Node, output_size: int | Sequence[int | None] | None) -> Node:
    """Means of output_size windows of about the same size, which cover the input.

    Window i goes from floor(i * size / outs) to ceil((i + 1) * size / outs).

    Args:
        input: (N, C, H, W), or without N.
        output_size: of windows: one number, or one or None for each dimension;
            None keeps the size.

    >>> adaptive_avg_pool2d(nt.ones(1, 4, 4), 2).shape
    (1, 2, 2)
    """
    return _adaptive("adaptive_avg_pool2d", input, 2, output_size)


@composed(
    numpy=reference.adaptive_average,
    sample=reference.adapted(3),
    peer="torch.nn.functional.adaptive_avg_pool3d",
)
@public("nn.functional")
def adaptive_avg_pool3d(input: Node, output_size: int | Sequence[int | None] | None) -> Node:
    """Means of output_size windows of about the same size, which cover the input.

    Window i goes from floor(i * size / outs) to ceil((i + 1) * size / outs).

    Args:
        input: (N, C, D, H, W), or without N.
        output_size: of windows: one number, or one or None for each dimension;
            None keeps the size.

    >>> adaptive_avg_pool3d(nt.ones(1, 4, 4, 4), 2).shape
    (1, 2, 2, 2)
    """
    return _adaptive("adaptive_avg_pool3d", input, 3, output_size)


def _power(
    operator: str,
    input: Node,
    rank: int,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None,
    ceil_mode: bool,
) -> Node:
    """The root of (mean of the powers, times the size of a whole window), 0 where that is less."""
    dtype = input.dtype if input.dtype.kind in "fc" else dt.float32
    wide = as_node(input, dtype.compute, input.device)
    kernel = sizes(operator, "kernel_size", kernel_size, rank)
    means = _average(operator, wide**norm_type, rank, kernel, stride, 0, ceil_mode, True)
    total = sign.apply(means) * relu_.apply(abs_.apply(means)) * float(np.prod(kernel))
    return as_node(total ** (1.0 / norm_type), dtype, input.device)


@composed(
    numpy=reference.power_average,
    sample=reference.powered(1),
    peer="torch.nn.functional.lp_pool1d",
)
@public("nn.functional")
def lp_pool1d(
    input: Node,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Node:
    """(sum of x**norm_type)**(1 / norm_type) of each window.

    Args:
        input: (N, C, L), or without N.
        kernel_size, stride: one number; stride is kernel_size unless given.
        ceil_mode: a last window may reach out; its sum is scaled up to that of a whole one.

    >>> lp_pool1d(nt.ones(1, 2), 1, 2).item()
    2.0
    """
    return _power("lp_pool1d", input, 1, norm_type, kernel_size, stride, ceil_mode)


@composed(
    numpy=reference.power_average,
    sample=reference.powered(2),
    peer="torch.nn.functional.lp_pool2d",
)
@public("nn.functional")
def lp_pool2d(
    input: Node,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Node:
    """(sum of x**norm_type)**(1 / norm_type) of each window.

    Args:
        input: (N, C, H, W), or without N.
        kernel_size, stride: one number or one each; stride is kernel_size unless given.
        ceil_mode: a last window may reach out; its sum is scaled up to that of a whole one.

    >>> lp_pool2d(nt.ones(1, 2, 2), 1, 2).item()
    4.0
    """
    return _power("lp_pool2d", input, 2, norm_type, kernel_size, stride, ceil_mode)


@composed(
    numpy=reference.power_average,
    sample=reference.powered(3),
    peer="torch.nn.functional.lp_pool3d",
)
@public("nn.functional")
def lp_pool3d(
    input: Node,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
) -> Node:
    """(sum of x**norm_type)**(1 / norm_type) of each window.

    Args:
        input: (N, C, D, H, W), or without N.
        kernel_size, stride: one number or one each; stride is kernel_size unless given.
        ceil_mode: a last window may reach out; its sum is scaled up to that of a whole one.

    >>> lp_pool3d(nt.ones(1, 2, 2, 2), 1, 2).item()
    8.0
    """
    return _power("lp_pool3d", input, 3, norm_type, kernel_size, stride, ceil_mode)
