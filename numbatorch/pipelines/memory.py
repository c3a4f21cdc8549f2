"""How much memory a generation will take, before any of it is taken."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numbatorch import debug
from numbatorch.errors import OutOfRange, message
from numbatorch.generation.decoder import CHUNK, LEAST
from numbatorch.generation.text_generator import TextGenerator
from numbatorch.shape import numel
from numbatorch.tensor import from_numpy, no_grad

KERNELS = 55 << 20  # bytes that compiled kernels and what links them take, as measured on Linux
PAGES = 2 << 20  # bytes by which large memory is made resident
PROCESS = 70 << 20  # of Python and its libraries, where the system does not say


@dataclass(frozen=True)
class GenerationMemory:
    """Bytes that a process takes which generates text.

    Attributes:
        weights: of the model, mapped from its file.
        cache: keys and values of the tokens.
        activations: what is computed with, of a chunk of a prompt.
        program: Python, libraries, tokenizer and kernels.
        growth: more, where a text grows to its length: while the last smaller cache was copied.
        capacity: tokens that the cache has room for.
    """

    weights: int
    cache: int
    activations: int
    program: int
    growth: int
    capacity: int

    @property
    def total(self) -> int:
        """All of it, for a prompt of that length."""
        return self.weights + self.cache + self.activations + self.program

    def lines(self, tokens: int) -> list[str]:
        """For people."""
        rows = [
            ("weights", self.weights),
            ("keys and values", self.cache),
            ("activations", self.activations),
            ("program, tokenizer, kernels", self.program),
        ]
        width = max(len(name) for name, _ in rows)
        found = [f"  {name:{width}}  {_megabytes(size)}" for name, size in rows]
        grown = f", {_megabytes(self.total + self.growth)} where a short one grows to that"
        first = f"memory for a text of {tokens} tokens: {_megabytes(self.total)}"
        return [first + (grown if self.growth else ""), *found]


def generation_memory(source: str | os.PathLike[str], tokens: int) -> GenerationMemory:
    """What generating takes up to a text of so many tokens; reads no weights.

    Args:
        source: a folder, a GGUF file or a repository of the Hub.
        tokens: of prompt and answer together.
    Raises:
        OutOfRange: more tokens than the model's context has, or none.
        FormatError: not a model that generates text.

    >>> generation_memory("model.gguf", 2048).total  # doctest: +SKIP
    """
    generator = TextGenerator(source)
    model: Any = generator.model
    if not 1 <= tokens <= generator.context:
        problem = f"{tokens} tokens in a context of {generator.context}"
        raise OutOfRange(message("inspect", problem))
    capacity = min(max(LEAST, 1 << (tokens - 1).bit_length()), generator.context)
    weights = sum(p.dtype.nbytes(numel(p.shape)) for p in model.parameters())
    with no_grad():
        cache = model.new_cache(capacity)
        memory = cache.memory
        ids = from_numpy(np.ones((1, min(CHUNK, tokens)), np.int64), model.device)
        last = model(ids, cache, 0, last=True)
        plan = debug.plan([last, cache.memory])
    held = memory.dtype.nbytes(numel(memory.shape))
    tables = sum(
        table.dtype.nbytes(numel(table.shape)) for pair in cache.tables.values() for table in pair
    )
    rows = numel(memory.shape[:-2])
    taken = rows * _touched(held // rows, tokens, capacity)
    growth = 0
    if capacity > LEAST:
        before = 1 << ((capacity - 1).bit_length() - 1)  # tokens of the last smaller cache
        copied = _touched(held // rows, before, capacity)
        smaller = held // rows * before // capacity
        growth = max(0, rows * (smaller + copied) - taken)
    logits = 2 * last.dtype.nbytes(numel(last.shape))
    return GenerationMemory(
        weights,
        taken + tables,
        plan.arena + logits,
        _resident() + KERNELS,
        growth,
        capacity,
    )


def _touched(row: int, tokens: int, capacity: int) -> int:
    """Bytes that are in memory of a head's keys, of which there are `row`, after so many tokens."""
    used = row * tokens // capacity
    return min(row, -(-used // PAGES) * PAGES)


def _resident() -> int:
    """Bytes of this process that are in memory."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return PROCESS
    return pages * os.sysconf("SC_PAGE_SIZE")


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
