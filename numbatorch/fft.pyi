"""Written by `make surface` from public functions and records."""

import builtins
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, overload

from numbatorch.device import Device
from numbatorch.dtype import DType, Like
from numbatorch.ops.linear_loss_options import LinearCrossEntropyOptions
from numbatorch.tensor.base import Handle
from numbatorch.tensor.core import Tensor

Number = int | float | builtins.complex
Dims = int | Sequence[int] | None
Sizes = int | Sequence[int]

__all__ = [
    "fft",
    "fft2",
    "fftfreq",
    "fftn",
    "fftshift",
    "hfft",
    "hfft2",
    "hfftn",
    "ifft",
    "ifft2",
    "ifftn",
    "ifftshift",
    "ihfft",
    "ihfft2",
    "ihfftn",
    "irfft",
    "irfft2",
    "irfftn",
    "rfft",
    "rfft2",
    "rfftfreq",
    "rfftn",
]

def fft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor: ...
def fft2(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Tensor: ...
def fftfreq(
    n: int,
    d: float = 1.0,
    *,
    dtype: Like | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor: ...
def fftn(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Tensor: ...
def fftshift(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor: ...
def hfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor: ...
def hfft2(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Tensor: ...
def hfftn(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Tensor: ...
def ifft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor: ...
def ifft2(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Tensor: ...
def ifftn(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Tensor: ...
def ifftshift(input: Tensor, dim: int | Sequence[int] | None = None) -> Tensor: ...
def ihfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Tensor: ...
def ihfft2(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Tensor: ...
def ihfftn(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Tensor: ...
def irfft(
    input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None
) -> Tensor: ...
def irfft2(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Tensor: ...
def irfftn(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Tensor: ...
def rfft(input: Tensor, n: int | None = None, dim: int = -1, norm: str | None = None) -> Tensor: ...
def rfft2(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] = (-2, -1),
    norm: str | None = None,
) -> Tensor: ...
def rfftfreq(
    n: int,
    d: float = 1.0,
    *,
    dtype: Like | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor: ...
def rfftn(
    input: Tensor,
    s: int | Sequence[int] | None = None,
    dim: int | Sequence[int] | None = None,
    norm: str | None = None,
) -> Tensor: ...
