"""State of the debug tools: whether plans fuse, and how a watched one runs."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from numbatorch import settings
from numbatorch.errors import KernelError, message


class _State(threading.local):
    fuse = True
    tolerance: tuple[float, float] | None = None


_state = _State()


def fusing() -> bool:
    """Whether plans fuse operators, for this thread."""
    return _state.fuse


@contextmanager
def no_fuse() -> Iterator[None]:
    """Within the block every operator is a launch of its own."""
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


def watched() -> bool:
    """Whether programs are run launch by launch."""
    return _state.tolerance is not None or settings.debug() >= 1


def run(program: Any, launch: Any) -> None:
    """Run a program launch by launch, printing and checking what was asked for.

    Args:
        program: with its memory bound.
        launch: (row number) runs one row of it to its end.
    """
    level = settings.debug()
    if level >= 2:
        print(describe_plan(program.plan), file=sys.stderr)
    launches = program.plan.launches
    for number, step in enumerate(launches):
        if level >= 3:
            print(step.spec.source(), file=sys.stderr)
        checked = _state.tolerance is not None and _is_last(launches, number)
        expected = _expected(program, step.group) if checked else None
        start = time.perf_counter()
        launch(number)
        seconds = time.perf_counter() - start
        if level >= 1:
            print(_timing(program.device, step, seconds), file=sys.stderr)
        if expected is not None:
            _compare(program, step, expected)


def _timing(device: str, step: Any, seconds: float) -> str:
    shapes = " ".join(str(node.shape) for node in step.group.outputs)
    rate = step.nbytes / seconds / 1e9
    return f"{device} {step.spec.name:40} {shapes:24} {seconds * 1e3:9.3f} ms {rate:7.1f} GB/s"


def _is_last(launches: list[Any], number: int) -> bool:
    """Whether a group is finished by this launch; several can belong to one operator."""
    return number + 1 == len(launches) or launches[number + 1].group is not launches[number].group


def _expected(program: Any, group: Any) -> list[Any] | None:
    """What the group's nodes give by their NumPy references, from what now lies in memory."""
    from numbatorch.backends.reference import evaluate
    from numbatorch.graph import toposort

    where = program.where
    if any(node not in where for node in group.reads()) or group.update is not None:
        return None
    values = {node: program.value(node) for node in group.reads()}
    inside = set(values)
    order = toposort(group.outputs, stop=inside)
    for node in order:
        if node not in values:
            values[node] = evaluate(node, [values[x] for x in node.inputs])
    return [values[node] for node in group.outputs]


def _compare(program: Any, step: Any, expected: list[Any]) -> None:
    assert _state.tolerance is not None
    rtol, atol = _state.tolerance
    for node, want in zip(step.group.outputs, expected, strict=True):
        got = np.asarray(program.value(node)).astype(np.float64)
        wide = np.asarray(want).astype(np.float64)
        close = np.isclose(got, wide, rtol=rtol, atol=atol, equal_nan=True)
        if close.all():
            continue
        worst = np.unravel_index(np.argmax(np.where(close, 0, np.abs(got - wide))), got.shape)
        raise KernelError(
            message(
                "validate",
                f"kernel {step.spec.name} differs from its reference",
                f"operators {', '.join(n.op.name for n in step.group.fused())}",
                f"output {node.shape} {node.dtype.name}",
                f"at {tuple(map(int, worst))}: {got[worst]} instead of {wide[worst]}",
                f"{int((~close).sum())} of {close.size} elements differ",
                f"source {step.spec.path()}",
            )
        )


def describe_graph(roots: Any) -> str:
    """One line per node, inputs before users."""
    from numbatorch.graph import toposort

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
        where = "serial" if launch.serial else "team"
        lines.append(f"  {i:4} {where:6} {launch.spec.name:40} [{reads}] -> [{writes}]")
    return "\n".join(lines)
