"""Eigenvalues and singular values of matrices, with their vectors, by LAPACK."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import GradientError, message
from numbatorch.graph import Node, find
from numbatorch.ops import lapack
from numbatorch.ops.linalg import GILES, solved
from numbatorch.ops.matrices import (
    DTYPES,
    REAL,
    Outputs,
    adjoint,
    any_sample,
    check,
    chosen,
    definite_sample,
    gaps,
    hermitian,
    hermitian_array,
    on_diagonal,
    product,
    square_sample,
    within,
)
from numbatorch.ops.operands import as_node, const, describe, expanded, zeros_like
from numbatorch.ops.parts import complex_, conjugated, imag_, real_
from numbatorch.ops.reduce import reduced, sum_
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import narrow, unsqueeze
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


class EighResult(NamedTuple):
    """Eigenvalues (..., N), ascending, and eigenvectors (..., N, N) as columns."""

    eigenvalues: Node
    eigenvectors: Node


# LAPACK's phases of complex vectors have no derivative.
@structured(dtypes=REAL, source=GILES, reports=True)
def eigh_(A: Array, *, whole: bool = True) -> tuple[Array, Array]:
    """Eigenvalues, ascending, and eigenvectors of the Hermitian part of each matrix.

    Args:
        whole: read the whole matrix, else its lower triangle as that of a Hermitian one.
    """
    return lapack.eigh(hermitian_array(A) if whole else A)


@eigh_.infer
def _(A: Node, *, whole: bool) -> Outputs:
    batch, _, N = check("linalg.eigh", A, square=True)
    return [((*batch, N), A.dtype.part), (A.shape, A.dtype)]


@eigh_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node, *, whole: bool) -> Node:
    values, vectors = y
    inner = zeros_like(A) if g[0] is None else on_diagonal(as_node(g[0], A.dtype, A.device))
    if g[1] is not None:
        inner = inner + product(adjoint(vectors), g[1]) * gaps(values)
    return hermitian(product(vectors, inner, adjoint(vectors)))


eigh_.samples(definite_sample)


@public("linalg")
def eigh(A: Node, UPLO: Literal["L", "U"] = "L") -> EighResult:
    """Eigenvalues and eigenvectors of Hermitian matrices: A = V diag(L) V^H.

    The gradient is that of a Hermitian matrix, though one triangle is read.

    Args:
        A: (..., N, N).
        UPLO: whether the lower or the upper triangle is read.
    Returns:
        eigenvalues (..., N), ascending and real, and eigenvectors (..., N, N), as columns. Their
        gradients need distinct eigenvalues.

    >>> from numbatorch import tensor
    >>> eigh(tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues.tolist()
    [1.0, 2.0]
    """
    check("linalg.eigh", A, square=True)
    return EighResult(*eigh_.parts(A if UPLO == "L" else adjoint(A), whole=False))


@structured(dtypes=REAL, source=GILES, reports=True)
def eigvalsh_(A: Array, *, whole: bool = True) -> Array:
    """Eigenvalues, ascending, of the Hermitian part of each matrix; see `eigh_`."""
    return lapack.eigvalsh(hermitian_array(A) if whole else A)


@eigvalsh_.infer
def _(A: Node, *, whole: bool) -> tuple[Shape, DType]:
    batch, _, N = check("linalg.eigvalsh", A, square=True)
    return (*batch, N), A.dtype.part


@eigvalsh_.vjp
def _(g: Node, y: Node, A: Node, *, whole: bool) -> Node:
    vectors = eigh_.parts(A, whole=whole)[1]
    inner = on_diagonal(as_node(g, A.dtype, A.device))
    return product(vectors, inner, adjoint(vectors))


eigvalsh_.samples(definite_sample)
eigvalsh_.peer = "torch.linalg.eigvalsh"


@public("linalg")
def eigvalsh(A: Node, UPLO: Literal["L", "U"] = "L") -> Node:
    """Eigenvalues (..., N), ascending, of Hermitian matrices; see `eigh`.

    >>> from numbatorch import tensor
    >>> eigvalsh(tensor([[2.0, 0.0], [0.0, 1.0]])).tolist()
    [1.0, 2.0]
    """
    check("linalg.eigvalsh", A, square=True)
    return eigvalsh_.apply(A if UPLO == "L" else adjoint(A), whole=False)


class EigResult(NamedTuple):
    """Eigenvalues (..., N), complex, and eigenvectors (..., N, N) as columns."""

    eigenvalues: Node
    eigenvectors: Node


@structured(dtypes=DTYPES, source=GILES, reports=True)
def eig_(A: Array) -> tuple[Array, Array]:
    """Eigenvalues and eigenvectors, of length 1, the largest element of each real; complex."""
    found = np.linalg.eig(A)
    dtype = np.result_type(A, np.complex64)
    return found.eigenvalues.astype(dtype), found.eigenvectors.astype(dtype)


@eig_.infer
def _(A: Node) -> Outputs:
    batch, _, N = check("linalg.eig", A, square=True)
    return [((*batch, N), A.dtype.complex), (A.shape, A.dtype.complex)]


@eig_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node) -> Node:
    """V^-H (diag(gL) + (V^H gV - V^H V diag(Re(V^H gV))) / E*) V^H."""
    values, vectors = y
    if A.shape[-1] == 0:
        return zeros_like(A)
    inner = zeros_like(vectors) if g[0] is None else on_diagonal(g[0])
    if g[1] is not None:
        turned = adjoint(vectors)
        along = product(turned, _against_phases(g[1], vectors))
        length = reduced(sum_, real_.apply(conjugated(vectors) * g[1]), -2)
        lengths = on_diagonal(as_node(length, vectors.dtype, A.device))
        inner = inner + (along - product(turned, vectors, lengths)) * conjugated(gaps(values))
    found = solved("linalg.eig", adjoint(vectors), product(inner, adjoint(vectors)))
    return found if A.dtype.is_complex else real_.apply(found)


def _against_phases(g: Node, vectors: Node) -> Node:
    """The cotangent of vectors whose phase is free, for those whose largest element is real."""
    size = find("abs").apply(vectors)
    largest = reduced(find("max"), size, -2, True)  # type: ignore[arg-type]
    place = find("eq").apply(size, expanded(largest, size.shape))
    turning = reduced(sum_, imag_.apply(conjugated(vectors) * g), -2, True)
    count = reduced(sum_, as_node(place, size.dtype, size.device), -2, True)
    share = expanded(turning / (count * largest), size.shape)
    real = real_.apply(vectors)
    sign = find("sign").apply(real)
    lost = complex_.apply(zeros_like(share), chosen(place, share * sign, 0.0))
    return g - lost


eig_.samples(square_sample)


@public("linalg")
def eig(A: Node) -> EigResult:
    """Eigenvalues and eigenvectors of square matrices: A = V diag(L) V^-1; complex.

    Args:
        A: (..., N, N), real or complex.
    Returns:
        eigenvalues (..., N) in no order, eigenvectors (..., N, N) as columns of length 1. Their
        gradients need distinct eigenvalues.

    >>> from numbatorch import tensor
    >>> eig(tensor([[2.0, 0.0], [0.0, 1.0]])).eigenvalues.tolist()
    [(2+0j), (1+0j)]
    """
    return EigResult(*eig_.parts(A))


@structured(dtypes=DTYPES, source=GILES, reports=True)
def eigvals_(A: Array) -> Array:
    """Eigenvalues of each matrix, complex."""
    return np.linalg.eigvals(A).astype(np.result_type(A, np.complex64))


@eigvals_.infer
def _(A: Node) -> tuple[Shape, DType]:
    batch, _, N = check("linalg.eigvals", A, square=True)
    return (*batch, N), A.dtype.complex


@eigvals_.vjp
def _(g: Node, y: Node, A: Node) -> Node:
    turned = adjoint(eig_.parts(A)[1])
    found = solved("linalg.eigvals", turned, product(on_diagonal(g), turned))
    return found if A.dtype.is_complex else real_.apply(found)


eigvals_.samples(square_sample)


@public("linalg")
def eigvals(A: Node) -> Node:
    """Eigenvalues (..., N) of square matrices, complex and in no order; see `eig`.

    >>> from numbatorch import tensor
    >>> eigvals(tensor([[2.0, 0.0], [0.0, 1.0]])).tolist()
    [(2+0j), (1+0j)]
    """
    return eigvals_.apply(A)


class SVDResult(NamedTuple):
    """U (..., M, K) or (..., M, M), S (..., K) descending, Vh (..., K, N) or (..., N, N)."""

    U: Node
    S: Node
    Vh: Node


# LAPACK's phases of complex vectors have no derivative.
@structured(dtypes=REAL, source=GILES, reports=True)
def svd_(A: Array, *, full_matrices: bool) -> tuple[Array, Array, Array]:
    """A = U diag(S) Vh, S descending."""
    return lapack.svd(A, full_matrices)


@svd_.infer
def _(A: Node, *, full_matrices: bool) -> Outputs:
    batch, M, N = check("linalg.svd", A)
    K = min(M, N)
    rows, cols = (M, N) if full_matrices else (K, K)
    shapes = ((M, rows), (K,), (cols, N))
    dtypes = (A.dtype, A.dtype.part, A.dtype)
    return [((*batch, *size), dtype) for size, dtype in zip(shapes, dtypes, strict=True)]


@svd_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node, *, full_matrices: bool) -> Node:
    U, S, Vh = y
    M, N = A.shape[-2:]
    K = min(M, N)
    gU, gS, gVh = g
    beyond = (M > K and not within(gU, -1, K)) or (N > K and not within(gVh, -2, K))
    if full_matrices and beyond:
        problem = "columns of U or rows of Vh beyond the smaller size have no gradient"
        raise GradientError(message("linalg.svd", problem, describe(A), "full_matrices is True"))
    U, Vh = narrow(U, -1, 0, K), narrow(Vh, -2, 0, K)
    gU, gVh = (
        None if part is None else narrow(part, dim, 0, K) for part, dim in ((gU, -1), (gVh, -2))
    )
    by_columns = expanded(unsqueeze(S, -2), (*S.shape, K))
    by_rows = expanded(unsqueeze(S, -1), (*S.shape, K))
    zeros = const(0.0, A.dtype, A.device, (*S.shape, K))
    inner = zeros if gS is None else on_diagonal(as_node(gS, A.dtype, A.device))
    if gU is None and gVh is None:
        return product(U, inner, Vh)
    apart = gaps(S * S)
    outer, turns = [], []
    if gU is not None:
        along = product(adjoint(U), gU)
        skew = along - adjoint(along)
        turns.append(skew)
        inner = inner + skew * apart * by_columns
        if M > K:
            across = gU - product(U, along)
            outer.append(product(across / expanded(unsqueeze(S, -2), across.shape), Vh))
    if gVh is not None:
        along = product(Vh, adjoint(gVh))
        skew = along - adjoint(along)
        turns.append(-skew)
        inner = inner + by_rows * skew * apart
        if N > K:
            across = gVh - product(adjoint(along), Vh)
            outer.append(product(U, across / expanded(unsqueeze(S, -1), across.shape)))
    if A.dtype.is_complex:  # phases, which U and V share
        turned = sum(turns[1:], turns[0]) * 0.25
        place = on_diagonal(const(1.0, S.dtype, S.device, (K,)))
        inner = inner + turned * (place / by_rows)
    return sum(outer, product(U, inner, Vh))


def _svd_sample(rng: Any) -> Any:
    return any_sample(rng)[0], {"full_matrices": False}


svd_.samples(_svd_sample)


@public("linalg")
def svd(A: Node, full_matrices: bool = True, *, driver: str | None = None) -> SVDResult:
    """The singular value decomposition A = U diag(S) Vh.

    Args:
        A: (..., M, N).
        full_matrices: whether U is (..., M, M) and Vh (..., N, N), not (..., M, K) and (..., K, N).
        driver: for PyTorch's GPUs; it has to be None.
    Returns:
        U, S (..., K) descending, Vh. Gradients need distinct singular values; columns of U and rows
        of Vh beyond K have none.

    >>> from numbatorch import tensor
    >>> svd(tensor([[3.0, 0.0], [0.0, 4.0]])).S.tolist()
    [4.0, 3.0]
    """
    _no_driver("linalg.svd", driver)
    return SVDResult(*svd_.parts(A, full_matrices=full_matrices))


def _no_driver(operator: str, driver: str | None) -> None:
    if driver is not None:
        raise ValueError(message(operator, f"driver is {driver!r}, which is for PyTorch's GPUs"))


@structured(dtypes=DTYPES, source=GILES, reports=True)
def svdvals_(A: Array) -> Array:
    """Singular values, descending."""
    return lapack.singular_values(A)


@svdvals_.infer
def _(A: Node) -> tuple[Shape, DType]:
    batch, M, N = check("linalg.svdvals", A)
    return (*batch, min(M, N)), A.dtype.part


@svdvals_.vjp
def _(g: Node, y: Node, A: Node) -> Node:
    U, _, Vh = svd_.parts(A, full_matrices=False)
    return product(U * expanded(unsqueeze(g, -2), U.shape), Vh)


svdvals_.samples(any_sample)
svdvals_.peer = "torch.linalg.svdvals"


@public("linalg")
def svdvals(A: Node, *, driver: str | None = None) -> Node:
    """Singular values (..., K), descending, of matrices (..., M, N); see `svd`.

    >>> from numbatorch import tensor
    >>> svdvals(tensor([[3.0, 0.0], [0.0, 4.0]])).tolist()
    [4.0, 3.0]
    """
    _no_driver("linalg.svdvals", driver)
    return svdvals_.apply(A)
