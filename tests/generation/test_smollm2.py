"""SmolLM2-135M-Instruct in Q4_1 beside its recorded conversations."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.decoder import Decoder
from numbatorch.generation.text_generator import TextGenerator

CASES = ("capital", "haiku", "turns", "unicode")


@pytest.fixture(scope="module")
def expected(fixtures: Path) -> dict[str, Any]:
    return dict(json.loads((fixtures / "smollm2" / "expected.json").read_bytes()))


@pytest.fixture(scope="module")
def generator(smollm2: Path) -> TextGenerator:
    return TextGenerator(smollm2)


@pytest.fixture(scope="module")
def exact(smollm2: Path) -> TextGenerator:
    return TextGenerator(smollm2, compute="float32")


@pytest.mark.parametrize("name", CASES)
def test_prompts_and_their_ids_are_the_recorded_ones(
    name: str, generator: TextGenerator, expected: dict[str, Any]
) -> None:
    case = expected[name]
    assert generator.template.render(case["messages"]) == case["prompt"]
    assert generator.template.encode(generator.tokenizer, case["messages"]) == case["prompt_ids"]


@pytest.mark.parametrize("name", CASES)
def test_float32_gives_the_recorded_answers(
    name: str, exact: TextGenerator, expected: dict[str, Any]
) -> None:
    case = expected[name]
    answer = exact.stream(messages=case["messages"], max_tokens=48)
    assert "".join(answer) == case["text"]
    assert answer.ids == [id for id in case["ids"] if id not in exact.tokenizer.end_ids]


def chances(
    generator: TextGenerator, case: dict[str, Any]
) -> tuple[list[float], list[tuple[int, float]]]:
    """Fed with the recorded ids: differences from their log-probabilities, and where another id
    was likelier than the recorded one, with the recorded margin."""
    decoder, apart, others = Decoder(generator.model), [], []
    logits = decoder.feed(case["prompt_ids"])
    for step, id in enumerate(case["ids"]):
        shifted = logits.astype(np.float64) - logits.max()
        chance = shifted[id] - np.log(np.exp(shifted).sum())
        apart.append(abs(chance - case["logprobs"][step]))
        if logits.argmax() != id:
            others.append((step, case["margin"][step]))
        logits = decoder.feed([id])
    return apart, others


@pytest.mark.parametrize("name", CASES)
def test_float32_gives_the_recorded_chances(
    name: str, exact: TextGenerator, expected: dict[str, Any]
) -> None:
    """They are rounded to five digits."""
    apart, others = chances(exact, expected[name])
    assert max(apart) < 1e-3 and not others


def test_rounded_activations_are_nearer_than_those_of_llama_cpp(
    generator: TextGenerator, expected: dict[str, Any]
) -> None:
    ours, theirs = [], []
    for name in CASES:
        apart, others = chances(generator, expected[name])
        assert all(margin <= 1 for _, margin in others), name
        ours.append(np.mean(apart))
        theirs.append(expected[name]["llama_cpp_mean_abs"])
    assert np.mean(ours) <= 0.8 * np.mean(theirs)


def test_a_way_to_compute_that_is_not_there_is_named(smollm2: Path) -> None:
    words = 'compute is \'float64\'; it must be "float32", "bfloat16" or None'
    with pytest.raises(ValueError, match=words):
        TextGenerator(smollm2, compute="float64")  # type: ignore[arg-type]


def test_weights_in_blocks_are_not_for_bfloat16(smollm2: Path) -> None:
    with pytest.raises(ValueError, match=r"which Q8_0 is not rounded to\n  weight of .*\n.*hint: "):
        TextGenerator(smollm2, compute="bfloat16")


def test_a_conversation_keeps_the_turn_before(generator: TextGenerator) -> None:
    chat = nt.Chat(generator, system="You answer in one short sentence.")
    chat.send("Why is the sky blue?", 8)
    answer = chat.stream("And the sea?", 8)
    text = "".join(answer)
    assert len(text) > 5
    counts = answer.counts
    assert counts.kept_tokens >= 30 and counts.prompt_tokens - counts.kept_tokens <= 16
