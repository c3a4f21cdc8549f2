"""The largest or smallest elements along a dimension, in order, and where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import PART, Node
from numbatorch.ops.index import scatter_add
from numbatorch.ops.operands import const, describe
from numbatorch.ops.reduction import ValuesAndIndices
from numbatorch.ops.registry import View
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.ops.view import narrow, reshape, transpose
from numbatorch.shape import Shape, normalize_dim

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
FEW, LARGE = 64, 16  # more elements than that, and than such a part of all, are found by sorting


@structured(dtypes=dt.PLAIN, source="https://pytorch.org/docs/stable/generated/torch.topk.html")
def topk_(x: Array, *, k: int, largest: bool) -> tuple[Array, Array]:
    """The k largest (or smallest) elements of the last dimension in their order, and their places.

    NaN counts as the largest, as in PyTorch; equal elements come in order of position.

    Args:
        x: (..., N), of numbers.
        k: from 0 to N.
    Returns:
        (..., k) elements, and int64 positions.
    """
    if largest:
        backwards = np.argsort(np.flip(x, -1), axis=-1, kind="stable")
        order = x.shape[-1] - 1 - np.flip(backwards, -1)
    else:
        order = np.argsort(x, axis=-1, kind="stable")
    order = order[..., :k].astype(np.int64)
    return np.take_along_axis(x, order, -1), order


@topk_.infer
def _(x: Node, *, k: int, largest: bool) -> list[tuple[Shape, DType]]:
    size = _size_of("topk", x)
    if not 0 <= k <= size:
        raise OutOfRange(message("topk", f"k is {k} of {size} elements", f"x {describe(x)}"))
    shape = (*x.shape[:-1], k)
    return [(shape, x.dtype), (shape, dt.int64)]


def _size_of(op: str, x: Node) -> int:
    """The size of the last dimension of elements that have an order."""
    if x.dtype.kind not in "fiub":
        raise DTypeError(message(op, f"{describe(x)} has no order"))
    if not x.shape:
        raise ShapeError(message(op, f"needs a dimension, not {describe(x)}"))
    return x.shape[-1]


def _to_places(g: tuple[Node, None], y: tuple[Node, ...], x: Node, **_attrs: Any) -> Node:
    """The cotangent of picked elements, at the places that they stood at."""
    return scatter_add.apply(const(0.0, x.dtype, x.device, x.shape), y[1], g[0])


topk_.vjp(_to_places)


@topk_.samples
def _(rng: Draw) -> Any:
    rows, cols = rng.dims((0, 1), (4, 12))
    attrs = {"k": int(rng.integers(0, min(cols, 70) + 1)), "largest": bool(rng.random() < 0.5)}
    return [rng.permutation(rows * cols).reshape(rows, cols) / 2], attrs


@structured(dtypes=dt.PLAIN, source="https://pytorch.org/docs/stable/generated/torch.sort.html")
def sort_(x: Array, *, descending: bool) -> tuple[Array, Array]:
    """The elements of the last dimension in order, and their int64 places.

    NaN counts as the largest, as in PyTorch; equal elements come in order of position.
    """
    found: tuple[Array, Array] = topk_.reference(x, k=x.shape[-1], largest=descending)
    return found


@sort_.infer
def _(x: Node, *, descending: bool) -> list[tuple[Shape, DType]]:
    _size_of("sort", x)
    return [(x.shape, x.dtype), (x.shape, dt.int64)]


sort_.vjp(_to_places)


@sort_.samples
def _(rng: Draw) -> Any:
    rows, cols = rng.dims((0, 1), (4, 12))
    order = rng.permutation(rows * cols).reshape(rows, cols) / 2
    return [order], {"descending": bool(rng.random() < 0.5)}


@structured(dtypes=dt.PLAIN)
def kth_(x: Array, *, k: int) -> tuple[Array, Array]:
    """What stands at place k of the last dimension in order, and where it stood: (..., 1) each.

    NaN counts as the largest; equal elements are counted in order of position.

    Args:
        x: (..., N), of numbers.
        k: from 0 on.
    """
    values, places = topk_.reference(x, k=k + 1, largest=False)
    return values[..., k:], places[..., k:]


@kth_.infer
def _(x: Node, *, k: int) -> list[tuple[Shape, DType]]:
    size = _size_of("kthvalue", x)
    if not 0 <= k < size:
        raise OutOfRange(message("kthvalue", f"place {k} of {size} elements", f"x {describe(x)}"))
    shape = (*x.shape[:-1], 1)
    return [(shape, x.dtype), (shape, dt.int64)]


@kth_.fallback
def _(x: Node, *, k: int) -> tuple[Node, ...]:
    if k < FEW:
        parts = topk_.parts(x, k=k + 1, largest=False)
    else:
        parts = sort_.parts(x, descending=False)
    return tuple(narrow(part, -1, k, 1) for part in parts)


kth_.vjp(_to_places)


@kth_.samples
def _(rng: Draw) -> Any:
    rows, cols = rng.dims((0, 1), (4, 12))
    order = rng.permutation(rows * cols).reshape(rows, cols) / 2
    return [order], {"k": int(rng.integers(cols))}


kth_.peer = "torch.kthvalue"


def are_places(index: Node, bound: int) -> bool:
    """Whether an index is made of places that are surely in [0, bound), as this file finds them."""
    while isinstance(index.op, View) and index.dtype is dt.int64 and index.inputs:
        index = index.inputs[0]
    if index.op is not PART or index.attrs["index"] != 1:
        return False
    found = index.inputs[0]
    return found.op in (topk_, sort_, kth_) and found.inputs[0].shape[-1] <= bound


def _along(input: Node, k: int | None, dim: int, largest: bool) -> ValuesAndIndices:
    """`topk_` along any dimension; `sort_` where k is None; a 0-d input has one element."""
    if not input.shape:
        normalize_dim("topk", dim, 1)
        found = _along(reshape.apply(input, shape=(1,)), k, 0, largest)
        shape = (0,) if k == 0 else ()
        return ValuesAndIndices(*(reshape.apply(part, shape=shape) for part in found))
    axis = normalize_dim("topk", dim, len(input.shape))
    last = axis == len(input.shape) - 1
    turned = input if last else transpose(input, axis, -1)
    size = input.shape[axis]
    if k is None:
        parts = sort_.parts(turned, descending=largest)
    elif FEW < k <= size < LARGE * k:
        whole = sort_.parts(turned, descending=largest)
        parts = tuple(narrow(part, -1, 0, k) for part in whole)
    else:
        parts = topk_.parts(turned, k=k, largest=largest)
    return ValuesAndIndices(*(part if last else transpose(part, axis, -1) for part in parts))


@public(remembered=True)
def topk(
    input: Node, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> ValuesAndIndices:
    """The k largest (or smallest) elements along `dim` in their order, and where they stand.

    NaN counts as the largest; equal elements come in order of position.

    Args:
        sorted: they are in order in any case.

    >>> topk(tensor([1, 9, 5]), 2).values
    tensor([9, 5])
    """
    return _along(input, k, dim, largest)


@public(remembered=True)
def kthvalue(input: Node, k: int, dim: int = -1, keepdim: bool = False) -> ValuesAndIndices:
    """The k-th smallest element along `dim`, and where it stands; NaN counts as the largest.

    Args:
        k: from 1 on. Equal elements are counted in order of position.
    Raises:
        OutOfRange: k is not between 1 and the size of the dimension.

    >>> kthvalue(tensor([5, 1, 9]), 2).values.item()
    5
    """
    axis = normalize_dim("kthvalue", dim, len(input.shape))
    size = input.shape[axis] if input.shape else 1
    if not 1 <= k <= size:
        problem = f"k is {k}, not one of {size} elements"
        raise OutOfRange(message("kthvalue", problem, describe(input)))
    if not input.shape:
        return _along(input, None, 0, False)
    turned = transpose(input, axis, -1)
    found = (transpose(part, axis, -1) for part in kth_.parts(turned, k=k - 1))
    if keepdim:
        return ValuesAndIndices(*found)
    shape = (*input.shape[:axis], *input.shape[axis + 1 :])
    return ValuesAndIndices(*(reshape.apply(part, shape=shape) for part in found))


@public(remembered=True)
def sort(
    input: Node, dim: int = -1, descending: bool = False, *, stable: bool = False
) -> ValuesAndIndices:
    """The elements along `dim` in ascending or descending order, and where they stood.

    NaN counts as the largest.

    Args:
        stable: equal elements come in order of position in any case.

    >>> sort(tensor([3, 1, 2])).indices
    tensor([1, 2, 0])
    """
    return _along(input, None, dim, descending)


@public(remembered=True)
def argsort(input: Node, dim: int = -1, descending: bool = False, *, stable: bool = False) -> Node:
    """Where the elements of `sort` stood.

    >>> argsort(tensor([3, 1, 2]))
    tensor([1, 2, 0])
    """
    return sort(input, dim, descending, stable=stable).indices


@public(remembered=True)
def msort(input: Node) -> Node:
    """The elements along the first dimension in ascending order.

    >>> msort(tensor([3, 1, 2]))
    tensor([1, 2, 3])
    """
    return sort(input, 0).values
