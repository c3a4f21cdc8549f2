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

class CholeskyResult(NamedTuple):
    L: Tensor
    info: Tensor

class EigResult(NamedTuple):
    eigenvalues: Tensor
    eigenvectors: Tensor

class EighResult(NamedTuple):
    eigenvalues: Tensor
    eigenvectors: Tensor

class InverseResult(NamedTuple):
    inverse: Tensor
    info: Tensor

class LDLFactorExResult(NamedTuple):
    LD: Tensor
    pivots: Tensor
    info: Tensor

class LDLFactorResult(NamedTuple):
    LD: Tensor
    pivots: Tensor

class LUFactorExResult(NamedTuple):
    LU: Tensor
    pivots: Tensor
    info: Tensor

class LUFactorResult(NamedTuple):
    LU: Tensor
    pivots: Tensor

class LUResult(NamedTuple):
    P: Tensor
    L: Tensor
    U: Tensor

class LstsqResult(NamedTuple):
    solution: Tensor
    residuals: Tensor
    rank: Tensor
    singular_values: Tensor

class QRResult(NamedTuple):
    Q: Tensor
    R: Tensor

class SVDResult(NamedTuple):
    U: Tensor
    S: Tensor
    Vh: Tensor

class SlogdetResult(NamedTuple):
    sign: Tensor
    logabsdet: Tensor

class SolveResult(NamedTuple):
    result: Tensor
    info: Tensor

__all__ = [
    "cholesky",
    "cholesky_ex",
    "cond",
    "cross",
    "det",
    "diagonal",
    "eig",
    "eigh",
    "eigvals",
    "eigvalsh",
    "householder_product",
    "inv",
    "inv_ex",
    "ldl_factor",
    "ldl_factor_ex",
    "ldl_solve",
    "lstsq",
    "lu",
    "lu_factor",
    "lu_factor_ex",
    "lu_solve",
    "matmul",
    "matrix_exp",
    "matrix_norm",
    "matrix_power",
    "matrix_rank",
    "multi_dot",
    "norm",
    "pinv",
    "qr",
    "slogdet",
    "solve",
    "solve_ex",
    "solve_triangular",
    "svd",
    "svdvals",
    "tensorinv",
    "tensorsolve",
    "vander",
    "vecdot",
    "vector_norm",
]

def cholesky(A: Tensor, *, upper: bool = False) -> Tensor: ...
def cholesky_ex(
    A: Tensor, *, upper: bool = False, check_errors: bool = False
) -> CholeskyResult: ...
def cond(A: Tensor, p: Number | Literal['fro', 'nuc'] | None = None) -> Tensor: ...
def cross(input: Tensor, other: Tensor, *, dim: int = -1) -> Tensor: ...
def det(A: Tensor) -> Tensor: ...
def diagonal(A: Tensor, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Tensor: ...
def eig(A: Tensor) -> EigResult: ...
def eigh(A: Tensor, UPLO: Literal['L', 'U'] = 'L') -> EighResult: ...
def eigvals(A: Tensor) -> Tensor: ...
def eigvalsh(A: Tensor, UPLO: Literal['L', 'U'] = 'L') -> Tensor: ...
def householder_product(A: Tensor, tau: Tensor) -> Tensor: ...
def inv(A: Tensor) -> Tensor: ...
def inv_ex(A: Tensor, *, check_errors: bool = False) -> InverseResult: ...
def ldl_factor(A: Tensor, *, hermitian: bool = False) -> LDLFactorResult: ...
def ldl_factor_ex(
    A: Tensor, *, hermitian: bool = False, check_errors: bool = False
) -> LDLFactorExResult: ...
def ldl_solve(LD: Tensor, pivots: Tensor, B: Tensor, *, hermitian: bool = False) -> Tensor: ...
def lstsq(
    A: Tensor,
    b: Tensor,
    rcond: float | None = None,
    *,
    driver: Literal['gels', 'gelsy', 'gelsd', 'gelss'] | None = None,
) -> LstsqResult: ...
def lu(A: Tensor, *, pivot: bool = True) -> LUResult: ...
def lu_factor(A: Tensor, *, pivot: bool = True) -> LUFactorResult: ...
def lu_factor_ex(
    A: Tensor, *, pivot: bool = True, check_errors: bool = False
) -> LUFactorExResult: ...
def lu_solve(
    LU: Tensor, pivots: Tensor, B: Tensor, *, left: bool = True, adjoint: bool = False
) -> Tensor: ...
def matmul(input: Tensor, other: Tensor) -> Tensor: ...
def matrix_exp(A: Tensor) -> Tensor: ...
def matrix_norm(
    A: Tensor,
    ord: Number | Literal['fro', 'nuc'] = 'fro',
    dim: Sequence[int] = (-2, -1),
    keepdim: bool = False,
    *,
    dtype: Like | None = None,
) -> Tensor: ...
def matrix_power(A: Tensor, n: int) -> Tensor: ...
def matrix_rank(
    A: Tensor,
    tol: float | Tensor | None = None,
    hermitian: bool = False,
    *,
    atol: float | Tensor | None = None,
    rtol: float | Tensor | None = None,
) -> Tensor: ...
def multi_dot(tensors: Sequence[Tensor]) -> Tensor: ...
def norm(
    A: Tensor,
    ord: Number | Literal['fro', 'nuc'] | None = None,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Like | None = None,
) -> Tensor: ...
def pinv(
    A: Tensor,
    rcond: float | Tensor | None = None,
    hermitian: bool = False,
    *,
    atol: float | Tensor | None = None,
    rtol: float | Tensor | None = None,
) -> Tensor: ...
def qr(A: Tensor, mode: Literal['reduced', 'complete', 'r'] = 'reduced') -> QRResult: ...
def slogdet(A: Tensor) -> SlogdetResult: ...
def solve(A: Tensor, B: Tensor, *, left: bool = True) -> Tensor: ...
def solve_ex(
    A: Tensor, B: Tensor, *, left: bool = True, check_errors: bool = False
) -> SolveResult: ...
def solve_triangular(
    A: Tensor, B: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Tensor: ...
def svd(A: Tensor, full_matrices: bool = True, *, driver: str | None = None) -> SVDResult: ...
def svdvals(A: Tensor, *, driver: str | None = None) -> Tensor: ...
def tensorinv(A: Tensor, ind: int = 2) -> Tensor: ...
def tensorsolve(A: Tensor, other: Tensor, dims: Sequence[int] | None = None) -> Tensor: ...
def vander(x: Tensor, *, N: int | None = None) -> Tensor: ...
def vecdot(x: Tensor, y: Tensor, *, dim: int = -1) -> Tensor: ...
def vector_norm(
    x: Tensor,
    ord: Number = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Like | None = None,
) -> Tensor: ...
