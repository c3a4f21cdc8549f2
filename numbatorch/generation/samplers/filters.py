"""Filters: which tokens are left to draw from. Each does nothing at its default."""

from dataclasses import dataclass

import numpy as np

from numbatorch.generation.arguments import (
    COUNT,
    NOT_NEGATIVE,
    POSITIVE,
    POSITIVE_SHARE,
    SHARE,
)
from numbatorch.generation.samplers.candidates import (
    Candidates,
    Step,
    Text,
    check_fields,
    fewest,
    reaching,
)
from numbatorch.generation.samplers.largest import largest


@dataclass(frozen=True)
class TopK:
    """Only the `top_k` likeliest tokens, of equal ones those of smaller ids; 0 is off.

    >>> step = TopK(2).begin(Text())
    >>> step(Candidates(np.array([1.0, 3.0, 2.0], np.float32))).ids.tolist()
    [1, 2]
    """

    top_k: int = 0

    def __post_init__(self) -> None:
        check_fields(self, {"top_k": COUNT})

    def begin(self, text: Text) -> Step | None:
        """The filter, unless it is off."""
        return self._keep if self.top_k else None

    def _keep(self, found: Candidates) -> Candidates:
        return found.largest(self.top_k)


@dataclass(frozen=True)
class TopP:
    """Only the fewest likely tokens that together reach the share `top_p`; 1 is off.

    At least `min_keep` tokens are left, as in the filters below.

    Source: https://arxiv.org/abs/1904.09751

    >>> step = TopP(0.7).begin(Text())
    >>> step(Candidates(np.log(np.array([0.1, 0.6, 0.3], np.float32)))).ids.tolist()
    [1, 2]
    """

    top_p: float = 1.0
    min_keep: int = 0

    def __post_init__(self) -> None:
        check_fields(self, {"top_p": POSITIVE_SHARE, "min_keep": COUNT})

    def begin(self, text: Text) -> Step | None:
        """The filter, unless it is off."""
        return self._keep if self.top_p < 1 else None

    def _keep(self, found: Candidates) -> Candidates:
        weights = found.weights()
        if found.ordered:
            count = reaching(weights, self.top_p * float(weights.sum(dtype=np.float64)))
            return found.at(slice(max(count, self.min_keep)))
        return found.at(fewest(found, weights, self.top_p, self.min_keep), ordered=True)


@dataclass(frozen=True)
class MinP:
    """Only tokens at least `min_p` times as likely as the likeliest; 0 is off.

    Source: https://arxiv.org/abs/2407.01082

    >>> step = MinP(0.4).begin(Text())
    >>> step(Candidates(np.log(np.array([0.1, 0.6, 0.3], np.float32)))).ids.tolist()
    [1, 2]
    """

    min_p: float = 0.0
    min_keep: int = 0

    def __post_init__(self) -> None:
        check_fields(self, {"min_p": SHARE, "min_keep": COUNT})

    def begin(self, text: Text) -> Step | None:
        """The filter, unless it is off."""
        if not self.min_p:
            return None
        least = nearness(self.min_p)
        return lambda found: self._keep(found, least)

    def _keep(self, found: Candidates, least: np.float32) -> Candidates:
        near = found.logits >= found.most + least
        if found.ordered:
            return found.at(slice(max(np.count_nonzero(near), self.min_keep)))
        places = near.nonzero()[0]
        if len(places) < self.min_keep:
            return found.largest(self.min_keep)
        return found.at(places)


def nearness(share: float) -> np.float32:
    """How much a logit is above that of a token which is `share` times as likely, negated."""
    with np.errstate(divide="ignore"):  # of what is 0 in float32
        found: np.float32 = np.log(np.float32(share))
    return found


@dataclass(frozen=True)
class Typical:
    """Only tokens whose surprise -log p is nearest to what is expected, the entropy H: the fewest
    by |-log p - H| that together have more than the share `typical_p`; 1 is off.

    Source: https://arxiv.org/abs/2202.00666

    >>> step = Typical(0.5).begin(Text())
    >>> step(Candidates(np.log(np.array([0.1, 0.2, 0.7], np.float32)))).ids.tolist()
    [2]
    """

    typical_p: float = 1.0
    min_keep: int = 0

    def __post_init__(self) -> None:
        check_fields(self, {"typical_p": POSITIVE_SHARE, "min_keep": COUNT})

    def begin(self, text: Text) -> Step | None:
        """The filter, unless it is off."""
        return self._keep if self.typical_p < 1 else None

    def _keep(self, found: Candidates) -> Candidates:
        shares = found.probabilities()
        logs = np.log(shares, where=shares > 0, out=np.full_like(shares, -np.inf))
        surprise = np.multiply(shares, logs, where=shares > 0, out=np.zeros_like(shares))
        entropy = -np.float32(surprise.sum(dtype=np.float64))
        nearness = -np.abs(-logs - entropy)
        places = fewest(found.changed(nearness), shares, self.typical_p, self.min_keep, beyond=True)
        return found.at(np.sort(places))


@dataclass(frozen=True)
class TopNSigma:
    """Only tokens whose logit is within n standard deviations of the largest; 0 is off.

    Mean and deviation are those of all logits that are not minus infinity.

    Source: https://arxiv.org/abs/2411.07641

    >>> step = TopNSigma(1.0).begin(Text())
    >>> step(Candidates(np.array([0.0, 3.0, 2.0], np.float32))).logits.tolist()
    [-inf, 3.0, 2.0]
    """

    top_n_sigma: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self, {"top_n_sigma": NOT_NEGATIVE})

    def begin(self, text: Text) -> Step | None:
        """The filter, unless it is off."""
        return self._keep if self.top_n_sigma else None

    def _keep(self, found: Candidates) -> Candidates:
        if len(found) == 1:
            return found
        logits = found.logits
        valid = logits[logits != -np.inf]
        if not len(valid):
            return found
        deviation = np.sqrt(np.square(valid - valid.mean(dtype=np.float64)).mean(dtype=np.float64))
        with np.errstate(over="ignore"):
            least = np.float32(valid.max() - self.top_n_sigma * deviation)
        return found.changed(np.where(logits < least, -np.inf, logits), found.ordered)


@dataclass(frozen=True)
class XTC:
    """Exclude top choices: with some probability, of the tokens that are likelier than a
    threshold only the least likely is left; a probability of 0 or a threshold over 0.5 is off.

    Source: https://github.com/oobabooga/text-generation-webui/pull/6335

    >>> step = XTC(1.0, 0.2).begin(Text())
    >>> step(Candidates(np.log(np.array([0.1, 0.6, 0.3], np.float32)))).ids.tolist()
    [0, 2]
    """

    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    min_keep: int = 0

    def __post_init__(self) -> None:
        rules = {"xtc_probability": SHARE, "xtc_threshold": POSITIVE, "min_keep": COUNT}
        check_fields(self, rules)

    def begin(self, text: Text) -> Step | None:
        """The filter, unless it is off."""
        if not self.xtc_probability or self.xtc_threshold > 0.5:
            return None

        def step(found: Candidates) -> Candidates:
            if len(found) < 2 or text.random() > self.xtc_probability:
                return found
            return self._keep(found)

        return step

    def _keep(self, found: Candidates) -> Candidates:
        shares = found.probabilities()
        above = np.flatnonzero(shares >= np.float32(self.xtc_threshold))
        left = len(found) - len(above) + 1
        if len(above) < 2 or left < self.min_keep:
            return found
        dropped = above[largest(found.logits[above], len(above) - 1).places]
        kept = np.ones(len(found), np.bool_)
        kept[dropped] = False
        return found.at(np.flatnonzero(kept))
