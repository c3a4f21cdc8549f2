"""The command `numbatorch`: arguments, subcommands, and errors as one message without a traceback.

Each subcommand has a file, and imports what it needs when it runs.
"""

import argparse
import gc
import io
import sys
from collections.abc import Sequence
from typing import NoReturn

from numbatorch import starting
from numbatorch.cli import (
    chat,
    convert,
    dequantize,
    devices,
    embed,
    generate,
    imatrix,
    inspect,
    perplexity,
    quantize,
    warmup,
)
from numbatorch.cli.mistakes import expected

SUBCOMMANDS = (
    *(chat, devices, embed, generate, warmup),
    *(inspect, convert, quantize, dequantize, imatrix, perplexity),
)
SELDOM = 100_000  # new objects between searches for garbage: what a model takes stays


def command() -> int:
    """The process `numbatorch`; what it holds at its end goes without a search for garbage."""
    code = main()
    starting.end_on_interrupt()  # Python's own end would show where it was
    gc.freeze()
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 1 for an error, 2 for wrong usage."""
    thresholds = gc.get_threshold()
    try:
        starting.raise_on_interrupt()  # from here on it is caught
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # what a terminal has no letter for is escaped
                stream.reconfigure(errors="backslashreplace")
        gc.set_threshold(SELDOM, *thresholds[1:])
        options = parser().parse_args(arguments)
        return int(options.run(options))
    except KeyboardInterrupt:
        print(starting.TEXT, file=sys.stderr)
        return starting.INTERRUPTED
    except BrokenPipeError:  # the reader of the output has left
        sys.stderr.close()
        return 1
    except expected() as error:
        print(f"numbatorch: {error}", file=sys.stderr)
        return 1
    finally:
        gc.set_threshold(*thresholds)


class Parser(argparse.ArgumentParser):
    """Says of wrong usage what is wrong, and where all arguments are shown."""

    def error(self, message: str) -> NoReturn:
        """Two lines, and exit code 2."""
        self.exit(2, f"{self.prog}: {message}\nusage: {self.prog} --help shows the arguments\n")


def parser() -> argparse.ArgumentParser:
    """All options of all subcommands."""
    from numbatorch import __version__

    top = Parser(prog="numbatorch", description="Run models from the shell.")
    top.add_argument("--version", action="version", version=f"numbatorch {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for subcommand in SUBCOMMANDS:
        subcommand.add(commands).set_defaults(run=subcommand.run)
    return top


if __name__ == "__main__":
    sys.exit(command())
