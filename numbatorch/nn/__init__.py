"""Layers that hold their parameters. Layer 8: PyTorch's names over `nn.functional`."""

from numbatorch.nn import functional
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

__all__ = [
    "GELU",
    "Dropout",
    "Embedding",
    "Identity",
    "LayerNorm",
    "Linear",
    "Module",
    "ModuleList",
    "Parameter",
    "RMSNorm",
    "ReLU",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "StateError",
    "Tanh",
    "functional",
]
