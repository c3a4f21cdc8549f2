"""Rows that are looked up in a table, which is changed in place where they have a largest norm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from numbatorch.ops import embedding as ops
from numbatorch.ops.known_calls import KnownCalls
from numbatorch.ops.surface import of_tensors, on_tensors
from numbatorch.tensor.core import Tensor
from numbatorch.tensor.gradient import no_grad

_embedding: Callable[..., Any] = on_tensors(ops.embedding, "embedding", known=KnownCalls())
_embedding_bag: Callable[..., Any] = on_tensors(ops.embedding_bag, "embedding_bag")
_limited: Callable[..., Any] = on_tensors(ops.limited, "embedding")


def _limit(
    operator: str, input: Tensor, weight: Tensor, largest: float | None, p: float
) -> float | None:
    """Scale the rows that are looked up down to a norm, in place and without a gradient.

    Returns:
        `largest` where weight is in blocks, which are not written: what is read is to be scaled.
    """
    if largest is None or weight.dtype.kind == "q":
        return largest
    with no_grad():
        weight.copy_(_limited(operator, input, weight, largest, p))
    return None


@of_tensors("nn.functional")
def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Rows of `weight` (V, C), plain or in GGML blocks, for each number in `input`.

    Args:
        padding_idx: a row that gets no gradient; -1 is the last.
        max_norm: rows of `weight` that are looked up and have a larger norm are scaled down to it
            first, in place; blocks stay as they are, and what is read of them is scaled.
        norm_type: the p of the norm.
        scale_grad_by_freq: divide the gradient of a row by how often it is looked up.
        sparse: changes nothing: gradients are dense.
    Returns:
        (*input.shape, C).
    Raises:
        OutOfRange: a number is not in [0, V); when the result is realized.

    >>> embedding(tensor([1, 0]), tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    if max_norm is None and not scale_grad_by_freq:
        plain: Tensor = _embedding(input, weight, padding_idx)
        return plain
    norms = (_limit("embedding", input, weight, max_norm, norm_type), norm_type)
    found: Tensor = _embedding(input, weight, padding_idx, *norms, scale_grad_by_freq)
    return found


@of_tensors("nn.functional")
def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    mode: Literal["sum", "mean", "max"] = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or largest elements of the rows of `weight` (V, C) that each bag lists.

    Args:
        input: (B, N) integers, or (L,) with `offsets`.
        offsets: (B,), where the bags begin, in ascending order from 0 on.
        max_norm, norm_type, scale_grad_by_freq, sparse: as for `embedding`.
        mode: what is taken of a bag, sums in float32 for half types; of an empty one it is 0.
        per_sample_weights: a factor for each element of `input`, in mode sum.
        include_last_offset: `offsets` is (B + 1,) and ends with L.
        padding_idx: a row that is left out; -1 is the last.
    Returns:
        (B, C).

    >>> embedding_bag(tensor([[0, 1]]), tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[2.0, 3.0]]
    """
    norms = (_limit("embedding_bag", input, weight, max_norm, norm_type), norm_type)
    options = (mode, sparse, per_sample_weights, include_last_offset, padding_idx)
    found: Tensor = _embedding_bag(input, weight, offsets, *norms, scale_grad_by_freq, *options)
    return found
