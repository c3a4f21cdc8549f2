"""Which format of calls a checkpoint has: that in which its own template writes a call back."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from numbatorch.errors import message
from numbatorch.generation.tools.calls import ToolCall
from numbatorch.generation.tools.formats import FORMATS, Format, parse

if TYPE_CHECKING:
    from numbatorch.generation.chat_template import ChatTemplate
    from numbatorch.generation.tokenizer import Tokenizer

RAW = "raw"
"""The key of a message under which the text of an answer with calls is kept as it was written."""

_CALL = ToolCall("probe_tool", {"first": "a b"})
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": _CALL.name,
        "description": "A tool.",
        "parameters": {
            "type": "object",
            "properties": {"first": {"type": "string", "description": "The first."}},
            "required": ["first"],
        },
    },
}
_USER = {"role": "user", "content": "Go on."}

_dialects: "WeakKeyDictionary[ChatTemplate, Dialect]" = WeakKeyDictionary()


@dataclass(frozen=True)
class Dialect:
    """A format, and how a template wants calls to be told.

    Attributes:
        form: the format.
        shows: whether the template writes "tool_calls" of a message; if not, the text of the
            answer as it was is its content.
        arguments_as_text: whether arguments are JSON in a text, and not a dictionary.
    """

    form: Format
    shows: bool = True
    arguments_as_text: bool = False

    def rendered(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """A message as the template wants it."""
        given = {key: value for key, value in said.items() if key != RAW}
        if not said.get("tool_calls"):
            return given
        if not self.shows and RAW in said:
            del given["tool_calls"]
            return {**given, "content": said[RAW]}
        if self.arguments_as_text:
            given["tool_calls"] = [_as_text(call) for call in said["tool_calls"]]
        return given

    def tokens(self, tokenizer: "Tokenizer") -> frozenset[int]:
        """Special tokens that have to be seen in an answer."""
        found = (tokenizer.token_id(mark) for mark in (*self.form.opens, *self.form.marks))
        return frozenset(id for id in found if id is not None and tokenizer.is_special(id))


def _as_text(call: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of "tool_calls" with its arguments as JSON."""
    function = call["function"]
    if isinstance(function["arguments"], str):
        return dict(call)
    return ToolCall(function["name"], function["arguments"]).as_message(call.get("id"), True)


def dialect_of(
    template: "ChatTemplate", tokenizer: "Tokenizer", tool_format: str | Format | None = None
) -> Dialect:
    """The dialect of a checkpoint.

    Its template is given a call, and the format is the one that reads just this call out of what
    it makes of it. Where it shows no calls, it is the only format whose mark the template or the
    vocabulary has.

    Args:
        template, tokenizer: of the checkpoint.
        tool_format: a format, or the name of one in `FORMATS`, instead of what they show.
    Raises:
        TypeError: something else is given as format.
        ValueError: the template takes no tools, or shows no format that is known.
    """
    if tool_format is not None:
        form = _named(tool_format)
        known = _shown(template, [form])
        return known or Dialect(form, shows=False)
    if template not in _dialects:
        _dialects[template] = _found(template, tokenizer)
    return _dialects[template]


def _named(tool_format: object) -> Format:
    if isinstance(tool_format, Format):
        return tool_format
    if not isinstance(tool_format, str):
        problem = f"tool_format is {tool_format!r:.80}, neither a format nor its name"
        raise TypeError(message("chat", problem))
    if tool_format not in FORMATS:
        rule = f"there are {', '.join(FORMATS)}"
        raise ValueError(message("chat", f"tool_format is {tool_format!r:.80}", rule))
    return FORMATS[tool_format]


def _found(template: "ChatTemplate", tokenizer: "Tokenizer") -> Dialect:
    told = _rendered(template, [_USER], False)
    row = f"file {template.place}"
    hint = "tool_format=NAME says how calls are written; what tools there are is then told by you"
    if told is None or _CALL.name not in told:
        raise ValueError(message("chat", "the template takes no tools", row, hint=hint))
    shown = _shown(template, list(FORMATS.values()))
    if shown is not None:
        return shown
    text = "\n".join(template.texts.values())
    marked = [
        form
        for form in FORMATS.values()
        if form.token and (form.token in text or tokenizer.token_id(form.token) is not None)
    ]
    # What is shown in a format that is not known says that it is none of the known ones.
    shows = any(_CALL.name in written for _, written, _ in _written(template))
    if shows or len(marked) != 1:
        problem = "the template shows no format of calls that is known"
        rows = (row, f"known {', '.join(FORMATS)}")
        raise ValueError(message("chat", problem, *rows, hint=hint))
    return Dialect(marked[0], shows=False)


def _shown(template: "ChatTemplate", forms: list[Format]) -> Dialect | None:
    """The first format that reads the call out of what the template writes."""
    for as_text, written, whole in _written(template):
        for form in forms:
            given = whole if form.first else written
            calls = [] if given is None else parse(given, form, [_TOOL])[1]
            if [(call.name, call.arguments) for call in calls] == [(_CALL.name, _CALL.arguments)]:
                return Dialect(form, True, as_text)
    return None


def _written(template: "ChatTemplate") -> Iterator[tuple[bool, str, str | None]]:
    """What the template makes of a call, with arguments as a dictionary and as a text: from the
    end of what was said before on, and from where the model begins to write, if that is there."""
    before, prompt = _rendered(template, [_USER], False), _rendered(template, [_USER], True)
    if before is None or prompt is None:
        return
    for as_text in (False, True):
        call = _CALL.as_message("000000000", as_text)
        said = {"role": "assistant", "content": "", "tool_calls": [call]}
        whole = _rendered(template, [_USER, said], False)
        if whole is not None:
            begins = whole.startswith(prompt)
            answer = whole[len(prompt) :] if begins else None
            yield as_text, whole[len(_common(before, whole)) :], answer


def _common(first: str, other: str) -> str:
    """With what both begin."""
    size = 0
    for one, two in zip(first, other, strict=False):
        if one != two:
            break
        size += 1
    return first[:size]


def _rendered(template: "ChatTemplate", messages: list[Any], begin: bool) -> str | None:
    """What the template makes of messages; None where it fails."""
    try:
        return template.render(messages, tools=[_TOOL], add_generation_prompt=begin)
    except ValueError:  # of which FormatError is one
        return None
