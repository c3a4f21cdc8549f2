"""Whisper beside transformers: features, encoder states, logits and texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.listener import Listener
from numbatorch.pipelines.log_mel import LogMel

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("bins", [80, 128])
@pytest.mark.parametrize("size", [3000, 480_000, 700_000])
def test_features_equal_those_of_the_extractor(bins: int, size: int) -> None:
    rng = np.random.default_rng(size)
    loudness = 10.0 ** rng.uniform(-5, -1, size // 1000).repeat(1000)
    samples = (rng.standard_normal(size) * loudness).astype(np.float32)
    extractor = transformers.WhisperFeatureExtractor(feature_size=bins)
    kept = {"padding": "longest", "truncation": False} if size > 480_000 else {}
    theirs = extractor(samples, sampling_rate=16000, return_tensors="np", **kept)
    expected = theirs["input_features"][0]
    found = LogMel(bins)(samples, least=3000)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


REDUCED = {
    "vocab_size": 200,
    "d_model": 64,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 128,
    "max_source_positions": 50,
    "max_target_positions": 40,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "decoder_start_token_id": 1,
    "begin_suppress_tokens": [],
}


def saved(folder: Path, **changed: Any) -> Any:
    """A model of transformers with random weights of usual sizes, saved into a folder."""
    import torch

    torch.manual_seed(0)
    config = transformers.WhisperConfig(**REDUCED | changed)
    model = transformers.WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.3 if "norm" not in name else 0.1
            parameter.copy_(torch.randn_like(parameter) * scale + ("norm.weight" in name))
    model.save_pretrained(folder)
    return model


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("changed", [{}, {"num_mel_bins": 128, "scale_embedding": True}])
def test_states_and_logits_equal_those_of_random_weights(
    changed: dict[str, Any], tmp_path: Path
) -> None:
    import torch

    theirs = saved(tmp_path, **changed)
    model = nt.models.from_pretrained(tmp_path, task="speech-to-text")
    rng = np.random.default_rng(0)
    mel = rng.standard_normal((2, model.config.num_mel_bins, 100)).astype(np.float32)
    ids = rng.integers(0, 200, (2, 11))
    with torch.no_grad():
        out = theirs(torch.tensor(mel), decoder_input_ids=torch.tensor(ids))
    with nt.no_grad():
        states = model.encode(nt.tensor(mel)).numpy()
        logits = model(nt.tensor(mel), nt.tensor(ids)).numpy()
    assert relative(states, out.encoder_last_hidden_state.numpy()) < 1e-4
    assert relative(logits, out.logits.numpy()) < 1e-4
    listener = Listener(model)
    for row in (1, 0):
        listener.listen(mel[row])
        listener.feed(ids[row, :5].tolist())
        for step in range(5, 11):
            found = listener.feed([int(ids[row, step])])
            assert relative(found, out.logits[row, step].numpy()) < 1e-4
    assert listener.traces == 3  # a window, a chunk of four ids, one id


def test_gradients_equal_those_of_random_weights(tmp_path: Path) -> None:
    import torch

    theirs = saved(tmp_path)
    model = nt.models.from_pretrained(tmp_path)
    rng = np.random.default_rng(1)
    mel = rng.standard_normal((1, 80, 100)).astype(np.float32)
    ids, weights = rng.integers(0, 200, (1, 7)), rng.standard_normal((1, 7, 200)).astype("f4")
    out = theirs(torch.tensor(mel), decoder_input_ids=torch.tensor(ids)).logits
    (out * torch.tensor(weights)).sum().backward()
    (model(nt.tensor(mel), nt.tensor(ids)) * nt.tensor(weights)).sum().backward()
    expected = dict(theirs.model.named_parameters())
    for name, parameter in model.named_parameters():
        if "encoder.embed_positions" not in name:  # transformers holds these fixed
            assert parameter.grad is not None, name
            assert relative(parameter.grad.numpy(), expected[name].grad.numpy()) < 1e-3, name
