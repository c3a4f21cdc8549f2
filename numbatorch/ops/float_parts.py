"""Floats taken apart: mantissa and exponent."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from numbatorch.dtype import DType, int32
from numbatorch.errors import DTypeError, message
from numbatorch.graph import Node, find
from numbatorch.ops.operands import as_node, describe
from numbatorch.ops.structured import structured
from numbatorch.ops.surface import public
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


class FrexpResult(NamedTuple):
    """What `frexp` gives."""

    mantissa: Node
    exponent: Node


@structured(source="https://pytorch.org/docs/stable/generated/torch.frexp.html")
def frexp_(x: Array) -> tuple[Array, Array]:
    """mantissa * 2^exponent = x with 0.5 <= |mantissa| < 1, both 0 where x is 0; exponent int32."""
    return np.frexp(x)


@frexp_.infer
def _(x: Node) -> list[tuple[Shape, DType]]:
    if x.dtype.kind != "f":
        raise DTypeError(message("frexp", f"takes floats, not {describe(x)}"))
    return [(x.shape, x.dtype), (x.shape, int32)]


@frexp_.vjp
def _(g: tuple[Node, None], y: tuple[Node, ...], x: Node) -> Node:
    return g[0] / find("pow").apply(2.0, as_node(y[1], x.dtype, x.device))


@frexp_.samples
def _(rng: np.random.Generator) -> Any:
    return [rng.uniform(0.55, 0.95, (2, 5)) * 2.0 ** rng.integers(-9, 9, (2, 5))], {}


@public()
def frexp(input: Node) -> FrexpResult:
    """Mantissa and exponent: mantissa * 2^exponent = input, with 0.5 <= |mantissa| < 1.

    >>> frexp(tensor([6.0])).exponent.item()
    3
    """
    return FrexpResult(*frexp_.parts(input))
