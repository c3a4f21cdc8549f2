"""What linear algebra on batches of matrices is built with: checks, adjoints, triangles, samples.

`A` is (..., M, N), and K the smaller of the two. LAPACK does it on the host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch.dtype import COMPLEX, DType, bool_, float32, float64
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.compare import where
from numbatorch.ops.diagonals import diag_embed, tril, triu
from numbatorch.ops.matmul import multiplied
from numbatorch.ops.operands import const, describe, expanded, is_constant
from numbatorch.ops.parts import conjugated
from numbatorch.ops.view import transpose, unsqueeze
from numbatorch.ops.write_through import STRAIGHT_THROUGH
from numbatorch.shape import Shape, broadcast, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Outputs = list[tuple[Shape, DType]]

REAL = (float64, float32)
DTYPES = (*COMPLEX, *REAL)


def check(operator: str, A: Node, square: bool = False) -> tuple[Shape, int, int]:
    """Batch shape, M and N.

    Raises:
        DTypeError: not float32, float64 or complex.
        ShapeError: no matrix, or not a square one where it must be.
    """
    if A.dtype not in DTYPES:
        hint = None if A.dtype.is_complex else "A.float() has dtype float32"
        problem = "takes float32 or float64, real or complex"
        raise DTypeError(message(operator, problem, describe(A), hint=hint))
    if len(A.shape) < 2 or (square and A.shape[-1] != A.shape[-2]):
        wanted = "(..., N, N)" if square else "(..., M, N)"
        raise ShapeError(message(operator, f"A must be {wanted}", f"A {describe(A)}"))
    M, N = A.shape[-2:]
    return A.shape[:-2], M, N


def check_alike(operator: str, A: Node, B: Node, name: str = "B") -> None:
    """Raise DTypeError unless both have one dtype."""
    if A.dtype is not B.dtype:
        rows = (f"A {describe(A)}", f"{name} {describe(B)}")
        raise DTypeError(message(operator, f"A and {name} must have one dtype", *rows))


def adjoint(x: Node) -> Node:
    """The conjugate transpose of each matrix."""
    return conjugated(transpose(x, -1, -2))


def turned(x: Node) -> Node:
    """The transpose of each matrix."""
    return transpose(x, -1, -2)


def product(*factors: Node) -> Node:
    """The product of matrices from the left."""
    found = factors[0]
    for factor in factors[1:]:
        found = multiplied(found, factor)
    return found


def triangle(x: Node, lower: bool, diagonal: bool) -> Node:
    """The elements below (or above) the diagonal, and those on it if asked; zeros elsewhere."""
    if lower:
        return tril(x, 0 if diagonal else -1)
    return triu(x, 0 if diagonal else 1)


def on_diagonal(x: Node) -> Node:
    """(..., N, N) with x (..., N) on the diagonal."""
    return diag_embed(x)


def identity(N: int, like: Node, batch: Shape = ()) -> Node:
    """(*batch, N, N)."""
    one = diag_embed(const(1.0, like.dtype, like.device, (N,)))
    return expanded(one, (*batch, N, N))


def gaps(x: Node) -> Node:
    """1 / (x[j] - x[i]) for x (..., N), zeros on the diagonal."""
    (N,) = x.shape[-1:]
    shape = (*x.shape, N)
    apart = expanded(unsqueeze(x, -2), shape) - expanded(unsqueeze(x, -1), shape)
    one = identity(N, x, x.shape[:-1])
    return (1.0 - one) / (apart + one)


def hermitian(x: Node) -> Node:
    """The Hermitian part, (x + x^H) / 2."""
    return (x + adjoint(x)) * 0.5


def mirrored(A: Node, lower: bool, conjugate: bool = True) -> Node:
    """The Hermitian matrix with this triangle of A; gradients go to A as if it had been one.

    Or the symmetric one, unless `conjugate`.
    """
    strict, along = triangle(A, lower, False), triangle(triangle(A, True, True), False, True)
    if conjugate:
        whole = strict + adjoint(strict) + hermitian(along)
    else:
        whole = strict + turned(strict) + along
    return Node(STRAIGHT_THROUGH, (A, whole), {}, A.shape, A.dtype, A.device)


def hermitian_array(A: Array) -> Array:
    """The Hermitian part of the matrices of an array."""
    return np.asarray((A + A.conj().swapaxes(-1, -2)) / 2)


def or_zeros(g: Node | None, like: Node) -> Node:
    """A cotangent, zeros if none flows."""
    return const(0.0, like.dtype, like.device, like.shape) if g is None else g


def within(g: Node | None, dim: int, size: int) -> bool:
    """Whether a cotangent is zero for certain from index `size` of a dimension on."""
    if g is None or is_constant(g, 0):
        return True
    if g.op.name in ("add", "cast"):
        return all(within(x, dim, size) for x in g.inputs)
    if g.op.name == "permute":
        return within(g.inputs[0], g.attrs["dims"][dim], size)
    if g.op.name != "slice_update":
        return False
    base, value = g.inputs
    start, step = g.attrs["starts"][dim], g.attrs["steps"][dim]
    last = start + step * (value.shape[dim] - 1)
    return (not numel(value.shape) or max(start, last) < size) and within(base, dim, size)


def without_slope(value: Node, x: Node) -> Node:
    """`value`, which does not change with `x`, with a gradient of zeros; x has its shape."""
    return where.apply(const(True, bool_, x.device, value.shape), value, x)


def chosen(condition: Node, yes: Any, no: Any) -> Node:
    """`where`."""
    return where.apply(condition, yes, no)


def joint_batch(operator: str, A: Node, B: Node) -> tuple[Node, Node]:
    """Both with the batch dimensions to which they broadcast."""
    batch = broadcast(operator, A.shape[:-2], B.shape[:-2])
    return expanded(A, (*batch, *A.shape[-2:])), expanded(B, (*batch, *B.shape[-2:]))


def each(function: Callable[..., Any], *arrays: Array) -> list[Any]:
    """What `function` gives for each matrix of a batch, in row-major order."""
    flat = [array.reshape(numel(array.shape[:-2]), *array.shape[-2:]) for array in arrays]
    return [function(*matrices) for matrices in zip(*flat, strict=True)]


def together(found: list[Array], shape: Shape, dtype: Any) -> Array:
    """The results for the matrices of a batch as one array."""
    if not found:
        return np.zeros(shape, dtype)
    return np.ascontiguousarray(np.stack(found).reshape(shape).astype(dtype, copy=False))


def matrices(rng: np.random.Generator, *sizes: int) -> Array:
    """Matrices with singular values 1, 2, 3, ...: far from each other and from zero."""
    M, N = sizes[-2:]
    bases = [np.linalg.qr(rng.standard_normal((*sizes[:-2], n, n)))[0] for n in (M, N)]
    values = np.arange(1, min(M, N) + 1)
    return np.asarray((bases[0][..., : min(M, N)] * values) @ bases[1][..., : min(M, N), :])


def square_sample(rng: Draw) -> Any:
    """Square matrices."""
    N = int(rng.integers(1, 5))
    return [matrices(rng, int(rng.integers(0, 3)), N, N)], {}


def any_sample(rng: Draw) -> Any:
    """Matrices of any sizes."""
    M, N = (int(n) for n in rng.integers(1, 5, 2))
    return [matrices(rng, 2, M, N)], {}


def definite_sample(rng: Draw) -> Any:
    """Symmetric matrices with eigenvalues 1, 2, 3, ..."""
    N = int(rng.integers(1, 5))
    vectors = np.linalg.qr(rng.standard_normal((2, N, N)))[0]
    return [(vectors * np.arange(1, N + 1)) @ vectors.swapaxes(-1, -2)], {}
