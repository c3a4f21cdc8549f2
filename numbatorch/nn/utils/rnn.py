"""Sequences of several lengths: packed, padded and apart again, under PyTorch's names.

T steps, B sequences, N the sum of the lengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from numbatorch.errors import ShapeError, message
from numbatorch.nn import functional as F
from numbatorch.nn.packed import PackedSequence, invert_permutation, sizes_of_steps, whole
from numbatorch.ops.families import function
from numbatorch.ops.operands import describe
from numbatorch.tensor import Tensor

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


def _numbers(lengths: Tensor | Sequence[int]) -> list[int]:
    found = lengths.tolist() if isinstance(lengths, Tensor) else lengths
    return [int(length) for length in found]


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

    >>> packed = pack_padded_sequence(tensor([[1, 2], [3, 0]]), [2, 1])
    >>> packed.data, packed.batch_sizes
    (tensor([1, 2, 3]), tensor([2, 1]))
    """
    own = _numbers(lengths)
    if len(input.shape) < 2:
        problem = "the input must have two dimensions at least"
        raise ShapeError(message("pack_padded_sequence", problem, f"input {describe(input.node)}"))
    T, B = input.shape[:2][::-1] if batch_first else input.shape[:2]
    if len(own) != B or any(not 0 < length <= T for length in own):
        problem = f"lengths must be {B} numbers from 1 to {T}, not {own[:8]}"
        raise ShapeError(message("pack_padded_sequence", problem, f"input {describe(input.node)}"))
    order = sorted(range(B), key=lambda b: -own[b])
    if enforce_sorted and own != sorted(own, reverse=True):
        hint = "enforce_sorted=False sorts them"
        raise ShapeError(message("pack_padded_sequence", "lengths do not descend", hint=hint))
    order = list(range(B)) if enforce_sorted else order
    sizes = sizes_of_steps(own)
    step, place = (1, T) if batch_first else (B, 1)
    rows = [t * step + order[b] * place for t, size in enumerate(sizes) for b in range(size)]
    flat = input.reshape(T * B, *input.shape[2:])
    data = flat.index_select(0, whole(rows, input))
    if enforce_sorted:
        return PackedSequence(data, whole(sizes))
    back = sorted(range(B), key=order.__getitem__)
    return PackedSequence(data, whole(sizes), whole(order, input), whole(back, input))


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

    >>> packed = pack_sequence([tensor([1, 2]), tensor([3])])
    >>> pad_packed_sequence(packed, batch_first=True)
    (tensor([[1, 2],
            [3, 0]]), tensor([2, 1]))
    """
    sizes = _numbers(sequence.batch_sizes)
    T, B = len(sizes), sizes[0] if sizes else 0
    if total_length is not None and total_length < T:
        problem = f"total_length {total_length} is less than {T}, the longest length"
        raise ShapeError(message("pad_packed_sequence", problem))
    T = T if total_length is None else total_length
    own = [sum(size > b for size in sizes) for b in range(B)]
    starts = [sum(sizes[:t]) for t in range(len(sizes))]
    order = list(range(B))
    if sequence.unsorted_indices is not None:
        order = _numbers(sequence.unsorted_indices)
    grid = [(t, b) for b in order for t in range(T)] if batch_first else []
    grid = grid or [(t, b) for t in range(T) for b in order]
    data = sequence.data
    rows = whole([starts[t] + b if t < own[b] else 0 for t, b in grid], data)
    inside = whole([int(t < own[b]) for t, b in grid], data).bool()
    found = data.index_select(0, rows)
    inside = inside.reshape(-1, *[1] * (len(found.shape) - 1))
    value = padding_value if data.dtype.kind == "f" else int(padding_value)
    shape = (B, T) if batch_first else (T, B)
    padded = found.where(inside, value).reshape(*shape, *data.shape[1:])
    return padded, whole([own[b] for b in order])


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

    >>> unpad_sequence(tensor([[1, 2], [3, 0]]), [1, 2], batch_first=True)
    [tensor([1]), tensor([3, 0])]
    """
    own = _numbers(lengths)
    rows = padded_sequences if batch_first else padded_sequences.transpose(0, 1)
    B, T = rows.shape[:2]
    if len(own) != B or any(not 0 <= length <= T for length in own):
        problem = f"lengths must be {B} numbers from 0 to {T}, not {own[:8]}"
        row = f"padded_sequences {describe(padded_sequences.node)}"
        raise ShapeError(message("unpad_sequence", problem, row))
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
