"""`numbatorch imatrix`: a text is run to find out which weights count most."""

import argparse
from typing import Any

from numbatorch.cli.options import SOURCE, add_where, whole
from numbatorch.cli.progress import bar


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser(
        "imatrix", help="collect an importance matrix for quantize from a text"
    )
    command.add_argument("model", metavar="MODEL", help=SOURCE)
    command.add_argument("text", metavar="TEXT", help="a text file")
    command.add_argument("output", metavar="OUT", help="the .gguf file to write")
    command.add_argument(
        "--context", type=whole, default=512, metavar="N", help="default: 512 tokens"
    )
    command.add_argument(
        "--chunks", type=whole, metavar="N", help="how many of these; default: all"
    )
    add_where(command)
    return command


def run(options: argparse.Namespace) -> int:
    """Write the file, then print what it holds."""
    from numbatorch.io.writing import check_output
    from numbatorch.pipelines.imatrix import collect
    from numbatorch.quantized.importance import described, write_importance

    check_output(options.output, [options.model, options.text], "imatrix", ".gguf")
    with bar("imatrix", "chunk") as progress:
        found = collect(
            options.model,
            options.text,
            options.context,
            options.chunks,
            revision=options.revision,
            device=options.device,
            bar=progress,
        )
    write_importance(options.output, found)
    print("\n".join((described(options.output) or [])[:3]))
    return 0
