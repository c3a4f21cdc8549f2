"""`numbatorch inspect`: what is in a weights file."""

import argparse
from typing import Any

from numbatorch.cli.options import positive
from numbatorch.cli.progress import bar

FILES = ".gguf, ggjt, .safetensors, an index, a folder, .pth, .npz, .npy, an importance matrix"


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser(
        "inspect", help="list metadata and tensors of a weights file"
    )
    command.add_argument("file", metavar="FILE", help=FILES)
    command.add_argument("--stats", action="store_true", help="also read the values, and sum up")
    command.add_argument(
        "--context",
        type=positive,
        metavar="N",
        help="also say what memory generating up to N tokens will take",
    )
    return command


def run(options: argparse.Namespace) -> int:
    """Print what is in the file."""
    from numbatorch.errors import FormatError, message
    from numbatorch.io.inspect import describe
    from numbatorch.quantized.importance import described

    about = described(options.file)
    if about is not None:
        if options.stats or options.context is not None:
            problem = "an importance matrix has its statistics beside each name, and no context"
            raise FormatError(message("inspect", problem, f"file {options.file}"))
        print("\n".join(about))
        return 0
    memory: list[str] = []
    if options.context is not None:  # first, for it may be an error
        from numbatorch.pipelines.memory import generation_memory

        memory = generation_memory(options.file, options.context).lines(options.context)
    with bar("read") as progress:
        for line in describe(options.file, options.stats, progress):
            print(line)
    for line in memory:
        print(line)
    return 0
