"""Starts one process per engine and asks them in turn: all see the same state of the machine."""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SETTLE = 0.3  # seconds: thread pools spin for a while after a call


class Worker:
    """One engine's process.

    Attributes:
        version: of the engine; None where it is absent.
        device, hardware: what it computes on, and the name of that.
        absent: why it does not run here; empty if it does.
    """

    def __init__(self, engine: str, python: str, threads: int, device: str) -> None:
        self.engine = engine
        self.process = subprocess.Popen(
            [python, "-m", "benchmarks.worker", engine, str(threads), device],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        hello = self._read()
        self.version: str | None = hello.get("version")
        self.device: str = hello.get("device", "")
        self.hardware: str = hello.get("hardware", "")
        self.absent: str = "; ".join(map(str.strip, hello.get("absent", "").splitlines()))

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"absent": "the process ended"}

    def ask(self, job: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """The answer of `benchmarks.worker` to one request."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps({"job": job, "arguments": arguments}) + "\n")
            self.process.stdin.flush()
        except OSError:
            return {"failed": "the process ended"}
        return self._read()

    def close(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


@dataclass
class Row:
    """One line of the report: a job with its arguments, and how to print seconds."""

    name: str
    job: str
    arguments: dict[str, Any]
    unit: str = "tokens/s"
    amount: float = 1.0  # the unit's numerator per call; zero prints a duration
    results: dict[str, list[float]] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def text(self, seconds: float) -> str:
        """A duration in this row's unit."""
        scale = {"ms": 1e3, "us": 1e6, "s": 1.0}.get(self.unit)
        value = seconds * scale if scale else self.amount / seconds
        return (
            f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.1f}"
        )

    def median(self, engine: str) -> float | None:
        """Median over the rounds, None where the engine has none."""
        values = self.results.get(engine)
        return statistics.median(values) if values else None


def measure(row: Row, workers: list[Worker], rounds: int) -> None:
    """Fill the row, engine after engine within a round."""
    for _ in range(rounds):
        for worker in workers:
            if worker.absent or worker.engine in row.problems:
                continue
            reply = worker.ask(row.job, row.arguments)
            if "seconds" in reply:
                row.results.setdefault(worker.engine, []).append(reply["seconds"])
                time.sleep(SETTLE)
            else:
                row.problems[worker.engine] = reply.get("failed") or ""
    for engine, problem in row.problems.items():
        if problem:
            print(f"  {row.name}: {engine} failed: {problem}", file=sys.stderr)
