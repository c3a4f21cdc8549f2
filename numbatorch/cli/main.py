"""The command `numbatorch`: arguments, subcommands, and errors as one message without a traceback.

Each subcommand imports what it needs when it runs.
"""

import argparse
import gc
import io
import os
import re
import sys
from collections.abc import Sequence

from numbatorch.cli import PACKAGED

SOURCE = "a folder, a .gguf file, or a repository of the Hugging Face Hub"
SELDOM = 100_000  # new objects between searches for garbage: what a model takes stays
INTERRUPTED = 130  # exit code after an interrupt, as shells have it

# Options of `generate` for samplers: names, types, what stands for the value, help.
SAMPLING: tuple[tuple[str, type, str, str], ...] = (
    ("temperature", float, "T", "0, the default: greedy"),
    ("dynatemp-range", float, "R", "temperature from T - R to T + R by the entropy"),
    ("dynatemp-exponent", float, "E", "default: 1"),
    ("top-k", int, "K", "the K likeliest"),
    ("top-p", float, "P", "the fewest that have P of the probability"),
    ("min-p", float, "P", "at least P times as likely as the likeliest"),
    ("typical-p", float, "P", "the fewest of typical surprise that have P of the probability"),
    ("top-n-sigma", float, "N", "within N standard deviations of the largest logit"),
    ("xtc-probability", float, "P", "how often top choices are excluded"),
    ("xtc-threshold", float, "P", "what a top choice is; default: 0.1"),
    ("min-keep", int, "N", "least tokens that filters leave"),
    ("repeat-penalty", float, "X", "divides logits of tokens that occurred"),
    ("frequency-penalty", float, "X", "subtracted for each time that a token occurred"),
    ("presence-penalty", float, "X", "subtracted once from tokens that occurred"),
    ("repeat-last-n", int, "N", "tokens that penalties look at, -1 for all; default: 64"),
    ("dry-multiplier", float, "X", "penalty for going on with a repetition"),
    ("dry-base", float, "X", "by which it grows with each token of it; default: 1.75"),
    ("dry-allowed-length", int, "N", "repetition without a penalty; default: 2"),
    ("dry-last-n", int, "N", "tokens that are looked through, -1 for all; default: 64"),
    ("mirostat", int, "VERSION", "1 or 2: keep the surprise near a goal, without the filters"),
    ("mirostat-tau", float, "BITS", "that goal; default: 5"),
    ("mirostat-eta", float, "X", "how fast it is followed; default: 0.1"),
    ("mirostat-m", int, "N", "tokens that version 1 looks at; default: 100"),
)


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
    _sampling(generate)
    generate.add_argument("--seed", type=int)
    generate.add_argument("--stop", action="append", type=text, default=[], metavar="TEXT")

    inspect = commands.add_parser("inspect", help="list metadata and tensors of a weights file")
    inspect.add_argument("file", metavar="FILE", help=".gguf, .safetensors, an index, or a folder")

    warmup = commands.add_parser("warmup", help="compile what a model needs")
    warmup.add_argument("source", metavar="SOURCE", help=SOURCE)
    _where(warmup)
    return top


def _sampling(command: argparse.ArgumentParser) -> None:
    """Options of samplers: those that are not given are None."""
    group = command.add_argument_group("sampling", "off unless given; greedy without a temperature")
    for name, kind, metavar, told in SAMPLING:
        group.add_argument(f"--{name}", type=kind, metavar=metavar, help=told)
    group.add_argument(
        "--dry-sequence-breaker",
        action="append",
        type=text,
        metavar="TEXT",
        dest="dry_sequence_breakers",
        help="what no repetition goes over",
    )
    for name, told in (("grammar", "GBNF that the output keeps to"), ("json-schema", "its JSON")):
        group.add_argument(f"--{name}", type=text, metavar="TEXT", help=told)
    group.add_argument("--logit-bias", action="append", type=bias, metavar="ID+BIAS")
    group.add_argument(
        "--samplers", type=names, metavar="NAME;...", help="in this order, not llama.cpp's"
    )


def bias(argument: str) -> tuple[int, float]:
    """`ID+BIAS` or `ID-BIAS` of a command line, as llama.cpp has it."""
    found = re.fullmatch(r"(\d+)([+-].+)", argument)
    try:
        return int(found[1]), float(found[2])  # type: ignore[index]
    except (TypeError, ValueError):
        told = f"{argument!r} is not ID+BIAS or ID-BIAS"
        raise argparse.ArgumentTypeError(told) from None


def names(argument: str) -> list[str]:
    """Names with semicolons or commas between them."""
    return [name.strip() for name in argument.replace(",", ";").split(";") if name.strip()]


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
