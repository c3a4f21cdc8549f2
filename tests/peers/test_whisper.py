"""Whisper beside transformers: features, encoder states, logits and texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.listener import Listener
from numbatorch.pipelines.audio import samples_of
from numbatorch.pipelines.log_mel import LogMel
from numbatorch.pipelines.speech_tokens import SpeechTokens

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


END, FIRST, V = 50, 61, 100  # the end, the timestamp of 0 seconds, and the number of ids
TOKENS = SpeechTokens(END, 51, FIRST - 1, {}, {}, (3, 4), (7,), latest_first=10)


def sequences(count: int) -> list[list[int]]:
    """Ids of text between timestamps, some of them as no model may give them."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(count):
        ids, at = [], FIRST
        for _ in range(rng.integers(0, 6)):
            at = min(at + int(rng.integers(0, 6)), V - 1)
            ids += [at] * int(rng.integers(1, 3))
            ids += rng.integers(0, END, rng.integers(0, 4)).tolist()
        found.append(ids[rng.integers(0, 2) :])
    return found


def test_rules_of_timestamps_equal_theirs() -> None:
    import torch
    from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

    said = transformers.GenerationConfig(
        eos_token_id=END, no_timestamps_token_id=FIRST - 1, max_initial_timestamp_index=10
    )
    theirs = WhisperTimeStampLogitsProcessor(said, begin_index=2)
    rng = np.random.default_rng(1)
    for ids in sequences(300):
        logits = (rng.standard_normal(V) * 2).astype(np.float32)
        given = logits.copy()
        given[[3, 4] if ids else [3, 4, 7]] = -np.inf
        expected = theirs(torch.tensor([[51, 52, *ids]]), torch.tensor(given[None]))[0].numpy()
        np.testing.assert_array_equal(TOKENS.allowed(logits, ids, timed=True), expected)


def test_segments_equal_theirs() -> None:
    import torch
    from transformers.models.whisper.generation_whisper import WhisperGenerationMixin

    for number, ids in enumerate(ids for ids in sequences(300) if ids):
        frames = 300 + number
        segments, step = WhisperGenerationMixin._retrieve_segment(
            seek_sequence=torch.tensor(ids),
            seek_outputs=[None],
            time_offset=torch.tensor([0.0], dtype=torch.float64),
            timestamp_begin=FIRST,
            seek_num_frames=torch.tensor([frames]),
            time_precision=0.02,
            time_precision_features=0.01,
            input_stride=2,
            prev_idx=0,
            idx=0,
            return_token_timestamps=False,
            decoder_input_ids=torch.zeros(1, 1),
        )
        found, after = TOKENS.cut(ids, frames)
        assert after == int(step)
        for (start, end, text), theirs in zip(found, segments, strict=True):
            assert abs(start - float(theirs["start"])) < 1e-6
            assert abs(end - float(theirs["end"])) < 0.0201  # theirs rounds down
            assert text == [id for id in theirs["tokens"].tolist() if id < END]


def test_a_long_recording_gives_the_same_text(whisper_tiny: Path, shared_fixtures: Path) -> None:
    import torch

    transcriber = nt.Transcriber(whisper_tiny)
    config, tokens = transcriber.model.config, transcriber.tokens
    theirs = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=config.vocab_size,
            d_model=config.hidden_size,
            encoder_layers=4,
            decoder_layers=4,
            decoder_start_token_id=tokens.start,
        )
    ).eval()
    with torch.no_grad():
        own = dict(theirs.model.named_parameters())
        for name, parameter in transcriber.model.named_parameters():
            own[name].copy_(torch.tensor(parameter.detach().float().numpy()))
    theirs.generation_config = transformers.GenerationConfig(
        bos_token_id=tokens.start,
        decoder_start_token_id=tokens.start,
        eos_token_id=tokens.end,
        pad_token_id=tokens.end,
        prev_sot_token_id=tokens.no_timestamps - 2,
        no_timestamps_token_id=tokens.no_timestamps,
        is_multilingual=False,
        max_initial_timestamp_index=50,
        suppress_tokens=list(tokens.suppressed),
        begin_suppress_tokens=list(tokens.suppressed_first),
        max_length=448,
        return_timestamps=True,
    )
    order = ("0870", "0880", "0930", "0880", "0870", "0930", "0870", "0880")
    parts = {x: samples_of(shared_fixtures / "whisper" / f"{x}.wav") for x in set(order)}
    samples = np.concatenate([parts[x] for x in order])
    features = transformers.WhisperFeatureExtractor()(
        samples, sampling_rate=16000, return_tensors="pt", truncation=False, padding="longest"
    )
    with torch.no_grad():
        out = theirs.generate(features["input_features"], return_segments=True)
    found = transcriber.transcribe(samples, timestamps="segment")
    expected = [
        (float(x["start"]), float(x["end"]), [id for id in x["tokens"].tolist() if id < tokens.end])
        for x in out["segments"][0]
    ]
    assert len(samples) > 30 * 16000
    assert [list(x.ids) for x in found.segments] == [ids for *_, ids in expected if ids]
    for segment, (start, end, _) in zip(found.segments, (x for x in expected if x[2]), strict=True):
        assert abs(segment.start - start) <= 0.1
        assert abs(segment.end - end) <= 0.1
    everything = [id for *_, ids in expected for id in ids]
    assert found.text == transcriber.tokenizer.decode(everything).strip()
    assert transcriber.transcribe(samples).text == found.text
