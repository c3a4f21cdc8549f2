"""Elementwise operators of three operands: products added on, and ways between two values."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node
from numbatorch.ops.operands import as_node, describe, result_type
from numbatorch.ops.parts import conjugated
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import public

Number = int | float | complex
Array = Any
Triple = tuple[Node, Node, Node]


def _lerp(start: Array, end: Array, weight: Array) -> Array:
    near = np.abs(weight) < 0.5
    return np.where(near, start + weight * (end - start), end - (1 - weight) * (end - start))


@elementwise(numpy=_lerp, dtypes=dt.FLOATS + dt.COMPLEX)
def lerp_(start: Scalar, end: Scalar, weight: Scalar) -> Scalar:
    """start + weight * (end - start), counted from the nearer of the two, which it reaches."""
    way = end - start
    return start + weight * way if abs(weight) < 0.5 else end - way * (1.0 - weight)


@lerp_.vjp
def _(g: Node, y: Node, start: Node, end: Node, weight: Node) -> Triple:
    share = g * conjugated(weight)
    return g - share, share, g * conjugated(end - start)


@public(remembered=True)
def lerp(input: Node, end: Node, weight: Node | Number) -> Node:
    """input + weight * (end - input): `input` where the weight is 0, `end` where it is 1.

    Raises:
        DTypeError: the tensors are of different dtypes, or of integers.

    >>> lerp(tensor([0.0, 10.0]), tensor([1.0, 20.0]), 0.5)
    tensor([ 0.5000, 15.0000])
    """
    given = [x for x in (input, end, weight) if isinstance(x, Node)]
    if len({x.dtype for x in given}) > 1 or input.dtype.kind not in "fc":
        rows = [f"operand {describe(x)}" for x in given]
        raise DTypeError(message("lerp", "takes floats or complex numbers of one dtype", *rows))
    return lerp_.apply(input, end, weight)


@elementwise(
    numpy=lambda x, tensor1, tensor2, *, value: x + value * tensor1 * tensor2, dtypes=dt.FLOATS
)
def addcmul_(x: Scalar, tensor1: Scalar, tensor2: Scalar, *, value: float = 1.0) -> Scalar:
    """x + value * tensor1 * tensor2."""
    return x + value * tensor1 * tensor2


@addcmul_.vjp
def _(g: Node, y: Node, x: Node, tensor1: Node, tensor2: Node, *, value: float) -> Triple:
    scaled = g * value
    return g, scaled * tensor2, scaled * tensor1


@elementwise(
    numpy=lambda x, tensor1, tensor2, *, value: x + value * tensor1 / tensor2,
    dtypes=dt.FLOATS,
    domain=(0.5, 4.0),
)
def addcdiv_(x: Scalar, tensor1: Scalar, tensor2: Scalar, *, value: float = 1.0) -> Scalar:
    """x + value * tensor1 / tensor2."""
    return x + value * tensor1 / tensor2


@addcdiv_.vjp
def _(g: Node, y: Node, x: Node, tensor1: Node, tensor2: Node, *, value: float) -> Triple:
    share = g * value / tensor2
    return g, share, -(share * (tensor1 / tensor2))


@public(remembered=True)
def addcmul(input: Node, tensor1: Node, tensor2: Node, *, value: Number = 1) -> Node:
    """input + value * tensor1 * tensor2.

    Raises:
        DTypeError: `value` is no whole number where the result is of integers.

    >>> addcmul(tensor([1.0]), tensor([2.0]), tensor([3.0]), value=0.5)
    tensor([4.])
    """
    dtype = result_type([input, tensor1, tensor2])
    if dtype.kind == "f" and not isinstance(value, complex):
        return addcmul_.apply(input, tensor1, tensor2, value=float(value))
    if isinstance(value, float | complex) and dtype.kind in "iub":
        problem = f"value is {value}, and the operands are of {dtype.name}"
        raise DTypeError(message("addcmul", problem))
    tensor1, tensor2 = (as_node(x, dtype, x.device) for x in (tensor1, tensor2))
    product = tensor1 * tensor2
    return input + (product if value == 1 else product * value)


@public(remembered=True)
def addcdiv(input: Node, tensor1: Node, tensor2: Node, *, value: Number = 1) -> Node:
    """input + value * tensor1 / tensor2.

    Raises:
        DTypeError: both tensors of the quotient are of integers.

    >>> addcdiv(tensor([1.0]), tensor([2.0]), tensor([4.0]), value=10)
    tensor([6.])
    """
    dtype = result_type([input, tensor1, tensor2])
    if tensor1.dtype.kind in "iub" and tensor2.dtype.kind in "iub":
        rows = [f"operand {describe(x)}" for x in (tensor1, tensor2)]
        hint = "div() of them has a rounding_mode"
        raise DTypeError(message("addcdiv", "integers are not divided", *rows, hint=hint))
    if dtype.kind == "f" and not isinstance(value, complex):
        return addcdiv_.apply(input, tensor1, tensor2, value=float(value))
    tensor1, tensor2 = (as_node(x, dtype, x.device) for x in (tensor1, tensor2))
    return input + (tensor1 if value == 1 else tensor1 * value) / tensor2
