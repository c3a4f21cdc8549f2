"""Comparisons, tests of floats and logic, whose result is bool; and `where`, which it chooses."""

from __future__ import annotations

import numpy as np

from numbatorch import dtype as dt
from numbatorch.graph import Node
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar

_INFINITY = float("inf")


@elementwise(numpy=np.equal, dtypes=dt.PLAIN + dt.COMPLEX, result="bool", differentiable=False)
def eq(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs == rhs; NaN equals nothing."""
    return lhs == rhs


@elementwise(numpy=np.not_equal, dtypes=dt.PLAIN + dt.COMPLEX, result="bool", differentiable=False)
def ne(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs != rhs; NaN differs from everything."""
    return lhs != rhs


@elementwise(numpy=np.less, result="bool", differentiable=False)
def lt(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs < rhs; False with NaN."""
    return lhs < rhs


@elementwise(numpy=np.less_equal, result="bool", differentiable=False)
def le(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs <= rhs; False with NaN."""
    return lhs <= rhs


@elementwise(numpy=np.greater, result="bool", differentiable=False)
def gt(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs > rhs; False with NaN."""
    return lhs > rhs


@elementwise(numpy=np.greater_equal, result="bool", differentiable=False)
def ge(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs >= rhs; False with NaN."""
    return lhs >= rhs


@elementwise(numpy=np.isnan, dtypes=dt.FLOATS, result="bool", differentiable=False)
def isnan(x: Scalar) -> Scalar:
    """Whether x is not a number."""
    return x != x


@elementwise(numpy=np.isinf, dtypes=dt.FLOATS, result="bool", differentiable=False)
def isinf(x: Scalar) -> Scalar:
    """Whether x is an infinity of either sign."""
    return abs(x) == _INFINITY


@elementwise(numpy=np.isfinite, dtypes=dt.FLOATS, result="bool", differentiable=False)
def isfinite(x: Scalar) -> Scalar:
    """Whether x is neither an infinity nor NaN."""
    return abs(x) < _INFINITY


@elementwise(numpy=np.logical_not, result="bool", differentiable=False)
def logical_not(x: Scalar) -> Scalar:
    """Whether x is zero."""
    return x == 0


@elementwise(numpy=np.logical_and, result="bool", differentiable=False)
def logical_and(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Whether both operands are different from zero."""
    return lhs != 0 and rhs != 0


@elementwise(numpy=np.logical_or, result="bool", differentiable=False)
def logical_or(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Whether one of the operands is different from zero."""
    return lhs != 0 or rhs != 0


@elementwise(numpy=np.logical_xor, result="bool", differentiable=False)
def logical_xor(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Whether just one of the operands is different from zero."""
    return (lhs != 0) ^ (rhs != 0)


@elementwise(numpy=np.where, dtypes=dt.PLAIN + dt.COMPLEX, fixed={0: dt.bool_})
def where(condition: Scalar, lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs where the condition holds, rhs elsewhere; what is not chosen has no influence."""
    return lhs if condition else rhs


@where.vjp
def _(g: Node, y: Node, condition: Node, lhs: Node, rhs: Node) -> tuple[None, Node, Node]:
    return None, where.apply(condition, g, 0.0), where.apply(condition, 0.0, g)
