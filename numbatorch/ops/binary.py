"""Elementwise operators of two operands: arithmetic and bits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.graph import Node, find
from numbatorch.ops import scalar_math
from numbatorch.ops.compare import eq, ge, le, logical_and, logical_or, lt, ne, where
from numbatorch.ops.operands import CONST, is_constant, zeros_like
from numbatorch.ops.parts import conjugated
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.variable import is_variable

Pair = tuple[Node, Node]
_LN2 = math.log(2)


@elementwise(numpy=np.add, dtypes=dt.PLAIN + dt.COMPLEX)
def add(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs + rhs; on bool the logical or. Integers wrap."""
    return lhs + rhs


@add.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    return g, g


@elementwise(numpy=np.subtract, dtypes=dt.NUMBERS + dt.COMPLEX)
def sub(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs - rhs. Integers wrap."""
    return lhs - rhs


@sub.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    return g, -g


@elementwise(numpy=np.multiply, dtypes=dt.PLAIN + dt.COMPLEX, aliases=("multiply",), numbers=2)
def mul(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs * rhs; on bool the logical and. Integers wrap.

    >>> mul(tensor([200], dtype=nt.uint8), 2)
    tensor([144], dtype=numbatorch.uint8)
    """
    return lhs * rhs


@mul.simplify
def _(node: Node) -> Node | None:
    """x * 1 is x."""
    return node.inputs[0] if is_constant(node.inputs[1], 1) else None


@mul.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    return g * conjugated(rhs), g * conjugated(lhs)


@elementwise(numpy=np.true_divide, dtypes=dt.FLOATS + dt.COMPLEX)
def div(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs / rhs, for integers in float32."""
    return lhs / rhs


@div.simplify
def _(node: Node) -> Node | None:
    """x / 1 is x."""
    return node.inputs[0] if is_constant(node.inputs[1], 1) else None


@div.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    share = g / conjugated(rhs)
    return share, -(share * conjugated(y))


@elementwise(
    numpy=np.floor_divide,
    dtypes=dt.NUMBERS,
    numbers=2,
    divides=True,
    source="https://numpy.org/doc/stable/reference/generated/numpy.floor_divide.html",
)
def floor_divide(lhs: Scalar, rhs: Scalar) -> Scalar:
    """floor(lhs / rhs), computed from the exact remainder.

    Raises:
        DivisionByZero: an integer is divided by 0; by one of a tensor when the result is realized.

    >>> floor_divide(tensor([7, -7]), 2)
    tensor([ 3, -4])
    """
    return scalar_math.floor_divide(lhs, rhs)


@floor_divide.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    return zeros_like(lhs), zeros_like(rhs)


@elementwise(
    numpy=np.remainder,
    dtypes=dt.NUMBERS,
    source="https://numpy.org/doc/stable/reference/generated/numpy.remainder.html",
    numbers=2,
    divides=True,
)
def remainder(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs - rhs * floor(lhs / rhs), exact, with the sign of rhs.

    Raises:
        DivisionByZero: an integer is divided by 0; by one of a tensor when the result is realized.

    >>> remainder(tensor([7, -7]), 3)
    tensor([1, 2])
    """
    return scalar_math.remainder(lhs, rhs)


@remainder.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    return g, -(g * floor_divide.apply(lhs, rhs))


def _pow_reference(base: Any, exponent: Any) -> Any:
    if base.dtype.kind == "f":
        return np.power(base, exponent)
    sign = np.where((base == -1) & (exponent % 2 != 0), -1, 1) if base.dtype.kind == "i" else 1
    whole = np.power(base, np.maximum(exponent, 0))
    inverse = np.where(abs(base) == 1, sign, 0) if base.dtype.kind == "i" else whole
    return np.where(exponent < 0, inverse, whole)


@elementwise(
    numpy=_pow_reference,
    dtypes=dt.NUMBERS,
    domain=(0.1, 3.0),
    source="ISO/IEC 9899:2018 (C17), F.10.4.4",
)
def pow_(base: Scalar, exponent: Scalar) -> Scalar:
    """base ** exponent, with the special values of C; x ** 0 is 1 for every x.

    Integers wrap; with a negative exponent they give 1 / base**n truncated, and 0 for base 0.
    The gradient of the exponent is 0 at base 0 with an exponent >= 0, and NaN at bases below 0.
    """
    return scalar_math.pow_(base, exponent)


@pow_.vjp
def _(g: Node, y: Node, base: Node, exponent: Node) -> tuple[Node, Node | None]:
    value = exponent.attrs.get("value")
    if exponent.op is CONST and not is_variable(value):  # as it nearly always is
        return g * exponent * pow_.apply(base, value - 1.0 if value else 0.0), None
    # Unselected branches stay finite, so that the second derivative has no 0 * inf.
    lower = where.apply(eq.apply(exponent, 0.0), 0.0, exponent - 1.0)
    settled = logical_and.apply(eq.apply(base, 0.0), ge.apply(exponent, 0.0))
    logarithm = find("log").apply(where.apply(settled, 1.0, base))
    return g * exponent * pow_.apply(base, lower), g * y * logarithm


def _tie_share(g: Node, winner: Node, loser: Node) -> Node:
    """g where winner > loser, or one is NaN; half of it where they are equal."""
    split = where.apply(eq.apply(winner, loser), g * 0.5, g)
    return where.apply(lt.apply(winner, loser), 0.0, split)


@elementwise(numpy=np.maximum, numbers=0)
def maximum(lhs: Scalar, rhs: Scalar) -> Scalar:
    """The larger operand; NaN if one is NaN. Ties share the gradient equally.

    >>> maximum(tensor([1.0, float("nan")]), tensor([2.0, 3.0]))
    tensor([2., nan])
    """
    return scalar_math.maximum(lhs, rhs)


@maximum.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    return _tie_share(g, lhs, rhs), _tie_share(g, rhs, lhs)


@elementwise(numpy=np.minimum, numbers=0)
def minimum(lhs: Scalar, rhs: Scalar) -> Scalar:
    """The smaller operand; NaN if one is NaN. Ties share the gradient equally.

    >>> minimum(tensor([1.0, float("nan")]), tensor([2.0, 3.0]))
    tensor([1., nan])
    """
    return scalar_math.minimum(lhs, rhs)


@minimum.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    return _tie_share(g, rhs, lhs), _tie_share(g, lhs, rhs)


@elementwise(numpy=np.fmax, numbers=0)
def fmax(lhs: Scalar, rhs: Scalar) -> Scalar:
    """The larger operand, the other one if one is NaN. Ties give the gradient to the first.

    >>> fmax(tensor([1.0, float("nan")]), tensor([2.0, 3.0]))
    tensor([2., 3.])
    """
    return lhs if lhs >= rhs or rhs != rhs else rhs


@fmax.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    first = logical_or.apply(ge.apply(lhs, rhs), ne.apply(rhs, rhs))
    return where.apply(first, g, 0.0), where.apply(first, 0.0, g)


@elementwise(numpy=np.fmin, numbers=0)
def fmin(lhs: Scalar, rhs: Scalar) -> Scalar:
    """The smaller operand, the other one if one is NaN. Ties give the gradient to the first.

    >>> fmin(tensor([1.0, float("nan")]), tensor([2.0, 3.0]))
    tensor([1., 3.])
    """
    return lhs if lhs <= rhs or rhs != rhs else rhs


@fmin.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    first = logical_or.apply(le.apply(lhs, rhs), ne.apply(rhs, rhs))
    return where.apply(first, g, 0.0), where.apply(first, 0.0, g)


@elementwise(numpy=np.fmod, dtypes=dt.NUMBERS, divides=True)
def fmod(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs - rhs * trunc(lhs / rhs), exact, with the sign of lhs.

    Raises:
        DivisionByZero: an integer is divided by 0; by one of a tensor when the result is realized.

    >>> fmod(tensor([7, -7]), 3)
    tensor([ 1, -1])
    """
    return scalar_math.truncated_remainder(lhs, rhs)


@fmod.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    return g, -(g * find("trunc").apply(lhs / rhs))


@elementwise(numpy=np.copysign, dtypes=dt.FLOATS)
def copysign(lhs: Scalar, rhs: Scalar) -> Scalar:
    """The size of lhs with the sign of rhs, of -0.0 too. The gradient at lhs = 0 is 0.

    >>> copysign(tensor([1.0, -2.0]), tensor([-0.0, 3.0]))
    tensor([-1.,  2.])
    """
    return scalar_math.copysign(lhs, rhs)


@copysign.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    turned = find("signbit").apply(lhs), find("signbit").apply(rhs)
    signed = where.apply(ne.apply(*turned), -g, g)
    return where.apply(eq.apply(lhs, 0.0), 0.0, signed), zeros_like(rhs)


@elementwise(numpy=np.nextafter, dtypes=(dt.float64, dt.float32), places=())
def nextafter_(lhs: Scalar, rhs: Scalar) -> Scalar:
    """The number after lhs on the way to rhs."""
    return scalar_math.nextafter(lhs, rhs)


@nextafter_.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    return g, zeros_like(rhs)


@elementwise(numpy=lambda x, n: x * np.exp2(n), dtypes=dt.FLOATS, places=())
def ldexp_(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs * 2**rhs, also where 2**rhs alone would be too large or too small."""
    half = scalar_math.rint(rhs * 0.5)
    rest = rhs - half if abs(rhs) < 1e30 else 0.0  # of an infinite number half is the whole
    return lhs * scalar_math.exp2(half) * scalar_math.exp2(rest)


@ldexp_.vjp
def _(g: Node, y: Node, lhs: Node, rhs: Node) -> Pair:
    return ldexp_.apply(g, rhs), g * (y * _LN2)


def _heaviside(x: Any, values: Any) -> Any:
    return np.where(x == 0, values, (x > 0).astype(values.dtype))


@elementwise(numpy=_heaviside, numbers=0)
def heaviside(input: Scalar, values: Scalar) -> Scalar:
    """0 where input < 0 or is NaN, `values` where it is 0, 1 where it is above.

    >>> heaviside(tensor([-1.0, 0.0, 2.0]), tensor(0.5))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return values if input == 0 else scalar_math.truth(input > 0, values)


@heaviside.vjp
def _(g: Node, y: Node, x: Node, values: Node) -> Pair:
    return zeros_like(x), where.apply(eq.apply(x, 0.0), g, 0.0)


@elementwise(numpy=np.bitwise_and, dtypes=dt.INTEGERS_AND_BOOL, differentiable=False, numbers=2)
def bitwise_and(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Bits that both operands have; on bool the logical and.

    >>> bitwise_and(tensor([6, 7]), 3)
    tensor([2, 3])
    """
    return lhs & rhs


@elementwise(numpy=np.bitwise_or, dtypes=dt.INTEGERS_AND_BOOL, differentiable=False, numbers=2)
def bitwise_or(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Bits that one of the operands has; on bool the logical or.

    >>> bitwise_or(tensor([4, 6]), 3)
    tensor([7, 7])
    """
    return lhs | rhs


@elementwise(numpy=np.bitwise_xor, dtypes=dt.INTEGERS_AND_BOOL, differentiable=False, numbers=2)
def bitwise_xor(lhs: Scalar, rhs: Scalar) -> Scalar:
    """Bits that just one of the operands has; on bool the exclusive or.

    >>> bitwise_xor(tensor([6, 7]), 3)
    tensor([5, 4])
    """
    return lhs ^ rhs


@elementwise(numpy=np.left_shift, dtypes=dt.INTEGERS, differentiable=False, numbers=2)
def bitwise_left_shift(lhs: Scalar, rhs: Scalar) -> Scalar:
    """lhs * 2**rhs, wrapping; 0 where rhs is negative or not below the number of bits.

    >>> bitwise_left_shift(tensor([1, 3]), tensor([2, 64]))
    tensor([4, 0])
    """
    return scalar_math.left_shift(lhs, rhs)


@elementwise(numpy=np.right_shift, dtypes=dt.INTEGERS, differentiable=False, numbers=2)
def bitwise_right_shift(lhs: Scalar, rhs: Scalar) -> Scalar:
    """floor(lhs / 2**rhs); the sign alone where rhs is negative or not below the bits.

    >>> bitwise_right_shift(tensor([-5, -5]), tensor([1, 64]))
    tensor([-3, -1])
    """
    return scalar_math.right_shift(lhs, rhs)
