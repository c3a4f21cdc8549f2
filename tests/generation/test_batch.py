"""Several prompts at once: each text is what it would be alone."""

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation import batch
from numbatorch.generation.batch import Batches, Rows, chunks
from numbatorch.generation.chat_template import ChatTemplate
from numbatorch.generation.text_generator import TextGenerator
from tests.models.build import llama_config, llama_weights, write_folder

PROMPTS = [
    *["The for statement", "def f(x):\n    return", "x", "class Foo:", ""],
    *["import os\n\n" * 9, "Return the", "while True:", "The quick brown fox. " * 12, "for"],
]


@pytest.fixture(scope="module")
def generator(fixtures: Path) -> TextGenerator:
    return TextGenerator(fixtures / "pydoc-llama")


def alone(generator: TextGenerator, prompts: list[Any], tokens: int, **how: Any) -> list[str]:
    return [generator.generate(prompt, tokens, **how) for prompt in prompts]


@pytest.mark.parametrize("count", [1, 2, 3, 10])
def test_prompts_of_unequal_length(generator: TextGenerator, count: int) -> None:
    """Ten are more than there are rows: those that end make room."""
    prompts = PROMPTS[:count]
    assert generator.generate(prompts, 20) == alone(generator, prompts, 20)


def test_texts_end_one_by_one(generator: TextGenerator) -> None:
    stop = ["\n", "e"]
    found = generator.generate(PROMPTS, 60, stop=stop)
    assert found == alone(generator, PROMPTS, 60, stop=stop)
    assert len({len(text) for text in found}) > 3


def test_texts_outgrow_the_memory(generator: TextGenerator, monkeypatch: Any) -> None:
    monkeypatch.setattr(batch, "LEAST", 32)
    monkeypatch.setattr(batch, "ROWS", 4)
    other = copy.copy(generator)
    other._batches = type(generator._batches)()
    prompts = PROMPTS[:7]
    assert other.generate(prompts, 90) == alone(generator, prompts, 90)


def test_the_context_can_be_filled(generator: TextGenerator) -> None:
    prompts = [[5] * 505, [7] * 3, [5] * 510]
    assert generator.generate(prompts, 2) == alone(generator, prompts, 2)
    whole = generator.generate([[5] * 505, [9] * 500])
    assert whole == [generator.generate([5] * 505), generator.generate([9] * 500)]


def test_text_number_n_draws_as_with_the_nth_seed(generator: TextGenerator) -> None:
    how: dict[str, Any] = {"temperature": 1.0, "top_k": 20}
    found = generator.generate(["The for"] * 4, 12, seed=3, **how)
    assert found == [generator.generate("The for", 12, seed=3 + n, **how) for n in range(4)]
    assert len(set(found)) > 1


def test_ids_and_tuples_serve_as_prompts(generator: TextGenerator) -> None:
    ids = [generator.tokenizer.encode(prompt) for prompt in PROMPTS[:3]]
    expected = alone(generator, PROMPTS[:3], 8)
    assert generator.generate(ids, 8) == expected
    assert generator.generate(tuple(PROMPTS[:3]), 8) == expected
    assert generator.generate([np.array(row) for row in ids], 8) == expected
    assert generator.generate([ids[0], PROMPTS[1], ids[2]], 8) == expected


def test_no_prompt_and_no_token(generator: TextGenerator) -> None:
    assert generator.generate(PROMPTS[:2], 0) == ["", ""]
    with pytest.raises(ValueError, match="the prompt is empty"):
        generator.generate([])


@pytest.mark.parametrize(
    ("prompts", "error", "part"),
    [
        (["x", b"y"], TypeError, "the prompt is bytes(.|\n)*prompt 1"),
        (["x", "y", [5] * 600], nt.OutOfRange, "do not fit(.|\n)*prompt 2"),
        ([[1], [10**9]], nt.OutOfRange, "not in the vocabulary(.|\n)*prompt 1"),
    ],
)
def test_the_prompt_that_is_wrong_is_named(
    generator: TextGenerator, prompts: list[Any], error: type[Exception], part: str
) -> None:
    with pytest.raises(error, match=part):
        generator.generate(prompts, 4)


def test_memories_and_plans_are_kept(generator: TextGenerator) -> None:
    generator.generate(PROMPTS[:2], 4)
    (batches,) = generator._batches
    memory = batches.memory(2)
    generator.generate(["y", "zz"], 4)
    assert generator._batches[0] is batches and batches.memory(2) is memory
    for copied in (copy.deepcopy(generator), pickle.loads(pickle.dumps(generator))):
        assert copied.generate(PROMPTS[:2], 4) == alone(generator, PROMPTS[:2], 4)


def test_angles_that_depend_on_the_length_take_turns(
    generator: TextGenerator, tmp_path: Path, monkeypatch: Any
) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}
    config = llama_config(rope_parameters=rope)
    folder = write_folder(tmp_path, config, llama_weights(config))
    assert not Batches(nt.models.from_pretrained(folder, device="cpu")).fixed  # type: ignore[arg-type]
    batches = Batches(generator.model)
    assert batches.fixed
    batches.fixed = False
    monkeypatch.setattr(generator, "_batches", type(generator._batches)([batches]))
    assert generator.generate(PROMPTS[:3], 9) == alone(generator, PROMPTS[:3], 9)
    assert not batches.capacity


@pytest.mark.parametrize("tokens", [1, 2, 3, 255, 256, 257, 600])
def test_chunks_are_powers_of_two(tokens: int) -> None:
    sizes = chunks(tokens)
    assert sum(sizes) == tokens
    assert all(size & (size - 1) == 0 and size <= 256 for size in sizes)


@pytest.mark.parametrize("window", [None, 6])
def test_rows_see_their_own_text_only(tmp_path: Path, window: int | None) -> None:
    """Logits beside those of each text alone, also where attention has a window."""
    changes: dict[str, Any] = {"num_hidden_layers": 2, "max_position_embeddings": 64}
    if window is not None:
        changes |= {"sliding_window": window, "model_type": "mistral"}
        changes |= {"architectures": ["MistralForCausalLM"]}
    config = llama_config(**changes)
    folder = write_folder(tmp_path, config, llama_weights(config))
    model: Any = nt.models.from_pretrained(folder, device="cpu")
    rng = np.random.default_rng(0)
    texts = [rng.integers(3, 60, size).tolist() for size in (13, 4, 1, 9)]
    batches = Batches(model)
    batches.reserve(32)
    rows = Rows(batches, 4, 13)
    for row, text in enumerate(texts):
        found = rows.place(row, text)
        assert np.abs(found - model.logits(text)[-1]).max() < 1e-4
    for _ in range(8):
        for text in texts:
            text.append(int(rng.integers(3, 60)))
        found = rows.step([text[-1] for text in texts])
        for row, text in enumerate(texts):
            assert np.abs(found[row] - model.logits(text)[-1]).max() < 1e-4
    texts[1] = rng.integers(3, 60, 11).tolist()  # another text in a row that was in use
    assert np.abs(rows.place(1, texts[1]) - model.logits(texts[1])[-1]).max() < 1e-4


def test_conversations_are_answered_as_one_by_one(generator: TextGenerator) -> None:
    other = copy.copy(generator)
    text = "{% for m in messages %}{{ m.content }}\n{% endfor %}{{ word }}"
    other.template = ChatTemplate({"default": text}, {})
    said = ["The for statement", "def f(x):", "import os"]
    talks = [[{"role": "user", "content": each}] for each in said]
    talks[1].append({"role": "assistant", "content": "    return"})
    expected = [other.generate(messages=talk, max_tokens=12) for talk in talks]
    assert len(set(expected)) == 3
    assert other.generate(talks, 12) == expected
    assert other.generate(messages=talks, max_tokens=12) == expected
    variables = {"word": "while"}
    found = other.generate(talks, 12, variables=variables)
    assert found == [other.generate(messages=t, max_tokens=12, variables=variables) for t in talks]
    assert found != expected
    mixed = [talks[0], "class Foo:"]
    assert other.generate(mixed, 12) == [expected[0], other.generate("class Foo:", 12)]  # type: ignore[call-overload]
    with pytest.raises(ValueError, match=r"no role(.|\n)*prompt 1 of 2"):
        other.generate([talks[0], [{"content": "x"}]], 4)
    with pytest.raises(TypeError, match="both a prompt and messages"):
        other.generate(talks, 4, messages=talks[0])
