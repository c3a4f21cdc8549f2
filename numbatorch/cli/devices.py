"""`numbatorch devices`: what there is to compute on."""

import argparse
from typing import Any


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser(
        "devices", help="list what there is to compute on"
    )
    return command


def run(options: argparse.Namespace) -> int:
    """Print a table of devices; below those that cannot be used why not, and what to do."""
    from numbatorch.backends.devices import best, describe

    found = describe()
    rows = [("device", "name", "memory", "features", "driver")]
    for row in found:
        memory = f"{row.memory / 2**30:.1f} GiB" if row.memory is not None else ""
        rows.append((row.device, row.name, memory, row.features, row.driver))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    notes = [[], *(_why_not(row.problem, row.hint) for row in found)]
    for cells, lines in zip(rows, notes, strict=True):
        print("  ".join(map(str.ljust, cells, widths)).rstrip())
        for line in lines:
            print(" " * (widths[0] + 2) + line)
    print(f'device="auto" is {best()}')
    return 0


def _why_not(problem: str, hint: str) -> list[str]:
    return [f"unavailable: {problem}"] * bool(problem) + [hint] * bool(hint)
