"""Divisors and multiples of integers, which NumPy finds on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.ops.hosted import hosted

Array = Any


@hosted(domain=((-4.0, 4.0), (-4.0, 4.0)), dtypes=dt.INTEGERS, differentiable=False)
def gcd(x: Array, y: Array) -> Array:
    """The greatest integer that divides both operands, of integers; 0 of 0 and 0.

    >>> nt.gcd(tensor([12, -4, 0]), tensor([18, 6, 0]))
    tensor([6, 2, 0])
    """
    return np.gcd(x, y)


@hosted(domain=((-4.0, 4.0), (-4.0, 4.0)), dtypes=dt.INTEGERS, differentiable=False)
def lcm(x: Array, y: Array) -> Array:
    """The least integer >= 0 that both operands divide, of integers; it wraps.

    >>> nt.lcm(tensor([4, -4, 0]), tensor([6, 6, 5]))
    tensor([12, 12,  0])
    """
    return np.lcm(x, y)
