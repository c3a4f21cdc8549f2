"""What was said, and when; written as text, subtitles and JSON."""

import html
import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Segment:
    """Some of what was said."""

    start: float  # seconds
    end: float
    text: str
    ids: tuple[int, ...]  # of the text's tokens
    avg_logprob: float = 0.0  # mean log probability of the ids of its window, and of the end
    no_speech_prob: float | None = None  # that nobody speaks in its window, if the model says so


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording.

    >>> said = Transcript("Hi. Bye.", (Segment(0.0, 1.5, "Hi.", ()), Segment(2.0, 3.0, "Bye.", ())))
    >>> print(said.to_srt().splitlines()[1])
    00:00:00,000 --> 00:00:01,500
    """

    text: str
    segments: tuple[Segment, ...]
    language: str = "en"  # code
    language_probability: float = 1.0  # 1 unless it was detected
    duration: float = 0.0  # seconds of the recording

    def __str__(self) -> str:
        return self.text

    def to_srt(self) -> str:
        """SubRip subtitles."""
        rows = [
            f"{number}\n{_clock(x.start, ',')} --> {_clock(x.end, ',')}\n{x.text}\n"
            for number, x in enumerate(self.segments, 1)
        ]
        return "\n".join(rows)

    def to_vtt(self) -> str:
        """WebVTT subtitles. Source: https://www.w3.org/TR/webvtt1/"""
        rows = [
            f"{_clock(x.start, '.')} --> {_clock(x.end, '.')}\n{html.escape(x.text, quote=False)}\n"
            for x in self.segments
        ]
        return "\n".join(["WEBVTT\n", *rows])

    def to_json(self) -> str:
        """All fields."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=2) + "\n"


def _clock(seconds: float, point: str) -> str:
    """Hours, minutes, seconds and milliseconds.

    >>> _clock(3723.0456, ",")
    '01:02:03,046'
    """
    whole = round(seconds * 1000)
    minutes, milliseconds = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{point}{milliseconds % 1000:03}"
