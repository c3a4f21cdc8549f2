"""What is done to parameters, gradients and modules from outside, under PyTorch's names."""

from typing import TYPE_CHECKING, Any

from numbatorch.apart import import_module
from numbatorch.nn.utils.clip_grad import (
    clip_grad_norm_,
    clip_grad_value_,
    clip_grads_with_norm_,
    get_total_norm,
)
from numbatorch.nn.utils.convert_parameters import parameters_to_vector, vector_to_parameters

if TYPE_CHECKING:
    from numbatorch.nn.utils import parametrizations, parametrize, prune, stateless
    from numbatorch.nn.utils.fusion import (
        fuse_conv_bn_eval,
        fuse_conv_bn_weights,
        fuse_linear_bn_eval,
        fuse_linear_bn_weights,
    )
    from numbatorch.nn.utils.init import skip_init
    from numbatorch.nn.utils.spectral_hook import remove_spectral_norm, spectral_norm
    from numbatorch.nn.utils.weight_hook import remove_weight_norm, weight_norm

__all__ = [
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
    "get_total_norm",
    "parameters_to_vector",
    "parametrizations",
    "parametrize",
    "prune",
    "remove_spectral_norm",
    "remove_weight_norm",
    "rnn",
    "skip_init",
    "spectral_norm",
    "stateless",
    "vector_to_parameters",
    "weight_norm",
]

# Modules and names that load on first use.
_LAZY_MODULES = ("parametrizations", "parametrize", "prune", "rnn", "stateless")
_LAZY_NAMES = {
    "fuse_conv_bn_eval": "fusion",
    "fuse_conv_bn_weights": "fusion",
    "fuse_linear_bn_eval": "fusion",
    "fuse_linear_bn_weights": "fusion",
    "remove_spectral_norm": "spectral_hook",
    "remove_weight_norm": "weight_hook",
    "skip_init": "init",
    "spectral_norm": "spectral_hook",
    "weight_norm": "weight_hook",
}


def __getattr__(name: str) -> Any:
    """Modules and names that load on first use."""
    if name in _LAZY_MODULES:
        return import_module(f"numbatorch.nn.utils.{name}")
    if name in _LAZY_NAMES:
        module = import_module(f"numbatorch.nn.utils.{_LAZY_NAMES[name]}")
        value = globals()[name] = getattr(module, name)
        return value
    raise AttributeError(f"module 'numbatorch.nn.utils' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Names for users."""
    return sorted(__all__)
