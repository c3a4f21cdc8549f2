"""What the row kernels of the CPU share: sums along a row, the largest of it."""

from typing import Any

from numbatorch.language.kernel import helper
from numbatorch.language.primitives import add_reassoc
from numbatorch.language.simd.vectors import lanes, splat, vlargest, vload, vmax


@helper
def dot(lhs: Any, rhs: Any, count: int, zero: float) -> float:
    """Sum of lhs[i] * rhs[i], added in any order; `zero` is of the type to add in."""
    total = zero
    for i in range(count):
        total = add_reassoc(total, lhs[i] * rhs[i])
    return total


@helper
def total_of(x: Any, count: int, zero: float) -> float:
    """Sum of x[i], added in any order; `zero` is of the type to add in."""
    total = zero
    for i in range(count):
        total = add_reassoc(total, x[i])
    return total


@helper
def largest(x: Any, count: int, least: float) -> float:
    """The largest of x[i], NaN left out; `least` if there is none."""
    n = lanes(x)
    top = least
    end = 0
    if count >= n:
        end = count - count % n
        tops = vload(x, n)
        for i in range(n, end, n):
            tops = vmax(vload(x + i, n), tops)
        tops = vmax(tops, splat(least, n))
        top = vlargest(tops)
    for i in range(end, count):
        top = x[i] if x[i] > top else top
    return top
