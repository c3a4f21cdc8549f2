"""A model of speech with the memory of one window: a spectrogram in, then ids in and logits out."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch.device import Device
from numbatorch.generation.decoder import Decoder
from numbatorch.models.blocks.cache import KVCache
from numbatorch.models.protocols import SpeechConfig, SpeechToText
from numbatorch.tensor import Tensor, from_numpy, no_grad
from numbatorch.tensor.capture import Compiled

Array = np.ndarray[Any, Any]


class Heard:
    """The decoder of a model of speech before one window, as a `CausalLM`.

    Attributes:
        model: the model.
        memory: what its layers look at of the window.
    """

    def __init__(self, model: SpeechToText) -> None:
        self.model = model
        with no_grad():
            self.memory = model.new_heard()

    @property
    def config(self) -> SpeechConfig:
        """Its sizes."""
        return self.model.config

    @property
    def device(self) -> Device:
        """Where the weights are."""
        return self.model.device

    def new_cache(self, capacity: int, batch: int = 1) -> KVCache:
        """Memory for the keys and values of `capacity` tokens of `batch` texts."""
        return self.model.new_cache(capacity, batch)

    def hidden(self, ids: Tensor, cache: KVCache | None = None, position: int = 0) -> Tensor:
        """What the last layer gives: (B, T, C)."""
        return self.model.hidden(ids, self.memory, cache, position)

    def __call__(
        self, ids: Tensor, cache: KVCache | None = None, position: int = 0, last: bool = False
    ) -> Tensor:
        """Logits (B, T, V) of the tokens after `ids`; of the last one only if `last`."""
        return self.model.decode(ids, self.memory, cache, position, last)


class Listener:
    """Hears windows, and feeds ids to the decoder of the one that was heard last.

    A window is one replay of a plan, which writes what the decoder looks at; so is a token.

    Attributes:
        model: the model.
        frames: of a window's spectrogram.
    """

    def __init__(self, model: SpeechToText) -> None:
        self.model = model
        self.frames = 2 * model.config.max_source_positions
        self._heard = Heard(model)
        self._decoder = Decoder(self._heard)
        self._decoder.reserve(self._decoder.limit)
        self._listen = Compiled(self._listened, ())

    @property
    def traces(self) -> int:
        """Number of plans made so far."""
        return self._decoder.traces + int(self._listen.traces)

    @property
    def position(self) -> int:
        """Number of tokens fed since the window was heard."""
        return self._decoder.position

    def listen(self, mel: Array) -> None:
        """Hear a window, (M, 2S) float32, and forget the text of the one before."""
        self._decoder.reset()
        window = from_numpy(np.ascontiguousarray(mel)[None]).to(device=self.model.device)
        self._listen(window)
        self._heard.memory.memory.realize()

    def restart(self) -> None:
        """Forget the text, but not the window."""
        self._decoder.reset()

    def feed(self, ids: Sequence[int]) -> Array:
        """Logits (V,) of the token after `ids`, which follow those fed before. Read-only.

        Raises:
            OutOfRange: an id is not in the vocabulary, or the text outgrows the context.
        """
        return self._decoder.feed(ids)

    def _listened(self, mel: Tensor) -> list[Tensor]:
        with no_grad():
            self.model.hear(self.model.encode(mel), self._heard.memory)
        return []
