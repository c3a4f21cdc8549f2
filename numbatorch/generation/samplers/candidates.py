"""The tokens that may come next, as samplers narrow them down, and the draw of one of them."""

from __future__ import annotations  # np.random loads when it is named, for 10 ms

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from numbatorch.errors import message
from numbatorch.generation.arguments import Rule, number
from numbatorch.generation.samplers.largest import Largest, largest

if TYPE_CHECKING:
    from numbatorch.generation.tokenizer import Tokenizer

Array = np.ndarray[Any, Any]

FIRST = 64  # tokens that are put in order at first, where it is not known how many will be needed
GROWTH = 4  # how many times as many come next
AHEAD = 64  # random numbers that are made at once


@dataclass(frozen=True, slots=True)
class Candidates:
    """Tokens and their logits, which samplers change or leave some of out.

    Attributes:
        logits: (N,) float32; minus infinity is never drawn.
        tokens: (N,) int64, or None where these are all tokens in order.
        ordered: whether the logits go from the largest to the smallest.
        front: the largest of them, where somebody has looked for these already.
    """

    logits: Array
    tokens: Array | None = None
    ordered: bool = False
    front: Largest | None = field(default=None, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.logits)

    @property
    def ids(self) -> Array:
        """The tokens (N,)."""
        return np.arange(len(self.logits)) if self.tokens is None else self.tokens

    def at(self, places: Any, ordered: bool | None = None) -> Candidates:
        """Those at some places, which are as ordered as these unless told."""
        kept = self.ordered if ordered is None else ordered
        if self.tokens is not None:
            tokens = self.tokens[places]
        elif isinstance(places, slice):
            tokens = np.arange(*places.indices(len(self.logits)))
        else:
            tokens = places
        return Candidates(self.logits[places], tokens, kept)

    def changed(self, logits: Array, ordered: bool = False) -> Candidates:
        """The same tokens with other logits."""
        return Candidates(logits, self.tokens, ordered)

    def places(self, tokens: Array) -> tuple[Array, Array]:
        """Where some tokens are, and which of them are there at all."""
        if self.tokens is None:
            there = np.flatnonzero(tokens < len(self.logits))
            return tokens[there], there
        order = np.argsort(self.tokens)
        found = np.searchsorted(self.tokens, tokens, sorter=order)
        places = order[np.minimum(found, len(order) - 1)]
        there = np.flatnonzero(self.tokens[places] == tokens)
        return places[there], there

    def largest(self, count: int) -> Candidates:
        """The `count` likeliest in order; of equal ones the first."""
        if self.ordered:
            return self.at(slice(count))
        places, values = self.first(count)
        return Candidates(values, places if self.tokens is None else self.tokens[places], True)

    def first(self, count: int) -> Largest:
        """Places and logits of the `count` likeliest in order."""
        if self.front is not None and count <= len(self.front.places):
            return Largest(self.front.places[:count], self.front.values[:count])
        return largest(self.logits, count)

    def weights(self) -> Array:
        """exp(logit - largest logit), (N,) float32: probabilities up to a common factor.

        Raises:
            FloatingPointError: all logits are minus infinity.
        """
        most = self.most
        if most == -np.inf:
            raise FloatingPointError(message("sampling", "all tokens are ruled out"))
        found: Array = np.exp(self.logits - most)
        return found

    @property
    def most(self) -> Any:
        """The largest logit."""
        if self.front is not None:
            return self.front.values[0]
        return self.logits[0] if self.ordered else self.logits.max()

    def probabilities(self) -> Array:
        """Softmax of the logits, (N,) float32; its sum is taken in float64."""
        weights = self.weights()
        weights /= weights.sum(dtype=np.float64)
        return weights

    def draw(self, random: Random) -> int:
        """The place of one, drawn by the probabilities; a single one takes no number.

        Raises:
            FloatingPointError: all logits are minus infinity.
        """
        if len(self.logits) == 1 and self.logits[0] > -np.inf:
            return 0
        weights = self.weights().astype(np.float64)
        sums = weights.cumsum()
        place = int(sums.searchsorted(random() * sums[-1], side="right"))
        return place if place < len(sums) else int(np.flatnonzero(weights)[-1])


def reaching(weights: Array, goal: float, beyond: bool = False) -> int:
    """How many weights from the first on together reach a goal, or go beyond it; one more than
    there are if all do not."""
    sums = weights.astype(np.float64).cumsum()
    return int(sums.searchsorted(goal, side="right" if beyond else "left")) + 1


def fewest(
    found: Candidates, weights: Array, share: float, min_keep: int, beyond: bool = False
) -> Array:
    """Places of the largest logits, as few as have that share of all weight, at least `min_keep`.

    No more than needed are put in order.
    """
    goal = share * float(weights.sum(dtype=np.float64))
    size = FIRST
    while True:
        order = found.first(size).places
        count = max(reaching(weights[order], goal, beyond), min_keep)
        if count <= len(order) or len(order) == len(found):
            return order[:count]
        size *= GROWTH


class Random:
    """A stream of numbers in [0, 1), made when the first is drawn."""

    def __init__(self, seed: int | None = None) -> None:
        """The same seed gives the same numbers; without one they are new each time."""
        self._seed = seed
        self._generator: np.random.Generator | None = None
        self._next: list[float] = []

    def __call__(self) -> float:
        try:
            return self._next.pop()
        except IndexError:
            return self._more()

    def _more(self) -> float:
        if self._generator is None:
            self._generator = np.random.Generator(np.random.Philox(self._seed))
        self._next = self._generator.random(AHEAD)[::-1].tolist()
        return self._next.pop()


@dataclass
class Text:
    """The text that is being generated, as samplers see it.

    Attributes:
        ids: prompt and continuation so far; it grows.
        random: where samplers draw from.
        tokenizer: of the model, or None where no sampler asks for it.
    """

    ids: list[int] = field(default_factory=list)
    random: Random = field(default_factory=Random)
    tokenizer: Tokenizer | None = None


Step = Callable[[Candidates], Candidates]


class Sampler(Protocol):
    """One link of a chain: it says what to do, and a text's step does it token after token."""

    def begin(self, text: Text) -> Step | None:
        """What is done before each token of a text; None if nothing is."""


def check_fields(sampler: Any, rules: Mapping[str, Rule]) -> None:
    """Hold the fields of a frozen sampler to their rules and make them ints and floats."""
    for name, rule in rules.items():
        value = number("sampling", name, getattr(sampler, name), rule)
        object.__setattr__(sampler, name, value)
