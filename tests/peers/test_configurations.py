"""Small random models in many configurations, and sampling, beside transformers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.samplers import Chain, Penalties, Text
from numbatorch.generation.samplers.chain import chain
from tests.models.build import llama_config
from tests.peers.sides import Sides, torch

transformers = pytest.importorskip("transformers", reason="pip install transformers")

LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "tied": {"tie_word_embeddings": True},
    "biases": {"attention_bias": True, "mlp_bias": True},
    "one group": {"num_key_value_heads": 1},
    "wide heads": {"head_dim": 24},
    "llama3": {"rope_theta": None, "rope_parameters": LLAMA3},
    "linear": {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_a_llama_that_transformers_saved(
    changes: dict[str, Any], tmp_path: Path, sides: Sides
) -> None:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**llama_config(**changes))
    config._attn_implementation = "eager"
    theirs = transformers.LlamaForCausalLM(config)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path)
    ours = nt.models.from_pretrained(tmp_path)
    ids, torch_ids = sides.integers(0, 80, 2, 33)
    expected = theirs(torch_ids, labels=torch_ids)
    logits = ours(ids)
    assert np.abs(logits.detach().numpy() - expected.logits.detach().numpy()).max() <= 1e-4
    expected.loss.backward()
    nt.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
    references = dict(theirs.named_parameters())
    assert {name for name, _ in ours.named_parameters()} == set(references)
    for name, parameter in ours.named_parameters():
        reference = references[name].grad.numpy()
        difference = np.abs(parameter.grad.numpy() - reference).max()
        # A shift of all keys of a query cancels in its softmax: that gradient is only rounding.
        floor = 1e-6 if name.endswith("k_proj.bias") else 0.0
        assert difference <= 1e-4 * np.abs(reference).max() + floor, name


def test_a_bert_that_transformers_saved(tmp_path: Path, sides: Sides) -> None:
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=64,
        max_position_embeddings=32,
        attn_implementation="eager",
    )
    theirs = transformers.BertModel(config).eval()
    theirs.save_pretrained(tmp_path)
    ours = nt.models.from_pretrained(tmp_path)
    ids, torch_ids = sides.integers(0, 50, 3, 20)
    types, torch_types = sides.integers(0, 2, 3, 20)
    mask, torch_mask = sides.of((np.arange(20) < np.array([[20], [3], [11]])).astype(np.int64))
    with torch.no_grad(), nt.no_grad():
        expected = theirs(torch_ids, attention_mask=torch_mask, token_type_ids=torch_types)
        hidden = ours(ids, mask > 0, types)
        pooled = ours.pooled(hidden)
    shown = mask.numpy()[..., None]
    difference = (hidden.numpy() - expected.last_hidden_state.numpy()) * shown
    assert np.abs(difference).max() <= 1e-5
    assert np.abs(pooled.numpy() - expected.pooler_output.numpy()).max() <= 1e-5


@pytest.mark.parametrize(
    "how",
    [
        {"top_k": 7},
        {"top_p": 0.7},
        {"min_p": 0.1},
        {"top_k": 20, "top_p": 0.8, "min_p": 0.05},
    ],
    ids=str,
)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7])
def test_filters_equal_those_of_transformers(how: dict[str, Any], temperature: float) -> None:
    rng = np.random.default_rng(0)
    warpers = [transformers.TemperatureLogitsWarper(temperature)]
    if "top_k" in how:
        warpers.append(transformers.TopKLogitsWarper(how["top_k"]))
    if "top_p" in how:
        warpers.append(transformers.TopPLogitsWarper(how["top_p"]))
    if "min_p" in how:
        warpers.append(transformers.MinPLogitsWarper(how["min_p"]))
    for _ in range(20):
        logits = (rng.standard_normal(100) * 3).astype(np.float32)
        scores = torch.from_numpy(logits)[None]
        for warper in warpers:
            scores = warper(None, scores)
        shares = torch.softmax(scores, -1)[0].numpy()
        order = ["temperature", "top_k", "top_p", "min_p"]
        found = Chain(chain({"temperature": temperature, **how}, order), Text()).left(logits)
        assert sorted(found.ids.tolist()) == np.flatnonzero(shares).tolist()
        assert np.abs(found.probabilities() - shares[found.ids]).max() <= 1e-6


def test_penalty_equals_that_of_transformers() -> None:
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal(50) * 3).astype(np.float32)
    seen = rng.integers(0, 50, 30).tolist()
    processor = transformers.RepetitionPenaltyLogitsProcessor(1.3)
    expected = processor(torch.tensor([seen]), torch.from_numpy(logits)[None])[0].numpy()
    found = Chain([Penalties(1.3)], Text(seen)).left(logits)
    assert np.abs(found.logits - expected).max() <= 1e-6
