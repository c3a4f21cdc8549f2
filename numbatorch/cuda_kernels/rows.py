"""What the row kernels of GPUs share: sums along a row by a group of threads, and their grid."""

from typing import Any

from numbatorch.language.groups import group_max, group_sum, thread, threads
from numbatorch.language.kernel import helper
from numbatorch.ops.portable.rows import exp

GROUPS = 2**16  # at most; each takes every so many-th row
THREADS = 256


@helper
def dot(lhs: Any, rhs: Any, count: int, zero: float) -> float:
    """Sum of lhs[i] * rhs[i] over the group's threads; `zero` is of the type to add in."""
    total = zero
    for i in range(thread(), count, threads()):
        total = total + lhs[i] * rhs[i]
    found: float = group_sum(total)
    return found


@helper
def total_of(x: Any, count: int, zero: float) -> float:
    """Sum of x[i] over the group's threads; `zero` is of the type to add in."""
    total = zero
    for i in range(thread(), count, threads()):
        total = total + x[i]
    found: float = group_sum(total)
    return found


@helper
def largest(x: Any, count: int, least: float) -> float:
    """The largest of x[i] over the group's threads, NaN left out; `least` if there is none."""
    top = least
    for i in range(thread(), count, threads()):
        if x[i] > top:
            top = x[i]
    found: float = group_max(top)
    return found


@helper
def total_of_powers(x: Any, top: float, count: int, zero: float) -> float:
    """Sum of exp(x[i] - top) over the group's threads; `zero` is of the type to add in."""
    total = zero
    for i in range(thread(), count, threads()):
        total = total + exp(x[i] - top)
    found: float = group_sum(total)
    return found


def groups_of_rows(rows: int, cols: int) -> dict[str, Any]:
    """The grid of a kernel whose groups take one row after the other."""
    each = 32
    while each < THREADS and 4 * each <= cols:
        each *= 2
    return {"groups": min(rows, GROUPS), "threads": each}
