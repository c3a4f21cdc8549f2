"""Recordings to samples and spectrograms: files, rates, channels, and what is refused."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.signal import resample_poly

import numbatorch as nt
from numbatorch.pipelines.audio import samples_of
from numbatorch.pipelines.log_mel import LogMel

soundfile = pytest.importorskip("soundfile", exc_type=ImportError)


def tone(rate: int, seconds: float = 0.5, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype("f4")


@pytest.mark.parametrize("name", ["0870", "0880", "0930"])
def test_spectrograms_equal_those_recorded(name: str, shared_fixtures: Path) -> None:
    folder = shared_fixtures / "whisper"
    found = LogMel(80)(samples_of(folder / f"{name}.wav"), least=3000)
    assert found.shape == (80, 3000)
    expected = np.load(folder / f"{name}.npz")["mel_every_20"]
    np.testing.assert_allclose(found[:, ::20], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_any_rate_gives_the_same_tone(rate: int) -> None:
    found = samples_of(tone(rate), rate)
    assert found.shape == (8000,)
    inner = slice(400, -400)  # the filter reaches beyond both ends
    np.testing.assert_allclose(found[inner], tone(16000)[inner], rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("kind", "off"), [("WAV", 2e-5), ("FLAC", 2e-5), ("OGG", 0.05), ("MP3", 0.05)]
)
def test_files_are_decoded(kind: str, off: float, tmp_path: Path) -> None:
    stereo = np.stack([tone(44100), np.zeros(22050, "f4")], 1)
    soundfile.write(tmp_path / "tone", stereo, 44100, format=kind)
    found = samples_of(tmp_path / "tone")
    expected = resample_poly(stereo.mean(1), 160, 441)
    assert abs(len(found) - 8000) <= 1000  # MP3 has whole frames
    inner = slice(1000, 7000)
    np.testing.assert_allclose(found[inner], expected[inner], rtol=0, atol=off)
    with open(tmp_path / "tone", "rb") as file:
        np.testing.assert_array_equal(samples_of(file), found)


def test_arrays_and_tensors_of_integers_and_channels() -> None:
    whole = (tone(16000) * 2**15).astype(np.int16)
    expected = whole / np.float32(2**15)
    np.testing.assert_array_equal(samples_of(whole), expected)
    np.testing.assert_array_equal(samples_of(whole.astype(np.int32) << 16), expected)
    np.testing.assert_array_equal(samples_of(nt.tensor(expected)), expected)
    stereo = np.stack([expected, expected * 0.5], 1)
    np.testing.assert_allclose(samples_of(stereo), expected * 0.75, atol=1e-7)


def test_arrays_that_are_refused() -> None:
    with pytest.raises(nt.ShapeError, match=r"no samples\n  array \(0,\) float32"):
        samples_of(np.zeros(0, "f4"))
    with pytest.raises(nt.ShapeError, match=r"8000 channels of 2 samples(.|\n)*audio\.T"):
        samples_of(np.zeros((2, 8000), "f4"))
    with pytest.raises(nt.ShapeError, match=r"\(1, 2, 3\)"):
        samples_of(np.zeros((1, 2, 3), "f4"))
    with pytest.raises(nt.DTypeError, match="samples are uint8"):
        samples_of(np.zeros(9, np.uint8))
    broken = tone(16000)
    broken[[7, 9]] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"2 of 8000 samples(.|\n)*sample 7, nan"):
        samples_of(broken)
    for rate in (0, -16000, 10**9, 16000.5, float("nan"), True, "16000"):
        with pytest.raises(ValueError, match=r"rates go from 1000 to 768000 whole samples"):
            samples_of(tone(16000), rate)  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"magnitude is 12000; .* in \[-1, 1\]\n  array(.|\n)*32768"
    ):
        samples_of(np.array([0, 500, -12000], "f4"))
    for audio in ([0.0, 0.5], 0.5, b"RIFF"):
        for rate in (None, 16000):
            rule = f"audio is of type {type(audio).__name__}\n.* an array or a tensor"
            with pytest.raises(TypeError, match=rule):
                samples_of(audio, rate)  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", [np.int64(8000), np.uint16(8000), 8000.0, np.float32(8000)])
def test_whole_rates_of_any_type(rate: Any) -> None:
    np.testing.assert_array_equal(samples_of(tone(8000), rate), samples_of(tone(8000), 8000))


@pytest.mark.parametrize("kind", ["WAV", "AIFF"])
def test_a_file_shorter_than_its_header_says(kind: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole", tone(16000), 16000, format=kind)
    raw = (tmp_path / "whole").read_bytes()
    with pytest.raises(nt.FormatError, match=r"says 1600\d bytes(.|\n)* 6000 samples were decoded"):
        samples_of(io.BytesIO(raw[:-4000]))
    if kind == "WAV":  # a header written before the length was known
        at = raw.index(b"data") + 4
        streamed = raw[:at] + b"\xff" * 4 + raw[at + 4 :]
        assert len(samples_of(io.BytesIO(streamed))) == 8000


def test_files_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        samples_of(tmp_path / "absent.wav")
    with pytest.raises(nt.FormatError, match="is a folder"):
        samples_of(tmp_path)
    text = tmp_path / "text.wav"
    text.write_text("I am no recording\n" * 100)
    with pytest.raises(nt.FormatError, match=r"cannot be decoded(.|\n)*text\.wav"):
        samples_of(text)
    with pytest.raises(nt.FormatError, match="cannot be decoded"):
        samples_of(io.BytesIO(b""))
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, "f4"), 16000)
    with pytest.raises(nt.FormatError, match=r"no samples; its header says 0"):
        samples_of(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "nan.wav", np.full(5, np.nan), 16000, subtype="FLOAT")
    with pytest.raises(nt.FormatError, match=r"5 of 5 samples are NaN(.|\n)*nan\.wav"):
        samples_of(tmp_path / "nan.wav")
    with pytest.raises(ValueError, match="which a file says itself"):
        samples_of(tmp_path / "nan.wav", 16000)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG", "MP3"])
def test_a_file_cut_anywhere_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "whole", tone(16000), 16000, format=kind)
    raw = (tmp_path / "whole").read_bytes()
    for size in range(0, len(raw), max(len(raw) // 40, 1)):
        try:
            found = samples_of(io.BytesIO(raw[:size]))
        except nt.FormatError:
            continue
        assert 0 < len(found) <= 9000


def test_without_soundfile_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    with pytest.raises(nt.errors.BackendUnavailable, match=r"numbatorch\[audio\]"):
        samples_of(tmp_path / "a.wav")
    assert len(samples_of(tone(16000))) == 8000


def test_spectrograms_that_are_refused() -> None:
    make = LogMel()
    with pytest.raises(nt.ShapeError, match=r"too few samples\n.*\(200,\)"):
        make(np.zeros(200, "f4"))
    with pytest.raises(nt.DTypeError, match="float64"):
        make(np.zeros(500))
    with pytest.raises(nt.ShapeError, match="not \\(N,\\)"):
        make(np.zeros((2, 500), "f4"))


def test_silence_and_a_long_recording() -> None:
    make = LogMel()
    silent = make(np.zeros(1000, "f4"), least=3000)
    np.testing.assert_array_equal(silent, np.full((80, 3000), -1.5, "f4"))  # (-10 + 4) / 4
    loud = np.zeros(16000 * 70, "f4")
    loud[-16000:] = tone(16000, 1.0)
    found = make(loud)
    assert found.shape == (80, 7000)
    assert found[:, 0].min() == found.max() - 2  # the loudest frame of all counts
