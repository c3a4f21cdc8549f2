"""Divisors and multiples of integers, which NumPy finds on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.ops.hosted import hosted

Array = Any


@hosted(domain=((-4.0, 4.0), (-4.0, 4.0)), dtypes=dt.INTEGERS, differentiable=False)
def gcd(x: Array, y: Array) -> Array:
    """The greatest integer that divides both operands, of integers; 0 of 0 and 0."""
    return np.gcd(x, y)


@hosted(domain=((-4.0, 4.0), (-4.0, 4.0)), dtypes=dt.INTEGERS, differentiable=False)
def lcm(x: Array, y: Array) -> Array:
    """The least integer >= 0 that both operands divide, of integers; it wraps."""
    return np.lcm(x, y)
