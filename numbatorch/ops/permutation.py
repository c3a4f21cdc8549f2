"""Random permutations: places under random bits, in the order of those."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.dtype import DType
from numbatorch.graph import Node, find
from numbatorch.ops.create import iota
from numbatorch.ops.operands import as_node
from numbatorch.ops.structured import structured
from numbatorch.shape import Shape

if TYPE_CHECKING:
    from numbatorch.ops.drawing import Draw

Array = np.ndarray[Any, Any]


def mask_of(n: int) -> int:
    """The bits of a word that hold a place below n."""
    return (1 << max(n - 1, 0).bit_length()) - 1


@structured(dtypes=(dt.int64,), differentiable=False)
def places_in_order(words: Array, *, mask: int) -> Array:
    """What the lower bits of words in ascending order hold.

    Args:
        words: (N,), no two alike.
        mask: of those bits.
    """
    return np.asarray(np.sort(words) & mask)


@places_in_order.infer
def _(words: Node, *, mask: int) -> tuple[Shape, DType]:
    return words.shape, dt.int64


@places_in_order.fallback
def _(words: Node, *, mask: int) -> Node:
    ordered = find("sort").parts(words, descending=False)[0]  # type: ignore[attr-defined]
    found: Node = find("bitwise_and").apply(ordered, mask)
    return found


@places_in_order.samples
def _(rng: Draw) -> Any:
    (n,) = rng.dims((0,), (9,))
    mask = mask_of(n)
    words = rng.integers(-(2**63), 2**63 - 1, n) & ~mask | np.arange(n)
    return [rng.permutation(words)], {"mask": mask}


def permutation(bits: Node) -> Node:
    """The numbers below N in an order that N random words of 64 bits tell.

    All bits of a word but those that its place takes are compared, and places where these are
    alike, which two words are with a probability of N / 2**64.

    Args:
        bits: (N,) of uint64.
    """
    mask = mask_of(bits.shape[0])
    high = find("bitwise_and").apply(as_node(bits, dt.int64, bits.device), ~mask)
    words = find("bitwise_or").apply(high, iota(bits.shape[0], bits.device))
    return places_in_order.apply(words, mask=mask)
