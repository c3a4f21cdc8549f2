"""Several texts at once: each step of the model goes on with all, and reads its weights once.

Places in memory are counted in slots, the same for all rows: a text of n tokens that is at slot s
began at s - n, and its row does not see what was there before. Angles depend on distances only, so
it does not matter where a text began. A prompt goes through the model alone, in its own length, and
comes to the slot that the others are at: a row that has ended is given the next one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch.dtype import int64
from numbatorch.generation.continuation import Continuation
from numbatorch.generation.decoder import CHUNK, LEAST, TRACES, Decoder
from numbatorch.models.protocols import CausalLM
from numbatorch.tensor import Tensor, from_numpy, no_grad, zeros
from numbatorch.tensor.capture import Compiled

Array = np.ndarray[Any, Any]

ROWS = 8  # texts at once, at most


class Memory:
    """Keys and values of texts, and the plans that go on with them.

    Attributes:
        rows: B, number of texts.
        cache: where keys and values are.
    """

    def __init__(self, model: CausalLM, rows: int, capacity: int) -> None:
        with no_grad():
            cache = model.new_cache(capacity, rows)
            cache.starts = zeros(rows, dtype=int64, device=cache.device).realize()

        def step(ids: Tensor, position: int, last: bool) -> Tensor | list[Tensor]:
            """Logits (B, V) after the last of ids (B, T), or nothing but keys and values."""
            with no_grad():
                if last:
                    logits: Tensor = model(ids, cache, position, last=True)
                    return logits.reshape(rows, -1)
                model.hidden(ids, cache, position)
                return []

        self.rows, self.cache = rows, cache
        self._step: Any = Compiled(step, ("position",), kept=TRACES)

    def feed(self, ids: Array, slot: int, last: bool) -> Any:
        """Go on with ids (B, T) from a slot on; logits (B, V) if these are the last."""
        given = from_numpy(np.asarray(ids, np.int64), self.cache.device, share=True)
        logits = self._step(given, slot, last)
        self.cache.memory.realize()  # a replay has done so already
        return logits.numpy() if last else None

    def begin(self, row: int, slot: int) -> None:
        """Say where the text of a row begins."""
        assert self.cache.starts is not None
        with no_grad():
            self.cache.starts[row] = slot
            self.cache.starts.realize()


class Batches:
    """Memories for texts of a model, which are kept for the next ones.

    Attributes:
        capacity: slots that they all have; it grows.
        fixed: whether angles of positions are the same in texts of all lengths.
    """

    def __init__(self, model: CausalLM) -> None:
        self.model = model
        self.capacity = 0
        limit = model.config.max_position_embeddings
        tables = model.new_cache(1).tables
        self.fixed = not any(rope.stage(limit) for rope in tables)
        self._memories: dict[int, Memory] = {}

    def reserve(self, slots: int) -> None:
        """Have memories of so many slots, or as many as the model has positions."""
        limit = self.model.config.max_position_embeddings
        if min(slots, limit) > self.capacity:
            self._memories.clear()
            self.capacity = min(max(LEAST, 1 << (slots - 1).bit_length()), limit)

    def memory(self, rows: int) -> Memory:
        """One for so many texts."""
        if rows not in self._memories:
            self._memories[rows] = Memory(self.model, rows, self.capacity)
        return self._memories[rows]


class Rows:
    """Several texts that go on together, all at one slot.

    Attributes:
        slot: where the next token of every row goes.
    """

    def __init__(self, batches: Batches, rows: int, slot: int) -> None:
        self.slot = slot
        self._all, self._one = batches.memory(rows), batches.memory(1)

    def place(self, row: int, ids: Sequence[int]) -> Array:
        """Put a text into a row, so that it ends before the slot; logits (V,) of what follows."""
        start = self.slot - len(ids)
        assert start >= 0
        self._one.begin(0, start)
        logits: Any = None
        fed = 0
        for size in chunks(len(ids)):
            part = np.array([ids[fed : fed + size]])
            logits = self._one.feed(part, start + fed, fed + size == len(ids))
            fed += size
        if self._all is not self._one:
            own, memory = self._one.cache.memory, self._all.cache.memory
            with no_grad():
                memory[:, :, row, :, start : self.slot] = own[:, :, 0, :, start : self.slot]
                memory.realize()
            self._all.begin(row, start)
        found: Array = logits[0]
        return found

    def step(self, ids: Sequence[int]) -> Array:
        """Logits (B, V) after one more token in each row."""
        logits: Array = self._all.feed(np.array(ids)[:, None], self.slot, last=True)
        self.slot += 1
        return logits


def chunks(tokens: int) -> list[int]:
    """The powers of two in which a prompt of so many tokens is fed."""
    sizes = []
    while tokens:
        sizes.append(min(CHUNK, 1 << (tokens.bit_length() - 1)))
        tokens -= sizes[-1]
    return sizes


def generate_all(batches: Batches, texts: Sequence[Continuation]) -> list[str]:
    """Continue every text to its end, as many at once as there are rows.

    The longest go first, so that those that follow find room before the slot.
    """
    written = [""] * len(texts)
    if not batches.fixed:
        return [_alone(batches.model, text) for text in texts]
    waiting = [number for number, text in enumerate(texts) if text.finish is None]
    while waiting:
        waiting.sort(key=lambda number: -len(texts[number].text.ids))
        waiting = _together(batches, texts, waiting, written)
    return written


def _alone(model: CausalLM, text: Continuation) -> str:
    """One text from its beginning, where angles depend on its length."""
    decoder, fed, written = Decoder(model), text.text.ids, ""
    while text.finish is None:
        written += text.take(decoder.feed(fed))
        fed = text.ids[-1:]
    return written


def _together(
    batches: Batches, texts: Sequence[Continuation], waiting: list[int], written: list[str]
) -> list[int]:
    """Go on until the memory is full, or few enough are left for a smaller one.

    Returns:
        the texts that have not ended.
    """
    longest = len(texts[waiting[0]].text.ids)
    batches.reserve(longest + max(min(texts[number].limit, LEAST) for number in waiting))
    count = min(ROWS, 1 << (len(waiting) - 1).bit_length())
    rows, queue = Rows(batches, count, longest), deque(waiting)
    running: list[int | None] = [None] * count

    def take(number: int, logits: Array) -> bool:
        written[number] += texts[number].take(logits)
        return texts[number].finish is None

    def fill(row: int) -> None:
        """Give a row to the next text that does not end with its first token."""
        running[row] = None
        while queue and running[row] is None:
            number = queue.popleft()
            if take(number, rows.place(row, texts[number].text.ids)):
                running[row] = number

    for row in range(count):
        fill(row)
    while rows.slot < batches.capacity:
        left = len(queue) + sum(number is not None for number in running)
        if left <= count // 2:
            break
        logits = rows.step([0 if n is None else texts[n].text.ids[-1] for n in running])
        for row, number in enumerate(running):
            if number is not None and not take(number, logits[row]):
                fill(row)
    return [*queue, *(number for number in running if number is not None)]
