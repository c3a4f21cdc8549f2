"""From messages to a prompt: the template that a checkpoint brings along.

Source: https://huggingface.co/docs/transformers/chat_templating
"""

import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from numbatorch.errors import BackendUnavailable, FormatError, message
from numbatorch.generation.arguments import check_text
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.gguf import GGUFFile
from numbatorch.io.reading import read_bytes, read_object, short

Messages = Sequence[Mapping[str, Any]]

LONGEST = 1_000_000  # characters of a template
_GGUF_KEY = "tokenizer.chat_template"
_TOOL_USE = "tool_use"
_INSTEAD = ("tool_calls", "function_call", "tool_responses")  # what stands for content
_REASONING = ("reasoning_content", "thinking", "reasoning")
_TOKENS = ("bos", "eos", "unk", "pad", "sep", "cls", "mask")
_GGUF_TOKENS = {
    "bos": "bos",
    "eos": "eos",
    "unk": "unknown",
    "pad": "padding",
    "sep": "seperator",  # as GGUF spells it
    "cls": "cls",
    "mask": "mask",
}

# Characters that stand in no text: what is private to a program, and whole planes of it.
_MARKS = (*range(0xFDD0, 0xFDF0), *range(0xF0000, 0x10FFFE))


class ChatTemplate:
    """A checkpoint's templates, rendered by jinja2 in its sandbox within a budget of work.

    Attributes:
        texts: templates by name; "default" is the one without tools.
        tokens: what templates know by name, such as bos_token.
        place: the file that they come from.
    """

    def __init__(
        self, texts: Mapping[str, str], tokens: Mapping[str, str], place: str = "a template"
    ) -> None:
        self.texts = dict(texts)
        self.tokens = dict(tokens)
        self.place = place
        self._compiled: dict[str, Any] = {}

    @classmethod
    def from_gguf(cls, file: GGUFFile, tokenizer: Tokenizer) -> "ChatTemplate":
        """From a GGUF file's metadata; without templates if it has none."""
        texts = {}
        for key in file.metadata:
            if key == _GGUF_KEY or key.startswith(_GGUF_KEY + "."):
                texts[key[len(_GGUF_KEY) + 1 :] or "default"] = file.field(key, str)
        tokens = {}
        for name, spelled in _GGUF_TOKENS.items():
            id = file.metadata.get(f"tokenizer.ggml.{spelled}_token_id")
            if isinstance(id, int) and 0 <= id < tokenizer.vocab_size:
                tokens[f"{name}_token"] = tokenizer.token_text(id)
        for name, known in (("bos", tokenizer.bos_id), ("eos", tokenizer.eos_id)):
            if known is not None:
                tokens.setdefault(f"{name}_token", tokenizer.token_text(known))
        return cls(texts, tokens, str(file.path))

    @classmethod
    def from_folder(cls, folder: Path) -> "ChatTemplate":
        """From chat_template.jinja and additional_chat_templates/*.jinja, or chat_template.json, or
        tokenizer_config.json; without templates if there are none."""
        path = folder / "tokenizer_config.json"
        config = read_object(path, "chat") or {}
        tokens = {}
        for name in _TOKENS:
            token = config.get(f"{name}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                tokens[f"{name}_token"] = token
        found = _template_files(folder)
        if found:
            return cls(found, tokens, str(folder / "chat_template.jinja"))
        alone = folder / "chat_template.json"
        if alone.exists():
            return cls(_named(read_object(alone, "chat") or {}, alone), tokens, str(alone))
        return cls(_named(config, path), tokens, str(path))

    def __bool__(self) -> bool:
        """Whether there is a template."""
        return bool(self.texts)

    def render(
        self,
        messages: Messages,
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        documents: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **variables: Any,
    ) -> str:
        """The prompt of a conversation, as transformers' `apply_chat_template` gives it.

        Args:
            messages: each with "role" and "content", and what else the template reads.
            tools, documents: passed on to the template.
            add_generation_prompt: whether the turn of the model begins at the end.
            variables: passed on too, such as enable_thinking=False.
        Raises:
            BackendUnavailable: jinja2 is not installed.
            FormatError: no template, or one that fails or does too much; the file is named.
            TypeError: messages are no list of dictionaries, or hold what JSON has no form for.
            ValueError: no messages, half of a surrogate pair in them, or the template refuses them.

        >>> text = "{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}"
        >>> template = ChatTemplate({"default": text}, {})
        >>> template.render([{"role": "user", "content": "hi"}])
        'user: hi'
        """
        given = _plain_messages(messages)
        values = {
            **self.tokens,
            **{name: _plain(value, name) for name, value in variables.items()},
            "messages": given,
            "tools": _list_of_objects("tools", tools),
            "documents": _list_of_objects("documents", documents),
            "add_generation_prompt": add_generation_prompt,
        }
        return self._run(values)

    def encode(self, tokenizer: Tokenizer, messages: Messages, **how: Any) -> list[int]:
        """The ids of what `render` gives. Special tokens of the template are special; in what is
        given to it they are text.

        Args:
            tokenizer: of the checkpoint.
            messages, how: as in `render`.
        """
        spellings = tokenizer.special_spellings
        marked = _Marked(spellings, [messages, how])
        text = self.render(
            marked.of(messages), **{name: marked.of(value) for name, value in how.items()}
        )
        if not marked.used:
            return tokenizer.encode(text, special=True, add_special_tokens=False)
        ids: list[int] = []
        for piece, special in marked.pieces(text):
            ids += tokenizer.encode(piece, special=special, add_special_tokens=False)
        return ids

    def _run(self, values: dict[str, Any]) -> str:
        name = _TOOL_USE if values["tools"] and _TOOL_USE in self.texts else "default"
        if name not in self.texts:
            name = next(iter(self.texts), name)
        template = self._template(name)
        sandbox = _sandbox()
        try:
            found: str = sandbox.render(template, values, sum(map(len, _strings(values))))
            return found
        except sandbox.OverBudget:
            problem = "the template does more than any conversation asks for"
            raise FormatError(message("chat", problem, *self._rows(name))) from None
        except sandbox.Refused as error:
            problem = f"the template refuses the messages: {short(str(error), 200)}"
            raise ValueError(message("chat", problem, *self._rows(name))) from None
        except Exception as error:
            raise self._failed(name, error) from error

    def _template(self, name: str) -> Any:
        if name not in self.texts:
            problem = "the checkpoint has no chat template"
            raise FormatError(message("chat", problem, f"file {self.place}"))
        if name not in self._compiled:
            text = self.texts[name]
            if len(text) > LONGEST:
                problem = f"a template of {len(text)} characters, {LONGEST} are read"
                raise FormatError(message("chat", problem, *self._rows(name)))
            environment = _sandbox().Environment()
            try:
                self._compiled[name] = environment.from_string(text)
            except Exception as error:
                raise self._failed(name, error) from error
        return self._compiled[name]

    def _failed(self, name: str, error: Exception) -> FormatError:
        line = getattr(error, "lineno", None)
        for frame in traceback.extract_tb(error.__traceback__):
            if frame.filename == "<template>":
                line = frame.lineno
        rows = [*self._rows(name), *([f"line {line}"] if line is not None else [])]
        problem = f"the chat template fails: {type(error).__name__}: {short(str(error), 200)}"
        return FormatError(message("chat", problem, *rows))

    def _rows(self, name: str) -> list[str]:
        return [f"file {self.place}", *([f"template {name}"] if name != "default" else [])]

    def __getstate__(self) -> dict[str, Any]:
        """All but the compiled templates."""
        return {**vars(self), "_compiled": {}}


class _Marked:
    """Values in which special tokens that a text spells are broken up by a character that no text
    has. Begin and end of a token that a text ends or begins with are marked too, because templates
    join texts, and trim them.

    Attributes:
        used: whether anything is marked.
    """

    def __init__(self, spellings: Sequence[str], values: Any) -> None:
        self.used = False
        self._spellings = sorted(spellings, key=len, reverse=True)
        self._whole = re.compile("|".join(map(re.escape, self._spellings)) or r"(?!)")
        self._values = values

    @cached_property
    def mark(self) -> str:
        """A character that is in none of the values."""
        taken = set().union(*_strings(self._values))
        for code in _MARKS:
            if chr(code) not in taken:
                return chr(code)
        raise ValueError(message("chat", "the messages hold every character that is private"))

    def of(self, value: Any) -> Any:
        """The value with marks."""
        if isinstance(value, str):
            return self._text(str(value))
        if isinstance(value, Mapping):
            return {self.of(key): self.of(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.of(item) for item in value]
        return value

    def _text(self, text: str) -> str:
        found = self._whole.sub(lambda token: self._broken(token[0]), text)
        bare = found.strip()
        begins = max((_overlap(bare, token) for token in self._spellings), default=0)
        ends = max((_overlap(token, bare) for token in self._spellings), default=0)
        if begins:
            place = len(found.rstrip()) - begins + 1
            found = found[:place] + self._used_mark() + found[place:]
        if ends:
            place = len(found) - len(found.lstrip()) + ends - 1
            found = found[:place] + self._used_mark() + found[place:]
        return found

    def _broken(self, token: str) -> str:
        return token[:1] + self._used_mark() + token[1:]

    def _used_mark(self) -> str:
        self.used = True
        return self.mark

    def pieces(self, text: str) -> Iterator[tuple[str, bool]]:
        """What was rendered in pieces without marks: a special token, or text."""
        place = 0
        for token in self._whole.finditer(text):
            yield from self._plain(text[place : token.start()])
            yield token[0], True
            place = token.end()
        yield from self._plain(text[place:])

    def _plain(self, text: str) -> Iterator[tuple[str, bool]]:
        text = text.replace(self.mark, "").replace(_escaped(self.mark), "")
        if text:
            yield text, False


def _overlap(first: str, second: str) -> int:
    """Length of the longest end of `first` with which `second` begins and does not end, where it
    has more than letters and digits: a role may be a part of a token."""
    for size in range(min(len(first), len(second) - 1), 0, -1):
        if first.endswith(second[:size]) and not second[:size].isalnum():
            return size
    return 0


def _escaped(mark: str) -> str:
    """The mark as JSON spells it in ASCII."""
    return "".join(f"\\u{unit:04x}" for unit in memoryview(mark.encode("utf-16-le")).cast("H"))


def _template_files(folder: Path) -> dict[str, str]:
    found = {}
    for path in [folder / "chat_template.jinja", *folder.glob("additional_chat_templates/*.jinja")]:
        if path.exists():
            name = "default" if path.parent == folder else path.stem
            try:
                found[name] = read_bytes(path, "chat").decode()
            except UnicodeDecodeError as error:
                raise FormatError(message("chat", f"no UTF-8: {error}", f"file {path}")) from None
    return found


def _named(config: dict[str, Any], path: Path) -> dict[str, str]:
    """Templates of a configuration, which has one or a list of several with their names."""
    value = config.get("chat_template")
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    found = {}
    for entry in value if isinstance(value, list) else [value]:
        name, text = (
            (entry.get("name"), entry.get("template")) if isinstance(entry, dict) else (None, None)
        )
        if not isinstance(name, str) or not isinstance(text, str):
            problem = f"chat_template is {short(repr(value), 60)}"
            raise FormatError(message("chat", problem, f"file {path}"))
        found[name] = text
    return found


def _plain_messages(messages: Any) -> list[dict[str, Any]]:
    if isinstance(messages, str | bytes | Mapping) or not isinstance(messages, Sequence):
        problem = f"messages is {type(messages).__name__}, not a list of dictionaries"
        raise TypeError(message("chat", problem))
    if not messages:
        raise ValueError(message("chat", "no messages"))
    found = []
    for number, given in enumerate(messages):
        if not isinstance(given, Mapping):
            problem = f"message {number} is {type(given).__name__}, not a dictionary"
            raise TypeError(message("chat", problem))
        plain = {
            key: _plain(value, f"message {number}")
            for key, value in given.items()
            if value is not None
        }
        if not isinstance(plain.get("role"), str):
            raise ValueError(message("chat", f"message {number} has no role"))
        _check_content(number, plain)
        thought = next((plain[name] for name in _REASONING if name in plain), None)
        if thought is not None:
            plain = {"thinking": thought, **plain, "reasoning_content": thought}
        found.append(plain)
    return found


def _check_content(number: int, given: dict[str, Any]) -> None:
    """Fail where a message says nothing, or what no template takes for content."""
    if "content" in given:
        content = given["content"]
        if isinstance(content, bool | int | float):
            kind = type(content).__name__
            problem = f"content of message {number} is {kind}, neither a text nor a list of parts"
            raise TypeError(message("chat", problem))
    elif not any(name in given for name in (*_REASONING, *_INSTEAD)):
        raise ValueError(message("chat", f"message {number} has no content"))


def _list_of_objects(name: str, value: Any) -> list[Any] | None:
    if value is None:
        return None
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        problem = f"{name} is {type(value).__name__}, not a list of dictionaries"
        raise TypeError(message("chat", problem))
    for item in value:
        if not isinstance(item, Mapping):
            problem = f"{name} holds {type(item).__name__}, where a dictionary belongs"
            raise TypeError(message("chat", problem))
    return [_plain(item, name) for item in value]


def _plain(value: Any, place: str) -> Any:
    """Values of JSON alone, so that a template meets no object with methods of its own."""
    if value is None or type(value) in (int, float, bool):
        return value
    if isinstance(value, str):
        return check_text("chat", place, str.__str__(value))
    if isinstance(value, int | float):
        return int.__int__(value) if isinstance(value, int) else float.__float__(value)
    if isinstance(value, Mapping):
        return {_plain(key, place): _plain(item, place) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, place) for item in value]
    rule = "templates take text, numbers, truth values, lists and dictionaries"
    raise TypeError(message("chat", f"{place} holds {type(value).__name__}", rule))


def _strings(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, Mapping):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, list | tuple):
            waiting += item


def _sandbox() -> Any:
    """The module that needs jinja2."""
    try:
        from numbatorch.generation import sandbox
    except ImportError as error:
        hint = 'pip install "jinja2>=3.1.6"'
        problem = "chat templates need jinja2"
        raise BackendUnavailable(message("chat", problem, hint=hint)) from error
    return sandbox
