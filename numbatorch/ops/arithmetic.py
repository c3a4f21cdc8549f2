"""Arithmetic and choices with PyTorch's arguments, over the elementwise operators."""

from __future__ import annotations

from typing import Any, Literal

from numbatorch import dtype as dt
from numbatorch.apart import import_module
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import binary, compare, unary
from numbatorch.ops.numbers import fitting
from numbatorch.ops.operands import as_node, const, describe, result_type, zeros_like
from numbatorch.ops.surface import public
from numbatorch.variable import is_variable

Number = int | float | complex


@public()
def add(input: Node | Number, other: Node | Number, *, alpha: Number = 1) -> Node:
    """input + alpha * other; on bool the logical or. Integers wrap.

    >>> add(tensor([1, 2]), 10, alpha=2)
    tensor([21, 22])
    """
    if alpha.__class__ is not int:
        _require_whole("add", alpha, input, other)
    return binary.add.apply(input, other if alpha == 1 else other * alpha)


@public(aliases=("subtract",))
def sub(input: Node | Number, other: Node | Number, *, alpha: Number = 1) -> Node:
    """input - alpha * other. Integers wrap.

    >>> sub(tensor([1, 2]), 10, alpha=2)
    tensor([-19, -18])
    """
    if alpha.__class__ is not int:
        _require_whole("sub", alpha, input, other)
    return binary.sub.apply(input, other if alpha == 1 else other * alpha)


@public("nt")
def rsub(input: Node, other: Node | Number, *, alpha: Number = 1) -> Node:
    """other - alpha * input.

    >>> rsub(tensor([1, 2]), 10, alpha=2)
    tensor([8, 6])
    """
    _require_whole("rsub", alpha, input, other)
    return binary.sub.apply(other, input if alpha == 1 else input * alpha)


def _require_whole(operator: str, alpha: Number, *operands: Node | Number) -> None:
    """Raise DTypeError where alpha would make other numbers of integers."""
    dtype = result_type(operands)
    wrong = isinstance(alpha, float | complex) and dtype.kind in "iub"
    wrong = wrong or (isinstance(alpha, complex) and dtype.kind == "f")
    if wrong or (isinstance(alpha, bool) and dtype.kind != "b"):
        raise DTypeError(message(operator, f"alpha is {alpha!r}, and the operands {dtype.name}"))


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
    assert not isinstance(input, complex) and not isinstance(other, complex)  # it has refused them
    below = compare.lt.apply(other, 0) if isinstance(other, Node) else other < 0
    first = compare.lt.apply(input, 0) if isinstance(input, Node) else input < 0
    opposite = compare.logical_xor.apply(first, below)
    return down + compare.logical_and.apply(inexact, opposite)


@public()
def pow(input: Node | Number, exponent: Node | Number) -> Node:
    """input ** exponent, with the special values of C; x ** 0 is 1 for every x.

    Of complex numbers exp(exponent * log(input)), but products for whole numbers from -3 to 3.

    Raises:
        DTypeError: integers to the power of a negative integer, where that is a number.

    >>> pow(tensor([0.0, float("nan")]), 0)
    tensor([1., 1.])
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


@public(aliases=("clip",), remembered=True)
def clamp(input: Node, min: Node | Number | None = None, max: Node | Number | None = None) -> Node:
    """Each element within [min, max]; a bound is absent, a number or a tensor.

    At a bound the gradient is that of the element. NaN in a bound gives NaN.

    Raises:
        TypeError: both bounds are absent.

    >>> clamp(tensor([-2.0, 0.5, 2.0]), -1, 1)
    tensor([-1.0000,  0.5000,  1.0000])
    """
    if min is None and max is None:
        raise TypeError(message("clamp", "needs min or max"))
    out = input if min is None else _bound("clamp", input, compare.lt, min)
    return out if max is None else _bound("clamp", out, compare.gt, max)


@public(remembered=True)
def clamp_min(input: Node, min: Node | Number) -> Node:
    """Each element, or `min` where that is larger.

    >>> clamp_min(tensor([-2.0, 0.5]), 0)
    tensor([0.0000, 0.5000])
    """
    return _bound("clamp_min", input, compare.lt, min)


@public(remembered=True)
def clamp_max(input: Node, max: Node | Number) -> Node:
    """Each element, or `max` where that is smaller.

    >>> clamp_max(tensor([0.5, 2.0]), tensor([1.0, 3.0]))
    tensor([0.5000, 2.0000])
    """
    return _bound("clamp_max", input, compare.gt, max)


def _bound(name: str, input: Node, beyond: Any, limit: Node | Number) -> Node:
    if input.dtype.kind not in "iufb":
        raise DTypeError(message(name, f"has no meaning for {describe(input)}"))
    if is_variable(limit) and input.dtype.kind == "f":
        limit = const(limit, input.dtype, input.device)
    if isinstance(limit, Node):
        outside = beyond.apply(input, limit)
        if limit.dtype.kind == "f":
            outside = compare.logical_or.apply(outside, compare.ne.apply(limit, limit))
        return compare.where.apply(outside, limit, input)
    if not is_variable(limit) and limit != limit:
        return input * limit
    if input.dtype.kind in "iu" and isinstance(limit, int):
        limit = fitting(name, limit, input.dtype)
    return compare.where.apply(beyond.apply(input, limit), limit, input)


@public(remembered=True)
def masked_fill(input: Node, mask: Node, value: Node | Number) -> Node:
    """`value` where `mask` is True; a whole number where the elements are integers.

    Raises:
        DTypeError: the dtype of `input` does not hold the value.

    >>> masked_fill(tensor([1, 2]), tensor([True, False]), 0)
    tensor([0, 2])
    """
    if isinstance(value, Node) and value.shape:
        problem = "takes a number, or a tensor of no dimensions"
        raise ShapeError(message("masked_fill", problem, f"value {describe(value)}"))
    filling = value if isinstance(value, Node) else fitting("masked_fill", value, input.dtype)
    filled = compare.where.apply(mask, filling, input)
    if filled.dtype is not input.dtype:
        shown = describe(value) if isinstance(value, Node) else repr(value)
        rows = (f"input {describe(input)}", f"value {shown}")
        raise DTypeError(message("masked_fill", f"the value is no {input.dtype.name}", *rows))
    return filled


@public()
def float_power(input: Node | Number, exponent: Node | Number) -> Node:
    """input ** exponent in float64, or in complex128.

    >>> float_power(tensor([2, 3]), 0.5).dtype
    numbatorch.float64
    """
    dtype = result_type([input, exponent])
    wide = dt.complex128 if dtype.is_complex else dt.float64
    operands = (as_node(x, wide, x.device) if isinstance(x, Node) else x for x in (input, exponent))
    return pow(*operands)


@public()
def nextafter(input: Node, other: Node) -> Node:
    """The number after `input` on the way to `other`, in the dtype in which they meet.

    Raises:
        DTypeError: that is none of floats.

    >>> nextafter(tensor([1.0]), tensor([2.0])).item()
    1.0000001192092896
    """
    common = result_type((input, other))
    if common.kind != "f":
        rows = (f"input {describe(input)}", f"other {describe(other)}")
        raise DTypeError(message("nextafter", "takes floats", *rows))
    input, other = (as_node(x, common, x.device) for x in (input, other))
    if input.dtype in binary.nextafter_.dtypes:
        return binary.nextafter_.apply(input, other)
    whole = dt.int16 if input.dtype.itemsize == 2 else dt.int8
    import_module("numbatorch.ops.view")
    from numbatorch.ops.view import reinterpreted

    bits, none = (reinterpreted(x, whole) for x in (input, zeros_like(input)))
    outward = compare.eq.apply(compare.gt.apply(other, input), compare.gt.apply(input, 0.0))
    stepped = reinterpreted(compare.where.apply(outward, bits + 1, bits - 1), input.dtype)
    least = binary.copysign.apply(reinterpreted(none + 1, input.dtype), other)
    moved = compare.where.apply(compare.eq.apply(input, 0.0), least, stepped)
    known = compare.where.apply(compare.eq.apply(input, other), other, moved)
    undefined = compare.logical_or.apply(compare.isnan.apply(input), compare.isnan.apply(other))
    return compare.where.apply(undefined, input + other, known)


@public()
def positive(input: Node) -> Node:
    """The tensor itself.

    Raises:
        DTypeError: it is of bool.

    >>> positive(tensor([-1, 2]))
    tensor([-1,  2])
    """
    if input.dtype is dt.bool_:
        raise DTypeError(message("positive", f"has no meaning for {describe(input)}"))
    return input


@public()
def ldexp(input: Node, other: Node) -> Node:
    """input * 2**other, also where 2**other alone would be too large or too small.

    >>> ldexp(tensor([1.0, 3.0]), tensor([2, -1]))
    tensor([4.0000, 1.5000])
    """
    if result_type([input, other]).is_complex:
        return input * pow(2.0, other)
    return binary.ldexp_.apply(input, other)
