"""The recorded outputs of the small Llama, from every file whose types are computed on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numbatorch.generation.decoder import Decoder
from numbatorch.generation.text_generator import TextGenerator
from numbatorch.models.llama import Llama
from numbatorch.ops import blocks
from tests import pydoc_llama

EXPECTED = json.loads((pydoc_llama.CARRIED / "expected.json").read_text(encoding="utf-8"))
LOGITS = np.load(pydoc_llama.CARRIED / "expected_logits.npz")
KNOWN = {*blocks.names(), "F32", "F16", "BF16"}
TYPES = {record["file"]: record["types"] for record in EXPECTED["generate"]}
FILES = [file for file, types in TYPES.items() if set(types) <= KNOWN]
SLOW = {f"pydoc-llama-{kind}.gguf" for kind in ("q3_k_m", "q5_1", "q5_k_m")}
PARAMS = [pytest.param(file, marks=pytest.mark.slow if file in SLOW else ()) for file in FILES]


@pytest.fixture(scope="module", params=PARAMS)
def file(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def generator(file: str, tmp_path_factory: pytest.TempPathFactory) -> TextGenerator:
    path = pydoc_llama.find(file, tmp_path_factory.mktemp("files"))
    return TextGenerator(path.parent if file == "model.safetensors" else path)


def records(file: str) -> list[dict[str, Any]]:
    found = [record for record in EXPECTED["generate"] if record["file"] == file]
    assert found
    return found


def test_the_files_of_the_issue_are_tested() -> None:
    assert set(FILES) == set(TYPES)
    assert len(FILES) >= 15


def test_logits_of_the_first_step(file: str, generator: TextGenerator) -> None:
    for record in records(file):
        assert generator.tokenizer.encode(record["prompt"]) == record["ids"]
        logits = Decoder(generator.model).feed(record["ids"])
        assert np.abs(logits - LOGITS[record["logits"]]).max() <= record["tol"]


def test_greedy_continuation(file: str, generator: TextGenerator) -> None:
    for record in records(file):
        generation = generator.stream(record["prompt"], len(record["greedy"]))
        text = "".join(generation)
        ends = [generator.tokenizer.eos_id] if generation.finish == "end" else []
        assert (generation.ids + ends)[: record["stable"]] == record["greedy"][: record["stable"]]
        if generation.ids + ends == record["greedy"]:
            assert text == record["text"]


def likelihoods(model: Llama, ids: list[int]) -> np.ndarray:
    """Negative log-likelihood in nats of each token after the first."""
    logits = model.logits(ids)[:-1].astype(np.float64)
    shifted = logits - logits.max(-1, keepdims=True)
    log_sums = np.log(np.exp(shifted).sum(-1))
    return log_sums - shifted[np.arange(len(ids) - 1), ids[1:]]


def test_likelihood_of_each_token(file: str, generator: TextGenerator) -> None:
    (record,) = [r for r in EXPECTED["nll"] if r["file"] == file]
    difference = np.abs(likelihoods(generator.model, record["ids"]) - record["nll"])
    assert difference.mean() <= 1.2 * record["llama_cpp_mean_abs"] + 1e-4


def test_likelihoods_one_token_at_a_time(file: str, generator: TextGenerator) -> None:
    """Through the cache, as a continuation is generated."""
    (record,) = [r for r in EXPECTED["nll"] if r["file"] == file]
    decoder, found = Decoder(generator.model), []
    for id, following in zip(record["ids"], record["ids"][1:], strict=False):
        logits = decoder.feed([id]).astype(np.float64)
        shifted = logits - logits.max()
        found.append(np.log(np.exp(shifted).sum()) - shifted[following])
    difference = np.abs(np.array(found) - record["nll"])
    assert difference.mean() <= 1.2 * record["llama_cpp_mean_abs"] + 1e-4


@pytest.mark.parametrize("kind", ["q8_0", "f16", "q4_k_m"])
def test_the_reference_device_agrees(kind: str, tmp_path: Path) -> None:
    """Device "numpy" on decoded weights is what the fixture recorded."""
    name = f"pydoc-llama-{kind}.gguf"
    generator = TextGenerator(pydoc_llama.find(name, tmp_path), device="numpy")
    for record in records(name)[:2]:
        logits = Decoder(generator.model).feed(record["ids"])
        assert np.abs(logits - LOGITS[record["logits"]]).max() <= 1e-3
        generation = generator.stream(record["prompt"], 5)
        list(generation)
        assert generation.ids == record["greedy"][:5]
