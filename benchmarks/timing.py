"""How a call is timed: in short bursts, after the threads of the process have come to rest.

Thread pools spin for a while after a call (OpenMP's for 3 ms, OpenBLAS's for 30), and hold a core
that the next engine needs. So an engine is measured for a moment, waits until none of its threads
computes, and only then does the next one start.
"""

import math
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

try:
    import resource
except ImportError:  # Windows, where nothing tells of interruptions
    resource = None  # type: ignore[assignment]

QUEUED = 10  # calls that a device is given before it is waited for
SAMPLE = 1e-4  # seconds that a sample takes at least: shorter calls are timed together
LOOK, LOOKS = 0.002, 5  # seconds between looks at the threads, and how many have to find none busy
TASKS = Path("/proc/self/task")
ENOUGH = 3  # samples that nothing interrupted: the others of a burst are left out then


def nothing() -> None:
    """What there is to do where there is nothing to do."""


@dataclass
class Work:
    """What an engine does over and over for a row of the report.

    Attributes:
        call: what is timed.
        units: tokens, sentences, products that a call stands for.
        begin: goes before each burst, not timed.
        before: goes before each sample, not timed; a sample is then one call.
        wait: for a device that is given calls before it has done those before them.
        most: calls that may follow `begin`, such as positions of a context.
        timed: whether `call` returns the seconds that it took, by the engine's own clock.
        calls: of a sample.
    """

    call: Callable[[], Any]
    units: float = 1.0
    begin: Callable[[], object] = nothing
    before: Callable[[], object] | None = None
    wait: Callable[[], object] | None = None
    most: int | None = None
    timed: bool = False
    calls: int = 1

    def prepare(self) -> None:
        """Make first calls, and choose how many are a sample."""
        self.begin()
        self.sample()
        if self.wait:
            self.calls = QUEUED
        elif not (self.before or self.timed or self.most):
            duration = self.sample()
            if duration < SAMPLE:
                self.calls = round(SAMPLE / max(min(duration, self.sample()), 1e-7))

    def sample(self) -> float:
        """Seconds a call."""
        if self.before:
            self.before()
        call = self.call
        if self.timed:
            return float(call())
        start = time.perf_counter()
        for _ in range(self.calls):
            call()
        if self.wait:
            self.wait()
        return (time.perf_counter() - start) / self.calls

    def _observed(self) -> tuple[float, bool]:
        """Seconds a unit, and whether a thread was interrupted meanwhile."""
        before = interruptions()
        seconds = self.sample() / self.units
        return seconds, interruptions() != before

    def burst(self, budget: float) -> dict[str, float]:
        """Sample for `budget` seconds; the first call counts only if it takes longer than that.

        Returns:
            Seconds a unit: `median` and `best` of the samples during which no thread of this
            process had to give up a processor, if there are as many as three, and `mean` of all.
            `samples` and `interrupted` say how many there were.
        """
        self.begin()
        start = time.perf_counter()
        first = self._observed()
        end = time.perf_counter() + budget
        long = time.perf_counter() - start > budget
        room = math.inf if self.most is None else self.most - 1
        found = [first] if long else []
        while not found or (not long and len(found) < room and time.perf_counter() < end):
            found.append(self._observed())
        every = [seconds for seconds, _ in found]
        clean = [seconds for seconds, interrupted in found if not interrupted]
        chosen = clean if len(clean) >= ENOUGH else every
        return {
            "median": statistics.median(chosen),
            "best": min(chosen),
            "mean": statistics.fmean(every),
            "samples": len(every),
            "interrupted": len(every) - len(clean),
        }


def interruptions() -> int:
    """How often a thread of this process had to give up a processor that it wanted to keep."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else 0


def rest(limit: float = 1.0) -> None:
    """Wait until no other thread of this process computes, but not longer than `limit` seconds."""
    end = time.perf_counter() + limit
    quiet = 0
    while quiet < LOOKS and time.perf_counter() < end:
        quiet = 0 if _computes() else quiet + 1


def _computes() -> bool:
    """Look for a moment whether another thread runs, or wants to and has to wait for a core."""
    if not TASKS.is_dir():  # not Linux: the time that the process spends on processors
        start, used = time.perf_counter(), time.process_time()
        time.sleep(10 * LOOK)
        return time.process_time() - used > 0.1 * (time.perf_counter() - start)
    time.sleep(LOOK)
    own = str(threading.get_native_id())
    for task in TASKS.iterdir():
        with suppress(OSError):  # it has ended meanwhile
            if task.name != own and _state((task / "stat").read_text()) == "R":
                return True
    return False


def _state(stat: str) -> str:
    """The letter for a thread's state in a line of Linux's; its name may hold any characters.

    >>> _state("17 (a ) R) S 1 17")
    'S'
    """
    return stat.rpartition(")")[2].split()[0]


def spread(values: list[float]) -> float:
    """Half the distance between the quartiles, as a share of the median."""
    if len(values) < 2:
        return 0.0
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return (high - low) / 2 / middle
