"""Inverses and solutions of linear systems, by LAPACK; triangular ones by BLAS."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import lapack, view
from numbatorch.ops.host import scipy
from numbatorch.ops.matrices import (
    DTYPES,
    Outputs,
    adjoint,
    check,
    check_alike,
    definite_sample,
    each,
    hermitian,
    hermitian_array,
    identity,
    joint_batch,
    matrices,
    product,
    square_sample,
    together,
    triangle,
    turned,
)
from numbatorch.ops.operands import describe, expanded
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]

GILES = "https://people.maths.ox.ac.uk/gilesm/files/NA-08-01.pdf"


@structured(dtypes=DTYPES, source=GILES, reports=True)
def inv_(A: Array) -> Array:
    """The inverse of each matrix."""
    return lapack.inverse(A)


@inv_.infer
def _(A: Node) -> tuple[Shape, DType]:
    check("linalg.inv", A, square=True)
    return A.shape, A.dtype


@inv_.vjp
def _(g: Node, y: Node, A: Node) -> Node:
    return -product(adjoint(y), g, adjoint(y))


inv_.samples(square_sample)
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


@public()
def inverse(input: Node) -> Node:
    """A^-1 of each matrix (..., N, N), as `linalg.inv`.

    >>> inverse(tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return inv_.apply(input)


class InverseResult(NamedTuple):
    """The inverse, and info (...): 0, or which pivot of a singular matrix is 0."""

    inverse: Node
    info: Node


@structured(dtypes=DTYPES, source=GILES, reports=True)
def inv_ex_(A: Array) -> tuple[Array, Array]:
    """The inverse of each matrix, infinity if there is none, and which of its pivots is 0."""
    return _inverses(A)


@lapack.nan_of_nan
def _inverses(A: Array) -> tuple[Array, Array]:
    (getrf,) = scipy("linalg").lapack.get_lapack_funcs(("getrf",), (A,))
    inverse_of = lapack.inverse_of_factors(A)

    def one(matrix: Array) -> tuple[Array, int]:
        if not matrix.size:
            return matrix, 0
        factors, pivots, info = getrf(matrix)
        if info > 0:
            return np.full_like(matrix, np.inf), info
        return inverse_of(factors, pivots), 0

    found = each(one, A)
    inverse = together([x for x, _ in found], A.shape, A.dtype)
    return inverse, np.array([info for _, info in found], np.int32).reshape(A.shape[:-2])


@inv_ex_.infer
def _(A: Node) -> Outputs:
    batch, _, _ = check("linalg.inv_ex", A, square=True)
    return [(A.shape, A.dtype), (batch, dt.int32)]


@inv_ex_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node) -> Node | None:
    return None if g[0] is None else -product(adjoint(y[0]), g[0], adjoint(y[0]))


inv_ex_.samples(square_sample)
inv_ex_.peer = "torch.linalg.inv_ex"


@public("linalg")
def inv_ex(A: Node, *, check_errors: bool = False) -> InverseResult:
    """The inverse of each matrix, without an error for a singular one: infinity, and its info.

    Where we differ from PyTorch: it leaves what stands in memory for a singular matrix.

    Args:
        check_errors: raise as `linalg.inv` does.

    >>> inv_ex(tensor([[0.0, 0.0], [0.0, 1.0]])).info
    tensor(1, dtype=numbatorch.int32)
    """
    found = InverseResult(*inv_ex_.parts(A))
    return InverseResult(inv_.apply(A), found.info) if check_errors else found


@structured(dtypes=DTYPES, source=GILES, reports=True)
def solve_(A: Array, B: Array) -> Array:
    """X with A X = B, for matrices A (..., N, N) and B (..., N, K) of the same batch."""
    return lapack.solution(A, B)


@solve_.infer
def _(A: Node, B: Node) -> tuple[Shape, DType]:
    check("linalg.solve", A, square=True)
    return B.shape, B.dtype


@solve_.vjp
def _(g: Node, y: Node, A: Node, B: Node) -> tuple[Node, Node]:
    back = solve_.apply(adjoint(A), g)
    return -product(back, adjoint(y)), back


@solve_.samples
def _(rng: Draw) -> Any:
    N, K = (int(n) for n in rng.integers(1, 5, 2))
    return [matrices(rng, 2, N, N), rng.standard_normal((2, N, K))], {}


solve_.peer = "torch.linalg.solve"


@public("linalg")
def solve(A: Node, B: Node, *, left: bool = True) -> Node:
    """X with A X = B, or X A = B if not `left`; batches broadcast.

    Args:
        A: (..., N, N).
        B: (..., N, K), (..., K, N) if not `left`; (N,) or one vector for each matrix of A.
    Raises:
        nt.LinAlgError: a matrix is singular; raised when the value is computed.

    >>> from numbatorch import tensor
    >>> solve(tensor([[2.0, 0.0], [0.0, 4.0]]), tensor([2.0, 2.0])).tolist()
    [1.0, 0.5]
    """
    matrix, right, finish = system("linalg.solve", A, B, left)
    return finish(solve_.apply(matrix, right))


def system(
    operator: str, A: Node, B: Node, left: bool
) -> tuple[Node, Node, Callable[[Node], Node]]:
    """Matrices L and R of one batch, and what makes X of `solve` of the Y with L Y = R."""
    check(operator, A, square=True)
    check_alike(operator, A, B)
    vector = len(B.shape) == 1 or (len(B.shape) == len(A.shape) - 1 and B.shape == A.shape[:-1])
    if not B.shape:
        raise ShapeError(message(operator, "B is 0-d", f"A {describe(A)}"))
    matrix = A if left else turned(A)
    if vector:
        pair = _aligned(operator, matrix, view.unsqueeze(B, -1))
        return *pair, lambda Y: view.reshape.apply(Y, shape=Y.shape[:-1])
    if left:
        return *_aligned(operator, matrix, B), lambda Y: Y
    return *_aligned(operator, matrix, turned(B)), turned


def _aligned(operator: str, A: Node, B: Node) -> tuple[Node, Node]:
    if A.shape[-1] != B.shape[-2]:
        rows = (f"A {describe(A)}", f"B {describe(B)}")
        raise ShapeError(message(operator, "A and B have different numbers of rows", *rows))
    return joint_batch(operator, A, B)


def solved(operator: str, A: Node, B: Node) -> Node:
    """X with A X = B; batches broadcast."""
    return solve_.apply(*_aligned(operator, A, B))


def _triangular_reference(A: Array, B: Array, *, upper: bool, unitriangular: bool) -> Array:
    blas = scipy("linalg").blas
    (trsm,) = blas.get_blas_funcs(("trsm",), (A, B))

    def one(matrix: Array, right: Array) -> Array:
        # In memory a matrix is the transpose of a Fortran one: X^T A^T = B^T.
        options = {"side": 1, "lower": int(upper), "diag": int(unitriangular)}
        found: Array = trsm(1.0, matrix.T, right.T, **options)
        return found.T

    if not B.size:
        return np.zeros(B.shape, B.dtype)
    return together(each(one, A, B), B.shape, B.dtype)


@structured(dtypes=DTYPES, source=GILES, reports=True)
def solve_triangular_(A: Array, B: Array, *, upper: bool, unitriangular: bool) -> Array:
    """X with A X = B, for a triangle of A, whose diagonal counts as ones if `unitriangular`."""
    return _triangular_reference(A, B, upper=upper, unitriangular=unitriangular)


@solve_triangular_.infer
def _(A: Node, B: Node, *, upper: bool, unitriangular: bool) -> tuple[Shape, DType]:
    check("linalg.solve_triangular", A, square=True)
    return B.shape, B.dtype


@solve_triangular_.vjp
def _(g: Node, y: Node, A: Node, B: Node, *, upper: bool, unitriangular: bool) -> Any:
    back = solve_triangular_.apply(adjoint(A), g, upper=not upper, unitriangular=unitriangular)
    return triangle(-product(back, adjoint(y)), not upper, not unitriangular), back


@solve_triangular_.samples
def _(rng: Draw) -> Any:
    N, K = (int(n) for n in rng.integers(1, 5, 2))
    attrs = {"upper": bool(rng.integers(2)), "unitriangular": bool(rng.integers(2))}
    A = rng.standard_normal((2, N, N)) / 4 + 2 * np.eye(N)
    return [A, rng.standard_normal((2, N, K))], attrs


solve_triangular_.peer = "torch.linalg.solve_triangular"


@public("linalg")
def solve_triangular(
    A: Node, B: Node, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Node:
    """X with A X = B, or X A = B if not `left`, for triangular A; batches broadcast.

    A zero on the diagonal is divided by, which gives infinity or NaN.

    Args:
        A: (..., N, N), of which one triangle is read.
        B: (..., N, K), or (..., K, N) if not `left`.
        upper: whether that is the upper one.
        unitriangular: take the diagonal as ones, whatever is there.

    >>> from numbatorch import tensor
    >>> A = tensor([[2.0, 0.0], [2.0, 1.0]])
    >>> solve_triangular(A, tensor([[2.0], [4.0]]), upper=False).tolist()
    [[1.0], [2.0]]
    """
    check("linalg.solve_triangular", A, square=True)
    check_alike("linalg.solve_triangular", A, B)
    check("linalg.solve_triangular", B)
    if not left:
        other = solve_triangular(turned(A), turned(B), upper=not upper, unitriangular=unitriangular)
        return turned(other)
    return triangular(A, B, upper, unitriangular)


def triangular(A: Node, B: Node, upper: bool, unitriangular: bool = False) -> Node:
    """X with A X = B, for a triangle of A; batches broadcast."""
    A, B = _aligned("linalg.solve_triangular", A, B)
    return solve_triangular_.apply(A, B, upper=upper, unitriangular=unitriangular)


class TriangularSolveResult(NamedTuple):
    """The solution X, and the triangle of A that was used."""

    solution: Node
    cloned_coefficient: Node


@public()
def triangular_solve(
    input: Node, A: Node, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> TriangularSolveResult:
    """X with A X = input, or A^T X = input, for triangular A; see `linalg.solve_triangular`.

    Args:
        input: (..., N, K).
        A: (..., N, N); what is beyond its triangle is not read.

    >>> triangular_solve(tensor([[4.0], [2.0]]), tensor([[1.0, 1.0], [0.0, 2.0]])).solution
    tensor([[3.],
            [1.]])
    """
    check("triangular_solve", A, square=True)
    check("triangular_solve", input)
    check_alike("triangular_solve", A, input, "input")
    A, B = joint_batch("triangular_solve", A, input)
    factor = turned(A) if transpose else A
    found = triangular(factor, B, upper != transpose, unitriangular)
    return TriangularSolveResult(found, view.clone.apply(A))


@structured(dtypes=DTYPES, source="https://arxiv.org/abs/1602.07527", reports=True)
def cholesky_(A: Array, *, whole: bool = True) -> Array:
    """L, lower triangular, with L L^H the Hermitian part of A, or what its lower triangle is of."""
    return lapack.cholesky(hermitian_array(A) if whole else A)


@cholesky_.infer
def _(A: Node, *, whole: bool) -> tuple[Shape, DType]:
    check("linalg.cholesky", A, square=True)
    return A.shape, A.dtype


@cholesky_.vjp
def _(g: Node, y: Node, A: Node, *, whole: bool) -> Node:
    return cholesky_gradient(g, y)


def cholesky_gradient(g: Node, y: Node) -> Node:
    """L^-H P L^-1 with P the lower half of L^H g, of L = y."""
    inner = product(adjoint(y), triangle(g, True, True))
    half = triangle(inner, True, False) + triangle(triangle(inner, True, True), False, True) * 0.5
    upper = adjoint(y)
    right = adjoint(triangular(upper, adjoint(half), True))
    return hermitian(triangular(upper, right, True))


cholesky_.samples(definite_sample)
cholesky_.peer = "torch.linalg.cholesky"


@public("linalg")
def cholesky(A: Node, *, upper: bool = False) -> Node:
    """The triangular L with A = L L^H, of Hermitian positive-definite matrices.

    Args:
        A: (..., N, N), of which the triangle that is asked for is read.
        upper: give L^H, upper triangular.
    Raises:
        nt.LinAlgError: a matrix is not positive-definite; raised when the value is computed.

    >>> from numbatorch import tensor
    >>> cholesky(tensor([[4.0, 0.0], [0.0, 9.0]])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    check("linalg.cholesky", A, square=True)
    found = cholesky_.apply(adjoint(A) if upper else A, whole=False)
    return adjoint(found) if upper else found


@public()
def cholesky_solve(input: Node, input2: Node, upper: bool = False) -> Node:
    """X with A X = input, A given by its Cholesky factor; batches broadcast.

    Args:
        input: (..., N, K).
        input2: (..., N, N), L of A = L L^H, or U of A = U^H U if `upper`.

    >>> cholesky_solve(tensor([[4.0]]), tensor([[2.0]]))
    tensor([[1.]])
    """
    check("cholesky_solve", input2, square=True)
    check("cholesky_solve", input)
    check_alike("cholesky_solve", input2, input, "input")
    first, second = (adjoint(input2), input2) if upper else (input2, adjoint(input2))
    return triangular(second, triangular(first, input, False), True)


@public()
def cholesky_inverse(input: Node, upper: bool = False) -> Node:
    """The inverse of A = L L^H, of its Cholesky factor (..., N, N); see `cholesky_solve`.

    >>> cholesky_inverse(tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.25, 0.0], [0.0, 0.0625]]
    """
    batch, _, N = check("cholesky_inverse", input, square=True)
    return cholesky_solve(expanded(identity(N, input), (*batch, N, N)), input, upper)
