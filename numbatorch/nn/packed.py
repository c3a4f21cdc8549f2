"""Packed sequences: the steps of rows of several lengths one after the other, without padding.

T steps, B rows, N the sum of the lengths.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numbatorch import dtype as dtypes
from numbatorch.errors import DeviceError, ShapeError, message
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor


class _Packed(NamedTuple):
    data: Tensor
    batch_sizes: Tensor
    sorted_indices: Tensor | None
    unsorted_indices: Tensor | None


class PackedSequence(_Packed):
    """A batch of sequences: step 0 of all, longest first, step 1 of those that have one, ...

    `nn.utils.rnn.pack_sequence` and `pack_padded_sequence` make them.

    Attributes:
        data: (N, ...).
        batch_sizes: (T,) int64 on the CPU, how many sequences have each step.
        sorted_indices: (B,), the number that the sequence at each place had, or None.
        unsorted_indices: (B,), the inverse of these.

    >>> PackedSequence(tensor([1, 3, 2]), tensor([2, 1])).batch_sizes
    tensor([2, 1])
    """

    __slots__ = ()

    def __new__(
        cls,
        data: Any,
        batch_sizes: Tensor | None = None,
        sorted_indices: Tensor | None = None,
        unsorted_indices: Tensor | None = None,
    ) -> PackedSequence:
        """Of the attributes, the first two of which may be given as a pair.

        Raises:
            ShapeError: batch_sizes is not (T,).
            DeviceError: batch_sizes is not on the CPU.
        """
        if batch_sizes is None:
            if not isinstance(data, list | tuple) or len(data) != 2:
                raise TypeError(message("PackedSequence", "needs data and batch_sizes"))
            data, batch_sizes = data
        assert batch_sizes is not None
        if len(batch_sizes.shape) != 1:
            row = f"batch_sizes {describe(batch_sizes.node)}"
            raise ShapeError(message("PackedSequence", "batch_sizes must be (T,)", row))
        if batch_sizes.device.type not in ("cpu", "numpy"):
            problem = f"batch_sizes must be on the CPU, not on {batch_sizes.device}"
            raise DeviceError(message("PackedSequence", problem))
        if unsorted_indices is None:
            unsorted_indices = invert_permutation(sorted_indices)
        return super().__new__(cls, data, batch_sizes, sorted_indices, unsorted_indices)

    def to(self, *args: Any, **kwargs: Any) -> PackedSequence:
        """The data in another dtype or on another device, to which the indices go along."""
        data = self.data.to(*args, **kwargs)
        if data is self.data:
            return self
        moved = (None if x is None else x.to(data.device) for x in self[2:])
        return type(self)(data, self.batch_sizes, *moved)

    def cpu(self) -> PackedSequence:
        """The data on the CPU."""
        return self.to("cpu")

    def cuda(self) -> PackedSequence:
        """The data on a CUDA device."""
        return self.to("cuda")

    def double(self) -> PackedSequence:
        """The data in float64."""
        return self.to(dtypes.float64)

    def float(self) -> PackedSequence:
        """The data in float32."""
        return self.to(dtypes.float32)

    def half(self) -> PackedSequence:
        """The data in float16."""
        return self.to(dtypes.float16)

    def long(self) -> PackedSequence:
        """The data in int64."""
        return self.to(dtypes.int64)

    def int(self) -> PackedSequence:
        """The data in int32."""
        return self.to(dtypes.int32)

    def short(self) -> PackedSequence:
        """The data in int16."""
        return self.to(dtypes.int16)

    def char(self) -> PackedSequence:
        """The data in int8."""
        return self.to(dtypes.int8)

    def byte(self) -> PackedSequence:
        """The data in uint8."""
        return self.to(dtypes.uint8)

    @property
    def is_cuda(self) -> bool:
        """Whether the data are on a CUDA device."""
        return self.data.device.type == "cuda"


def invert_permutation(permutation: Tensor | None) -> Tensor | None:
    """Where each number stands in a permutation of 0 to B - 1; None of None.

    >>> invert_permutation(tensor([2, 0, 1]))
    tensor([1, 2, 0])
    """
    return None if permutation is None else permutation.argsort()
