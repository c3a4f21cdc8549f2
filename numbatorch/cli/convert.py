"""`numbatorch convert`: a Hugging Face folder becomes a GGUF file, and back."""

import argparse
import os
from typing import Any

from numbatorch.cli.progress import bar
from numbatorch.cli.quantize import KEEP, kept, report, tell


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser(
        "convert", help="make a GGUF file of a Hugging Face folder, or a folder of a GGUF file"
    )
    command.add_argument(
        "input",
        metavar="IN",
        help="a folder or a repository of the Hub; a .gguf file; a .bin of ggjt",
    )
    command.add_argument(
        "output", metavar="OUT", help="the .gguf file to write; of a .gguf file the folder"
    )
    command.add_argument(
        "--type", default="F16", help="F16, the default, BF16, F32; of a folder also a mix"
    )
    command.add_argument("--imatrix", metavar="FILE", help="as in quantize")
    command.add_argument("--keep", action="append", default=[], metavar=KEEP, help="as in quantize")
    return command


def run(options: argparse.Namespace) -> int:
    """Write the file or the folder, then print what it holds."""
    from numbatorch.pipelines.convert import from_ggjt, to_folder, to_gguf

    kept_types = [kept(text) for text in options.keep]

    with bar("convert") as progress:
        if options.input.endswith(".gguf"):
            names = to_folder(options.input, options.output, options.type, bar=progress)
            print(f"{options.output}: {len(names)} tensors")
            return 0
        if options.input.endswith(".bin") and os.path.isfile(options.input):
            source, target = options.input, options.output
            kinds = from_ggjt(source, target, options.type, keep=kept_types, bar=progress)
        else:
            kinds = to_gguf(
                options.input,
                options.output,
                options.type,
                options.imatrix,
                keep=kept_types,
                bar=progress,
            )
    report(options.output, [kind.name for kind in kinds.values()])
    tell(options, kept_types, kinds)
    return 0
