"""What the hardware, or Python itself, needs at least for a row: no engine can be faster.

The other engines' arguments tell how much there is to do; these jobs do that and nothing else.
"""

import os
from itertools import pairwise
from math import ceil

import numpy as np

from benchmarks import peaks
from benchmarks.timing import Work
from numbatorch.language.processor import host
from numbatorch.language.simd.pairs import multiplies_tiles
from numbatorch.language.simd.vectors import native_lanes

VERSION = "reads, copies and products of this processor"
_THREADS = peaks.Threads(int(os.environ["OMP_NUM_THREADS"]))
_VECTOR = native_lanes("float32")
_LEAST = 64 * 2**20  # bytes of a call: less and starting the threads would count


def read(size: int) -> Work:
    """Reading `size` bytes again and again, so from a cache where one holds them."""
    x = np.ones(ceil(size / 4), np.float32)
    out = np.zeros((_THREADS.count, _VECTOR), np.float32)
    times = max(1, _LEAST // size)
    return Work(_THREADS.runs(peaks.read_floats(T="float32"), out, x, x.size, times), units=times)


def copy(size: int) -> Work:
    """Reading `size` bytes and writing them elsewhere."""
    x, out = np.ones((2, size), np.uint8)
    edges = [size * part // _THREADS.count for part in range(_THREADS.count + 1)]
    parts = [slice(low, high) for low, high in pairwise(edges)]
    times = max(1, _LEAST // size)

    def copy_part(part: int) -> None:
        for _ in range(times):
            np.copyto(out[parts[part]], x[parts[part]])

    return Work(lambda: _THREADS.each(copy_part), units=times)


def products(count: float, element: str) -> Work:
    """`count` multiplications with their additions, of float32 or int8, the fastest way."""
    vectors, steps = np.ones((_THREADS.count, _VECTOR), np.int32), peaks.STEPS
    if element == "float32":
        x = np.full(_VECTOR + peaks.ACCUMULATORS, 0.5, np.float32)
        out = vectors.astype(np.float32)
        call = _THREADS.runs(peaks.multiply_floats(T="float32"), out, x, steps)
        step = peaks.ACCUMULATORS * _VECTOR
    elif multiplies_tiles(host()):
        steps //= 8  # four tiles take as long as a hundred vectors
        call = _THREADS.runs(peaks.multiply_tiles(T="int32"), vectors, steps)
        step = 4 * peaks.TILE
    else:
        x = np.ones(_VECTOR + peaks.ACCUMULATORS, np.int32)
        call = _THREADS.runs(peaks.multiply_bytes(T="int32"), vectors, x, steps)
        step = peaks.ACCUMULATORS * _VECTOR * 4
    return Work(call, units=_THREADS.count * steps * step / count)


def call(size: int) -> Work:
    """One call from Python of a compiled loop over `size` floats in existing memory: NumPy's."""
    x, y, out = np.ones((3, size), np.float32)
    return Work(lambda: np.add(x, y, out))


class _Pair:
    """The least that a graph's node is."""

    __slots__ = ("lhs", "rhs")

    def __init__(self, lhs: object, rhs: object) -> None:
        self.lhs = lhs
        self.rhs = rhs


def objects(count: int, units: int) -> Work:
    """Making `count` Python objects of two fields, each of which holds the one before."""

    def run() -> None:
        found: object = None
        for _ in range(count):
            found = _Pair(found, None)
        while found is not None:  # or a long chain would be given back by recursion
            found = found.lhs  # type: ignore[attr-defined]

    return Work(run, units=units)
