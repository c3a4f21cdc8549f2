"""Sequences of several lengths: packed, padded and apart again, under PyTorch's names.

T steps, B sequences, N the sum of the lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from numbatorch.errors import DTypeError, ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.nn.packed import PackedSequence, invert_permutation
from numbatorch.ops.families import function
from numbatorch.ops.operands import describe
from numbatorch.ops.surface import names_itself
from numbatorch.tensor import Tensor, tensor

Array = np.ndarray[Any, Any]

__all__ = [
    "PackedSequence",
    "invert_permutation",
    "pack_padded_sequence",
    "pack_sequence",
    "pad_packed_sequence",
    "pad_sequence",
    "unpack_sequence",
    "unpad_sequence",
]


def _lengths(
    operator: str, lengths: Tensor | Sequence[int], count: int, low: int, T: int, row: str
) -> Array:
    """Lengths as (count,) int64, all of them from `low` to T."""
    given = lengths.tolist() if isinstance(lengths, Tensor) else list(lengths)
    found = np.asarray(given) if given else np.zeros(0, np.int64)
    if found.dtype.kind not in "iu":
        raise DTypeError(message(operator, f"lengths must be whole numbers, not {given[:8]}"))
    if found.shape != (count,) or ((found < low) | (found > T)).any():
        problem = f"lengths must be {count} numbers from {low} to {T}, not {given[:8]}"
        raise ShapeError(message(operator, problem, row))
    return found.astype(np.int64)


def _on(numbers: Array, like: Tensor | None = None) -> Tensor:
    """Whole numbers where `like` is, or else on the CPU."""
    return tensor(numbers, device="cpu" if like is None else like.device)


def pack_padded_sequence(
    input: Tensor,
    lengths: Tensor | Sequence[int],
    batch_first: bool = False,
    enforce_sorted: bool = True,
) -> PackedSequence:
    """The steps of padded sequences within their lengths, packed.

    Args:
        input: (T, B, ...), or (B, T, ...) with batch_first.
        lengths: (B,), from 1 to T.
        enforce_sorted: the lengths must descend; otherwise the sequences are sorted, and the
            result knows how to undo that.
    Raises:
        ShapeError: lengths do not fit, or do not descend although they have to.
        DTypeError: lengths are not whole numbers.

    >>> packed = pack_padded_sequence(tensor([[1, 2], [3, 0]]), [2, 1])
    >>> packed.data, packed.batch_sizes
    (tensor([1, 2, 3]), tensor([2, 1]))
    """
    if len(input.shape) < 2:
        problem = "the input must have two dimensions at least"
        raise ShapeError(message("pack_padded_sequence", problem, f"input {describe(input.node)}"))
    T, B = input.shape[:2][::-1] if batch_first else input.shape[:2]
    own = _lengths("pack_padded_sequence", lengths, B, 1, T, f"input {describe(input.node)}")
    if enforce_sorted and (own[1:] > own[:-1]).any():
        hint = "enforce_sorted=False sorts them"
        raise ShapeError(message("pack_padded_sequence", "lengths do not descend", hint=hint))
    order = np.argsort(-own, kind="stable")
    inside = np.arange(own.max(initial=0))[:, None] < own[order]  # (steps, B)
    t, place = inside.nonzero()
    rows = order[place] * T + t if batch_first else t * B + order[place]
    data = input.reshape(T * B, *input.shape[2:]).index_select(0, _on(rows, input))
    sizes = _on(inside.sum(1))
    if enforce_sorted:
        return PackedSequence(data, sizes)
    return PackedSequence(data, sizes, _on(order, input), _on(np.argsort(order), input))


@names_itself
def pad_packed_sequence(
    sequence: PackedSequence,
    batch_first: bool = False,
    padding_value: float = 0.0,
    total_length: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Packed sequences padded to one length, in the order that they had, and the lengths (B,).

    Args:
        batch_first: give (B, T, ...) instead of (T, B, ...).
        padding_value: behind the end of a sequence.
        total_length: T, that of the longest sequence unless given.
    Raises:
        ShapeError: total_length is less than a length.
        DTypeError: the dtype of the data has no such value, as integers no fraction.
        OutOfRange: it is an integer that the dtype does not hold.

    >>> packed = pack_sequence([tensor([1, 2]), tensor([3])])
    >>> pad_packed_sequence(packed, batch_first=True)
    (tensor([[1, 2],
            [3, 0]]), tensor([2, 1]))
    """
    sizes = np.array(sequence.batch_sizes.tolist(), np.int64)  # (steps,)
    steps, B = len(sizes), sizes[0] if len(sizes) else 0
    T = steps if total_length is None else total_length
    if T < steps:
        problem = f"total_length {total_length} is less than {steps}, the longest length"
        raise ShapeError(message("pad_packed_sequence", problem))
    order = np.arange(B)
    if sequence.unsorted_indices is not None:
        order = np.array(sequence.unsorted_indices.tolist(), np.int64)
    inside = np.zeros((T, B), np.bool_)
    inside[:steps] = order < sizes[:, None]
    rows = np.zeros((T, B), np.int64)
    rows[:steps] = (np.cumsum(sizes) - sizes)[:, None] + order
    rows[~inside] = 0
    lengths = inside.sum(0)
    if batch_first:
        rows, inside = rows.T, inside.T
    data = sequence.data
    value = bool(padding_value) if data.dtype.kind == "b" else padding_value
    found = data.index_select(0, _on(rows.reshape(-1), data))
    outside = _on(~inside.reshape(-1), data).reshape(-1, *[1] * (len(found.shape) - 1))
    padded = found.masked_fill(outside, value).reshape(*rows.shape, *data.shape[1:])
    return padded, _on(lengths)


@names_itself
def pad_sequence(
    sequences: Tensor | Sequence[Tensor],
    batch_first: bool = False,
    padding_value: float = 0.0,
    padding_side: Literal["right", "left"] = "right",
) -> Tensor:
    """Sequences (L, ...) padded to the length of the longest: (T, B, ...).

    Args:
        batch_first: give (B, T, ...) instead.
        padding_side: "left" pads before the sequences.
    Raises:
        ShapeError: there are none, or they differ in other dimensions.
        DTypeError: their dtype has no such padding_value, as integers no fraction.
        OutOfRange: it is an integer that the dtype does not hold.

    >>> pad_sequence([tensor([1, 2]), tensor([3])], batch_first=True, padding_side="left")
    tensor([[1, 2],
            [0, 3]])
    """
    if padding_side not in ("right", "left"):
        problem = f"padding_side is {padding_side!r}, not 'right' or 'left'"
        raise ValueError(message("pad_sequence", problem))
    rows = list(sequences)
    if not rows or any(row.shape[1:] != rows[0].shape[1:] or not row.shape for row in rows):
        problem = "needs sequences (L, ...) that differ in L alone"
        shown = (f"sequences[{i}] {describe(row.node)}" for i, row in enumerate(rows[:8]))
        raise ShapeError(message("pad_sequence", problem, *shown))
    T = max(row.shape[0] for row in rows)
    dim = 0 if batch_first else 1
    return _stacked([_padded(row, T, padding_value, padding_side) for row in rows], dim)


def _padded(row: Tensor, T: int, value: float, side: str) -> Tensor:
    more = (0, T - row.shape[0]) if side == "right" else (T - row.shape[0], 0)
    return (
        row if not any(more) else F.pad(row, (*(0, 0) * (len(row.shape) - 1), *more), value=value)
    )


def _stacked(rows: Sequence[Tensor], dim: int) -> Tensor:
    stack = function("nt", "stack")
    assert stack is not None
    found: Tensor = stack(rows, dim)
    return found


def unpad_sequence(
    padded_sequences: Tensor, lengths: Tensor | Sequence[int], batch_first: bool = False
) -> list[Tensor]:
    """The sequences (L, ...) of padded ones (T, B, ...), or (B, T, ...) with batch_first.

    Raises:
        ShapeError: lengths are not B numbers from 0 to T.
        DTypeError: they are not whole.

    >>> unpad_sequence(tensor([[1, 2], [3, 0]]), [1, 2], batch_first=True)
    [tensor([1]), tensor([3, 0])]
    """
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    B, T = rows.shape[:2]
    row = f"padded_sequences {describe(padded_sequences.node)}"
    own = _lengths("unpad_sequence", lengths, B, 0, T, row).tolist()
    return [rows[b, :length] for b, length in enumerate(own)]


def pack_sequence(sequences: Sequence[Tensor], enforce_sorted: bool = True) -> PackedSequence:
    """Sequences (L, ...) packed; arguments as of `pack_padded_sequence`.

    >>> pack_sequence([tensor([1, 2]), tensor([3])]).data
    tensor([1, 3, 2])
    """
    lengths = [row.shape[0] for row in sequences]
    return pack_padded_sequence(pad_sequence(sequences), lengths, False, enforce_sorted)


def unpack_sequence(packed_sequences: PackedSequence) -> list[Tensor]:
    """The sequences that were packed, in the order that they had.

    >>> unpack_sequence(pack_sequence([tensor([1]), tensor([2, 3])], enforce_sorted=False))
    [tensor([1]), tensor([2, 3])]
    """
    padded, lengths = pad_packed_sequence(packed_sequences, batch_first=True)
    return unpad_sequence(padded, lengths, batch_first=True)
