"""NumPy, with OpenBLAS for products."""

import numpy as np

from benchmarks import operators
from benchmarks import small as calls
from benchmarks.timing import Work

VERSION = np.__version__
API = calls.Api(tensor=np.asarray)


def matmul(size: int) -> Work:
    """A product into an existing array."""
    rng = np.random.default_rng(0)
    lhs, rhs = rng.standard_normal((2, size, size), dtype=np.float32)
    out = np.empty_like(lhs)
    return Work(lambda: np.matmul(lhs, rhs, out=out))


small, _idle = calls.jobs(API)
operator = operators.job(np.asarray)
