"""Options of samplers on the command line, and what they say."""

import argparse
import json
import re
from dataclasses import fields
from typing import TYPE_CHECKING, cast

from numbatorch.cli.options import given_or_file, text, whole
from numbatorch.cli.options import number as number_of

if TYPE_CHECKING:
    from numbatorch.generation.samplers.chain import Options

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


def add_sampling(command: argparse.ArgumentParser) -> None:
    """Options of samplers: those that are not given are None."""
    group = command.add_argument_group("sampling", "off unless given; greedy without a temperature")
    for name, kind, metavar, told in SAMPLING:
        kinds = {int: whole, float: number_of}
        group.add_argument(f"--{name}", type=kinds[kind], metavar=metavar, help=told)
    group.add_argument(
        "--dry-sequence-breaker",
        action="append",
        type=text,
        metavar="TEXT",
        dest="dry_sequence_breakers",
        help="what no repetition goes over",
    )
    told = "{} that the output keeps to, or a file of it"
    group.add_argument("--grammar", type=grammar, metavar="TEXT", help=told.format("GBNF"))
    group.add_argument("--json-schema", type=schema, metavar="JSON", help=told.format("JSON"))
    group.add_argument("--logit-bias", action="append", type=bias, metavar="ID+BIAS")
    group.add_argument(
        "--samplers", type=names, metavar="NAME;...", help="in this order, not llama.cpp's"
    )


def grammar(argument: str) -> str:
    """A grammar, or what the file of that name holds."""
    return given_or_file(argument, "::=" in argument or " " in argument)


def schema(argument: str) -> str:
    """A JSON schema, or what the file of that name holds."""
    found = given_or_file(argument, argument.lstrip().startswith(("{", "[")))
    try:
        json.loads(found)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    return found


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


def sampling(options: argparse.Namespace) -> "Options":
    """Options of samplers that the command line has."""
    from numbatorch.generation.samplers.chain import Options

    given = {name: getattr(options, name) for name in Options.__annotations__}
    if given["logit_bias"] is not None:  # of one token several times: added up, as in llama.cpp
        sums: dict[int, float] = {}
        for token, value in given["logit_bias"]:
            sums[token] = sums.get(token, 0.0) + value
        given["logit_bias"] = sums
    return cast("Options", {k: v for k, v in given.items() if v is not None})


def check(options: argparse.Namespace) -> None:
    """Fail where a generation would for its arguments, before a model is loaded.

    Raises:
        OutOfRange, TypeError, ValueError: as `TextGenerator.stream`.
        BackendUnavailable: what a grammar needs is not installed.
    """
    from numbatorch.generation.arguments import COUNT, number
    from numbatorch.generation.samplers.chain import KINDS, chain
    from numbatorch.generation.samplers.grammar import check_library
    from numbatorch.generation.stop import StopFilter

    given = dict(sampling(options))
    if options.samplers is not None:
        chain(given, options.samplers)
    for kind in KINDS.values():  # which are in a chain may be for the checkpoint to say
        names = {field.name for field in fields(kind)}
        kind(**{name: value for name, value in given.items() if name in names})
    for name in ("seed", "max_tokens"):
        if getattr(options, name) is not None:
            number("generate", name, getattr(options, name), COUNT)
    StopFilter(options.stop)
    if "grammar" in given and "json_schema" in given:
        chain(given)
    if "grammar" in given or "json_schema" in given:
        check_library()
