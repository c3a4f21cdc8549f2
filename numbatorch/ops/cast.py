"""Conversion of elements from one dtype to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node
from numbatorch.ops.parts import real_
from numbatorch.ops.registry import elementwise
from numbatorch.ops.scalar import Scalar, convert
from numbatorch.ops.scalar_numpy import saturate

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw


def _reference(x: Any, *, dtype: DType) -> Any:
    if dtype.kind in "iu" and x.dtype.kind == "f":
        return saturate(x, dtype)
    if dtype.kind == "b":
        return x != 0
    return x.astype(dtype.compute.numpy).astype(dtype.numpy)


def _result(dtype: DType, attrs: dict[str, Any]) -> DType:
    wanted: DType = attrs["dtype"]
    if dtype.is_complex and wanted.kind not in "cb":
        problem = f"{dtype.name} as {wanted.name} would lose the imaginary part"
        raise DTypeError(message("to", problem, hint="real(x) or abs(x) is a real number"))
    return wanted


@elementwise(numpy=_reference, dtypes=dt.PLAIN + dt.COMPLEX, result=_result, places=())
def cast(x: Scalar, *, dtype: DType) -> Scalar:
    """x as an element of `dtype`; the gradient is cast back.

    Floats become integers by truncation; outside of the range they become its nearest end, and
    NaN becomes 0 (PyTorch leaves both undefined). Integers wrap. Anything but 0 becomes True.
    A complex number is not cast to a real one: `Tensor.to` takes the real part first, and warns.
    """
    return convert(x, dtype)


@cast.vjp
def _(g: Node, y: Node, x: Node, *, dtype: DType) -> Node:
    if g.dtype.is_complex and not x.dtype.is_complex:
        g = real_.apply(g)
    return g if g.dtype is x.dtype else cast.apply(g, dtype=x.dtype)


@cast.samples
def _(rng: Draw) -> Any:
    targets = dt.COMPLEX if rng.dtype.is_complex else dt.PLAIN
    target = targets[int(rng.integers(len(targets)))]
    return [rng.uniform(-300, 300, rng.dims((0, 0), (4, 6)))], {"dtype": target}


@cast.simplify
def _(node: Node) -> Node | None:
    """A cast to the dtype that the input has changes nothing."""
    return node.inputs[0] if node.inputs[0].dtype is node.dtype else None
