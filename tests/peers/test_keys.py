"""Keys of configurations: what is not refused computes what transformers and llama.cpp compute."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.models.config import HF_FIXED, HF_HARMLESS
from tests.models.build import (
    BERT,
    bert_weights,
    llama_config,
    llama_weights,
    write_folder,
    write_gguf,
)
from tests.peers.sides import torch

transformers = pytest.importorskip("transformers", reason="pip install transformers")

IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5]

# Beside the keys that transformers writes: those that it reads at times, and its relatives'.
MORE: dict[str, Any] = {
    "attention_multiplier": 2.0,
    "embedding_multiplier": 2.0,
    "is_causal": False,
    "is_decoder": True,
    "layer_types": ["sliding_attention"] * 2,
    "logits_scaling": 2.0,
    "partial_rotary_factor": 0.5,
    "per_layer_config": {"0": {"rms_norm_eps": 1.0}},
    "position_embedding_type": "relative_key",
    "residual_multiplier": 2.0,
    "rope_scaling": {"type": "linear", "factor": 2.0},
    "rope_theta": 500.0,
    "sliding_window": 4,
    "tie_encoder_decoder": True,
    "use_sliding_window": True,
}


def changed(value: Any) -> Any:
    """Another value of the type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value * 2 + 1
    return {str: "other", list: [], dict: {}}.get(type(value), 1)


def keys_of(config: Any) -> list[str]:
    return sorted({*config().to_dict(), *MORE} - {"architectures", "model_type"})


def theirs(cls: Any, folder: Path) -> np.ndarray | None:
    """What transformers computes from a folder; None where it refuses or fails."""
    try:
        model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        with torch.no_grad():
            out: np.ndarray = model.eval()(torch.tensor([IDS]))[0][0].numpy()
    except Exception:
        return None
    return out


def ours(folder: Path) -> np.ndarray | None:
    try:
        model = nt.models.from_pretrained(folder)
    except nt.FormatError:
        return None
    with nt.no_grad():
        out: np.ndarray = model(nt.tensor([IDS]))[0].numpy()
    return out


@pytest.mark.parametrize("key", keys_of(transformers.LlamaConfig))
def test_a_key_of_a_llama_is_refused_or_means_what_it_does_in_transformers(
    key: str, tmp_path: Path
) -> None:
    written = transformers.LlamaConfig(**llama_config()).to_dict()
    config = {**written, key: MORE.get(key, changed(written.get(key)))}
    folder = write_folder(tmp_path, json_of(config), llama_weights(llama_config()))
    mine, wanted = ours(folder), theirs(transformers.LlamaForCausalLM, folder)
    if mine is not None and wanted is not None:
        assert np.abs(mine - wanted).max() <= 1e-4


@pytest.mark.parametrize("key", keys_of(transformers.BertConfig))
def test_a_key_of_a_bert_is_refused_or_means_what_it_does_in_transformers(
    key: str, tmp_path: Path
) -> None:
    written = transformers.BertConfig(**BERT).to_dict()
    config = {**written, key: MORE.get(key, changed(written.get(key)))}
    folder = write_folder(tmp_path, json_of(config), bert_weights(BERT))
    mine, wanted = ours(folder), theirs(transformers.BertModel, folder)
    if mine is not None and wanted is not None:
        assert np.abs(mine - wanted).max() <= 1e-4


def json_of(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(config, default=str))
    return found


@pytest.mark.parametrize("kind", ["LlamaConfig", "BertConfig"])
def test_what_transformers_writes_is_known(kind: str, tmp_path: Path) -> None:
    llama = kind == "LlamaConfig"
    small = llama_config() if llama else BERT
    config = json_of(getattr(transformers, kind)(**small).to_dict())
    weights = llama_weights(small) if llama else bert_weights(small)
    assert ours(write_folder(tmp_path, config, weights)) is not None


def test_keys_of_generating_are_known() -> None:
    generating = transformers.GenerationConfig._get_default_generation_params()
    assert not set(generating) - {*HF_HARMLESS, *HF_FIXED}


GGUF_KEYS: list[dict[str, Any]] = [
    {},
    {"llama.rope.scaling.factor": 4.0},
    {"llama.rope.scale_linear": 4.0},
    {"llama.rope.scaling.factor": 4.0, "llama.rope.scaling.type": "none"},
    {"llama.rope.scaling.factor": 4.0, "llama.rope.scaling.type": "linear"},
    {"llama.rope.scale_linear": 4.0, "llama.rope.scaling.type": "linear"},
    {"llama.rope.scaling.type": "linear"},
    {"llama.rope.freq_base": 500.0},
    {"llama.rope.dimension_count": 16},
    {"llama.rope.scaling.original_context_length": 8},
    {"llama.rope.scaling.finetuned": True},
    {"llama.attention.causal": True},
    {"llama.expert_count": 0, "llama.expert_used_count": 0},
    {"llama.tensor_data_layout": "Meta AI original pth"},
]


@pytest.mark.parametrize("keys", GGUF_KEYS, ids=lambda keys: " ".join(keys) or "plain")
def test_metadata_means_what_it_does_in_llama_cpp(keys: dict[str, Any], tmp_path: Path) -> None:
    llama_cpp = pytest.importorskip("llama_cpp")
    config = llama_config()
    keys = {"tokenizer.ggml.model": "no_vocab", "llama.vocab_size": 80, **keys}
    file = write_gguf(tmp_path / "m.gguf", config, llama_weights(config), keys)
    peer = llama_cpp.Llama(str(file), n_ctx=64, logits_all=True, verbose=False, n_threads=1)
    peer.eval(IDS)
    expected = np.array(peer.scores[: len(IDS)])
    # llama.cpp keeps keys and values in float16.
    assert np.abs(nt.models.from_pretrained(file).logits(IDS) - expected).max() <= 1e-2
