"""Runs a program launch by launch, where a debug tool wants to see each: times, checks, texts."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from numbatorch import settings
from numbatorch.backends.reference import evaluate
from numbatorch.debugging import describe_plan, thread_flags, tolerance
from numbatorch.errors import KernelError, message
from numbatorch.graph import toposort

_FLAGS = thread_flags()
_DEBUG, _VARIABLES = settings.debug_variable()


def is_watched() -> bool:
    """Whether programs are run launch by launch."""
    if _FLAGS.tolerance is None and _DEBUG not in _VARIABLES:  # as nearly always
        return False
    return tolerance() is not None or settings.debug() >= 1


def run_watched(program: Any, frame: Any, launch: Callable[[int], None]) -> None:
    """Run a program launch by launch, printing and checking what was asked for.

    Args:
        frame: with its memory bound.
        launch: (row number) runs one row of it to its end.
    """
    level = settings.debug()
    if level >= 2:
        print(describe_plan(program.plan), file=sys.stderr)
    launches = program.plan.launches
    for number, step in enumerate(launches):
        if level >= 3:
            print(step.spec.source(), file=sys.stderr)
        checked = tolerance() is not None and _is_last(launches, number)
        expected = _expected(program, frame, step.group) if checked else None
        start = time.perf_counter()
        launch(number)
        seconds = time.perf_counter() - start
        if level >= 1:
            print(_timing(program.device, step, seconds), file=sys.stderr)
        if expected is not None:
            _compare(program, frame, step, expected)


def _timing(device: str, step: Any, seconds: float) -> str:
    shapes = " ".join(str(node.shape) for node in step.group.outputs)
    rate = step.nbytes / seconds / 1e9
    return f"{device} {step.spec.name:40} {shapes:24} {seconds * 1e3:9.3f} ms {rate:7.1f} GB/s"


def _is_last(launches: list[Any], number: int) -> bool:
    """Whether a group is finished by this launch; several can belong to one operator."""
    return number + 1 == len(launches) or launches[number + 1].group is not launches[number].group


def _expected(program: Any, frame: Any, group: Any) -> list[Any] | None:
    """What the group's nodes give by their NumPy references, from what now lies in memory."""
    where = program.where
    if any(node not in where for node in group.reads()) or group.update is not None:
        return None
    values = {node: program.value(frame, node) for node in group.reads()}
    inside = set(values)
    order = toposort(group.outputs, stop=inside)
    for node in order:
        if node not in values:
            values[node] = evaluate(node, [values[x] for x in node.inputs], frame.values)
    return [values[node] for node in group.outputs]


def _compare(program: Any, frame: Any, step: Any, expected: list[Any]) -> None:
    limits = tolerance()
    assert limits is not None
    rtol, atol = limits
    for node, want in zip(step.group.outputs, expected, strict=True):
        got = np.asarray(program.value(frame, node)).astype(np.float64)
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
