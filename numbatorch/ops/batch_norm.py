"""Normalisation of images: by channel over a batch or an image, by group, by neighbours."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.arithmetic import div
from numbatorch.ops.bands import Band, along, band
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.shaping import reshape
from numbatorch.ops.standardize import standardize
from numbatorch.ops.surface import public
from numbatorch.ops.window import spans
from numbatorch.shape import Shape, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


class Normalized(NamedTuple):
    """What a normalisation gives, and the statistics of the batch: None where it had others."""

    out: Node
    mean: Node | None
    var: Node | None


def _require_floats(operator: str, input: Node, least: int) -> None:
    if input.dtype.kind != "f":
        raise DTypeError(message(operator, f"takes floats, not {input.dtype.name}"))
    if len(input.shape) < least:
        problem = f"needs {least} dimensions at least"
        raise ShapeError(message(operator, problem, f"input {describe(input)}"))


def _per_channel(operator: str, name: str, given: Node, input: Node) -> Node:
    """A number for each channel, in the dtype that the input is computed in, in its shape."""
    C = input.shape[1]
    if given.shape != (C,) or given.dtype.kind != "f":
        shown = (f"{name} {describe(given)}", f"input {describe(input)}")
        raise ShapeError(message(operator, f"{name} must be floats ({C},)", *shown))
    wide = as_node(given, input.dtype.compute, input.device)
    return reshape(wide, (1, C, *(1,) * (len(input.shape) - 2)))


def _affine(
    operator: str, weight: Node | None, bias: Node | None, input: Node
) -> tuple[Node, Node]:
    """Weight and bias for each channel, 1 and 0 where there are none."""
    wide, shape = input.dtype.compute, (1, input.shape[1], *(1,) * (len(input.shape) - 2))
    found = []
    for name, given, otherwise in (("weight", weight, 1.0), ("bias", bias, 0.0)):
        if given is None:
            found.append(const(otherwise, wide, input.device, shape))
        else:
            found.append(_per_channel(operator, name, given, input))
    return found[0], found[1]


def by_channel(
    operator: str,
    input: Node,
    running: tuple[Node | None, Node | None],
    weight: Node | None,
    bias: Node | None,
    own: bool,
    eps: float,
    dims: Shape,
) -> Normalized:
    """(x - mean) / sqrt(var + eps) * weight + bias; statistics of the input itself if `own`."""
    scale, shift = _affine(operator, weight, bias, input)
    if not own:
        if running[0] is None or running[1] is None:
            raise ShapeError(message(operator, "needs running_mean and running_var"))
        centre = _per_channel(operator, "running_mean", running[0], input)
        spread = _per_channel(operator, "running_var", running[1], input)
        wide = as_node(input, input.dtype.compute, input.device)
        scale = find("rsqrt").apply(spread + eps) * scale
        centre, scale, shift = (expanded(x, input.shape) for x in (centre, scale, shift))
        out = as_node((wide - centre) * scale + shift, input.dtype, input.device)
        return Normalized(out, None, None)
    for name, given in zip(("running_mean", "running_var"), running, strict=True):
        if given is not None:
            _per_channel(operator, name, given, input)
    if numel(input.shape) == 0:  # sums over nothing, and no mean of them
        wide = as_node(input, input.dtype.compute, input.device)
        out = wide * expanded(scale, input.shape) + expanded(shift, input.shape)
        return Normalized(as_node(out, input.dtype, input.device), None, None)
    if numel([input.shape[d] for d in dims]) == 1:
        problem = "needs more than one value for each mean"
        raise ShapeError(message(operator, problem, f"input {describe(input)}"))
    return Normalized(*standardize.parts(input, scale, shift, dims=dims, eps=eps))


def _reference(
    x: Array, *rest: Array, axes: tuple[int, ...], eps: float, groups: int | None = None
) -> Array:
    shape = x.shape
    if groups is not None:
        x = x.reshape(shape[0], groups, numel(shape[1:]) // groups)
    apart = x - x.mean(axes, keepdims=True)
    out: Any = (apart / np.sqrt((apart**2).mean(axes, keepdims=True) + eps)).reshape(shape)
    for number, given in enumerate(rest):
        tall = given.reshape(-1, *(1,) * (len(shape) - 2))
        out = out * tall if number == 0 else out + tall
    return np.asarray(out)


def _sample(rng: Draw) -> Any:
    N, C, H, W = rng.dims((2, 1, 1, 2), (4, 4, 5, 5))
    return [rng.standard_normal(s) for s in ((N, C, H, W), C, C)], {"eps": 0.1}


def _over_batch(function: Any, nodes: Any, attrs: Any) -> Any:
    x, weight, bias = nodes
    return function(x, None, None, weight, bias, True, 0.1, attrs["eps"]).out


@composed(
    numpy=lambda x, w, b, *, eps: _reference(x, w, b, axes=(0, 2, 3), eps=eps),
    sample=_sample,
    name="batch_norm",
    call=_over_batch,
    source="https://arxiv.org/abs/1502.03167",
)
def batch_norm(
    input: Node,
    running_mean: Node | None,
    running_var: Node | None,
    weight: Node | None = None,
    bias: Node | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Normalized:
    """(x - mean) / sqrt(var + eps) * weight + bias by channel, over the batch or kept."""
    if not eps > 0:
        raise ValueError(message("batch_norm", f"eps {eps} is not positive"))
    if input.shape == (0,):  # a batch of nothing, as PyTorch has it
        return Normalized(input * 1.0, None, None)
    _require_floats("batch_norm", input, 2)
    dims = tuple(d for d in range(len(input.shape)) if d != 1)
    running = (running_mean, running_var)
    return by_channel("batch_norm", input, running, weight, bias, training, eps, dims)


@composed(
    numpy=lambda x, w, b, *, eps: _reference(x, w, b, axes=(2, 3), eps=eps),
    sample=_sample,
    name="instance_norm",
    call=_over_batch,
    source="https://arxiv.org/abs/1607.08022",
)
def instance_norm(
    input: Node,
    running_mean: Node | None = None,
    running_var: Node | None = None,
    weight: Node | None = None,
    bias: Node | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Normalized:
    """As `batch_norm`, over each image alone."""
    _require_floats("instance_norm", input, 3)
    dims = tuple(range(2, len(input.shape)))
    running = (running_mean, running_var)
    return by_channel("instance_norm", input, running, weight, bias, use_input_stats, eps, dims)


def _grouped_sample(rng: Draw) -> Any:
    N, G, R, L = rng.dims((0, 1, 1, 2), (4, 4, 4, 9))
    return [rng.standard_normal(s) for s in ((N, G * R, L), G * R, G * R)], {"num_groups": G}


@composed(
    numpy=lambda x, w, b, *, num_groups: _reference(
        x, w, b, axes=(2,), eps=1e-5, groups=num_groups
    ),
    sample=_grouped_sample,
    peer="torch.nn.functional.group_norm",
    call=lambda function, nodes, attrs: function(nodes[0], attrs["num_groups"], *nodes[1:]),
    source="https://arxiv.org/abs/1803.08494",
)
@public("nt", "nn.functional", remembered=True)
def group_norm(
    input: Node,
    num_groups: int,
    weight: Node | None = None,
    bias: Node | None = None,
    eps: float = 1e-05,
) -> Node:
    """(x - mean) / sqrt(var + eps) * weight + bias over each group of channels of each image.

    Args:
        input: (N, C, ...).
        num_groups: into which the C channels are divided.
        weight, bias: (C,).
        eps: added to the variance.
    Raises:
        ShapeError: `num_groups` does not divide C, or a group has one value.
    Source: https://arxiv.org/abs/1803.08494

    >>> group_norm(tensor([[1.0, 3.0, 10.0, 30.0]]), 2).round().tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    _require_floats("group_norm", input, 2)
    N, C = input.shape[:2]
    shown = f"input {describe(input)}"
    if num_groups < 1 or C % num_groups:
        raise ShapeError(message("group_norm", f"{C} channels in {num_groups} groups", shown))
    size = C // num_groups * numel(input.shape[2:])
    if N * size == 1:
        raise ShapeError(message("group_norm", "needs more than one value for each mean", shown))
    groups = (num_groups, C // num_groups)
    scale, shift = (reshape(x, (1, *groups, 1)) for x in _affine("group_norm", weight, bias, input))
    apart = reshape(input, (N, *groups, numel(input.shape[2:])))
    out, _, _ = standardize.parts(apart, scale, shift, dims=(2, 3), eps=eps)
    return reshape(out, input.shape)


@cache
def _neighbours(channels: int, size: int) -> Band:
    starts, counts = spans(channels, channels, size, 1, size // 2).T
    return band(starts, counts, np.ones((channels, int(counts.max(initial=0)))), channels)


def _by_neighbours(
    x: Array, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    squares = np.zeros_like(x)
    for channel in range(x.shape[1]):
        near = slice(max(channel - size // 2, 0), channel + (size - 1) // 2 + 1)
        squares[:, channel] = (x[:, near] ** 2).sum(1)
    return x / (squares / size * alpha + k) ** beta


def _neighbours_sample(rng: Draw) -> Any:
    x = rng.standard_normal(rng.dims((1, 1, 1), (4, 9, 6), most=259))
    return [x], {"size": int(rng.integers(1, 6)), "alpha": 0.5}


@composed(
    numpy=_by_neighbours,
    sample=_neighbours_sample,
    peer="torch.nn.functional.local_response_norm",
)
@public("nn.functional")
def local_response_norm(
    input: Node, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Node:
    """input / (k + alpha * mean of the squares of `size` neighbouring channels)**beta.

    Args:
        input: (N, C, ...), with one more dimension at least; beyond the channels are zeros.
    Source: https://papers.nips.cc/paper/4824

    >>> local_response_norm(tensor([[[1.0], [2.0]]]), 1, 1.0, 1.0).tolist()
    [[[0.5], [0.4000000059604645]]]
    """
    if len(input.shape) < 3:
        problem = "needs 3 dimensions at least"
        raise ShapeError(message("local_response_norm", problem, f"input {describe(input)}"))
    if size < 1:
        raise OutOfRange(message("local_response_norm", f"size is {size}"))
    if not numel(input.shape):
        return input
    wide = as_node(input, input.dtype.compute, input.device)
    total = along(wide * wide, 1, _neighbours(input.shape[1], size))
    whole = total.dtype.kind != "f"
    means = div(total, size, rounding_mode="trunc") if whole else total / float(size)
    out = wide / (means * alpha + k) ** beta
    return out if whole else as_node(out, input.dtype, input.device)
