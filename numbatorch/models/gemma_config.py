"""What Gemma 2 and Gemma 3 have in common in files: scale of scores, windows, bounds."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from numbatorch.errors import FormatError, message
from numbatorch.models.blocks.rotary import Rope
from numbatorch.models.decoder_config import Windows, shortest, windows_to_gguf, windows_to_hf


class GemmaConfig(Protocol):
    """What is read of a configuration here."""

    @property
    def hidden_size(self) -> int:
        """C."""

    @property
    def num_hidden_layers(self) -> int:
        """How many layers there are."""

    @property
    def num_attention_heads(self) -> int:
        """H."""

    @property
    def rope(self) -> Rope:
        """Angles, and D."""

    @property
    def windows(self) -> Windows:
        """Keys that a token sees in each layer."""

    @property
    def score_scale(self) -> float:
        """Factor on the scores."""

    @property
    def attention_bias(self) -> bool:
        """Whether q, k, v and o have biases."""


def usual_scale(layers: int, largest: int, hidden: int, heads: int, size: int) -> float:
    """The factor on scores that GGUF files do not say: 1 / sqrt(D).

    Args:
        layers: how many the model has.
        largest: how many the family's largest model has, of which it is 1 / sqrt(C / H).
        hidden, heads, size: C, H and D.

    >>> usual_scale(46, 46, 4608, 32, 128) == 144**-0.5
    True
    """
    return float((hidden // heads if layers == largest else size) ** -0.5)


def to_gguf(config: GemmaConfig, largest: int, slides: Callable[[int], bool]) -> dict[str, Any]:
    """The keys of windows; the scale of scores has none.

    Args:
        config: of the model.
        largest: as in `usual_scale`.
        slides: whether a layer has a window, by its number.
    Raises:
        FormatError: windows in other layers, another scale, or biases.
    """
    layers, hidden, heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    usual = usual_scale(layers, largest, hidden, heads, config.rope.size)
    if not np.isclose(config.score_scale, usual, rtol=1e-6):
        problem = f"scores scaled by {config.score_scale}"
        raise FormatError(message("convert", problem, f"GGUF files have {usual}"))
    if config.attention_bias:
        raise FormatError(message("convert", "a Gemma with biases", "GGUF files have none"))
    return windows_to_gguf(config.windows, layers, slides)


def bound_to_gguf(bound: float | None) -> Any:
    """A bound of scores or logits that files have by default.

    Raises:
        FormatError: there is none.
    """
    if bound is None:
        problem = "a Gemma 2 whose scores or logits have no bound"
        raise FormatError(message("convert", problem, "GGUF files have one by default"))
    return np.float32(bound)


def bound_to_hf(bound: float | None) -> float | None:
    """A bound of scores or logits as a config.json says it."""
    return None if bound is None else shortest(bound)


def to_hf(config: GemmaConfig) -> dict[str, Any]:
    """Activation, scale of scores, biases and windows as a config.json says them."""
    return {
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scalar_of(config.score_scale),
        "attention_bias": config.attention_bias,
        **windows_to_hf(config.windows, config.num_hidden_layers),
    }


def scalar_of(scale: float) -> float:
    """query_pre_attn_scalar for a factor on scores, which is 1 / sqrt(scalar).

    >>> scalar_of(256**-0.5)
    256
    """
    found = scale**-2
    whole = max(round(found), 1)
    return whole if abs(found / whole - 1) < 1e-6 else shortest(found)
