"""ik_llama.cpp through ik-llama-cpp-python: sampling and tokenizing are not timed."""

import os
from collections.abc import Sequence
from functools import lru_cache

import ik_llama_cpp
from ik_llama_cpp._ctypes_api import llama_batch_free
from ik_llama_cpp._internals import make_batch_range

from benchmarks import language

VERSION = ik_llama_cpp.__version__
CONTEXT = 512


class Session:
    """A model and its context."""

    def __init__(self, file: str) -> None:
        threads = int(os.environ["OMP_NUM_THREADS"])
        self.model = ik_llama_cpp.IkLlama(file, n_ctx=CONTEXT, n_threads=threads, verbose=False)
        self.context = self.model._context  # evaluates tokens without sampling
        self.position = 0
        self.one = make_batch_range([0], pos_start=0)  # kept, for making one takes time

    def clear(self) -> None:
        """Forget all positions."""
        self.context.kv_cache_clear()
        self.position = 0

    def feed(self, ids: Sequence[int]) -> None:
        """Append tokens and wait for the last one's logits."""
        if len(ids) == 1:
            self.one.token[0], self.one.pos[0] = ids[0], self.position
            self._decode(self.one)
            return
        batch = make_batch_range(list(ids), pos_start=self.position)
        self._decode(batch)
        llama_batch_free(batch)

    def _decode(self, batch) -> None:
        if self.context.decode(batch) != 0:
            raise RuntimeError("llama_decode failed")
        self.context.get_logits(batch.n_tokens - 1)
        self.position += batch.n_tokens


decode, prefill = language.jobs(lru_cache(1)(Session))
