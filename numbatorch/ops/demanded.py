"""What an operator demands of its operands' elements, which a run looks at and hands on."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DivisionByZero, OutOfRange, message
from numbatorch.graph import Node
from numbatorch.ops.drawing import Draw
from numbatorch.ops.registry import BY_ZERO, over_last_dimensions
from numbatorch.ops.structured import structured
from numbatorch.shape import Shape

Array = np.ndarray[Any, Any]


@structured(dtypes=dt.INTEGERS, differentiable=False)
def divisor(x: Array, *, operator: str) -> Array:
    """x, of which no element may be 0; `operator` divides by it."""
    if not x.all():
        raise DivisionByZero(message(operator, BY_ZERO))
    return x


@divisor.samples
def _(rng: Draw) -> Any:
    (n,) = rng.dims((0,), (300,))
    return [1 + rng.integers(0, 100, (2, n))], {"operator": "floor_divide"}


def outside(name: str, low: float, high: float) -> str:
    """What is said of an element that is not in [low, high]."""
    return f"an element of {name} is not in [{low:g}, {high:g}]"


@structured(dtypes=(dt.float64, dt.float32), differentiable=False)
def within(x: Array, *, low: float, high: float, operator: str, name: str) -> Array:
    """x, each element of which must be in [low, high]: the operand `name` of `operator`."""
    if not ((x >= low) & (x <= high)).all():
        raise OutOfRange(message(operator, outside(name, low, high)))
    return x


@within.samples
def _(rng: Draw) -> Any:
    (n,) = rng.dims((0,), (300,))
    return [rng.uniform(0, 1, (2, n))], {"low": 0.0, "high": 1.0, "operator": "f", "name": "p"}


def _same(x: Node, **_attrs: Any) -> tuple[Shape, DType]:
    return x.shape, x.dtype


for _op in (divisor, within):
    _op.infer(_same)
    _op.batch = over_last_dimensions
