"""What models write where they call tools, and what it means.

Taken from llama.cpp's tests/test-chat.cpp, but for the formats gemma and python:
https://ai.google.dev/gemma/docs/capabilities/function-calling and
https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_2.
"""

import json
from typing import Any


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
