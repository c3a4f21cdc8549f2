"""llama.cpp through llama-cpp-python's low-level calls: sampling and tokenizing are not timed."""

import ctypes
import os
from collections.abc import Sequence
from functools import lru_cache

import llama_cpp as ll

from benchmarks import language

VERSION = ll.__version__
CONTEXT = 512


@ll.llama_log_callback
def _quiet(level: int, text: bytes, data: object) -> None:
    return None


ll.llama_log_set(_quiet, ctypes.c_void_p())
ll.llama_backend_init()


class Session:
    """A model and its context."""

    def __init__(self, file: str) -> None:
        threads = int(os.environ["OMP_NUM_THREADS"])
        self.model = ll.llama_model_load_from_file(file.encode(), ll.llama_model_default_params())
        parameters = ll.llama_context_default_params()
        parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = CONTEXT
        parameters.n_threads = parameters.n_threads_batch = threads
        self.context = ll.llama_init_from_model(self.model, parameters)

        self.vocabulary = ll.llama_model_get_vocab(self.model)
        self.samplers = None

    def clear(self) -> None:
        """Forget all positions."""
        ll.llama_memory_clear(ll.llama_get_memory(self.context), True)

    def feed(self, ids: Sequence[int]) -> None:
        """Append tokens and wait for the last one's logits."""
        array = (ll.llama_token * len(ids))(*ids)
        if ll.llama_decode(self.context, ll.llama_batch_get_one(array, len(ids))) != 0:
            raise RuntimeError("llama_decode failed")
        ll.llama_get_logits_ith(self.context, -1)

    def choose_by(self, ids: Sequence[int], grammar: str) -> None:
        """Begin to choose what follows `ids`; of a grammar llama.cpp's own programs look at the
        token chosen without it first, which is not in its library."""
        if grammar:
            raise NotImplementedError
        if self.samplers is not None:
            ll.llama_sampler_free(self.samplers)
        self.samplers = ll.llama_sampler_chain_init(ll.llama_sampler_chain_default_params())
        for sampler in (
            ll.llama_sampler_init_top_k(language.SAMPLERS["top_k"]),
            ll.llama_sampler_init_top_p(language.SAMPLERS["top_p"], 1),
            ll.llama_sampler_init_min_p(language.SAMPLERS["min_p"], 1),
            ll.llama_sampler_init_temp(language.SAMPLERS["temperature"]),
            ll.llama_sampler_init_dist(0),
        ):
            ll.llama_sampler_chain_add(self.samplers, sampler)

    def choose(self) -> int:
        """The next token, by the logits of the last one."""
        return ll.llama_sampler_sample(self.samplers, self.context, -1)

    def ends(self, id: int) -> bool:
        """Whether a token is the end of a text."""
        return ll.llama_vocab_is_eog(self.vocabulary, id)


_session = lru_cache(1)(Session)
decode, prefill = language.jobs(_session)
sampling = language.sampling_job(_session)
