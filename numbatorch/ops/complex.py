"""PyTorch's functions of complex numbers; the operators that they are made of stand in parts.py."""

from __future__ import annotations

import builtins
import functools
import math
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.graph import Node
from numbatorch.ops import scalar_math as m
from numbatorch.ops import view
from numbatorch.ops.binary import mul
from numbatorch.ops.compare import eq, gt, where
from numbatorch.ops.operands import as_node, const, describe, result_type
from numbatorch.ops.parts import complex_, component, conjugated, imag_, part_of, real_, sgn_
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar
from numbatorch.ops.surface import public
from numbatorch.ops.unary import abs_, cos, exp, log, reciprocal, sign, sin
from numbatorch.shape import normalize_dims, numel

Number = int | float | builtins.complex


@elementwise(numpy=np.angle, dtypes=(*dt.COMPLEX, *dt.FLOATS), result=part_of)
def angle(x: Scalar) -> Scalar:
    """The angle to the real axis in radians, from -pi to pi: of real numbers 0 or pi.

    The gradient at 0, and of real numbers, is 0.

    >>> angle(tensor([1 + 1j, -2.0]))
    tensor([0.7854, 3.1416])
    """
    return m.angle(x)


@angle.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    """i * x / |x|**2: across the way to x."""
    if not x.dtype.is_complex:
        return g * 0.0
    turned, size = sgn_.apply(x), abs_.apply(x)
    zero = eq.apply(size, 0)
    share = where.apply(zero, 0.0, g / where.apply(zero, 1.0, size))
    return complex_.apply(-(imag_.apply(turned) * share), real_.apply(turned) * share)


@public("nt")
def complex(real: Node, imag: Node) -> Node:
    """real + i * imag, of two tensors of float32 or of float64.

    Raises:
        DTypeError: other dtypes, or two different ones.

    >>> complex(tensor([1.0, 2.0]), tensor([0.5, -1.0]))
    tensor([1.+0.5000j, 2.-1.0000j])
    """
    if real.dtype is not imag.dtype or real.dtype not in complex_.dtypes:
        rows = (f"real {describe(real)}", f"imag {describe(imag)}")
        raise DTypeError(message("complex", "the parts are both float32 or both float64", *rows))
    return complex_.apply(real, imag)


@public("nt")
def polar(abs: Node, angle: Node) -> Node:
    """abs * (cos(angle) + i * sin(angle)).

    >>> polar(tensor([2.0]), tensor([1.0]))
    tensor([1.0806+1.6829j])
    """
    return complex(abs * cos.apply(angle), abs * sin.apply(angle))


@public("nt")
def real(input: Node) -> Node:
    """The real part, as a view; real numbers as they are.

    >>> real(tensor([1 + 2j, 3]))
    tensor([1., 3.])
    """
    return component.apply(input, index=0) if input.dtype.is_complex else input


@public("nt")
def imag(input: Node) -> Node:
    """The imaginary part, as a view.

    Raises:
        DTypeError: `input` is real.

    >>> imag(tensor([1 + 2j, 3]))
    tensor([2., 0.])
    """
    if not input.dtype.is_complex:
        raise DTypeError(message("imag", f"{describe(input)} has no imaginary part"))
    return component.apply(input, index=1)


@public()
def conj(input: Node) -> Node:
    """The complex conjugate; real numbers as they are.

    >>> conj(tensor([1 + 2j]))
    tensor([1.-2.j])
    """
    return conjugated(input)


@public()
def sgn(input: Node) -> Node:
    """input / |input|, and 0 at 0; of real numbers the sign.

    >>> sgn(tensor([3 + 4j, 0]))
    tensor([0.6000+0.8000j, 0.0000+0.0000j])
    """
    return sgn_.apply(input) if input.dtype.is_complex else sign.apply(input)


@public()
def is_complex(input: Node) -> bool:
    """Whether the elements are complex numbers.

    >>> is_complex(tensor([1j])), is_complex(tensor([1.0]))
    (True, False)
    """
    return input.dtype.is_complex


@public("nt")
def view_as_real(input: Node) -> Node:
    """(..., 2): the real and the imaginary part of each element, as a view.

    Raises:
        DTypeError: `input` is real.

    >>> view_as_real(tensor([1 + 2j, 3 - 4j]))
    tensor([[ 1.,  2.],
            [ 3., -4.]])
    """
    if not input.dtype.is_complex:
        raise DTypeError(message("view_as_real", f"{describe(input)} is not complex"))
    return view.reinterpreted(view.unsqueeze(input, -1), input.dtype.part)


@public("nt")
def view_as_complex(input: Node) -> Node:
    """Elements (real, imag) of the last dimension as complex numbers, as a view.

    Where we differ from PyTorch: of parts that lie apart it is a copy, which is an error there.

    Args:
        input: (..., 2), of float32 or float64.
    Raises:
        ShapeError: the last dimension is not of size 2.
        DTypeError: another dtype.

    >>> view_as_complex(tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor([1.+2.j, 3.+4.j])
    """
    if not input.shape or input.shape[-1] != 2:
        problem = f"the last dimension of {describe(input)} is not a real and an imaginary part"
        raise ShapeError(message("view_as_complex", problem))
    if input.dtype not in complex_.dtypes:
        raise DTypeError(message("view_as_complex", f"{describe(input)} holds no parts"))
    return view.squeeze(view.reinterpreted(input, input.dtype.complex), -1)


def complex_power(base: Node | Number, exponent: Node | Number) -> Node:
    """base ** exponent, one of them complex; 0 to the power of a real part below 0 is NaN."""
    if isinstance(base, Node) and exponent in (-3, -2, -1, 1, 2, 3):
        size = builtins.abs(builtins.complex(exponent).real)
        power = functools.reduce(mul.apply, [base] * int(size))
        return power if exponent == size else reciprocal.apply(power)
    dtype = result_type([base, exponent])
    device = next(x.device for x in (base, exponent) if isinstance(x, Node))
    base, exponent = (as_node(x, dtype, device) for x in (base, exponent))
    zero = eq.apply(base, 0)
    power = exp.apply(exponent * log.apply(where.apply(zero, 1, base)))
    at_zero = where.apply(gt.apply(real_.apply(exponent), 0), 0, math.nan)
    return where.apply(eq.apply(exponent, 0), 1, where.apply(zero, at_zero, power))


def complex_product(x: Node, dim: Any, keepdim: bool) -> Node:
    """Product over `dim`, of halves with each other until one number is left."""
    dims = normalize_dims("prod", dim, len(x.shape))
    kept = tuple(d for d in range(len(x.shape)) if d not in dims)
    batch = tuple(x.shape[d] for d in kept)
    size = numel([x.shape[d] for d in dims])
    rest = view.reshape.apply(view.permute.apply(x, dims=(*kept, *dims)), shape=(*batch, size))
    if size == 0:
        rest, size = const(1.0, x.dtype, x.device, (*batch, 1)), 1
    while size > 1:
        half = size // 2
        parts = [mul.apply(view.narrow(rest, -1, 0, half), view.narrow(rest, -1, half, half))]
        parts += [view.narrow(rest, -1, size - 1, 1)] * (size % 2)
        rest, size = view.cat(parts, -1), half + size % 2
    shape = tuple(1 if d in dims else n for d, n in enumerate(x.shape)) if keepdim else batch
    return view.reshape.apply(rest, shape=shape)
