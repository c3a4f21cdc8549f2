"""What engines of language models are asked for, whatever they call it."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from benchmarks.timing import Work

PROMPT, TOKEN = [1] * 8, 5  # before the tokens that are timed, and each of these


class Session(Protocol):
    """A model with a context of its own."""

    def clear(self) -> object:
        """Forget all positions."""

    def feed(self, ids: Sequence[int]) -> object:
        """Append tokens and wait for the last one's logits."""


class Chooser(Session, Protocol):
    """A session that also chooses tokens."""

    def choose_by(self, ids: Sequence[int], grammar: str) -> object:
        """Begin to choose what follows `ids`: greedily what a grammar allows, or of an empty one
        by llama.cpp's default samplers, `SAMPLERS`."""

    def choose(self) -> int:
        """The next token, by the logits of the last one."""

    def ends(self, id: int) -> bool:
        """Whether a token is the end of a text."""


# Top-k, top-p, min-p and the temperature at the end.
SAMPLERS: dict[str, Any] = {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8}

Job = Callable[[str, int], Work]


def jobs(session: Callable[[str], Session]) -> tuple[Job, Job]:
    """The jobs `decode` and `prefill` of an engine.

    Args:
        session: the one of a file.
    """

    def decode(file: str, tokens: int) -> Work:
        """A token after a short prompt."""
        found = session(file)
        one = [TOKEN]

        def begin() -> None:
            found.clear()
            found.feed(PROMPT)

        return Work(lambda: found.feed(one), begin=begin, most=tokens)

    def prefill(file: str, tokens: int) -> Work:
        """A prompt."""
        found = session(file)
        ids = [position * 7 % 250 for position in range(tokens)]

        def run() -> None:
            found.clear()
            found.feed(ids)

        return Work(run, units=tokens)

    return decode, prefill


def sampling_job(session: Callable[[str], Chooser]) -> Callable[[str, int, list[int], str], Work]:
    """The job `sampling` of an engine."""

    def sampling(file: str, tokens: int, prompt: list[int], grammar: str) -> Work:
        """What choosing a token takes of a step, as a share."""
        found = session(file)

        def begin() -> None:
            found.clear()
            found.choose_by(prompt, grammar)
            found.feed(prompt)

        def step() -> float:
            start = time.perf_counter()
            id = found.choose()
            chosen = time.perf_counter()
            found.feed([id])
            share = (chosen - start) / (time.perf_counter() - start)
            if found.ends(id):
                begin()
            return share

        return Work(step, begin=begin, most=tokens, timed=True)

    return sampling
