"""Templates of chats beside transformers' rendering, and prompts of vocabularies of GGUF files.

The templates are those that llama.cpp's sources carry, which the sdist of llama-cpp-python holds.
"""

from pathlib import Path
from typing import Any

import pytest

from numbatorch.generation.chat_template import ChatTemplate

utils = pytest.importorskip("transformers.utils.chat_template_utils")

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "adds <numbers>",
        "parameters": {
            "type": "object",
            "properties": {
                "a": {"type": "integer", "description": "the first"},
                "b": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["a"],
        },
    },
}
CALL = {"type": "function", "id": "abcdefghi", "function": {"name": "add", "arguments": {"a": 1}}}
SYSTEM = {"role": "system", "content": "Be brief."}
TALK = [
    {"role": "user", "content": "  Hi <there>! 'q' \"d\" & \n"},
    {"role": "assistant", "content": "<think>hm</think>\n\nHello."},
    {"role": "user", "content": "What is 2+2? ünï 😀"},
]
CALLS = [
    SYSTEM,
    TALK[0],
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "name": "add", "tool_call_id": "abcdefghi", "content": "3"},
]
CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "talk": ([SYSTEM, *TALK], {}),
    "without system": (TALK, {}),
    "finished": (TALK[:2], {"add_generation_prompt": False}),
    "tools": ([SYSTEM, *TALK], {"tools": [TOOL]}),
    "calls": (CALLS, {"tools": [TOOL]}),
    "documents": (TALK, {"documents": [{"title": "book", "text": "once"}]}),
    "variables": (TALK, {"enable_thinking": False}),
    "assistant first": (TALK[1:], {}),
}


def outcome(function: Any) -> Any:
    """The text, or that there is none."""
    try:
        return function()
    except Exception:
        return None


def theirs(text: str, messages: list[Any], how: dict[str, Any]) -> str:
    given = [{k: v for k, v in said.items() if v is not None} for said in messages]
    how = {"add_generation_prompt": True, **how, **TOKENS}
    found, _ = utils.render_jinja_template([given], chat_template=text, **how)
    return str(found[0])


@pytest.mark.parametrize("case", CASES)
def test_templates_render_as_in_transformers(case: str, vocabularies: Path) -> None:
    messages, how = CASES[case]
    paths = sorted(vocabularies.glob("*.jinja"))
    assert len(paths) > 50
    written = 0
    for path in paths:
        text = path.read_text("utf-8")
        expected = outcome(lambda text=text: theirs(text, messages, how))
        template = ChatTemplate({"default": text}, TOKENS, str(path))
        assert outcome(lambda t=template: t.render(messages, **how)) == expected, path.name
        written += expected is not None
    assert written > 40


@pytest.mark.parametrize(
    "text",
    [
        "{{ messages | map(attribute='role') | join(', ') }}",
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
        "{%- for m in messages -%}\n  {{- loop.index }}{{ m['content'] | trim | upper -}}"
        "\n{%- endfor -%}",
        "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}"
        "{% endfor %}{{ ns.n }}",
        "{% macro say(x, y='b') %}{{ x ~ y }}{% endmacro %}{{ say('a') }}{{ say(1, y=none) }}",
        "{{ {'b': 1, 'a': [true, none, 1.5, 'é<>&\"']} | tojson }} {{ [1, 2] | tojson(indent=2) }}",
        "{{ {'b': 1, 'a': 'é'} | tojson(True, sort_keys=True, separators=(',', ':')) }}",
        "{{ 'a,b'.split(',')[-1] }} {{ 'x' * 3 }} {{ '%s-%d' % ('a', 5) }}"
        " {{ '{}{}'.format(1, 'b') }}",
        "{% generation %}{% set x = 1 %}{{ messages[1].content }}{% endgeneration %}"
        "{{ x is defined }}",
        "{% for m in messages if m.role == 'user' %}{{ m.content }}{% else %}none{% endfor %}",
        "{{ messages[::-1][0].role }} {{ messages[1:] | length }}"
        " {{ messages[0].missing | default('d') }}",
        "{% for i in range(9) %}{% if i is odd %}{% continue %}{% endif %}{{ i }}{% endfor %}",
        "{{ 2 ** 10 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ 'b' in {'b': 1} }} {{ 1 < 2 < 3 }}"
        " {{ not none }}",
        "{% filter upper %}a{% endfilter %}{% set t %}  x {% endset %}[{{ t }}]",
        "{{ messages | tojson }}{{ tools }}{{ dict(a=1).items() | list }}",
        "{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}"
        "{{ [3, 1] | sort | sum }}",
        "{% call(x) wrap() %}{{ x }}{% endcall %}",
        "{{ messages[0] is mapping }} {{ 'a' is string }} {{ [] is iterable }}"
        " {{ x is undefined }}",
        "{{ 'a' if false }}|{{ none }}|{{ undefined_name }}|{{ true }}|{{ 1.0 }}",
        "{{ raise_exception('no') }}",
    ],
)
def test_what_templates_are_made_of(text: str) -> None:
    messages = [SYSTEM, *TALK]
    expected = outcome(lambda: theirs(text, messages, {}))
    template = ChatTemplate({"default": text}, TOKENS)
    assert outcome(lambda: template.render(messages)) == expected
