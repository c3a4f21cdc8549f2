"""Who else holds a value, by counts of references: what nobody else holds may be overwritten.

How many references the counting itself adds differs among Pythons, so each count is taken once of
something that is held by nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any


def outside_holders(order: list[Any], *lists: Sequence[Any]) -> list[int]:
    """How many hold each node of a graph beside `order`, `lists` and the graph itself.

    Args:
        order: the nodes, each once; inputs of unrealized ones are in it.
        lists: what else the caller holds them by.
    """
    return [count - _UNHELD for count in _counted(order, lists)]


def _counted(order: list[Any], lists: Sequence[Sequence[Any]]) -> list[int]:
    known = _known(order, lists)
    return [sys.getrefcount(node) - known[node] for node in order]


def _known(order: list[Any], lists: Sequence[Sequence[Any]]) -> dict[Any, int]:
    """How often `lists` and the inputs of the graph hold each node; its variables end with it."""
    found = dict.fromkeys(order, 0)
    for listed in lists:
        for node in listed:
            found[node] += 1
    for node in order:
        if node.buffer is None:
            for operand in node.inputs:
                found[operand] += 1
    return found


def owns_buffer(node: Any) -> bool:
    """Whether nothing but `node` holds its buffer."""
    return sys.getrefcount(node.buffer) <= _BUFFER


def owns_node(handle: Any) -> bool:
    """Whether nothing but `handle` holds its node, and nothing but that its buffer."""
    return sys.getrefcount(handle.node) <= _BUFFER and owns_buffer(handle.node)


class _Probe:
    """Stands for a node, and for a handle on one."""

    def __init__(self) -> None:
        self.buffer: Any = None
        self.inputs: tuple[Any, ...] = ()


def _of_attribute(probe: Any) -> int:
    return sys.getrefcount(probe.buffer)


def _probe() -> _Probe:
    probe = _Probe()
    probe.buffer = _Probe()
    return probe


_UNHELD = _counted([_Probe()], ())[0]
_BUFFER = _of_attribute(_probe())
