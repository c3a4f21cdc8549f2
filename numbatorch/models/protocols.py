"""What the layers above use of a model, by the task that it is for."""

from collections.abc import Sequence
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


class SpeechConfig(TextConfig, Protocol):
    """Sizes that every model of speech has."""

    @property
    def num_mel_bins(self) -> int:
        """M, mel frequencies of a spectrogram."""

    @property
    def max_source_positions(self) -> int:
        """S, states of a window, whose spectrogram has twice as many frames."""


class SpeechToText(Protocol):
    """Task "speech-to-text": the logits of each next token of what is said in a window of sound."""

    @property
    def config(self) -> SpeechConfig:
        """Its sizes."""

    @property
    def device(self) -> Device:
        """Where the weights are."""

    def encode(self, mel: Tensor) -> Tensor:
        """States (B, S, C) of spectrograms (B, M, 2S)."""

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """Memory for the keys and values of `capacity` tokens of `batch` texts."""

    def new_heard(self, batch: int = 1) -> KVCache:
        """Memory for what is looked at of the states of `batch` windows."""

    def hear(self, states: Tensor, heard: KVCache) -> None:
        """Write that memory, once for a window."""

    def decode(
        self,
        ids: Tensor,
        heard: KVCache,
        cache: KVCache | None = None,
        position: int = 0,
        last: bool = False,
    ) -> Tensor:
        """Logits (B, T, V) as of a `CausalLM`, for windows that were heard."""

    def hidden(
        self, ids: Tensor, heard: KVCache, cache: KVCache | None = None, position: int = 0
    ) -> Tensor:
        """As `decode`, but what the last layer gives: (B, T, C)."""


class ImageModel(Protocol):
    """Where a model of images is."""

    @property
    def device(self) -> Device:
        """Where the weights are."""


class ImageEncoder(ImageModel, Protocol):
    """Task "image-feature-extraction": features of an image's regions, and of the whole."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Of images (B, channels, H, W): (B, T, C) of tokens, or (B, C, H, W) of regions."""

    def pooled(self, pixels: Tensor) -> Tensor:
        """A vector for each image: (B, C)."""


class ImageClassifier(ImageModel, Protocol):
    """Task "image-classification": logits of classes."""

    @property
    def labels(self) -> Sequence[str]:
        """Names of the N classes."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Logits (B, N) of images (B, channels, H, W)."""
