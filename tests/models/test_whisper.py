"""Whisper: what is refused, and that a window that is heard gives what the whole model gives."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numbatorch as nt
from numbatorch.generation.listener import Listener
from numbatorch.pipelines.audio import samples_of
from numbatorch.pipelines.log_mel import LogMel
from tests.compare import assert_close
from tests.io.ct2_file import packed, whisper_variables, write
from tests.models.build import write_folder

WHISPER: dict[str, Any] = {
    "architectures": ["WhisperForConditionalGeneration"],
    "model_type": "whisper",
    "vocab_size": 40,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 20,
    "max_source_positions": 10,
    "max_target_positions": 24,
    "is_encoder_decoder": True,
}


def weights() -> dict[str, np.ndarray]:
    nt.manual_seed(0)
    model = nt.models.Whisper(nt.models.WhisperConfig.from_hf(WHISPER))
    rng = np.random.default_rng(0)
    return {
        f"model.{name}": (rng.standard_normal(p.shape) * 0.3).astype("f4")
        for name, p in model.named_parameters()
    }


def test_a_window_heard_equals_the_whole_model(tmp_path: Path, device: str) -> None:
    model = nt.models.from_pretrained(
        write_folder(tmp_path, WHISPER, weights()), device=device, task="speech-to-text"
    )
    rng = np.random.default_rng(1)
    mel = rng.standard_normal((80, 20)).astype("f4")
    ids = rng.integers(0, 40, 9).tolist()
    with nt.no_grad():
        mel_tensor = nt.tensor(mel[None], device=device)
        whole = model(mel_tensor, nt.tensor([ids], device=device)).numpy()[0]
    listener = Listener(model)
    for _ in range(2):
        listener.listen(mel)
        assert_close(listener.feed(ids[:6]), whole[5], "composite")
        for position in (6, 7, 8):
            assert_close(listener.feed([ids[position]]), whole[position], "composite")
        listener.listen(mel + 1)
        listener.feed(ids)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"activation_function": "relu"}, "activation_function is 'relu'"),
        ({"tie_word_embeddings": False}, "tie_word_embeddings is False"),
        ({"d_model": 18}, "4 heads do not divide 18"),
        ({"encoder_layers": 3}, "says 3 layers, the file has 1"),
        ({"decoder_layers": 1}, r"layers\.1\.\S+ \(16,\) has no place"),
        ({"num_mel_bins": 128}, r"conv1\.weight is \(16, 80, 3\), .* says \(16, 128, 3\)"),
        ({"sound": "loud"}, "sound is 'loud'"),
        ({"is_encoder_decoder": False}, "is_encoder_decoder is False"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_configurations_that_are_refused(
    changed: dict[str, Any], problem: str, tmp_path: Path
) -> None:
    folder = write_folder(tmp_path, WHISPER | changed, weights())
    with pytest.raises(nt.FormatError, match=problem):
        nt.models.from_pretrained(folder)


def test_a_head_of_its_own_is_refused(tmp_path: Path) -> None:
    tensors = weights()
    same = tensors | {"proj_out.weight": tensors["model.decoder.embed_tokens.weight"]}
    nt.models.from_pretrained(write_folder(tmp_path, WHISPER, same))
    other = tensors | {"proj_out.weight": np.zeros((40, 16), "f4")}
    with pytest.raises(nt.FormatError, match=r"proj_out\.weight is not the embedding"):
        nt.models.from_pretrained(write_folder(tmp_path, WHISPER, other))


def test_inputs_that_are_refused(tmp_path: Path) -> None:
    model = nt.models.from_pretrained(write_folder(tmp_path, WHISPER, weights()))
    with pytest.raises(nt.ShapeError, match=r"mel \(1, 80, 19\)(.|\n)*\(B, 80, 20\)"):
        model.encode(nt.zeros(1, 80, 19))
    mel = nt.zeros(1, 80, 20)
    with pytest.raises(nt.OutOfRange, match="25 tokens in a context of 24"):
        model(mel, nt.zeros(1, 25, dtype=nt.int64))
    listener = Listener(model)
    listener.listen(np.zeros((80, 20), "f4"))
    with pytest.raises(nt.OutOfRange, match="token id 40"):
        listener.feed([40])
    listener.feed([1] * 24)
    with pytest.raises(nt.OutOfRange, match=r"24 \+ 1 tokens in a context of 24"):
        listener.feed([1])
    with pytest.raises(nt.FormatError, match="for speech-to-text, not for text-generation"):
        nt.models.from_pretrained(tmp_path, task="text-generation")


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "int8"])
def test_files_of_ctranslate2_equal_hugging_faces(kind: str, tmp_path: Path) -> None:
    stored = whisper_variables(weights(), (2, 4), kind)
    alias = {"decoder/projection/weight": "decoder/embeddings/weight"}
    model = nt.models.from_pretrained(write(tmp_path / "ct2", packed(stored, aliases=alias)))
    tensors = weights()
    for name, array in tensors.items():
        matrix = array.ndim > 1 and "embed_positions" not in name
        if kind != "int8":
            tensors[name] = array.astype(nt.dtype.by_name[kind].elements).astype("f4")
        elif matrix:  # rounded by its rows
            step = np.abs(array).reshape(len(array), -1).max(1) / 127
            step = step.reshape(-1, *(1 for _ in array.shape[1:]))
            tensors[name] = (np.rint(array / step) * step).astype("f4")
    same = nt.models.from_pretrained(write_folder(tmp_path / "hf", WHISPER, tensors))
    assert model.config == same.config
    mel = nt.tensor(np.random.default_rng(0).standard_normal((1, 80, 20)).astype("f4"))
    ids = nt.tensor([[1, 2, 3, 4]])
    with nt.no_grad():
        np.testing.assert_allclose(model(mel, ids), same(mel, ids), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"decoder/activation": np.array(0, np.int8)}, "decoder/activation is 0"),
        ({"decoder/gain": np.array(2, np.int8)}, "decoder/gain is 2"),
        ({"decoder/gain/weight": np.zeros(3, "f4")}, r"gain/weight \(3,\) has no place"),
        (
            {"encoder/conv1/weight": np.zeros((16, 80), "f4")},
            r"conv1/weight is \(16, 80\), not of 3",
        ),
        ({"encoder/conv2/bias": np.zeros(7, "f4")}, r"conv2/bias is \(7,\), .* says \(16,\)"),
        ({"decoder/layer_0/attention/linear_1/bias": np.ones(32, "f4")}, "has a bias of keys"),
        ({"decoder/num_heads": np.array(5, np.int16)}, "5 heads do not divide 16"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_files_of_ctranslate2_that_are_refused(
    changed: dict[str, np.ndarray], problem: str, tmp_path: Path
) -> None:
    stored = whisper_variables(weights(), (2, 4), "float32") | changed
    with pytest.raises(nt.FormatError, match=problem):
        nt.models.from_pretrained(write(tmp_path, packed(stored)))


def test_a_file_of_another_model_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path, packed({}, spec="TransformerSpec"))
    with pytest.raises(nt.FormatError, match=r"spec is TransformerSpec\n.*\n  known: WhisperSpec"):
        nt.models.from_pretrained(folder)


def test_recordings_give_what_was_recorded(whisper_tiny: Path, shared_fixtures: Path) -> None:
    folder = shared_fixtures / "whisper"
    expected = json.loads((folder / "expected.json").read_text())
    config = json.loads((whisper_tiny / "config.json").read_text())
    model = nt.models.from_pretrained(whisper_tiny, task="speech-to-text")
    listener, make = Listener(model), LogMel(model.config.num_mel_bins)
    for name, recorded in expected.items():
        arrays = np.load(folder / f"{name}.npz")
        mel = make(samples_of(folder / f"{name}.wav"), least=listener.frames)
        with nt.no_grad():
            states = model.encode(nt.tensor(mel[None])).numpy()[0]
        np.testing.assert_allclose(states[::50], arrays["encoder_every_50"], rtol=0, atol=2e-3)
        listener.listen(mel)
        logits = listener.feed([50257, 50362])
        np.testing.assert_allclose(logits, arrays["first_logits"], rtol=0, atol=1e-2)
        ids: list[int] = []
        while not ids or ids[-1] != 50256:
            logits = logits.copy()
            logits[config["suppress_ids"]] = -np.inf
            if not ids:
                logits[config["suppress_ids_begin"]] = -np.inf
            ids.append(int(logits.argmax()))
            logits = listener.feed(ids[-1:])
        assert ids[:-1] == recorded["ids"]
    assert listener.traces == 3  # a window, a chunk of two ids, one id
