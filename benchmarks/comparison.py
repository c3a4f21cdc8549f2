"""Two runs side by side: what has become slower, and whether that was the machine."""

import json
from pathlib import Path
from typing import Any

from benchmarks.report import FLOOR, FORMAT, NAME, OURS, in_unit, number

NOTABLE = 0.05  # share by which a figure has to change before it counts as another one
COLUMNS = (13, 12, 12, 10, 10, 0)  # unit, before, after, as fast, floor, mark


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
    """Lines that set ours of two runs side by side, and how many rows have fallen.

    A change counts where it is more than 5% and more than both spreads together. A row has fallen
    that is slower, or has no figure any more. How the floor changed tells of the machine.
    """
    lines = [_head("before", before), _head("after", after)]
    if before["machine"]["processor"] != after["machine"]["processor"]:
        lines.append("the processors differ: ratios say nothing about the program")
    old, new = ({_key(row): row for row in run["rows"]} for run in (before, after))
    width = 2 + max([NAME, *(len(name) for _group, name, _threads in {**old, **new})])
    titles = ("unit", "before", "after", "as fast", "floor", "")
    lines += ["", _line(width, "", *titles)]
    fallen = 0
    for key in {**old, **new}:
        cells, mark = _cells(old.get(key), new.get(key))
        fallen += mark in ("slower", "absent")
        row = new.get(key) or old[key]
        lines.append(_line(width, key[1], row["unit"], *cells, mark))
    return lines, fallen


def _cells(old: dict[str, Any] | None, new: dict[str, Any] | None) -> tuple[list[str], str]:
    """Before, after, as fast, floor; and what has become of the row."""
    figures = [_figure(row) for row in (old, new)]
    if old is None or new is None:
        return [*figures, "-", "-"], ""
    if OURS not in new["engines"] or OURS not in old["engines"]:
        return [*figures, "-", "-"], "absent" if OURS in old["engines"] else ""
    change = _speedup(old, new, OURS)
    limit = max(NOTABLE, old["engines"][OURS]["spread"] + new["engines"][OURS]["spread"])
    mark = "slower" if change < 1 - limit else "faster" if change > 1 + limit else ""
    both = FLOOR in old["engines"] and FLOOR in new["engines"]
    floor = f"{_speedup(old, new, FLOOR):.2f}x" if both else "-"
    return [*figures, f"{change:.2f}x", floor], mark


def _figure(row: dict[str, Any] | None) -> str:
    if row is None or OURS not in row["engines"]:
        return "-"
    return number(in_unit(row["engines"][OURS]["seconds"], row["unit"], row["amount"]))


def _speedup(before: dict[str, Any], after: dict[str, Any], engine: str) -> float:
    return float(before["engines"][engine]["seconds"] / after["engines"][engine]["seconds"])


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["group"], row["name"], row["threads"]


def _line(width: int, name: str, *cells: str) -> str:
    padded = (f"{cell:<{column}}" for cell, column in zip(cells, COLUMNS, strict=True))
    return f"{name:<{width}}{''.join(padded)}".rstrip()


def _head(label: str, run: dict[str, Any]) -> str:
    machine = run["machine"]
    return f"{label:<8}{run['time']}  {machine['processor']} ({machine['llvm']})"
