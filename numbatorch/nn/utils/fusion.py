"""A batch norm that does not learn any more taken into the weights of the layer before it."""

from __future__ import annotations

from copy import deepcopy
from typing import Any, TypeVar

from numbatorch.errors import ShapeError, message
from numbatorch.nn.module import Module, Parameter
from numbatorch.tensor import Tensor, ones_like, zeros_like

AnyModule = TypeVar("AnyModule", bound=Module)


def fuse_conv_bn_eval(conv: AnyModule, bn: Module, transpose: bool = False) -> AnyModule:
    """A new convolution that gives bn(conv(x)).

    Args:
        transpose: whether the convolution is a transposed one.
    Raises:
        RuntimeError: one of them is in training, or the norm keeps no statistics.

    >>> conv, bn = nt.nn.Conv1d(2, 3, 1).eval(), nt.nn.BatchNorm1d(3).eval()
    >>> x = nt.randn(1, 2, 4)
    >>> bool((fuse_conv_bn_eval(conv, bn)(x) - bn(conv(x))).abs().max() < 1e-5)
    True
    """
    return _fused("fuse_conv_bn_eval", conv, bn, transpose)


def fuse_linear_bn_eval(linear: AnyModule, bn: Module) -> AnyModule:
    """A new linear layer that gives bn(linear(x)).

    Raises:
        RuntimeError: one of them is in training, or the norm keeps no statistics.
        ShapeError: the norm has another number of features than the layer gives, and not 1.

    >>> linear, bn = nt.nn.Linear(2, 3).eval(), nt.nn.BatchNorm1d(3).eval()
    >>> x = nt.randn(4, 2)
    >>> bool((fuse_linear_bn_eval(linear, bn)(x) - bn(linear(x))).abs().max() < 1e-5)
    True
    """
    features, given = getattr(bn, "num_features", None), getattr(linear, "out_features", None)
    if features not in (given, 1):
        problem = f"the norm has {features} features, and the layer gives {given}"
        raise ShapeError(message("fuse_linear_bn_eval", problem))
    return _fused("fuse_linear_bn_eval", linear, bn)


def _fused(operator: str, layer: AnyModule, bn: Any, transpose: bool = False) -> AnyModule:
    """A copy of the layer with the weights of both."""
    if layer.training or bn.training:
        problem = "a layer in training is no fixed function"
        raise RuntimeError(message(operator, problem, hint="eval() of both"))
    if bn.running_mean is None or bn.running_var is None:
        problem = "the norm keeps no statistics, and norms each batch by its own"
        raise RuntimeError(message(operator, problem))
    fused: Any = deepcopy(layer)
    weights = (bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias)
    weight, bias = fuse_conv_bn_weights(fused.weight, fused.bias, *weights, transpose)
    fused.weight, fused.bias = weight, bias
    return fused  # type: ignore[no-any-return]


def fuse_conv_bn_weights(
    conv_w: Tensor,
    conv_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
    transpose: bool = False,
) -> tuple[Parameter, Parameter]:
    """Weight W * s and bias (b - mean) * s + bias of the norm, s = weight / sqrt(var + eps).

    Args:
        conv_w, conv_b: (O, I, K...) or of a transposed one (I, O, K...), and (O,) or None.
        bn_rm, bn_rv, bn_eps: mean and variance, (O,), and what is added to the variance.
        bn_w, bn_b: (O,), or None for 1 and 0.
        transpose: whether the convolution is a transposed one.
    Returns:
        weight and bias in the dtypes of those of the convolution.

    >>> one, mean = nt.ones(1), tensor([2.0])
    >>> w, b = fuse_conv_bn_weights(tensor([[[3.0]]]), None, mean, one, 0.0, None, one)
    >>> w.item(), b.item()
    (3.0, -1.0)
    """
    bias = zeros_like(bn_rm) if conv_b is None else conv_b
    scale = (ones_like(bn_rm) if bn_w is None else bn_w) * (bn_rv + bn_eps).rsqrt()
    shift = zeros_like(bn_rm) if bn_b is None else bn_b
    shape = [1] * len(conv_w.shape)
    shape[1 if transpose else 0] = -1
    fused_w = (conv_w * scale.reshape(shape)).to(conv_w.dtype)
    fused_b = ((bias - bn_rm) * scale + shift).to((conv_w if conv_b is None else conv_b).dtype)
    learns = conv_b is not None and conv_b.requires_grad
    return Parameter(fused_w, conv_w.requires_grad), Parameter(fused_b, learns)


def fuse_linear_bn_weights(
    linear_w: Tensor,
    linear_b: Tensor | None,
    bn_rm: Tensor,
    bn_rv: Tensor,
    bn_eps: float,
    bn_w: Tensor | None,
    bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:
    """As `fuse_conv_bn_weights`, for the weight (O, I) of a linear layer.

    >>> one, mean = nt.ones(1), tensor([2.0])
    >>> w, b = fuse_linear_bn_weights(tensor([[3.0]]), one, mean, one, 0.0, one * 2, one)
    >>> w.item(), b.item()
    (6.0, -1.0)
    """
    return fuse_conv_bn_weights(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b)
