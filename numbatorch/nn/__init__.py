"""Layers that hold their parameters. Layer 8: PyTorch's names over `nn.functional`."""

from typing import Any

from numbatorch.apart import import_module
from numbatorch.nn import functional
from numbatorch.nn.adaptive import AdaptiveLogSoftmaxWithLoss, LinearCrossEntropyLoss
from numbatorch.nn.attention import MultiheadAttention
from numbatorch.nn.layers import (
    GELU,
    Dropout,
    Embedding,
    Identity,
    LayerNorm,
    Linear,
    ModuleList,
    ReLU,
    RMSNorm,
    Sequential,
    Sigmoid,
    SiLU,
    Tanh,
)
from numbatorch.nn.module import Module, Parameter, StateError
from numbatorch.nn.transformer import (
    Transformer,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)
from numbatorch.ops.linear_loss_options import LinearCrossEntropyOptions

__all__ = [
    "GELU",
    "AdaptiveLogSoftmaxWithLoss",
    "Dropout",
    "Embedding",
    "Identity",
    "LayerNorm",
    "Linear",
    "LinearCrossEntropyLoss",
    "LinearCrossEntropyOptions",
    "Module",
    "ModuleList",
    "MultiheadAttention",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "StateError",
    "Tanh",
    "Transformer",
    "TransformerDecoder",
    "TransformerDecoderLayer",
    "TransformerEncoder",
    "TransformerEncoderLayer",
    "functional",
]

_LAZY_MODULES = ("init", "utils")


def __getattr__(name: str) -> Any:
    """Modules that load on first use."""
    if name in _LAZY_MODULES:
        return import_module(f"numbatorch.nn.{name}")
    raise AttributeError(f"module 'numbatorch.nn' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Names for users."""
    return sorted({*__all__, *_LAZY_MODULES})
