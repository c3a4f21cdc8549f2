"""Compile, ahead of the first use, the kernels that a model needs."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial

from numbatorch import hub, models
from numbatorch.device import Device
from numbatorch.generation.decoder import CHUNK, Decoder
from numbatorch.models.protocols import CausalLM
from numbatorch.pipelines import embedder
from numbatorch.pipelines.embedder import Embedder

WORDS = "a few words of which texts of several lengths are made".split()


def warm_up(
    source: str | os.PathLike[str],
    revision: str | None = None,
    device: Device | str | None = None,
) -> Iterator[str]:
    """Run a model once in each way that it is used, so that its kernels are in the pack.

    Compiling shows a bar on a terminal.

    Yields:
        lines that say what was run and how long it took.
    """
    path = hub.resolve(source, revision)
    model = models.from_pretrained(path, device=device)
    encodes = model.task == embedder.TASK
    runs = _embeddings(Embedder(path, device=device)) if encodes else _steps(model)
    for name, run in runs:
        start = time.perf_counter()
        run()
        yield f"{name}: {time.perf_counter() - start:.2f} s"


def _embeddings(embedder: Embedder) -> Iterator[tuple[str, Callable[[], object]]]:
    """Single texts of several lengths, and a batch of unequal ones."""
    texts = [" ".join((WORDS * 20)[:count]) for count in (2, 16, 100, 200)]
    for text in texts:
        yield f"a sentence of {text.count(' ') + 1} words", partial(embedder.encode, [text])
    yield "a batch", partial(embedder.encode, texts * 4)


def _steps(model: CausalLM) -> Iterator[tuple[str, Callable[[], object]]]:
    """One token, prompts of several lengths, and a text that outgrows its first memory."""
    decoder = Decoder(model)
    size = 1
    while size <= min(CHUNK, decoder.limit):
        decoder.reset()
        yield f"{size} token{'s' * (size > 1)}", partial(decoder.feed, [0] * size)
        size *= 4
    if decoder.position < decoder.limit:
        yield "one more", partial(decoder.feed, [0])
