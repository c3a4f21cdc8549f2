"""Linear algebra on batches of matrices: LAPACK on the host, by NumPy and SciPy.

`A` is (..., M, N), and K the smaller of the two. No device has kernels for these yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from numbatorch.dtype import DType, float32, float64
from numbatorch.errors import DTypeError, GradientError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.create import iota
from numbatorch.ops.host import scipy
from numbatorch.ops.matmul import matmul_
from numbatorch.ops.operands import const, describe, expanded
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import cat, narrow, reshape, transpose, unsqueeze
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Outputs = list[tuple[Shape, DType]]

DTYPES = (float64, float32)


def _check(operator: str, A: Node, square: bool = False) -> tuple[Shape, int, int]:
    """Batch shape, M and N.

    Raises:
        DTypeError: not float32 or float64.
        ShapeError: no matrix, or not a square one where it must be.
    """
    if A.dtype not in (float32, float64):
        hint = "A.float() has dtype float32"
        raise DTypeError(message(operator, "takes float32 or float64", describe(A), hint=hint))
    if len(A.shape) < 2 or (square and A.shape[-1] != A.shape[-2]):
        wanted = "(..., N, N)" if square else "(..., M, N)"
        raise ShapeError(message(operator, f"A must be {wanted}", f"A {describe(A)}"))
    M, N = A.shape[-2:]
    return A.shape[:-2], M, N


def _turned(x: Node) -> Node:
    return transpose(x, -1, -2)


def _product(*factors: Node) -> Node:
    """The product of matrices from the left."""
    found = factors[0]
    for factor in factors[1:]:
        found = matmul_.apply(found, factor)
    return found


def _triangle(x: Node, lower: bool, diagonal: bool) -> Node:
    """The elements below (or above) the diagonal, and those on it if asked; zeros elsewhere."""
    M, N = x.shape[-2:]
    rows = expanded(reshape.apply(iota(M, x.device), shape=(M, 1)), (M, N))
    cols = expanded(iota(N, x.device), (M, N))
    order = ("le" if lower else "ge") if diagonal else ("lt" if lower else "gt")
    inside = expanded(find(order).apply(cols, rows), x.shape)
    return find("where").apply(inside, x, const(0.0, x.dtype, x.device, x.shape))


def _diagonal(x: Node) -> Node:
    """(..., N, N) with x (..., N) on the diagonal."""
    (N,) = x.shape[-1:]
    wide = expanded(unsqueeze(x, -1), (*x.shape, N))
    return _triangle(_triangle(wide, True, True), False, True)


def _gaps(x: Node) -> Node:
    """1 / (x[j] - x[i]) for x (..., N), zeros on the diagonal."""
    (N,) = x.shape[-1:]
    shape = (*x.shape, N)
    gaps = expanded(unsqueeze(x, -2), shape) - expanded(unsqueeze(x, -1), shape)
    one = expanded(_diagonal(const(1.0, x.dtype, x.device, (N,))), shape)
    return (1.0 - one) / (gaps + one)


def _matrices(rng: np.random.Generator, *sizes: int) -> Array:
    """Matrices with singular values 1, 2, 3, ...: far from each other and from zero."""
    M, N = sizes[-2:]
    bases = [np.linalg.qr(rng.standard_normal((*sizes[:-2], n, n)))[0] for n in (M, N)]
    values = np.arange(1, min(M, N) + 1)
    return np.asarray((bases[0][..., : min(M, N)] * values) @ bases[1][..., : min(M, N), :])


@structured(dtypes=DTYPES, source="https://people.maths.ox.ac.uk/gilesm/files/NA-08-01.pdf")
def inv_(A: Array) -> Array:
    """The inverse of each matrix."""
    return np.linalg.inv(A)


@inv_.infer
def _(A: Node) -> tuple[Shape, DType]:
    _check("linalg.inv", A, square=True)
    return A.shape, A.dtype


@inv_.vjp
def _(g: Node, y: Node, A: Node) -> Node:
    return -_product(_turned(y), g, _turned(y))


@inv_.samples
def _(rng: Draw) -> Any:
    N = int(rng.integers(1, 5))
    return [_matrices(rng, int(rng.integers(0, 3)), N, N)], {}


inv_.peer = "torch.linalg.inv"


@public("linalg")
def inv(A: Node) -> Node:
    """The inverse of each matrix of A (..., N, N).

    Raises:
        nt.LinAlgError: a matrix is singular; raised when the value is computed.

    >>> from numbatorch import tensor
    >>> inv(tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return inv_.apply(A)


class EighResult(NamedTuple):
    """Eigenvalues (..., N), ascending, and eigenvectors (..., N, N) as columns."""

    eigenvalues: Node
    eigenvectors: Node


@structured(dtypes=DTYPES, source="https://people.maths.ox.ac.uk/gilesm/files/NA-08-01.pdf")
def eigh_(A: Array, *, UPLO: Literal["L", "U"]) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors of symmetric matrices, by one triangle of each."""
    found = np.linalg.eigh(A, UPLO)
    return found.eigenvalues, found.eigenvectors


@eigh_.infer
def _(A: Node, *, UPLO: Literal["L", "U"]) -> Outputs:
    batch, _, N = _check("linalg.eigh", A, square=True)
    return [((*batch, N), A.dtype), (A.shape, A.dtype)]


@eigh_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node, *, UPLO: str) -> Node:
    values, vectors = y
    inner = const(0.0, A.dtype, A.device, A.shape) if g[0] is None else _diagonal(g[0])
    if g[1] is not None:
        inner = inner + _product(_turned(vectors), g[1]) * _gaps(values)
    whole = _product(vectors, inner, _turned(vectors))
    lower = UPLO == "L"
    return _triangle(whole + _turned(whole), lower, False) + _triangle(
        _triangle(whole, True, True), False, True
    )


@eigh_.samples
def _(rng: Draw) -> Any:
    N = int(rng.integers(1, 5))
    vectors = np.linalg.qr(rng.standard_normal((2, N, N)))[0]
    matrices = (vectors * np.arange(1, N + 1)) @ vectors.swapaxes(-1, -2)
    return [matrices], {"UPLO": "UL"[int(rng.integers(2))]}


@public("linalg")
def eigh(A: Node, UPLO: Literal["L", "U"] = "L") -> EighResult:
    """Eigenvalues and eigenvectors of symmetric matrices: A = V diag(L) V^T.

    Where we differ from PyTorch: the gradient is that of the triangle that is read, and zero in the
    other one. For A = X + X^T or X X^T the gradient of X is the same.

    Args:
        A: (..., N, N).
        UPLO: whether the lower or the upper triangle is read.
    Returns:
        eigenvalues (..., N), ascending, and eigenvectors (..., N, N), as columns.

    >>> from numbatorch import tensor
    >>> eigh(tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues.tolist()
    [1.0, 2.0]
    """
    return EighResult(*eigh_.parts(A, UPLO=UPLO))


class SVDResult(NamedTuple):
    """U (..., M, K) or (..., M, M), S (..., K) descending, Vh (..., K, N) or (..., N, N)."""

    U: Node
    S: Node
    Vh: Node


@structured(dtypes=DTYPES, source="https://people.maths.ox.ac.uk/gilesm/files/NA-08-01.pdf")
def svd_(A: Array, *, full_matrices: bool) -> tuple[Array, Array, Array]:
    """A = U diag(S) Vh, S descending."""
    found = np.linalg.svd(A, full_matrices=full_matrices)
    return found.U, found.S, found.Vh


@svd_.infer
def _(A: Node, *, full_matrices: bool) -> Outputs:
    batch, M, N = _check("linalg.svd", A)
    K = min(M, N)
    rows, cols = (M, N) if full_matrices else (K, K)
    return [((*batch, *size), A.dtype) for size in ((M, rows), (K,), (cols, N))]


@svd_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node, *, full_matrices: bool) -> Node:
    U, S, Vh = y
    M, N = A.shape[-2:]
    K = min(M, N)
    gU, gS, gVh = g
    if full_matrices and (gU is not None or gVh is not None) and M != N:
        problem = "columns of U or rows of Vh beyond the smaller size have no gradient"
        raise GradientError(message("linalg.svd", problem, describe(A), "full_matrices is True"))
    U, Vh = narrow(U, -1, 0, K), narrow(Vh, -2, 0, K)
    V = _turned(Vh)
    by_columns = expanded(unsqueeze(S, -2), (*S.shape, K))
    by_rows = expanded(unsqueeze(S, -1), (*S.shape, K))
    inner = const(0.0, A.dtype, A.device, (*S.shape, K)) if gS is None else _diagonal(gS)
    gaps = _gaps(S * S)
    outer = []
    if gU is not None:
        along = _product(_turned(U), gU)
        inner = inner + (along - _turned(along)) * gaps * by_columns
        if M > K:
            across = gU - _product(U, along)
            outer.append(_product(across / expanded(unsqueeze(S, -2), across.shape), Vh))
    if gVh is not None:
        along = _product(Vh, _turned(gVh))
        inner = inner + by_rows * (along - _turned(along)) * gaps
        if N > K:
            across = gVh - _product(_product(gVh, V), Vh)
            outer.append(_product(U, across / expanded(unsqueeze(S, -1), across.shape)))
    found = _product(U, inner, Vh)
    for part in outer:
        found = found + part
    return found


@svd_.samples
def _(rng: Draw) -> Any:
    M, N = (int(n) for n in rng.integers(1, 5, 2))
    return [_matrices(rng, 2, M, N)], {"full_matrices": False}


@public("linalg")
def svd(A: Node, full_matrices: bool = True) -> SVDResult:
    """The singular value decomposition A = U diag(S) Vh.

    Args:
        A: (..., M, N).
        full_matrices: whether U is (..., M, M) and Vh (..., N, N), not (..., M, K) and (..., K, N).
    Returns:
        U, S (..., K) descending, Vh. Gradients need distinct singular values; through U and Vh of
        a matrix that is not square they need full_matrices=False.

    >>> from numbatorch import tensor
    >>> svd(tensor([[3.0, 0.0], [0.0, 4.0]])).S.tolist()
    [4.0, 3.0]
    """
    return SVDResult(*svd_.parts(A, full_matrices=full_matrices))


class QRResult(NamedTuple):
    """Q with orthonormal columns and R, upper triangular."""

    Q: Node
    R: Node


@structured(dtypes=DTYPES, source="https://arxiv.org/abs/1710.08717")
def qr_(A: Array, *, mode: Literal["reduced", "complete"]) -> tuple[Array, Array]:
    """A = Q R with orthonormal columns in Q and R upper triangular."""
    found = np.linalg.qr(A, mode)
    return found.Q, found.R


@qr_.infer
def _(A: Node, *, mode: str) -> Outputs:
    batch, M, N = _check("linalg.qr", A)
    inner = min(M, N) if mode == "reduced" else M
    return [((*batch, M, inner), A.dtype), ((*batch, inner, N), A.dtype)]


@qr_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node, *, mode: str) -> Node:
    Q, R = y
    M, N = A.shape[-2:]
    gQ, gR = (_or_zeros(part, like) for part, like in zip(g, y, strict=True))
    if M > N and mode == "complete":
        problem = "the columns of Q beyond those of A have no gradient"
        raise GradientError(message("linalg.qr", problem, describe(A), "mode is 'complete'"))
    if M >= N:
        return _qr_gradient(gQ, gR, Q, R)
    left, right = narrow(A, -1, 0, M), narrow(A, -1, M, N - M)
    gR_left, gR_right = narrow(gR, -1, 0, M), narrow(gR, -1, M, N - M)
    gQ = gQ + _product(right, _turned(gR_right))
    g_left = _qr_gradient(gQ, gR_left, Q, narrow(R, -1, 0, left.shape[-1]))
    return cat([g_left, _product(Q, gR_right)], -1)


def _qr_gradient(gQ: Node, gR: Node, Q: Node, R: Node) -> Node:
    """Of A with no more columns than rows: (gQ + Q symmetric(R gR^T - gQ^T Q)) R^-T."""
    inner = _product(R, _turned(gR)) - _product(_turned(gQ), Q)
    below = _triangle(inner, True, False)
    inner = _triangle(inner, True, True) + _turned(below)
    return _product(gQ + _product(Q, inner), _turned(inv_.apply(R)))


@qr_.samples
def _(rng: Draw) -> Any:
    M, N = (int(n) for n in rng.integers(1, 5, 2))
    return [_matrices(rng, 2, M, N)], {"mode": "reduced"}


@public("linalg")
def qr(A: Node, mode: Literal["reduced", "complete"] = "reduced") -> QRResult:
    """The decomposition A = Q R, Q with orthonormal columns, R upper triangular.

    Args:
        A: (..., M, N).
        mode: "reduced" for Q (..., M, K) and R (..., K, N); "complete" for (..., M, M) and
            (..., M, N).

    >>> from numbatorch import tensor
    >>> Q, R = qr(tensor([[0.0, 2.0], [1.0, 0.0]]))
    >>> (Q @ R).tolist()
    [[0.0, 2.0], [1.0, 0.0]]
    """
    return QRResult(*qr_.parts(A, mode=mode))


class LUResult(NamedTuple):
    """A permutation P (..., M, M), L (..., M, K) unit lower, U (..., K, N) upper triangular."""

    P: Node
    L: Node
    U: Node


@structured(
    dtypes=DTYPES,
    source="https://github.com/pytorch/pytorch/blob/main/torch/csrc/autograd/FunctionsManual.cpp",
)
def lu_(A: Array) -> tuple[Array, Array, Array]:
    """A = P L U with partial pivoting."""
    P, L, U = scipy("linalg").lu(A, check_finite=False)
    return P, L, U


@lu_.infer
def _(A: Node) -> Outputs:
    batch, M, N = _check("linalg.lu", A)
    K = min(M, N)
    return [((*batch, *size), A.dtype) for size in ((M, M), (M, K), (K, N))]


@lu_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node) -> Node:
    P, L, U = y
    M, N = A.shape[-2:]
    K = min(M, N)
    gL, gU = (_or_zeros(part, like) for part, like in zip(g[1:], (L, U), strict=True))
    L1, gL1, U1, gU1 = (narrow(x, d, 0, K) for x, d in ((L, -2), (gL, -2), (U, -1), (gU, -1)))
    left, right = (_turned(inv_.apply(x)) for x in (L1, U1))
    below, above = _product(_turned(L1), gL1), _product(gU1, _turned(U1))
    rest = []
    if N > K:
        gU2 = narrow(gU, -1, K, N - K)
        below = below - _product(gU2, _turned(narrow(U, -1, K, N - K)))
        rest.append(_product(left, gU2))
    if M > K:
        gL2 = narrow(gL, -2, K, M - K)
        above = above - _product(_turned(narrow(L, -2, K, M - K)), gL2)
        rest.append(_product(gL2, right))
    inner = _triangle(below, True, False) + _triangle(above, False, True)
    found = cat([_product(left, inner, right), *rest], -1 if N > K else -2)
    return _product(P, found)


def _or_zeros(g: Node | None, like: Node) -> Node:
    return const(0.0, like.dtype, like.device, like.shape) if g is None else g


@lu_.samples
def _(rng: Draw) -> Any:
    M, N = (int(n) for n in rng.integers(1, 5, 2))
    return [_matrices(rng, 2, M, N)], {}


lu_.peer = "torch.linalg.lu"


@public("linalg")
def lu(A: Node) -> LUResult:
    """The decomposition A = P L U with partial pivoting.

    Args:
        A: (..., M, N).
    Returns:
        a permutation P (..., M, M), L (..., M, K) with ones on its diagonal, U (..., K, N).

    >>> from numbatorch import tensor
    >>> lu(tensor([[0.0, 2.0], [1.0, 0.0]])).P.tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    return LUResult(*lu_.parts(A))
