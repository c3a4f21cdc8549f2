"""What makes single tokens likelier or less likely: a bias, or that they occurred before."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from numbatorch.errors import OutOfRange, message
from numbatorch.generation.arguments import FINITE, INFINITY, POSITIVE, Rule, number
from numbatorch.generation.samplers.candidates import Candidates, Step, Text, check_fields

BIAS = Rule("a number or -inf", lambda value: -INFINITY <= value < INFINITY)
TOKEN = Rule("an id from 0 to 2**31 - 1", lambda value: 0 <= value < 2**31, whole=True)
LARGEST = np.finfo(np.float32).max  # of a logit, where what is not finite is an error of the model
LAST_N = Rule("-1 or more", lambda value: value >= -1, whole=True)


def last(ids: list[int], count: int) -> list[int]:
    """The last `count` of some ids; all if it is -1."""
    return ids if count < 0 else ids[-count:] if count else []


@dataclass(frozen=True)
class Penalties:
    """Tokens among the last `repeat_last_n`, of the prompt too, become less likely.

    The logit of each that occurs is divided by `repeat_penalty` where it is positive and
    multiplied by it where not (https://arxiv.org/abs/1909.05858); then `frequency_penalty` for
    each time that it occurs, and `presence_penalty` once, are subtracted from it.

    Attributes:
        repeat_penalty: 1 is off.
        frequency_penalty, presence_penalty: 0 is off.
        repeat_last_n: -1 for the whole text.

    >>> step = Penalties(2.0).begin(Text([0, 1]))
    >>> step(Candidates(np.array([1.0, -1.0, 1.0], np.float32))).logits.tolist()
    [0.5, -2.0, 1.0]
    """

    repeat_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repeat_last_n: int = 64

    def __post_init__(self) -> None:
        rules = {
            "repeat_penalty": POSITIVE,
            "frequency_penalty": FINITE,
            "presence_penalty": FINITE,
            "repeat_last_n": LAST_N,
        }
        check_fields(self, rules)

    def begin(self, text: Text) -> Step | None:
        """The penalties of a text, unless all are off."""
        changes = self.repeat_penalty != 1 or self.frequency_penalty or self.presence_penalty
        if not changes or self.repeat_last_n == 0:
            return None
        return lambda found: self._changed(found, Counter(last(text.ids, self.repeat_last_n)))

    def _changed(self, found: Candidates, counts: Counter[int]) -> Candidates:
        tokens = np.fromiter(counts, np.int64, len(counts))
        times = np.fromiter(counts.values(), np.float32, len(counts))
        places, there = found.places(tokens)
        logits = found.logits.copy()
        old = logits[places]
        factor = np.float32(self.repeat_penalty)
        each, once = np.float32(self.frequency_penalty), np.float32(self.presence_penalty)
        with np.errstate(over="ignore"):
            new = np.where(old <= 0, old * factor, old / factor)
            less = np.clip(times[there] * each + once, -LARGEST, LARGEST)
            logits[places] = np.minimum(np.minimum(new, LARGEST) - less, LARGEST)
        return found.changed(logits)


@dataclass(frozen=True)
class LogitBias:
    """Adds a number to the logits of some tokens; minus infinity rules one out.

    >>> step = LogitBias({1: 2.0}).begin(Text())
    >>> step(Candidates(np.array([0.0, 0.5], np.float32))).logits.tolist()
    [0.0, 2.5]
    """

    logit_bias: Mapping[int, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        given: object = self.logit_bias
        if not isinstance(given, Mapping):
            problem = f"logit_bias is {given!r:.80}; it must be a dict of ids and numbers"
            raise TypeError(message("sampling", problem))
        checked = {}
        for token, bias in given.items():
            id = number("sampling", "an id of logit_bias", token, TOKEN)
            checked[id] = number("sampling", f"logit_bias of token {id}", bias, BIAS)
        object.__setattr__(self, "logit_bias", checked)

    def begin(self, text: Text) -> Step | None:
        """The bias, if there is any; its ids have to be in the vocabulary."""
        if not self.logit_bias:
            return None
        tokens = np.fromiter(self.logit_bias, np.int64)
        if text.tokenizer is not None and tokens.max() >= text.tokenizer.vocab_size:
            problem = f"logit_bias has token {tokens.max()}, which is not in the vocabulary"
            rule = f"ids go from 0 to {text.tokenizer.vocab_size - 1}"
            raise OutOfRange(message("sampling", problem, rule))
        values = np.fromiter(self.logit_bias.values(), np.float32)

        def step(found: Candidates) -> Candidates:
            places, there = found.places(tokens)
            logits = found.logits.copy()
            logits[places] += values[there]
            return found.changed(logits)

        return step
