"""Recordings as the samples that models hear: files and arrays, one channel, the model's rate.

Files are decoded by the soundfile library (the extra `audio`), which loads when the first is read.
"""

import math
import operator
import os
import re
from pathlib import Path
from typing import IO, Any

import numpy as np

from numbatorch.errors import BackendUnavailable, DTypeError, FormatError, ShapeError, message
from numbatorch.io.mapping import called
from numbatorch.io.reading import open_file
from numbatorch.tensor import Tensor

Array = np.ndarray[Any, Any]
Audio = str | os.PathLike[str] | IO[bytes] | Array | Tensor

RATE = 16000  # samples a second that speech models hear
BLOCK = 1 << 19  # frames of a file that are decoded at a time
LARGEST = 10.0  # magnitude of samples: far beyond full scale they have other units
# What libsndfile's log says of a WAV or AIFF file with fewer bytes of samples than its header says.
CUT = re.compile(r"^\s*(?:data|SSND) : (\d+) \(should be (\d+)\)", re.MULTILINE)
STREAMED = 0x7FFFF000  # bytes of samples from which on a header says that it does not know
RATES = (1000, 768000)  # lowest and highest rate of samples that is taken
# What integers of a width are divided by, so that samples lie in [-1, 1).
FULL_SCALE = {np.dtype(np.int16): 2.0**15, np.dtype(np.int32): 2.0**31}
FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


def samples_of(audio: Audio, rate: int | None = None, to_rate: int = RATE) -> Array:
    """One channel of samples, at the rate of a model.

    Channels are averaged; samples are resampled by SciPy's polyphase filter (`resample_poly`).

    Args:
        audio: a path or an open file of what libsndfile reads (WAV, FLAC, OGG, MP3), or samples:
            (N,), or (N, channels) as soundfile gives them, of floats in [-1, 1], int16 or int32.
        rate: samples a second of an array, a whole number, `to_rate` unless given, or a file's.
        to_rate: samples a second of the result.
    Returns:
        (M,) float32, with M = ceil(N * to_rate / rate).
    Raises:
        FileNotFoundError: there is no such file.
        FormatError: a file that cannot be decoded, that is shorter than its header says, or that
            holds no samples, NaN, infinities or magnitudes above 10.
        ValueError: an array with NaN, infinities or magnitudes above 10; a rate that is not whole
            or out of range, or one of a file.
        TypeError: neither a file nor an array.
        ShapeError: an array of another shape, or without samples.
        DTypeError: an array of another dtype.
        BackendUnavailable: a file is given and soundfile is not installed.

    >>> samples_of(np.array([[0, 16384], [-32768, 0]], np.int16))
    array([ 0.25, -0.5 ], dtype=float32)
    """
    kind: type[ValueError] = FormatError
    if isinstance(audio, np.ndarray | Tensor):
        kind = ValueError
        array = audio.detach().numpy() if isinstance(audio, Tensor) else audio
        found = _one_channel(array)
        place = f"array {array.shape} {array.dtype}"
        given = to_rate if rate is None else _whole_rate(rate, place)
    else:
        _check_file(audio)
        if rate is not None:
            problem = f"rate {rate!r:.80} is given, which a file says itself"
            raise ValueError(message("audio", problem))
        found, given, place = _decoded(audio)
        given = _whole_rate(given, place)
    _check_samples(found, place, kind)
    return resampled(found, given, to_rate)


def resampled(samples: Array, rate: int, to_rate: int) -> Array:
    """Samples (N,) of another rate, through a low-pass filter: (ceil(N * to_rate / rate),).

    Source: scipy.signal.resample_poly
    """
    if rate == to_rate:
        return samples
    from scipy.signal import resample_poly

    shared = math.gcd(rate, to_rate)
    found = resample_poly(samples, to_rate // shared, rate // shared)
    return np.ascontiguousarray(found, np.float32)


def _one_channel(array: Array) -> Array:
    """The mean of the channels: (N,) float32."""
    row = f"array {array.shape} {array.dtype}"
    if array.dtype not in (*FLOATS, *FULL_SCALE):
        rule = "samples are floats in [-1, 1], int16 or int32"
        raise DTypeError(message("audio", f"samples are {array.dtype}", row, rule))
    if array.ndim not in (1, 2):
        raise ShapeError(message("audio", "samples are not (N,) or (N, channels)", row))
    if array.size == 0:
        raise ShapeError(message("audio", "there are no samples", row))
    if array.ndim == 2 and array.shape[1] > array.shape[0]:
        problem = f"{array.shape[1]} channels of {array.shape[0]} samples"
        raise ShapeError(message("audio", problem, row, hint="audio.T has channels last"))
    if array.dtype == np.float32 and array.ndim == 1:
        return array
    mean = array if array.ndim == 1 else array.mean(1, dtype=np.float64)
    return (mean / FULL_SCALE.get(array.dtype, 1.0)).astype(np.float32)


def _decoded(source: Any) -> tuple[Array, int, str]:
    """Samples (N,) of a file, their rate, and what errors call the file."""
    if isinstance(source, str | os.PathLike):
        with open_file(source, "audio") as file:
            return *_decoded_open(file, Path(source)), f"file {source}"
    name = called(source, "audio", "read")
    return *_decoded_open(source, name), f"file {name}"


def _decoded_open(file: IO[bytes], path: Path) -> tuple[Array, int]:
    soundfile = _soundfile()
    blocks = []
    try:
        with soundfile.SoundFile(file) as decoder:
            rate, frames = int(decoder.samplerate), int(decoder.frames)
            cut = CUT.search(decoder.extra_info)
            while True:
                block = decoder.read(BLOCK, np.float32, always_2d=True)
                if len(block) == 0:
                    break
                blocks.append(block[:, 0] if block.shape[1] == 1 else block.mean(1))
    except (soundfile.SoundFileError, RuntimeError, TypeError, ValueError) as error:
        problem = "cannot be decoded as audio"
        raise FormatError(message("audio", problem, f"file {path}", str(error))) from error
    said, held = map(int, cut.groups()) if cut else (0, 0)
    if held < said < STREAMED:
        row = f"{held} are there, of which {sum(map(len, blocks))} samples were decoded"
        problem = f"the header says {said} bytes of samples, more than the file has"
        raise FormatError(message("audio", problem, f"file {path}", row))
    if not blocks:
        problem = f"there are no samples; its header says {frames}"
        raise FormatError(message("audio", problem, f"file {path}"))
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks), rate


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: libsndfile is absent
        hint = 'pip install "numbatorch[audio]"; arrays of samples need nothing'
        problem = "audio files need soundfile"
        raise BackendUnavailable(message("audio", problem, str(error), hint=hint)) from error
    return soundfile


def _check_file(audio: Any) -> None:
    if isinstance(audio, str | os.PathLike) or callable(getattr(audio, "read", None)):
        return
    hint = "numpy.asarray(audio, numpy.float32)" if isinstance(audio, list | tuple) else None
    if isinstance(audio, bytes | bytearray | memoryview):
        hint = "io.BytesIO(audio) is an open file"
    rule = "audio is a path, a file open to read bytes, an array or a tensor"
    raise TypeError(message("audio", f"audio is of type {type(audio).__name__}", rule, hint=hint))


def _whole_rate(rate: Any, place: str) -> int:
    low, high = RATES
    try:
        whole = operator.index(rate)
    except TypeError:
        real = isinstance(rate, float | np.floating) and float(rate).is_integer()
        whole = int(rate) if real else 0
    if isinstance(rate, bool) or not low <= whole <= high:
        problem = f"rate is {rate!r:.80}; rates go from {low} to {high} whole samples a second"
        raise ValueError(message("audio", problem, place))
    return whole


def _check_samples(samples: Array, place: str, kind: type[ValueError]) -> None:
    wrong = ~np.isfinite(samples)
    if wrong.any():
        count, first = int(wrong.sum()), int(wrong.argmax())
        problem = f"{count} of {len(samples)} samples are NaN or infinite"
        rows = (place, f"the first is sample {first}, {samples[first]}")
        raise kind(message("audio", problem, *rows))
    largest = float(max(samples.max(), -samples.min()))
    if largest > LARGEST:
        problem = f"the largest magnitude is {largest:g}; samples are floats in [-1, 1]"
        hint = "of integers as floats: audio / 32768 for 16 bits"
        raise kind(message("audio", problem, place, hint=hint))
