"""State of the debug tools that lower layers ask: whether to fuse, and how to run a plan watched."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numbatorch import settings


class _State(threading.local):
    fuse = True
    check: Any = None


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


def run(program: Any) -> None:
    """Run a program launch by launch and print what each took, as NUMBATORCH_DEBUG asks."""
    from numbatorch.backends.cpu import threads

    level = settings.debug()
    if level >= 2:
        print(describe_plan(program.plan), file=sys.stderr)
    for number, launch in enumerate(program.plan.launches):
        if level >= 3:
            print(launch.spec.source(), file=sys.stderr)
        start = time.perf_counter()
        threads.run(program.program[number : number + 1])
        seconds = time.perf_counter() - start
        rate = launch.nbytes / seconds / 1e9
        shapes = " ".join(str(node.shape) for node in launch.group.outputs)
        text = f"cpu {launch.spec.name:40} {shapes:24} {seconds * 1e3:9.3f} ms {rate:7.1f} GB/s"
        print(text, file=sys.stderr)


def describe_plan(plan: Any) -> str:
    """One line per launch: kernel, where it runs, what it reads and writes."""
    number = {memory: i for i, memory in enumerate(plan.memories)}
    lines = [f"plan: {len(plan.launches)} launches, {plan.launch_count()} groups, "
             f"arena {plan.arena} bytes"]
    for i, launch in enumerate(plan.launches):
        reads = " ".join(f"{m.kind[0]}{number[m]}" for m in dict.fromkeys(launch.reads))
        writes = " ".join(f"{m.kind[0]}{number[m]}" for m in dict.fromkeys(launch.writes))
        where = "serial" if launch.serial else "team"
        lines.append(f"  {i:4} {where:6} {launch.spec.name:40} [{reads}] -> [{writes}]")
    return "\n".join(lines)
