"""What the layers above use of a model, by the task that it is for."""

from typing import Protocol

from numbatorch.device import Device
from numbatorch.models.blocks.cache import KVCache
from numbatorch.tensor import Tensor


class TextConfig(Protocol):
    """Sizes that every model of texts has."""

    @property
    def vocab_size(self) -> int:
        """V, number of ids."""

    @property
    def hidden_size(self) -> int:
        """C, numbers in the vector of a token."""

    @property
    def max_position_embeddings(self) -> int:
        """Tokens in the longest text."""


class TextModel(Protocol):
    """Where a model of texts is, and its sizes."""

    @property
    def config(self) -> TextConfig:
        """Its sizes."""

    @property
    def device(self) -> Device:
        """Where the weights are."""


class CausalLM(TextModel, Protocol):
    """Task "text-generation": the logits of each next token."""

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """Memory for the keys and values of `capacity` tokens of `batch` texts."""

    def hidden(self, ids: Tensor, cache: KVCache | None = None, position: int = 0) -> Tensor:
        """As calling the model, but what the last layer gives: (B, T, C)."""

    def __call__(
        self, ids: Tensor, cache: KVCache | None = None, position: int = 0, last: bool = False
    ) -> Tensor:
        """Logits (B, T, V) of the tokens after `ids` (B, T); of the last one only if `last`.

        `ids` begin at `position`; the tokens before are in `cache`, to which these are added.
        """


class TextEncoder(TextModel, Protocol):
    """Task "feature-extraction": a vector for each token of a whole text."""

    def __call__(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, T, C) of `ids` (B, T); `mask` (B, T) is 0 where a text was filled up."""
