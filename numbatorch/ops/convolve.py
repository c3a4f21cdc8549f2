"""Public convolutions: PyTorch's arguments, checked and turned into those of the records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import conv
from numbatorch.ops.composed import composed
from numbatorch.ops.folding import per_dimension, reach
from numbatorch.ops.operands import describe
from numbatorch.ops.structured import Structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import reshape
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Sizes = int | Sequence[int]
Function = TypeVar("Function", bound=Callable[..., Any])
PLACES = ("nt", "nn.functional")
NUMBERS: tuple[DType, ...] = dt.NUMBERS + dt.COMPLEX


def _refused(operator: str, problem: str, *operands: Node | None) -> ShapeError:
    named = zip(("input", "weight", "bias"), operands, strict=False)
    return ShapeError(
        message(operator, problem, *(f"{n} {describe(x)}" for n, x in named if x is not None))
    )


def _check(operator: str, rank: int, x: Node, weight: Node, bias: Node | None, groups: int) -> None:
    """Ranks, dtypes, groups: what convolutions and their transposes have in common."""
    operands = (x, weight, bias)
    kinds = {node.dtype for node in operands if node is not None}
    if len(kinds) > 1 or x.dtype.kind not in "fiuc":
        shown = (describe(node) for node in operands if node is not None)
        raise DTypeError(message(operator, "operands must be of one dtype of numbers", *shown))
    if len(weight.shape) != rank + 2:
        raise _refused(operator, f"the weight needs {rank + 2} dimensions", *operands)
    if len(x.shape) not in (rank + 1, rank + 2):
        problem = f"the input needs {rank + 2} dimensions, or {rank + 1} without a batch"
        raise _refused(operator, problem, *operands)
    if groups < 1:
        raise _refused(operator, f"groups is {groups}, at least 1 is needed", *operands)
    if weight.shape[0] % groups or not weight.shape[0]:
        problem = f"weight.shape[0] is {weight.shape[0]}, no multiple of {groups} groups"
        raise _refused(operator, problem, *operands)
    if 0 in weight.shape[2:]:
        raise _refused(operator, "the weight has no elements along a dimension", *operands)


def _check_bias(operator: str, channels: int, x: Node, weight: Node, bias: Node | None) -> None:
    if bias is not None and bias.shape != (channels,):
        problem = f"the bias must be ({channels},), one for each channel of the result"
        raise _refused(operator, problem, x, weight, bias)


def _sides(
    operator: str, padding: Any, kernel: Shape, stride: Shape, dilation: Shape
) -> tuple[Shape, Shape]:
    """Zeros before and behind the image, along each dimension."""
    rank = len(kernel)
    if padding == "same":
        if set(stride) != {1}:
            raise ShapeError(message(operator, f"padding='same' with stride {stride}"))
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return tuple(n // 2 for n in total), tuple(n - n // 2 for n in total)
    if isinstance(padding, str):
        if padding != "valid":
            problem = f"padding is {padding!r}, not 'same', 'valid' or numbers"
            raise ValueError(message(operator, problem))
        return (0,) * rank, (0,) * rank
    if isinstance(padding, Sequence) and any(isinstance(n, Sequence) for n in padding):
        pairs = [per_dimension(operator, "padding", n, 2, 0) for n in padding]
        if len(pairs) != rank:
            raise ShapeError(message(operator, f"padding is {padding}, not {rank} pairs"))
        return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    both = per_dimension(operator, "padding", padding, rank, 0)
    return both, both


def _with_bias(out: Node, bias: Node | None, shape: Shape) -> Node:
    """The images of the result, without the batch if there was none."""
    if bias is not None:
        out = out + reshape.apply(bias, shape=(bias.shape[0], 1))
    return reshape.apply(out, shape=shape)


def _applied(op: Structured, x: Node, weight: Node, attrs: dict[str, Any]) -> Node:
    """The operator of real numbers, or four times for complex ones."""
    if not x.dtype.is_complex:
        return op.apply(x, weight, **attrs)
    import_module("numbatorch.ops.parts")
    from numbatorch.ops.parts import complex_, imag_, real_

    a, b, c, d = (part.apply(node) for node in (x, weight) for part in (real_, imag_))

    def of(lhs: Node, rhs: Node) -> Node:
        return op.apply(lhs, rhs, **attrs)

    return complex_.apply(of(a, c) - of(b, d), of(a, d) + of(b, c))


def _convolved(
    operator: str,
    rank: int,
    x: Node,
    weight: Node,
    bias: Node | None,
    stride: Sizes,
    padding: str | int | Sequence[Any],
    dilation: Sizes,
    groups: int,
) -> Node:
    _check(operator, rank, x, weight, bias, groups)
    channels = x.shape[-rank - 1]
    if channels != weight.shape[1] * groups:
        problem = f"the input has {channels} channels, and the weight {weight.shape[1]}"
        problem += f" for each of {groups} groups" if groups > 1 else ""
        raise _refused(operator, problem, x, weight, bias)
    _check_bias(operator, weight.shape[0], x, weight, bias)
    kernel = weight.shape[2:]
    step = per_dimension(operator, "stride", stride, rank, 1)
    spacing = per_dimension(operator, "dilation", dilation, rank, 1)
    low, high = _sides(operator, padding, kernel, step, spacing)
    image = x.shape[-rank:]
    spans = (n + a + b for n, a, b in zip(image, low, high, strict=True))
    size = tuple(
        (n - reach(1, k, s, d)) // s + 1
        for n, k, s, d in zip(spans, kernel, step, spacing, strict=True)
    )
    if min(size) < 1:
        problem = f"windows of {kernel} with dilation {spacing} are larger than the padded input"
        raise _refused(operator, problem, x, weight)
    batch = x if len(x.shape) == rank + 2 else reshape.apply(x, shape=(1, *x.shape))
    attrs = {"stride": step, "padding": low, "dilation": spacing, "groups": groups, "size": size}
    out = _applied(conv.convolution, batch, weight, attrs)
    return _with_bias(out, bias, (*x.shape[: -rank - 1], weight.shape[0], *size))


def _transposed(
    operator: str,
    rank: int,
    x: Node,
    weight: Node,
    bias: Node | None,
    stride: Sizes,
    padding: Sizes,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Node:
    _check(operator, rank, x, weight, bias, groups)
    if x.shape[-rank - 1] != weight.shape[0]:
        problem = f"the input has {x.shape[-rank - 1]} channels, and the weight {weight.shape[0]}"
        raise _refused(operator, problem, x, weight, bias)
    channels = weight.shape[1] * groups
    _check_bias(operator, channels, x, weight, bias)
    step = per_dimension(operator, "stride", stride, rank, 1)
    spacing = per_dimension(operator, "dilation", dilation, rank, 1)
    pad = per_dimension(operator, "padding", padding, rank, 0)
    more = per_dimension(operator, "output_padding", output_padding, rank, 0)
    if any(n >= max(s, d) for n, s, d in zip(more, step, spacing, strict=True)):
        problem = f"output_padding {more} must be smaller than stride {step} or dilation {spacing}"
        raise _refused(operator, problem, x, weight)
    used = map(reach, x.shape[-rank:], weight.shape[2:], step, spacing)
    size = tuple(n - 2 * p + m for n, p, m in zip(used, pad, more, strict=True))
    if min(size) < 1:
        raise _refused(operator, f"padding {pad} leaves images of {size}", x, weight)
    batch = x if len(x.shape) == rank + 2 else reshape.apply(x, shape=(1, *x.shape))
    attrs = {"stride": step, "padding": pad, "dilation": spacing, "groups": groups, "size": size}
    out = _applied(conv.convolution_input, batch, weight, attrs)
    return _with_bias(out, bias, (*x.shape[: -rank - 1], channels, *size))


def _options(value: Any, rank: int) -> Shape:
    return tuple(value) if isinstance(value, tuple) else (value,) * rank


def _convolution_reference(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Array:
    """Every window times every filter."""
    rank = x.ndim - 2
    pad = _options(padding, rank)
    x = np.pad(x, ((0, 0), (0, 0), *((n, n) for n in pad)))
    spacing, step = _options(dilation, rank), _options(stride, rank)
    spans = tuple((k - 1) * d + 1 for k, d in zip(weight.shape[2:], spacing, strict=True))
    found = np.lib.stride_tricks.sliding_window_view(x, spans, tuple(range(2, rank + 2)))
    found = found[(slice(None), slice(None), *(slice(None, None, n) for n in (*step, *spacing)))]
    parts = []
    for lhs, rhs in zip(np.split(found, groups, 1), np.split(weight, groups, 0), strict=True):
        over = (1, *range(rank + 2, 2 * rank + 2))
        parts.append(np.moveaxis(np.tensordot(lhs, rhs, (over, range(1, rank + 2))), -1, 1))
    out = np.concatenate(parts, 1)
    return out if bias is None else out + bias.reshape(-1, *(1,) * rank)


def _transposed_reference(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Array:
    """Zeros between the elements of the input, then the convolution with the flipped weight."""
    rank = x.ndim - 2
    step, pad, spacing = (_options(n, rank) for n in (stride, padding, dilation))
    more = _options(output_padding, rank)
    sizes = [(n - 1) * s + 1 + m for n, s, m in zip(x.shape[2:], step, more, strict=True)]
    wide = np.zeros((*x.shape[:2], *sizes), x.dtype)
    inner = [slice(0, n - m, s) for n, m, s in zip(sizes, more, step, strict=True)]
    wide[(slice(None), slice(None), *inner)] = x
    turned = np.flip(weight, tuple(range(2, rank + 2)))
    turned = np.concatenate([part.swapaxes(0, 1) for part in np.split(turned, groups, 0)], 0)
    full = tuple(d * (k - 1) for d, k in zip(spacing, weight.shape[2:], strict=True))
    out = _convolution_reference(wide, turned, bias, padding=full, dilation=spacing, groups=groups)
    kept = [slice(p, n - p) for p, n in zip(pad, out.shape[2:], strict=True)]
    return out[(slice(None), slice(None), *kept)]


def _draw(rank: int, transposed: bool) -> Any:
    """The sampler of convolutions of `rank` dimensions."""

    def sample(rng: Draw) -> Any:
        low, high = (0, 1, 1, *(1,) * rank), (3, 4, 4, *(5,) * rank)
        N, C, O, *counts = rng.dims(low, high, 512)  # noqa: E741
        groups = int(rng.choice([1, 1, 2]))
        kernel, stride, dilation = (
            tuple(int(n) for n in rng.integers(1, most, rank)) for most in (4, 3, 3)
        )
        image = tuple(map(reach, counts, kernel, stride, dilation))
        padding = tuple(int(rng.integers(0, (n + 1) // 2)) for n in image)
        options: dict[str, Any] = {"stride": stride, "dilation": dilation, "groups": groups}
        options["padding"] = padding
        if transposed:
            operands = [(N, C * groups, *counts), (C * groups, O, *kernel), (O * groups,)]
        else:
            image = tuple(n - min(p, n - 1) for n, p in zip(image, padding, strict=True))
            operands = [(N, C * groups, *image), (O * groups, C, *kernel), (O * groups,)]
        return [rng.standard_normal(shape) for shape in operands], options

    return sample


def _recorded(rank: int, transposed: bool = False) -> Callable[[Function], Function]:
    """The record of a public convolution; what zeros around make of NaN is left open."""
    return composed(
        numpy=_transposed_reference if transposed else _convolution_reference,
        sample=_draw(rank, transposed),
        dtypes=NUMBERS,
        hides=True,
    )


@_recorded(1)
@public(*PLACES, remembered=True)
def conv1d(
    input: Node,
    weight: Node,
    bias: Node | None = None,
    stride: Sizes = 1,
    padding: str | int | Sequence[Any] = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Node:
    """The product of each filter with each window of the input: as `conv2d`, along one dimension.

    Args:
        input: (N, C, L) or (C, L).
        weight: (O, C / groups, K).
        bias: (O,) or None.
        stride, padding, dilation, groups: as in `conv2d`.
    Returns:
        (N, O, (L + 2 padding - dilation (K - 1) - 1) // stride + 1), or that without N.

    >>> conv1d(tensor([[1.0, 2.0, 4.0]]), tensor([[[1.0, -1.0]]]))
    tensor([[-1., -2.]])
    """
    options = (stride, padding, dilation, groups)
    return _convolved("conv1d", 1, input, weight, bias, *options)


@_recorded(2)
@public(*PLACES, remembered=True)
def conv2d(
    input: Node,
    weight: Node,
    bias: Node | None = None,
    stride: Sizes = 1,
    padding: str | int | Sequence[Any] = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Node:
    """The product of each filter with each window: out[n, o, p] = bias[o] + sum over c, k of
    weight[o, c, k] * input[n, c, p * stride + k * dilation - padding], input being 0 outside.

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (O, C / groups, KH, KW).
        bias: (O,) or None.
        stride, dilation: between windows and between their elements; an integer or one per side.
        padding: zeros around: an integer or one per dimension, 'valid' for none, 'same' for as many
            as keep the size. Beyond PyTorch, a pair for each dimension: before and behind.
        groups: into how many parts that do not meet the channels of both sides are divided.
    Returns:
        (N, O, PH, PW) or that without N; half types are summed in float32.
    Raises:
        ShapeError: sizes do not fit, windows are larger than the padded input.

    >>> conv2d(tensor([[[1.0, 2.0], [3.0, 4.0]]]), tensor([[[[1.0, 1.0]]]]))
    tensor([[[3.],
             [7.]]])
    """
    options = (stride, padding, dilation, groups)
    return _convolved("conv2d", 2, input, weight, bias, *options)


@_recorded(3)
@public(*PLACES, remembered=True)
def conv3d(
    input: Node,
    weight: Node,
    bias: Node | None = None,
    stride: Sizes = 1,
    padding: str | int | Sequence[Any] = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Node:
    """The product of each filter with each window of the input: as `conv2d`, over three dimensions.

    Args:
        input: (N, C, D, H, W) or (C, D, H, W).
        weight: (O, C / groups, KD, KH, KW).
        bias: (O,) or None.
        stride, padding, dilation, groups: as in `conv2d`.
    Returns:
        (N, O, PD, PH, PW), or that without N.

    >>> conv3d(tensor([[[[1.0, 2.0]]]]), tensor([[[[[3.0]]]]]))
    tensor([[[[3., 6.]]]])
    """
    options = (stride, padding, dilation, groups)
    return _convolved("conv3d", 3, input, weight, bias, *options)


@_recorded(1, transposed=True)
@public(*PLACES, remembered=True)
def conv_transpose1d(
    input: Node,
    weight: Node,
    bias: Node | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Node:
    """The transpose of `conv1d`: each element of the input adds its multiple of the filters.

    Args:
        input: (N, C, L) or (C, L).
        weight: (C, O / groups, K).
        bias: (O,) or None.
        stride, padding, output_padding, groups, dilation: as in `conv_transpose2d`.
    Returns:
        (N, O, (L - 1) stride - 2 padding + dilation (K - 1) + output_padding + 1), or without N.

    >>> conv_transpose1d(tensor([[1.0, 2.0]]), tensor([[[1.0, 10.0]]]), stride=2)
    tensor([[ 1., 10.,  2., 20.]])
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _transposed("conv_transpose1d", 1, input, weight, bias, *options)


@_recorded(2, transposed=True)
@public(*PLACES, remembered=True)
def conv_transpose2d(
    input: Node,
    weight: Node,
    bias: Node | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Node:
    """The transpose of `conv2d`, its gradient by the input: out[n, o, i] = bias[o] + the sum of
    weight[c, o, k] * input[n, c, p] over all c, p, k with p * stride + k * dilation - padding = i.

    Args:
        input: (N, C, H, W) or (C, H, W).
        weight: (C, O / groups, KH, KW).
        bias: (O,) or None.
        stride, padding, dilation, groups: of the convolution that this is the transpose of.
        output_padding: elements that the result has more at its end; fewer than stride or dilation.
    Returns:
        (N, O, IH, IW) or that without N; half types are summed in float32.

    >>> conv_transpose2d(tensor([[[1.0, 2.0]]]), tensor([[[[1.0, 10.0]]]]))
    tensor([[[ 1., 12., 20.]]])
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _transposed("conv_transpose2d", 2, input, weight, bias, *options)


@_recorded(3, transposed=True)
@public(*PLACES, remembered=True)
def conv_transpose3d(
    input: Node,
    weight: Node,
    bias: Node | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Node:
    """The transpose of `conv3d`: each element of the input adds its multiple of the filters.

    Args:
        input: (N, C, D, H, W) or (C, D, H, W).
        weight: (C, O / groups, KD, KH, KW).
        bias: (O,) or None.
        stride, padding, output_padding, groups, dilation: as in `conv_transpose2d`.
    Returns:
        (N, O, ID, IH, IW), or that without N.

    >>> conv_transpose3d(tensor([[[[1.0, 2.0]]]]), tensor([[[[[3.0]]]]]))
    tensor([[[[3., 6.]]]])
    """
    options = (stride, padding, output_padding, groups, dilation)
    return _transposed("conv_transpose3d", 3, input, weight, bias, *options)
