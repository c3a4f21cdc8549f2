"""Indexing by integer tensors: take rows, add rows, gather and scatter along the last dimension."""

from typing import Any

import numpy as np

from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.registry import const, describe, structured
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


def _check_index(op: str, index: Node) -> None:
    if index.dtype.kind not in "iu":
        raise DTypeError(message(op, f"indices must be integers, not {index.dtype.name}"))


@structured()
def take(x: Array, index: Array) -> Array:
    """out[i..., :] = x[index[i...], :]; negative indices are out of range.

    Args:
        x: (V, ...).
        index: integers, any shape.
    Returns:
        (*index.shape, *x.shape[1:]).
    """
    return x[index]


@take.infer
def _(x: Node, index: Node) -> tuple[Shape, DType]:
    _check_index("take", index)
    if not x.shape:
        raise ShapeError(message("take", "a 0-d tensor has no rows"))
    return (*index.shape, *x.shape[1:]), x.dtype


@take.vjp
def _(g: Node, y: Node, x: Node, index: Node) -> tuple[Node, None]:
    return index_add.apply(const(0.0, g.dtype, g.device, x.shape), index, g), None


@take.samples
def _(rng: np.random.Generator) -> Any:
    return [rng.standard_normal((5, 3)), rng.integers(0, 5, (2, int(rng.integers(0, 4))))], {}


@structured(inplace=0)
def index_add(base: Array, index: Array, value: Array) -> Array:
    """base with value[i..., :] added to row index[i...], in order of i, so always the same sum."""
    out = base.copy()
    np.add.at(out, index.reshape(-1), value.reshape(-1, *base.shape[1:]))
    return out


@index_add.infer
def _(base: Node, index: Node, value: Node) -> tuple[Shape, DType]:
    _check_index("index_add", index)
    if value.shape != (*index.shape, *base.shape[1:]) or value.dtype is not base.dtype:
        raise ShapeError(
            message(
                "index_add",
                "value must be (*index.shape, *base.shape[1:]) in the dtype of base",
                f"base {describe(base)}",
                f"index {describe(index)}",
                f"value {describe(value)}",
            )
        )
    return base.shape, base.dtype


@index_add.vjp
def _(g: Node, y: Node, base: Node, index: Node, value: Node) -> Any:
    return g, None, take.apply(g, index)


@index_add.samples
def _(rng: np.random.Generator) -> Any:
    index = rng.integers(0, 5, (2, 3))
    return [rng.standard_normal((5, 3)), index, rng.standard_normal((2, 3, 3))], {}


@structured()
def gather(x: Array, index: Array) -> Array:
    """out[..., j] = x[..., index[..., j]] along the last dimension."""
    return np.take_along_axis(x, index, -1)


@gather.infer
def _(x: Node, index: Node) -> tuple[Shape, DType]:
    _check_index("gather", index)
    if not x.shape or index.shape[:-1] != x.shape[:-1]:
        raise ShapeError(
            message(
                "gather",
                "all dimensions but the last must agree",
                f"x {describe(x)}",
                f"index {describe(index)}",
            )
        )
    return index.shape, x.dtype


@gather.vjp
def _(g: Node, y: Node, x: Node, index: Node) -> tuple[Node, None]:
    return scatter_add.apply(const(0.0, g.dtype, g.device, x.shape), index, g), None


@gather.samples
def _(rng: np.random.Generator) -> Any:
    return [rng.standard_normal((3, 5)), rng.integers(0, 5, (3, int(rng.integers(0, 4))))], {}


@structured(inplace=0)
def scatter_add(base: Array, index: Array, value: Array) -> Array:
    """base with value[..., j] added at index[..., j] of the last dimension, in order of j."""
    out = base.reshape(-1, base.shape[-1]).copy()
    rows = np.arange(out.shape[0])[:, None]
    count = index.shape[-1]
    np.add.at(out, (rows, index.reshape(-1, count)), value.reshape(-1, count))
    return out.reshape(base.shape)


@scatter_add.infer
def _(base: Node, index: Node, value: Node) -> tuple[Shape, DType]:
    _check_index("scatter_add", index)
    fits = base.shape[:-1] == index.shape[:-1] and index.shape == value.shape
    if not fits or value.dtype is not base.dtype:
        raise ShapeError(
            message(
                "scatter_add",
                "index and value must have one shape, and that of base but for the last dimension",
                f"base {describe(base)}",
                f"index {describe(index)}",
                f"value {describe(value)}",
            )
        )
    return base.shape, base.dtype


@scatter_add.vjp
def _(g: Node, y: Node, base: Node, index: Node, value: Node) -> Any:
    return g, None, gather.apply(g, index)


@scatter_add.samples
def _(rng: np.random.Generator) -> Any:
    index = rng.integers(0, 5, (3, 4))
    return [rng.standard_normal((3, 5)), index, rng.standard_normal((3, 4))], {}


def embedding(weight: Node, ids: Node) -> Node:
    """Row ids[i...] of `weight` (V, C), plain or in GGML blocks, for each i."""
    from numbatorch.graph import find

    if weight.dtype.kind == "q":
        return find("quant_take").apply(weight, ids)
    return take.apply(weight, ids)
