"""NumPy: OpenBLAS for products, and the memory floor by as many threads as the others use."""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np

from benchmarks.timing import seconds

VERSION = np.__version__


def matmul(size: int) -> float:
    """Seconds a product into an existing array."""
    rng = np.random.default_rng(0)
    lhs, rhs = rng.standard_normal((2, size, size), dtype=np.float32)
    out = np.empty_like(lhs)
    return seconds(lambda: np.matmul(lhs, rhs, out=out))


def floor(size: int) -> float:
    """Seconds to read two vectors and write a third that is already in memory."""
    threads = int(os.environ["OMP_NUM_THREADS"])
    x, y, out = np.ones((3, size), np.float32)
    edges = [size * part // threads for part in range(threads + 1)]
    parts = [slice(low, high) for low, high in pairwise(edges)]
    with ThreadPoolExecutor(threads) as pool:
        return seconds(
            lambda: list(pool.map(lambda part: np.add(x[part], y[part], out=out[part]), parts))
        )
