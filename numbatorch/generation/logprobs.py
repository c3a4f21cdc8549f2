"""Log-probabilities of tokens, as the model has them before any sampler."""

from typing import Any, NamedTuple

import numpy as np

from numbatorch.generation.samplers.largest import largest

Array = np.ndarray[Any, Any]


class TokenLogprobs(NamedTuple):
    """What the model thought of a token.

    Attributes:
        id: the token that was chosen.
        logprob: natural logarithm of its probability.
        top: ids and logarithms of the likeliest tokens, the likeliest first.
    """

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def token_logprobs(logits: Array, id: int, top: int) -> TokenLogprobs:
    """Logarithms of softmax(logits) in float64, of a token and of the `top` likeliest.

    >>> logits = np.log(np.array([0.25, 0.5, 0.25], np.float32))
    >>> [(id, round(value, 4)) for id, value in token_logprobs(logits, 0, 1).top]
    [(1, -0.6931)]
    """
    exact = logits.astype(np.float64)
    most = exact.max()
    whole = most + np.log(np.exp(exact - most).sum())
    best = largest(logits, top).places
    return TokenLogprobs(
        id,
        float(exact[id] - whole),
        tuple((int(token), float(exact[token] - whole)) for token in best),
    )
