"""Numbers of categories drawn by weights, which are looked at: multinomial."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, OutOfRange, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.searching import searchsorted
from numbatorch.ops.surface import public
from numbatorch.tensor import draws
from numbatorch.tensor.base import detached, host_array, is_tracing
from numbatorch.tensor.core import Tensor


@public()
def multinomial(
    input: Node, num_samples: int, replacement: bool = False, *, generator: Any = None
) -> Node:
    """Numbers of categories, drawn by weights that need not add up to 1: int64.

    Args:
        input: (K,) or (N, K) floats, not negative.
        num_samples: how many are drawn of each row.
        replacement: whether a category may be drawn again.
    Returns:
        (num_samples,) or (N, num_samples).
    Raises:
        OutOfRange: a weight is negative, NaN or infinite, or a row has too few above 0; compiled
            functions do not look.
        ShapeError: more are drawn without replacement than there are categories.

    >>> multinomial(tensor([0.0, 3.0, 0.0]), 2, replacement=True)
    tensor([1, 1])
    """
    node = detached(input)
    if node.dtype.kind != "f":
        raise DTypeError(message("multinomial", f"weights are floats, not {describe(node)}"))
    if len(node.shape) not in (1, 2) or not node.shape[-1]:
        problem = "weights are (K,) or (N, K) with K above 0"
        raise ShapeError(message("multinomial", problem, describe(node)))
    K = node.shape[-1]
    if num_samples <= 0 or (not replacement and num_samples > K):
        problem = f"{num_samples} cannot be drawn of {K} categories"
        raise ShapeError(message("multinomial", problem, f"replacement is {replacement}"))
    if not is_tracing():
        _check_weights(host_array(node), 1 if replacement else num_samples)
    wide = as_node(node, dt.float64 if node.device.has_float64 else dt.float32, node.device)
    weights = Tensor(wide)
    if not replacement:  # the first of exponential waiting times with these rates
        waiting = draws.exponential(wide.shape, wide.dtype, node.device, generator)
        return (weights / Tensor(waiting)).topk(num_samples, -1).indices.node
    total = weights.cumsum(-1)
    drawn = draws.uniform((*node.shape[:-1], num_samples), wide.dtype, node.device, generator)
    places = Tensor(drawn) * total[..., -1:]
    found = Tensor(searchsorted(total.node, places.node, right=True))
    # A place that rounding put at the total is that of the last category that has a weight.
    last = (weights > 0).long().cumsum(-1).argmax(-1, keepdim=True)
    return found.minimum(last).node


def _check_weights(values: Any, least: int) -> None:
    """Raise OutOfRange unless weights are some of which rows can be drawn."""
    array = values.astype(np.float64)
    if not np.isfinite(array).all() or (array < 0).any():
        raise OutOfRange(message("multinomial", "a weight is negative, NaN or infinite"))
    if ((array > 0).sum(-1) < least).any():
        raise OutOfRange(message("multinomial", f"fewer than {least} weights of a row are above 0"))
