"""The special ids of a Whisper, and the rules by which ids follow each other.

Source: https://arxiv.org/abs/2212.04356, section 2.3, and `ApplyTimestampRules` of its reference
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.io.reading import read_object, short
from numbatorch.models.config import Fields

Array = np.ndarray[Any, Any]

MULTILINGUAL_FROM = 51865  # ids of a vocabulary with languages; the English one has fewer
LATEST_FIRST = 50  # a window's first timestamp is within a second
NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")  # names of one token, the present and the first
STEP = 0.02  # seconds from one timestamp to the next
TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class SpeechTokens:
    """What a checkpoint says of its ids."""

    end: int  # ends a text; all special ids are from here on
    start: int  # begins a text
    no_timestamps: int  # says that none follow; the one of 0 seconds is the next id
    languages: Mapping[str, int]  # code to id; empty in an English-only model
    tasks: Mapping[str, int]  # word to id; empty there too
    suppressed: tuple[int, ...] = ()  # ids that no text has
    suppressed_first: tuple[int, ...] = ()  # ids that no text begins with
    no_speech: int | None = None  # stands where nobody speaks; None in a vocabulary without it
    latest_first: int = LATEST_FIRST  # number of the last timestamp that a window may begin with

    @property
    def timestamps(self) -> int:
        """The id of 0 seconds."""
        return self.no_timestamps + 1

    @classmethod
    def from_folder(cls, folder: Path, tokenizer: Tokenizer, vocab_size: int) -> "SpeechTokens":
        """From a folder of Hugging Face or CTranslate2.

        Raises:
            FormatError: the tokenizer lacks a special token, or ids are not in the vocabulary.
        """
        generation = read_object(folder / "generation_config.json", "Transcriber") or {}
        model = read_object(folder / "config.json", "Transcriber") or {}

        def id_of(text: str) -> int:
            found = tokenizer.token_id(text)
            if found is None or found >= vocab_size:
                problem = f"the vocabulary of {vocab_size} ids has no token {text}"
                raise FormatError(message("Transcriber", problem, f"folder {folder}"))
            return found

        def ids_of(*keys: str) -> tuple[int, ...]:
            for values in (generation, model):
                for key in keys:
                    ids = values.get(key)
                    if ids is not None:
                        _check_ids(ids, key, vocab_size, folder)
                        return tuple(ids)
            return ()

        fields = Fields("Transcriber", generation, place=str(folder / "generation_config.json"))
        start = id_of("<|startoftranscript|>")
        languages: dict[str, int] = {}
        tasks: dict[str, int] = {}
        if fields.flag("is_multilingual", vocab_size >= MULTILINGUAL_FROM):
            tasks = {task: id_of(f"<|{task}|>") for task in TASKS}
            texts = {id: tokenizer.token_text(id) for id in range(start + 1, min(tasks.values()))}
            languages = {text[2:-2]: id for id, text in texts.items()}
        return cls(
            end=id_of("<|endoftext|>"),
            start=start,
            no_timestamps=id_of("<|notimestamps|>"),
            languages=languages,
            tasks=tasks,
            suppressed=ids_of("suppress_tokens", "suppress_ids"),
            suppressed_first=ids_of("begin_suppress_tokens", "suppress_ids_begin"),
            no_speech=next(filter(None, map(tokenizer.token_id, NO_SPEECH)), None),
            latest_first=fields.count("max_initial_timestamp_index", LATEST_FIRST),
        )

    def allowed(self, logits: Array, ids: Sequence[int], timed: bool) -> Array:
        """Logits (V,) of the id after `ids` of a window, -inf where the rules allow none.

        Args:
            logits: (V,).
            ids: those after the prompt.
            timed: whether there are timestamps: then the first id is one, within the first second;
                they come in pairs, but for the last before the end; and none is less than one
                before it, nor as much unless it begins a segment where the last one ended. One is
                taken where all together are likelier than each id of text.
        """
        found = logits.astype(np.float32)
        found[list(self.suppressed)] = -np.inf
        if not ids:
            found[list(self.suppressed_first)] = -np.inf
        if not timed:
            found[self.timestamps :] = -np.inf
            return found
        found[self.no_timestamps] = -np.inf
        begin = self.timestamps
        if not ids:
            found[:begin] = -np.inf
            found[begin + self.latest_first + 1 :] = -np.inf
            return found
        last = ids[-1] >= begin
        before = len(ids) < 2 or ids[-2] >= begin
        if last and before:
            found[begin:] = -np.inf
        elif last:
            found[: self.end] = -np.inf
        earlier = [id for id in ids if id >= begin]
        if earlier:
            ends_segment = last and not before
            found[begin : earlier[-1] + (not ends_segment)] = -np.inf
        if log_sum(found[begin:]) > found[:begin].max():
            found[:begin] = -np.inf
        return found

    def cut(
        self, ids: Sequence[int], frames: int
    ) -> tuple[list[tuple[float, float, list[int]]], int]:
        """Segments of a window's ids, and the frame from which the next window begins.

        A segment is its begin and end in seconds of the window, and the ids of its text. Where two
        timestamps stand side by side one segment ends and the next begins. What follows the last
        such place is heard again, unless a single timestamp says that nothing does.

        Args:
            ids: after the prompt, without the one that ends them.
            frames: of the window, 10 ms each.
        """
        begin = self.timestamps
        times = [id >= begin for id in ids]
        ends = [at + 1 for at in range(len(ids) - 1) if times[at] and times[at + 1]]
        done = times[-2:] == [False, True]
        if not ends:
            last = next((id - begin for id in reversed(ids) if id >= begin), 0)
            end = last * STEP if last else frames / 100
            return [(0.0, end, self._text(ids))], frames
        if done:
            ends.append(len(ids))
        segments = []
        for first, after in zip([0, *ends], ends, strict=False):
            part = ids[first:after]
            start, end = ((id - begin) * STEP for id in (part[0], part[-1]))
            segments.append((start, end, self._text(part)))
        return segments, frames if done else 2 * (ids[ends[-1] - 1] - begin)

    def _text(self, ids: Sequence[int]) -> list[int]:
        return [id for id in ids if id < self.end]


def log_sum(x: Array) -> float:
    """log(sum(exp(x))), of -inf alone -inf."""
    top = x.max()
    return float(top + np.log(np.exp(x - top).sum())) if np.isfinite(top) else -np.inf


def _check_ids(ids: Any, key: str, vocab_size: int, folder: Path) -> None:
    if not isinstance(ids, list) or not all(type(x) is int and 0 <= x < vocab_size for x in ids):
        problem = f"{key} is {short(repr(ids))}, not a list of ids from 0 to {vocab_size - 1}"
        raise FormatError(message("Transcriber", problem, f"folder {folder}"))
