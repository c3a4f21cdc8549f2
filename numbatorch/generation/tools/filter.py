"""Calls of tools, kept out of the pieces of an answer as they come."""

from numbatorch.generation.tools.calls import Schemas, ToolCall
from numbatorch.generation.tools.formats import (
    THOUGHT_ENDS,
    Format,
    next_opening,
    parse,
    thoughts_end,
)

LONGEST = max(map(len, THOUGHT_ENDS))


class CallFilter:
    """Passes pieces of an answer on, but what may be a call; that is read at the end.

    White space is held back too until it is known that no call follows.

    >>> from numbatorch.generation.tools.formats import FORMATS
    >>> calls = CallFilter(FORMATS["hermes"])
    >>> [calls.feed(piece) for piece in ["a <b> ", "<tool", '_call>{"name": "now", ', "}"]]
    ['a <b>', '', '', '']
    >>> calls.end()
    (' <tool_call>{"name": "now", }', [])
    """

    def __init__(self, form: Format, tools: Schemas = ()) -> None:
        self.raw = ""
        self._form, self._tools = form, tools
        self._held = ""
        self._waits = False  # whether what is held begins with a mark of calls
        self._last = ""  # of what was given out, in which a mark of thoughts may begin
        self._begins = True  # whether nothing was given out since the beginning or thoughts

    def feed(self, piece: str) -> str:
        """The text that can be given out after `piece`."""
        self.raw += piece
        self._held += piece
        if self._waits:
            return ""
        over = thoughts_end(self._last + self._held) - len(self._last)
        given = self._give(over) if over > 0 else ""
        opening = next_opening(self._held, 0, self._form, self._begins)
        if opening is None:
            return given + self._give(len(self._held) - self._kept())
        self._waits = True
        return given + self._give(len(self._held[:opening].rstrip()))

    def end(self) -> tuple[str, list[ToolCall]]:
        """What is still held back when no more comes, and the calls."""
        held, self._held = self._held, ""
        return parse(held, self._form, self._tools, self._begins)

    def _give(self, count: int) -> str:
        given, self._held = self._held[:count], self._held[count:]
        last = self._last + given
        if given.strip():
            self._begins = last.rstrip().endswith(THOUGHT_ENDS)
        self._last = last[-LONGEST:]
        return given

    def _kept(self) -> int:
        """Length of the end of what is held that a call may begin with."""
        held, marks = self._held, self._form.opens
        alone = self._form.first
        for size in range(min(len(held), max(map(len, marks)) - 1), 0, -1):
            head, end = held[:-size], held[-size:]
            if alone and (head.strip() or not self._begins):
                continue
            if any(mark.startswith(end) for mark in marks):
                return size + len(head) - len(head.rstrip())
        return len(held) - len(held.rstrip())
