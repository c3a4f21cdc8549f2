"""Complex numbers of their parts, the parts of complex numbers, and conjugates; see complex.py.

Gradients follow PyTorch's convention: the cotangent of z is dL/dRe(z) + i * dL/dIm(z) of a real L,
so the vjp of a holomorphic function multiplies by the conjugate of its derivative.
Source: https://pytorch.org/docs/stable/notes/autograd.html#autograd-for-complex-numbers
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType, Like, named
from numbatorch.errors import message
from numbatorch.graph import Node
from numbatorch.ops import scalar_math as m
from numbatorch.ops.compare import eq, where
from numbatorch.ops.known_calls import warn
from numbatorch.ops.operands import as_node, describe, zeros_like
from numbatorch.ops.registry import elementwise, view
from numbatorch.ops.scalar import Scalar
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


def part_of(dtype: DType, attrs: dict[str, Any]) -> DType:
    """The dtype of a result that is real where the operands are complex."""
    return dtype.part


def _joined(real: Array, imag: Array) -> Array:
    out = np.empty(np.broadcast_shapes(real.shape, imag.shape), np.result_type(real, np.complex64))
    out.real, out.imag = real, imag
    return out


@elementwise(
    numpy=_joined,
    dtypes=(dt.float64, dt.float32),
    result=lambda dtype, attrs: dtype.complex,
    places=(),
)
def complex_(real: Scalar, imag: Scalar) -> Scalar:
    """real + i * imag."""
    return m.pair(real, imag)


@elementwise(numpy=np.real, dtypes=dt.COMPLEX, result=part_of, places=())
def real_(x: Scalar) -> Scalar:
    """The real part."""
    return m.real(x)


@elementwise(numpy=np.imag, dtypes=dt.COMPLEX, result=part_of, places=())
def imag_(x: Scalar) -> Scalar:
    """The imaginary part."""
    return m.imag(x)


@elementwise(numpy=np.conj, dtypes=dt.COMPLEX, places=())
def conj_(x: Scalar) -> Scalar:
    """The complex conjugate: the imaginary part with the other sign."""
    return m.pair(m.real(x), -m.imag(x))


@complex_.vjp
def _(g: Node, y: Node, re: Node, im: Node) -> tuple[Node, Node]:
    return real_.apply(g), imag_.apply(g)


@real_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return complex_.apply(g, zeros_like(g))


@imag_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return complex_.apply(zeros_like(g), g)


@view(lambda layout, *, index: layout.component(index), reinterprets=True)
def component(x: Array, *, index: int) -> Array:
    """The real (index 0) or the imaginary part (1), where it lies in the complex numbers."""
    return x.imag if index else x.real


@component.infer
def _(x: Node, *, index: int) -> tuple[Shape, DType]:
    return x.shape, x.dtype.part


@component.vjp
def _(g: Node, y: Node, x: Node, *, index: int) -> Node:
    zeros = zeros_like(g)
    return complex_.apply(zeros, g) if index else complex_.apply(g, zeros)


@component.writes
def _(x: Node, value: Node, *, index: int) -> Node:
    return complex_.apply(real_.apply(x), value) if index else complex_.apply(value, imag_.apply(x))


@component.samples
def _(rng: Draw) -> Any:
    return [rng.standard_normal(rng.dims((0, 0), (4, 4)))], {"index": int(rng.integers(0, 2))}


def _of_what_is_computed(node: Node) -> Node:
    """A kernel that reads whole numbers fuses with what computes them, and may overwrite them."""
    (x,) = node.inputs
    return (imag_ if node.attrs["index"] else real_).apply(x)


component.rewrite = _of_what_is_computed
component.dtypes = dt.COMPLEX


@conj_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    return conj_.apply(g)


def _sgn(x: Array) -> Array:
    turn, size = np.angle(x), np.abs(x)
    far = np.isinf(size)
    parts = ((x.real, np.cos(turn)), (x.imag, np.sin(turn)))
    return np.where(x == 0, 0, _joined(*(np.where(far, a / size, b) for a, b in parts)))


@elementwise(numpy=_sgn, dtypes=dt.COMPLEX, places=())
def sgn_(x: Scalar) -> Scalar:
    """x / |x|, the point of the unit circle at the angle of x; 0 at 0, NaN in infinite parts."""
    large = m.maximum(abs(m.real(x)), abs(m.imag(x)))
    along, across = m.real(x) / large, m.imag(x) / large
    size = 1 if large == math.inf else m.sqrt(along * along + across * across)
    return 0 if large == 0 else m.pair(along / size, across / size)


@sgn_.vjp
def _(g: Node, y: Node, x: Node) -> Node:
    """The part of g across the way to x, over |x|."""
    size = real_.apply(x * conj_.apply(y))
    across = imag_.apply(g * conj_.apply(y)) / where.apply(eq.apply(size, 0.0), 1.0, size)
    return y * complex_.apply(zeros_like(across), across)


def conjugated(x: Node) -> Node:
    """The complex conjugate of `x`; `x` itself if it is real."""
    return conj_.apply(x) if x.dtype.is_complex else x


def in_dtype(operator: str, x: Node, dtype: Like | None) -> Node:
    """x in the dtype that an argument of a public function asks for, or as it is.

    Complex numbers become real ones by their real part, with a warning at the caller's line.
    """
    if dtype is None:
        return x
    wanted = named(operator, dtype)
    if x.dtype.is_complex and wanted.kind in "fiu":
        problem = f"{describe(x)} as {wanted.name} loses the imaginary part"
        hint = "real, imag and abs say which part"
        warn(message(operator, problem, hint=hint), stacklevel=4)
        x = real_.apply(x)
    return as_node(x, wanted, x.device)


def part_by_part(apply: Callable[..., Node], *operands: Node) -> Node:
    """`apply` on the real and on the imaginary parts of those of `operands` that are complex."""
    halves = (
        [part.apply(x) if x.dtype.is_complex else x for x in operands] for part in (real_, imag_)
    )
    return complex_.apply(*(apply(*half) for half in halves))
