"""Temperature, fixed or by how certain the model is."""

from dataclasses import dataclass

import numpy as np

from numbatorch.generation.arguments import FINITE, NOT_NEGATIVE
from numbatorch.generation.samplers.candidates import Candidates, Step, Text, check_fields

LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Temperature:
    """Divides logits by a temperature; at 0 only the largest is left.

    With a range R the temperature is dynamic: T - R where the model is certain, T + R where all N
    candidates are alike, between them by the entropy H of their probabilities:
    max(T - R, 0) + (T + R - max(T - R, 0)) * (H / log N) ** exponent.

    Source: llama.cpp's `temp-ext`; https://github.com/ggml-org/llama.cpp/pull/4972

    >>> step = Temperature(0.5).begin(Text())
    >>> step(Candidates(np.array([1.0, 2.0], np.float32))).logits.tolist()
    [2.0, 4.0]
    """

    temperature: float = 0.0
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0

    def __post_init__(self) -> None:
        rules = {
            "temperature": NOT_NEGATIVE,
            "dynatemp_range": NOT_NEGATIVE,
            "dynatemp_exponent": FINITE,
        }
        check_fields(self, rules)

    def begin(self, text: Text) -> Step | None:
        """Nothing at a fixed temperature of 1."""
        if self.dynatemp_range:
            return self._dynamic
        return None if self.temperature == 1 else self._fixed

    def _fixed(self, found: Candidates) -> Candidates:
        return divided(found, self.temperature)

    def _dynamic(self, found: Candidates) -> Candidates:
        if len(found) == 1:
            return found
        least = max(0.0, self.temperature - self.dynatemp_range)
        most = self.temperature + self.dynatemp_range
        shares = found.probabilities()
        shares = shares[shares > 0]
        entropy = -float((shares * np.log(shares)).sum(dtype=np.float64))
        certainty = max(0.0, entropy) / float(np.log(len(found)))
        with np.errstate(divide="ignore"):
            power = float(np.float64(certainty) ** self.dynatemp_exponent)
        return divided(found, min(least + (most - least) * power, LARGEST))


def divided(found: Candidates, temperature: float) -> Candidates:
    """Logits over the temperature; only the first of the largest at 0."""
    divisor = np.float32(temperature)
    if divisor <= 0:
        place = int(found.logits.argmax())
        return found.at(slice(place, place + 1), ordered=True)
    logits = found.logits
    with np.errstate(over="ignore"):
        if divisor < 1 and np.abs(found.most) > divisor * np.float32(LARGEST):
            logits = logits - found.most  # the same probabilities, the largest of which is 0
        return found.changed(logits / divisor, found.ordered)
