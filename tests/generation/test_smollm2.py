"""SmolLM2-135M-Instruct in Q4_1 beside its recorded conversations."""

import json
from pathlib import Path
from typing import Any

import pytest

import numbatorch as nt
from numbatorch.generation.text_generator import TextGenerator

CASES = ("capital", "haiku", "turns", "unicode")


@pytest.fixture(scope="module")
def expected(fixtures: Path) -> dict[str, Any]:
    return dict(json.loads((fixtures / "smollm2" / "expected.json").read_bytes()))


@pytest.fixture(scope="module")
def generator(smollm2: Path) -> TextGenerator:
    return TextGenerator(smollm2)


@pytest.mark.parametrize("name", CASES)
def test_prompts_and_their_ids_are_the_recorded_ones(
    name: str, generator: TextGenerator, expected: dict[str, Any]
) -> None:
    case = expected[name]
    assert generator.template.render(case["messages"]) == case["prompt"]
    assert generator.template.encode(generator.tokenizer, case["messages"]) == case["prompt_ids"]


def test_a_conversation_keeps_the_turn_before(generator: TextGenerator) -> None:
    chat = nt.Chat(generator, system="You answer in one short sentence.")
    chat.send("Why is the sky blue?", 8)
    answer = chat.stream("And the sea?", 8)
    text = "".join(answer)
    assert len(text) > 5
    counts = answer.counts
    assert counts.kept_tokens >= 30 and counts.prompt_tokens - counts.kept_tokens <= 16
