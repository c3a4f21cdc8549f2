"""Tensor, how to make one, and its gradients. Layer 7: a thin handle on a graph node."""

from numbatorch.tensor.core import Tensor, realize
from numbatorch.tensor.creation import (
    arange,
    empty,
    empty_like,
    eye,
    from_blocks,
    from_numpy,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    quantize,
    tensor,
    zeros,
    zeros_like,
)
from numbatorch.tensor.gradient import (
    GradientStore,
    enable_grad,
    grad,
    no_grad,
    set_grad_enabled,
    value_and_grad,
)

__all__ = [
    "GradientStore",
    "Tensor",
    "arange",
    "empty",
    "empty_like",
    "enable_grad",
    "eye",
    "from_blocks",
    "from_numpy",
    "full",
    "full_like",
    "grad",
    "linspace",
    "no_grad",
    "ones",
    "ones_like",
    "quantize",
    "realize",
    "set_grad_enabled",
    "tensor",
    "value_and_grad",
    "zeros",
    "zeros_like",
]
