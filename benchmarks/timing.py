"""Timing of a call: warm-up, repetitions, the median."""

import statistics
import time
from collections.abc import Callable


def seconds(call: Callable[[], object], *, warm: int = 2, budget: float = 0.5) -> float:
    """Median duration of `call` over at least five repetitions and about `budget` seconds."""
    for _ in range(warm):
        call()
    durations: list[float] = []
    end = time.perf_counter() + budget
    while len(durations) < 5 or (time.perf_counter() < end and len(durations) < 1000):
        start = time.perf_counter()
        call()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)
