"""What losses share: half types widened to float32, reductions, the arguments of older PyTorch."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.operands import as_node, describe, expanded
from numbatorch.ops.statistics import mean, sum

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]
Mean = Literal["none", "mean", "sum"]


def spelled(size_average: bool | None, reduce: bool | None, reduction: Any) -> Any:
    """The reduction that arguments of older PyTorch ask for, or the given one."""
    if size_average is None and reduce is None:
        return reduction
    if reduce is False:
        return "none"
    return "sum" if size_average is False else "mean"


def widened(
    operator: str, *operands: Node | None, takes_integers: bool = False
) -> tuple[DType, list[Any]]:
    """The dtype of the loss, and the operands in the one it is computed in.

    The loss has the widest of the floats among them. Where integers and bool alone will do, it has
    the default dtype.
    """
    given = [x for x in operands if x is not None]
    floats = [x.dtype for x in given if x.dtype.kind == "f"]
    if any(x.dtype.kind in "cq" for x in given) or not (floats or takes_integers):
        rows = [describe(x) for x in given]
        raise DTypeError(message(operator, "needs floats", *rows))
    dtype = functools.reduce(dt.promote, floats) if floats else dt.default_dtype()
    wide = dtype.compute
    return dtype, [x if x is None else as_node(x, wide, x.device) for x in operands]


def warn_of_shapes(operator: str, input: Node, target: Node) -> None:
    """Warn where an input and its target broadcast, for that is rarely meant."""
    ends = zip(reversed(input.shape), reversed(target.shape), strict=False)
    if input.shape != target.shape and all(m == n or 1 in (m, n) for m, n in ends):
        rows = (f"input {describe(input)}", f"target {describe(target)}")
        text = message(operator, "input and target differ in shape and broadcast", *rows)
        warnings.warn(text, UserWarning, stacklevel=4)


def reduced(losses: Node, reduction: Mean, dtype: DType, counts: Node | None = None) -> Node:
    """The losses, their sum, or that over the sum of what each counts, 1 unless given.

    Args:
        losses: in the dtype that they are computed in.
        dtype: of the result.
    """
    if reduction == "none":
        out = losses
    elif reduction == "sum":
        out = sum(losses)
    elif counts is None:
        out = mean(losses)
    else:
        out = sum(losses) / as_node(sum(counts), losses.dtype, losses.device)
    return as_node(out, dtype, losses.device)


def require_same_shape(operator: str, weight: Node, input: Node) -> None:
    """Raise ShapeError unless a weight is given for each element."""
    if weight.shape != input.shape:
        rows = f"input {describe(input)}", f"weight {describe(weight)}"
        raise ShapeError(message(operator, "weight must have the shape of the input", *rows))


def at_least_zero(x: Node) -> Node:
    """max(x, 0), NaN where x is; the slope at 0 is 1."""
    return find("where").apply(find("lt").apply(x, 0), 0.0, x)


def reduce_reference(losses: Array, reduction: Mean) -> Array:
    """`reduced`, in NumPy."""
    if reduction == "none":
        return losses
    return np.asarray(losses.sum() if reduction == "sum" else losses.mean())


def by_elements(formula: Callable[..., Array]) -> Callable[..., Array]:
    """A loss in NumPy, of the formula for each element."""

    def loss(*operands: Array, reduction: Mean, **attrs: Any) -> Array:
        return reduce_reference(formula(*operands, **attrs), reduction)

    return loss


def draw_reduction(rng: Draw) -> dict[str, Any]:
    """One of the reductions, as a keyword."""
    return {"reduction": str(rng.choice(["none", "mean", "sum"]))}


def along(weight: Node, axis: int, shape: tuple[int, ...]) -> Node:
    """A weight for each class, which stand along `axis`, in a shape."""
    sizes = tuple(n if i == axis else 1 for i, n in enumerate(shape))
    return expanded(find("reshape").apply(weight, shape=sizes), shape)
