"""Stop strings: found across pieces of text, and never given out."""

from collections.abc import Sequence

from numbatorch.generation.arguments import check_texts


class StopFilter:
    """Passes pieces of text on until one of the stop strings appears.

    What may be the beginning of a stop string is held back until it is known.

    Attributes:
        found: the stop string that ended the text, or None.

    >>> stops = StopFilter(["END"])
    >>> [stops.feed(piece) for piece in ["a E", "No", " EN", "D b"]], stops.found
    (['a ', 'ENo', ' ', ''], 'END')
    """

    def __init__(self, stops: str | Sequence[str]) -> None:
        self.found: str | None = None
        self._stops = check_texts("generate", "stop", stops)
        self._held = ""

    def feed(self, piece: str) -> str:
        """The text that can be given out after `piece`."""
        if self.found is not None:
            return ""
        text = self._held + piece
        places = [(text.find(stop), stop) for stop in self._stops]
        ends = [(place + len(stop), place, stop) for place, stop in places if place >= 0]
        if ends:  # the first to be complete, whatever the cuts between pieces
            _, place, self.found = min(ends)
            self._held = ""
            return text[:place]
        kept = max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def end(self) -> str:
        """What is still held back when no more text comes."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` with which `stop` begins."""
    for size in range(min(len(stop) - 1, len(text)), 0, -1):
        if text.endswith(stop[:size]):
            return size
    return 0
