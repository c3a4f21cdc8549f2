"""State of the debug tools, and graphs, groups and plans as text."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numbatorch import settings
from numbatorch.graph import toposort


class _State(threading.local):
    fuse = True
    tolerance: tuple[float, float] | None = None


_state = _State()


def thread_flags() -> _State:
    """What the tools below were asked for, in each thread: `fuse` and `tolerance`."""
    return _state


def fusing() -> bool:
    """Whether plans fuse operators, for this thread."""
    return _state.fuse


@contextmanager
def no_fuse() -> Iterator[None]:
    """Within the block every operator is a launch of its own.

    >>> x = tensor([1.0])
    >>> with no_fuse():
    ...     len(nt.debug.kernels(x.exp() + 1))
    2
    >>> len(nt.debug.kernels(x.exp() + 1))
    1
    """
    before = _state.fuse
    _state.fuse = False
    try:
        yield
    finally:
        _state.fuse = before


@contextmanager
def validating(rtol: float, atol: float) -> Iterator[None]:
    """Within the block, for this thread, every launch is checked against the references."""
    before = _state.tolerance
    _state.tolerance = (rtol, atol)
    try:
        yield
    finally:
        _state.tolerance = before


def tolerance() -> tuple[float, float] | None:
    """The rtol and atol that launches are checked with, in this thread; None for no check."""
    return _state.tolerance


def describe_graph(roots: Any) -> str:
    """One line per node, inputs before users."""
    order = toposort(roots)
    number = {node: i for i, node in enumerate(order)}
    lines = []
    for node in order:
        kind = f"{node.shape} {node.dtype.name}"
        if node.buffer is not None:
            lines.append(f"%{number[node]} = realized {kind}")
            continue
        inputs = ", ".join(f"%{number[x]}" for x in node.inputs)
        attrs = "".join(f" {k}={v}" for k, v in node.attrs.items())
        lines.append(f"%{number[node]} = {node.op.name}({inputs}){attrs} {kind}")
    return "\n".join(lines)


def describe_groups(groups: Any) -> str:
    """One line per group of a fused graph: what it computes, and its results."""
    lines = []
    for group in groups:
        names = ", ".join(node.op.name for node in group.fused()) or "copy"
        results = ", ".join(f"{x.op.name} {x.shape} {x.dtype.name}" for x in group.outputs)
        lines.append(f"  {names} -> {results}")
    return "\n".join(lines)


def show_pass(name: str, text: Any) -> None:
    """Print what a pass made, at debug level 4; `text` is called only then."""
    if settings.debug() >= 4:
        print(f"after {name}:\n{text()}", file=sys.stderr)


def describe_plan(plan: Any) -> str:
    """One line per launch: kernel, where it runs, what it reads and writes."""
    number = {memory: i for i, memory in enumerate(plan.memories)}
    lines = [
        f"plan: {len(plan.launches)} launches, {plan.launch_count()} kernels, "
        f"arena {plan.arena} bytes"
    ]
    for i, launch in enumerate(plan.launches):
        reads = " ".join(f"{m.kind[0]}{number[m]}" for m in dict.fromkeys(launch.reads))
        writes = " ".join(f"{m.kind[0]}{number[m]}" for m in dict.fromkeys(launch.writes))
        on_host = i in plan.host_steps
        where = "host" if on_host else "serial" if launch.serial else "team"
        lines.append(f"  {i:4} {where:6} {launch.spec.name:40} [{reads}] -> [{writes}]")
    return "\n".join(lines)
