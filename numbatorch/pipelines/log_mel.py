"""Log-mel spectrograms in the units that Whisper hears: windows of 25 ms, one each 10 ms.

Source: https://arxiv.org/abs/2212.04356, section 2.2; the scale and the filters are those of
M. Slaney, "Auditory Toolbox", Technical Report 1998-010, Interval Research Corporation
"""

from typing import Any

import numpy as np

from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.pipelines.audio import RATE
from numbatorch.signal.windows import hann
from numbatorch.tensor import Tensor, from_numpy, no_grad
from numbatorch.tensor.capture import Compiled

Array = np.ndarray[Any, Any]

WINDOW = 400  # samples of a transform, n_fft
HOP = 160  # samples from one frame to the next
FRAMES = 3000  # of a chunk that is transformed at once, 30 seconds
FLOOR = 1e-10  # least power whose logarithm is taken
RANGE = 8.0  # decades below the loudest that are kept
LINEAR_HZ = 200 / 3  # width of a mel below 1 kHz
BREAK_HZ, BREAK_MEL = 1000.0, 15.0  # where the scale becomes logarithmic
STEP = np.log(6.4) / 27  # natural logarithm of a mel's ratio above


def mel_to_hz(mels: Array) -> Array:
    """Slaney's scale: 200/3 Hz a mel up to 1 kHz, above it 27 mels to a ratio of 6.4.

    >>> mel_to_hz(np.array([1.5, 15.0, 42.0])).round(6).tolist()
    [100.0, 1000.0, 6400.0]
    """
    above = np.maximum(mels - BREAK_MEL, 0)
    return np.where(mels < BREAK_MEL, mels * LINEAR_HZ, BREAK_HZ * np.exp(above * STEP))


def mel_filters(bins: int, rate: int = RATE, n_fft: int = WINDOW) -> Array:
    """Triangles over the frequencies of a transform, of area 1 in Hz: (bins, n_fft / 2 + 1).

    Their corners are equally far apart in mels, from 0 to half of the rate.
    """
    top = BREAK_MEL + np.log(rate / 2 / BREAK_HZ) / STEP
    corners = mel_to_hz(np.linspace(0.0, top, bins + 2))
    frequencies = np.linspace(0.0, rate / 2, n_fft // 2 + 1)
    apart = corners[:, None] - frequencies  # (bins + 2, n_fft / 2 + 1)
    widths = np.diff(corners)[:, None]
    rising, falling = -apart[:-2] / widths[:-1], apart[2:] / widths[1:]
    areas = (corners[2:] - corners[:-2])[:, None] / 2
    found: Array = np.maximum(0, np.minimum(rising, falling)) / areas
    return found


class LogMel:
    """Makes the spectrograms of a number of bins; all chunks of 30 seconds are one plan's replays.

    Attributes:
        bins: mel frequencies.
    """

    def __init__(self, bins: int = 80) -> None:
        self.bins = bins
        self._filters = from_numpy(mel_filters(bins))  # float64, as all until the logarithm
        self._window = hann(WINDOW, sym=False, dtype=self._filters.dtype)
        self._run = Compiled(self._powers, ())

    def __call__(self, samples: Array, least: int = 0) -> Array:
        """(bins, frames) float32 of samples at 16 kHz; silence follows up to `least` frames.

        log10 of the power in each filter, but at most 8 below the largest of all; + 4, / 4. Frame m
        has its middle at sample 160 m. The signal is mirrored at both ends.

        Args:
            samples: (N,) float32.
            least: frames that there are at least.
        Returns:
            (bins, max(N // 160, least)).
        Raises:
            ShapeError: the samples are not (N,), or too few: 201 with the silence.
            DTypeError: they are not float32.
        """
        row = f"samples {samples.shape} {samples.dtype}"
        if samples.ndim != 1:
            raise ShapeError(message("log_mel", "samples are not (N,)", row))
        if samples.dtype != np.float32:
            raise DTypeError(message("log_mel", "samples are not float32", row))
        silence = max(least * HOP - len(samples), 0)
        if len(samples) + silence <= WINDOW // 2:
            rule = f"more than {WINDOW // 2} are needed, half of a window"
            raise ShapeError(message("log_mel", "too few samples", row, rule))
        frames = (len(samples) + silence) // HOP
        padded = np.pad(np.pad(samples, (0, silence)), WINDOW // 2, mode="reflect")
        out = np.empty((self.bins, frames), np.float32)
        for start in range(0, frames, FRAMES):
            chunk = np.zeros((FRAMES - 1) * HOP + WINDOW, np.float32)
            part = padded[start * HOP :][: len(chunk)]
            chunk[: len(part)] = part
            found: Tensor = self._run(from_numpy(chunk))
            out[:, start : start + FRAMES] = found.numpy()[:, : frames - start]
        kept: Array = np.maximum(out, out.max() - RANGE)
        return (kept + 4.0) / 4.0

    def _powers(self, samples: Tensor) -> Tensor:
        """log10 of the power in each filter, at least -10: (bins, FRAMES)."""
        with no_grad():
            wide = samples.to(self._filters.dtype)
            spectrum = wide.stft(
                WINDOW, HOP, window=self._window, center=False, return_complex=True
            )
            power = spectrum.real**2 + spectrum.imag**2
            return (self._filters @ power).clamp(min=FLOOR).log10().float()
