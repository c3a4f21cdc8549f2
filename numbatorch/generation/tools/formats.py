"""The formats in which models write calls of tools, and how they are read out of an answer.

Source: https://github.com/ggml-org/llama.cpp/blob/master/docs/function-calling.md and the
templates of the models.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from numbatorch.generation.tools.calls import (
    NAME,
    Found,
    Reader,
    Schemas,
    ToolCall,
    behind,
    calls_of,
    json_value,
    properties,
    python_calls,
    skip,
    typed,
)

THOUGHT_ENDS = ("</think>", "[/THINK]")


@dataclass(frozen=True)
class Format:
    """A way in which a model writes calls.

    Attributes:
        name: by which `Chat(tool_format=...)` asks for it.
        opens: marks with which calls begin.
        read: of a text, the place of such a mark and the schemas of the tools the calls that
            stand there and the place behind them; None where no well-formed call does.
        marks: further texts that have to be seen, also where they are special tokens.
        first: whether calls can only be the first that is said, because they have no mark.
        token: the mark that says it of a vocabulary in which it is one token.
    """

    name: str
    opens: tuple[str, ...]
    read: Reader
    marks: tuple[str, ...] = ()
    first: bool = False
    token: str | None = None


def parse(
    text: str, form: Format, tools: Schemas = (), begins: bool = True
) -> tuple[str, list[ToolCall]]:
    """What an answer says beside its calls, and the calls.

    What is not well formed, JSON with an error in it or a call that was cut off, stays text as it
    was written, marks and all. So does what a model writes within its thoughts. White space next
    to calls is dropped.

    Args:
        text: of the answer, special tokens of the format spelled out.
        form: the format.
        tools: their schemas, by which values without quotes have types.
        begins: whether the text is the beginning of the answer.

    >>> text = 'Well. <tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    >>> parse(text, FORMATS["hermes"])
    ('Well.', [ToolCall(name='add', arguments={'a': 1}, id=None)])
    """
    calls: list[ToolCall] = []
    pieces: list[str] = []
    over = thoughts_end(text)
    place = rest = 0
    while True:
        opening = next_opening(text, place, form, begins)
        found = None if opening is None else form.read(text, opening, tools)
        if opening is not None and found is not None and found[1] > over:
            calls += found[0]
            pieces.append(text[rest:opening].rstrip())
            place = rest = found[1]
            begins = True
        elif opening is not None and found is None and not form.first:
            place = opening + 1
        elif place < over:
            place, begins = over, True
        elif calls:
            return "".join([*pieces, text[rest:].rstrip()]), calls
        else:
            return text, []


def thoughts_end(text: str) -> int:
    """The place behind the last mark with which thoughts end; 0 if there is none."""
    return max(text.rfind(mark) + len(mark) if mark in text else 0 for mark in THOUGHT_ENDS)


def next_opening(text: str, place: int, form: Format, begins: bool) -> int | None:
    """Where a call may begin at or behind a place."""
    if form.first:
        place = skip(text, place)
        return place if begins and text.startswith(form.opens, place) else None
    found = [text.find(mark, place) for mark in form.opens]
    return min((each for each in found if each >= 0), default=None)


def _json(opens: str, close: str | None = None, needed: bool = False) -> Reader:
    """Objects with "name" and "arguments", alone or in a list, between marks."""

    def read(text: str, place: int, tools: Schemas) -> Found | None:
        found = json_value(text, place + len(opens))
        calls = None if found is None else calls_of(found[0])
        if found is None or calls is None:
            return None
        end = found[1] if close is None else behind(text, found[1], close)
        if end is None:
            end = found[1]
            if needed and text[end:].strip():
                return None
        return calls, end

    return read


def _llama(text: str, place: int, tools: Schemas) -> Found | None:
    """{"name": ..., "parameters": {...}} of a tool that there is, more behind a semicolon; behind
    <|python_tag|> also name.call(key="value")."""
    tag = text.startswith(PYTHON_TAG, place)
    place += len(PYTHON_TAG) if tag else 0
    if tag and not text.startswith("{", skip(text, place)):
        code = text[place:]
        built_in = python_calls(code, tools)
        if built_in is None or any(not call.name.endswith(".call") for call in built_in):
            return None
        return [ToolCall(c.name.removesuffix(".call"), c.arguments) for c in built_in], len(text)
    calls: list[ToolCall] = []
    while True:
        found = json_value(text, place)
        made = None if found is None else calls_of(found[0], "parameters")
        if found is None or made is None or isinstance(found[0], list):
            return None
        if not tag and properties(tools, made[0].name) is None:
            return None
        calls, place = calls + made, found[1]
        following = behind(text, place, ";")
        if following is None or not text.startswith("{", skip(text, following)):
            return calls, place
        place = following


def _mistral_arguments(text: str, place: int, tools: Schemas) -> Found | None:
    """name[ARGS]{...}, or with an id name[CALL_ID]id[ARGS]{...}."""
    head = _HEAD.match(text, place)
    found = None if head is None else json_value(text, head.end())
    if head is None or found is None or not isinstance(found[0], dict):
        return None
    return [ToolCall(head["name"], found[0], head["id"])], found[1]


def _qwen_xml(text: str, place: int, tools: Schemas) -> Found | None:
    """<function=name><parameter=key>value</parameter></function> between <tool_call> marks, of
    which the first one may be missing."""
    inner = behind(text, place, "<tool_call>")
    head = _FUNCTION.match(text, skip(text, place if inner is None else inner))
    if head is None:
        return None
    place, given = head.end(), {}
    schema = properties(tools, head["name"])
    while (pair := _PARAMETER.match(text, place)) is not None:
        # Without a schema nobody knows the type: what is written is text.
        kind = None if schema is None else schema.get(pair["key"])
        given[pair["key"]] = typed(pair["value"], kind)
        place = pair.end()
    end = behind(text, place, "</function>")
    if end is None:
        return None
    return [ToolCall(head["name"], given)], behind(text, end, "</tool_call>") or end


def _functionary(text: str, place: int, tools: Schemas) -> Found | None:
    """<function=name>{...}</function>."""
    head = _FUNCTION.match(text, place)
    found = None if head is None else json_value(text, head.end())
    if head is None or found is None or not isinstance(found[0], dict):
        return None
    end = behind(text, found[1], "</function>")
    return None if end is None else ([ToolCall(head["name"], found[0])], end)


def _deepseek(text: str, place: int, tools: Schemas) -> Found | None:
    """Between marks of its own, the type, the name and JSON in a block of Markdown."""
    place += len(_CALLS_BEGIN)
    calls: list[ToolCall] = []
    while (head := _DEEPSEEK.match(text, place)) is not None:
        found = json_value(text, head.end())
        end = None if found is None else behind(text, found[1], "```")
        end = None if end is None else behind(text, end, _deepseek_mark("call_end"))
        if found is None or end is None or not isinstance(found[0], dict):
            return None
        calls.append(ToolCall(head["name"], found[0]))
        place = end
    return (calls, behind(text, place, _deepseek_mark("calls_end")) or place) if calls else None


def _python_between(opens: str, close: str) -> Reader:
    """Calls as Python writes them, between marks."""

    def read(text: str, place: int, tools: Schemas) -> Found | None:
        place += len(opens)
        end = text.find(close, place)
        calls = None if end < 0 else python_calls(text[place:end], tools)
        return None if calls is None else (calls, end + len(close))

    return read


def _python_list(text: str, place: int, tools: Schemas) -> Found | None:
    """[name(key=value), ...] of tools that there are, and nothing else."""
    calls = python_calls(text[place:], tools)
    if calls is None or any(properties(tools, call.name) is None for call in calls):
        return None
    return calls, len(text)


def _deepseek_mark(name: str) -> str:
    """A mark of DeepSeek's, which has bars of full width and blocks for spaces."""
    return f"<\uff5ctool_{name}\uff5c>".replace("_", "\u2581")


PYTHON_TAG = "<|python_tag|>"
_CALLS_BEGIN = _deepseek_mark("calls_begin")
_HEAD = re.compile(
    rf"\[TOOL_CALLS\]\s*(?P<name>{NAME.pattern})\s*(?:\[CALL_ID\](?P<id>\w+)\s*)?\[ARGS\]"
)
_FUNCTION = re.compile(rf"<function=(?P<name>{NAME.pattern})>")
_PARAMETER = re.compile(
    r"\s*<parameter=(?P<key>[^>\n]+)>\n?(?P<value>.*?)\n?</parameter>"
    r"(?=\s*<(?:parameter=|/function>))",
    re.DOTALL,
)
_DEEPSEEK = re.compile(
    rf"\s*{_deepseek_mark('call_begin')}function{_deepseek_mark('sep')}"
    rf"(?P<name>{NAME.pattern})\s*```json"
)
_DEEPSEEK_MARKS = tuple(map(_deepseek_mark, ("calls_end", "call_begin", "call_end", "sep")))

_ALL: Sequence[Format] = (
    Format("qwen_xml", ("<tool_call>", "<function="), _qwen_xml, ("</tool_call>",)),
    Format(
        "hermes",
        ("<tool_call>",),
        _json("<tool_call>", "</tool_call>", needed=True),
        ("</tool_call>",),
        token="<tool_call>",
    ),
    Format(
        "mistral_args",
        ("[TOOL_CALLS]",),
        _mistral_arguments,
        ("[ARGS]", "[CALL_ID]"),
        token="[ARGS]",
    ),
    Format("mistral", ("[TOOL_CALLS]",), _json("[TOOL_CALLS]"), token="[TOOL_CALLS]"),
    Format(
        "phi4",
        ("<|tool_call|>",),
        _json("<|tool_call|>", "<|/tool_call|>"),
        ("<|/tool_call|>",),
        token="<|tool_call|>",
    ),
    Format("deepseek", (_CALLS_BEGIN,), _deepseek, _DEEPSEEK_MARKS, token=_CALLS_BEGIN),
    Format("functionary", ("<function=",), _functionary),
    Format("functools", ("functools[",), _json("functools")),
    Format("gemma", ("```tool_code",), _python_between("```tool_code", "```")),
    Format(
        "lfm2",
        ("<|tool_call_start|>",),
        _python_between("<|tool_call_start|>", "<|tool_call_end|>"),
        ("<|tool_call_end|>",),
        token="<|tool_call_start|>",
    ),
    Format("llama", ("{", PYTHON_TAG), _llama, first=True),
    Format("python", ("[",), _python_list, first=True),
)

FORMATS: dict[str, Format] = {form.name: form for form in _ALL}
"""By name; those that come first are tried first where a template is asked which one it shows.

- `hermes`: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, one object or a list;
  Hermes, Qwen 2.5 and 3, Granite 4, SmolLM2-1.7B
- `qwen_xml`: `<tool_call><function=name><parameter=key>value</parameter></function></tool_call>`;
  Qwen3-Coder, Qwen 3.5
- `mistral`: `[TOOL_CALLS] [{"name": ..., "arguments": {...}, "id": ...}]`; Mistral up to Nemo
- `mistral_args`: `[TOOL_CALLS]name[ARGS]{...}`; later ones
- `llama`: `{"name": ..., "parameters": {...}}`, and what is behind `<|python_tag|>`; Llama 3.1
  to 3.3
- `python`: `[name(key=value)]`; Llama 3.2 of 1B and 3B, and 4
- `phi4`: `<|tool_call|>[{"name": ..., "arguments": {...}}]`; Phi-4-mini, Granite 3
- `gemma`: a block of Markdown, `tool_code`, with calls as in Python; Gemma 2 and 3
- `deepseek`, `functionary`, `functools`, `lfm2`: of those models
"""
