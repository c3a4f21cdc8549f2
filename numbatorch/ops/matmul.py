"""Matrix product over the last two dimensions, and `linear` on top of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import as_node, describe, expanded, result_type
from numbatorch.ops.reduce import sum_
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import EVERYWHERE, public
from numbatorch.ops.view import reshape, transpose
from numbatorch.shape import Shape, broadcast, numel

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Compute = Literal["float32", "bfloat16"]  # what products are made of
WEIGHTS = (dt.float32, dt.float16, dt.bfloat16)  # right operands that may be taken as bfloat16


@structured(dtypes=dt.NUMBERS, epilogue=True, strided=(0, 1))
def matmul_(lhs: Array, rhs: Array, *, compute: Compute | None = None) -> Array:
    """sum over k of lhs[..., i, k] * rhs[..., k, j]; batch dimensions are equal.

    With `compute="bfloat16"` float32 operands may be rounded to bfloat16 before products, where
    that is faster, those of a gradient's products too; sums are float32 at any rate.
    """
    out: Array = np.matmul(lhs, rhs)
    return out


def check_compute(
    operator: str,
    compute: Compute | None,
    lhs: Node,
    rhs: Node,
    names: tuple[str, str] = ("lhs", "rhs"),
) -> None:
    """Fail where products of bfloat16 are asked for between operands that do not have them."""
    if compute != "bfloat16":
        return
    problem = hint = None
    if rhs.dtype.kind == "q":
        problem = "compute is 'bfloat16', which weights in blocks are not multiplied in"
        hint = "compute=None rounds what stands beside blocks to 8 or 16 bits"
    elif lhs.dtype not in (dt.float32, dt.bfloat16) or rhs.dtype not in WEIGHTS:
        problem = "compute is 'bfloat16', which only float32 is rounded to"
    if problem is not None:
        rows = [f"{name} {describe(x)}" for name, x in zip(names, (lhs, rhs), strict=True)]
        raise DTypeError(message(operator, problem, *rows, hint=hint))


def _over_examples(node: Node, operands: tuple[Node, ...]) -> Node | dict[str, Any]:
    """`Op.batch`: kernels walk two batch dimensions at most, and `product` joins more of them."""
    if len(operands[0].shape) <= 4:
        return node.attrs
    lhs, rhs = operands
    return product(lhs, rhs, **node.attrs)


matmul_.batches(_over_examples)


@matmul_.infer
def _(lhs: Node, rhs: Node, *, compute: Compute | None = None) -> tuple[Shape, DType]:
    narrow = lhs.dtype is dt.float32 and rhs.dtype in (dt.float16, dt.bfloat16)
    if lhs.dtype.kind not in "fiu" or not (lhs.dtype is rhs.dtype or narrow):
        raise DTypeError(
            message(
                "matmul",
                "operands must be of one dtype of numbers, or float32 with a half-type rhs",
                f"lhs {describe(lhs)}",
                f"rhs {describe(rhs)}",
            )
        )
    check_compute("matmul", compute, lhs, rhs)
    assert lhs.shape[:-2] == rhs.shape[:-2] and lhs.shape[-1] == rhs.shape[-2]
    return (*lhs.shape[:-1], rhs.shape[-1]), lhs.dtype


@matmul_.multiplies
def _(y: Node) -> int:
    return numel(y.shape) * y.inputs[0].shape[-1]


@matmul_.vjp
def _(
    g: Node, y: Node, lhs: Node, rhs: Node, *, compute: Compute | None = None
) -> tuple[Node, Node]:
    how = {"compute": compute}
    along = matmul_.apply(g, transpose(rhs, -1, -2), **how)
    if rhs.op.name == "permute":  # x @ W.T: the product that is W's gradient without a transpose
        return along, transpose(matmul_.apply(transpose(g, -1, -2), lhs, **how), -1, -2)
    return along, matmul_.apply(transpose(lhs, -1, -2), g, **how)


@matmul_.fallback
def _(lhs: Node, rhs: Node, *, compute: Compute | None = None) -> Node:
    *batch, M, K = lhs.shape
    N = rhs.shape[-1]
    shape = (*batch, M, K, N)
    wide, wide_rhs = (as_node(x, lhs.dtype.compute, x.device) for x in (lhs, rhs))
    left = expanded(reshape.apply(wide, shape=(*batch, M, K, 1)), shape)
    right = expanded(reshape.apply(wide_rhs, shape=(*batch, 1, K, N)), shape)
    total = sum_.apply(left * right, dims=(len(batch) + 1,))
    return as_node(reshape.apply(total, shape=(*batch, M, N)), lhs.dtype, lhs.device)


@matmul_.samples
def _(rng: Draw) -> Any:
    side = 80 if rng.reach else 6
    B, M, N, K = rng.dims((0,) * 4, (4, side, side, side))
    return [rng.standard_normal((B, M, K)), rng.standard_normal((B, K, N))], {}


@public(*EVERYWHERE, "linalg", remembered=True)
def matmul(input: Node, other: Node) -> Node:
    """input @ other: 1-d operands are vectors, batch dimensions broadcast.

    Args:
        input: (..., M, K) or (K,).
        other: (..., K, N) or (K,).
    Returns:
        (..., M, N), without the dimensions that the vectors lacked; accumulated in float32 for
        half types.

    >>> matmul(tensor([[1, 2], [3, 4]]), tensor([1, 1]))
    tensor([3, 7])
    """
    return multiplied(input, other)


def multiplied(lhs: Node, rhs: Node, compute: Compute | None = None) -> Node:
    """`matmul` of nodes; `compute` as of `matmul_`, of real ones."""
    if not lhs.shape or not rhs.shape:
        raise ShapeError(
            message("matmul", "0-d operand", f"lhs {describe(lhs)}", f"rhs {describe(rhs)}")
        )
    left = reshape.apply(lhs, shape=(1, *lhs.shape)) if len(lhs.shape) == 1 else lhs
    right = reshape.apply(rhs, shape=(*rhs.shape, 1)) if len(rhs.shape) == 1 else rhs
    if left.shape[-1] != right.shape[-2]:
        raise _inner_error(lhs, rhs, left, right)
    dtype = result_type((lhs, rhs))
    if dtype.kind not in "fiuc":
        raise DTypeError(message("matmul", f"has no meaning for {dtype.name}"))
    if len(lhs.shape) == len(rhs.shape) == 1 and not dtype.is_complex:
        return _sum_of_products(lhs, rhs, dtype)
    left, right = (as_node(x, dtype, x.device) for x in (left, right))
    out = _complex_product(left, right) if dtype.is_complex else product(left, right, compute)
    shape = out.shape
    if len(rhs.shape) == 1:
        shape = shape[:-1]
    if len(lhs.shape) == 1:
        shape = (*out.shape[:-2], *shape[len(out.shape) - 1 :])
    return out if shape == out.shape else reshape.apply(out, shape=shape)


def _sum_of_products(lhs: Node, rhs: Node, dtype: DType) -> Node:
    """The product of two vectors, whose elements threads share; a product shares its results."""
    device = lhs.device
    left, right = (as_node(as_node(x, dtype, device), dtype.compute, device) for x in (lhs, rhs))
    total = reshape.apply(sum_.apply(left * right, dims=(0,)), shape=())
    return as_node(total, dtype, device)


@public(remembered=True)
def mm(input: Node, mat2: Node) -> Node:
    """`matmul` of two matrices: (M, K) and (K, N).

    >>> mm(tensor([[1.0, 2.0]]), tensor([[3.0], [4.0]]))
    tensor([[11.]])
    """
    _check_ranks("mm", 2, input, mat2)
    return matmul(input, mat2)


@public(remembered=True)
def bmm(input: Node, mat2: Node) -> Node:
    """`matmul` of the matrices of two batches: (B, M, K) and (B, K, N).

    Raises:
        ShapeError: an operand is no batch of matrices: nothing broadcasts.

    >>> bmm(nt.ones(2, 1, 3), nt.ones(2, 3, 4)).shape
    (2, 1, 4)
    """
    _check_ranks("bmm", 3, input, mat2)
    if input.shape[0] != mat2.shape[0]:
        sizes = f"{input.shape[0]} matrices and {mat2.shape[0]}"
        raise ShapeError(message("bmm", sizes, describe(input), describe(mat2)))
    return matmul(input, mat2)


@public(remembered=True)
def dot(input: Node, tensor: Node) -> Node:
    """Sum of input[i] * tensor[i] of two vectors (K,); complex ones are not conjugated.

    >>> dot(tensor([1.0, 2.0]), tensor([3.0, 4.0]))
    tensor(11.)
    """
    _check_ranks("dot", 1, input, tensor)
    return matmul(input, tensor)


def _two_vectors(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    M, N = rng.dims((0, 1), (9, 9))
    return [rng.standard_normal(M), rng.standard_normal(N)], {}


@composed(numpy=np.multiply.outer, sample=_two_vectors, dtypes=dt.NUMBERS + dt.COMPLEX)
@public(remembered=True)
def outer(input: Node, vec2: Node) -> Node:
    """input[i] * vec2[j] of two vectors: (M,) and (N,) give (M, N).

    >>> outer(tensor([1, 2]), tensor([3, 4, 5])).tolist()
    [[3, 4, 5], [6, 8, 10]]
    """
    _check_ranks("outer", 1, input, vec2)
    return reshape.apply(input, shape=(*input.shape, 1)) * vec2


def _check_ranks(operator: str, rank: int, *operands: Node) -> None:
    if any(len(operand.shape) != rank for operand in operands):
        problem = f"needs operands of {rank} dimension{'s' * (rank > 1)}"
        raise ShapeError(message(operator, problem, *map(describe, operands)))


def product(left: Node, right: Node, compute: Compute | None = None) -> Node:
    """left @ right of real numbers: (..., M, K) by (..., K, N)."""
    how = {} if compute is None else {"compute": compute}
    *batch, M, K = left.shape
    N = right.shape[-1]
    if len(right.shape) == 2 and len(batch) > 0:
        flat = reshape.apply(left, shape=(numel(batch) * M, K))
        return reshape.apply(matmul_.apply(flat, right, **how), shape=(*batch, M, N))
    shape = broadcast("matmul", left.shape[:-2], right.shape[:-2])
    left, right = expanded(left, (*shape, M, K)), expanded(right, (*shape, K, N))
    if len(shape) <= 2:
        return matmul_.apply(left, right, **how)
    count = numel(shape)  # kernels walk two batch dimensions at most
    flat = matmul_.apply(
        reshape.apply(left, shape=(count, M, K)), reshape.apply(right, shape=(count, K, N)), **how
    )
    return reshape.apply(flat, shape=(*shape, M, N))


def _complex_product(left: Node, right: Node) -> Node:
    """By four products of real matrices."""
    import_module("numbatorch.ops.parts")
    from numbatorch.ops.parts import complex_, imag_, real_

    a, b = real_.apply(left), imag_.apply(left)
    c, d = real_.apply(right), imag_.apply(right)
    along = product(a, c) - product(b, d)
    return complex_.apply(along, product(a, d) + product(b, c))


def _inner_error(lhs: Node, rhs: Node, left: Node, right: Node) -> ShapeError:
    hint = None
    if len(rhs.shape) >= 2 and rhs.shape[-1] == left.shape[-1]:
        turned = (*rhs.shape[:-2], rhs.shape[-1], rhs.shape[-2])
        hint = f"rhs.transpose(-1, -2) has shape {turned}"
    axis = -2 if len(rhs.shape) >= 2 else -1
    return ShapeError(
        message(
            "matmul",
            "inner dimensions differ",
            f"lhs {describe(lhs)}",
            f"rhs {describe(rhs)}",
            f"lhs.shape[-1] is {left.shape[-1]} but rhs.shape[{axis}] is {right.shape[-2]}",
            hint=hint,
        )
    )
