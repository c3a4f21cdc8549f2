"""Tools: calls read out of answers, and a conversation that uses them."""

import copy
import json
import pickle
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbatorch.generation.chat import Chat
from numbatorch.generation.chat_template import ChatTemplate
from numbatorch.generation.samplers import Candidates, Text
from numbatorch.generation.text_generator import TextGenerator
from numbatorch.generation.tools import FORMATS, Format, ToolCall, dialect_of, parse, schemas
from numbatorch.generation.tools.filter import CallFilter
from tests.generation.tool_cases import CALLS, TEXTS, TOOLS


def made(calls: list[Any]) -> list[ToolCall]:
    return [ToolCall(*call) for call in calls]


def streamed(text: str, form: Format, rng: random.Random) -> tuple[str, str, list[ToolCall]]:
    """Pieces given out before the end, what comes then, and the calls."""
    calls, given, place = CallFilter(form, TOOLS), "", 0
    while place < len(text):
        size = rng.choice((1, 1, 2, 5, 30))
        given += calls.feed(text[place : place + size])
        place += size
    assert calls.raw == text
    return (given, *calls.end())


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_calls_are_read_and_kept_out_of_the_text(number: int) -> None:
    name, text, said, calls = CALLS[number]
    form = FORMATS[name]
    assert parse(text, form, TOOLS) == (said, made(calls))
    rng = random.Random(number)
    for _ in range(5):
        given, rest, found = streamed(text, form, rng)
        assert (given + rest, found) == (said, made(calls))


@pytest.mark.parametrize(("name", "text"), TEXTS)
def test_what_is_no_well_formed_call_stays_text(name: str, text: str) -> None:
    for written in (text, f"{text}\n "):
        assert parse(written, FORMATS[name], TOOLS) == (written, [])
        given, rest, found = streamed(written, FORMATS[name], random.Random(0))
        assert (given + rest, found) == (written, [])


def test_text_that_cannot_be_a_call_is_given_out_at_once() -> None:
    for name in FORMATS:
        calls = CallFilter(FORMATS[name], TOOLS)
        assert calls.feed("a < b [c") == "a < b [c"[: 8 if FORMATS[name].first else None]
        assert calls.feed(" d") + calls.end()[0] == " d"


def add(a: int, b: int = 0) -> int:
    """Add two numbers.

    Args:
        a: The first.
        b: The second.
    """
    return a + b


HERMES = (
    "{% if tools %}<s>tools: {% for t in tools %}{{ t | tojson }}{% endfor %}\n{% endif %}"
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}"
    '<tool_call>{"name": "{{ c.function.name }}", "arguments": {{ ARGUMENTS }}}</tool_call>'
    "{% endfor %}\n{% endfor %}{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
AS_DICT = HERMES.replace("ARGUMENTS", "c.function.arguments | tojson")
AS_TEXT = HERMES.replace("{{ ARGUMENTS }}", "{{ '' + c.function.arguments }}")
SILENT = HERMES.replace("m.tool_calls or []", "[]")  # the mark is there, the calls are not
OTHER = AS_DICT.replace("tool_call>", "call>")


class Tokens:
    """A vocabulary of which a few tokens matter."""

    def __init__(self, *special: str) -> None:
        self.special = special

    def token_id(self, text: str) -> int | None:
        return self.special.index(text) if text in self.special else None

    def is_special(self, id: int) -> bool:
        return True


def dialect(template: str, *special: str, name: Any = None) -> Any:
    return dialect_of(ChatTemplate({"default": template}, {}), Tokens(*special), name)  # type: ignore[arg-type]


def test_the_template_shows_the_format() -> None:
    found = dialect(AS_DICT)
    assert (found.form.name, found.shows, found.arguments_as_text) == ("hermes", True, False)
    found = dialect(AS_TEXT)
    assert (found.form.name, found.shows, found.arguments_as_text) == ("hermes", True, True)
    found = dialect(SILENT)
    assert (found.form.name, found.shows) == ("hermes", False)
    silent = SILENT.replace("tool_call>", "")
    assert dialect(silent, "[ARGS]").form.name == "mistral_args"
    found = dialect("{{ messages[0].content }}", name="llama")
    assert (found.form.name, found.shows) == ("llama", False)
    own = Format("own", ("CALL",), lambda text, place, tools: None)
    assert dialect(AS_DICT, name=own).form is own


def test_special_tokens_of_the_format_are_seen() -> None:
    found = dialect(AS_DICT, "x", "[ARGS]", "[TOOL_CALLS]", name="mistral_args")
    assert found.tokens(Tokens("x", "[ARGS]", "[TOOL_CALLS]")) == {1, 2}


@pytest.mark.parametrize(
    ("template", "special", "name", "error", "told"),
    [
        ("{{ messages[0].content }}", (), None, ValueError, "takes no tools(.|\n)*tool_format"),
        (OTHER, (), None, ValueError, "no format of calls that is known(.|\n)*hermes"),
        (OTHER, ("[ARGS]",), None, ValueError, "no format of calls that is known"),
        (SILENT, ("[ARGS]",), None, ValueError, "no format of calls that is known"),
        (AS_DICT, (), "nonsense", ValueError, "tool_format is 'nonsense'(.|\n)*hermes"),
        (AS_DICT, (), 5, TypeError, "tool_format is 5"),
    ],
)
def test_a_format_is_never_guessed(
    template: str, special: tuple[str, ...], name: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        dialect(template, *special, name=name)


class Says:
    """A sampler that writes a text, whatever the model thinks."""

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    def begin(self, text: Text) -> Any:
        tokenizer = text.tokenizer
        assert tokenizer is not None
        ids = iter(
            [*tokenizer.encode(self.texts.pop(0), add_special_tokens=False), tokenizer.eos_id]
        )
        return lambda found: Candidates(found.logits[:1], np.array([next(ids)]))


@pytest.fixture(scope="module")
def generator(fixtures: Path, tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:
    folder = tmp_path_factory.mktemp("tools") / "model"
    shutil.copytree(fixtures / "pydoc-llama", folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": AS_DICT}))
    return TextGenerator(folder)


CALL = '<tool_call>{"name": "add", "arguments": {"a": 2, "b": 3}}</tool_call>'


def test_a_conversation_calls_a_tool_and_goes_on(generator: TextGenerator) -> None:
    says = Says(f"Hm.\n{CALL}{CALL}", "It is 5.")
    chat = Chat(generator, tools=[add], samplers=[says])
    reply = chat.send("What is 2 + 3?")
    call = ToolCall("add", {"a": 2, "b": 3})
    assert reply == "Hm." and reply.tool_calls == [call, call]
    entry = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 3}}}
    assert chat.messages[1:] == [
        {
            "role": "assistant",
            "content": "Hm.",
            "tool_calls": [{**entry, "id": "000000000"}, {**entry, "id": "000000001"}],
        }
    ]
    answer = chat.stream(results=[add(**call.arguments), "fünf"])
    assert "".join(answer) == "It is 5." and answer.tool_calls == []
    assert answer.counts.kept_tokens > 40
    assert chat.messages[2:4] == [
        {"role": "tool", "name": "add", "tool_call_id": "000000000", "content": "5"},
        {"role": "tool", "name": "add", "tool_call_id": "000000001", "content": "fünf"},
    ]
    prompt = generator.template.render(chat.messages[:2], tools=schemas([add]))
    assert CALL in prompt and '"name": "add"' in prompt
    assert pickle.loads(pickle.dumps(reply)).tool_calls == copy.copy(reply).tool_calls == [call] * 2


def test_a_conversation_with_calls_is_saved_and_goes_on(
    generator: TextGenerator, tmp_path: Path
) -> None:
    chat = Chat(generator, tools=[add], samplers=[Says(CALL)])
    chat.send("go")
    chat.save(tmp_path / "chat.json")
    other = Chat(generator, tools=[add], samplers=[Says("5")])
    other.load(tmp_path / "chat.json")
    assert other.messages == chat.messages
    assert other.send(results=[5]) == "5"


def test_pieces_hold_no_calls_and_broken_ones_are_text(generator: TextGenerator) -> None:
    broken = CALL.replace("}}", "}")
    chat = Chat(generator, tools=[add], samplers=[Says(f"a {CALL}", f"b {broken} c")])
    answer = chat.stream("go")
    assert "".join(answer) == answer.text == "a" and len(answer.tool_calls) == 1
    answer = chat.stream(results=[5])
    assert "".join(answer) == answer.text == f"b {broken} c" and not answer.tool_calls
    assert list(answer) == []
    assert "tool_calls" not in chat.messages[-1]


def test_without_tools_a_call_is_text(generator: TextGenerator) -> None:
    chat = Chat(generator, samplers=[Says(CALL)])
    reply = chat.send("go")
    assert reply == CALL and reply.tool_calls == []


def test_a_template_that_shows_no_calls_gets_the_answer_as_it_was(generator: TextGenerator) -> None:
    other = copy.copy(generator)
    other.template = ChatTemplate({"default": SILENT}, {})
    chat = Chat(other, tools=[add], samplers=[Says(f"Hm. {CALL}", "5")])
    assert chat.send("go") == "Hm."
    seen = []
    render = other.template.render
    other.template.render = lambda *args, **how: seen.append(render(*args, **how)) or seen[-1]  # type: ignore[method-assign, func-returns-value]
    chat.send(results=[5])
    assert f"assistant: Hm. {CALL}<s>tool: 5<s>" in seen[-1]


def test_an_answer_that_is_left_within_a_call(generator: TextGenerator) -> None:
    chat = Chat(generator, tools=[add], samplers=[Says(f"Hello. {CALL}", "x")])
    answer = chat.stream("go")
    assert next(answer)
    answer.close()
    assert list(answer) == [] and answer.tool_calls == [] and len(chat.messages) == 2


@pytest.mark.parametrize(
    ("given", "error", "told"),
    [
        ({}, TypeError, "neither a text nor results"),
        ({"text": "a", "results": []}, TypeError, "a text and results"),
        ({"results": [1, 2]}, ValueError, "2 results are given, and the last answer has 1 calls"),
        ({"results": "5"}, TypeError, "results is str"),
        ({"results": [{1, 2}]}, TypeError, "result 0 is neither a text nor JSON"),
        ({"results": [float("nan")]}, TypeError, "result 0 is neither"),
        ({"results": ["\ud800"]}, ValueError, "result 0 holds a lone surrogate"),
    ],
)
def test_results_that_are_wrong(
    generator: TextGenerator, given: dict[str, Any], error: type[Exception], told: str
) -> None:
    chat = Chat(generator, tools=[add], samplers=[Says(CALL, "x")])
    chat.send("go")
    with pytest.raises(error, match=told):
        chat.send(**given)
    assert len(chat.messages) == 2
    chat.send(results=[{"sum": 5}])
    assert chat.messages[2]["content"] == '{"sum": 5}'


def test_special_tokens_may_be_shown(generator: TextGenerator) -> None:
    tokenizer = generator.tokenizer
    bos, ids = tokenizer.bos_id, tokenizer.encode("def", add_special_tokens=False)
    assert bos is not None
    assert tokenizer.decode([bos, *ids], special=[bos]) == "<s>def"
    assert tokenizer.decode([bos, *ids], special=[bos + 1]) == "def"
    stream = tokenizer.stream({bos})
    assert "".join([stream.step(id) for id in [bos, *ids]]) == "<s>def"


def untyped(a) -> None:  # type: ignore[no-untyped-def]
    """Do.

    Args:
        a: The first.
    """


def undescribed(a: int) -> None:
    """Do."""


def strange(a: Path) -> None:
    """Do.

    Args:
        a: The first.
    """


@pytest.mark.parametrize(
    ("tools", "error", "told"),
    [
        ([untyped], TypeError, "argument a of untyped has no annotation"),
        ([undescribed], ValueError, "undescribed does not describe argument a"),
        ([strange], TypeError, "argument a of strange is <class 'pathlib.Path'>"),
        ([lambda: None], ValueError, "no docstring"),
        ([5], TypeError, "tools holds int"),
        ({"a": 1}, TypeError, "tools is dict"),
    ],
)
def test_what_is_no_tool(
    generator: TextGenerator, tools: Any, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        Chat(generator, tools=tools).stream("go")
    with pytest.raises(error, match=told):
        generator.stream(messages=[{"role": "user", "content": "go"}], tools=tools)
