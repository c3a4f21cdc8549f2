"""How linear_cross_entropy takes rows, apart from the families that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.errors import message

_NAME = "LinearCrossEntropyOptions"


@dataclass(frozen=True, slots=True)
class LinearCrossEntropyOptions:
    """How many rows linear_cross_entropy takes at a time, for less memory without a gradient.

    Then the logits of one chunk lie in memory at a time; a gradient keeps those of all
    rows, and chunks save nothing.

    Where we differ from PyTorch: every loss goes in chunks, that of probabilities too; derivatives
    of any order and repeated backward are as without options, so allow_retain_graph changes
    nothing; sums are of float32 or wider, so acc_policy and acc_dtype change nothing.

    Attributes:
        allow_retain_graph: see above.
        batch_chunk_size: rows of a chunk; all of them if None.
        chunking_method: how they are found instead: "aspect_ratio" takes as many as give about as
            many logits as the input has elements, "aspect_ratio:n" an n-th of them; "auto" is
            "aspect_ratio:2" unless batch_chunk_size is given.
        acc_policy: "accurate", "balanced", "compact" or "auto".
        acc_dtype: of floats, or None.
    Raises:
        ValueError: an attribute is none of these.

    >>> LinearCrossEntropyOptions(batch_chunk_size=4).rows(10, 8, 100)
    4
    >>> LinearCrossEntropyOptions(chunking_method="aspect_ratio").rows(100, 8, 64)
    16
    """

    allow_retain_graph: bool = False
    batch_chunk_size: int | None = None
    chunking_method: str | None = "auto"
    acc_policy: Literal["accurate", "balanced", "compact", "auto"] = "auto"
    acc_dtype: DType | None = None

    def __post_init__(self) -> None:
        if self.acc_policy not in ("accurate", "balanced", "compact", "auto"):
            raise ValueError(message(_NAME, f"there is no acc_policy {self.acc_policy!r}"))
        if self.chunking_method not in (None, "auto"):
            name, colon, factor = str(self.chunking_method).partition(":")
            number = factor.isdecimal() and int(factor) > 0
            if name != "aspect_ratio" or not (number or not colon):
                problem = f"there is no chunking_method {self.chunking_method!r}"
                raise ValueError(message(_NAME, problem))
        size = self.batch_chunk_size
        if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            raise ValueError(message(_NAME, f"batch_chunk_size {size!r} is no number of rows"))
        if self.acc_dtype not in (None, dt.float16, dt.bfloat16, dt.float32, dt.float64):
            raise ValueError(message(_NAME, f"acc_dtype {self.acc_dtype!r} is not of floats"))

    def rows(self, num_batches: int, in_features: int, num_classes: int) -> int:
        """Rows of a chunk.

        Raises:
            ValueError: batch_chunk_size and chunking_method give different numbers.
        """
        given = None if self.batch_chunk_size is None else min(self.batch_chunk_size, num_batches)
        method = self.chunking_method
        if method is None or (method == "auto" and given is not None):
            return max(1, num_batches if given is None else given)
        factor = 2 if method == "auto" else int(method.partition(":")[2] or 1)
        wider = -(-num_classes // max(in_features, 1))
        fitting = -(-num_batches // max(wider, 1))
        found = min((1 << max(fitting - 1, 0).bit_length()) // factor, num_batches)
        if given is not None and given != found:
            problem = f"batch_chunk_size {self.batch_chunk_size} is not the {found} of {method}"
            raise ValueError(message(_NAME, problem))
        return max(1, found)
