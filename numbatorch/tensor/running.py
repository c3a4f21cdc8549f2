"""Normalisation that keeps running means and variances, which it changes in place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbatorch.graph import Node
from numbatorch.ops import batch_norm as ops
from numbatorch.ops.known_calls import KnownCalls
from numbatorch.ops.operands import as_node
from numbatorch.ops.reduce import mean
from numbatorch.ops.surface import of_tensors, on_tensors
from numbatorch.ops.view import reshape
from numbatorch.shape import numel
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.gradient import no_grad

_batch_norm: Callable[..., Any] = on_tensors(ops.batch_norm, "batch_norm", known=KnownCalls())
_instance_norm: Callable[..., Any] = on_tensors(
    ops.instance_norm, "instance_norm", known=KnownCalls()
)


def _moved(running: Node, found: Node, momentum: Any, scale: float) -> Node:
    """`running`, moved towards what was found, times a scale; images have the mean of theirs."""
    rows = numel(found.shape) // numel(running.shape)
    if rows == 1:
        new = reshape.apply(found, shape=running.shape)
    else:
        new = mean(reshape.apply(found, shape=(rows, *running.shape)), 0)
    wide = as_node(running, new.dtype, running.device)
    return as_node(wide * (1 - momentum) + new * (momentum * scale), running.dtype, running.device)


_moved_tensor: Callable[..., Any] = on_tensors(_moved, "batch_norm")


def _keep(running: Tensor | None, found: Tensor, momentum: Any, scale: float = 1.0) -> None:
    """Move `running` in place."""
    if running is not None and numel(found.shape):
        with no_grad():
            running.copy_(_moved_tensor(running, found, momentum, scale))


def _output(
    input: Tensor, running: tuple[Tensor | None, Tensor | None], found: Any, momentum: Any
) -> Tensor:
    """The normalized input; running variances are those of a sample, of n - 1 of n values."""
    mean, var = running
    if found.mean is not None and input.numel():
        count = input.numel() // max(numel(found.mean.shape), 1)
        _keep(mean, found.mean, momentum)
        _keep(var, found.var, momentum, count / max(count - 1, 1))
    out: Tensor = found.out
    return out


@of_tensors("nn.functional")
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias by channel.

    Args:
        input: (N, C, ...).
        running_mean, running_var: (C,). In training they move towards mean and unbiased variance of
            the batch, in place; else they are mean and variance.
        weight, bias: (C,).
        momentum: how far they move; a number, or a tensor of one.
        eps: added to the variance; positive.
    Source: https://arxiv.org/abs/1502.03167

    >>> batch_norm(tensor([[1.0], [3.0]]), None, None, training=True).round().tolist()
    [[-1.0], [1.0]]
    """
    running = (running_mean, running_var)
    found = _batch_norm(input, *running, weight, bias, training, eps=eps)
    return _output(input, running, found, momentum)


@of_tensors("nn.functional")
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-05,
) -> Tensor:
    """(x - mean) / sqrt(var + eps) * weight + bias over each channel of each image.

    Args:
        input: (N, C, ...), with one more dimension at least; or without N.
        use_input_stats: False for running_mean and running_var instead, which otherwise move
            towards those of the images, in place.
        others: as of `batch_norm`.
    Source: https://arxiv.org/abs/1607.08022

    >>> instance_norm(tensor([[[1.0, 3.0]]])).round().tolist()
    [[[-1.0, 1.0]]]
    """
    running = (running_mean, running_var)
    found = _instance_norm(input, *running, weight, bias, use_input_stats, momentum, eps)
    return _output(input, running, found, momentum)
