"""Starts one process per engine and asks them in turn: all see the same state of the machine."""

import json
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIMIT = 600.0  # seconds that an engine may take for an answer

# Keeps a core busy; argv: its number.
BUSY = """
import os, sys
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
if cores:
    os.sched_setaffinity(0, {cores[int(sys.argv[1]) % len(cores)]})
print("ready", flush=True)
while True:
    pass
"""


class Worker:
    """One engine's process, started again for the next row where it has died over one.

    Attributes:
        version: of the engine; None where it is absent.
        device, hardware: what it computes on, and the name of that.
        absent: why it does not run here; empty if it does.
    """

    def __init__(
        self, engine: str, python: str, threads: int, device: str, limit: float = LIMIT
    ) -> None:
        self.engine = engine
        self.threads = threads
        self.limit = limit
        self._command = [python, "-m", "benchmarks.worker", engine, str(threads), device]
        self._process: subprocess.Popen[bytes] | None = None
        self._errors = tempfile.TemporaryFile()
        hello = self._start()
        self.version: str | None = hello.get("version")
        self.device: str = hello.get("device", "")
        self.hardware: str = hello.get("hardware", "")
        self.absent: str = one_line(hello.get("absent", ""))

    def _start(self) -> dict[str, Any]:
        """Start the process; what it says first."""
        self._errors.seek(0)
        self._errors.truncate()
        try:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
            )
        except OSError as err:  # an interpreter that is not there
            return {"absent": str(err)}
        return self._read(self._process)

    def _read(self, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
        """The next line of the process, or how it ended."""
        assert process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(self.limit, end)
        timer.start()
        try:
            line = process.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        self._drop(process)
        return {"absent": f"no answer in {self.limit:g} s" if late.is_set() else self._end(process)}

    def _end(self, process: "subprocess.Popen[bytes]") -> str:
        """How a process ended, with the last line of what it said about that."""
        how = end_of(process.wait())
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace").strip().splitlines()
        return f"its process ended, {how}" + (f": {said[-1]}" if said else "")

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request; {"absent": why} where the process ends over it."""
        if self.absent:
            return {"absent": self.absent}
        if self._process is None:
            hello = self._start()
            if "absent" in hello:
                return hello
        process = self._process
        assert process is not None and process.stdin is not None
        with suppress(OSError):  # it has ended, which reading tells
            process.stdin.write(json.dumps(request).encode() + b"\n")
        return self._read(process)

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._drop(self._process)
        self._errors.close()

    def _drop(self, process: "subprocess.Popen[bytes]") -> None:
        """Let a process end, or end it."""
        assert process.stdin is not None and process.stdout is not None
        self._process = None
        process.stdin.close()
        process.stdout.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Row:
    """One line of the report: a job with its arguments, and how to print seconds.

    Attributes:
        amount: the unit's numerator per unit of work, where the unit is no duration.
        floor: job and arguments of the engine `floor`: what the hardware needs at least.
        threads: of each engine; None for those of the command line.
        busy: processes that compute beside it, each on a core of its own.
        alone: name of the row with the same job undisturbed, which `busy` or `threads` slows down.
    """

    name: str
    job: str
    arguments: dict[str, Any]
    unit: str = "tokens/s"
    amount: float = 1.0
    floor: tuple[str, dict[str, Any]] | None = None
    threads: int | None = None
    busy: int = 0
    alone: str = ""

    @property
    def statistic(self) -> str:
        """What counts of a burst: where calls are held up, how often that happens counts too."""
        return "mean" if self.alone else "median"


@dataclass
class Measured:
    """What was measured of a row.

    Attributes:
        bursts: of each engine, in the order of the rounds; None for one that did not succeed.
        problems: why an engine has no figure; empty if it has no such job.
    """

    row: Row
    bursts: dict[str, list[dict[str, float]]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def seconds(self, engine: str) -> list[float]:
        """One figure for each round, none where the engine has none."""
        return [burst[self.row.statistic] for burst in self.bursts.get(engine, [])]


def measure(
    row: Row, workers: list[Worker], floor: Worker | None, rounds: int, budget: float
) -> Measured:
    """Bursts of one engine after the other, as often as there are rounds."""
    found = Measured(row)
    asked = [(worker, row.job, row.arguments) for worker in workers]
    if row.floor is not None and floor is not None:
        asked.append((floor, *row.floor))

    def ask(worker: Worker, request: dict[str, Any]) -> dict[str, Any] | None:
        reply = worker.ask(request)
        problem = reply.get("failed", reply.get("absent"))
        if problem is None:
            return reply
        found.problems[worker.engine] = one_line(problem)
        found.bursts.pop(worker.engine, None)
        return None

    for worker, job, arguments in asked:
        ask(worker, {"prepare": job, "arguments": arguments})
    with busy_cores(row.busy):
        for _ in range(rounds):
            for worker, _job, _arguments in asked:
                if worker.engine in found.problems:
                    continue
                burst = ask(worker, {"burst": budget})
                if burst is not None:
                    found.bursts.setdefault(worker.engine, []).append(burst)
    return found


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """`count` processes that compute, each on a core of its own while there are cores."""
    processes = []
    try:
        for core in range(count):
            command = [sys.executable, "-c", BUSY, str(core)]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def end_of(code: int) -> str:
    """How a process ended.

    >>> end_of(3), end_of(-4)
    ('exit code 3', 'SIGILL')
    """
    known = {int(number): number.name for number in signal.Signals}
    return known.get(-code, f"exit code {code}")


def one_line(text: str) -> str:
    """A message of several lines as one."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def timestamp() -> str:
    """The time of a report, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
