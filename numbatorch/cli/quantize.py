"""`numbatorch quantize`: the weights of a model become blocks of few bits."""

import argparse
import os
from collections import Counter
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

    with bar("quantize") as progress:
        kinds = quantize(
            options.input,
            options.output,
            options.type,
            options.imatrix,
            keep=[kept(text) for text in options.keep],
            requantize=options.requantize,
            bar=progress,
        )
    report(options.output, [kind.name for kind in kinds.values()])
    return 0


def report(path: str, names: list[str]) -> None:
    """Print the size of a file and the types of its tensors."""
    counts = ", ".join(f"{name} {count}" for name, count in Counter(names).most_common())
    print(f"{path}: {os.path.getsize(path):,} bytes, {len(names)} tensors ({counts})")


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
