"""Public functions that measure vectors: norms of any order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import Like
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.composed import composed
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.statistics import amax, amin, rooted, sum
from numbatorch.ops.structured import Structured
from numbatorch.ops.surface import public
from numbatorch.shape import normalize_dim, normalize_dims

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Dims = int | Sequence[int] | None
Number = int | float


def _converted(operator: str, x: Node, dtype: Like | None) -> Node:
    """x in the dtype that is asked for, which must not be narrower or of another kind."""
    if x.dtype.kind not in "fc":
        raise DTypeError(message(operator, f"needs floats or complex numbers, not {x.dtype.name}"))
    if dtype is None:
        return x
    wanted = dt.named(operator, dtype)
    if wanted.kind != x.dtype.kind or dt.promote(wanted, x.dtype) is not wanted:
        problem = f"{x.dtype.name} does not become {wanted.name} without loss"
        raise DTypeError(message(operator, problem, f"x {describe(x)}"))
    return as_node(x, wanted, x.device)


def _sizes(x: Node) -> Node:
    """|x|, in float32 at least."""
    return find("abs").apply(as_node(x, x.dtype.compute, x.device))


def _sample(rng: Draw) -> tuple[list[Any], dict[str, Any]]:
    order = float(rng.choice([0.0, 1.0, 2.0, 3.0, 0.5, -1.0, math.inf, -math.inf]))
    return [rng.standard_normal(rng.dims((1, 1), (5, 9)))], {"ord": order, "dim": 1}


def _lengths(x: Array, *, ord: float, dim: int) -> Array:
    return np.asarray(np.linalg.norm(x, ord, axis=dim))


@composed(
    numpy=_lengths,
    sample=_sample,
    dtypes=dt.FLOATS + dt.COMPLEX,
    peer="torch.linalg.vector_norm",
)
@public("linalg", remembered=True)
def vector_norm(
    x: Node,
    ord: Number = 2,
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Like | None = None,
) -> Node:
    """sum(|x|^ord)^(1/ord), taken in float32 at least; its gradient where it is 0 is 0.

    Args:
        ord: infinity for the largest |x|, -infinity for the smallest, 0 for how many are not 0.
        dtype: what x is converted to first, of the same kind and no narrower.
    Returns:
        real numbers, of complex x too.

    >>> vector_norm(tensor([3.0, -4.0]), 1).item()
    7.0
    """
    given = _converted("vector_norm", x, dtype)
    found = _norm(_sizes(given), given, float(ord), dim, keepdim)
    return as_node(found, given.dtype.part, x.device)


def _norm(size: Node, x: Node, order: float, dim: Dims, keepdim: bool) -> Node:
    if order < 0 or math.isinf(order):
        dims = normalize_dims("vector_norm", dim or None, len(x.shape))
        if any(x.shape[d] == 0 for d in dims):
            problem = f"of no elements there is no norm of order {order}"
            raise ShapeError(message("vector_norm", problem, f"x {describe(x)}"))
    if math.isinf(order):
        return (amax if order > 0 else amin)(size, dim, keepdim)
    if order == 0:  # the sign has a gradient, which is 0
        one = find("where").apply(find("ne").apply(size, size), 1.0, find("sign").apply(size))
        return sum(one, dim, keepdim)
    if order == 1:
        return sum(size, dim, keepdim)
    if order == 2:
        return rooted(sum(_squares(x), dim, keepdim), None)
    zero = find("eq").apply(size, 0)
    if order < 1 and size.requires_grad:  # the slope at 0 is infinite, and taken as 0
        powers = find("pow").apply(find("where").apply(zero, 1.0, size), order)
        powers = find("where").apply(zero, 0.0 if order > 0 else math.inf, powers)
    else:
        powers = find("pow").apply(size, order)
    return rooted(sum(powers, dim, keepdim), 1 / order)


def _squares(x: Node) -> Node:
    wide = as_node(x, x.dtype.compute, x.device)
    if not x.dtype.is_complex:
        return find("square").apply(wide)
    real, imag = (find("square").apply(find(part).apply(wide)) for part in ("real", "imag"))
    return real + imag


@public(remembered=True)
def norm(
    input: Node,
    p: Number | Literal["fro", "nuc"] | None = "fro",
    dim: Dims = None,
    keepdim: bool = False,
    *,
    dtype: Like | None = None,
) -> Node:
    """The p-norm of the elements over `dim`, as a vector's: `linalg.vector_norm`; "fro" is 2.

    Args:
        p: "nuc" for the sum of the singular values of matrices, which stand in two dimensions.

    >>> norm(tensor([[3.0, -4.0], [0.0, 0.0]]), 1).item()
    7.0
    """
    if p == "nuc":
        return _nuclear(_converted("norm", input, dtype), dim, keepdim)
    order = 2 if p in ("fro", None) else p
    assert not isinstance(order, str) and order is not None
    return vector_norm(input, order, dim, keepdim, dtype=dtype)


def _nuclear(x: Node, dim: Dims, keepdim: bool) -> Node:
    rank = len(x.shape)
    given = range(rank) if dim is None else [dim] if isinstance(dim, int) else dim
    dims = tuple(normalize_dim("norm", d, rank) for d in given)
    if len(set(dims)) != 2:
        raise ShapeError(message("norm", f"the nuclear norm is of 2 dimensions, not {dims}"))
    others = tuple(d for d in range(rank) if d not in dims)
    matrices = find("permute").apply(x, dims=(*others, *dims))
    op = find("svd")
    assert isinstance(op, Structured)
    found = sum(op.parts(matrices, full_matrices=False)[1], -1)
    if not keepdim:
        return found
    shape = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
    return find("reshape").apply(found, shape=shape)
