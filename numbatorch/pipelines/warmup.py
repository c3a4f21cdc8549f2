"""Compile, ahead of the first use, the kernels that a model needs."""

import os
import time
from collections.abc import Iterator

import numpy as np

from numbatorch import hub, models
from numbatorch.generation.decoder import CHUNK, Decoder
from numbatorch.models.bert import Bert
from numbatorch.pipelines.embedder import Embedder


def warm_up(source: str | os.PathLike[str], revision: str | None = None) -> Iterator[str]:
    """Run a model once in each way that it is used, so that its kernels are in the pack.

    Compiling shows a bar on a terminal.

    Yields:
        lines that say what was run and how long it took.
    """
    path = hub.resolve(source, revision)
    model = models.from_pretrained(path)
    if isinstance(model, Bert):
        embedder = Embedder(path)
        for count in (1, 8):
            start = time.perf_counter()
            embedder.encode(["a text", "and one that is longer than it"][:count] * count)
            yield f"{count} sentences: {time.perf_counter() - start:.2f} s"
        return
    decoder = Decoder(model)
    size = 1
    while size <= min(CHUNK, decoder.limit):
        decoder.reset()
        start = time.perf_counter()
        decoder.feed(np.ones(size, np.int64).tolist())
        yield f"{size} token{'s' * (size > 1)}: {time.perf_counter() - start:.2f} s"
        size *= 4
