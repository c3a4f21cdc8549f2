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

class EighResult(NamedTuple):
    eigenvalues: Tensor
    eigenvectors: Tensor

class LUResult(NamedTuple):
    P: Tensor
    L: Tensor
    U: Tensor

class QRResult(NamedTuple):
    Q: Tensor
    R: Tensor

class SVDResult(NamedTuple):
    U: Tensor
    S: Tensor
    Vh: Tensor

__all__ = [
    "cross",
    "eigh",
    "inv",
    "lu",
    "matmul",
    "qr",
    "svd",
    "vecdot",
    "vector_norm",
]

def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor: ...
def eigh(A: Tensor, UPLO: Literal['L', 'U'] = 'L') -> EighResult: ...
def inv(A: Tensor) -> Tensor: ...
def lu(A: Tensor) -> LUResult: ...
def matmul(input: Tensor, other: Tensor) -> Tensor: ...
def qr(A: Tensor, mode: Literal['reduced', 'complete'] = 'reduced') -> QRResult: ...
def svd(A: Tensor, full_matrices: bool = True) -> SVDResult: ...
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor: ...
def vector_norm(
    x: Tensor,
    ord: Number = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Like | None = None,
) -> Tensor: ...
