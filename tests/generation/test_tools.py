"""Tools: calls read out of answers, and a conversation that uses them.

What models write, and what it means, is taken from llama.cpp's tests/test-chat.cpp, but for the
formats gemma and python: https://ai.google.dev/gemma/docs/capabilities/function-calling and
https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_2.
"""

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


def tool(name: str, /, **kinds: Any) -> dict[str, Any]:
    given = {key: {"type": kind} if isinstance(kind, str) else kind for key, kind in kinds.items()}
    parameters = {"type": "object", "properties": given}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [
    tool("special_function", arg1="integer"),
    tool("with_opt", arg1="integer", arg2="integer"),
    tool("python", code="string"),
    tool("todo_list", todos="array"),
    tool("set_name", name={"type": ["string", "null"]}),
    tool("set_count", count={"type": ["null", "integer"]}),
    tool("set_union", value={"anyOf": [{"type": "string"}, {"type": "object"}]}),
    tool("set_amount", amount={"type": ["string", "integer"]}),
    tool("set_unit", unit={"enum": ["celsius", "12"]}),
    tool("convert", amount="number", to="string"),
]
ONE = ("special_function", {"arg1": 1})
TWO = ("with_opt", {"arg1": 1, "arg2": 2})
JSON_ONE = '{"name": "special_function", "arguments": {"arg1": 1}}'
JSON_TWO = '{"name": "with_opt", "arguments": {"arg1": 1, "arg2": 2}}'
DEEPSEEK = (  # with spaces for the blocks, and bars, that its marks have
    "<|tool calls begin|><|tool call begin|>function<|tool sep|>special_function\n"
    '```json\n{"arg1": 1}```<|tool call end|><|tool calls end|>'
)
DEEPSEEK = DEEPSEEK.replace("|", "\uff5c").replace('": 1', '":1').replace(" ", "\u2581")


def xml(name: str, *pairs: tuple[str, str]) -> str:
    inner = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in pairs)
    return f"<tool_call>\n<function={name}>\n{inner}</function>\n</tool_call>"


HTML = "<html>\n <head>\n  <title>Hello!</title>\n </head>\n</html>"
CODE = 'def hello():\n    print("Hello, world!")\n\nhello()'
TODOS = '[{"item": "Check stuff", "selected": false}]'

# Format, what a model wrote, what else it says, and the calls.
CALLS: list[tuple[str, str, str, list[Any]]] = [
    ("hermes", f"<tool_call>\n{JSON_ONE}\n</tool_call>", "", [ONE]),
    ("hermes", f"<tool_call>\n{JSON_ONE}</tool_call>", "", [ONE]),
    ("hermes", f"Hi.\n<tool_call>\n{JSON_ONE}</tool_call>", "Hi.", [ONE]),
    (
        "hermes",
        f"<tool_call>\n{JSON_ONE}\n</tool_call>\n<tool_call>\n{JSON_TWO}\n</tool_call>\n",
        "",
        [ONE, TWO],
    ),
    ("hermes", f"<tool_call>[{JSON_ONE}, {JSON_TWO}]</tool_call>", "", [ONE, TWO]),
    ("hermes", f"<tool_call>\n{JSON_ONE}", "", [ONE]),
    ("hermes", f"a <tool_call>{JSON_ONE}</tool_call>\nb", "a\nb", [ONE]),
    (
        "hermes",
        '<tool_call>{"name": "special_function", "arguments": "{\\"arg1\\": 1}"}</tool_call>',
        "",
        [ONE],
    ),
    (
        "hermes",
        f"<think>a <tool_call>{JSON_TWO}</tool_call> b</think> c <tool_call>{JSON_ONE}</tool_call>",
        f"<think>a <tool_call>{JSON_TWO}</tool_call> b</think> c",
        [ONE],
    ),
    (
        "hermes",
        '<tool_call>{"name": "python", "arguments": {"code": "x</think>"}}</tool_call>',
        "",
        [("python", {"code": "x</think>"})],
    ),
    (
        "mistral",
        '[TOOL_CALLS] [{"name": "special_function", "arguments": {"arg1": 1}, "id": "123456789"}]',
        "",
        [(*ONE, "123456789")],
    ),
    ("mistral", f"[TOOL_CALLS][{JSON_ONE}, {JSON_TWO}]", "", [ONE, TWO]),
    ("mistral_args", '[TOOL_CALLS]special_function[ARGS]{"arg1":1}', "", [ONE]),
    (
        "mistral_args",
        "Hi.[TOOL_CALLS]special_function[CALL_ID]000000001[ARGS]{"
        '"arg1": 1}[TOOL_CALLS]with_opt[CALL_ID]000000002[ARGS]{"arg1": 1, "arg2": 2}',
        "Hi.",
        [(*ONE, "000000001"), (*TWO, "000000002")],
    ),
    (
        "mistral_args",
        '[THINK]say [TOOL_CALLS]with_opt[ARGS]{"arg1":1}[/THINK]'
        '[TOOL_CALLS]special_function[ARGS]{"arg1": 1}',
        '[THINK]say [TOOL_CALLS]with_opt[ARGS]{"arg1":1}[/THINK]',
        [ONE],
    ),
    ("llama", '{"name": "special_function", "parameters": {"arg1": 1}}', "", [ONE]),
    ("llama", '<|python_tag|>{"name": "special_function", "parameters": {"arg1": 1}}', "", [ONE]),
    (
        "llama",
        '{"name": "special_function", "parameters": {"arg1": 1}}; '
        '{"name": "with_opt", "parameters": {"arg1": 1, "arg2": 2}}',
        "",
        [ONE, TWO],
    ),
    (
        "llama",
        '<think>{"a": 1}</think>\n{"name": "special_function", "parameters": {"arg1": 1}}',
        '<think>{"a": 1}</think>',
        [ONE],
    ),
    ("llama", '<|python_tag|>search.call(query="a b")', "", [("search", {"query": "a b"})]),
    ("phi4", f"<|tool_call|>[{JSON_ONE}]<|/tool_call|>", "", [ONE]),
    ("phi4", f"<|tool_call|>[{JSON_ONE}, {JSON_TWO}]", "", [ONE, TWO]),
    ("functools", f" functools[{JSON_ONE}]", "", [ONE]),
    ("functionary", '<function=special_function>{"arg1": 1}</function>', "", [ONE]),
    ("deepseek", DEEPSEEK, "", [ONE]),
    ("gemma", "Ok.\n```tool_code\nspecial_function(arg1=1)\n```", "Ok.", [ONE]),
    (
        "gemma",
        '```tool_code\nprint(convert(2e5, to="EUR"))\nspecial_function(1)\n```',
        "",
        [("convert", {"amount": 2e5, "to": "EUR"}), ONE],
    ),
    (
        "lfm2",
        "Wait.<|tool_call_start|>[special_function(arg1=1), set_count(count=None)]"
        "<|tool_call_end|>",
        "Wait.",
        [ONE, ("set_count", {"count": None})],
    ),
    ("python", "[special_function(arg1=1), with_opt(arg1=1, arg2=2)]", "", [ONE, TWO]),
    ("qwen_xml", xml("special_function", ("arg1", "1")), "", [ONE]),
    ("qwen_xml", xml("special_function", ("arg1", "1")).removeprefix("<tool_call>\n"), "", [ONE]),
    (
        "qwen_xml",
        xml("special_function", ("arg1", "1"))
        + "\n"
        + xml("with_opt", ("arg1", "1"), ("arg2", "2")),
        "",
        [ONE, TWO],
    ),
    ("qwen_xml", xml("python", ("code", CODE)), "", [("python", {"code": CODE})]),
    ("qwen_xml", xml("python", ("code", "12")), "", [("python", {"code": "12"})]),
    ("qwen_xml", xml("unknown", ("markup", HTML)), "", [("unknown", {"markup": HTML})]),
    (
        "qwen_xml",
        xml("todo_list", ("todos", TODOS)),
        "",
        [("todo_list", {"todos": json.loads(TODOS)})],
    ),
    ("qwen_xml", xml("set_name", ("name", "a b")), "", [("set_name", {"name": "a b"})]),
    ("qwen_xml", xml("set_name", ("name", "null")), "", [("set_name", {"name": None})]),
    ("qwen_xml", xml("set_count", ("count", "42")), "", [("set_count", {"count": 42})]),
    ("qwen_xml", xml("set_union", ("value", '{"a": 1}')), "", [("set_union", {"value": {"a": 1}})]),
    (
        "qwen_xml",
        xml("set_union", ("value", "{not json")),
        "",
        [("set_union", {"value": "{not json"})],
    ),
    (
        "qwen_xml",
        xml("set_amount", ("amount", "2 dollars")),
        "",
        [("set_amount", {"amount": "2 dollars"})],
    ),
    ("qwen_xml", xml("set_amount", ("amount", "42")), "", [("set_amount", {"amount": 42})]),
    ("qwen_xml", xml("set_unit", ("unit", "12")), "", [("set_unit", {"unit": "12"})]),
]
# The same of what is no call.
TEXTS: list[tuple[str, str]] = [
    ("hermes", '<tool_call>{"name": "special_function", "arguments": {"arg1": 1}'),
    ("hermes", '<tool_call>\n{"name": "special_function", "arguments": {"arg'),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": NaN}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": 1e999}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": 1, "a": 2}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "arguments": [1]}</tool_call>'),
    ("hermes", '<tool_call>{"name": 5, "arguments": {}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f"}</tool_call>'),
    ("hermes", f"<tool_call>{JSON_ONE} and more"),
    ("hermes", "<tool_call>" + '{"a":' * 5000),
    ("hermes", JSON_ONE),
    ("hermes", "a < b <tool"),
    ("mistral", '[TOOL_CALLS]special_function[ARGS]{"arg1":1}'),
    ("mistral_args", "[TOOL_CALLS]special_function[ARGS]5"),
    ("llama", '{"name": "other", "parameters": {"arg1": 1}}'),
    ("llama", 'As in {"name": "special_function", "parameters": {"arg1": 1}}'),
    ("llama", JSON_ONE),
    ("llama", '{"answer": 42}'),
    ("llama", "<|python_tag|>import os"),
    ("qwen_xml", "<tool_call>\n<function=f>\n<parameter=a>\n1\n"),
    ("qwen_xml", f"<tool_call>{JSON_ONE}</tool_call>"),
    ("gemma", "```tool_code\nimport os\n```"),
    ("gemma", "```tool_code\nf(x)\n```"),
    ("gemma", "```tool_code\nf(a=1e999)\n```"),
    ("gemma", "```tool_code\nf(a=1, a=2)\n```"),
    ("gemma", "```tool_code\nunknown(1)\n```"),
    ("gemma", "```tool_code\nf(**{'a': 1})\n```"),
    ("gemma", "```tool_code\nf(a=(lambda: 1)())\n```"),
    ("python", "[1, 2]"),
    ("python", "[unknown(a=1)]"),
    ("functionary", "<function=f>{</function>"),
]


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
