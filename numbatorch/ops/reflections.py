"""Products of Householder's reflections, as LAPACK's factors of QR hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numbatorch.errors import GradientError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.composed import composed
from numbatorch.ops.diagonals import powers
from numbatorch.ops.host import scipy
from numbatorch.ops.linalg import triangular
from numbatorch.ops.matrices import (
    DTYPES,
    Outputs,
    adjoint,
    any_sample,
    check,
    check_alike,
    each,
    identity,
    on_diagonal,
    product,
    together,
    triangle,
)
from numbatorch.ops.operands import describe
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import narrow, unsqueeze

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]

WY = "https://doi.org/10.1137/0910005"


def _factors(A: Node, tau: Node) -> tuple[Node, Node]:
    """V, the vectors of the reflections as columns, and T, of which their product is 1 - V T V^H.

    With D = diag(tau) it is T = (1 + D (the upper triangle of V^H V))^-1 D.
    """
    M, K = A.shape[-2], tau.shape[-1]
    one = narrow(identity(M, A, A.shape[:-2]), -1, 0, K)
    V = triangle(narrow(A, -1, 0, K), True, False) + one
    D = on_diagonal(tau)
    inner = product(D, triangle(product(adjoint(V), V), False, False))
    return V, triangular(inner, D, True, True)


def _check(operator: str, A: Node, tau: Node) -> None:
    batch, M, N = check(operator, A)
    check_alike(operator, A, tau, "tau")
    rows = (f"A {describe(A)}", f"tau {describe(tau)}")
    if M < N:
        raise ShapeError(message(operator, "A has more columns than rows", *rows))
    if not tau.shape or tau.shape[:-1] != batch or tau.shape[-1] > N:
        raise ShapeError(message(operator, "tau must be (..., K) of the batch of A, K <= N", *rows))


def _reference(A: Array, tau: Array) -> Array:
    M, N = A.shape[-2:]
    out = np.broadcast_to(np.eye(M, dtype=A.dtype), (*A.shape[:-2], M, M)).copy()
    for k in range(tau.shape[-1]):
        v = np.where(np.arange(M) < k, 0, A[..., :, k])
        v[..., k] = 1
        turn = v[..., :, None] * v.conj()[..., None, :] * tau[..., k, None, None]
        out = out @ (np.eye(M) - turn)
    return np.asarray(out[..., :N])


def _sample(rng: Draw) -> Any:
    N = int(rng.integers(1, 4))
    M = N + int(rng.integers(0, 3))
    return [rng.standard_normal((2, M, N)), rng.standard_normal((2, N))], {}


@composed(
    numpy=_reference,
    sample=_sample,
    dtypes=DTYPES,
    name="linalg_householder_product",
    source=WY,
    hides=True,  # numbers on and above the diagonal
    peer="torch.linalg.householder_product",
)
@public("linalg")
def householder_product(A: Node, tau: Node) -> Node:
    """The first N columns of the product of the reflections 1 - tau[i] v_i v_i^H.

    Args:
        A: (..., M, N), v_i below the diagonal of column i, with 1 on it.
        tau: (..., K), K up to N.
    Returns:
        (..., M, N).

    >>> from numbatorch import tensor
    >>> householder_product(tensor([[0.0], [0.0]]), tensor([2.0])).tolist()
    [[-1.0], [0.0]]
    """
    _check("linalg.householder_product", A, tau)
    V, T = _factors(A, tau)
    M, N = A.shape[-2:]
    one = narrow(identity(M, A, A.shape[:-2]), -1, 0, N)
    return one - product(V, T, adjoint(narrow(V, -2, 0, N)))


@public()
def orgqr(input: Node, input2: Node) -> Node:
    """Q (..., M, N) of what `geqrf` gives, as `linalg.householder_product`.

    >>> orgqr(*nt.geqrf(nt.ones(3, 2))).shape
    (3, 2)
    """
    return householder_product(input, input2)


@public()
def ormqr(
    input: Node, input2: Node, input3: Node, left: bool = True, transpose: bool = False
) -> Node:
    """Q C, or C Q if not `left`, for the product Q of all M reflections; Q^H if `transpose`.

    Args:
        input: (..., M, N), with the reflections as `linalg.householder_product` takes them.
        input2: (..., K), tau.
        input3: C.
    Raises:
        ShapeError: the sizes of C and of the reflections differ, or tau are too many.

    >>> ormqr(*nt.geqrf(nt.ones(3, 2)), nt.ones(3, 5)).shape
    (3, 5)
    """
    check("ormqr", input)
    check_alike("ormqr", input, input2, "tau")
    check_alike("ormqr", input, input3, "C")
    rows = (f"input {describe(input)}", f"tau {describe(input2)}", f"C {describe(input3)}")
    side = -2 if left else -1
    if len(input3.shape) < 2 or input3.shape[side] != input.shape[-2]:
        raise ShapeError(message("ormqr", "the sizes of C and of the reflections differ", *rows))
    if not input2.shape or input2.shape[-1] > min(input.shape[-2:]):
        raise ShapeError(message("ormqr", "there are more tau than reflections", *rows))
    V, T = _factors(input, input2)
    T = adjoint(T) if transpose else T
    if left:
        return input3 - product(V, T, product(adjoint(V), input3))
    return input3 - product(product(input3, V), T, adjoint(V))


class GeqrfResult(NamedTuple):
    """R and the vectors below it (..., M, N), and tau (..., K)."""

    a: Node
    tau: Node


@structured(dtypes=DTYPES, source=WY, differentiable=False)
def geqrf_(A: Array) -> tuple[Array, Array]:
    """LAPACK's QR: R on and above the diagonal, vectors of reflections below it; and their tau."""
    (geqrf,) = scipy("linalg").lapack.get_lapack_funcs(("geqrf",), (A,))
    K = min(A.shape[-2:])
    found = each(geqrf, A) if A.size else []
    return (
        together([x for x, *_ in found], A.shape, A.dtype),
        together([tau[None] for _, tau, *_ in found], (*A.shape[:-2], K), A.dtype),
    )


@geqrf_.infer
def _(A: Node) -> Outputs:
    batch, M, N = check("geqrf", A)
    return [(A.shape, A.dtype), ((*batch, min(M, N)), A.dtype)]


geqrf_.samples(any_sample)


@public()
def geqrf(input: Node) -> GeqrfResult:
    """QR as LAPACK keeps it, for `ormqr` and `linalg.householder_product`; `linalg.qr` has Q and R.

    It has no gradient, as in PyTorch; that of `linalg.qr` has.

    >>> a, tau = geqrf(nt.ones(3, 2))
    >>> a.shape, tau.shape
    ((3, 2), (2,))
    """
    if input.requires_grad:
        hint = "linalg.qr has a gradient"
        raise GradientError(message("geqrf", "has no gradient", describe(input), hint=hint))
    return GeqrfResult(*geqrf_.parts(input))


def _vander_reference(x: Array, *, N: int) -> Array:
    return np.asarray(x[..., None] ** np.arange(N))


def _vander_sample(rng: Draw) -> Any:
    return [rng.standard_normal(rng.dims((1, 1), (3, 4), 60))], {"N": int(rng.integers(2, 5))}


@composed(
    numpy=_vander_reference,
    sample=_vander_sample,
    dtypes=DTYPES,
    name="linalg_vander",
    peer="torch.linalg.vander",
)
@public("linalg")
def vander(x: Node, *, N: int | None = None) -> Node:
    """Vandermonde's matrices: the powers x^0, x^1, ... x^(N - 1) along a new last dimension.

    Args:
        x: (..., M).
        N: as many as x unless given.

    >>> from numbatorch import tensor
    >>> vander(tensor([2, 3]), N=3).tolist()
    [[1, 2, 4], [1, 3, 9]]
    """
    x = x if x.shape else unsqueeze(x, 0)
    count = x.shape[-1] if N is None else N
    if count <= 0:
        raise ShapeError(message("linalg.vander", f"N is {count}, not above 0"))
    return powers(x, count)
