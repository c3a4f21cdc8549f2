"""How well a model expects a text, and how far its expectations are from another model's.

Half of each chunk is what the other half is expected from, as in llama.cpp, whose files of
log-probabilities are read and written:
https://github.com/ggml-org/llama.cpp/blob/master/tools/perplexity/perplexity.cpp
"""

import math
import os
import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

import numpy as np

from numbatorch.device import Device
from numbatorch.errors import FormatError, OutOfRange, message
from numbatorch.generation.text_generator import TextGenerator
from numbatorch.io.mapping import Array, map_file
from numbatorch.io.writing import check_output, replaced
from numbatorch.pipelines.texts import CONTEXT, begun, check_chunks, chunks_of, read_text
from numbatorch.tensor import no_grad
from numbatorch.tensor import tensor as as_tensor

MAGIC = b"_logits_"
HEAD = 4  # 16-bit words before the log-probabilities of a token: two float32
LOWEST = 16.0  # below the largest logit, what a file of log-probabilities reaches


@dataclass(frozen=True)
class Mean:
    """A mean and its standard error."""

    value: float
    error: float

    @classmethod
    def of(cls, values: Array) -> "Mean":
        """Of numbers that are taken as independent."""
        count = values.size
        spread = values.std() / math.sqrt(count - 1) if count > 1 else 0.0
        return cls(float(values.mean()), float(spread))


@dataclass(frozen=True)
class Report:
    """What was measured.

    Attributes:
        tokens: how many were expected.
        perplexity: exp of the mean surprise.
        divergence: KL divergence of this model from the reference, in nats, if there was one.
        ratio: this perplexity divided by the reference's, of log-probabilities that both end 16
            below the largest, as those of files do.
        same_top: share of tokens whose likeliest one is the reference's.
    """

    tokens: int
    perplexity: Mean
    divergence: Mean | None = None
    ratio: Mean | None = None
    same_top: Mean | None = None

    def lines(self) -> list[str]:
        """For people."""
        rows = [("perplexity", self.perplexity, f"over {self.tokens} tokens")]
        if self.divergence is not None and self.ratio is not None and self.same_top is not None:
            rows.append(("KL divergence", self.divergence, "nats from the reference"))
            rows.append(("perplexity ratio", self.ratio, "to the reference"))
            rows.append(("same likeliest token", self.same_top, "as the reference"))
        return [f"{name}: {x.value:.5g} +- {x.error:.2g} {note}" for name, x, note in rows]


def perplexity(
    source: str | os.PathLike[str],
    text: str | os.PathLike[str] | None = None,
    context: int | None = None,
    chunks: int | None = None,
    *,
    reference: str | os.PathLike[str] | None = None,
    save: str | os.PathLike[str] | None = None,
    revision: str | None = None,
    device: Device | str | None = None,
    bar: Callable[[int], Callable[[int], Any]] = lambda total: int,
) -> Report:
    """The perplexity of a text, and the KL divergence from what another model expected.

    Args:
        source: a folder, a GGUF file or a repository of the Hub.
        text: a file in UTF-8; a reference has its own.
        context: tokens that are run together; the second half of them is counted. 512 unless
            given, or those of the reference.
        chunks: how many of these at most; all unless given.
        reference: a file of log-probabilities.
        save: where to write this model's, whole or not at all.
        revision, device: as in `TextGenerator`.
        bar: called with the number of chunks; gives what is called with those that are done.
    Raises:
        OutOfRange: the text is shorter than a chunk, or a chunk longer than the model's context.
        FormatError: a malformed reference, or one of another vocabulary; no text at all, or a text
            and a reference; `save` is one of the files that are read.

    >>> perplexity("model.gguf", "text.txt").perplexity.value  # doctest: +SKIP
    """
    _check_files(source, text, reference, save)
    generator = TextGenerator(source, revision, device)
    base = None if reference is None else Reference(reference, generator.model.config.vocab_size)
    if base is not None:
        parts = base.chunks(context, chunks)
    else:
        assert text is not None
        whole = read_text(text, "perplexity")
        size = CONTEXT if context is None else context
        parts = chunks_of(generator, whole, size, chunks, "perplexity")
    advance = bar(len(parts))
    surprises, far, ours, theirs, same = [], [], [], [], []
    with ExitStack() as open_files:
        file = None
        if save is not None:
            temporary = open_files.enter_context(replaced(save, "perplexity"))
            file = open_files.enter_context(open(temporary, "wb"))
            _write_head(file, parts, generator.model.config.vocab_size)
        for number, ids in enumerate(parts):
            first = len(ids) // 2
            logits = _logits(generator, ids)[first:-1]
            wanted = np.array(ids[first + 1 :])
            expected = log_softmax(logits)
            surprises.append(-np.take_along_axis(expected, wanted[:, None], 1)[:, 0])
            if file is not None:
                file.write(packed(logits).tobytes())
            if base is not None:
                other = base.log_probabilities(number)
                far.append(_divergences(expected, other))
                theirs.append(-np.take_along_axis(other, wanted[:, None], 1)[:, 0])
                ours.append(np.minimum(surprises[-1], LOWEST - expected.max(1)))
                same.append(expected.argmax(1) == other.argmax(1))
            advance(1)
    mean = Mean.of(np.concatenate(surprises))
    found = Mean(math.exp(mean.value), math.exp(mean.value) * mean.error)
    count = sum(map(len, surprises))
    if base is None:
        return Report(count, found)
    change = Mean.of(np.concatenate(ours) - np.concatenate(theirs))
    ratio = Mean(math.exp(change.value), math.exp(change.value) * change.error)
    top = Mean.of(np.concatenate(same).astype(np.float64))
    return Report(count, found, Mean.of(np.concatenate(far)), ratio, top)


def _check_files(source: Any, text: Any, reference: Any, save: Any) -> None:
    """Fail before the work where files are missing, too many or the same."""
    if text is None and reference is None:
        raise FormatError(message("perplexity", "neither a text nor a reference"))
    if text is not None and reference is not None:
        problem = "a text and a reference, which has its own"
        raise FormatError(message("perplexity", problem, f"text {text}", f"reference {reference}"))
    if save is not None:
        check_output(save, [source, text, reference], "perplexity")


def log_softmax(logits: Array) -> Array:
    """Log-probabilities of (n, V) logits, in float64."""
    moved = logits.astype(np.float64) - logits.max(1, keepdims=True)
    found: Array = moved - np.log(np.exp(moved).sum(1, keepdims=True))
    return found


def packed(logits: Array) -> Array:
    """Log-probabilities of (n, V) logits in 16 bits, as files hold them: (n, words) uint16.

    Each row begins with the step and the least value, two float32; what is more than 16 below the
    largest is the least.
    """
    n, V = logits.shape
    largest = logits.max(1, keepdims=True)
    least = np.maximum(logits.min(1, keepdims=True), largest - np.float32(LOWEST))
    total = np.log(np.exp(logits - largest).sum(1, keepdims=True, dtype=np.float64))
    step = ((largest - least) / np.float32(65535)).astype(np.float32)
    out = np.zeros((n, 2 * ((V + 1) // 2) + HEAD), "<u2")
    numbers = (step, (least - largest - total).astype(np.float32))
    out[:, :HEAD] = np.concatenate(numbers, axis=1).astype("<f4").view("<u2")
    with np.errstate(all="ignore"):
        codes = np.where(step > 0, np.rint((logits - least) / step), 0)
    out[:, HEAD : HEAD + V] = np.clip(codes, 0, 65535)
    return out


class Reference:
    """A file of the log-probabilities that a model gave to a text.

    Attributes:
        parts: the tokens, in chunks.

    Raises:
        FormatError: the file is malformed, or of another vocabulary.
    """

    def __init__(self, path: str | os.PathLike[str], vocab_size: int) -> None:
        self.path = Path(path)
        raw = map_file(path)
        if raw[:8].tobytes() != MAGIC or raw.size < 20:
            self._fail("no file of log-probabilities")
        context, words, count = struct.unpack("<Iii", raw[8:20].tobytes())
        if words != vocab_size:
            self._fail(f"a vocabulary of {words} tokens, the model has {vocab_size}")
        self._rows, self._words = context - 1 - context // 2, words
        line = 2 * (2 * ((words + 1) // 2) + HEAD)
        start = 20 + 4 * context * count
        size = start + self._rows * line * count
        if context < 2 or count < 1 or raw.size < size:
            self._fail(f"{raw.size} bytes, where {count} chunks of {context} tokens take {size}")
        ids = np.frombuffer(raw.data, "<i4", context * count, 20).reshape(count, context)
        if ids.min() < 0 or ids.max() >= words:
            self._fail("a token that is not in the vocabulary")
        self.parts: list[list[int]] = ids.tolist()
        shape = (count, self._rows, line // 2)
        flat = np.frombuffer(raw.data, "<u2", math.prod(shape), start)
        self._data = flat.reshape(shape)

    def chunks(self, context: int | None, count: int | None) -> list[list[int]]:
        """At most `count` chunks, which have `context` tokens.

        Raises:
            OutOfRange: they have others, or there is none.
        """
        check_chunks(count, "perplexity")
        tokens = len(self.parts[0])
        if context not in (None, tokens):
            problem = f"chunks of {context} tokens, those of the reference have {tokens}"
            raise OutOfRange(message("perplexity", problem, f"file {self.path}"))
        return self.parts if count is None else self.parts[:count]

    def log_probabilities(self, number: int) -> Array:
        """Those of the second half of a chunk: (rows, V) float64."""
        rows = self._data[number]
        scales = np.ascontiguousarray(rows[:, :HEAD]).view("<f4").astype(np.float64)
        found: Array = rows[:, HEAD : HEAD + self._words] * scales[:, :1] + scales[:, 1:]
        return found

    def _fail(self, problem: str) -> NoReturn:
        raise FormatError(message("perplexity", problem, f"file {self.path}"))


def _divergences(expected: Array, other: Array) -> Array:
    """KL divergence of each row from the other's, of what the other gives more than e^-16."""
    terms = np.where(other > -LOWEST, np.exp(other) * (other - expected), 0.0)
    found: Array = terms.sum(1)
    return found


def _logits(generator: TextGenerator, ids: list[int]) -> Array:
    model = generator.model
    with no_grad():
        given = as_tensor([begun(generator, ids)], device=model.device)
        return model(given)[0].numpy()


def _write_head(file: BinaryIO, parts: list[list[int]], vocab_size: int) -> None:
    context = len(parts[0])
    file.write(MAGIC + struct.pack("<Iii", context, vocab_size, len(parts)))
    file.write(np.array(parts, "<i4").tobytes())
