"""Schemas of tools beside transformers', and calls as the templates of models write them."""

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

from numbatorch.generation.chat_template import ChatTemplate
from numbatorch.generation.tools import FORMATS, dialect_of, json_schema, parse

utils = pytest.importorskip("transformers.utils.chat_template_utils")

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
# What llama.cpp's tests say that these templates write; the others of the same kind are alike.
SHOWN = {
    "NousResearch-Hermes-2-Pro-Llama-3-8B-tool_use": "hermes",
    "NousResearch-Hermes-3-Llama-3.1-8B-tool_use": "hermes",
    "Qwen-Qwen2.5-7B-Instruct": "hermes",
    "Qwen-Qwen3-0.6B": "hermes",
    "Qwen-QwQ-32B": "hermes",
    "MiMo-VL": "hermes",
    "ibm-granite-granite-4.0": "hermes",
    "Qwen3-Coder": "qwen_xml",
    "Qwen3.5-4B": "qwen_xml",
    "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "qwen_xml",
    "mistralai-Mistral-Nemo-Instruct-2407": "mistral",
    "Mistral-Small-3.2-24B-Instruct-2506": "mistral_args",
    "unsloth-mistral-Devstral-Small-2507": "mistral_args",
    "meta-llama-Llama-3.1-8B-Instruct": "llama",
    "meta-llama-Llama-3.2-3B-Instruct": "llama",
    "meetkai-functionary-medium-v3.1": "functionary",
    "LFM2.5-8B-A1B": "lfm2",
}
ARGUMENTS: list[dict[str, Any]] = [
    {"text": "a"},
    {"text": "a \"quoted\" <b> & 'c'\n\tünï 😀 \\ {} [] </x>", "count": 3},
    {"text": "12", "flag": True, "ratio": 0.5, "none": None},
    {"items": [1, "2", [True]], "object": {"a": {"b": "}"}}},
]
KINDS: dict[str, Any] = {
    "text": {"type": "string"},
    "count": {"type": "integer"},
    "flag": {"type": "boolean"},
    "ratio": {"type": "number"},
    "none": {"type": ["string", "null"]},
    "items": {"type": "array"},
    "object": {"type": "object"},
}


def tool(form: str) -> dict[str, Any]:
    """Only where values have no quotes, types matter; some templates do not know of all."""
    kinds = KINDS if form == "qwen_xml" else {"text": KINDS["text"]}
    parameters = {"type": "object", "properties": kinds, "required": ["text"]}
    function = {"name": "a_tool", "description": "does", "parameters": parameters}
    return {"type": "function", "function": function}


class NoTokens:
    def token_id(self, text: str) -> None:
        return None


@pytest.mark.parametrize("name", SHOWN)
def test_calls_are_read_as_templates_write_them(name: str, vocabularies: Path) -> None:
    """transformers renders; the call has to come back out of it as it was."""
    text = (vocabularies / f"{name}.jinja").read_text("utf-8")
    dialect = dialect_of(ChatTemplate({"default": text}, TOKENS), NoTokens())  # type: ignore[arg-type]
    assert dialect.form is FORMATS[SHOWN[name]] and dialect.shows
    tools = [tool(dialect.form.name)]

    def rendered(messages: list[Any], **how: Any) -> str:
        given = {"tools": tools, **TOKENS, **how}
        found, _ = utils.render_jinja_template([messages], chat_template=text, **given)
        return str(found[0])

    user = {"role": "user", "content": "Go on."}
    # The template of LFM2.5 puts quotes around texts that have quotes.
    for arguments in ARGUMENTS if dialect.form.name != "lfm2" else [*ARGUMENTS[:1], *ARGUMENTS[2:]]:
        function = {"name": "a_tool", "arguments": arguments}
        call = {"type": "function", "id": "abcdefghi", "function": function}
        said = {"role": "assistant", "content": "", "tool_calls": [call]}
        prompt = rendered([user], add_generation_prompt=dialect.form.first)
        whole = rendered([user, said])
        assert whole.startswith(prompt[:-20])
        _, calls = parse(whole[len(prompt) :], dialect.form, tools)
        found = [(call.name, call.arguments) for call in calls]
        assert found == [("a_tool", arguments)], arguments


def test_a_template_is_never_given_another_format(vocabularies: Path) -> None:
    paths = sorted(vocabularies.glob("*.jinja"))
    found = {}
    for path in paths:
        template = ChatTemplate({"default": path.read_text("utf-8")}, TOKENS, str(path))
        try:
            found[path.stem] = dialect_of(template, NoTokens()).form.name  # type: ignore[arg-type]
        except ValueError:
            pass
    assert {name: found[name] for name in SHOWN} == SHOWN
    for name in found:  # those have formats of their own
        assert not name.startswith(("GLM", "Kimi", "MiniMax", "Cohere", "openai", "deepseek"))


class Color(enum.Enum):
    RED = "red"
    TWO = 2


def plain(a: int, b: float, c: str = "x", d: bool = True) -> str:
    """Do it.

    Args:
        a: The first.
        b (float): The second, which
            goes on: here.
        c: The third (choices: ["x", " y "])
        d: note: with a colon.

    Returns:
        What it did,
        in words.

    Raises:
        ValueError: never.
    """
    return f"{a}{b}{c}{d}"


def unions(
    a: int | None, b: str | int | float, c: list[int] | str | None, d: dict[str, list[str]]
) -> None:
    """Several lines
    of description.

    Args:
        a: One.
        b: Two.
        c: Three.
        d: Four.
    """


def others(
    a: Literal["x", 1, None], b: Color, c: tuple[int, str], d: Any, e: list, f: dict, g: tuple
) -> dict[str, int]:
    """Do.

    Args:
        a: One.
        b: Two.
        c: Three.
        d: Four.
        e: Five.
        f: Six.
        g: Seven.
    """
    return {}


def none() -> None:
    """Nothing is needed."""


def unknown_result(a: "list[Literal['p', 'q']]") -> Path:
    """Do it. Args: are told below.

    Args:
      a: One.

      b: is not there.
    Returns:
        A path.
    """
    return Path(a[0])


class Holder:
    def method(self, a: int = 5) -> int:
        """Of an object.

        Args:
            a: One.
        """
        return a


@pytest.mark.parametrize(
    "function", [plain, unions, others, none, unknown_result, Holder.method, Holder().method]
)
def test_schemas_equal_those_of_transformers(function: Callable[..., Any]) -> None:
    assert json_schema(function) == utils.get_json_schema(function)


@pytest.mark.parametrize("text", ["typed", "path", "docless"])
def test_what_transformers_refuses_is_refused(text: str) -> None:
    def typed(a) -> None:  # type: ignore[no-untyped-def]
        """Do.

        Args:
            a: One.
        """

    def path(a: Path | None) -> None:
        """Do.

        Args:
            a: One.
        """

    def docless(a: int) -> None: ...

    function = {"typed": typed, "path": path, "docless": docless}[text]
    with pytest.raises(Exception, match=r"."):
        utils.get_json_schema(function)
    with pytest.raises((TypeError, ValueError), match=text):
        json_schema(function)
