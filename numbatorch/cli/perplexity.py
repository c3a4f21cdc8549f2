"""`numbatorch perplexity`: how well a model expects a text."""

import argparse
from typing import Any

from numbatorch.cli.options import SOURCE, add_where, whole
from numbatorch.cli.progress import bar


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser(
        "perplexity", help="measure how well a model expects a text, or a reference's tokens"
    )
    command.add_argument("model", metavar="MODEL", help=SOURCE)
    command.add_argument("text", nargs="?", metavar="TEXT", help="a text file")
    command.add_argument(
        "--context", type=whole, metavar="N", help="default: 512 tokens, or the reference's"
    )
    command.add_argument(
        "--chunks", type=whole, metavar="N", help="how many of these; default: all"
    )
    command.add_argument(
        "--reference", metavar="FILE", help="log-probabilities that KL divergence is taken from"
    )
    command.add_argument("--save", metavar="FILE", help="write log-probabilities for others")
    add_where(command)
    return command


def run(options: argparse.Namespace) -> int:
    """Print perplexity with its standard error, and the divergence from a reference."""
    from numbatorch.pipelines.perplexity import perplexity

    with bar("perplexity", "chunk") as progress:
        found = perplexity(
            options.model,
            options.text,
            options.context,
            options.chunks,
            reference=options.reference,
            save=options.save,
            revision=options.revision,
            device=options.device,
            bar=progress,
        )
    print("\n".join(found.lines()))
    return 0
