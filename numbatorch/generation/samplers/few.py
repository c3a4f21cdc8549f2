"""Samplers over the few likeliest tokens, by two kernels and NumPy's exp between them.

After a step of a model nothing of Python and NumPy is in the caches any more, and a small array
costs what it takes to fetch the code. This does what the samplers' own steps do, which it is
compared with, by less of it.
"""

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch.backends.cpu.called import Called
from numbatorch.generation.samplers.candidates import Random, Sampler
from numbatorch.generation.samplers.filters import MinP, TopK, TopP, nearness
from numbatorch.generation.samplers.largest import Search
from numbatorch.generation.samplers.temperature import LARGEST, Temperature
from numbatorch.ops.cpu import candidates as kernels

Array = np.ndarray[Any, Any]


class Few:
    """Top-k, then filters and at most one temperature, and the draw."""

    def __init__(self, top_k: int, temperature: float, steps: list[tuple[float, ...]]) -> None:
        """Steps are rows of the kernel `sums_of_left`."""
        self.count = top_k
        divisors = np.array([1, temperature], np.float32)
        self._search = Search(divisors)
        # Of larger logits some would overflow, which `temperature.divided` shifts first.
        self._most = float(min(divisors[1], divisors[0]) * np.float32(LARGEST))
        # What kernels and Python's bisect both read.
        self._sums = array("d", bytes(8 * top_k))
        self._left = array("q", [0])
        self._weights = self._search.shifted[: 2 * top_k]
        given = (
            np.frombuffer(self._sums),
            np.frombuffer(self._left, np.int64),
            self._search.values,
            self._weights,
            divisors,
            np.array(steps or [()], np.float64),
        )
        self._call = Called(kernels.sums_of_left(), (*given, top_k, len(steps)))

    def choose(self, logits: Array, random: Random) -> int | None:
        """The next token; None where the samplers' own steps have to say it."""
        search = self._search
        if not search(logits, self.count) or not -self._most <= search.values[0] <= self._most:
            return None
        np.exp(self._weights, out=self._weights)
        self._call()
        left, place = self._left[0], 0
        if left > 1:
            total = self._sums[left - 1]
            place = bisect_right(self._sums, random() * total, 0, left)
            if place == left:  # it was rounded up to the total
                place = bisect_left(self._sums, total, 0, left)
        return int(search.places[place])


def few(samplers: Sequence[Sampler]) -> Few | None:
    """These samplers in one, none of which is off; None if one is of a kind that is not known."""
    first = samplers[0]
    if type(first) is Temperature and divisor(first) <= 0:
        first = TopK(1)  # of equal logits the first is left too
    if type(first) is not TopK or first.top_k > kernels.LIMIT:
        return None
    temperature = None
    steps: list[tuple[float, ...]] = []
    for sampler in samplers[1:]:
        row = float(temperature is not None)
        if type(sampler) is TopP:
            least = min(sampler.min_keep, first.top_k)
            steps.append((kernels.SHARE, sampler.top_p, least, row))
        elif type(sampler) is MinP:
            least = min(sampler.min_keep, first.top_k)
            steps.append((kernels.NEAR, float(nearness(sampler.min_p)), least, row))
        elif type(sampler) is Temperature and temperature is None and divisor(sampler) > 0:
            temperature = sampler.temperature
        else:
            return None
    return Few(first.top_k, 1.0 if temperature is None else temperature, steps)


def divisor(sampler: Temperature) -> float:
    """What a temperature divides all logits by; NaN where it depends on them."""
    return math.nan if sampler.dynatemp_range else float(np.float32(sampler.temperature))
