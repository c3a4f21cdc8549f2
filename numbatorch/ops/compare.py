"""Comparisons, tests of floats and logic, whose result is bool; and `where`, which it chooses."""

from __future__ import annotations

import numpy as np

from numbatorch import dtype as dt
from numbatorch.graph import Node
from numbatorch.ops import scalar_math as m
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar

_INFINITY = float("inf")


@elementwise(numpy=np.equal, dtypes=dt.PLAIN + dt.COMPLEX, result="bool", differentiable=False)
def eq(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs == rhs; NaN equals nothing.

    >>> eq(tensor([1.0, float("nan")]), tensor([1.0, float("nan")]))
    tensor([ True, False])
    """
    return lhs == rhs


@elementwise(
    numpy=np.not_equal,
    dtypes=dt.PLAIN + dt.COMPLEX,
    result="bool",
    differentiable=False,
    aliases=("not_equal",),
)
def ne(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs != rhs; NaN differs from everything.

    >>> ne(tensor([1.0, float("nan")]), tensor([1.0, float("nan")]))
    tensor([False,  True])
    """
    return lhs != rhs


@elementwise(numpy=np.less, result="bool", differentiable=False, aliases=("less",))
def lt(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs < rhs; False with NaN.

    >>> lt(tensor([1, 2, 3]), 2)
    tensor([ True, False, False])
    """
    return lhs < rhs


@elementwise(numpy=np.less_equal, result="bool", differentiable=False, aliases=("less_equal",))
def le(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs <= rhs; False with NaN.

    >>> le(tensor([1, 2, 3]), 2)
    tensor([ True,  True, False])
    """
    return lhs <= rhs


@elementwise(numpy=np.greater, result="bool", differentiable=False, aliases=("greater",))
def gt(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs > rhs; False with NaN.

    >>> gt(tensor([1, 2, 3]), 2)
    tensor([False, False,  True])
    """
    return lhs > rhs


@elementwise(
    numpy=np.greater_equal, result="bool", differentiable=False, aliases=("greater_equal",)
)
def ge(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs >= rhs; False with NaN.

    >>> ge(tensor([1, 2, 3]), 2)
    tensor([False,  True,  True])
    """
    return lhs >= rhs


_REALS = dt.FLOATS + dt.COMPLEX
_ALL = dt.PLAIN + dt.COMPLEX


@elementwise(numpy=np.isnan, dtypes=_REALS, result="bool", differentiable=False)
def isnan(x: Scalar) -> Scalar:
    """Whether x is not a number.

    >>> isnan(tensor([1.0, float("nan"), float("inf")]))
    tensor([False,  True, False])
    """
    return x != x


@elementwise(numpy=np.isinf, dtypes=_REALS, result="bool", differentiable=False)
def isinf(x: Scalar) -> Scalar:
    """Whether x, or a part of a complex x, is an infinity of either sign.

    >>> isinf(tensor([1.0, float("nan"), -float("inf")]))
    tensor([False, False,  True])
    """
    return abs(m.real(x)) == _INFINITY or abs(m.imag(x)) == _INFINITY


@elementwise(numpy=np.isfinite, dtypes=_REALS, result="bool", differentiable=False)
def isfinite(x: Scalar) -> Scalar:
    """Whether x is neither an infinity nor NaN, nor is a part of a complex x.

    >>> isfinite(tensor([1.0, float("nan"), -float("inf")]))
    tensor([ True, False, False])
    """
    return abs(m.real(x)) < _INFINITY and abs(m.imag(x)) < _INFINITY


@elementwise(numpy=np.isposinf, dtypes=dt.FLOATS, result="bool", differentiable=False)
def isposinf(x: Scalar) -> Scalar:
    """Whether x is the positive infinity.

    >>> isposinf(tensor([float("inf"), -float("inf")]))
    tensor([ True, False])
    """
    return x == _INFINITY


@elementwise(numpy=np.isneginf, dtypes=dt.FLOATS, result="bool", differentiable=False)
def isneginf(x: Scalar) -> Scalar:
    """Whether x is the negative infinity.

    >>> isneginf(tensor([float("inf"), -float("inf")]))
    tensor([False,  True])
    """
    return x == -_INFINITY


@elementwise(numpy=np.isreal, dtypes=_ALL, result="bool", differentiable=False)
def isreal(x: Scalar) -> Scalar:
    """Whether x has no imaginary part.

    >>> isreal(tensor([1 + 0j, 1 + 2j]))
    tensor([ True, False])
    """
    return m.is_real(x)


@elementwise(
    numpy=lambda x: np.signbit(x) if x.dtype.kind == "f" else x < 0,
    result="bool",
    differentiable=False,
)
def signbit(x: Scalar) -> Scalar:
    """Whether x is negative, -0.0 and NaN with a sign among them.

    >>> signbit(tensor([-1.0, -0.0, 0.0]))
    tensor([ True,  True, False])
    """
    return m.signbit(x)


@elementwise(numpy=np.logical_not, dtypes=_ALL, result="bool", differentiable=False)
def logical_not(x: Scalar) -> Scalar:
    """Whether x is zero.

    >>> logical_not(tensor([0.0, 0.5]))
    tensor([ True, False])
    """
    return x == 0


@elementwise(numpy=np.logical_and, dtypes=_ALL, result="bool", differentiable=False, numbers=0)
def logical_and(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Whether both operands are different from zero.

    >>> logical_and(tensor([0, 1, 2]), tensor([1, 0, 4]))
    tensor([False, False,  True])
    """
    return lhs != 0 and rhs != 0


@elementwise(numpy=np.logical_or, dtypes=_ALL, result="bool", differentiable=False, numbers=0)
def logical_or(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Whether one of the operands is different from zero.

    >>> logical_or(tensor([0, 1, 2]), tensor([0, 0, 4]))
    tensor([False,  True,  True])
    """
    return lhs != 0 or rhs != 0


@elementwise(numpy=np.logical_xor, dtypes=_ALL, result="bool", differentiable=False, numbers=0)
def logical_xor(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Whether just one of the operands is different from zero.

    >>> logical_xor(tensor([0, 1, 2]), tensor([0, 0, 4]))
    tensor([False,  True, False])
    """
    return (lhs != 0) ^ (rhs != 0)


@elementwise(numpy=np.where, dtypes=dt.PLAIN + dt.COMPLEX, fixed={0: dt.bool_})
def where(condition: Scalar, lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs where the condition holds, rhs elsewhere; what is not chosen has no influence."""
    return lhs if condition else rhs


@where.vjp
def _(g: Node, y: Node, condition: Node, lhs: Node, rhs: Node) -> tuple[None, Node, Node]:
    return None, where.apply(condition, g, 0.0), where.apply(condition, 0.0, g)
