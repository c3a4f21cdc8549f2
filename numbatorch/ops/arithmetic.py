"""Arithmetic, choices and bounds with PyTorch's arguments, over the elementwise operators."""

from __future__ import annotations

from typing import Any, Literal

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node
from numbatorch.ops import binary, compare, unary
from numbatorch.ops.numbers import fitting
from numbatorch.ops.operands import as_node, describe, result_type
from numbatorch.ops.surface import public

Number = int | float | complex


@public()
def add(input: Node | Number, other: Node | Number, *, alpha: Number = 1) -> Node:
    """input + alpha * other; on bool the logical or. Integers wrap.

    >>> add(tensor([1, 2]), 10, alpha=2)
    tensor([21, 22])
    """
    return binary.add.apply(input, other if alpha == 1 else other * alpha)


@public(aliases=("subtract",))
def sub(input: Node | Number, other: Node | Number, *, alpha: Number = 1) -> Node:
    """input - alpha * other. Integers wrap."""
    return binary.sub.apply(input, other if alpha == 1 else other * alpha)


@public(aliases=("divide", "true_divide"))
def div(
    input: Node | Number,
    other: Node | Number,
    *,
    rounding_mode: Literal["floor", "trunc"] | None = None,
) -> Node:
    """input / other; "floor" rounds it down, "trunc" towards 0, and integers stay integers.

    >>> div(tensor([7, -7]), 2, rounding_mode="trunc")
    tensor([ 3, -3])
    """
    if rounding_mode is None:
        return binary.div.apply(input, other)
    down = binary.floor_divide.apply(input, other)
    if rounding_mode == "floor":
        return down
    if down.dtype.kind == "f":
        return unary.trunc.apply(binary.div.apply(input, other))
    inexact = compare.ne.apply(binary.remainder.apply(input, other), 0)
    assert not isinstance(other, complex)  # floor_divide has refused it
    below = compare.lt.apply(other, 0) if isinstance(other, Node) else other < 0
    opposite = compare.logical_xor.apply(compare.lt.apply(input, 0), below)
    return down + compare.logical_and.apply(inexact, opposite)


@public()
def pow(input: Node | Number, exponent: Node | Number) -> Node:
    """input ** exponent, with the special values of C; x ** 0 is 1 for every x.

    Of complex numbers exp(exponent * log(input)), but products for whole numbers from -3 to 3.

    Raises:
        DTypeError: integers to the power of a negative integer, where that is a number.
    """
    whole = isinstance(input, Node) and input.dtype.kind in "iub"
    if whole and isinstance(exponent, int) and exponent < 0:
        assert isinstance(input, Node)
        raise DTypeError(
            message(
                "pow",
                f"integers to the power of {exponent} are no integers",
                f"base {describe(input)}",
                hint="float() of the base has one",
            )
        )
    if result_type([input, exponent]).is_complex:
        import_module("numbatorch.ops.complex")
        from numbatorch.ops.complex import complex_power

        return complex_power(input, exponent)
    return binary.pow_.apply(input, exponent)


@public(aliases=("clip",))
def clamp(input: Node, min: Node | Number | None = None, max: Node | Number | None = None) -> Node:
    """Each element within [min, max]; a bound is absent, a number or a tensor.

    At a bound that is a number the gradient is that of the element.

    >>> clamp(tensor([-2.0, 0.5, 2.0]), -1, 1)
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min is None and max is None:
        raise TypeError(message("clamp", "needs min or max"))
    out = input if min is None else _bound(input, binary.maximum, compare.lt, min)
    return out if max is None else _bound(out, binary.minimum, compare.gt, max)


def _bound(input: Node, pairwise: Any, beyond: Any, limit: Node | Number) -> Node:
    if isinstance(limit, Node):
        return pairwise.apply(input, limit)  # type: ignore[no-any-return]
    if input.dtype.kind in "iu" and isinstance(limit, int):
        limit = fitting("clamp", limit, input.dtype)
    return compare.where.apply(beyond.apply(input, limit), limit, input)


@public()
def masked_fill(input: Node, mask: Node, value: Node | Number) -> Node:
    """`value` where `mask` is True; a whole number where the elements are integers.

    >>> masked_fill(tensor([1, 2]), tensor([True, False]), 0)
    tensor([0, 2])
    """
    filling = value if isinstance(value, Node) else fitting("masked_fill", value, input.dtype)
    filled = compare.where.apply(mask, filling, input)
    if filled.dtype is not input.dtype:
        raise DTypeError(message("masked_fill", f"{value!r} is no value of {input.dtype.name}"))
    return filled


@public()
def isclose(
    input: Node, other: Node, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Node:
    """Whether |input - other| <= atol + rtol * |other|; infinities equal themselves."""
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
