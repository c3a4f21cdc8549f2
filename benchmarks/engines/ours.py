"""numbatorch."""

from functools import lru_cache

import numpy as np

import numbatorch as nt
from benchmarks.timing import seconds

VERSION = nt.__version__


@lru_cache(1)
def _embedder(folder: str):
    return nt.Embedder(folder)


def embed(folder: str, sentences: list[str]) -> float:
    """Seconds a sentence, tokenizing included."""
    embedder = _embedder(folder)
    return seconds(lambda: embedder.encode(sentences)) / len(sentences)


def _normal(*shape: int):
    rng = np.random.default_rng(0)
    return nt.from_numpy(rng.standard_normal(shape, dtype=np.float32)).realize()


def gelu(size: int) -> float:
    """Seconds a call of gelu(x * y + x)."""
    x, y = _normal(size), _normal(size)
    return seconds(lambda: nt.functional.gelu(x * y + x).realize())


def matmul(size: int) -> float:
    """Seconds a product."""
    lhs, rhs = _normal(size, size), _normal(size, size)
    return seconds(lambda: (lhs @ rhs).realize())


def chain(count: int) -> float:
    """Seconds a product of a compiled chain in which each needs the one before."""
    rhs = nt.from_numpy(np.eye(8, dtype=np.float32) * np.float32(0.99))

    @nt.compile
    def run(value, factor):
        for _ in range(count):
            value = value @ factor
        return value

    return seconds(lambda: run(rhs, rhs).realize()) / count
