"""Windows that slide over the last dimensions, and `fold`, which adds them up where they overlap.

With a product of matrices they make convolutions where a device has no kernel of these.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.layout import Layout
from numbatorch.ops import view as views
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduce import sum_
from numbatorch.ops.registry import view
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Sizes = int | Sequence[int]


def reach(count: int, kernel: int, stride: int, dilation: int) -> int:
    """Elements from the first to the last that `count` windows read."""
    return (count - 1) * stride + (kernel - 1) * dilation + 1


def _windows_layout(layout: Layout, *, kernel: Shape, stride: Shape, dilation: Shape) -> Layout:
    lead = len(layout.shape) - len(kernel)
    sizes, strides = layout.shape[lead:], layout.strides[lead:]
    counts = tuple(
        (n - d * (k - 1) - 1) // s + 1
        for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)
    )
    within = tuple(n * d for n, d in zip(strides, dilation, strict=True))
    between = tuple(n * s for n, s in zip(strides, stride, strict=True))
    return Layout(
        (*layout.shape[:lead], *kernel, *counts),
        (*layout.strides[:lead], *within, *between),
        layout.offset,
    )


@view(_windows_layout)
def windows(x: Array, *, kernel: Shape, stride: Shape, dilation: Shape) -> Array:
    """out[..., k, p] = x[..., p * stride + k * dilation]: (..., *I) to (..., *K, *P)."""
    rank = len(kernel)
    lead = x.ndim - rank
    for axis, (k, s, d) in enumerate(zip(kernel, stride, dilation, strict=True)):
        count = (x.shape[lead + 2 * axis] - d * (k - 1) - 1) // s + 1
        places = np.arange(k)[:, None] * d + np.arange(count) * s
        x = np.take(x, places, lead + 2 * axis)
    within, between = (range(lead + first, x.ndim, 2) for first in (0, 1))
    return x.transpose(*range(lead), *within, *between)


@windows.infer
def _(x: Node, *, kernel: Shape, stride: Shape, dilation: Shape) -> tuple[Shape, DType]:
    views.reject_blocks("windows", x)
    lead = len(x.shape) - len(kernel)
    assert lead >= 0 and len(kernel) == len(stride) == len(dilation)
    layout = Layout.contiguous(x.shape)
    found = _windows_layout(layout, kernel=kernel, stride=stride, dilation=dilation)
    if min(found.shape[lead:], default=1) <= 0:
        raise ShapeError(message("windows", f"of {kernel} do not fit", describe(x)))
    return found.shape, x.dtype


@windows.vjp
def _(g: Node, y: Node, x: Node, *, kernel: Shape, stride: Shape, dilation: Shape) -> Node:
    size = x.shape[len(x.shape) - len(kernel) :]
    return as_node(fold_.apply(g, size=size, stride=stride, dilation=dilation), x.dtype, x.device)


def _draw_windows(rng: Draw) -> tuple[Shape, dict[str, Any]]:
    """The shape of what windows slide over, and their attributes."""
    lead, first, second = rng.dims((0, 1, 1), (3, 7, 7))
    kernel, stride, dilation = (
        tuple(int(n) for n in rng.integers(1, high, 2)) for high in (4, 4, 3)
    )
    counts = zip((first, second), kernel, stride, dilation, strict=True)
    size = tuple(reach(n, k, s, d) + int(rng.integers(0, s)) for n, k, s, d in counts)
    return (lead, *size), {"kernel": kernel, "stride": stride, "dilation": dilation}


@windows.samples
def _(rng: Draw) -> Any:
    shape, attrs = _draw_windows(rng)
    return [rng.standard_normal(shape)], attrs


@structured(dtypes=dt.NUMBERS, by_parts=True)
def fold_(x: Array, *, size: Shape, stride: Shape, dilation: Shape) -> Array:
    """out[..., i] = sum of x[..., k, p] where p * stride + k * dilation = i: the sums of windows.

    Args:
        x: (..., *K, *P).
        size: the last dimensions of the result, at least what the windows reach.
    Returns:
        (..., *size), of the dtype that x is computed in: sums are not rounded to half types.
    """
    rank = len(size)
    lead, kernel = x.shape[: x.ndim - 2 * rank], x.shape[x.ndim - 2 * rank : x.ndim - rank]
    out = np.zeros((*lead, *size), x.dtype)
    for at in np.ndindex(*kernel):
        sizes = zip(at, x.shape[x.ndim - rank :], stride, dilation, strict=True)
        places: tuple[Any, ...] = (..., *(slice(k * d, k * d + n * s, s) for k, n, s, d in sizes))
        out[places] += x[(slice(None),) * len(lead) + at]
    return out


@fold_.infer
def _(x: Node, *, size: Shape, stride: Shape, dilation: Shape) -> tuple[Shape, DType]:
    rank = len(size)
    assert rank <= 3, "what kernels walk"
    lead, kernel, counts = _parted(x.shape, rank)
    sizes = zip(size, counts, kernel, stride, dilation, strict=True)
    assert all(n >= reach(p, k, s, d) for n, p, k, s, d in sizes), (x.shape, size)
    return (*lead, *size), x.dtype.compute if x.dtype.kind == "f" else x.dtype


def _parted(shape: Shape, rank: int) -> tuple[Shape, Shape, Shape]:
    """Leading dimensions, sizes of windows, counts of windows."""
    end = len(shape) - rank
    return shape[: end - rank], shape[end - rank : end], shape[end:]


@fold_.vjp
def _(g: Node, y: Node, x: Node, *, size: Shape, stride: Shape, dilation: Shape) -> Node:
    _, kernel, counts = _parted(x.shape, len(size))
    sizes = zip(counts, kernel, stride, dilation, strict=True)
    used = tuple(reach(*numbers) for numbers in sizes)
    part = resized(as_node(g, x.dtype, x.device), (0,) * len(size), used)
    return windows.apply(part, kernel=kernel, stride=stride, dilation=dilation)


@fold_.fallback
def _(x: Node, *, size: Shape, stride: Shape, dilation: Shape) -> Node:
    """Each position of a window is written apart, then all are added."""
    if x.dtype.kind == "f":
        x = as_node(x, x.dtype.compute, x.device)
    lead, kernel, counts = _parted(x.shape, len(size))
    out = views.empty((numel(kernel), *lead, *size), x.dtype, x)
    zeros = const(0.0, x.dtype, x.device, out.shape)
    out = views.slice_update.apply(
        out, zeros, starts=(0,) * len(out.shape), steps=(1,) * len(out.shape)
    )
    ones = (0,) * len(lead)
    for number, at in enumerate(itertools.product(*map(range, kernel))):
        value = views.slice_.apply(
            x,
            starts=(*ones, *at, *(0,) * len(size)),
            sizes=(*lead, *(1,) * len(size), *counts),
            steps=(1,) * len(x.shape),
        )
        starts = (k * d for k, d in zip(at, dilation, strict=True))
        out = views.slice_update.apply(
            out,
            views.reshape.apply(value, shape=(1, *lead, *counts)),
            starts=(number, *ones, *starts),
            steps=(1, *(1,) * len(lead), *stride),
        )
    return views.reshape.apply(sum_.apply(out, dims=(0,)), shape=(*lead, *size))


@fold_.samples
def _(rng: Draw) -> Any:
    shape, attrs = _draw_windows(rng)
    kernel = attrs.pop("kernel")
    sizes = zip(shape[1:], kernel, attrs["stride"], attrs["dilation"], strict=True)
    counts = tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in sizes)
    return [rng.standard_normal((shape[0], *kernel, *counts))], {**attrs, "size": shape[1:]}


def resized(x: Node, low: Shape, size: Shape) -> Node:
    """The last dimensions with `low` zeros before them, cut or filled up to `size`.

    A negative `low` leaves elements out.
    """
    lead = len(x.shape) - len(size)
    if x.shape[lead:] == size and not any(low):
        return x
    firsts = tuple(max(0, -n) for n in low)
    kept = tuple(
        max(0, min(have - first, wanted - max(0, n)))
        for n, have, first, wanted in zip(low, x.shape[lead:], firsts, size, strict=True)
    )
    starts, sizes = (*(0,) * lead, *firsts), (*x.shape[:lead], *kept)
    if sizes != x.shape:
        starts = tuple(0 if n == 0 else start for n, start in zip(sizes, starts, strict=True))
        x = views.slice_.apply(x, starts=starts, sizes=sizes, steps=(1,) * len(sizes))
    if kept == size:
        return x
    base = const(0.0, x.dtype, x.device, (*x.shape[:lead], *size))
    if 0 in x.shape:
        return expanded(base, base.shape)
    starts = (*(0,) * lead, *(max(0, n) for n in low))
    return views.slice_update.apply(base, x, starts=starts, steps=(1,) * len(starts))


def per_dimension(operator: str, name: str, value: Sizes, rank: int, least: int) -> Shape:
    """One integer for each of `rank` dimensions, of an integer or a sequence of them."""
    given = tuple(value) if isinstance(value, Sequence) else (value,)
    found = given * rank if len(given) == 1 else given
    if len(found) != rank:
        problem = f"{name} is {value}, not an integer or {rank} of them"
        raise ShapeError(message(operator, problem))
    for size in found:
        if isinstance(size, bool) or not hasattr(size, "__index__"):
            raise TypeError(message(operator, f"{name} is {value!r}, not integers"))
        if size < least:
            raise ShapeError(message(operator, f"{name} is {value}, at least {least} is needed"))
    return tuple(int(n) for n in found)


def _sliding(
    operator: str, kernel_size: Sizes, dilation: Sizes, padding: Sizes, stride: Sizes
) -> tuple[Shape, Shape, Shape, Shape]:
    return (
        per_dimension(operator, "kernel_size", kernel_size, 2, 1),
        per_dimension(operator, "dilation", dilation, 2, 1),
        per_dimension(operator, "padding", padding, 2, 0),
        per_dimension(operator, "stride", stride, 2, 1),
    )


def _counts(
    operator: str, size: Shape, kernel: Shape, spacing: Shape, pad: Shape, step: Shape, shown: str
) -> Shape:
    """How many windows there are along each dimension."""
    sizes = zip(size, kernel, spacing, pad, step, strict=True)
    counts = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in sizes)
    if min(counts) < 1:
        problem = f"windows of {kernel} with dilation {spacing} are larger than the padded input"
        raise ShapeError(message(operator, problem, shown, f"padding {pad}"))
    return counts


def _unfold_reference(
    x: Array, *, kernel_size: Any, dilation: Any, padding: Any, stride: Any
) -> Array:
    pad = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    rows = []
    for i, j in np.ndindex(*kernel_size):
        last = [
            n - d * (k - 1) for n, d, k in zip(pad.shape[2:], dilation, kernel_size, strict=True)
        ]
        top, left = i * dilation[0], j * dilation[1]
        part = pad[:, :, top : top + last[0] : stride[0], left : left + last[1] : stride[1]]
        rows.append(part.reshape(*part.shape[:2], part.shape[2] * part.shape[3]))
    out = np.stack(rows, 2)
    return out.reshape(out.shape[0], out.shape[1] * out.shape[2], out.shape[3])


def _draw_unfold(rng: Draw) -> Any:
    B, C, H, W = rng.dims((0, 1, 1, 1), (3, 3, 6, 6))
    options = {
        name: tuple(int(n) for n in rng.integers(low, high, 2))
        for name, low, high in (("padding", 0, 3), ("stride", 1, 4), ("dilation", 1, 3))
    }
    most = [min(3, (n + 2 * p - 1) // d + 1) for n, p, d in zip((H, W), *_pd(options), strict=True)]
    kernel = tuple(int(rng.integers(1, n + 1)) for n in most)
    return [rng.standard_normal((B, C, H, W))], {**options, "kernel_size": kernel}


def _pd(options: dict[str, Shape]) -> tuple[Shape, Shape]:
    return options["padding"], options["dilation"]


@composed(
    numpy=_unfold_reference,
    sample=_draw_unfold,
    dtypes=dt.NUMBERS,
    name="unfold_images",
    peer="torch.nn.functional.unfold",
)
@public("nn.functional")
def unfold(
    input: Node, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Node:
    """The windows of images as columns: out[n, (c, i, j), l] is element (i, j) of window l.

    Args:
        input: (N, C, H, W) or (C, H, W).
        kernel_size, dilation, padding, stride: an integer, or one for H and one for W.
    Returns:
        (N, C * kernel elements, windows).

    >>> unfold(tensor([[[[1, 2, 3]]]]), (1, 2))
    tensor([[[1, 2],
             [2, 3]]])
    """
    kernel, spacing, pad, step = _sliding("unfold", kernel_size, dilation, padding, stride)
    rank = len(input.shape)
    if rank not in (3, 4) or 0 in input.shape[rank - 3 :]:
        problem = "needs an input (N, C, H, W) or (C, H, W), only N may be 0"
        raise ShapeError(message("unfold", problem, describe(input)))
    lead, size = input.shape[:-3], input.shape[-2:]
    counts = _counts("unfold", size, kernel, spacing, pad, step, describe(input))
    sizes = zip(counts, kernel, step, spacing, strict=True)
    wide = resized(input, pad, tuple(reach(*numbers) for numbers in sizes))
    out = windows.apply(wide, kernel=kernel, stride=step, dilation=spacing)
    rows = input.shape[-3] * numel(kernel)
    out = views.reshape.apply(out, shape=(*lead, rows, numel(counts)))
    return views.clone.apply(out)


def _fold_reference(x: Array, *, output_size: Any, kernel_size: Any, **options: Any) -> Array:
    """The adjoint of unfold, by the places that unfold takes elements from."""
    channels = x.shape[1] // int(np.prod(kernel_size))
    places = np.arange(1, channels * int(np.prod(output_size)) + 1, dtype=np.int64)
    places = places.reshape(1, channels, *output_size)
    where = _unfold_reference(places, kernel_size=kernel_size, **options)[0]
    out = np.zeros((x.shape[0], channels * int(np.prod(output_size)) + 1), x.dtype)
    for n in range(x.shape[0]):
        np.add.at(out[n], where, x[n])
    return out[:, 1:].reshape(x.shape[0], channels, *output_size)


def _draw_fold(rng: Draw) -> Any:
    (image,), options = _draw_unfold(rng)
    columns = _unfold_reference(image, **options)
    return [columns], {**options, "output_size": image.shape[2:]}


@composed(
    numpy=_fold_reference,
    sample=_draw_fold,
    dtypes=dt.NUMBERS,
    name="fold_images",
    peer="torch.nn.functional.fold",
)
@public("nn.functional")
def fold(
    input: Node,
    output_size: Sizes,
    kernel_size: Sizes,
    dilation: Sizes = 1,
    padding: Sizes = 0,
    stride: Sizes = 1,
) -> Node:
    """Add the columns that `unfold` makes to the places of images that it takes them from.

    Args:
        input: (N, C * kernel elements, windows), or without N.
        output_size: H and W.
        kernel_size, dilation, padding, stride: an integer, or one for H and one for W.
    Returns:
        (N, C, H, W), or without N.
    Raises:
        ShapeError: the blocks are not those of `output_size`.

    >>> fold(tensor([[[1, 2], [2, 3]]]), (1, 3), (1, 2))
    tensor([[[[1, 4, 3]]]])
    """
    kernel, spacing, pad, step = _sliding("fold", kernel_size, dilation, padding, stride)
    size = per_dimension("fold", "output_size", output_size, 2, 1)
    rank, area = len(input.shape), numel(kernel)
    if rank not in (2, 3) or 0 in input.shape[rank - 2 :] or input.shape[-2] % area:
        problem = f"needs an input (N, C * {area}, windows) or (C * {area}, windows)"
        raise ShapeError(message("fold", problem, describe(input)))
    counts = _counts("fold", size, kernel, spacing, pad, step, describe(input))
    if numel(counts) != input.shape[-1]:
        problem = f"output_size {size} has {counts[0]} x {counts[1]} windows"
        raise ShapeError(message("fold", problem, describe(input)))
    lead = (*input.shape[:-2], input.shape[-2] // area)
    kind = dt.int64 if input.dtype.kind == "b" else input.dtype  # of truths there is any
    parted = views.reshape.apply(input, shape=(*lead, *kernel, *counts))
    (out,) = fold_.parts(
        as_node(parted, kind, input.device),
        size=tuple(n + 2 * p for n, p in zip(size, pad, strict=True)),
        stride=step,
        dilation=spacing,
    )
    return as_node(resized(out, tuple(-p for p in pad), size), input.dtype, input.device)
