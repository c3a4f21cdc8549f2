"""numbatorch."""

import statistics
import time
from functools import lru_cache

import numpy as np

import numbatorch as nt
from benchmarks.timing import seconds
from numbatorch.backends.base import backend
from numbatorch.backends.devices import describe
from numbatorch.backends.gpu import GPUBackend
from numbatorch.generation.decoder import Decoder

VERSION = nt.__version__
DEVICE = str(nt.device())
_BACKEND = backend(nt.device())
HARDWARE = next(found.name for found in describe() if found.device == DEVICE)
# What waits until a GPU has done what it was given.
WAIT = _BACKEND.runtime.synchronize if isinstance(_BACKEND, GPUBackend) else None


@lru_cache(1)
def _decoder(file: str) -> Decoder:
    return Decoder(nt.TextGenerator(file, device=DEVICE).model)


def decode(file: str, tokens: int) -> float:
    """Seconds a token, one at a time."""
    decoder = _decoder(file)
    decoder.reset()
    decoder.feed([1] * 8)
    durations = []
    for position in range(tokens):
        start = time.perf_counter()
        decoder.feed([position % 250])
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def prefill(file: str, tokens: int) -> float:
    """Seconds a token of a prompt."""
    decoder = _decoder(file)
    ids = [position * 7 % 250 for position in range(tokens)]

    def run() -> None:
        decoder.reset()
        decoder.feed(ids)

    return seconds(run, warm=1) / tokens


@lru_cache(1)
def _embedder(folder: str):
    return nt.Embedder(folder, device=DEVICE)


def embed(folder: str, sentences: list[str]) -> float:
    """Seconds a sentence, tokenizing included."""
    embedder = _embedder(folder)
    return seconds(lambda: embedder.encode(sentences)) / len(sentences)


def _normal(*shape: int):
    rng = np.random.default_rng(0)
    return nt.from_numpy(rng.standard_normal(shape, dtype=np.float32), DEVICE).realize()


def gelu(size: int) -> float:
    """Seconds a call of gelu(x * y + x)."""
    x, y = _normal(size), _normal(size)
    return seconds(lambda: nt.nn.functional.gelu(x * y + x).realize(), wait=WAIT)


def matmul(size: int) -> float:
    """Seconds a product."""
    lhs, rhs = _normal(size, size), _normal(size, size)
    return seconds(lambda: (lhs @ rhs).realize(), wait=WAIT)


def chain(count: int) -> float:
    """Seconds a product of a compiled chain in which each needs the one before."""
    rhs = nt.from_numpy(np.eye(8, dtype=np.float32) * np.float32(0.99), DEVICE)

    @nt.compile
    def run(value, factor):
        for _ in range(count):
            value = value @ factor
        return value

    return seconds(lambda: run(rhs, rhs).realize(), wait=WAIT) / count
