"""Writes in place that may fail: the host looks at indices, or divisors, before, on CPUs.

A kernel that meets one out of range can only say so when its result is read, and then what the
tensor held is gone. On GPUs and within compiled functions that is so; reading would wait there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np

from numbatorch.backends.base import backend
from numbatorch.errors import DivisionByZero, OutOfRange, message
from numbatorch.graph import Node, elementary
from numbatorch.ops.known_calls import not_alone
from numbatorch.ops.operands import BY_ZERO, describe, is_of_example
from numbatorch.ops.view import permute, reshape
from numbatorch.shape import normalize_dim, numel
from numbatorch.tensor.base import Array, Handle, host_array, is_tracing, running

Look = Callable[[str, Handle, Sequence[Any], Mapping[str, Any]], None]


def along_dim(wraps: bool = False) -> Look:
    """For methods of (dim, index, ...): every index is in its dimension.

    Args:
        wraps: whether those below 0 count from the end.
    """

    def look(
        operator: str, tensor: Handle, args: Sequence[Any], options: Mapping[str, Any]
    ) -> None:
        node, index = tensor.node, _given(args, options, 1, "index").node
        dim = normalize_dim(operator, _given(args, options, 0, "dim"), max(len(node.shape), 1))
        size = node.shape[dim] if node.shape else 1
        wrong = outside(index, size, wraps)
        if wrong is not None:
            raise _out_of_range(operator, wrong, f"dimension {dim} of size {size}", node, index)

    return look


def in_elements(
    operator: str, tensor: Handle, args: Sequence[Any], options: Mapping[str, Any]
) -> None:
    """For put_: every index is that of an element, from either end."""
    node, index = tensor.node, _given(args, options, 0, "index").node
    wrong = outside(index, numel(node.shape), wraps=True)
    if wrong is not None:
        size = f"a tensor of {numel(node.shape)} elements"
        raise _out_of_range(operator, wrong, size, node, index)


def of_mask(operator: str, tensor: Handle, args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """For masked_scatter_: there is an element of the source for each place."""
    node = tensor.node
    mask, source = (
        _given(args, options, i, name).node for i, name in enumerate(("mask", "source"))
    )
    if not _can_look(mask):
        return
    places = _elements(mask)
    count = np.count_nonzero(places) * (numel(node.shape) // places.size)
    if count > numel(source.shape):
        rows = (f"tensor {describe(node)}", f"mask {describe(mask)}", f"source {describe(source)}")
        problem = f"{numel(source.shape)} elements are given for {count} places"
        raise OutOfRange(message(operator, problem, *rows))


def by_zero(operator: str, tensor: Handle, args: Sequence[Any], options: Mapping[str, Any]) -> None:
    """For methods of (other, ...): no integer is divided by 0, unless the result is no integer."""
    other = _given(args, options, 0, "other")
    if operator.startswith("div") and options.get("rounding_mode") is None:
        return
    if not isinstance(other, Handle) or tensor.node.dtype.kind not in "iu":
        return
    divisor = other.node
    if divisor.dtype.kind in "iu" and _can_look(divisor) and not _elements(divisor).all():
        rows = (f"input {describe(tensor.node)}", f"other {describe(divisor)}")
        raise DivisionByZero(message(operator, BY_ZERO, *rows))


def outside(index: Node, size: int, wraps: bool = False) -> int | None:
    """The first of some indices that is out of range, where the host can look at them."""
    if not _can_look(index):
        return None
    places = _elements(index)
    return _first_outside(places, -size if wraps else 0, size)


def _can_look(node: Node) -> bool:
    if node.device.kind not in ("cpu", "numpy") or is_tracing() or not numel(node.shape):
        return False
    return not is_of_example(node)


def _elements(node: Node) -> Array:
    """The elements of a value, each once at least."""
    while node.buffer is None and node.op in (elementary().expand(), reshape, permute):
        (node,) = node.inputs
    if node.buffer is None:
        return host_array(node)
    not_alone()
    with running:
        found: Array = backend(node.device).to_numpy(node.buffer, node)
    return found


def _first_outside(places: Array, low: int, end: int) -> int | None:
    """The first that is not in [low, end); one pass finds that there is none below 0."""
    if places.dtype == np.int64 and places.view(np.uint64).max() < end:  # what is below 0 is large
        return None
    if places.min() >= low and places.max() < end:
        return None
    return int(places[(places < low) | (places >= end)].flat[0])


def check_picks(
    operator: str, node: Node, index: Node, picks: Sequence[tuple[int, int, Any]]
) -> None:
    """Raise where index assignment would write outside of a tensor.

    Args:
        index: positions in all the dimensions that are picked from, as one.
        picks: (dimension, its size, indices) for each of those.
    """
    if outside(index, prod(size for _, size, _ in picks)) is None:
        return
    for dim, size, pick in picks:
        wrong = outside(pick, size, wraps=True) if isinstance(pick, Node) else None
        if wrong is not None:
            raise _out_of_range(operator, wrong, f"dimension {dim} of size {size}", node, pick)
    raise AssertionError(index)


def _out_of_range(operator: str, wrong: int, of: str, node: Node, index: Node) -> OutOfRange:
    problem = f"index {wrong} is out of range for {of}"
    rows = (f"tensor {describe(node)}", f"index {describe(index)}")
    return OutOfRange(message(operator, problem, *rows))


def _given(args: Sequence[Any], options: Mapping[str, Any], place: int, name: str) -> Any:
    return args[place] if place < len(args) else options[name]
