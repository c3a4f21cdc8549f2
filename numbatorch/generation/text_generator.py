"""Text from a language model: prompt in, pieces of text out."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Any, Unpack

from numbatorch import hub, models
from numbatorch.device import Device
from numbatorch.errors import OutOfRange, message
from numbatorch.generation.arguments import COUNT, check_text, number
from numbatorch.generation.decoder import Decoder, check_ids
from numbatorch.generation.logprobs import TokenLogprobs, token_logprobs
from numbatorch.generation.samplers.candidates import Random, Sampler, Text
from numbatorch.generation.samplers.chain import Chain, Options, chain
from numbatorch.generation.stop import StopFilter
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile
from numbatorch.models.protocols import CausalLM

TASK = "text-generation"
SPECIAL = 16  # tokens beyond the context that a prompt is encoded to: room for those around a text


class TextGenerator:
    """A language model with its tokenizer.

    Generations may run at the same time, in one thread or in several: each has a memory of its
    own, which the next one takes over when it ends.

    Attributes:
        model, tokenizer: what was loaded.
        context: most tokens of prompt and continuation together.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        revision: str | None = None,
        device: Device | str | None = None,
    ) -> None:
        """As `models.from_pretrained`; the tokenizer comes from the same place."""
        path = hub.resolve(source, revision)
        if path.is_dir():
            self.model: CausalLM = models.from_pretrained(path, device=device, task=TASK)
            self.tokenizer = Tokenizer.from_folder(path)
        else:
            file = GGUFFile(path)
            self.model = models.from_gguf(file, device, TASK)
            self.tokenizer = Tokenizer.from_gguf(file)
        self.context = self.model.config.max_position_embeddings
        self._idle: deque[Decoder] = deque()
        self._busy: set[Decoder] = set()

    def __getstate__(self) -> dict[str, Any]:
        """All but the memories of past generations, which are made again."""
        return {k: v for k, v in vars(self).items() if k not in ("_idle", "_busy")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._idle = deque()
        self._busy = set()

    def generate(
        self, prompt: str | Sequence[int], max_tokens: int | None = None, **how: Any
    ) -> str:
        """The continuation of a prompt; arguments as in `stream`."""
        return "".join(self.stream(prompt, max_tokens, **how))

    def stream(
        self,
        prompt: str | Sequence[int],
        max_tokens: int | None = None,
        *,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        special: bool = False,
        samplers: Sequence[str | Sampler] | None = None,
        logprobs: int | None = None,
        **options: Unpack[Options],
    ) -> Generation:
        """The continuation of a prompt, in pieces as they come; each is valid UTF-8.

        Args:
            prompt: a text, or token ids. Of an empty text bos is left, if the tokenizer has it.
            max_tokens: most tokens to generate; until the context is full unless given.
            seed: the same one draws the same tokens; a new one each time unless given.
            stop: texts that end the generation; they are not given out.
            special: whether special tokens that a text spells out are those tokens; they are text
                unless asked for.
            samplers: how a token is chosen, one after the other: objects of
                `numbatorch.generation.samplers`, or names of those that are made from the options.
                In llama.cpp's order unless given; without a temperature they draw at 1.
            logprobs: 0 for the log-probability of each token, n for those of the n likeliest too,
                before any sampler; they are in `Generation.logprobs`.
            options: of the samplers, greedy without any: temperature, top_k, top_p, min_p,
                repeat_penalty and the others of `samplers.Options`.
        Returns:
            an iterator with counts and times.
        Raises:
            OutOfRange: prompt and max_tokens do not fit the context; an id is not in the
                vocabulary; an argument is out of its range.
            TypeError: a prompt that is neither a text nor token ids; an argument of another type,
                or one that is not there.
            ValueError: an empty prompt, and no bos to begin with; a text with half of a surrogate
                pair; an option that no sampler takes.
            FloatingPointError: while iterating, if the model computes NaN.
        """
        links = chain(options, samplers)
        ids = self._ids(prompt, special)
        limit = self._limit(len(ids), max_tokens)
        stops = StopFilter(stop)
        if seed is not None:
            seed = number("generate", "seed", seed, COUNT)
        if logprobs is not None:
            logprobs = number("generate", "logprobs", logprobs, COUNT)
        text = Text(list(ids), Random(seed), self.tokenizer)
        return Generation(_Job(self, ids, limit, Chain(links, text), text, stops, logprobs))

    def _limit(self, prompt: int, max_tokens: int | None) -> int:
        """Tokens to generate after a prompt of so many."""
        room = self.context - prompt
        if max_tokens is None:
            wanted = 1
        else:
            wanted = max_tokens = number("generate", "max_tokens", max_tokens, COUNT)
        if wanted > room:
            cut = "at least " if prompt >= self.context + SPECIAL else ""
            rows = (f"prompt of {cut}{prompt} tokens", f"context of {self.context} tokens")
            asked = "" if max_tokens is None else f" and max_tokens {max_tokens}"
            problem = f"the prompt{asked} does not fit into the context"
            raise OutOfRange(message("generate", problem, *rows))
        return room if max_tokens is None else max_tokens

    def _ids(self, prompt: str | Sequence[int], special: bool) -> list[int]:
        if isinstance(prompt, str):
            check_text("generate", "prompt", prompt)
            # Of a text that is far too long, no more is encoded than shows it.
            limit = self.context + SPECIAL
            (ids,) = self.tokenizer.encode_batch([prompt], special, limit)
            if not ids and self.tokenizer.bos_id is not None:
                ids = [self.tokenizer.bos_id]
        else:
            ids = _as_ids(prompt)
        if not ids:
            problem = "the prompt is empty and the tokenizer has no bos to begin with"
            raise ValueError(message("generate", problem))
        check_ids("generate", ids, self.model.config.vocab_size)
        return ids


def _as_ids(prompt: Any) -> list[int]:
    if isinstance(prompt, bytes | bytearray | memoryview):
        problem = f"the prompt is {type(prompt).__name__}, neither a text nor token ids"
        raise TypeError(message("generate", problem, hint="a text is prompt.decode()"))
    try:
        return [index(id) for id in prompt]
    except TypeError:
        problem = "the prompt is neither a text nor token ids"
        raise TypeError(message("generate", problem, f"prompt {prompt!r:.80}")) from None


@dataclass
class Counts:
    """What a generation did so far; seconds include sampling, not what the caller does between."""

    prompt_tokens: int = 0
    prompt_seconds: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


@dataclass
class _Job:
    """What a generation is to do, and how far it is. It does not know the `Generation` that hands
    out its pieces, so that one that is dropped ends at once and not when a collector finds it."""

    generator: TextGenerator
    prompt: list[int]
    limit: int  # of tokens
    chain: Chain
    text: Text
    stops: StopFilter
    logprobs: int | None = None
    found: list[TokenLogprobs] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    counts: Counts = field(default_factory=Counts)
    finish: str | None = None

    def run(self) -> Generator[str, None, None]:
        """Pieces of text, none of them empty."""
        idle, busy = self.generator._idle, self.generator._busy
        try:
            decoder = idle.pop()
        except IndexError:
            decoder = Decoder(self.generator.model)
        # Where a collector finds this stream in garbage, the decoder must not be garbage too: its
        # memory would be given back although the decoder goes on to be idle.
        busy.add(decoder)
        try:
            yield from self.pieces_by(decoder)
        except GeneratorExit:
            idle.append(decoder)
            raise
        finally:
            busy.discard(decoder)
        idle.append(decoder)  # one that met an error or an interrupt is not used again

    def pieces_by(self, decoder: Decoder) -> Generator[str, None, None]:
        """The text that a decoder gives; what could begin a stop string is held back."""
        decoder.reset()
        text = self.generator.tokenizer.stream()
        for id in self.tokens(decoder):
            piece = self.stops.feed(text.step(id))
            if self.stops.found:
                self.finish = "stop"
            if piece:
                yield piece
            if self.finish is not None:
                break
        if self.finish != "stop":
            rest = self.stops.feed(text.end())
            if self.stops.found:
                self.finish = "stop"
            rest += self.stops.end()
            if rest:
                yield rest

    def tokens(self, decoder: Decoder) -> Iterator[int]:
        tokenizer = self.generator.tokenizer
        fed = self.prompt
        while len(self.ids) < self.limit:
            start = time.perf_counter()
            logits = decoder.feed(fed)[: tokenizer.vocab_size]
            id = self.chain.choose(logits)
            self.count(len(fed), time.perf_counter() - start)
            if id in tokenizer.end_ids:
                self.finish = "end"
                return
            self.ids.append(id)
            self.text.ids.append(id)
            if self.logprobs is not None:
                self.found.append(token_logprobs(logits, id, self.logprobs))
            fed = [id]
            yield id
        self.finish = "length"

    def count(self, fed: int, seconds: float) -> None:
        if not self.counts.prompt_tokens:
            self.counts.prompt_tokens = fed
            self.counts.prompt_seconds = seconds
        else:
            self.counts.tokens += 1
            self.counts.seconds += seconds


class Generation(Iterator[str]):
    """A running generation: an iterator of pieces of text.

    Its memory goes to the next generation when it ends, is closed, or is dropped.
    """

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._pieces = job.run()

    @property
    def ids(self) -> list[int]:
        """Tokens generated so far."""
        return self._job.ids

    @property
    def logprobs(self) -> list[TokenLogprobs]:
        """Log-probabilities of the tokens in `ids`, if they were asked for."""
        return self._job.found

    @property
    def counts(self) -> Counts:
        """Tokens and seconds so far."""
        return self._job.counts

    @property
    def finish(self) -> str | None:
        """Why it ended: "end" of the text, "stop" string, "length"; None while it runs."""
        return self._job.finish

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> str:
        return next(self._pieces)

    def close(self) -> None:
        """End the generation and give its memory back."""
        self._pieces.close()
