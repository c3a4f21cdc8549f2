"""DRY, "don't repeat yourself": tokens that would go on with a repetition become less likely."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from numbatorch.errors import message
from numbatorch.generation.arguments import COUNT, NOT_NEGATIVE, Rule, check_texts
from numbatorch.generation.samplers.candidates import Candidates, Step, Text, check_fields
from numbatorch.generation.samplers.penalties import LAST_N, last

if TYPE_CHECKING:
    from numbatorch.generation.tokenizer import Tokenizer

BASE = Rule("1 or more", lambda value: 1 <= value < float("inf"))
BYTES = 40  # of a breaker that are looked at
TAIL = 20  # tokens of a breaker after its first
LARGEST = np.float32(88.7228391)  # logarithm of the largest power that is subtracted

# Of a token that begins a breaker, the tokens that may follow to complete it.
Breakers = Mapping[int, Sequence[tuple[int, ...]]]
_breakers: "WeakKeyDictionary[Tokenizer, dict[tuple[str, ...], Breakers]]" = WeakKeyDictionary()


@dataclass(frozen=True)
class DRY:
    """Where the text ends with n tokens that occurred before, n at least `dry_allowed_length`, what
    followed them there loses `dry_multiplier` * `dry_base` ** (n - `dry_allowed_length`).

    A repetition does not go over a sequence breaker, and a token that holds one is not penalized.

    Attributes:
        dry_multiplier: 0 is off.
        dry_last_n: tokens of the text that are looked through; -1 for all.
        dry_sequence_breakers: texts.

    Source: https://github.com/oobabooga/text-generation-webui/pull/5677 and llama.cpp's `dry`

    >>> step = DRY(1.0, dry_sequence_breakers=()).begin(Text([3, 1, 2, 3, 1]))
    >>> step(Candidates(np.zeros(4, np.float32))).logits.tolist()
    [0.0, 0.0, -1.0, 0.0]
    """

    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_last_n: int = 64
    dry_sequence_breakers: Sequence[str] = ("\n", ":", '"', "*")

    def __post_init__(self) -> None:
        rules = {
            "dry_multiplier": NOT_NEGATIVE,
            "dry_base": BASE,
            "dry_allowed_length": COUNT,
            "dry_last_n": LAST_N,
        }
        check_fields(self, rules)
        breakers = check_texts("sampling", "dry_sequence_breakers", self.dry_sequence_breakers)
        object.__setattr__(self, "dry_sequence_breakers", tuple(breakers))

    def begin(self, text: Text) -> Step | None:
        """The penalties of a text, unless they are off."""
        if not self.dry_multiplier or self.dry_last_n == 0:
            return None
        breakers = breakers_of(text.tokenizer, tuple(self.dry_sequence_breakers))

        def step(found: Candidates) -> Candidates:
            lengths = repeats(last(text.ids, self.dry_last_n), breakers, self.dry_allowed_length)
            return self._changed(found, lengths) if lengths else found

        return step

    def _changed(self, found: Candidates, lengths: dict[int, int]) -> Candidates:
        tokens = np.fromiter(lengths, np.int64, len(lengths))
        powers = np.fromiter(lengths.values(), np.int64, len(lengths)) - self.dry_allowed_length
        if self.dry_base > 1.000001:
            powers = np.minimum(powers, int(LARGEST / np.log(np.float32(self.dry_base))))
        places, there = found.places(tokens)
        logits = found.logits.copy()
        less = np.float64(self.dry_multiplier) * self.dry_base ** powers[there]
        with np.errstate(over="ignore"):
            logits[places] -= less.astype(np.float32)
        return found.changed(logits)


def repeats(ids: list[int], breakers: Breakers, least: int) -> dict[int, int]:
    """Tokens that would go on with a repetition, and how many tokens of the text it has already:
    the longest end of the text that occurs before that token, if that has at least `least`."""
    if len(ids) <= least:
        return {}
    back = ids[::-1]
    limit = _since_breaker(back, breakers)
    if limit < least:
        return {}
    found: dict[int, int] = {}
    for place, common in enumerate(_common(back)):
        length = min(common, limit)
        if place and length >= least:
            token = back[place - 1]
            if () not in breakers.get(token, ()):
                found[token] = max(length, found.get(token, 0))
    return found


def _since_breaker(back: list[int], breakers: Breakers) -> int:
    """How many tokens there are since the last breaker; `back` goes from the last to the first."""
    for place, token in enumerate(back):
        tails = breakers.get(token, ())
        after = tuple(back[place - 1 :: -1][:TAIL]) if place else ()
        sizes = [len(tail) for tail in tails if tail == after[: len(tail)]]
        if sizes:
            return place - max(sizes)
    return len(back)


def _common(ids: list[int]) -> list[int]:
    """For each place how many tokens from there on are those of the beginning, in linear time.

    Source: https://en.wikipedia.org/wiki/Z_function
    """
    found = [0] * len(ids)
    start = end = 0  # of the part known to be alike that reaches furthest
    for place in range(1, len(ids)):
        size = min(end - place, found[place - start]) if place < end else 0
        while place + size < len(ids) and ids[size] == ids[place + size]:
            size += 1
        found[place] = size
        if place + size > end:
            start, end = place, place + size
    return found


def breakers_of(tokenizer: "Tokenizer | None", texts: tuple[str, ...]) -> Breakers:
    """The tokens that hold one of the texts or end with the beginning of one."""
    if not texts:
        return {}
    if tokenizer is None:
        raise ValueError(message("sampling", "dry_sequence_breakers need a tokenizer"))
    known = _breakers.setdefault(tokenizer, {})
    if texts not in known:
        known[texts] = _find_breakers(tokenizer, texts)
    return known[texts]


def _find_breakers(tokenizer: "Tokenizer", texts: tuple[str, ...]) -> Breakers:
    found: dict[int, list[tuple[int, ...]]] = {}
    sought = [text.encode()[:BYTES] for text in texts]
    tails = {}
    for part in sought:
        for size in range(1, len(part)):
            rest = part[size:].decode("utf-8", "replace")
            ids = tokenizer.encode(rest, add_special_tokens=False)
            tails[part[size:]] = tuple(ids[:TAIL])
    for id in range(tokenizer.vocab_size):
        word = tokenizer.token_bytes(id)
        for part in sought:
            if part in word:
                found.setdefault(id, []).append(())
                continue
            for size in range(1, len(part)):
                if word.endswith(part[:size]):
                    found.setdefault(id, []).append(tails[part[size:]])
    return found
