"""`numbatorch quantize`: the weights of a model become blocks of few bits."""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from numbatorch.cli.progress import bar

KEEP = "PATTERN=TYPE"
INPUTS = (
    "a .gguf file, or the first of its parts; a folder or its .safetensors; a repository of the "
    "Hub; a .bin of ggjt"
)


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser(
        "quantize", help="store the weights of a model in fewer bits"
    )
    command.add_argument("input", metavar="IN", help=INPUTS)
    command.add_argument("output", metavar="OUT", help="the .gguf file to write")
    command.add_argument(
        "--type", required=True, metavar="TYPE", help="Q4_K_M, Q8_0, IQ4_XS, MXFP4, F16, ..."
    )
    command.add_argument("--imatrix", metavar="FILE", help="importance matrix, .gguf or .dat")
    command.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar=KEEP,
        help="type of the tensors whose names a pattern is found in; may be repeated",
    )
    command.add_argument(
        "--requantize", action="store_true", help="also weights that are in blocks already"
    )
    return command


def run(options: argparse.Namespace) -> int:
    """Write the file; then how large it is, and how many tensors have each type."""
    from numbatorch.pipelines.convert import quantize

    kept_types = [kept(text) for text in options.keep]
    with bar("quantize") as progress:
        kinds = quantize(
            options.input,
            options.output,
            options.type,
            options.imatrix,
            keep=kept_types,
            requantize=options.requantize,
            bar=progress,
        )
    report(options.output, [kind.name for kind in kinds.values()])
    tell(options, kept_types, kinds)
    return 0


def tell(options: argparse.Namespace, keep: Any, kinds: Mapping[str, Any]) -> None:
    """Say on standard error which tensors were in blocks before, and which types did not fit."""
    from numbatorch.pipelines.convert import encoded_again
    from numbatorch.quantized.mixes import misfits, mix_named

    again = encoded_again(options.input, kinds)
    if again:
        told = f"{_tensors(len(again))} encoded a second time ({counted(again.values())} before)"
        print(f"{told}: less exact than from floats", file=sys.stderr)
    found = misfits(options.output, options.type, keep, options.imatrix is not None)
    if found:
        pairs = counted(f"{wanted.name} to {kind.name}" for wanted, kind, _ in found)
        rows = " or ".join(map(str, sorted({columns for *_, columns in found})))
        sizes = " or ".join(map(str, sorted({wanted.block for wanted, *_ in found})))
        mix = mix_named(options.type)
        told = f"{_tensors(len(found))} stored in another type than {mix} says ({pairs})"
        print(f"{told}: rows of {rows} are no multiple of blocks of {sizes}", file=sys.stderr)


def counted(names: Iterable[str]) -> str:
    """Names with how often each is there, the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in Counter(names).most_common())


def _tensors(count: int) -> str:
    return "1 tensor is" if count == 1 else f"{count} tensors are"


def report(path: str, names: list[str]) -> None:
    """Print the size of a file and the types of its tensors."""
    print(f"{path}: {os.path.getsize(path):,} bytes, {len(names)} tensors ({counted(names)})")


def kept(text: str) -> Any:
    """A pattern and a type from an option.

    Raises:
        FormatError: it is not of that form.
        DTypeError: no such type.
    """
    from numbatorch.errors import FormatError, message
    from numbatorch.quantized.mixes import type_named

    pattern, equals, kind = text.rpartition("=")
    if not equals or not pattern:
        raise FormatError(message("quantize", f"--keep {text!r} is not {KEEP}"))
    return pattern, type_named(kind)
