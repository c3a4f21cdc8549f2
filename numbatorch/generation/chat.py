"""A conversation with a model: what was said, and the answer that comes next."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.generation.arguments import check_text
from numbatorch.generation.decoder import Decoder
from numbatorch.generation.text_generator import Counts, Generation, TextGenerator
from numbatorch.io.reading import parse_json, read_bytes
from numbatorch.io.writing import replaced
from numbatorch.ops.quant import Compute

Message = dict[str, Any]


class Chat:
    """A conversation with a model, which keeps what was said and the model's memory of it.

    Attributes:
        generator: the model with its tokenizer and template.
        messages: what was said so far, with "role" and "content" each; it may be changed.
        tools, documents, variables: passed on to the template.

    >>> chat = nt.Chat("path/to/model.gguf", system="Answer in one word.")  # doctest: +SKIP
    >>> chat.send("What is the capital of France?")  # doctest: +SKIP
    'Paris.'
    """

    def __init__(
        self,
        source: TextGenerator | str | os.PathLike[str],
        revision: str | None = None,
        device: Device | str | None = None,
        compute: Compute | None = None,
        *,
        system: str | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> None:
        """A new conversation.

        Args:
            source: as of `TextGenerator`, or one that is loaded already, which several
                conversations may share.
            revision, device, compute: as of `TextGenerator`.
            system: what the model is told before all else; the template's own unless given.
            tools, documents, variables: passed on to the template.
            how: arguments of each answer unless it is given others, as in `TextGenerator.stream`.
        Raises:
            ValueError: how to load is said of what is loaded.
        """
        if not isinstance(source, TextGenerator):
            source = TextGenerator(source, revision, device, compute)
        elif (revision, device, compute) != (None, None, None):
            given = {"revision": revision, "device": device, "compute": compute}
            named = ", ".join(f"{name} {value}" for name, value in given.items() if value)
            problem = "the model is loaded already, by other arguments"
            raise ValueError(message("chat", problem, named))
        self.generator = source
        self.messages: list[Message] = []
        self.tools, self.documents, self.variables = tools, documents, variables
        self._how = how
        self._memories: deque[Decoder] = deque()
        if system is not None:
            self.system = system

    def send(self, text: str, max_tokens: int | None = None, **how: Any) -> str:
        """The whole answer to a text; arguments as in `stream`."""
        return "".join(self.stream(text, max_tokens, **how))

    def stream(self, text: str, max_tokens: int | None = None, **how: Any) -> Answer:
        """The answer to a text, in pieces as they come.

        Text and answer are in `messages` once the first piece is there. Of an answer that is not
        read to its end, what was read is kept.

        Args:
            text: what the user says; special tokens that it spells are text.
            max_tokens: most tokens of the answer; until the context is full unless given.
            how: as in `TextGenerator.stream`.
        Raises:
            what `TextGenerator.stream` raises; the conversation is as before then.
        """
        given: object = text
        if not isinstance(given, str):
            problem = f"a message is a text, not {type(text).__name__}"
            raise TypeError(message("chat", problem))
        check_text("chat", "text", text)
        said = {"role": "user", "content": text}
        generation = self.generator.stream(
            max_tokens=max_tokens,
            messages=[*self.messages, said],
            tools=self.tools,
            documents=self.documents,
            variables=self.variables,
            **{**self._how, **how},
        )
        generation.keep_in(self._memories)
        return Answer(self.messages, said, generation)

    @property
    def system(self) -> str | None:
        """What the model is told before all else; None where that is the template's own."""
        first = self.messages[0] if self.messages else {}
        return first.get("content") if first.get("role") == "system" else None

    @system.setter
    def system(self, text: str | None) -> None:
        if text is not None:
            check_text("chat", "system", text)
        if self.system is not None:
            del self.messages[0]
        if text is not None:
            self.messages.insert(0, {"role": "system", "content": text})

    def clear(self) -> None:
        """Forget what was said, but for what the system says."""
        system = self.system
        self.messages.clear()
        self.system = system

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the conversation as JSON."""
        text = json.dumps({"messages": self.messages}, ensure_ascii=False, indent=1)
        with replaced(path, "chat") as temporary:
            temporary.write_bytes(text.encode() + b"\n")

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on with a conversation that was saved; on an error this one is as before.

        Raises:
            OSError: the file cannot be read.
            FormatError, ValueError: it is no conversation, or the template cannot go on with it.
        """
        messages = saved_messages(path)
        if messages:
            self.generator.template.render(
                [*messages, {"role": "user", "content": ""}],
                **{"tools": self.tools, "documents": self.documents, **(self.variables or {})},
            )
        self.messages[:] = messages

    def __getstate__(self) -> dict[str, Any]:
        """All but the model's memory, which is made again."""
        return {**vars(self), "_memories": deque()}


def saved_messages(path: str | os.PathLike[str]) -> list[Message]:
    """The messages of a conversation in a file.

    Raises:
        OSError: the file cannot be read.
        FormatError: it is no conversation.
    """
    raw = read_bytes(Path(path), "chat")
    try:
        found = parse_json(raw)
    except ValueError as error:
        raise FormatError(message("chat", f"no JSON: {error}", f"file {path}")) from None
    messages = found.get("messages") if isinstance(found, dict) else found
    if not isinstance(messages, list):
        problem = 'neither {"messages": [...]} nor a list of messages'
        raise FormatError(message("chat", problem, f"file {path}"))
    for number, said in enumerate(messages):
        if not isinstance(said, dict) or not isinstance(said.get("role"), str):
            problem = f"message {number} has no role"
            raise FormatError(message("chat", problem, f"file {path}"))
    return messages


class Answer(Iterator[str]):
    """An answer that comes in pieces, with what its `Generation` knows."""

    def __init__(self, messages: list[Message], said: Message, generation: Generation) -> None:
        self._messages = messages
        self._said = said
        self._generation = generation
        self._message: Message | None = None

    @property
    def text(self) -> str:
        """What was said so far."""
        return "" if self._message is None else str(self._message["content"])

    @property
    def ids(self) -> list[int]:
        """Tokens so far."""
        return self._generation.ids

    @property
    def counts(self) -> Counts:
        """Tokens and seconds so far."""
        return self._generation.counts

    @property
    def finish(self) -> str | None:
        """Why it ended: as of `Generation`."""
        return self._generation.finish

    def __iter__(self) -> Answer:
        return self

    def __next__(self) -> str:
        try:
            piece = next(self._generation)
        except StopIteration:
            self._add("")
            raise
        self._add(piece)
        return piece

    def _add(self, piece: str) -> None:
        if self._message is None:
            self._message = {"role": "assistant", "content": ""}
            self._messages += [self._said, self._message]
        self._message["content"] += piece

    def close(self) -> None:
        """End the answer with what was said so far."""
        self._generation.close()
