"""Transcribing recordings: texts, languages, formats, the command, and what is refused."""

import io
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers

import numbatorch as nt
from numbatorch.cli.main import main
from numbatorch.pipelines.transcript import Segment, Transcript
from tests.models.build import write_folder
from tests.models.test_whisper import WHISPER, weights

SPECIAL = ["endoftext", "startoftranscript", "en", "de", "translate", "transcribe", "notimestamps"]
TEXT = 20  # ids before the special ones
SOUND = np.sin(np.arange(3000) / 9).astype("f4")


@pytest.fixture(scope="module")
def transcriber(request: pytest.FixtureRequest) -> nt.Transcriber:
    return nt.Transcriber(request.getfixturevalue("whisper_tiny"))


@pytest.fixture
def languages(tmp_path: Path) -> Path:
    """A small multilingual model with random weights; windows are 0.2 seconds."""
    vocabulary = {f"w{id}": id for id in range(TEXT)} | {"?": TEXT + len(SPECIAL) + 12}
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="?"))
    for number, name in enumerate(SPECIAL):
        vocabulary[f"<|{name}|>"] = TEXT + number
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="?"))
    library.add_special_tokens([f"<|{name}|>" for name in SPECIAL])
    write_folder(tmp_path, WHISPER, weights())
    library.save(str(tmp_path / "tokenizer.json"))
    said: dict[str, Any] = {"is_multilingual": True, "suppress_tokens": [3]}
    (tmp_path / "generation_config.json").write_text(json.dumps(said))
    return tmp_path


def test_recordings_give_the_recorded_texts(
    transcriber: nt.Transcriber, shared_fixtures: Path
) -> None:
    folder = shared_fixtures / "whisper"
    for name, recorded in json.loads((folder / "expected.json").read_text()).items():
        found = transcriber.transcribe(folder / f"{name}.wav")
        assert found.text == recorded["text"].strip()
        (segment,) = found.segments
        assert list(segment.ids) == recorded["ids"]
        assert (segment.start, segment.end) == (0.0, round(found.duration, 2))
        assert (found.language, found.language_probability) == ("en", 1.0)


def test_progress_ends_at_the_end(transcriber: nt.Transcriber, shared_fixtures: Path) -> None:
    told: list[tuple[float, float]] = []
    path = shared_fixtures / "whisper" / "0880.wav"
    transcriber.transcribe(path, progress=lambda *at: told.append(at))
    assert told == [(told[0][1], told[0][1])]


def test_silence_noise_and_very_short_sounds(transcriber: nt.Transcriber) -> None:
    rng = np.random.default_rng(0)
    for samples in (np.zeros(8000, "f4"), rng.standard_normal(8000).astype("f4"), np.ones(1, "f4")):
        found = transcriber.transcribe(samples, timestamps="segment")
        assert all(0 <= x.start <= x.end for x in found.segments)
        for x in found.segments:
            assert x.no_speech_prob is not None
            assert x.no_speech_prob <= 0.6 or x.avg_logprob > -1.0
    words = transcriber.transcribe(np.zeros(8000, "f4"), no_speech_threshold=None)
    (segment,) = words.segments
    for chance, logprob, kept in (
        (segment.no_speech_prob, None, True),  # not greater
        (0.0, None, False),
        (0.0, segment.avg_logprob, False),  # not greater
        (0.0, segment.avg_logprob - 0.01, True),
    ):
        found = transcriber.transcribe(
            np.zeros(8000, "f4"), no_speech_threshold=chance, logprob_threshold=logprob
        )
        assert found.segments == (words.segments if kept else ())
    with pytest.raises(ValueError, match="logprob_threshold is 'low'; it must be a number or None"):
        transcriber.transcribe(SOUND, logprob_threshold="low")  # type: ignore[arg-type]


def test_languages_and_tasks(languages: Path) -> None:
    transcriber = nt.Transcriber(languages)
    assert repr(transcriber) == "Transcriber(Whisper, 2 languages)"
    chances = transcriber.detect_language(SOUND)
    assert set(chances) == {"en", "de"}
    assert abs(sum(chances.values()) - 1) < 1e-6
    detected = transcriber.transcribe(SOUND)
    best = max(chances, key=lambda code: chances[code])
    assert (detected.language, detected.language_probability) == (best, chances[best])
    given = transcriber.transcribe(SOUND, best)
    assert (given.text, given.language_probability) == (detected.text, 1.0)
    mel = transcriber._mel(SOUND, least=20)
    for language, task in (("en", "transcribe"), ("de", "translate")):
        for timed in (False, True):
            with transcriber._listening() as listener:
                ids, *_ = transcriber._begun(listener, mel[:, :20], language, task, timed)
            names = ["startoftranscript", language, task, *([] if timed else ["notimestamps"])]
            assert ids == [transcriber.tokenizer.token_id(f"<|{name}|>") for name in names]
    long = transcriber.transcribe(np.tile(SOUND, 4), "en", timestamps="segment")
    assert all(id < TEXT and id != 3 for x in long.segments for id in x.ids)


def test_threads_share_one(languages: Path) -> None:
    transcriber = nt.Transcriber(languages)
    tones = np.sin(np.arange(3000) * np.geomspace(0.05, 2, 64)[:, None]).astype("f4")
    alone = [transcriber.detect_language(tone) for tone in tones]
    assert len({x["de"] for x in alone}) > 4
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(transcriber.detect_language, tones)) == alone
    copy = pickle.loads(pickle.dumps(transcriber))
    assert copy.detect_language(tones[2]) == alone[2]


def test_texts_of_threads(transcriber: nt.Transcriber, shared_fixtures: Path) -> None:
    paths = [shared_fixtures / "whisper" / f"{name}.wav" for name in ("0870", "0880", "0930")]
    alone = [transcriber.transcribe(path) for path in paths]
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(transcriber.transcribe, paths)) == alone


def test_what_is_refused(transcriber: nt.Transcriber, languages: Path) -> None:
    with pytest.raises(ValueError, match="task is 'sing', one of: transcribe, translate"):
        transcriber.transcribe(SOUND, task="sing")
    with pytest.raises(ValueError, match=r"language is 'de'\n  known: en"):
        transcriber.transcribe(SOUND, "de")
    with pytest.raises(ValueError, match="knows English alone"):
        transcriber.transcribe(SOUND, task="translate")
    with pytest.raises(ValueError, match="knows English alone"):
        transcriber.detect_language(SOUND)
    with pytest.raises(ValueError, match="timestamps is 'word'"):
        transcriber.transcribe(SOUND, timestamps="word")  # type: ignore[arg-type]
    with pytest.raises(nt.ShapeError, match="no samples"):
        transcriber.transcribe(np.zeros(0, "f4"))
    (languages / "generation_config.json").write_text('{"suppress_tokens": [40]}')
    with pytest.raises(nt.FormatError, match=r"suppress_tokens is \[40\], .* ids from 0 to 39"):
        nt.Transcriber(languages)
    (languages / "generation_config.json").write_text("{}")
    text = (languages / "tokenizer.json").read_text()
    (languages / "tokenizer.json").write_text(text.replace("<|notimestamps|>", "<|other|>"))
    with pytest.raises(nt.FormatError, match=r"has no token <\|notimestamps\|>"):
        nt.Transcriber(languages)
    (languages / "model.safetensors").unlink()
    with pytest.raises(nt.FormatError, match=r"neither model\.bin nor safetensors are there"):
        nt.Transcriber(languages)


def test_formats() -> None:
    parts = (Segment(0.0, 1.5, "Tea & toast", (1,)), Segment(3661.25, 3662.0, "a --> b", (2,)))
    said = Transcript("Tea & toast a --> b", parts, "en", 0.5, 4000.0)
    assert str(said) == said.text
    srt = "1\n00:00:00,000 --> 00:00:01,500\nTea & toast\n\n"
    assert said.to_srt() == srt + "2\n01:01:01,250 --> 01:01:02,000\na --> b\n"
    vtt = "WEBVTT\n\n00:00:00.000 --> 00:00:01.500\nTea &amp; toast\n\n"
    assert said.to_vtt() == vtt + "01:01:01.250 --> 01:01:02.000\na --&gt; b\n"
    found = json.loads(said.to_json())
    assert (found["language"], found["segments"][1]["end"]) == ("en", 3662.0)


def test_the_command(
    whisper_tiny: Path, shared_fixtures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shared_fixtures / "whisper"
    texts = [x["text"].strip() for x in json.loads((folder / "expected.json").read_text()).values()]
    paths = [str(folder / f"{name}.wav") for name in ("0870", "0880", "0930")]
    assert main(["transcribe", *paths, "--model", str(whisper_tiny)]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [f"{path}: {x}" for path, x in zip(paths, texts, strict=True)]
    assert "13.4 seconds of audio in" in shown.err
    assert main(["transcribe", paths[0], "--model", str(whisper_tiny), "--format", "srt"]) == 0
    assert capsys.readouterr().out.startswith("1\n00:00:00,000 --> ")
    both = ["transcribe", *paths[:2], "--model", str(whisper_tiny), "--format"]
    assert main([*both, "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [(x["file"], x["text"]) for x in said] == list(zip(paths[:2], texts[:2], strict=True))
    assert main([*both, "vtt"]) == 1
    assert "vtt is of one file, and there are 2" in capsys.readouterr().err
    assert main(["transcribe", "absent.wav", "--model", str(whisper_tiny)]) == 1
    assert "absent.wav" in capsys.readouterr().err


def test_an_open_file(transcriber: nt.Transcriber, shared_fixtures: Path) -> None:
    raw = (shared_fixtures / "whisper" / "0930.wav").read_bytes()
    assert transcriber.transcribe(io.BytesIO(raw)).text.startswith("He might even")
