"""The command `numbatorch`: arguments, subcommands, and errors as one message without a traceback.

Each subcommand imports what it needs when it runs.
"""

import argparse
import gc
import io
import os
import sys
from collections.abc import Sequence

from numbatorch.cli import PACKAGED

SOURCE = "a folder, a .gguf file, or a repository of the Hugging Face Hub"
SELDOM = 100_000  # new objects between searches for garbage: what a model takes stays
INTERRUPTED = 130  # exit code after an interrupt, as shells have it


def command() -> int:
    """The process `numbatorch`; what it holds at its end goes without a search for garbage."""
    code = main()
    gc.freeze()
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 1 for an error, 2 for wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal has no letter for is escaped
            stream.reconfigure(errors="backslashreplace")
    options = parser().parse_args(arguments)
    thresholds = gc.get_threshold()
    gc.set_threshold(SELDOM, *thresholds[1:])
    try:
        return run(options)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output has left
        sys.stderr.close()
        return 1
    except _expected() as error:
        print(f"numbatorch: {error}", file=sys.stderr)
        return 1
    finally:
        gc.set_threshold(*thresholds)


def run(options: argparse.Namespace) -> int:
    """Run the chosen subcommand."""
    from numbatorch.cli import commands

    return {
        "devices": commands.devices,
        "embed": commands.embed,
        "generate": commands.generate,
        "inspect": commands.inspect,
        "warmup": commands.warmup,
    }[options.command](options)


def _expected() -> tuple[type[Exception], ...]:
    """Errors that say what the user can change; others are ours and show their traceback."""
    from numbatorch import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    ours = [kind for kind in kinds if issubclass(kind, Exception)]
    return (*ours, OSError, ValueError, FloatingPointError)


def parser() -> argparse.ArgumentParser:
    """All options of all subcommands."""
    from numbatorch import __version__

    top = argparse.ArgumentParser(prog="numbatorch", description="Run models from the shell.")
    top.add_argument("--version", action="version", version=f"numbatorch {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    commands.add_parser("devices", help="list what there is to compute on")

    embed = commands.add_parser("embed", help="print how similar texts are")
    embed.add_argument("texts", nargs="+", type=text, metavar="TEXT")
    embed.add_argument("--model", metavar="SOURCE", help=f"default: the package {PACKAGED}")
    embed.add_argument("--json", action="store_true", help="print the vectors as JSON")
    _where(embed)

    generate = commands.add_parser("generate", help="continue a prompt")
    generate.add_argument("prompt", type=text, metavar="PROMPT")
    generate.add_argument("--model", required=True, metavar="SOURCE", help=SOURCE)
    _where(generate)
    generate.add_argument("--max-tokens", type=int, metavar="N", help="default: until the end")
    generate.add_argument("--temperature", type=float, default=0.0, help="0, the default: greedy")
    generate.add_argument("--top-k", type=int, default=0, metavar="K", help="0, the default: off")
    generate.add_argument("--top-p", type=float, default=1.0, metavar="P", help="default: 1")
    generate.add_argument("--min-p", type=float, default=0.0, metavar="P", help="default: 0")
    generate.add_argument("--repeat-penalty", type=float, default=1.0, help="default: 1")
    generate.add_argument("--seed", type=int)
    generate.add_argument("--stop", action="append", type=text, default=[], metavar="TEXT")

    inspect = commands.add_parser("inspect", help="list metadata and tensors of a weights file")
    inspect.add_argument("file", metavar="FILE", help=".gguf, .safetensors, an index, or a folder")

    warmup = commands.add_parser("warmup", help="compile what a model needs")
    warmup.add_argument("source", metavar="SOURCE", help=SOURCE)
    _where(warmup)
    return top


def text(argument: str) -> str:
    """A text from the command line, which is UTF-8 where the locale has no letters for it."""
    try:
        argument.encode()
        return argument
    except UnicodeEncodeError:
        pass
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        raise argparse.ArgumentTypeError(f"{argument!a} is not UTF-8") from None


def _where(command: argparse.ArgumentParser) -> None:
    command.add_argument("--revision", help="branch, tag or commit of a repository")
    command.add_argument("--device", help="auto, cpu, cuda, cuda:1, metal; default: the CPU")


if __name__ == "__main__":
    sys.exit(command())
