"""Output bound to a JSON schema or a grammar: whatever is drawn, it is a text of that language."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbatorch.errors import BackendUnavailable
from numbatorch.generation.samplers import Chain, Grammar, JSONSchema, Text, TopK
from numbatorch.generation.text_generator import TextGenerator

pytest.importorskip("llguidance")

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "count": {"type": "integer", "minimum": 0, "maximum": 99},
        "kind": {"enum": ["function", "class"]},
        "flags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 3},
    },
    "required": ["name", "count", "kind", "flags"],
    "additionalProperties": False,
}
ARITHMETIC = r"""
root ::= term (" " [-+*/] " " term){0,3} "\n"
term ::= [0-9]{1,3} | "(" [a-z]{1,4} ")"
"""


@pytest.fixture(scope="module")
def generator(fixtures: Path) -> TextGenerator:
    return TextGenerator(fixtures / "pydoc-llama")


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_json_keeps_to_its_schema(generator: TextGenerator, temperature: float) -> None:
    for seed in range(4):
        how: dict[str, Any] = {"temperature": temperature, "seed": seed, "json_schema": SCHEMA}
        generation = generator.stream("def", 200, **how)
        text = "".join(generation)
        assert generation.finish == "end"
        found = json.loads(text)
        assert list(found) == list(SCHEMA["properties"])  # type: ignore[call-overload]
        assert len(found["name"]) <= 8 and 0 <= found["count"] <= 99
        assert found["kind"] in ("function", "class")
        assert len(found["flags"]) <= 3 and all(type(flag) is bool for flag in found["flags"])
        assert json.dumps(found, ensure_ascii=False) == text or "\\" in text


def test_a_schema_may_be_text(generator: TextGenerator) -> None:
    text = json.dumps(SCHEMA)
    expected = generator.generate("def", 200, json_schema=SCHEMA)
    assert generator.generate("def", 200, json_schema=text) == expected
    assert generator.generate("def", 200, samplers=[JSONSchema(text), TopK(1)]) == expected


@pytest.mark.parametrize("temperature", [0.0, 1.0, 3.0])
def test_text_keeps_to_its_grammar(generator: TextGenerator, temperature: float) -> None:
    term = r"(\d{1,3}|\([a-z]{1,4}\))"
    for seed in range(4):
        generation = generator.stream(
            "x =", 60, temperature=temperature, seed=seed, grammar=ARITHMETIC
        )
        assert re.fullmatch(rf"{term}( [-+*/] {term}){{0,3}}\n", "".join(generation))
        assert generation.finish == "end"


def test_letters_of_several_bytes(generator: TextGenerator) -> None:
    text = generator.generate("x", 40, temperature=1.0, seed=0, grammar='root ::= "é☃" [一-龥]{2}')
    assert re.fullmatch("é☃[一-龥]{2}", text)


def test_other_samplers_follow_the_grammar(generator: TextGenerator) -> None:
    """A bias that rules a token out, and filters that see only what is allowed."""
    how: dict[str, Any] = {"grammar": 'root ::= "ab" | "cd"', "top_k": 1, "temperature": 1.0}
    first = generator.stream("x", 9, **how)
    text = "".join(first)
    assert text in ("ab", "cd")
    banned = dict.fromkeys(first.ids, -float("inf"))
    other = generator.generate("x", 9, logit_bias=banned, **how)
    assert other in ("ab", "cd")


@pytest.mark.parametrize(
    ("how", "part"),
    [
        ({"grammar": 'root ::= "a" foo'}, "grammar is not well formed(.|\n)*foo"),
        ({"grammar": 'x ::= "a"'}, "grammar is not well formed(.|\n)*root"),
        ({"json_schema": {"type": "nonsense"}}, "json_schema is not well formed(.|\n)*nonsense"),
        ({"json_schema": "{"}, "json_schema is not well formed"),
    ],
)
def test_what_is_not_well_formed(generator: TextGenerator, how: dict[str, Any], part: str) -> None:
    with pytest.raises(ValueError, match=part):
        generator.stream("x", 5, **how)


@pytest.mark.parametrize("how", [{"grammar": 5}, {"json_schema": [1]}])
def test_what_is_no_grammar(generator: TextGenerator, how: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(how))):
        generator.stream("x", 5, **how)


def test_without_the_library_it_says_what_to_install(
    generator: TextGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(BackendUnavailable, match=r"numbatorch\[grammar\]"):
        generator.stream("x", 5, grammar='root ::= "a"')


def test_a_tokenizer_without_an_end_cannot_end() -> None:
    with pytest.raises(ValueError, match="needs a tokenizer with an end"):
        Grammar('root ::= "a"').begin(Text())


def test_tokens_that_a_filter_left_are_looked_up(generator: TextGenerator) -> None:
    text = Text([1], tokenizer=generator.tokenizer)
    logits = np.random.default_rng(0).standard_normal(2048).astype(np.float32)
    whole = Chain([Grammar('root ::= [a-z]{1,9} "!"')], text).left(logits)
    behind = Chain([TopK(300), Grammar('root ::= [a-z]{1,9} "!"')], text).left(logits)
    allowed = set(whole.ids[whole.logits > -np.inf].tolist())
    kept = set(behind.ids.tolist())
    assert set(behind.ids[behind.logits > -np.inf].tolist()) == allowed & kept
    assert allowed - kept and allowed & kept
