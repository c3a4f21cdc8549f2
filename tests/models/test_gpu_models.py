"""Whole models through the kernels of GPUs: recorded text and embeddings, the CPU's gradients.

Metal's kernels run as C++. CUDA's run on a GPU where there is one, and in numba-cuda's simulator at
tiny shapes: tests/cuda starts a process for them.
"""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.batch import Batches, Rows
from numbatorch.generation.decoder import Decoder
from numbatorch.generation.text_generator import TextGenerator
from numbatorch.models.bert import Bert, BertConfig
from numbatorch.models.llama import Llama, LlamaConfig
from numbatorch.nn import functional
from numbatorch.pipelines.embedder import Embedder
from tests import pydoc_llama
from tests.compare import assert_close
from tests.conftest import SIMULATED
from tests.models.build import BERT, llama_config

EXPECTED = json.loads((pydoc_llama.CARRIED / "expected.json").read_text(encoding="utf-8"))
LOGITS = np.load(pydoc_llama.CARRIED / "expected_logits.npz")
KINDS = ["f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q4_k_m", "q6_k", "iq4_nl"]
DRAWN = 3  # of these kinds, whose products tests/ops and tests/quantized compare with the formats
RECORDS = 2  # of those of a file
TEXTS = 4  # of those of the embeddings
FILES = ["model.safetensors", *(f"pydoc-llama-{kind}.gguf" for kind in KINDS)]

at_full_size = pytest.mark.skipif(SIMULATED, reason="too large for the simulator")


@at_full_size
@pytest.mark.parametrize("file", FILES)
def test_recorded_text_on_gpus(
    file: str, gpu: str, tmp_path: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    draws, slow = random.Random(seed), request.config.getoption("--slow")
    if not (file in [FILES[0], *draws.sample(FILES[1:], DRAWN)] or slow):
        pytest.skip("not drawn by this seed: run with --slow")
    path = pydoc_llama.find(file, tmp_path)
    source = path.parent if file == "model.safetensors" else path
    generator = TextGenerator(source, device=gpu)
    records = [record for record in EXPECTED["generate"] if record["file"] == file]
    assert records
    for record in records if slow else draws.sample(records, RECORDS):
        logits = Decoder(generator.model).feed(record["ids"])
        assert np.abs(logits - LOGITS[record["logits"]]).max() <= record["tol"]
        # What follows is left to the last bits, and no part of the comparison.
        stable, greedy = record["stable"], record["greedy"]
        generation = generator.stream(record["prompt"], min(stable + 1, len(greedy)))
        text = "".join(generation)
        ends = [generator.tokenizer.eos_id] if generation.finish == "end" else []
        assert (generation.ids + ends)[:stable] == greedy[:stable]
        if generation.ids + ends == greedy:
            assert text == record["text"]


@at_full_size
@pytest.mark.filterwarnings("ignore:encode. .* texts are cut")
def test_recorded_embeddings_on_gpus(
    gpu: str, minilm: Path, fixtures: Path, seed: int, request: pytest.FixtureRequest
) -> None:
    recorded = np.load(fixtures / "minilm" / "expected.npz")
    texts = [str(text) for text in recorded["text"]]
    rows = list(range(len(texts)))
    if not request.config.getoption("--slow"):
        rows = random.Random(seed).sample(rows, TEXTS)
    found = Embedder(minilm, device=gpu).encode([texts[row] for row in rows])
    assert np.abs(found - recorded["emb"][rows]).max() <= 1e-5


def tiny_llama(device: str) -> Llama:
    """One layer with seeded weights, which are the same on every device."""
    config = llama_config(
        num_hidden_layers=1, hidden_size=16, intermediate_size=24, vocab_size=24, head_dim=8
    )
    config |= {"num_attention_heads": 2, "num_key_value_heads": 1}
    rng = np.random.default_rng(3)
    model = Llama(LlamaConfig.from_hf(config))
    state = {}
    for name, parameter in model.state_dict().items():
        values = rng.standard_normal(parameter.shape) * (2 * parameter.shape[-1] ** -0.5)
        offset = 1.0 if len(parameter.shape) == 1 else 0.0  # weights of norms
        state[name] = nt.tensor((values + offset).astype(np.float32))
    model.load_state_dict(state)
    return model.to(device)


def greedy(model: Llama, ids: list[int], count: int) -> list[int]:
    """The continuation by the most probable token, through the cache."""
    decoder = Decoder(model)
    logits = decoder.feed(ids)
    found = []
    for _ in range(count):
        found.append(int(logits.argmax()))
        logits = decoder.feed(found[-1:])
    return found


def test_greedy_text_is_the_same_on_every_device(device: str) -> None:
    prompt = [3, 1, 4, 1, 5]
    expected = greedy(tiny_llama("cpu"), prompt, 6)
    assert len(set(expected)) > 4
    assert greedy(tiny_llama(device), prompt, 6) == expected


def gradients(device: str) -> dict[str, Any]:
    """Loss and gradient of every parameter of a tiny language model."""
    model = tiny_llama(device)
    for parameter in model.parameters():
        parameter.requires_grad_()
    ids = nt.tensor([[3, 1, 4, 1, 5, 9]], device=device)
    logits = model(ids[:, :-1])
    loss = functional.cross_entropy(logits.reshape(5, -1), ids[:, 1:].reshape(5))
    store = loss.backward()
    return {"loss": loss.detach().numpy()} | {
        n: store[p].numpy() for n, p in model.named_parameters()
    }


def test_gradients_are_those_of_the_cpu(device: str) -> None:
    expected = gradients("cpu")
    for name, found in gradients(device).items():
        assert_close(found, expected[name], kind="gradient", operator=name)


def test_gradients_of_bert_are_those_of_the_cpu(device: str) -> None:
    changes = {"num_hidden_layers": 1, "hidden_size": 16, "intermediate_size": 24}
    config = BertConfig.from_hf({**BERT, **changes, "num_attention_heads": 2})
    found = []
    for where in ("cpu", device):
        nt.manual_seed(1)
        model = Bert(config).to(where)
        for parameter in model.parameters():
            parameter.requires_grad_()
        ids = nt.tensor([[3, 1, 4], [1, 5, 0]], device=where)
        mask = nt.tensor([[1, 1, 1], [1, 1, 0]], device=where)
        hidden = model(ids, mask)
        store = (hidden * hidden * hidden).mean().backward()
        found.append([store[p].numpy() for p in model.parameters() if p in store])
    for got, want in zip(found[1], found[0], strict=True):
        assert_close(got, want, kind="gradient")


def test_texts_that_go_on_together_on_gpus(gpu: str) -> None:
    """Rows that began at different slots, beside each text alone on the CPU."""
    reference, batches = tiny_llama("cpu"), Batches(tiny_llama(gpu))
    texts = [[5, 6, 7], [9]]
    batches.reserve(16)
    rows = Rows(batches, 2, slot=3)
    for row, text in enumerate(texts):
        assert np.abs(rows.place(row, text) - reference.logits(text)[-1]).max() <= 1e-5
    for text in texts:
        text.append(11)
    found = rows.step([11, 11])
    for row, text in enumerate(texts):
        assert np.abs(found[row] - reference.logits(text)[-1]).max() <= 1e-5
