"""Timing of a call: warm-up, repetitions, the median."""

import statistics
import time
from collections.abc import Callable

QUEUED = 10  # calls that a device is given before it is waited for


def seconds(
    call: Callable[[], object],
    *,
    warm: int = 2,
    budget: float = 0.5,
    wait: Callable[[], object] | None = None,
) -> float:
    """Median duration of `call` over at least five repetitions and about `budget` seconds.

    Args:
        wait: for a device that is given calls before it has done those before them; a repetition
            is then several calls and one `wait`.
    """
    calls = QUEUED if wait else 1
    for _ in range(warm):
        call()
    if wait:
        wait()
    durations: list[float] = []
    end = time.perf_counter() + budget
    while len(durations) < 5 or (time.perf_counter() < end and len(durations) < 1000):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        if wait:
            wait()
        durations.append((time.perf_counter() - start) / calls)
    return statistics.median(durations)
