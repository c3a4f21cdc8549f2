"""What is wrong with an argument of a generation is said by its name, at the call."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.samplers import TopK
from numbatorch.generation.text_generator import TextGenerator

PROMPT = "The for statement"


@pytest.fixture(scope="module")
def generator(fixtures: Path) -> TextGenerator:
    return TextGenerator(fixtures / "pydoc-llama")


OUT_OF_RANGE: dict[str, list[Any]] = {
    "max_tokens": [-1],
    "seed": [-1],
    "logprobs": [-1],
    "temperature": [-0.1, float("nan"), float("inf"), 10**400, 1e39],
    "dynatemp_range": [-1.0],
    "dynatemp_exponent": [float("inf")],
    "top_k": [-1],
    "top_p": [0.0, 1.5, float("nan")],
    "min_p": [-0.1, 1.1],
    "typical_p": [0.0, 2.0],
    "top_n_sigma": [-1.0],
    "xtc_probability": [-0.5, 1.5],
    "xtc_threshold": [0.0],
    "min_keep": [-1],
    "repeat_penalty": [0.0, float("inf"), 1e-50],
    "frequency_penalty": [float("nan")],
    "presence_penalty": [float("inf")],
    "repeat_last_n": [-2],
    "dry_multiplier": [-1.0],
    "dry_base": [0.5],
    "dry_allowed_length": [-1],
    "dry_last_n": [-2],
    "mirostat": [3],
    "an id of logit_bias": [{2**70: 1.0}],
    "logit_bias of token 1": [{1: 1e39}, {1: float("nan")}],
}
WRONG_TYPE: dict[str, list[Any]] = {
    "max_tokens": [1.5, "3", [3]],
    "seed": [1.5, "a", float("nan")],
    "logprobs": [0.5],
    "stop": [None, 5, b"end", [b"end"], [None], nt.tensor(0.5)],
    "temperature": ["0.5", None, [0.5], 1j],
    "top_k": [1.5, None],
    "top_p": ["a"],
    "repeat_last_n": [2.5],
    "logit_bias": [[1, 2], {1: "a"}, {"a": 1.0}, {1.5: 1.0}],
    "dry_sequence_breakers": [None, [3], nt.tensor(0.5)],
    "samplers": [5, "top_k", [5], [TopK], np.array(5)],
    "mirostat": [None, 1.0, np.array([1.0])],
    "special": [None, "yes"],
    "json_schema": [5, b"{}", {"enum": {1, 2}}],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in OUT_OF_RANGE for value in OUT_OF_RANGE[name]]
)
def test_a_number_out_of_its_range(generator: TextGenerator, name: str, value: Any) -> None:
    argument = "logit_bias" if "logit_bias" in name else name
    with pytest.raises(nt.OutOfRange, match=rf": {name} is .*must be"):
        generator.stream(PROMPT, **{argument: value})


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in WRONG_TYPE for value in WRONG_TYPE[name]]
)
def test_a_value_of_another_type(generator: TextGenerator, name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=name) as info:
        generator.stream(PROMPT, **{name: value})
    assert isinstance(info.value, TypeError) or value == "top_k"


@pytest.mark.parametrize("prompt", [b"The", bytearray(b"The"), memoryview(b"The")])
def test_bytes_are_no_ids(generator: TextGenerator, prompt: Any) -> None:
    with pytest.raises(TypeError, match=r"the prompt is \w+, neither a text nor token ids"):
        generator.generate(prompt, 3)


@pytest.mark.parametrize("prompt", [{1, 2}, {1: 2}, nt.tensor(1), [1.5], 5, [None]])
def test_what_is_neither_a_text_nor_ids(generator: TextGenerator, prompt: Any) -> None:
    with pytest.raises(TypeError, match="the prompt is neither a text nor token ids"):
        generator.generate(prompt, 3)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"messages": [{"role": "user", "content": b"a"}]}, "message 0 holds bytes"),
        ({"tools": [{"f": {1}}]}, "tools holds set"),
        ({"variables": 5}, "variables is int"),
        ({"variables": {5: 1}}, "variables has the name 5"),
        ({"variables": {"messages": []}}, "variables has messages, which is an argument"),
        ({"variables": {"tokenizer": 1}}, "variables has tokenizer, which is an argument"),
        ({"variables": {"x": object()}}, "x holds object"),
    ],
)
def test_what_a_template_cannot_be_given(
    generator: TextGenerator, how: dict[str, Any], told: str
) -> None:
    messages = [{"role": "user", "content": "a"}]
    with pytest.raises(TypeError, match=told):
        generator.generate(**{"messages": messages, "max_tokens": 3, **how})


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("prompt", {"prompt": "a\ud800"}),
        ("message 0", {"prompt": None, "messages": [{"role": "user", "content": "a\ud800"}]}),
        ("stop", {"stop": "a\ud800"}),
        ("stop", {"stop": ["b", "a\ud800"]}),
        ("dry_sequence_breakers", {"dry_sequence_breakers": ["a\ud800"]}),
    ],
)
def test_half_of_a_surrogate_pair(generator: TextGenerator, name: str, how: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"{name} holds a lone surrogate, U\+D800 at character 1"):
        generator.generate(**{"prompt": PROMPT, "max_tokens": 3, **how})


def test_an_argument_that_is_not_there(generator: TextGenerator) -> None:
    with pytest.raises(TypeError, match="there is no argument temprature"):
        generator.generate(PROMPT, 3, temprature=0.5)


def test_an_option_that_no_sampler_takes(generator: TextGenerator) -> None:
    with pytest.raises(ValueError, match="top_p is given, which no sampler of the chain takes"):
        generator.generate(PROMPT, 3, samplers=["top_k", "temperature"], top_p=0.5)
    with pytest.raises(ValueError, match="top_k is given, which no"):
        generator.generate(PROMPT, 3, mirostat=2, top_k=4)
    with pytest.raises(ValueError, match="samplers has 'topk'"):
        generator.generate(PROMPT, 3, samplers=["topk"])


def test_a_bias_of_a_token_that_is_not_there(generator: TextGenerator) -> None:
    with pytest.raises(nt.OutOfRange, match="logit_bias has token 2048"):
        generator.generate(PROMPT, 3, logit_bias={2048: 1.0})


def test_numbers_of_numpy_serve(generator: TextGenerator) -> None:
    how: dict[str, Any] = {"temperature": np.float32(0.5), "seed": np.int64(3), "top_k": np.int8(5)}
    text = generator.generate(PROMPT, np.int32(5), **how)  # type: ignore[arg-type]
    assert text == generator.generate(PROMPT, 5, temperature=0.5, seed=3, top_k=5)


def test_logprobs_are_those_of_the_model(generator: TextGenerator) -> None:
    how: dict[str, Any] = {"temperature": 2.0, "top_k": 5, "seed": 0}
    generation = generator.stream(PROMPT, 6, logprobs=3, **how)
    assert "".join(generation) == generator.generate(PROMPT, 6, **how)
    prompt = generator.tokenizer.encode(PROMPT)
    logits = generator.model.logits([*prompt, *generation.ids])[len(prompt) - 1 : -1]
    exact = logits.astype(np.float64)
    exact -= np.log(np.exp(exact).sum(-1, keepdims=True))
    assert [found.id for found in generation.logprobs] == generation.ids
    for row, found in zip(exact, generation.logprobs, strict=True):
        assert abs(found.logprob - row[found.id]) < 1e-3
        assert np.abs(np.sort(row)[::-1][:3] - [value for _, value in found.top]).max() < 1e-3
    assert generator.stream(PROMPT, 6).logprobs == []


def test_samplers_see_the_text_grow(generator: TextGenerator) -> None:
    """A frequency penalty that is large enough: no token comes twice."""
    for how in ({"repeat_last_n": -1}, {}):
        generation = generator.stream(PROMPT, 40, frequency_penalty=100.0, **how)
        list(generation)
        ids = [*generator.tokenizer.encode(PROMPT), *generation.ids]
        assert len(set(ids)) == len(ids)


def test_dry_ends_a_repetition(generator: TextGenerator) -> None:
    ids = generator.tokenizer.encode("a b c d e f")
    prompt, last = [*ids, *ids[:-1]], ids[-1]
    for multiplier in (0.0, 100.0):
        generation = generator.stream(prompt, 1, logit_bias={last: 30}, dry_multiplier=multiplier)
        list(generation)
        assert (generation.ids == [last]) == (multiplier == 0)
