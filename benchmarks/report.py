"""What was measured, as a table, as JSON, and beside what was measured before."""

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
COSTS = {"s": 1.0, "ms": 1e3, "us": 1e6, "MB": 1e-6}  # units of what is measured; others are rates
NOTABLE = 0.05  # share by which a figure has to change before it counts as another one


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
        return text + (
            f" ({statistics.median(least) / statistics.median(ours):.0%})" if ours else ""
        )

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


def write(path: Path, head: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The JSON file of a run."""
    text = json.dumps({"format": FORMAT, **head, "rows": rows}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """A JSON file of a run.

    Raises:
        ValueError: it is none.
    """
    found = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ValueError(f"{path}: not written by --json")
    return found


def compare(before: dict[str, Any], after: dict[str, Any]) -> tuple[list[str], int]:
    """Lines that set ours of two runs side by side, and how many rows have become slower.

    A change counts where it is more than 5% and more than both spreads together. How the floor
    changed says whether it was the machine.
    """
    lines = [_head("before", before), _head("after", after)]
    if before["machine"]["processor"] != after["machine"]["processor"]:
        lines.append("the processors differ: ratios say nothing about the program")
    lines.append(f"\n{'':<34}{'unit':<13}{'before':<12}{'after':<12}{'as fast':<10}{'floor':<10}")
    old = {(row["group"], row["name"]): row for row in before["rows"]}
    slower = 0
    for row in after["rows"]:
        other = old.get((row["group"], row["name"]))
        if other is None or not (OURS in row["engines"] and OURS in other["engines"]):
            continue
        change = _speedup(other, row, OURS)
        noise = row["engines"][OURS]["spread"] + other["engines"][OURS]["spread"]
        limit = max(NOTABLE, noise)
        slower += change < 1 - limit
        mark = "slower" if change < 1 - limit else "faster" if change > 1 + limit else ""
        both = FLOOR in row["engines"] and FLOOR in other["engines"]
        machine = f"{_speedup(other, row, FLOOR):.2f}x" if both else "-"
        figures = [
            number(in_unit(one["engines"][OURS]["seconds"], one["unit"], one["amount"]))
            for one in (other, row)
        ]
        cells = f"{figures[0]:<12}{figures[1]:<12}{f'{change:.2f}x':<10}{machine:<10}{mark}"
        lines.append(f"{row['name']:<34}{row['unit']:<13}{cells}".rstrip())
    return lines, slower


def _speedup(before: dict[str, Any], after: dict[str, Any], engine: str) -> float:
    return float(before["engines"][engine]["seconds"] / after["engines"][engine]["seconds"])


def _head(label: str, run: dict[str, Any]) -> str:
    machine = run["machine"]
    return f"{label:<8}{run['time']}  {machine['processor']} ({machine['llvm']})"
