"""Which elements are close or among others, and what stands for those that are not finite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node, find
from numbatorch.ops import compare, unary
from numbatorch.ops.operands import as_node, const, describe, expanded, result_type
from numbatorch.ops.parts import part_by_part
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.shape import Shape, numel

Array = Any
Number = int | float
FEW = 64  # elements with which all are compared, instead of sorting them


def _nan_to_num(x: Array, *, nan: float, posinf: float, neginf: float) -> Array:
    found = np.where(np.isnan(x), nan, x)
    return np.where(x == np.inf, posinf, np.where(x == -np.inf, neginf, found))


@elementwise(numpy=_nan_to_num, dtypes=dt.FLOATS)
def nan_to_num_(
    x: Scalar, *, nan: float = 0.0, posinf: float = 1.0, neginf: float = -1.0
) -> Scalar:
    """Numbers in the place of NaN and of the infinities."""
    y = posinf if x == math.inf else (neginf if x == -math.inf else x)
    return nan if x != x else y


@nan_to_num_.vjp
def _(g: Node, y: Node, x: Node, *, nan: float, posinf: float, neginf: float) -> Node:
    return compare.where.apply(compare.isfinite.apply(x), g, 0.0)


@public(remembered=True)
def nan_to_num(
    input: Node,
    nan: Number | None = None,
    posinf: Number | None = None,
    neginf: Number | None = None,
) -> Node:
    """`nan` where an element is NaN, `posinf` and `neginf` where it is infinite.

    Args:
        nan: 0 unless given.
        posinf, neginf: the largest and the lowest finite number of the dtype unless given.

    >>> nan_to_num(tensor([float("nan"), float("inf"), 1.0]), posinf=9.0)
    tensor([0., 9., 1.])
    """
    if input.dtype.kind in "iub":
        return input
    largest = float(_largest(input.dtype.part))
    attrs = {
        "nan": 0.0 if nan is None else float(nan),
        "posinf": largest if posinf is None else float(posinf),
        "neginf": -largest if neginf is None else float(neginf),
    }
    if input.dtype.is_complex:
        return part_by_part(lambda x: nan_to_num_.apply(x, **attrs), input)
    return nan_to_num_.apply(input, **attrs)


def _largest(dtype: dt.DType) -> Any:
    import ml_dtypes

    return ml_dtypes.finfo(dtype.numpy).max  # type: ignore[no-untyped-call]


@structured(dtypes=dt.PLAIN, differentiable=False)
def isin_(elements: Array, tests: Array) -> Array:
    """Whether each element is among those of another tensor."""
    return np.isin(elements, tests)


@isin_.infer
def _(elements: Node, tests: Node) -> tuple[Shape, dt.DType]:
    return elements.shape, dt.bool_


@isin_.samples
def _(rng: Any) -> Any:
    count = int(rng.choice([0, 1, 5, 300]))
    elements = rng.integers(-60, 60, rng.dims((0, 1), (4, 5)))
    return [elements * 1.0, rng.integers(-60, 60, count) * 1.0], {}


@public("nt")
def isin(
    elements: Node | Number,
    test_elements: Node | Number,
    *,
    assume_unique: bool = False,
    invert: bool = False,
) -> Node:
    """Whether each element is among `test_elements`; NaN is not.

    More than 64 of those are looked up: in a table or by hash on the CPU, else on the host.

    Args:
        assume_unique: that no element is there twice, which makes no difference here.
        invert: whether it is not among them.
    Raises:
        TypeError: none of both is a tensor.

    >>> isin(tensor([1, 2, 3]), tensor([2, 5]))
    tensor([False,  True, False])
    """
    nodes = [x for x in (elements, test_elements) if isinstance(x, Node)]
    if not nodes:
        raise TypeError(message("isin", "needs at least one tensor operand"))
    dtype, device = result_type([elements, test_elements]), nodes[0].device
    if dtype.kind not in "iufb":
        rows = [f"operand {describe(x)}" for x in nodes]
        raise DTypeError(message("isin", f"has no meaning for {dtype.name}", *rows))
    x, tests = (as_node(y, dtype, device) for y in (elements, test_elements))
    count = numel(tests.shape)
    flat = find("reshape").apply(tests, shape=(count,))
    if count > FEW:
        found = isin_.apply(x, flat)
    elif count == 0:
        found = const(False, dt.bool_, device, x.shape)
    else:
        column = find("reshape").apply(x, shape=(*x.shape, 1))
        same = compare.eq.apply(column, expanded(flat, (*x.shape, count)))
        found = find("any").apply(same, dims=(len(x.shape),))
        found = find("reshape").apply(found, shape=x.shape)
    return compare.logical_not.apply(found) if invert else found


@public(remembered=True)
def isclose(
    input: Node, other: Node, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Node:
    """Whether |input - other| <= atol + rtol * |other|; infinities equal themselves.

    Raises:
        DTypeError: the tensors are of different dtypes.
        ValueError: a tolerance is negative.

    >>> isclose(tensor([1.0, 1.0]), tensor([1.000001, 1.1]))
    tensor([ True, False])
    """
    if input.dtype is not other.dtype:
        rows = (f"input {describe(input)}", f"other {describe(other)}")
        raise DTypeError(message("isclose", "the tensors are of different dtypes", *rows))
    if rtol < 0 or atol < 0:
        raise ValueError(message("isclose", f"rtol is {rtol} and atol {atol}, one below 0"))
    equal = compare.eq.apply(input, other)
    if {input.dtype.kind, other.dtype.kind} <= {"i", "u", "b"}:
        if not input.device.has_float64:
            size = unary.abs_.apply(as_node(other, dt.float32, other.device))
            near = compare.le.apply(_distance(input, other), size * rtol + atol)
            return compare.logical_or.apply(equal, near)
        input, other = (as_node(x, dt.float64, x.device) for x in (input, other))
    size = unary.abs_.apply(other)
    near = compare.le.apply(unary.abs_.apply(input - other), size * rtol + atol)
    for x in (input, other):
        near = compare.logical_and.apply(near, compare.isfinite.apply(x))
    out = compare.logical_or.apply(equal, near)
    if not equal_nan:
        return out
    both = compare.logical_and.apply(compare.isnan.apply(input), compare.isnan.apply(other))
    return compare.logical_or.apply(out, both)


def _distance(lhs: Node, rhs: Node) -> Node:
    """|lhs - rhs| of integers in float32: of neighbouring large ones not 0."""
    x, y = (as_node(z, dt.int64, z.device) for z in (lhs, rhs))
    exact = as_node(unary.abs_.apply(x - y), dt.float32, x.device)  # but for what overflows int64
    x, y = (as_node(z, dt.float32, z.device) for z in (lhs, rhs))
    rough = unary.abs_.apply(x - y)
    return compare.where.apply(compare.lt.apply(rough, 2.0**62), exact, rough)
