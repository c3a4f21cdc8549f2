"""The smallest and the largest element in one pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numbatorch.dtype import NUMBERS, bool_, uint8
from numbatorch.graph import Node
from numbatorch.ops.extremes import RANGE
from numbatorch.ops.operands import as_node
from numbatorch.ops.reduce import max_, min_, reduced_parts, sample
from numbatorch.ops.reduction import reduction
from numbatorch.ops.surface import public
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


class AminmaxResult(NamedTuple):
    """What `aminmax` gives."""

    min: Node
    max: Node


@reduction(RANGE, result=lambda dtype: (dtype, dtype), dtypes=NUMBERS, empty=False)
def aminmax_(x: Array, *, dims: Shape) -> tuple[Array, Array]:
    """Smallest and largest element over `dims`; NaN wins. Ties share the gradient equally."""
    return np.min(x, axis=dims, keepdims=True), np.max(x, axis=dims, keepdims=True)


@aminmax_.vjp
def _(g: tuple[Node | None, ...], y: tuple[Node, ...], x: Node, *, dims: Shape) -> Node | None:
    found: Node | None = None
    for op, cotangent, extreme in zip((min_, max_), g, y, strict=True):
        if cotangent is not None and op.gradient is not None:
            own: Node = op.gradient(cotangent, extreme, x, dims=dims)
            found = own if found is None else found + own
    return found


aminmax_.samples(sample)


@public()
def aminmax(input: Node, *, dim: int | None = None, keepdim: bool = False) -> AminmaxResult:
    """Smallest and largest element, over all or along `dim`; NaN wins; ties share the gradient.

    >>> aminmax(tensor([3, 1, 2])).max.item()
    3
    """
    if input.dtype is not bool_:
        return AminmaxResult(*reduced_parts(aminmax_, input, dim, keepdim))
    parts = reduced_parts(aminmax_, as_node(input, uint8, input.device), dim, keepdim)
    return AminmaxResult(*(as_node(part, bool_, input.device) for part in parts))
