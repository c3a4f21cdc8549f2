"""What engines of language models are asked for, whatever they call it."""

from collections.abc import Callable, Sequence
from typing import Protocol

from benchmarks.timing import Work

PROMPT, TOKEN = [1] * 8, 5  # before the tokens that are timed, and each of these


class Session(Protocol):
    """A model with a context of its own."""

    def clear(self) -> object:
        """Forget all positions."""

    def feed(self, ids: Sequence[int]) -> object:
        """Append tokens and wait for the last one's logits."""


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
