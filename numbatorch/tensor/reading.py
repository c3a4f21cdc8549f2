"""Public functions that read values: their result is Python's. See also dynamic.py."""

from __future__ import annotations

from typing import Any

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, message
from numbatorch.graph import Node, find
from numbatorch.ops.comparing import isclose
from numbatorch.ops.create import iota
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.surface import public
from numbatorch.ops.view import unsqueeze
from numbatorch.tensor.base import host_array
from numbatorch.tensor.dynamic import nonzero


@public()
def where(
    condition: Node, input: Node | float | None = None, other: Node | float | None = None
) -> Any:
    """`input` where the condition holds, `other` elsewhere; either may be a number.

    With the condition alone: the positions where it holds, one tensor a dimension.

    >>> where(tensor([True, False]), tensor([1, 2]), 0)
    tensor([1, 0])
    """
    if input is None and other is None:
        return nonzero(condition, as_tuple=True)
    return find("where").apply(condition, input, other)


@public()
def equal(input: Node, other: Node) -> bool:
    """Whether both have the same shape and equal elements."""
    return input.shape == other.shape and _all(find("eq").apply(input, other))


@public()
def allclose(
    input: Node, other: Node, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether |input - other| <= atol + rtol * |other| everywhere."""
    return _all(isclose(input, other, rtol, atol, equal_nan))


def _all(truths: Node) -> bool:
    """Whether no element is False."""
    return bool(host_array(find("logical_not").apply(truths)).any()) is False


@public("nn.functional")
def one_hot(tensor: Node, num_classes: int = -1) -> Node:
    """int64 (*tensor.shape, num_classes) with 1 at the class of each element, 0 elsewhere.

    Args:
        num_classes: one more than the largest class unless given, which reads the values.
    Raises:
        OutOfRange: a class is negative, or there are none to count.

    >>> one_hot(tensor([0, 2])).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    if tensor.dtype.kind not in "iu":
        raise DTypeError(message("one_hot", f"classes are integers, not {describe(tensor)}"))
    if num_classes < 0:
        values = host_array(tensor)
        if not values.size or values.min() < 0:
            problem = "num_classes is to be found from classes of which one is negative or none is"
            raise OutOfRange(message("one_hot", problem, describe(tensor)))
        num_classes = int(values.max()) + 1
    classes = iota(num_classes, tensor.device)
    return as_node(find("eq").apply(unsqueeze(tensor, -1), classes), dt.int64, tensor.device)
