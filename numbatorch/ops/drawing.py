"""What the samples of an operator are drawn with: numbers, sizes of dimensions, indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from numbatorch import dtype as dt

Array = np.ndarray[Any, Any]

# A little beyond the thresholds of kernels: blocks of 64 columns, groups of 256 threads, 32,768
# elements that are worth waking threads for, four chunks of a reduction that is split.
REACHES = (67, 259, 33_001, 70_003)
LONG = 4096  # beside a dimension longer than that the others are short


class Draw(np.random.Generator):
    """Random numbers of a seed.

    Attributes:
        reach: what one dimension of a sample is long, or 0 for a small sample.
        dtype: what the floats of a sample will be cast to.
    """

    def __init__(self, seed: int, reach: int = 0) -> None:
        super().__init__(np.random.PCG64(seed))
        self.reach = reach
        self.dtype = dt.float32

    def dims(
        self, low: Sequence[int], high: Sequence[int], most: int = REACHES[-1]
    ) -> tuple[int, ...]:
        """Sizes of dimensions, each in [low, high); in a sample with a reach one of them has it.

        Args:
            most: the longest that a dimension may be.
        """
        sizes = [int(n) for n in self.integers(low, high)]
        if self.reach:
            if self.reach > LONG:
                sizes = [min(size, max(least, 3)) for size, least in zip(sizes, low, strict=True)]
            sizes = [max(size, 1) for size in sizes]
            sizes[int(self.integers(len(sizes)))] = min(self.reach, most)
        return tuple(sizes)

    def indices(self, bound: int, shape: Sequence[int]) -> Array:
        """Numbers in [0, bound), in one of the integer dtypes that hold them."""
        fits = [d for d in dt.INTEGERS if bound - 1 <= np.iinfo(d.numpy).max]
        chosen = fits[int(self.integers(len(fits)))]
        return self.integers(0, bound, tuple(shape)).astype(chosen.numpy)
