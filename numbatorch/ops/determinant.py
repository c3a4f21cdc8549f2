"""Determinants, and their first and second derivatives at singular matrices too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch.dtype import DType
from numbatorch.graph import Node, find
from numbatorch.ops import lapack
from numbatorch.ops.linalg import inv_
from numbatorch.ops.matrices import (
    DTYPES,
    Outputs,
    adjoint,
    check,
    matrices,
    product,
    square_sample,
)
from numbatorch.ops.operands import expanded, zeros_like
from numbatorch.ops.parts import complex_, conjugated, imag_
from numbatorch.ops.reduce import reduced, sum_
from numbatorch.ops.strided import diagonal
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import reshape
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]

JACOBI = "https://en.wikipedia.org/wiki/Jacobi%27s_formula"


@structured(dtypes=DTYPES, source=JACOBI, reports=True)
def det_(A: Array) -> Array:
    """The determinant of each matrix."""
    return np.asarray(lapack.determinant(A), A.dtype)


@det_.infer
def _(A: Node) -> tuple[Shape, DType]:
    batch, _, _ = check("linalg.det", A, square=True)
    return batch, A.dtype


def _over_matrices(x: Node, A: Node) -> Node:
    """One number for each matrix, as many as it has elements."""
    return expanded(reshape.apply(x, shape=(*x.shape, 1, 1)), A.shape)


@det_.vjp
def _(g: Node, y: Node, A: Node) -> Node:
    return _over_matrices(g, A) * adjoint(adjugate_.apply(A))


det_.samples(square_sample)
det_.peer = "torch.linalg.det"


def _others(values: Array) -> Array:
    """(..., N): the products of all values but one."""
    N = values.shape[-1]
    wide = np.where(np.eye(N, dtype=bool), 1, values[..., None, :])
    return np.asarray(wide.prod(-1))


def _bases(A: Array) -> tuple[Array, Array, Array, Array]:
    """U, S, Vh and the determinant of U Vh."""
    U, S, Vh = lapack.svd(A)
    return U, S, Vh, lapack.determinant(U) * lapack.determinant(Vh)


@structured(dtypes=DTYPES, source=JACOBI, reports=True)
def adjugate_(A: Array) -> Array:
    """The transposed matrix of cofactors, det(A) inv(A) where there is an inverse."""
    U, S, Vh, sign = _bases(A)
    V, Uh = Vh.conj().swapaxes(-1, -2), U.conj().swapaxes(-1, -2)
    found = (V * _others(S)[..., None, :]) @ Uh
    return np.asarray(found * sign[..., None, None], A.dtype)


@adjugate_.infer
def _(A: Node) -> tuple[Shape, DType]:
    check("linalg.det", A, square=True)
    return A.shape, A.dtype


@adjugate_.vjp
def _(g: Node, y: Node, A: Node) -> Node:
    return adjoint(adjugate_slope_.apply(A, adjoint(g)))


adjugate_.samples(square_sample)


@structured(dtypes=DTYPES, source=JACOBI, reports=True)
def adjugate_slope_(A: Array, E: Array) -> Array:
    """The derivative of the adjugate of A along E.

    With A = U S V^H and F = U^H E V it is det(U V^H) V D U^H, D[i, i] the sum over k of F[k, k]
    times the product of all S but i and k, and D[i, j] = -F[i, j] times that of all but i and j.
    """
    U, S, Vh, sign = _bases(A)
    N = A.shape[-1]
    V, Uh = Vh.conj().swapaxes(-1, -2), U.conj().swapaxes(-1, -2)
    F = Uh @ E @ V
    eye = np.eye(N, dtype=bool)
    keep = ~(eye[:, None, :] | eye[None, :, :])
    pairs = np.where(keep, S[..., None, None, :], 1).prod(-1) * ~eye
    D = -F * pairs
    along = np.diagonal(F, axis1=-2, axis2=-1)
    D[..., eye] = (pairs @ along[..., None])[..., 0]
    return np.asarray(V @ D @ Uh * sign[..., None, None], A.dtype)


@adjugate_slope_.infer
def _(A: Node, E: Node) -> tuple[Shape, DType]:
    return A.shape, A.dtype


@adjugate_slope_.vjp
def _(g: Node, y: Node, A: Node, E: Node) -> tuple[Node, Node]:
    """Of E, in which it is linear, by itself; of A, which has an inverse W, X^H with

    X = det(A) ((t c - s) W - c W E W - t W G W + W E W G W + W G W E W), G the adjoint of g,
    t = tr(W E), c = tr(G W), s = tr(G W E W).
    """
    G = adjoint(g)
    back = adjoint(adjugate_slope_.apply(A, G))
    W, det = inv_.apply(A), _over_matrices(det_.apply(A), A)
    along, across = product(W, E, W), product(W, G, W)
    t, c, s = _trace(product(W, E), A), _trace(product(G, W), A), _trace(product(G, along), A)
    both = product(along, G, W) + product(across, E, W)
    return adjoint(det * ((t * c - s) * W - c * along - t * across + both)), back


def _trace(x: Node, A: Node) -> Node:
    along = diagonal.apply(x, offset=0, dim1=len(x.shape) - 2, dim2=len(x.shape) - 1)
    return _over_matrices(reduced(sum_, along, -1), A)


@adjugate_slope_.samples
def _(rng: Draw) -> Any:
    N = int(rng.integers(1, 5))
    return [matrices(rng, 2, N, N), rng.standard_normal((2, N, N))], {}


@public("linalg")
def det(A: Node) -> Node:
    """The determinant of each matrix of A (..., N, N).

    Its gradient and that gradient's are exact at singular matrices too; the third needs inverses.

    >>> from numbatorch import tensor
    >>> det(tensor([[2.0, 0.0], [0.0, 4.0]])).item()
    8.0
    """
    return det_.apply(A)


class SlogdetResult(NamedTuple):
    """The sign (..., ), of complex matrices on the unit circle, and log |det A|."""

    sign: Node
    logabsdet: Node


@structured(dtypes=DTYPES, source=JACOBI, reports=True)
def slogdet_(A: Array) -> tuple[Array, Array]:
    """The sign and the logarithm of the size of each determinant; 0 and -inf of a singular one."""
    sign, size = lapack.sign_and_logarithm(A)
    return np.asarray(sign, A.dtype), np.asarray(size, A.real.dtype)


@slogdet_.infer
def _(A: Node) -> Outputs:
    batch, _, _ = check("linalg.slogdet", A, square=True)
    return [(batch, A.dtype), (batch, A.dtype.part)]


@slogdet_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], A: Node) -> Node:
    """(g of the logarithm + i Im(conj(sign) g of the sign)) A^-H."""
    scale = zeros_like(y[1]) if g[1] is None else g[1]
    if A.dtype.is_complex:
        turning = zeros_like(y[1])
        if g[0] is not None:
            turning = imag_.apply(conjugated(y[0]) * g[0])
        scale = complex_.apply(scale, turning)
    return _over_matrices(scale, A) * adjoint(inv_.apply(A))


slogdet_.samples(square_sample)
slogdet_.peer = "torch.linalg.slogdet"


@public("linalg")
def slogdet(A: Node) -> SlogdetResult:
    """The sign and the logarithm of the size of each determinant: det A = sign * exp(logabsdet).

    >>> from numbatorch import tensor
    >>> slogdet(tensor([[0.0, 1.0], [1.0, 0.0]])).sign.item()
    -1.0
    """
    return SlogdetResult(*slogdet_.parts(A))


@public()
def logdet(input: Node) -> Node:
    """The logarithm of each determinant; NaN of a negative one.

    >>> logdet(tensor([[1.0, 0.0], [0.0, 1.0]]))
    tensor(0.)
    """
    sign, size = slogdet_.parts(input)
    if input.dtype.is_complex:
        return find("log").apply(sign) + size
    negative = find("eq").apply(sign, -1)
    return find("where").apply(negative, float("nan"), size)
