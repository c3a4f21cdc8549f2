"""Public functions of layers without state: linear, norms, dropout."""

from __future__ import annotations

from collections.abc import Sequence

from numbatorch.apart import import_module
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import norm
from numbatorch.ops.arithmetic import clamp
from numbatorch.ops.operands import as_node, const, describe, expanded
from numbatorch.ops.reduce import mean
from numbatorch.ops.shaping import reshape
from numbatorch.ops.surface import public
from numbatorch.ops.unary import sqrt
from numbatorch.shape import numel

_EPSILON = {"float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}


def _over_last(operator: str, input: Node, normalized_shape: Sequence[int]) -> tuple[Node, int]:
    """`input` with the dimensions of `normalized_shape`, which must be its last, as one."""
    shape = tuple(normalized_shape)
    if not shape or input.shape[-len(shape) :] != shape:
        problem = f"the last dimensions are not {shape}"
        raise ShapeError(message(operator, problem, f"input {describe(input)}"))
    return reshape(input, (*input.shape[: -len(shape)], numel(shape))), numel(shape)


def _weight(weight: Node | None, value: float, size: int, like: Node) -> Node:
    """`weight` in one dimension, or `value` everywhere."""
    if weight is None:
        return const(value, like.dtype, like.device, (size,))
    return reshape(weight, (size,))


def _affine(x: Node, weight: Node | None, bias: Node | None) -> Node:
    """x * weight + bias, in the dtype of x."""
    wide = as_node(x, x.dtype.compute, x.device)
    if weight is not None:
        wide = wide * expanded(as_node(weight, wide.dtype, x.device), x.shape)
    if bias is not None:
        wide = wide + expanded(as_node(bias, wide.dtype, x.device), x.shape)
    return as_node(wide, x.dtype, x.device)


@public("nt", "nn.functional", remembered=True)
def layer_norm(
    input: Node,
    normalized_shape: Sequence[int],
    weight: Node | None = None,
    bias: Node | None = None,
    eps: float = 1e-05,
) -> Node:
    """(x - mean) / sqrt(var + eps) * weight + bias over the last dimensions.

    Args:
        normalized_shape: sizes of the last dimensions; weight and bias have this shape.
        eps: added to the variance.
    Source: https://arxiv.org/abs/1607.06450

    >>> layer_norm(tensor([1.0, 3.0]), (2,))
    tensor([-1.0000,  1.0000])
    """
    flat, size = _over_last("layer_norm", input, normalized_shape)
    if size == 1 and input.dtype.kind == "f":  # its own mean: rounding must not tell them apart
        return _affine(input - input, weight, bias)
    scale, shift = _weight(weight, 1.0, size, input), _weight(bias, 0.0, size, input)
    return reshape(norm.layer_norm.apply(flat, scale, shift, eps=eps), input.shape)


@public("nt", "nn.functional", remembered=True)
def rms_norm(
    input: Node,
    normalized_shape: Sequence[int],
    weight: Node | None = None,
    eps: float | None = None,
) -> Node:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimensions; the mean is taken in float32.

    Args:
        normalized_shape: sizes of the last dimensions; weight has this shape.
        eps: added to the mean square; the distance from 1 to the next float unless given.
    Source: https://arxiv.org/abs/1910.07467

    >>> rms_norm(tensor([3.0, 4.0]), (2,))
    tensor([0.8485, 1.1314])
    """
    flat, size = _over_last("rms_norm", input, normalized_shape)
    added = _EPSILON.get(input.dtype.part.name, 2.0**-23) if eps is None else eps
    if input.dtype.is_complex:
        below = sqrt(mean(flat * flat, -1, keepdim=True) + added)
        return _affine(reshape(flat / expanded(below, flat.shape), input.shape), weight, None)
    out = norm.rms_norm.apply(flat, _weight(weight, 1.0, size, input), eps=added)
    return reshape(out, input.shape)


@public("nn.functional", remembered=True)
def normalize(
    input: Node, p: float = 2.0, dim: int | Sequence[int] = 1, eps: float = 1e-12
) -> Node:
    """input / max(p-norm, eps) along `dim`, taken in float32 at least.

    >>> normalize(tensor([[3.0, 4.0]]))
    tensor([[0.6000, 0.8000]])
    """
    import_module("numbatorch.ops.vector_norm")
    from numbatorch.ops.vector_norm import vector_norm  # for this alone

    wide = as_node(input, input.dtype.compute, input.device)  # float16 has no 1e-12
    size = clamp(vector_norm(wide, p, dim, keepdim=True), min=eps)
    return as_node(wide / expanded(size, wide.shape), input.dtype, input.device)
