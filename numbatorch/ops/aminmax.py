"""The smallest and the largest element in one pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numbatorch.dtype import NUMBERS, bool_, uint8
from numbatorch.graph import Node
from numbatorch.ops.operands import as_node
from numbatorch.ops.reduce import max_, min_, reduced_parts, sample
from numbatorch.ops.reduction import State, highest, lowest, reduction, word_of
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.scalar_combine import larger, smaller
from numbatorch.ops.surface import public
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


class AminmaxResult(NamedTuple):
    """What `aminmax` gives."""

    min: Node
    max: Node


def _step(low: Scalar, high: Scalar, x: Scalar, index: Scalar) -> tuple[Scalar, Scalar]:
    return smaller(low, x), larger(high, x)


def _merge(
    low: Scalar, high: Scalar, other_low: Scalar, other_high: Scalar
) -> tuple[Scalar, Scalar]:
    return smaller(low, other_low), larger(high, other_high)


_RANGE = State(
    _merge,
    lambda word: (highest(word), lowest(word)),
    lambda dtype: (word_of(dtype),) * 2,
    _step,
)


@reduction(_RANGE, result=lambda dtype: (dtype, dtype), dtypes=NUMBERS, empty=False)
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
