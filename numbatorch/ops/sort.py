"""The largest or smallest elements along the last dimension, in order."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.index import gather
from numbatorch.ops.operands import describe
from numbatorch.ops.structured import structured
from numbatorch.ops.view import transpose
from numbatorch.shape import Shape, normalize_dim

Array = np.ndarray[Any, Any]


@structured(
    source="https://pytorch.org/docs/stable/generated/torch.topk.html", differentiable=False
)
def topk_indices(x: Array, *, k: int, largest: bool = True) -> Array:
    """Where the k largest (or smallest) elements of the last dimension stand, in their order.

    NaN counts as the largest, as in PyTorch; equal elements come in order of position.

    Args:
        x: (..., N), of numbers.
        k: from 0 to N.
    Returns:
        (..., k) int64.
    """
    keys = x if x.dtype.kind in "fiub" else x.astype(np.float32)
    if not largest:
        order = np.argsort(keys, axis=-1, kind="stable")
    else:
        backwards = np.argsort(np.flip(keys, -1), axis=-1, kind="stable")
        order = x.shape[-1] - 1 - np.flip(backwards, -1)
    return order[..., :k].astype(np.int64)


@topk_indices.infer
def _(x: Node, *, k: int, largest: bool) -> tuple[Shape, DType]:
    if x.dtype.kind not in "fiub":
        raise DTypeError(message("topk", f"{describe(x)} is packed in blocks: dequantize it first"))
    if not x.shape:
        raise ShapeError(message("topk", f"needs a dimension, not {describe(x)}"))
    _check_count(x, k, -1)
    return (*x.shape[:-1], k), dt.int64


def _check_count(x: Node, k: int, axis: int) -> None:
    size = x.shape[axis]
    if not 0 <= k <= size:
        raise OutOfRange(message("topk", f"k is {k} of {size} elements", f"x {describe(x)}"))


@topk_indices.samples
def _(rng: np.random.Generator) -> Any:
    rows, cols = (int(n) for n in rng.integers((0, 1), (4, 12)))
    attrs = {"k": int(rng.integers(0, cols + 1)), "largest": bool(rng.random() < 0.5)}
    return [rng.integers(-9, 9, (rows, cols)) / 2], attrs


def topk(x: Node, k: int, dim: int = -1, largest: bool = True) -> tuple[Node, Node]:
    """The k largest (or smallest) elements along `dim` in their order, and where they stand.

    Args:
        x: of rank 1 or more.
        k: from 0 to the size of `dim`.
    Returns:
        the elements, through which gradients flow, and int64 positions.
    """
    axis = normalize_dim("topk", dim, len(x.shape))
    _check_count(x, k, axis)
    last = x if axis == len(x.shape) - 1 else transpose(x, axis, -1)
    found = topk_indices.apply(last, k=k, largest=largest)
    picked = gather.apply(last, found)
    if last is x:
        return picked, found
    return transpose(picked, axis, -1), transpose(found, axis, -1)
