"""From logits to the next token: penalty, temperature, filters, draw."""

from __future__ import annotations  # np.random loads when it is named, for 10 ms

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from numbatorch.errors import OutOfRange, message

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Sampling:
    """How a token is chosen. Each step works on what the one before it left.

    1. repeat_penalty: the logit of each token that occurred, in the prompt too, is divided by it
       where positive and multiplied by it where negative. https://arxiv.org/abs/1909.05858
    2. temperature: logits are divided by it; 0 takes the largest and ends here.
    3. top_k: only tokens whose logit is not below the k-th largest; 0 is off.
    4. top_p: only the fewest likely tokens that together reach it. https://arxiv.org/abs/1904.09751
    5. min_p: only tokens at least that likely, relative to the likeliest.
       https://arxiv.org/abs/2407.01082

    The order is that of transformers; llama.cpp divides by the temperature last.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name, holds, rule in (
            ("temperature", 0 <= self.temperature < float("inf"), "not below 0"),
            ("top_k", self.top_k >= 0, "not below 0"),
            ("top_p", 0 < self.top_p <= 1, "in (0, 1]"),
            ("min_p", 0 <= self.min_p <= 1, "in [0, 1]"),
            ("repeat_penalty", 0 < self.repeat_penalty < float("inf"), "above 0"),
        ):
            if not holds:
                problem = f"{name} is {getattr(self, name)}; it must be {rule}"
                raise OutOfRange(message("sampling", problem))

    @property
    def greedy(self) -> bool:
        """Whether the largest logit is taken, so that nothing is drawn."""
        return self.temperature == 0


def choose(
    logits: Array, sampling: Sampling, rng: np.random.Generator | None, seen: Sequence[int] = ()
) -> int:
    """The next token.

    Args:
        logits: (V,) float32.
        rng: draws one number from it, unless greedy.
        seen: tokens so far, for the penalty.
    Raises:
        FloatingPointError: the logits are NaN or infinite.
    """
    if sampling.repeat_penalty != 1:
        logits = penalized(logits, seen, sampling.repeat_penalty)
    best = int(logits.argmax())  # the first NaN, if there is one
    if not np.isfinite(logits[best]):
        problem = f"the largest logit is {logits[best]}, at token {best}"
        raise FloatingPointError(message("sampling", problem))
    if sampling.greedy:
        return best
    assert rng is not None
    tokens, weights = candidates(logits, sampling)
    sums = weights.cumsum()
    place = int(np.searchsorted(sums, rng.random() * sums[-1], side="right"))
    return int(tokens[min(place, len(tokens) - 1)])


def penalized(logits: Array, seen: Sequence[int], penalty: float) -> Array:
    """Logits with those of the tokens in `seen` made less likely, each once."""
    out = logits.copy()
    tokens = np.unique(np.asarray(seen, np.int64))
    chosen = out[tokens]
    out[tokens] = np.where(chosen > 0, chosen / penalty, chosen * penalty)
    return out


def candidates(logits: Array, sampling: Sampling) -> tuple[Array, Array]:
    """The tokens that pass the filters, and their probabilities up to a common factor, float64."""
    tokens = np.arange(len(logits))
    scaled = logits.astype(np.float64) / sampling.temperature
    if 0 < sampling.top_k < len(scaled):
        least = np.partition(scaled, -sampling.top_k)[-sampling.top_k]
        tokens = np.flatnonzero(scaled >= least)
        scaled = scaled[tokens]
    weights = np.exp(scaled - scaled.max())
    if sampling.top_p < 1:
        kept = _nucleus(weights, sampling.top_p)
        tokens, weights = tokens[kept], weights[kept]
    if sampling.min_p > 0:
        kept = weights >= sampling.min_p * weights.max()
        tokens, weights = tokens[kept], weights[kept]
    return tokens, weights


def _nucleus(weights: Array, top_p: float) -> Array:
    """Positions of the fewest weights, largest first, whose sum reaches `top_p` of the whole."""
    order = np.argsort(-weights, kind="stable")
    sums = weights[order].cumsum()
    return np.sort(order[: int(np.searchsorted(sums, top_p * sums[-1])) + 1])
