"""What was measured, as a table and as JSON."""

import json
import statistics
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.controller import Measured, Row
from benchmarks.timing import spread

OURS, FLOOR = "ours", "floor"
FORMAT = 1  # of the JSON file
WIDTHS = {"unit": 13, FLOOR: 15, OURS: 18}
PEER = 26
NAME = 34  # columns at least
COSTS = {"s": 1.0, "ms": 1e3, "us": 1e6, "MB": 1e-6, "%": 100.0}  # other units are rates


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}" if value < 100 else f"{value:.1f}"


def in_unit(seconds: float, unit: str, amount: float) -> float:
    """A duration in a row's unit; of memory, bytes stand where seconds do.

    >>> in_unit(0.002, "ms", 1.0), in_unit(0.002, "tokens/s", 1.0), in_unit(0.5, "GB/s", 3.0)
    (2.0, 500.0, 6.0)
    """
    return seconds * COSTS[unit] if unit in COSTS else amount / seconds


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """How many times as fast ours is: the median over the rounds, for each saw one state of the
    machine."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=False))


class Table:
    """Prints rows as they are measured, one column an engine.

    Args:
        names: of the rows that will come.
    """

    def __init__(self, engines: list[str], names: Iterable[str]) -> None:
        self.engines = engines
        self.widths = {"name": max(NAME, 2 + max(map(len, names))), **WIDTHS}
        self.alone: dict[str, Measured] = {}
        heads = {"name": "", "unit": "unit", FLOOR: "least needed"}
        print()
        self._print([*heads, *engines], [*heads.values(), *engines])

    def _print(self, keys: Sequence[str], cells: Sequence[str]) -> None:
        """One line of the table."""
        text = "".join(
            f"{cell:<{self.widths.get(key, PEER)}}" for key, cell in zip(keys, cells, strict=True)
        )
        print(text.rstrip(), flush=True)

    def add(self, found: Measured) -> None:
        """Print a row, and on the other stream why figures are missing from it."""
        row = found.row
        if row.alone == row.name:
            self.alone[row.name] = found
        cells = [self._cell(found, engine) for engine in self.engines]
        heads = [row.name, row.unit, self._floor(found)]
        self._print(["name", "unit", FLOOR, *self.engines], [*heads, *cells])
        for engine, problem in found.problems.items():
            if problem:
                print(f"  {row.name}: {engine}: {problem}", file=sys.stderr)

    def _floor(self, found: Measured) -> str:
        """The floor's figure, and how much of it ours reaches."""
        least = found.seconds(FLOOR)
        if not least:
            return "-"
        ours = found.seconds(OURS)
        text = _value(found.row, least)
        if not ours:
            return text
        reached = statistics.median(least) / statistics.median(ours)
        return f"{text} ({reached:{'.0%' if reached >= 0.1 else '.1%'}})"

    def _cell(self, found: Measured, engine: str) -> str:
        """A figure with its spread; a peer's with how many times as fast ours is."""
        seconds = found.seconds(engine)
        if not seconds:
            return "absent" if found.problems.get(engine) else "-"
        text = f"{_value(found.row, seconds)} ±{spread(seconds):.0%}"
        ours = found.seconds(OURS)
        if engine != OURS and ours:
            text += f" ({ratio(ours, seconds):.2f}x)"
        before = self.alone.get(found.row.alone)
        if before is not None and before is not found and before.seconds(engine):
            kept = statistics.median(before.seconds(engine)) / statistics.median(seconds)
            text += f" {kept:.0%}"
        return text


def _value(row: Row, seconds: Sequence[float]) -> str:
    return number(in_unit(statistics.median(seconds), row.unit, row.amount))


def as_data(group: str, threads: int, found: Measured) -> dict[str, Any]:
    """A row for the JSON file; engines that have no such job are left out."""
    row = found.row
    engines = {}
    for engine, bursts in found.bursts.items():
        seconds = found.seconds(engine)
        engines[engine] = {
            "seconds": statistics.median(seconds),
            "spread": spread(seconds),
            "best": min(burst["best"] for burst in bursts),
            "bursts": bursts,
        }
    return {
        "group": group,
        "name": row.name,
        "unit": row.unit,
        "amount": row.amount,
        "threads": row.threads or threads,
        "busy": row.busy,
        "engines": engines,
        "absent": {engine: problem for engine, problem in found.problems.items() if problem},
    }


class Run:
    """What `--json` keeps, written anew after each row: a run that is interrupted keeps its rows.

    Args:
        path: of the file; None to keep nothing.
        head: time, machine, versions of the engines.
    """

    def __init__(self, path: Path | None, head: dict[str, Any]) -> None:
        self.path = path
        self.head = head
        self.rows: list[dict[str, Any]] = []
        self.write()

    def add(self, group: str, threads: int, found: Measured) -> None:
        """Keep a row."""
        self.rows.append(as_data(group, threads, found))
        self.write()

    def write(self) -> None:
        """Write the file."""
        if self.path is not None:
            text = json.dumps({"format": FORMAT, **self.head, "rows": self.rows}, indent=1)
            self.path.write_text(text + "\n", encoding="utf-8")
