"""The way back of max pooling, pooling in windows that are drawn, and channels in another order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import create
from numbatorch.ops.composed import composed
from numbatorch.ops.create import iota
from numbatorch.ops.index import gather
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.pool import put_back
from numbatorch.ops.reduce import max_with_index
from numbatorch.ops.reduction import ValuesAndIndices
from numbatorch.ops.shaping import reshape, transpose, unsqueeze
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat
from numbatorch.ops.window import images, output_sizes, sizes, strides
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Sizes = int | Sequence[int]


def _unpooled(
    operator: str,
    input: Node,
    indices: Node,
    rank: int,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Sizes,
    output_size: Sizes | None,
) -> Node:
    shown = (f"input {describe(input)}", f"indices {describe(indices)}")
    if indices.dtype is not dt.int64:
        raise DTypeError(message(operator, "indices must be int64", *shown))
    if indices.shape != input.shape:
        raise ShapeError(message(operator, "input and indices must have one shape", *shown))
    kernel = sizes(operator, "kernel_size", kernel_size, rank)
    steps = strides(operator, stride, kernel)
    pads = sizes(operator, "padding", padding, rank, 0)
    lead, shape = images(operator, input, rank)
    plain = [
        (size - 1) * step - 2 * pad + k
        for size, k, step, pad in zip(shape, kernel, steps, pads, strict=True)
    ]
    outs = tuple(plain)
    if output_size is not None:
        given = tuple(output_size) if isinstance(output_size, Sequence) else (output_size,) * rank
        outs = given[2:] if len(given) == rank + 2 else given
        near = len(outs) == rank and all(
            abs(out - usual) < step for out, usual, step in zip(outs, plain, steps, strict=True)
        )
        if not near:
            problem = f"output_size {given} is not within a stride of {tuple(plain)}"
            raise ShapeError(message(operator, problem, *shown))
    if min(outs) < 1:
        raise ShapeError(message(operator, f"the result would have the sizes {outs}", *shown))
    flat = (numel(lead), numel(shape))
    out = put_back.apply(reshape(input, flat), reshape(indices, flat), size=numel(outs))
    return reshape(out, (*lead, *outs))


def _put(x: Array, indices: Array, *, kernel_size: int) -> Array:
    outs = tuple(size * kernel_size for size in x.shape[2:])
    out = np.zeros((*x.shape[:2], int(np.prod(outs))), x.dtype)
    np.put_along_axis(out, indices.reshape(*x.shape[:2], -1), x.reshape(*x.shape[:2], -1), 2)
    return out.reshape(*x.shape[:2], *outs)


def _sample(rank: int) -> Any:
    def sample(rng: Draw) -> Any:
        N, C, *shape = rng.dims((1,) * (rank + 2), (3, 3, *[4] * rank), most=67)
        size = int(np.prod(shape))
        drawn = np.argsort(rng.random((N, C, size * 2**rank)), -1)[..., :size]
        x = rng.standard_normal((N, C, *shape))
        return [x, drawn.reshape(N, C, *shape)], {"kernel_size": 2}

    return sample


def _starts(samples: Node, size: int, outs: int, kernel: int) -> Node:
    """(N, C, outs): where windows of drawn distances begin, the last of them at the end."""
    last = const(size - kernel, dt.int64, samples.device, (*samples.shape, 1))
    if outs == 1:
        return last
    exact = const(size - kernel, samples.dtype, samples.device)
    alpha = exact / const(outs - 1, samples.dtype, samples.device)
    first = unsqueeze(samples, -1)
    steps = as_node(iota(outs - 1, samples.device), samples.dtype, samples.device)
    shape = (*samples.shape, outs - 1)
    moved = (expanded(steps, shape) + expanded(first, shape)) * expanded(alpha, shape)
    begun = expanded(first, shape) * expanded(alpha, shape)
    found, zero = (as_node(node, dt.int64, samples.device) for node in (moved, begun))
    return cat([found - zero, last], -1)


def _windows(
    operator: str, input: Node, rank: int, kernel: Shape, outs: Shape, samples: Node | None
) -> tuple[Node, Node]:
    """Values and places of the largest elements of windows that begin at drawn places."""
    lead, shape = images(operator, input, rank)
    N, C = lead if len(lead) == 2 else (1, *lead)
    if samples is None:
        drawn = create.drawn("random_uniform", (N, C, rank), create.next_key(input.device))
        samples = as_node(drawn, input.dtype, input.device)
    if samples.shape != (N, C, rank) or samples.dtype is not input.dtype:
        wanted = f"_random_samples must be {(N, C, rank)} {input.dtype.name}"
        raise ShapeError(message(operator, wanted, f"_random_samples {describe(samples)}"))
    place: Any = 0
    whole = (N, C, *outs, *kernel)
    for number, (size, out, k) in enumerate(zip(shape, outs, kernel, strict=True)):
        if not 1 <= out <= size - k + 1:
            problem = f"{out} windows of {k} do not fit"
            raise ShapeError(message(operator, problem, f"input {describe(input)}"))
        which = number if rank == 3 else rank - 1 - number  # as PyTorch reads the samples
        starts = _starts(find("select").apply(samples, dim=2, index=which), size, out, k)
        tall = [1] * (2 * rank)
        tall[number] = out
        steps = [1] * (2 * rank)
        steps[rank + number] = k
        begun = expanded(reshape(starts, (N, C, *tall)), whole)
        place = place * size + begun + expanded(reshape(iota(k, input.device), steps), whole)
    index = reshape(place, (N * C, numel(whole[2:])))
    found = gather.apply(reshape(input, (N * C, numel(shape))), index)
    rows = (N * C, numel(outs), numel(kernel))
    values, chosen = max_with_index.parts(reshape(found, rows), dims=(2,))
    first = reshape(chosen, (N * C, numel(outs), 1))
    places = gather.apply(reshape(index, rows), first)
    return reshape(values, (*lead, *outs)), reshape(places, (*lead, *outs))


def _fractional(
    operator: str,
    input: Node,
    rank: int,
    kernel_size: Sizes,
    output_size: Sizes | None,
    output_ratio: float | Sequence[float] | None,
    return_indices: bool,
    samples: Node | None,
) -> Any:
    if input.dtype.kind != "f":
        raise DTypeError(message(operator, f"takes floats, not {input.dtype.name}"))
    if (output_size is None) == (output_ratio is None):
        raise ShapeError(message(operator, "needs one of output_size and output_ratio"))
    kernel = sizes(operator, "kernel_size", kernel_size, rank)
    shape = images(operator, input, rank)[1]
    if output_ratio is None:
        outs = output_sizes(operator, output_size, shape)
    else:
        ratios = output_ratio if isinstance(output_ratio, Sequence) else (output_ratio,) * rank
        if len(ratios) != rank or not all(0 < ratio < 1 for ratio in ratios):
            raise OutOfRange(message(operator, f"output_ratio {output_ratio} is not in (0, 1)"))
        outs = tuple(int(n * ratio) for n, ratio in zip(shape, ratios, strict=True))
    values, places = _windows(operator, input, rank, kernel, outs, samples)
    return ValuesAndIndices(values, places) if return_indices else values


def _drawn_windows(x: Array, samples: Array, *, kernel_size: int, output_size: int) -> Array:
    """Window by window."""
    rank = x.ndim - 2
    out = np.empty((*x.shape[:2], *[output_size] * rank), x.dtype)
    for n, c, *place in np.ndindex(out.shape):
        parts = []
        for axis, i in enumerate(place):
            room = x.shape[2 + axis] - kernel_size
            u = samples[n, c, axis if rank == 3 else rank - 1 - axis]
            alpha = room / max(output_size - 1, 1)
            start = room if i == output_size - 1 else int((i + u) * alpha) - int(u * alpha)
            parts.append(slice(start, start + kernel_size))
        out[(n, c, *place)] = x[(n, c, *parts)].max()
    return out


def _fractional_sample(rank: int) -> Any:
    def sample(rng: Draw) -> Any:
        N, C, *shape = rng.dims((1, 1, *[5] * rank), (3, 3, *[8] * rank), most=67)
        size = int(N * C * np.prod(shape))
        x = rng.permutation(size).reshape(N, C, *shape) / 4
        samples = rng.integers(1, 32, (N, C, rank)) / 32 - 1 / 77
        return [x, samples], {"kernel_size": 2, "output_size": int(rng.integers(1, 4))}

    return sample


def _with_samples(function: Any, nodes: Any, attrs: Any) -> Any:
    return function(nodes[0], **attrs, _random_samples=nodes[1])


def _shuffled(x: Array, *, groups: int) -> Array:
    N, C, *rest = x.shape
    return x.reshape(N, groups, C // groups, *rest).swapaxes(1, 2).reshape(x.shape)


def _shuffled_sample(rng: Draw) -> Any:
    N, G, K, H = rng.dims((0, 1, 1, 0), (3, 4, 4, 5))
    return [rng.standard_normal((N, G * K, H))], {"groups": G}


@composed(
    numpy=_shuffled,
    sample=_shuffled_sample,
    dtypes=dt.PLAIN + dt.COMPLEX,
    peer="torch.channel_shuffle",
)
@public("nt", "nn.functional", aliases=("native_channel_shuffle",))
def channel_shuffle(input: Node, groups: int) -> Node:
    """Channel j of group i becomes channel i of group j.

    Args:
        input: (N, C, ...), with one more dimension at least.
        groups: into which the C channels are divided.
    Raises:
        ShapeError: `groups` does not divide the channels.
    Source: https://arxiv.org/abs/1707.01083

    >>> channel_shuffle(tensor([[[1], [2], [3], [4]]]), 2).flatten()
    tensor([1, 3, 2, 4])
    """
    shown = f"input {describe(input)}"
    if len(input.shape) < 3:
        raise ShapeError(message("channel_shuffle", "needs three dimensions", shown))
    N, C, *rest = input.shape
    if groups < 1 or C % groups:
        raise ShapeError(message("channel_shuffle", f"{C} channels in {groups} groups", shown))
    parted = reshape(input, (N, groups, C // groups, *rest))
    return reshape(transpose(parted, 1, 2), input.shape)


@composed(
    numpy=_put,
    sample=_sample(1),
    peer="torch.nn.functional.max_unpool1d",
    call=lambda function, nodes, attrs: function(*nodes, **attrs),
)
@public("nn.functional")
def max_unpool1d(
    input: Node,
    indices: Node,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> Node:
    """Zeros with each element where max_pool1d found it; of equal places the last counts.

    Args:
        input, indices: what max_pool1d gives with return_indices.
        kernel_size, stride, padding: as there.
        output_size: L of the result, less than a stride from what they would be.
    Raises:
        OutOfRange: an index is not in the result; when that is realized.

    >>> x = tensor([[7.0]])
    >>> max_unpool1d(x, nt.zeros_like(x).long(), 2).sum().item()
    7.0
    """
    given = (kernel_size, stride, padding, output_size)
    return _unpooled("max_unpool1d", input, indices, 1, *given)


@composed(
    numpy=_put,
    sample=_sample(2),
    peer="torch.nn.functional.max_unpool2d",
    call=lambda function, nodes, attrs: function(*nodes, **attrs),
)
@public("nn.functional")
def max_unpool2d(
    input: Node,
    indices: Node,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> Node:
    """Zeros with each element where max_pool2d found it; of equal places the last counts.

    Args:
        input, indices: what max_pool2d gives with return_indices.
        kernel_size, stride, padding: as there.
        output_size: H, W of the result, less than a stride from what they would be.
    Raises:
        OutOfRange: an index is not in the result; when that is realized.

    >>> x = tensor([[[7.0]]])
    >>> max_unpool2d(x, nt.zeros_like(x).long(), 2).sum().item()
    7.0
    """
    given = (kernel_size, stride, padding, output_size)
    return _unpooled("max_unpool2d", input, indices, 2, *given)


@composed(
    numpy=_put,
    sample=_sample(3),
    peer="torch.nn.functional.max_unpool3d",
    call=lambda function, nodes, attrs: function(*nodes, **attrs),
)
@public("nn.functional")
def max_unpool3d(
    input: Node,
    indices: Node,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    output_size: Sizes | None = None,
) -> Node:
    """Zeros with each element where max_pool3d found it; of equal places the last counts.

    Args:
        input, indices: what max_pool3d gives with return_indices.
        kernel_size, stride, padding: as there.
        output_size: D, H, W of the result, less than a stride from what they would be.
    Raises:
        OutOfRange: an index is not in the result; when that is realized.

    >>> x = tensor([[[[7.0]]]])
    >>> max_unpool3d(x, nt.zeros_like(x).long(), 2).sum().item()
    7.0
    """
    given = (kernel_size, stride, padding, output_size)
    return _unpooled("max_unpool3d", input, indices, 3, *given)


@composed(
    numpy=_drawn_windows,
    sample=_fractional_sample(2),
    dtypes=(dt.float64, dt.float32),
    hides=True,
    peer="torch.nn.functional.fractional_max_pool2d",
    call=_with_samples,
)
@public("nn.functional")
def fractional_max_pool2d(
    input: Node,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Node | None = None,
) -> Any:
    """The largest element of each window, where windows begin at distances that are drawn.

    Args:
        input: (N, C, H, W), or without N.
        kernel_size: of windows.
        output_size, output_ratio: how many windows, or how many for each element; one of them.
        return_indices: give (values, indices), the places in H, W as in row-major order.
        _random_samples: (N, C, 2) in [0, 1), which are drawn unless given.
    Source: https://arxiv.org/abs/1412.6071

    >>> fractional_max_pool2d(nt.ones(1, 5, 5), 2, 3).shape
    (1, 3, 3)
    """
    given = (kernel_size, output_size, output_ratio, return_indices, _random_samples)
    return _fractional("fractional_max_pool2d", input, 2, *given)


@composed(
    numpy=_drawn_windows,
    sample=_fractional_sample(3),
    dtypes=(dt.float64, dt.float32),
    hides=True,
    peer="torch.nn.functional.fractional_max_pool3d",
    call=_with_samples,
)
@public("nn.functional")
def fractional_max_pool3d(
    input: Node,
    kernel_size: Sizes,
    output_size: Sizes | None = None,
    output_ratio: float | Sequence[float] | None = None,
    return_indices: bool = False,
    _random_samples: Node | None = None,
) -> Any:
    """The largest element of each window, where windows begin at distances that are drawn.

    Args:
        input: (N, C, D, H, W), or without N.
        kernel_size: of windows.
        output_size, output_ratio: how many windows, or how many for each element; one of them.
        return_indices: give (values, indices), the places in D, H, W as in row-major order.
        _random_samples: (N, C, 3) in [0, 1), which are drawn unless given.
    Source: https://arxiv.org/abs/1412.6071

    >>> fractional_max_pool3d(nt.ones(1, 5, 5, 5), 2, 3).shape
    (1, 3, 3, 3)
    """
    given = (kernel_size, output_size, output_ratio, return_indices, _random_samples)
    return _fractional("fractional_max_pool3d", input, 3, *given)
