"""What becomes of a prompt: logits in, the next token chosen, text out, and why it ends."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from numbatorch.generation.logprobs import TokenLogprobs, token_logprobs
from numbatorch.generation.samplers.candidates import Text
from numbatorch.generation.samplers.chain import Chain
from numbatorch.generation.stop import StopFilter
from numbatorch.generation.tokenizer import Tokenizer

Array = np.ndarray[Any, Any]


@dataclass
class Continuation:
    """Tokens one by one, and the text that they are.

    Attributes:
        tokenizer: of the model.
        chain: chooses tokens.
        text: prompt and continuation so far, as the chain sees them.
        limit: most tokens.
        stops: texts that end it.
        top: how many of the likeliest tokens are kept with each; None for no log-probabilities.
        shown: whether special tokens appear in the text, or which of them do.
        ids, logprobs: of the tokens so far.
        finish: "end" of the text, "stop" string, "length"; None while it goes on.
    """

    tokenizer: Tokenizer
    chain: Chain
    text: Text
    limit: int
    stops: StopFilter
    top: int | None = None
    shown: bool | Collection[int] = False
    ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    finish: str | None = None

    def __post_init__(self) -> None:
        self._stream = self.tokenizer.stream(self.shown)
        if not self.limit:
            self.finish = "length"

    def take(self, logits: Array) -> str:
        """Choose the token after the text by its logits (V,); the text that this completes, which
        may be empty: what could begin a stop string is held back.

        Raises:
            FloatingPointError: the logits are NaN or infinite.
        """
        logits = logits[: self.tokenizer.vocab_size]
        id = self.chain.choose(logits)
        if id in self.tokenizer.end_ids:
            return self._end("end")
        self.ids.append(id)
        self.text.ids.append(id)
        if self.top is not None:
            self.logprobs.append(token_logprobs(logits, id, self.top))
        piece = self.stops.feed(self._stream.step(id))
        if self.stops.found is not None:
            self.finish = "stop"
        elif len(self.ids) == self.limit:
            piece += self._end("length")
        return piece

    def _end(self, finish: str) -> str:
        """What was held back."""
        rest = self.stops.feed(self._stream.end())
        self.finish = finish if self.stops.found is None else "stop"
        return rest + self.stops.end()
