"""The record of a reduction, and the decorator that makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node, Op, register
from numbatorch.ops.operands import describe
from numbatorch.shape import Shape


class Reduction(Op):
    """out[i] = combine over j of x[i, j]; `dims` stay, with size 1.

    Attributes:
        combine: text of the scalar step, with {acc} and {x}, in primitives of the backend.
        identity: dtype -> value of an empty reduction, or None if there is none.
        accumulator: dtype of x -> dtype of the result.
        selects: True for argmax and argmin, whose result is an index; combine says "better".
    """

    def __init__(self, reference: Callable[..., Any]):
        super().__init__(reference.__name__, reference)
        self.combine = ""
        self.identity: Callable[[DType], Any] = lambda dtype: None
        self.accumulator: Callable[[DType], DType] = lambda dtype: dtype
        self.selects = False

    def apply(self, *operands: Any, **attrs: Any) -> Node:
        """`dims` must be sorted dimension numbers."""
        (x,) = operands
        dims = attrs["dims"]
        if x.dtype.kind == "q":
            raise DTypeError(message(self.name, f"has no meaning for {x.dtype.name}"))
        shape = tuple(1 if i in dims else size for i, size in enumerate(x.shape))
        if self.identity(x.dtype) is None and any(x.shape[d] == 0 for d in dims):
            raise graph_shape_error(self.name, x, dims)
        return Node(self, (x,), {"dims": dims}, shape, self.accumulator(x.dtype), x.device)


def graph_shape_error(op: str, x: Node, dims: Shape) -> Exception:
    """The error of a reduction over nothing that has no identity."""
    from numbatorch.errors import ShapeError

    return ShapeError(
        message(
            op, "a reduction over no elements has no value", f"input {describe(x)}, dims {dims}"
        )
    )


def reduction(
    *,
    combine: str,
    identity: Callable[[DType], Any],
    accumulator: Callable[[DType], DType] = lambda dtype: dtype,
    selects: bool = False,
) -> Callable[[Callable[..., Any]], Reduction]:
    """Decorator: register a NumPy reduction, (x, *, dims) with dims kept, as an operator."""

    def decorate(reference: Callable[..., Any]) -> Reduction:
        op = Reduction(reference)
        op.combine = combine
        op.identity = identity
        op.accumulator = accumulator
        op.selects = selects
        op.differentiable = not selects
        return register(op)

    return decorate
