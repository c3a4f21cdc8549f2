"""Written by `make surface` from public functions and records."""

import builtins
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

from numbatorch.device import Device
from numbatorch.dtype import DType, Like
from numbatorch.tensor.base import Handle
from numbatorch.tensor.core import Tensor

Number = int | float | builtins.complex
Dims = int | Sequence[int] | None
Sizes = int | Sequence[int]

__all__ = [
    "erf",
    "expm1",
    "log1p",
    "log_softmax",
    "logsumexp",
    "ndtr",
    "round",
    "softmax",
]

def erf(input: Tensor) -> Tensor: ...
def expm1(input: Tensor) -> Tensor: ...
def log1p(input: Tensor) -> Tensor: ...
def log_softmax(input: Tensor, dim: int, dtype: Like | None = None) -> Tensor: ...
def logsumexp(input: Tensor, dim: Dims, keepdim: bool = False) -> Tensor: ...
def ndtr(input: Tensor) -> Tensor: ...
def round(input: Tensor, *, decimals: int = 0) -> Tensor: ...
def softmax(input: Tensor, dim: int, dtype: Like | None = None) -> Tensor: ...
