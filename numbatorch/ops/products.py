"""Products of vectors, matrices and batches of them, sums of a product and a tensor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import view
from numbatorch.ops.composed import composed
from numbatorch.ops.known_calls import warn
from numbatorch.ops.matmul import multiplied
from numbatorch.ops.operands import as_node, describe, expanded, result_type
from numbatorch.ops.parts import conjugated
from numbatorch.ops.reduce import sum_
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, broadcast, list_shape, normalize_dim, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Number = int | float | complex
Dims = Sequence[int]

DTYPES = dt.NUMBERS + dt.COMPLEX


def _check_rank(operator: str, rank: int, name: str, operand: Node) -> None:
    if len(operand.shape) != rank:
        problem = f"{name} has {len(operand.shape)} dimensions, not {rank}"
        raise ShapeError(message(operator, problem, f"{name} {describe(operand)}"))


def _check_sizes(operator: str, lhs: Node, rhs: Node, left: int, right: int) -> None:
    if left != right:
        rows = (f"lhs {describe(lhs)}", f"rhs {describe(rhs)}")
        raise ShapeError(message(operator, f"sizes {left} and {right} differ", *rows))


def _sample_sum(*letters: str) -> Any:
    """Draws a matrix and what is multiplied, of shapes spelled by letters of a, b, m, n, k."""

    def sample(rng: Draw) -> Any:
        sizes = dict(zip("bmnk", rng.dims((0,) * 4, (4,) * 4, 300), strict=True))
        shapes = [tuple(sizes[letter] for letter in word) for word in letters]
        attrs = {"beta": int(rng.integers(0, 3)), "alpha": int(rng.integers(1, 3))}
        return [rng.standard_normal(shape) for shape in shapes], attrs

    return sample


def _sample(*letters: str) -> Any:
    drawn = _sample_sum(*letters)
    return lambda rng: (drawn(rng)[0], {})


def _reference_sum(spelled: str) -> Any:
    def reference(input: Array, lhs: Array, rhs: Array, *, beta: int, alpha: int) -> Array:
        product = np.einsum(spelled, lhs, rhs)
        scaled = input * beta if beta else np.zeros_like(product)
        return np.asarray(scaled + alpha * product, product.dtype)

    return reference


@composed(numpy=lambda a, x: np.einsum("mk,k->m", a, x), sample=_sample("mk", "k"), dtypes=DTYPES)
@public(remembered=True)
def mv(input: Node, vec: Node) -> Node:
    """The product of a matrix (M, K) and a vector (K,).

    >>> mv(tensor([[1, 2], [3, 4]]), tensor([1, 1]))
    tensor([3, 7])
    """
    _check_rank("mv", 2, "input", input)
    _check_rank("mv", 1, "vec", vec)
    return multiplied(input, vec)


@composed(numpy=np.vdot, sample=_sample("k", "k"), dtypes=DTYPES)
@public(remembered=True)
def vdot(input: Node, other: Node) -> Node:
    """Sum of the products of the elements of two vectors, those of the first conjugated.

    >>> vdot(tensor([1j, 2.0]), tensor([1j, 1.0]))
    tensor(3.+0.j)
    """
    _check_rank("vdot", 1, "input", input)
    _check_rank("vdot", 1, "other", other)
    return multiplied(conjugated(input), other)


@composed(numpy=np.inner, sample=_sample("mk", "nk"), dtypes=DTYPES)
@public(remembered=True)
def inner(input: Node, other: Node) -> Node:
    """Sums of products over the last dimension of both; with a 0-d operand the product.

    >>> inner(tensor([[1, 2], [3, 4]]), tensor([1, 1]))
    tensor([3, 7])
    """
    if not input.shape or not other.shape:
        return input * other
    _check_sizes("inner", input, other, input.shape[-1], other.shape[-1])
    K = input.shape[-1]
    flat = [view.reshape.apply(x, shape=(numel(x.shape[:-1]), K)) for x in (input, other)]
    found = multiplied(flat[0], view.transpose(flat[1], 0, 1))
    return view.reshape.apply(found, shape=(*input.shape[:-1], *other.shape[:-1]))


def _vecdot_reference(x: Array, y: Array, *, dim: int) -> Array:
    return np.asarray(np.sum(np.conj(x) * y, dim, dtype=np.result_type(x, y)))


def _vecdot_sample(rng: Draw) -> Any:
    shape = rng.dims((0, 0), (4, 4), 300)
    return [rng.standard_normal(shape), rng.standard_normal(shape)], {"dim": -1}


@composed(
    numpy=_vecdot_reference,
    sample=_vecdot_sample,
    dtypes=DTYPES,
    name="linalg_vecdot",
    peer="torch.linalg.vecdot",
)
@public("linalg")
def vecdot(x: Node, y: Node, *, dim: int = -1) -> Node:
    """Sum of conj(x) * y over `dim`; shapes broadcast. Accumulated in float32 for half types.

    >>> vecdot(tensor([[1, 2], [3, 4]]), tensor([1, 1]))
    tensor([3, 7])
    """
    dtype = _same_dtype("linalg.vecdot", x, y)
    rank = max(len(x.shape), len(y.shape))
    if not (x.shape and y.shape):
        problem = "0-d operands have no dimension"
        raise ShapeError(message("linalg.vecdot", problem, describe(x), describe(y)))
    for operand in (x, y):
        normalize_dim("linalg.vecdot", dim, len(operand.shape))
    _check_sizes("linalg.vecdot", x, y, x.shape[dim], y.shape[dim])
    left, right = (as_node(node, dtype.compute, node.device) for node in (conjugated(x), y))
    total = sum_.apply(left * right, dims=(normalize_dim("linalg.vecdot", dim, rank),))
    shape = tuple(n for d, n in enumerate(total.shape) if d != normalize_dim("", dim, rank))
    return as_node(view.reshape.apply(total, shape=shape), dtype, x.device)


def _same_dtype(operator: str, *operands: Node) -> DType:
    dtype = operands[0].dtype
    if any(x.dtype is not dtype for x in operands) or dtype.kind not in "fiuc":
        problem = "takes numbers of one dtype"
        raise DTypeError(message(operator, problem, *map(describe, operands)))
    return dtype


def _plus(
    operator: str,
    input: Node,
    factors: tuple[Node, Node],
    beta: Number,
    alpha: Number,
    sum_dim: int | None = None,
) -> Node:
    """beta * input + alpha * (the product of the factors, summed over a dimension).

    Half types are computed in float32 and rounded once. Where beta is 0, NaN in the input counts
    for nothing.
    """
    dtype = result_type((input, *factors))
    beta, alpha = _factor(operator, "beta", beta, dtype), _factor(operator, "alpha", alpha, dtype)
    wide = dtype.compute
    lhs, rhs = (as_node(x, wide, x.device) for x in factors)
    found = multiplied(lhs, rhs)
    if sum_dim is not None:
        found = sum_.apply(found, dims=(sum_dim,))
        found = view.squeeze(found, sum_dim)
    _check_expands(operator, input, found.shape)
    if alpha != 1:
        found = found * alpha
    if beta != 0:
        base = as_node(input, wide, input.device)
        found = found + (base if beta == 1 else base * beta)
    return as_node(found, dtype, input.device)


def _factor(operator: str, name: str, number: Number, dtype: DType) -> Number:
    """A factor of elements of `dtype`; as in PyTorch its fraction is lost, with a warning here."""
    if dtype.kind not in "iu" or isinstance(number, int):
        return number
    if isinstance(number, complex) or not math.isfinite(number):
        raise DTypeError(message(operator, f"{name} is {number} for elements of {dtype.name}"))
    whole = int(number)
    if whole != number:
        problem = f"{name} is {number}, and counts as {whole} for elements of {dtype.name}"
        warn(message(operator, problem), stacklevel=5)
    return whole


def _check_expands(operator: str, input: Node, shape: Shape) -> None:
    beside = input.shape[::-1], shape[::-1]
    fits = len(input.shape) <= len(shape)
    if not fits or any(n not in (1, wanted) for n, wanted in zip(*beside, strict=False)):
        rows = (f"input {describe(input)}", f"product {list_shape(shape)}")
        raise ShapeError(message(operator, "input does not expand to the product", *rows))


@composed(numpy=_reference_sum("mk,kn->mn"), sample=_sample_sum("n", "mk", "kn"), dtypes=DTYPES)
@public(remembered=True)
def addmm(input: Node, mat1: Node, mat2: Node, *, beta: Number = 1, alpha: Number = 1) -> Node:
    """beta * input + alpha * (mat1 @ mat2): (M, K) by (K, N); input broadcasts to (M, N).

    >>> addmm(tensor([1, 0]), tensor([[1, 2]]), tensor([[1, 0], [0, 1]]), alpha=2)
    tensor([[3, 4]])
    """
    _check_rank("addmm", 2, "mat1", mat1)
    _check_rank("addmm", 2, "mat2", mat2)
    return _plus("addmm", input, (mat1, mat2), beta, alpha)


@composed(numpy=_reference_sum("mk,k->m"), sample=_sample_sum("m", "mk", "k"), dtypes=DTYPES)
@public(remembered=True)
def addmv(input: Node, mat: Node, vec: Node, *, beta: Number = 1, alpha: Number = 1) -> Node:
    """beta * input + alpha * (mat @ vec): (M, K) by (K,); input broadcasts to (M,).

    >>> addmv(tensor([1.0, 2.0]), nt.ones(2, 3), nt.ones(3), beta=10)
    tensor([13., 23.])
    """
    _check_rank("addmv", 2, "mat", mat)
    _check_rank("addmv", 1, "vec", vec)
    return _plus("addmv", input, (mat, vec), beta, alpha)


@composed(
    numpy=_reference_sum("bmk,bkn->mn"), sample=_sample_sum("mn", "bmk", "bkn"), dtypes=DTYPES
)
@public(remembered=True)
def addbmm(input: Node, batch1: Node, batch2: Node, *, beta: Number = 1, alpha: Number = 1) -> Node:
    """beta * input + alpha * (the sum over the batch of batch1 @ batch2).

    Args:
        input: broadcasts to (M, N).
        batch1: (B, M, K).
        batch2: (B, K, N).

    >>> addbmm(tensor(1.0), nt.ones(2, 1, 3), nt.ones(2, 3, 1))
    tensor([[7.]])
    """
    _check_batches("addbmm", batch1, batch2)
    return _plus("addbmm", input, (batch1, batch2), beta, alpha, sum_dim=0)


@composed(
    numpy=_reference_sum("bmk,bkn->bmn"), sample=_sample_sum("n", "bmk", "bkn"), dtypes=DTYPES
)
@public(remembered=True)
def baddbmm(
    input: Node, batch1: Node, batch2: Node, *, beta: Number = 1, alpha: Number = 1
) -> Node:
    """beta * input + alpha * (batch1 @ batch2).

    Args:
        input: broadcasts to (B, M, N).
        batch1: (B, M, K).
        batch2: (B, K, N).

    >>> baddbmm(tensor(1.0), nt.ones(2, 1, 3), nt.ones(2, 3, 1)).tolist()
    [[[4.0]], [[4.0]]]
    """
    _check_batches("baddbmm", batch1, batch2)
    return _plus("baddbmm", input, (batch1, batch2), beta, alpha)


def _check_batches(operator: str, batch1: Node, batch2: Node) -> None:
    _check_rank(operator, 3, "batch1", batch1)
    _check_rank(operator, 3, "batch2", batch2)
    _check_sizes(operator, batch1, batch2, batch1.shape[0], batch2.shape[0])


@composed(numpy=_reference_sum("m,n->mn"), sample=_sample_sum("mn", "m", "n"), dtypes=DTYPES)
@public(remembered=True)
def addr(input: Node, vec1: Node, vec2: Node, *, beta: Number = 1, alpha: Number = 1) -> Node:
    """beta * input + alpha * outer(vec1, vec2); input broadcasts to (M, N).

    Raises:
        DTypeError: a factor is no number of the dtype of the result.

    >>> addr(tensor(1), tensor([1, 2]), tensor([3, 4]))
    tensor([[4, 5],
            [7, 9]])
    """
    _check_rank("addr", 1, "vec1", vec1)
    _check_rank("addr", 1, "vec2", vec2)
    shape = (vec1.shape[0], vec2.shape[0])
    _check_expands("addr", input, shape)
    dtype = result_type((input, vec1, vec2))
    column = view.reshape.apply(vec1, shape=(*vec1.shape, 1))
    if dtype.kind == "b":
        return _added_truths(input, column, vec2, bool(beta), bool(alpha), shape)
    for name, number in (("beta", beta), ("alpha", alpha)):
        if dtype.kind in "iu" and not isinstance(number, int):
            raise DTypeError(message("addr", f"{name} is {number} for elements of {dtype.name}"))
    base, left, right = (as_node(x, dtype.compute, x.device) for x in (input, column, vec2))
    found = left * right
    found = found if alpha == 1 else found * alpha
    if beta != 0:
        found = found + (base if beta == 1 else base * beta)
    return as_node(found, dtype, input.device)


def _added_truths(
    input: Node, column: Node, row: Node, beta: bool, alpha: bool, shape: tuple[int, int]
) -> Node:
    """Truths are added by `or` and multiplied by `and`."""
    from numbatorch.ops.compare import logical_and, logical_or

    found = logical_and.apply(logical_and.apply(column, row), alpha)
    if beta:
        found = logical_or.apply(found, expanded(input, shape))
    return found


def _kron_sample(rng: Draw) -> Any:
    a, b, c, d = rng.dims((0,) * 4, (4,) * 4, 300)
    return [rng.standard_normal((a, b)), rng.standard_normal((c, d))], {}


@composed(numpy=np.kron, sample=_kron_sample, dtypes=DTYPES)
@public(remembered=True)
def kron(input: Node, other: Node) -> Node:
    """The Kronecker product: blocks input[i, j] * other, in any number of dimensions.

    >>> kron(tensor([1, 2]), tensor([1, 10]))
    tensor([ 1, 10,  2, 20])
    """
    rank = max(len(input.shape), len(other.shape))
    left, right = ((1,) * (rank - len(x.shape)) + x.shape for x in (input, other))
    wide = view.reshape.apply(input, shape=tuple(n for size in left for n in (size, 1)))
    narrow = view.reshape.apply(other, shape=tuple(n for size in right for n in (1, size)))
    sizes = tuple(a * b for a, b in zip(left, right, strict=True))
    return view.reshape.apply(wide * narrow, shape=sizes)


def _cross_reference(x: Array, y: Array, *, dim: int) -> Array:
    return np.cross(x, y, axis=dim)


def _cross_sample(rng: Draw) -> Any:
    (N,) = rng.dims((0,), (4,), 300)
    return [rng.standard_normal((3, N)), rng.standard_normal((3, N))], {"dim": 0}


@composed(numpy=_cross_reference, sample=_cross_sample, dtypes=DTYPES)
@public()
def cross(input: Node, other: Node, dim: int | None = None) -> Node:
    """The vector product of vectors of three elements along `dim`; other dimensions broadcast.

    Args:
        dim: the first dimension of size 3 unless given.
    Raises:
        ShapeError: no dimension is of size 3.

    >>> cross(tensor([1, 0, 0]), tensor([0, 1, 0]), 0)
    tensor([0, 0, 1])
    """
    if dim is None:
        if 3 not in input.shape:
            problem = "no dimension of the input has size 3"
            raise ShapeError(message("cross", problem, f"input {describe(input)}"))
        dim = input.shape.index(3) - (
            len(input.shape) if len(other.shape) != len(input.shape) else 0
        )
    return crossed("cross", input, other, dim)


@composed(
    numpy=_cross_reference,
    sample=_cross_sample,
    dtypes=DTYPES,
    name="linalg_cross",
    peer="torch.linalg.cross",
)
@public("linalg")
def cross_(input: Node, other: Node, *, dim: int = -1) -> Node:
    """As `nt.cross`, along the last dimension unless another is given.

    >>> nt.linalg.cross(tensor([1.0, 0.0, 0.0]), tensor([0.0, 1.0, 0.0]))
    tensor([0., 0., 1.])
    """
    return crossed("linalg.cross", input, other, dim)


def crossed(operator: str, input: Node, other: Node, dim: int) -> Node:
    """The vector product along `dim`."""
    if len(input.shape) != len(other.shape):
        rows = (f"input {describe(input)}", f"other {describe(other)}")
        raise ShapeError(message(operator, "operands have other numbers of dimensions", *rows))
    rank = len(input.shape)
    axis = normalize_dim(operator, dim, rank)
    if not rank or input.shape[axis] != 3 or other.shape[axis] != 3:
        rows = (f"input {describe(input)}", f"other {describe(other)}")
        raise ShapeError(message(operator, f"dimension {dim} is not of size 3 in both", *rows))
    shape = broadcast(operator, input.shape, other.shape)
    dtype = result_type((input, other))
    if dtype.kind == "b":
        raise DTypeError(message(operator, "has no meaning for bool"))
    left, right = (
        [
            as_node(view.element(expanded(x, shape), axis, i), dtype.compute, x.device)
            for i in range(3)
        ]
        for x in (input, other)
    )
    parts = [left[i - 2] * right[i - 1] - left[i - 1] * right[i - 2] for i in range(3)]
    return view.stack([as_node(part, dtype, input.device) for part in parts], axis)
