"""Templates of chats: what they are given, where they come from, and those that mean harm."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from numbatorch.errors import FormatError
from numbatorch.generation.chat_template import ChatTemplate
from numbatorch.generation.tokenizer import Tokenizer

HI = [{"role": "user", "content": "hi"}]
CHATML = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content | trim }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def rendered(text: str, messages: Any = HI, **how: Any) -> str:
    return ChatTemplate({"default": text}, {"bos_token": "<s>"}, "some/file").render(
        messages, **how
    )


def test_roles_tools_documents_and_variables_are_passed_on() -> None:
    text = (
        "{{ bos_token }}{{ messages[0].role }} {{ tools[0].name }} {{ documents[0].title }}"
        " {{ thinking }} {{ add_generation_prompt }} {{ missing is defined }}"
    )
    how: dict[str, Any] = {"tools": [{"name": "add"}], "documents": [{"title": "book"}]}
    found = rendered(text, add_generation_prompt=False, thinking=True, **how)
    assert found == "<s>user add book True False False"


def test_blocks_are_trimmed_and_loops_are_left() -> None:
    text = "{% for i in range(9) %}\n  {% if i == 2 %}{% break %}{% endif %}\n{{ i }}\n{% endfor %}"
    assert rendered(text) == "0\n1\n"


def test_json_keeps_letters_and_order() -> None:
    assert rendered("{{ {'b': '<ü>', 'a': [1, none]} | tojson }}") == '{"b": "<ü>", "a": [1, null]}'
    assert rendered("{{ {'a': 1} | tojson(indent=2) }}") == '{\n  "a": 1\n}'


def test_what_the_model_said_may_be_marked() -> None:
    text = "{% generation %}{{ messages[0].content }}{% set x = 1 %}{% endgeneration %}{{ x }}"
    assert rendered(text) == "hi"


def test_the_time_is_there() -> None:
    assert rendered("{{ strftime_now('%Y') }}") == time.strftime("%Y")


def test_what_a_template_refuses_is_about_the_messages() -> None:
    with pytest.raises(ValueError, match="refuses the messages: no user") as caught:
        rendered("{{ raise_exception('no user') }}")
    assert not isinstance(caught.value, FormatError)
    assert "some/file" in str(caught.value)


def test_an_empty_value_is_not_there_and_thoughts_have_all_names() -> None:
    said = [{"role": "assistant", "content": None, "thinking": "hm"}]
    text = "{{ 'content' in messages[0] }} {{ messages[0].reasoning_content }}"
    assert rendered(text, said) == "False hm"


@pytest.mark.parametrize(
    ("messages", "error", "told"),
    [
        ([], ValueError, "no messages"),
        ("hi", TypeError, "messages is str, not a list of dictionaries"),
        (["hi"], TypeError, "message 0 is str, not a dictionary"),
        ([{"content": "hi"}], ValueError, "message 0 has no role"),
    ],
)
def test_wrong_messages_are_named(messages: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        rendered("", messages)


DOUBLING = (
    "{% set ns = namespace(x=START) %}{% for i in range(99) %}BODY{% endfor %}{{ ns.x | tojson }}"
)


def doubling(start: str, body: str) -> str:
    return DOUBLING.replace("START", start).replace("BODY", body)


HOSTILE = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{% for i in range(9999) %}{% for j in range(99999) if false %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    doubling("'a'", "{% set ns.x = ns.x + ns.x %}"),
    doubling("'a'", "{% set ns.x = ns.x ~ ns.x %}"),
    doubling("'a'", "{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}"),
    doubling("'a'", "{% set ns.x = ns.x.replace('a', 'aa') %}"),
    doubling("'a'", "{% set ns.x = ns.x | replace('a', 'aa') %}"),
    doubling("'a'", "{% set ns.x = ns.x.join(['', '', '']) ~ ns.x %}"),
    doubling("[1]", "{% set ns.x = [ns.x, ns.x] %}"),
    doubling("{}", "{% set ns.x = dict(a=ns.x, b=ns.x) %}"),
    doubling("()", "{% set ns.x = (ns.x, ns.x) %}") + "{{ {ns.x: 1} }}",
    "{{ 'a' * 10 ** 12 }}",
    "{{ 2 ** 99999999999 }}",
    "{{ 'a' | center(10 ** 9) }}",
    "{{ 'a'.ljust(10 ** 9) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '%*d' % (999999999, 1) }}",
    "{{ '{:>999999999}'.format(1) }}",
    "{{ '{:>{}}'.format(1, 999999999) }}",
    "{{ (1).to_bytes(10 ** 10) }}",
    "{{ 1.5 | round(10 ** 9) }}",
    "{{ ('\u00e9' * 9999999).encode('punycode') }}",
    "{{ [1] | slice(10 ** 9) | list }}",
    "{{ messages | tojson(indent=10 ** 9) }}",
    "{{ range(99999) | map('string') | map('center', 99999) | join('') }}",
    "{% set x = 'a' * 9000000 %}{% for i in range(99999) %}{% if x == x %}{% endif %}{% endfor %}",
    "{% set x = range(99999) | list %}{% for i in x %}{{ 7 in x }}{% endfor %}",
    "{% set x = range(99999) | list %}{% for i in x %}{{ x.count(7) }}{% endfor %}",
]


@pytest.mark.parametrize(
    "text",
    [pytest.param(x, marks=[pytest.mark.slow] * (i % 3 != 1)) for i, x in enumerate(HOSTILE)],
)
def test_a_template_that_does_too_much_is_stopped(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(FormatError, match=r"does more than any conversation(.|\n)*some/file"):
        rendered(text)
    assert time.perf_counter() - start < 30


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ (messages | attr('__class__')).mro() }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ raise_exception.__globals__.os }}",
        "{{ dict.mro() }}",
        "{{ namespace(__class__=1) }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update(a=1) }}",
        "{{ '{0.__class__.__mro__}'.format(1) }}",
        "{% include 'x' %}",
        "{% import 'os' as os %}",
        "{{ open('x') }}",
    ],
)
def test_python_is_out_of_reach(text: str) -> None:
    with pytest.raises(FormatError, match=r"the chat template fails(.|\n)*some/file"):
        rendered(text)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{% for x in %}", "TemplateSyntaxError"),
        ("\n\n{{ 1 / 0 }}", r"ZeroDivisionError(.|\n)*line 3"),
        ("{{ nothing.at.all }}", "'nothing' is undefined"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "RecursionError"),
        ("{% if 1 %}" * 9000, "RecursionError"),
        ("x" * 2_000_000, "a template of 2000000 characters"),
    ],
)
def test_a_broken_template_names_its_file(text: str, told: str) -> None:
    with pytest.raises(FormatError, match=told) as caught:
        rendered(text)
    assert "some/file" in str(caught.value)


def test_long_conversations_are_within_the_budget() -> None:
    text = (
        "{% for m in messages %}{% if loop.index0 == messages | length - 1 %}!{% endif %}"
        "{{ (messages[::-1] | first).role }}{{ m.content.split('</think>')[-1] | trim }}"
        "{% endfor %}"
    )
    messages = [{"role": "user", "content": "a" * 20}] * 2000
    assert len(rendered(text, messages)) == 2000 * 24 + 1
    assert len(rendered(text, [{"role": "user", "content": "word " * 400_000}])) > 1_900_000


def folder_of(tmp_path: Path, **files: Any) -> Path:
    for name, value in files.items():
        path = tmp_path / name.replace("__", "/").replace("_json", ".json").replace("_jin", ".jin")
        path.parent.mkdir(exist_ok=True)
        path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return tmp_path


def test_a_folder_says_its_templates_in_three_ways(tmp_path: Path) -> None:
    config = {"bos_token": {"content": "<s>"}, "chat_template": "in the configuration"}
    folder_of(tmp_path, tokenizer_config_json=config)
    assert ChatTemplate.from_folder(tmp_path).render(HI) == "in the configuration"
    folder_of(tmp_path, chat_template_json={"chat_template": "alone"})
    assert ChatTemplate.from_folder(tmp_path).render(HI) == "alone"
    folder_of(tmp_path, chat_template_jinja="{{ bos_token }}a file")
    assert ChatTemplate.from_folder(tmp_path).render(HI) == "<s>a file"


def test_a_template_for_tools_is_taken_with_tools(tmp_path: Path) -> None:
    named = [{"name": n, "template": f"for {n}"} for n in ("default", "tool_use")]
    folder_of(tmp_path, tokenizer_config_json={"chat_template": named})
    template = ChatTemplate.from_folder(tmp_path)
    assert template.render(HI) == "for default"
    assert template.render(HI, tools=[{"name": "add"}]) == "for tool_use"


def test_a_folder_without_a_template_says_so(tmp_path: Path) -> None:
    template = ChatTemplate.from_folder(tmp_path)
    assert not template
    with pytest.raises(FormatError, match="has no chat template"):
        template.render(HI)


@pytest.mark.parametrize("wrong", [5, [5], [{"name": "default"}], {"default": "x"}])
def test_a_template_that_is_no_text_is_named(tmp_path: Path, wrong: Any) -> None:
    folder_of(tmp_path, tokenizer_config_json={"chat_template": wrong})
    with pytest.raises(FormatError, match=r"chat_template is (.|\n)*tokenizer_config.json"):
        ChatTemplate.from_folder(tmp_path)


@pytest.fixture(scope="module")
def tokenizer(fixtures: Path) -> Tokenizer:
    return Tokenizer.from_folder(fixtures / "pydoc-llama")


def ids_of(tokenizer: Tokenizer, *contents: Any, text: str = CHATML) -> list[int]:
    messages = [{"role": "user", "content": content} for content in contents]
    return ChatTemplate({"default": text}, {}).encode(tokenizer, messages)


def test_special_tokens_of_the_template_are_special_and_no_bos_is_added(
    tokenizer: Tokenizer,
) -> None:
    ids = ids_of(tokenizer, "def")
    assert ids == tokenizer.encode(
        "<s>user\ndef</s>\n<s>assistant\n", special=True, add_special_tokens=False
    )
    assert ids.count(tokenizer.bos_id) == 2 and ids.count(tokenizer.eos_id) == 1


PARTS = "{{ bos_token }}{% for part in messages[0].content %}{{ part.text | trim }}{% endfor %}"


@pytest.mark.parametrize("content", ["</s>", "a </s> b", "</s></s>x<s>", "  </s>\n", "<s></s"])
def test_special_tokens_of_a_text_are_text(tokenizer: Tokenizer, content: str) -> None:
    ids = ids_of(tokenizer, content)
    assert ids.count(tokenizer.bos_id) == 2 and ids.count(tokenizer.eos_id) == 1
    whole = "<s>user\n" + content.strip() + "</s>\n<s>assistant\n"
    assert tokenizer.decode(ids, special=True) == whole
    first = tokenizer.encode("user\n" + content.strip(), add_special_tokens=False)
    assert ids[1 : 1 + len(first)] == first


@pytest.mark.parametrize("cut", range(1, 4))
def test_texts_that_a_template_joins_make_no_special_token(tokenizer: Tokenizer, cut: int) -> None:
    parts = [{"text": "</s>"[:cut] + " "}, {"text": " " + "</s>"[cut:]}]
    ids = ids_of(tokenizer, parts, text=PARTS)
    assert tokenizer.eos_id not in ids
    assert tokenizer.decode(ids, special=True) == "</s>"


def test_a_role_may_be_a_part_of_a_special_token(tokenizer: Tokenizer) -> None:
    text = "{% for m in messages %}<{{ m.role }}>{% endfor %}"
    template = ChatTemplate({"default": text}, {})
    ids = template.encode(tokenizer, [{"role": "s", "content": "</s>"}])
    assert ids == [tokenizer.bos_id]


def test_marks_go_when_json_has_escaped_them(tokenizer: Tokenizer) -> None:
    text = "{{ messages[0].content | tojson(ensure_ascii=True) }}"
    ids = ids_of(tokenizer, "a</s>\ufdd0", text=text)
    assert tokenizer.decode(ids, special=True) == '"a</s>\\ufdd0"'


@pytest.mark.parametrize(
    ("said", "error", "part"),
    [
        ({"role": "user"}, ValueError, "message 1 has no content"),
        ({"role": "user", "content": None}, ValueError, "message 1 has no content"),
        ({"role": "user", "content": 5}, TypeError, "content of message 1 is int"),
        ({"role": "user", "content": True}, TypeError, "content of message 1 is bool"),
    ],
    ids=str,
)
def test_a_message_without_content_is_named(
    said: dict[str, Any], error: type[Exception], part: str
) -> None:
    template = ChatTemplate({"default": "{% for m in messages %}{{ m.content }}{% endfor %}"}, {})
    with pytest.raises(error, match=part):
        template.render([{"role": "user", "content": "hi"}, said])
    called = {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]}
    assert template.render([{"role": "user", "content": "hi"}, called]) == "hi"
