"""A language model with the memory of one text: ids in, logits of the next token out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch.errors import OutOfRange, message
from numbatorch.models.blocks.cache import KVCache
from numbatorch.models.protocols import CausalLM
from numbatorch.tensor import Tensor, from_numpy, no_grad
from numbatorch.tensor.capture import Compiled

Array = np.ndarray[Any, Any]

LEAST = 256  # tokens for which a cache is made at first
TRACES = 128  # of a step: one for each size of a chunk and place in the prompt, and after changes
CHUNK = 256  # tokens of a prompt that go through the model at once, at most


class Decoder:
    """Feeds ids to a model and keeps their keys and values.

    One token is one replay of a plan. Longer runs of ids go in chunks of powers of two, so that
    few plans serve prompts of every length.

    Attributes:
        model: the model.
        limit: tokens in its context.
        ids: tokens fed so far.
    """

    def __init__(self, model: CausalLM) -> None:
        self.model = model
        self.limit = model.config.max_position_embeddings
        self.ids: list[int] = []
        self._cache: KVCache | None = None
        self._step: Any = None
        self._id = np.zeros((1, 1), np.int64)
        self._one: Tensor | None = None  # over the memory of `_id`

    @property
    def traces(self) -> int:
        """Number of plans made for the present memory."""
        return 0 if self._step is None else int(self._step.traces)

    @property
    def position(self) -> int:
        """Number of tokens fed so far."""
        return len(self.ids)

    def reset(self) -> None:
        """Forget the text; memory and plans are kept for the next one."""
        self.ids.clear()

    def shared(self, ids: Sequence[int]) -> int:
        """How many tokens at the beginning of `ids` are those that were fed, but not the last."""
        count = 0
        for fed, id in zip(self.ids, ids[:-1], strict=False):
            if fed != id:
                break
            count += 1
        return count

    def rewind(self, ids: Sequence[int]) -> int:
        """Forget all but what is `shared` with a text, and say how many tokens that are.

        What follows them is fed next. Nothing is kept where angles depend on a text's length.
        """
        kept = self.shared(ids)
        if self._cache is not None and not self._cache.keeps_angles(len(ids)):
            kept = 0
        del self.ids[kept:]
        return kept

    def feed(self, ids: Sequence[int]) -> Array:
        """Logits (V,) of the token after `ids`, which follow those fed before. Read-only.

        Raises:
            OutOfRange: an id is not in the vocabulary, or the text outgrows the context.
        """
        self._check(ids)
        total = self.position + len(ids)
        self.reserve(total)
        assert self._step is not None and self._cache is not None
        if self._cache.prepare(self.position, total):
            ids = [*self.ids, *ids]  # a text of this length has other angles from its beginning on
            self.ids.clear()
        start = 0
        while True:
            size = min(CHUNK, 1 << ((len(ids) - start).bit_length() - 1))
            last = start + size == len(ids)
            chunk = ids[start : start + size]
            logits: Tensor = self._step(self._given(chunk), self.position, last)
            self._cache.memory.realize()  # a replay has done so already
            self.ids += chunk
            start += size
            if last:
                return logits.numpy()

    def _given(self, ids: Sequence[int]) -> Tensor:
        """Ids as a batch of one text (1, T).

        A single one on the CPU stands where the one before stood, of which all is computed.
        """
        assert self._cache is not None
        device = self._cache.device
        if len(ids) != 1 or device.kind != "cpu":
            return from_numpy(np.array([ids], np.int64), device, share=True)
        if self._one is None:
            self._one = from_numpy(self._id, device, share=True)
        self._id[0, 0] = ids[0]
        return self._one

    def reserve(self, tokens: int) -> None:
        """Have memory for a text of so many tokens, or as many as fit into the context."""
        have = 0 if self._cache is None else self._cache.capacity
        if min(tokens, self.limit) <= have:
            return
        capacity = max(LEAST, 1 << (tokens - 1).bit_length())
        with no_grad():
            cache = self.model.new_cache(min(capacity, self.limit))
            if self._cache is not None and self.position:
                cache.copy_from(self._cache, self.position)
        self._cache, self._step = cache, _compiled(self.model, cache)

    def _check(self, ids: Sequence[int]) -> None:
        if len(ids) == 0:
            raise OutOfRange(message("decoder", "no ids"))
        check_ids("decoder", ids, self.model.config.vocab_size)
        if self.position + len(ids) > self.limit:
            problem = f"{self.position} + {len(ids)} tokens in a context of {self.limit}"
            raise OutOfRange(message("decoder", problem))


def check_ids(operator: str, ids: Sequence[int], size: int) -> None:
    """Fail unless all ids are in a vocabulary of `size` tokens."""
    for id in ids:
        if not 0 <= id < size:
            rule = f"ids go from 0 to {size - 1}"
            raise OutOfRange(message(operator, f"token id {id} is not in the vocabulary", rule))


def _compiled(model: CausalLM, cache: KVCache) -> Any:
    def step(ids: Tensor, position: int, last: bool) -> Tensor | list[Tensor]:
        """Logits (V,), or nothing but the keys and values of a chunk that is not the last."""
        with no_grad():
            if last:
                out: Tensor = model(ids, cache, position, last=True).reshape(-1)
                return out
            model.hidden(ids, cache, position)
            return []

    return Compiled(step, ("position",), kept=TRACES)
