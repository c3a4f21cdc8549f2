"""The largest of a row of logits, in order: by a kernel where the row is long, else by NumPy.

Both find the same, and what the kernel does not take goes to NumPy.
"""

from typing import Any, NamedTuple

import numpy as np

from numbatorch.backends.cpu.called import Called
from numbatorch.ops.cpu import candidates as kernels

Array = np.ndarray[Any, Any]

LONG = 2048  # elements from which on a kernel pays
MOST = kernels.BLOCK * kernels.BLOCKS
COLUMNS = 8  # columns of a table for each of the largest values that are looked for in it
ROWS = 4  # least rows of such a table, below which it saves nothing
FLOAT32 = np.dtype(np.float32)
ONES = np.ones(1, np.float32)
X, SIZE, COUNT = 7, 8, 9  # words of the kernel's argument block


class Largest(NamedTuple):
    """Elements of a row from the largest on, of equal ones the first.

    Attributes:
        places: (K,) int64.
        values: (K,).
    """

    places: Array
    values: Array


class Search:
    """The kernel with memory of its own, so one search at a time.

    Attributes:
        places, values: what the last search found.
        shifted: (rows, LIMIT) in memory; a search fills its first rows * count elements.
    """

    def __init__(self, divisors: Array = ONES[:0]) -> None:
        """Each divisor makes a row of `shifted`: what values over it are above the first one."""
        self.places = np.empty(kernels.LIMIT, np.int64)
        self.values = np.empty(kernels.LIMIT, np.float32)
        self.shifted = np.empty(kernels.LIMIT * len(divisors), np.float32)
        self.divisors = divisors
        self._found = np.empty(1, np.int64)
        room = np.empty(kernels.ROOM + kernels.BLOCK, np.int64)
        tops = np.empty(kernels.BLOCKS + kernels.VECTOR // 8, np.int64)
        given = (self.places, self.values, self.shifted, self._found, room, tops, divisors)
        self._call = Called(kernels.largest_in_order(), (*given, 0, 0, 0, len(divisors)))

    def __call__(self, x: Array, count: int) -> bool:
        """Look for the `count` largest; False where an element is NaN, and for what the kernel is
        not made."""
        if not (LONG <= len(x) <= MOST and x.dtype is FLOAT32 and x.flags.c_contiguous):
            return False
        words = self._call.words
        words[X], words[SIZE], words[COUNT] = x.__array_interface__["data"][0], len(x), count
        self._call()
        return bool(self._found[0])


_idle: list[Search] = []


def largest(x: Array, count: int) -> Largest:
    """The `count` largest of (N,) elements, or all of them if they are fewer.

    >>> largest(np.array([1.0, 3.0, 3.0], np.float32), 2).places.tolist()
    [1, 2]
    """
    found = by_kernel(x, count)
    if found is None:
        places = places_of_largest(x, count)
        found = Largest(places, x[places])
    return found


def by_kernel(x: Array, count: int) -> Largest | None:
    """The same by the kernel; None where an element is NaN, and for what the kernel is not made."""
    if not 0 < count <= min(len(x), kernels.LIMIT):
        return None
    try:
        search = _idle.pop()
    except IndexError:
        search = Search()
    there = search(x, count)
    found = Largest(search.places[:count].copy(), search.values[:count].copy()) if there else None
    _idle.append(search)
    return found


def places_of_largest(values: Array, count: int) -> Array:
    """Places of the `count` largest of (N,) values, largest first, of equal ones the first.

    As a table, the values have a maximum in each column, and so many as are looked for are not
    below the `count`-th of these: one pass over the values leaves few to put in order.
    """
    near = None
    columns = COLUMNS * count
    rows = len(values) // columns if count else 0
    if rows >= ROWS:
        maxima = values[: rows * columns].reshape(rows, columns).max(axis=0)
        least = np.partition(maxima, -count)[-count]
        near = (values >= least).nonzero()[0]
        values = values[near]
    elif count < len(values):
        least = np.partition(values, -count)[-count]
        near = np.flatnonzero(values >= least)
        values = values[near]
    order = (-values).argsort(kind="stable")[:count]
    return order if near is None else near[order]
