"""Mirostat: the surprise of the text is kept near a goal. Both versions draw the token themselves.

Source: https://arxiv.org/abs/2007.14966
"""

import math
from dataclasses import dataclass

import numpy as np

from numbatorch.generation.arguments import NOT_NEGATIVE, Rule
from numbatorch.generation.samplers.candidates import Array, Candidates, Step, Text, check_fields

RULES = {"mirostat_tau": NOT_NEGATIVE, "mirostat_eta": NOT_NEGATIVE}
TOKENS = Rule("2 or more", lambda value: value >= 2, whole=True)


@dataclass(frozen=True)
class Mirostat:
    """Mirostat 1. Of the `mirostat_m` likeliest tokens the exponent s of Zipf's law is estimated,
    sum(t * b) / sum(t^2) with t_i = log((i + 2) / (i + 1)) and b_i = log(p_i / p_(i+1)); with
    e = s - 1 and V tokens in all, the k = (e 2^mu / (1 - V^-e))^(1/s) likeliest are drawn from.
    Then mu, which begins at 2 tau, falls by eta * (-log2 p - tau), p that of the token.

    Attributes:
        mirostat_tau: bits of surprise that a token shall have.
        mirostat_eta: how fast mu follows.
    """

    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    mirostat_m: int = 100

    def __post_init__(self) -> None:
        check_fields(self, {**RULES, "mirostat_m": TOKENS})

    def begin(self, text: Text) -> Step:
        """The control of a text's surprise, which remembers mu."""
        control = Control(text, self.mirostat_tau, self.mirostat_eta)

        def step(found: Candidates) -> Candidates:
            size = len(found) if text.tokenizer is None else text.tokenizer.vocab_size
            k = self.count(found.largest(self.mirostat_m).logits, control.mu, size)
            return control.drawn(found.largest(min(k, len(found))))

        return step

    def count(self, logits: Array, mu: float, size: int) -> int:
        """How many tokens are left, by the largest logits in order."""
        logits = logits[logits > -np.inf].astype(np.float64)
        if len(logits) < 2:
            return 1
        numbers = np.arange(1, len(logits))
        steps = np.log((numbers + 1) / numbers)
        exponent = (steps * -np.diff(logits)).sum() / np.square(steps).sum()
        epsilon = exponent - 1
        with np.errstate(all="ignore"):  # where all are alike, s is 0
            k = (epsilon * np.exp2(mu) / (1 - size**-epsilon)) ** (1 / exponent)
        return max(int(k), 1) if k < size else size


@dataclass(frozen=True)
class MirostatV2:
    """Mirostat 2: tokens of at most mu bits of surprise are drawn from, at least the likeliest;
    mu as in `Mirostat`.
    """

    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1

    def __post_init__(self) -> None:
        check_fields(self, RULES)

    def begin(self, text: Text) -> Step:
        """The control of a text's surprise, which remembers mu."""
        control = Control(text, self.mirostat_tau, self.mirostat_eta)

        def step(found: Candidates) -> Candidates:
            with np.errstate(over="ignore"):
                least = np.exp2(-control.mu)
            places = np.flatnonzero(found.probabilities() >= least)
            return control.drawn(found.at(places) if len(places) else found.largest(1))

        return step


class Control:
    """Draws tokens and follows their surprise.

    Attributes:
        mu: bits of surprise that are let through.
    """

    def __init__(self, text: Text, tau: float, eta: float) -> None:
        self.mu = 2 * tau
        self._text, self._tau, self._eta = text, tau, eta

    def drawn(self, found: Candidates) -> Candidates:
        """One of the candidates alone."""
        place = found.draw(self._text.random)
        surprise = -math.log2(float(found.probabilities()[place]))
        self.mu -= self._eta * (surprise - self._tau)
        return found.at(slice(place, place + 1))
