"""What an operator demands of its operands' elements, which a run looks at and hands on."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.graph import Node
from numbatorch.ops.drawing import Draw
from numbatorch.ops.operands import BY_ZERO
from numbatorch.ops.registry import over_last_dimensions
from numbatorch.ops.structured import structured
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


@structured(dtypes=dt.INTEGERS, differentiable=False, reports=True)
def divisor(x: Array) -> Array:
    """x, of which no element may be 0."""
    if not x.all():
        raise ZeroDivisionError(BY_ZERO)
    return x


@divisor.samples
def _(rng: Draw) -> Any:
    (n,) = rng.dims((0,), (300,))
    return [1 + rng.integers(0, 100, (2, n))], {}


def outside(name: str, low: float, high: float) -> str:
    """What is said of an element that is not in [low, high]."""
    if high == np.inf:
        return f"an element of {name} is below {low:g}, or NaN"
    return f"an element of {name} is not in [{low:g}, {high:g}]"


@structured(dtypes=(dt.float64, dt.float32), differentiable=False, reports=True)
def within(x: Array, *, low: float, high: float, name: str) -> Array:
    """x, each element of which must be in [low, high]: the operand `name` of who calls."""
    if not ((x >= low) & (x <= high)).all():
        raise IndexError(outside(name, low, high))
    return x


@within.samples
def _(rng: Draw) -> Any:
    (n,) = rng.dims((0,), (300,))
    return [rng.uniform(0, 1, (2, n))], {"low": 0.0, "high": 1.0, "name": "p"}


def _same(x: Node, **_attrs: Any) -> tuple[Shape, DType]:
    return x.shape, x.dtype


for _op in (divisor, within):
    _op.infer(_same)
    _op.batch = over_last_dimensions
