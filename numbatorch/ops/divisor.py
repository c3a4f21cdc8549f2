"""What integers are divided by: none of it may be 0, for which there is no number and no NaN."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import DivisionByZero, message
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


@divisor.infer
def _(x: Node, *, operator: str) -> tuple[Shape, DType]:
    return x.shape, x.dtype


@divisor.samples
def _(rng: Draw) -> Any:
    (n,) = rng.dims((0,), (300,))
    return [1 + rng.integers(0, 100, (2, n))], {"operator": "floor_divide"}


divisor.batch = over_last_dimensions
