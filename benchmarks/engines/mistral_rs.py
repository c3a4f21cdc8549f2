"""mistral.rs through its Python package, with its own timing: a call's fixed cost is left out."""

import os
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

from mistralrs import CompletionRequest, Runner, Which

from benchmarks.timing import Work

VERSION = version("mistralrs")
WORD = " the"
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@lru_cache(1)
def _runner(file: str) -> Runner:
    path = Path(file)
    which = Which.GGUF(quantized_model_id=str(path.parent), quantized_filename=path.name)
    return Runner(which=which, token_source="none", prefix_cache_n=0)


def _usage(file: str, prompt: str, tokens: int):
    request = CompletionRequest(
        prompt=prompt, model="default", max_tokens=tokens, temperature=0.0, ignore_eos=True
    )
    return _runner(file).send_completion_request(request).usage


def decode(file: str, tokens: int) -> Work:
    """Tokens after a short prompt; the first one belongs to the prompt."""

    def run() -> float:
        usage = _usage(file, "the quick", tokens)
        return usage.total_completion_time_sec / (usage.completion_tokens - 1)

    return Work(run, timed=True)


def prefill(file: str, tokens: int) -> Work:
    """A prompt: a word as often as makes so many tokens, of which it may be several."""
    a_word = _usage(file, WORD * 16, 2).prompt_tokens / 16
    prompt = WORD * round(tokens / a_word)

    def run() -> float:
        usage = _usage(file, prompt, 2)
        return usage.total_prompt_time_sec / usage.prompt_tokens

    return Work(run, timed=True)
