"""The command `numbatorch`: arguments, subcommands, and errors as one message without a traceback.

Each subcommand has a file, and imports what it needs when it runs.
"""

import argparse
import gc
import io
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
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
    transcribe,
    warmup,
)
from numbatorch.cli.mistakes import expected

SUBCOMMANDS = (
    *(chat, devices, embed, generate, transcribe, warmup),
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
        options, rest = parser().parse_known_args(arguments)
        if rest:
            options.refuse(unknown(options, rest))
        return int(options.run(options))
    except KeyboardInterrupt:
        print(starting.TEXT, file=sys.stderr)
        return starting.INTERRUPTED
    except BrokenPipeError:  # the reader of the output has left
        sys.stderr.close()
        return 1
    except expected() as error:
        print(f"numbatorch: {told(error)}", file=sys.stderr)
        return 1
    finally:
        gc.set_threshold(*thresholds)


class Parser(argparse.ArgumentParser):
    """Says of wrong usage what is wrong, and where all arguments are shown."""

    def error(self, message: str) -> NoReturn:
        """Two lines, and exit code 2."""
        self.exit(2, f"{self.prog}: {message}\nusage: {self.prog} --help shows the arguments\n")


def names_of(command: argparse.ArgumentParser) -> list[str]:
    """The options of a command."""
    return [name for action in command._actions for name in action.option_strings]


def unknown(options: argparse.Namespace, rest: list[str]) -> str:
    """What is said of arguments that a command does not have."""
    near = get_close_matches(rest[0].partition("=")[0], options.options, 1)
    hint = f"; there is {near[0]}" if near and rest[0].startswith("-") else ""
    return f"there is no argument {' '.join(rest)}{hint}"


def told(error: Exception) -> str:
    """A message; of the system's own errors without their number."""
    if isinstance(error, OSError) and error.strerror:
        place = error.filename
        if isinstance(place, str | bytes | os.PathLike):  # a number is a descriptor's
            return f"{error.strerror}: {os.fsdecode(place)}"
    return str(error)


def parser() -> argparse.ArgumentParser:
    """All options of all subcommands."""
    from numbatorch import __version__

    top = Parser(prog="numbatorch", description="Run models from the shell.")
    top.add_argument("--version", action="version", version=f"numbatorch {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for subcommand in SUBCOMMANDS:
        command = subcommand.add(commands)
        command.set_defaults(run=subcommand.run, refuse=command.error, options=names_of(command))
    return top


if __name__ == "__main__":
    sys.exit(command())
