"""Values made from nothing: constants, ranges, random numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from numbatorch import dtype as dt
from numbatorch.device import Device
from numbatorch.dtype import DType
from numbatorch.graph import Node, find
from numbatorch.ops.caller import note_from_end
from numbatorch.ops.operands import IOTA, as_node, const
from numbatorch.ops.view import reshape, slice_
from numbatorch.shape import Shape, numel

Array = np.ndarray[Any, Any]


def full(shape: Shape, value: float | int | bool, dtype: DType, device: Device) -> Node:
    """`value` everywhere."""
    return const(value, dtype, device, shape)


def iota(size: int, device: Device) -> Node:
    """0, 1, ..., size - 1 in int64; never stored, its elements are computed where they are read."""
    return Node(IOTA, (), {}, (size,), dt.int64, device)


def arange(start: float, step: float, size: int, dtype: DType, device: Device) -> Node:
    """start + i * step for i below size, computed in float64 for floats and int64 otherwise."""
    wide = dt.float64 if dtype.kind == "f" else dt.int64
    steps = as_node(iota(size, device), wide, device)
    values = steps * const(step, wide, device, (size,)) + const(start, wide, device, (size,))
    return as_node(values, dtype, device)


def drawn(operator: str, shape: Shape, key: Node, **attrs: Any) -> Node:
    """A random operator of the position of each element and of a key, two words of uint32."""
    words = [
        reshape.apply(slice_.apply(key, starts=(i,), sizes=(1,), steps=(1,)), shape=())
        for i in range(2)
    ]
    position = reshape.apply(iota(numel(shape), key.device), shape=shape)
    return find(operator).apply(position, *words, **attrs)


def _no_keys(device: Device, generator: Any = None) -> Node:
    raise RuntimeError("no generator has been named that keys come from")


_source: Callable[[Device, Any], Node] = _no_keys


def keys_come_from(source: Callable[[Device, Any], Node]) -> None:
    """Let `next_key` be `source`, of a device and a generator: those are tensor/draws.py's."""
    global _source
    _source = source


class _Through(threading.local):
    call: Callable[[Callable[[], Node]], Node] | None = None


_through = _Through()


@contextmanager
def keys_through(call: Callable[[Callable[[], Node]], Node] | None) -> Iterator[None]:
    """Within the block, for this thread, a key is `call(draw)`, if given, where `draw()` draws."""
    before = _through.call
    _through.call = call
    try:
        yield
    finally:
        _through.call = before


def key_through(draw: Callable[[], Node]) -> Node:
    """What `keys_through` makes of the drawing of a key."""
    call = _through.call
    if call is None:
        return draw()
    with keys_through(None):
        return call(draw)


def next_key(device: Device, generator: Any = None) -> Node:
    """The key of a random stream that nothing else has, of the default generator unless given."""
    return _source(device, generator)


def _no_leaves(array: Array, dtype: DType, device: Device) -> Node:
    raise RuntimeError("nothing has been named that leaves are made by")


_leaf: Callable[[Array, DType, Device], Node] = _no_leaves


def leaves_come_from(source: Callable[[Array, DType, Device], Node]) -> None:
    """Let `leaf(array, dtype, device)` be `source` of these: memory is tensor/base.py's."""
    global _leaf
    _leaf = source


def leaf(array: Array, dtype: DType, device: Device) -> Node:
    """A node on the elements of a NumPy array of this dtype, which nobody changes."""
    return _leaf(np.ascontiguousarray(array, dtype.numpy), dtype, device)


def is_within(node: Node, low: int, end: int) -> Node:
    """Whether int64 integers are in [low, end)."""
    first, last = _like(low, node), _like(end, node)
    return find("logical_and").apply(find("ge").apply(node, first), find("lt").apply(node, last))


def _like(number: int, node: Node) -> Node:
    """A number as a node like another: operators take the short way of two that are alike."""
    return const(number, node.dtype, node.device, node.shape)


def from_end(index: Node, size: int) -> Node:
    """Indices with `size` added to those in [-size, 0); an error names others as they are."""
    if index.dtype.kind == "u":
        return index
    note_from_end()
    wide = as_node(index, dt.int64, index.device)
    return find("where").apply(is_within(wide, -size, 0), wide + _like(size, wide), wide)
