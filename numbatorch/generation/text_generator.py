"""Text from a language model: prompt in, pieces of text out."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from operator import index
from typing import Any, Unpack, overload

from numbatorch import hub, models
from numbatorch.device import Device
from numbatorch.errors import OutOfRange, message
from numbatorch.generation import batch, defaults
from numbatorch.generation.arguments import COUNT, check_text, number
from numbatorch.generation.chat_template import ChatTemplate, Messages
from numbatorch.generation.continuation import Continuation
from numbatorch.generation.decoder import Decoder, check_ids
from numbatorch.generation.logprobs import TokenLogprobs
from numbatorch.generation.samplers.candidates import Random, Sampler, Text
from numbatorch.generation.samplers.chain import Chain, Options, chain
from numbatorch.generation.shown import described, progress_of
from numbatorch.generation.signatures import arguments_of, of_samplers, passing_on
from numbatorch.generation.stop import StopFilter
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.generation.tools.schemas import Tool, schemas
from numbatorch.io.gguf import GGUFFile
from numbatorch.models.protocols import CausalLM
from numbatorch.ops.matmul import Compute

TASK = "text-generation"
MEMORIES = ("_idle", "_busy", "_batches")  # what is made again in a copy
ARGUMENTS = (
    "self",
    "tokenizer",
    "messages",
    "tools",
    "documents",
)  # besides a template's variables
SPECIAL = 16  # tokens beyond the context that a prompt is encoded to: room for those around a text


class TextGenerator:
    """A language model with its tokenizer.

    Generations may run at the same time, in one thread or in several: each has a memory of its
    own, which the next one takes over when it ends.

    Attributes:
        name: of the file, folder or repository.
        model, tokenizer, template: what was loaded; the template makes prompts of messages.
        context: most tokens of prompt and continuation together.
        defaults: options of samplers that the checkpoint recommends; arguments override them.
        order: names of samplers in the order that it recommends, or None.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        revision: str | None = None,
        device: Device | str | None = None,
        compute: Compute | None = None,
    ) -> None:
        """As `models.from_pretrained`; the tokenizer comes from the same place."""
        path = hub.resolve(source, revision)
        if path.is_dir():
            self.model: CausalLM = models.from_pretrained(
                path, device=device, task=TASK, compute=compute
            )
            self.tokenizer = Tokenizer.from_folder(path)
            self.template = ChatTemplate.from_folder(path)
            self.defaults = defaults.from_folder(path)
            self.order: list[str] | None = None
        else:
            file = GGUFFile(path)
            self.model = models.from_gguf(file, device, TASK, compute)
            self.tokenizer = Tokenizer.from_gguf(file)
            self.template = ChatTemplate.from_gguf(file, self.tokenizer)
            self.defaults = defaults.from_gguf(file)
            self.order = defaults.order_from_gguf(file)
        # Of a repository its own name, not that of the folder that it was downloaded to.
        given = os.fspath(source)
        self.name = path.absolute().name if os.path.exists(os.path.expanduser(given)) else given
        self.context = self.model.config.max_position_embeddings
        self._idle: deque[Decoder] = deque()
        self._busy: set[Decoder] = set()
        self._batches: deque[batch.Batches] = deque()

    def __repr__(self) -> str:
        return f"TextGenerator({self.name!r}, {described(self.model)}, {self.context} tokens)"

    def __getstate__(self) -> dict[str, Any]:
        """All but the memories of past generations, which are made again."""
        return {k: v for k, v in vars(self).items() if k not in MEMORIES}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._idle = deque()
        self._busy = set()
        self._batches = deque()

    @overload
    def generate(
        self,
        prompt: None = None,
        max_tokens: int | None = None,
        *,
        messages: list[list[dict[str, Any]]],
        **how: Any,
    ) -> list[str]: ...

    @overload
    def generate(
        self,
        prompt: str | Sequence[int] | None = None,
        max_tokens: int | None = None,
        **how: Any,
    ) -> str: ...

    @overload
    def generate(
        self,
        prompt: list[str] | list[list[int]] | tuple[str, ...] | list[list[dict[str, Any]]],
        max_tokens: int | None = None,
        **how: Any,
    ) -> list[str]: ...

    def generate(
        self, prompt: Any = None, max_tokens: int | None = None, **how: Any
    ) -> str | list[str]:
        """The continuation of a prompt, or the answer to messages; arguments as in `stream`.

        Of a list of prompts the continuation of each, and of a list of conversations, each a list
        of messages, the answer to each; several at a time: a step reads the weights once for all
        of them, and no prompt is filled up to the length of another. Number n is what it would be
        alone with the seed + n, but for rounding: kernels for one row and for several may add in
        another order, and round activations beside packed weights in other groups. So a token
        that is hardly likelier than the next one may differ, and with it the text from there on;
        with `compute="float32"` activations are not rounded.
        """
        jobs = _each(prompt, how)
        if jobs is None:
            return "".join(self.stream(prompt, max_tokens, **how))
        first = how.pop("seed", None)
        if first is not None:
            first = number("generate", "seed", first, COUNT)
        texts = []
        for place, (kind, each) in enumerate(jobs):
            seed = None if first is None else first + place
            given = {**how, "seed": seed, "max_tokens": max_tokens, kind: each}
            try:
                texts.append(self.stream(**given)._job.continuation)
            except (IndexError, TypeError, ValueError) as error:
                raise type(error)(f"{error}\n  prompt {place} of {len(jobs)}") from error
        return self._continue_all(texts)

    def _continue_all(self, texts: Sequence[Continuation]) -> list[str]:
        try:
            batches = self._batches.pop()
        except IndexError:
            batches = batch.Batches(self.model)
        written = batch.generate_all(batches, texts)
        self._batches.append(batches)  # those that met an error are not used again
        return written

    @passing_on(of_samplers())
    def stream(
        self,
        prompt: str | Sequence[int] | None = None,
        max_tokens: int | None = None,
        *,
        messages: Messages | None = None,
        tools: Sequence[Tool] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        seed: int | None = None,
        stop: str | Sequence[str] = (),
        special: bool = False,
        show_special: bool | Collection[int] = False,
        samplers: Sequence[str | Sampler] | None = None,
        logprobs: int | None = None,
        **options: Unpack[Options],
    ) -> Generation:
        """The continuation of a prompt, in pieces as they come; each is valid UTF-8.

        Instead of a prompt, messages are put together by the checkpoint's own template. What they
        share with those of a generation before, as a turn of a conversation with the one before
        it, is not computed again.

        Args:
            prompt: a text, or token ids. Of an empty text bos is left, if the tokenizer has it.
            max_tokens: most tokens to generate; until the context is full unless given.
            messages: of a conversation, each with "role" and "content"; special tokens that they
                spell are text.
            tools: functions or JSON schemas, passed on to the template; a function as
                `tools.json_schema` describes it. `Chat` reads calls out of answers.
            documents, variables: passed on to the template.
            seed: the same one draws the same tokens; a new one each time unless given.
            stop: texts that end the generation; they are not given out.
            special: whether special tokens that a text spells out are those tokens; they are text
                unless asked for.
            show_special: whether special tokens that are generated appear in the text as they are
                spelled, or the ids of those that do.
            samplers: how a token is chosen, one after the other: objects of
                `numbatorch.generation.samplers`, or names of those that are made from the options.
                In llama.cpp's order unless given; without a temperature they draw at 1.
            logprobs: 0 for the log-probability of each token, n for those of the n likeliest too,
                before any sampler; they are in `Generation.logprobs`.
            options: of the samplers, greedy without any, where the checkpoint recommends nothing
                else (`defaults`): temperature, top_k, top_p, min_p, repeat_penalty and the others
                of `samplers.Options`.
        Returns:
            an iterator with counts and times.
        Raises:
            OutOfRange: prompt and max_tokens do not fit the context; an id is not in the
                vocabulary; an argument is out of its range.
            TypeError: a prompt that is neither a text nor token ids; prompt and messages; an
                argument of another type, or one that is not there.
            FormatError, BackendUnavailable: as `ChatTemplate.render`.
            ValueError: an empty prompt, and no bos to begin with; a text with half of a surrogate
                pair; an option that no sampler takes.
            FloatingPointError: while iterating, if the model computes NaN.
        """
        asked: object = special
        if not isinstance(asked, bool):
            problem = f"special is {special!r:.80}; it must be True or False"
            raise TypeError(message("generate", problem))
        if samplers is None and "mirostat" not in {*options, *self.defaults}:
            samplers = self.order
        links = chain(options, samplers, self.defaults)
        given = {**_named(variables), "tools": schemas(tools), "documents": documents}
        ids = self._prompt(prompt, special, messages, given)
        limit = self._limit(len(ids), max_tokens)
        stops = StopFilter(stop)
        if seed is not None:
            seed = number("generate", "seed", seed, COUNT)
        if logprobs is not None:
            logprobs = number("generate", "logprobs", logprobs, COUNT)
        text = Text(list(ids), Random(seed), self.tokenizer)
        chosen = Chain(links, text)
        made = Continuation(self.tokenizer, chosen, text, limit, stops, logprobs, show_special)
        job = _Job(self, ids, made)
        job.shares = messages is not None
        return Generation(job)

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
            problem = f"the prompt{asked} {'do' if asked else 'does'} not fit into the context"
            raise OutOfRange(message("generate", problem, *rows))
        return room if max_tokens is None else max_tokens

    def _prompt(
        self,
        prompt: str | Sequence[int] | None,
        special: bool,
        messages: Messages | None,
        given: dict[str, Any],
    ) -> list[int]:
        """The ids of a prompt, or of messages with what else the template is given."""
        if (prompt is None) == (messages is None):
            problem = "neither a prompt nor messages are given"
            if prompt is not None:
                problem = "both a prompt and messages are given"
            raise TypeError(message("generate", problem))
        if prompt is not None:
            wrong = [name for name, value in given.items() if value is not None]
            if wrong:
                problem = f"{', '.join(wrong)} belongs to messages, and a prompt is given"
                raise TypeError(message("generate", problem))
            return self._ids(prompt, special)
        assert messages is not None
        ids = self.template.encode(self.tokenizer, messages, **given)
        if not ids:
            raise ValueError(message("generate", "the template makes nothing of the messages"))
        check_ids("generate", ids, self.model.config.vocab_size)
        return ids

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
            problem = "the prompt is empty"
            if isinstance(prompt, str):
                problem += " and the tokenizer has no bos to begin with"
            raise ValueError(message("generate", problem))
        check_ids("generate", ids, self.model.config.vocab_size)
        return ids


passing_on(arguments_of(TextGenerator.stream))(TextGenerator.generate)


def _each(prompt: Any, how: Mapping[str, Any]) -> list[tuple[str, Any]] | None:
    """Prompts and conversations by the name of their argument; None where only one is given."""
    messages = how.get("messages")
    if messages is not None:
        several = isinstance(messages, list | tuple) and any(map(_is_conversation, messages))
        return [("messages", each) for each in messages] if several and prompt is None else None
    if isinstance(prompt, list | tuple):
        several = any(isinstance(p, str | bytes) or hasattr(p, "__len__") for p in prompt)
    else:
        several = getattr(prompt, "ndim", 1) == 2
    if not several:
        return None
    return [("messages" if _is_conversation(p) else "prompt", p) for p in prompt]


def _is_conversation(given: Any) -> bool:
    return isinstance(given, list | tuple) and bool(given) and isinstance(given[0], Mapping)


def _named(variables: Any) -> dict[str, Any]:
    """Variables of a template, by names that are not those of other arguments."""
    if variables is None:
        return {}
    if not isinstance(variables, Mapping):
        problem = f"variables is {type(variables).__name__}, not a dictionary"
        raise TypeError(message("generate", problem))
    for name in variables:
        if not isinstance(name, str):
            problem = f"variables has the name {name!r:.80}, which is no text"
            raise TypeError(message("generate", problem))
        if name in ARGUMENTS:
            problem = f"variables has {name}, which is an argument of its own"
            raise TypeError(message("generate", problem))
    return dict(variables)


def _as_ids(prompt: Any) -> list[int]:
    if isinstance(prompt, bytes | bytearray | memoryview):
        problem = f"the prompt is {type(prompt).__name__}, neither a text nor token ids"
        raise TypeError(message("generate", problem, hint="a text is prompt.decode()"))
    try:
        if isinstance(prompt, Set | Mapping):  # in whatever order
            raise TypeError
        return [index(id) for id in prompt]
    except TypeError:
        problem = "the prompt is neither a text nor token ids"
        raise TypeError(message("generate", problem, f"prompt {prompt!r:.80}")) from None


@dataclass
class Counts:
    """What a generation did so far; seconds include sampling, not what the caller does between."""

    prompt_tokens: int = 0
    kept_tokens: int = 0  # of the prompt, whose keys and values were there already
    prompt_seconds: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


@dataclass
class _Job:
    """What a generation is to do, and how far it is. It does not know the `Generation` that hands
    out its pieces, so that one that is dropped ends at once and not when a collector finds it."""

    generator: TextGenerator
    prompt: list[int]
    continuation: Continuation
    counts: Counts = field(default_factory=Counts)
    shares: bool = False  # whether a beginning that a text before had too is kept
    memories: deque[Decoder] | None = None  # the generator's idle ones unless given

    def run(self) -> Generator[str, None, None]:
        """Pieces of text, none of them empty."""
        idle, busy = self.memories, self.generator._busy
        if idle is None:
            idle = self.generator._idle
        decoder = self._taken(idle)
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

    def _taken(self, idle: deque[Decoder]) -> Decoder:
        """An idle decoder, of several the one that has most of the prompt; a new one if none is."""
        if self.shares:
            found = sorted(idle, key=lambda decoder: decoder.shared(self.prompt))
            for decoder in reversed(found):
                try:
                    idle.remove(decoder)
                    return decoder
                except ValueError:  # another thread has taken it
                    pass
        try:
            return idle.pop()
        except IndexError:
            return Decoder(self.generator.model)

    def pieces_by(self, decoder: Decoder) -> Generator[str, None, None]:
        """The text that a decoder gives; what could begin a stop string is held back."""
        self.counts.kept_tokens = decoder.rewind(self.prompt if self.shares else ())
        fed = self.prompt[self.counts.kept_tokens :]
        while self.continuation.finish is None:
            start = time.perf_counter()
            piece = self.continuation.take(decoder.feed(fed))
            self.count(time.perf_counter() - start)
            fed = self.continuation.ids[-1:]
            if piece:
                yield piece

    def count(self, seconds: float) -> None:
        if not self.counts.prompt_tokens:
            self.counts.prompt_tokens = len(self.prompt)
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
        self._given: list[str] = []

    def __repr__(self) -> str:
        return f"Generation({progress_of(self.text, self)})"

    @property
    def text(self) -> str:
        """The pieces so far."""
        return "".join(self._given)

    @property
    def ids(self) -> list[int]:
        """Tokens generated so far."""
        return self._job.continuation.ids

    @property
    def logprobs(self) -> list[TokenLogprobs]:
        """Log-probabilities of the tokens in `ids`, if they were asked for."""
        return self._job.continuation.logprobs

    @property
    def counts(self) -> Counts:
        """Tokens and seconds so far."""
        return self._job.counts

    @property
    def finish(self) -> str | None:
        """Why it ended: "end" of the text, "stop" string, "length"; None while it runs."""
        return self._job.continuation.finish

    def keep_in(self, memories: deque[Decoder]) -> None:
        """Take the memory from others than the generator's idle ones, and leave it there."""
        self._job.memories = memories

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> str:
        piece = next(self._pieces)
        self._given.append(piece)
        return piece

    def close(self) -> None:
        """End the generation and give its memory back."""
        self._pieces.close()
