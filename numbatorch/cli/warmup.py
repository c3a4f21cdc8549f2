"""`numbatorch warmup`: the kernels of a model are compiled."""

import argparse
from typing import Any

from numbatorch.cli.options import SOURCE, add_where


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser(
        "warmup", help="compile what a model needs"
    )
    command.add_argument("source", metavar="SOURCE", help=SOURCE)
    add_where(command)
    return command


def run(options: argparse.Namespace) -> int:
    """Compile the kernels of a model into the pack; a bar shows the progress on a terminal."""
    from numbatorch.pipelines.warmup import warm_up

    for line in warm_up(options.source, options.revision, options.device):
        print(line)
    return 0
