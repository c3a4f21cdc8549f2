"""Convolution and its two adjoints: three views of one trilinear form, each others' gradients.

    sum over n, o, c, k, p of
        g[n, o, p] * weight[o, c, k] * x[n, c, p * stride + k * dilation - padding]

`convolution` is its derivative by g, `convolution_input` by x, `convolution_weight` by the weight,
so each has gradients of any order. Sizes of images are given: padding may differ between sides.
N images, C channels of x and O of g, in `groups` that do not meet; I, K and P sizes.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.ops.folding import fold_, reach, resized, windows
from numbatorch.ops.matmul import matmul_
from numbatorch.ops.operands import as_node, const, expanded
from numbatorch.ops.structured import Structured, structured
from numbatorch.ops.view import empty, permute, reshape, slice_, slice_update
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]

MOST_PHASES = 8  # convolutions that a transpose with a stride is made of


def _places(at: Shape, size: Shape, image: Shape, attrs: dict[str, Any]) -> tuple[Any, Any]:
    """Slices of images of `size` and of `image` elements that meet at place `at` of the weight."""
    there, here = [], []
    for k, n, total, s, p, d in zip(
        at, size, image, attrs["stride"], attrs["padding"], attrs["dilation"], strict=True
    ):
        first = k * d - p  # of x for output 0
        low = min(n, max(0, -(first // s)))
        end = min(n, max(low, -((first - total) // s)))
        there.append(slice(low, end))
        here.append(slice(first + low * s, first + end * s, s) if low < end else slice(0, 0))
    return tuple(there), tuple(here)


def _grouped(array: Array, axis: int, groups: int) -> Array:
    """Dimension `axis` as (groups, the rest)."""
    shape = array.shape
    sizes = (*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])
    return array.reshape(sizes)


@structured(dtypes=dt.NUMBERS, epilogue=True, strided=(1,))
def convolution(
    x: Array,
    weight: Array,
    *,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
    size: Shape,
) -> Array:
    """out[n, o, p] = sum over c, k of weight[o, c, k] * x[n, c, p * stride + k * dilation - pad].

    Args:
        x: (N, C, *I), zero outside.
        weight: (O, C / groups, *K).
        padding: zeros before the first element; may be negative.
        size: P, of the images in the result.
    Returns:
        (N, O, P), images flattened.
    """
    attrs = {"stride": stride, "padding": padding, "dilation": dilation}
    N, O = x.shape[0], weight.shape[0]  # noqa: E741
    image, w = _grouped(x, 1, groups), _grouped(weight, 0, groups)
    out = np.zeros((N, groups, O // groups, *size), x.dtype)
    for at in np.ndindex(*weight.shape[2:]):
        there, here = _places(at, size, x.shape[2:], attrs)
        part = image[(..., *here)]
        out[(..., *there)] += np.einsum("goc,ngc...->ngo...", w[(..., *at)], part)
    return out.reshape(N, O, numel(size))


@structured(dtypes=dt.NUMBERS, epilogue=True)
def convolution_input(
    g: Array,
    weight: Array,
    *,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
    size: Shape,
) -> Array:
    """out[n, c, i] = sum of weight[o, c, k] * g[n, o, p] where p * stride + k * dilation - pad = i.

    Args:
        g: (N, O, *P).
        weight: (O, C / groups, *K).
        size: I, of the images in the result.
    Returns:
        (N, C, I), images flattened.
    """
    attrs = {"stride": stride, "padding": padding, "dilation": dilation}
    N, C = g.shape[0], weight.shape[1] * groups
    image, w = _grouped(g, 1, groups), _grouped(weight, 0, groups)
    out = np.zeros((N, groups, C // groups, *size), g.dtype)
    for at in np.ndindex(*weight.shape[2:]):
        there, here = _places(at, g.shape[2:], size, attrs)
        part = image[(..., *there)]
        out[(..., *here)] += np.einsum("goc,ngo...->ngc...", w[(..., *at)], part)
    return out.reshape(N, C, numel(size))


@structured(dtypes=dt.NUMBERS, epilogue=True)
def convolution_weight(
    x: Array,
    g: Array,
    *,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    groups: int,
    size: Shape,
) -> Array:
    """out[o, c, k] = sum over n, p of g[n, o, p] * x[n, c, p * stride + k * dilation - pad].

    Args:
        x: (N, C, *I).
        g: (N, O, *P).
        size: K, of the windows.
    Returns:
        (O, C / groups * K), the rows of the weight.
    """
    attrs = {"stride": stride, "padding": padding, "dilation": dilation}
    rows = g.shape[1]
    image, other = _grouped(x, 1, groups), _grouped(g, 1, groups)
    out = np.zeros((groups, rows // groups, image.shape[2], *size), x.dtype)
    for at in np.ndindex(*size):
        there, here = _places(at, g.shape[2:], x.shape[2:], attrs)
        left, right = other[(..., *there)], image[(..., *here)]
        shape = (*left.shape[:3], numel(left.shape[3:]))
        left, right = left.reshape(shape), right.reshape(*right.shape[:3], shape[3])
        out[(..., *at)] = np.einsum("ngop,ngcp->goc", left, right)
    return out.reshape(rows, image.shape[2] * numel(size))


# What zeros around an image make of infinite weights is left open.
convolution.hides = convolution_input.hides = convolution_weight.hides = True


def _check(x: Node, other: Node, attrs: dict[str, Any]) -> None:
    rank = len(attrs["size"])
    assert x.dtype is other.dtype and len(x.shape) == len(other.shape) == rank + 2
    assert all(len(attrs[name]) == rank for name in ("stride", "padding", "dilation"))


@convolution.infer
def _(x: Node, weight: Node, **attrs: Any) -> tuple[Shape, DType]:
    _check(x, weight, attrs)
    assert x.shape[1] == weight.shape[1] * attrs["groups"]
    return (x.shape[0], weight.shape[0], numel(attrs["size"])), x.dtype


@convolution_input.infer
def _(g: Node, weight: Node, **attrs: Any) -> tuple[Shape, DType]:
    _check(g, weight, attrs)
    assert g.shape[1] == weight.shape[0]
    return (g.shape[0], weight.shape[1] * attrs["groups"], numel(attrs["size"])), g.dtype


@convolution_weight.infer
def _(x: Node, g: Node, **attrs: Any) -> tuple[Shape, DType]:
    _check(x, g, attrs)
    assert x.shape[0] == g.shape[0]
    return (g.shape[1], x.shape[1] // attrs["groups"] * numel(attrs["size"])), x.dtype


@convolution.multiplies
def _(y: Node) -> int:
    return numel(y.shape) * numel(y.inputs[1].shape[1:])


@convolution_input.multiplies
def _(x: Node) -> int:
    g, weight = x.inputs
    return numel(g.shape) * numel(weight.shape[1:])


@convolution_weight.multiplies
def _(weight: Node) -> int:
    x, g = weight.inputs
    return x.shape[0] * numel(g.shape[2:]) * numel(weight.shape)


def _derivative(op: Structured, like: Node, lhs: Node, rhs: Node, attrs: dict[str, Any]) -> Node:
    """Another view of the form, as a cotangent of `like`."""
    out = op.apply(lhs, rhs, **{**attrs, "size": like.shape[2:]})
    return reshape.apply(out, shape=like.shape)


@convolution.vjp
def _(g: Node, y: Node, x: Node, weight: Node, **attrs: Any) -> tuple[Node, Node]:
    image = reshape.apply(g, shape=(*g.shape[:2], *attrs["size"]))
    along = _derivative(convolution_input, x, image, weight, attrs)
    return along, _derivative(convolution_weight, weight, x, image, attrs)


@convolution_input.vjp
def _(h: Node, y: Node, g: Node, weight: Node, **attrs: Any) -> tuple[Node, Node]:
    image = reshape.apply(h, shape=(*h.shape[:2], *attrs["size"]))
    along = _derivative(convolution, g, image, weight, attrs)
    return along, _derivative(convolution_weight, weight, image, g, attrs)


@convolution_weight.vjp
def _(h: Node, y: Node, x: Node, g: Node, **attrs: Any) -> tuple[Node, Node]:
    channels = x.shape[1] // attrs["groups"]
    weight = reshape.apply(h, shape=(h.shape[0], channels, *attrs["size"]))
    along = _derivative(convolution_input, x, g, weight, attrs)
    return along, _derivative(convolution, g, x, weight, attrs)


def _columns(x: Node, kernel: Shape, size: Shape, attrs: dict[str, Any]) -> Node:
    """What each window reads, (N, groups, C / groups * K, P)."""
    stride, dilation, groups = attrs["stride"], attrs["dilation"], attrs["groups"]
    N, C = x.shape[:2]
    rows = C // groups * numel(kernel)
    if set(kernel) | set(stride) == {1} and x.shape[2:] == size and not any(attrs["padding"]):
        return reshape.apply(x, shape=(N, groups, rows, numel(size)))
    used = map(reach, size, kernel, stride, dilation)
    wide = resized(x, attrs["padding"], tuple(used))
    found = windows.apply(wide, kernel=kernel, stride=stride, dilation=dilation)
    return reshape.apply(found, shape=(N, groups, rows, numel(size)))


def _rows(weight: Node, N: int, groups: int) -> Node:
    """The rows of the weight for each image, (N, groups, O / groups, C / groups * K)."""
    O, C, *kernel = weight.shape  # noqa: E741
    sizes = (1, groups, O // groups, C * numel(kernel))
    return expanded(reshape.apply(weight, shape=sizes), (N, *sizes[1:]))


def _empty(out: Shape, like: Node) -> Node:
    """The sum of nothing."""
    return const(0, like.dtype, like.device, out)


def _of_nothing(node: Node) -> Node | None:
    """Zeros where no product is added."""
    return _empty(node.shape, node) if any(0 in x.shape for x in node.inputs) else None


for _op in (convolution, convolution_input, convolution_weight):
    _op.simplify(_of_nothing)


@convolution.fallback
def _(x: Node, weight: Node, *, size: Shape, **attrs: Any) -> Node:
    N, O = x.shape[0], weight.shape[0]  # noqa: E741
    shape = (N, O, numel(size))
    if 0 in x.shape or 0 in weight.shape or 0 in size:
        return _empty(shape, x)
    columns = _columns(x, weight.shape[2:], size, attrs)
    out = matmul_.apply(_rows(weight, N, attrs["groups"]), columns)
    return reshape.apply(out, shape=shape)


class _Phase(NamedTuple):
    """Every stride-th element of the transpose along one dimension, a convolution without stride.

    Attributes:
        first, size: of the elements.
        start, taps, step: of the weight's elements that meet them, from the last to the first.
        padding, dilation: of the convolution.
    """

    first: int
    size: int
    start: int
    taps: int
    step: int
    padding: int
    dilation: int


def _phase(first: int, size: int, kernel: int, stride: int, padding: int, dilation: int) -> _Phase:
    count = max(0, -(-(size - first) // stride))
    taps = [k for k in range(kernel) if (first + padding - k * dilation) % stride == 0]
    shared = math.gcd(stride, dilation)
    wide = dilation // shared
    last = taps[-1] if taps else 0
    before = (last * dilation - first - padding) // stride
    return _Phase(first, count, last, len(taps), -(stride // shared), before, wide)


def _turned(weight: Node, groups: int) -> Node:
    """The weight (O, C / groups, *K) as (C, O / groups, *K)."""
    O, C, *kernel = weight.shape  # noqa: E741
    parted = reshape.apply(weight, shape=(groups, O // groups, C, *kernel))
    order = (0, 2, 1, *range(3, len(parted.shape)))
    return reshape.apply(
        permute.apply(parted, dims=order), shape=(groups * C, O // groups, *kernel)
    )


def _of_phases(g: Node, turned: Node, phases: tuple[_Phase, ...], groups: int) -> Node:
    """The elements of the transpose in one phase of each dimension, (N, C, counts)."""
    counts = tuple(phase.size for phase in phases)
    part = slice_.apply(
        turned,
        starts=(0, 0, *(phase.start for phase in phases)),
        sizes=(*turned.shape[:2], *(phase.taps for phase in phases)),
        steps=(1, 1, *(phase.step for phase in phases)),
    )
    return convolution.apply(
        g,
        part,
        stride=(1,) * len(phases),
        padding=tuple(phase.padding for phase in phases),
        dilation=tuple(phase.dilation for phase in phases),
        groups=groups,
        size=counts,
    )


def _by_phases(g: Node, weight: Node, size: Shape, attrs: dict[str, Any]) -> Node:
    """The transpose as convolutions with the turned weight, one for each phase of the stride."""
    stride, groups = attrs["stride"], attrs["groups"]
    numbers = zip(size, weight.shape[2:], stride, attrs["padding"], attrs["dilation"], strict=True)
    axes = [[_phase(first, *row) for first in range(row[2])] for row in numbers]
    turned = _turned(weight, groups)
    shape = (g.shape[0], turned.shape[0], *size)
    out = empty(shape, g.dtype, g)
    for phases in itertools.product(*axes):
        counts = tuple(phase.size for phase in phases)
        part = (*shape[:2], *counts)
        if all(phase.taps for phase in phases) and 0 not in counts:
            value = _of_phases(g, turned, phases, groups)
            if part == shape:
                return value
            value = reshape.apply(value, shape=part)
        else:
            value = _empty(part, g)
        starts = tuple(phase.first if phase.size else 0 for phase in phases)
        out = slice_update.apply(out, value, starts=(0, 0, *starts), steps=(1, 1, *stride))
    return out


def _by_windows(g: Node, weight: Node, size: Shape, attrs: dict[str, Any]) -> Node:
    """The transpose as a product, whose windows are added up."""
    N, counts, kernel = g.shape[0], g.shape[2:], weight.shape[2:]
    groups, C = attrs["groups"], weight.shape[1] * attrs["groups"]
    wide = g.dtype.compute
    rows = _rows(as_node(weight, wide, g.device), N, groups)
    image = as_node(g, wide, g.device)
    image = reshape.apply(image, shape=(N, groups, g.shape[1] // groups, numel(counts)))
    out = matmul_.apply(permute.apply(rows, dims=(0, 1, 3, 2)), image)
    used = tuple(map(reach, counts, kernel, attrs["stride"], attrs["dilation"]))
    out = reshape.apply(out, shape=(N, C, *kernel, *counts))
    out = fold_.apply(out, size=used, stride=attrs["stride"], dilation=attrs["dilation"])
    return as_node(resized(out, tuple(-n for n in attrs["padding"]), size), g.dtype, g.device)


@convolution_input.fallback
def _(g: Node, weight: Node, *, size: Shape, **attrs: Any) -> Node:
    shape = (g.shape[0], weight.shape[1] * attrs["groups"], numel(size))
    if 0 in g.shape or 0 in weight.shape or 0 in size:
        return _empty(shape, g)
    by = _by_phases if numel(attrs["stride"]) <= MOST_PHASES else _by_windows
    return reshape.apply(by(g, weight, size, attrs), shape=shape)


@convolution_weight.fallback
def _(x: Node, g: Node, *, size: Shape, **attrs: Any) -> Node:
    N, O, *counts = g.shape  # noqa: E741
    groups = attrs["groups"]
    columns = x.shape[1] // groups * numel(size)
    if 0 in x.shape or 0 in g.shape or 0 in size:
        return _empty((O, columns), x)
    right = permute.apply(_columns(x, size, tuple(counts), attrs), dims=(1, 0, 3, 2))
    left = reshape.apply(g, shape=(N, groups, O // groups, numel(counts)))
    left = permute.apply(left, dims=(1, 2, 0, 3))  # (groups, O / groups, N, P)
    depth = N * numel(counts)
    out = matmul_.apply(
        reshape.apply(left, shape=(groups, O // groups, depth)),
        reshape.apply(right, shape=(groups, depth, columns)),
    )
    return reshape.apply(out, shape=(O, columns))


def _draw(rng: Draw) -> tuple[Shape, Shape, Shape, dict[str, Any]]:
    """Shapes of x, weight and g, and attributes; one or two dimensions of images."""
    rank = int(rng.integers(1, 4))
    B, C, O, *counts = rng.dims((0, 1, 1, *(1,) * rank), (3, 4, 4, *(5,) * rank), 2048)  # noqa: E741
    groups = int(rng.choice([1, 1, 2, 3]))
    kernel, stride, dilation = (
        tuple(int(n) for n in rng.integers(1, high, rank)) for high in (4, 3, 3)
    )
    padding = tuple(int(n) for n in rng.integers(-1, 3, rank))
    used = map(reach, counts, kernel, stride, dilation)
    ends = rng.integers(-2, 3, rank)
    image = tuple(max(1, n - p - int(end)) for n, p, end in zip(used, padding, ends, strict=True))
    attrs = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (B, C * groups, *image), (O * groups, C, *kernel), (B, O * groups, *counts), attrs


@convolution.samples
def _(rng: Draw) -> Any:
    x, weight, g, attrs = _draw(rng)
    return [rng.standard_normal(x), rng.standard_normal(weight)], {**attrs, "size": g[2:]}


@convolution_input.samples
def _(rng: Draw) -> Any:
    x, weight, g, attrs = _draw(rng)
    return [rng.standard_normal(g), rng.standard_normal(weight)], {**attrs, "size": x[2:]}


@convolution_weight.samples
def _(rng: Draw) -> Any:
    x, weight, g, attrs = _draw(rng)
    return [rng.standard_normal(x), rng.standard_normal(g)], {**attrs, "size": weight[2:]}
