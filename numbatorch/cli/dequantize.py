"""`numbatorch dequantize`: the weights of a model become floats."""

import argparse
from typing import Any

from numbatorch.cli.progress import bar
from numbatorch.cli.quantize import INPUTS, report


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser(
        "dequantize", help="store the weights of a model as floats"
    )
    command.add_argument("input", metavar="IN", help=INPUTS)
    command.add_argument("output", metavar="OUT", help="the .gguf file to write")
    command.add_argument("--type", default="F16", help="F16, the default, BF16 or F32")
    return command


def run(options: argparse.Namespace) -> int:
    """Write the file, then print how large it is."""
    from numbatorch.pipelines.convert import dequantize

    with bar("dequantize") as progress:
        kinds = dequantize(options.input, options.output, options.type, bar=progress)
    report(options.output, [kind.name for kind in kinds.values()])
    return 0
