"""What the subcommands of `numbatorch` do."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, cast

from numbatorch.cli import PACKAGED

if TYPE_CHECKING:
    from numbatorch.generation.samplers.chain import Options

COMPILER = "numba"  # loaded only where a kernel has to be compiled


def devices(options: argparse.Namespace) -> int:
    """Print a table of devices; below those that cannot be used why not, and what to do."""
    from numbatorch.backends.devices import best, describe

    found = describe()
    rows = [("device", "name", "memory", "features", "driver")]
    for row in found:
        memory = f"{row.memory / 2**30:.1f} GiB" if row.memory is not None else ""
        rows.append((row.device, row.name, memory, row.features, row.driver))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    notes = [[], *(_why_not(row.problem, row.hint) for row in found)]
    for cells, lines in zip(rows, notes, strict=True):
        print("  ".join(map(str.ljust, cells, widths)).rstrip())
        for line in lines:
            print(" " * (widths[0] + 2) + line)
    print(f'device="auto" is {best()}')
    return 0


def embed(options: argparse.Namespace) -> int:
    """Print a table of similarities, or the vectors."""
    from numbatorch.hub import packaged_model
    from numbatorch.pipelines.embedder import Embedder

    source = options.model if options.model is not None else packaged_model(PACKAGED)
    vectors = Embedder(source, options.revision, device=options.device).encode(options.texts)
    if options.json:
        rows = zip(options.texts, vectors.tolist(), strict=True)
        print(json.dumps([{"text": text, "vector": vector} for text, vector in rows]))
        return 0
    similarity = vectors @ vectors.T
    print("    " + "".join(f"{column:7}" for column in range(1, len(vectors) + 1)))
    for number, (row, text) in enumerate(zip(similarity, options.texts, strict=True), 1):
        print(f"{number:3} " + "".join(f"{value:7.3f}" for value in row) + f"   {text}")
    return 0


def generate(options: argparse.Namespace) -> int:
    """Stream a continuation to standard output; speeds go to standard error."""
    from numbatorch.generation.text_generator import TextGenerator

    had_compiler = COMPILER in sys.modules
    generator = TextGenerator(options.model, options.revision, device=options.device)
    generation = generator.stream(
        options.prompt,
        options.max_tokens,
        seed=options.seed,
        stop=options.stop,
        samplers=options.samplers,
        **_sampling(options),
    )
    try:
        for piece in generation:
            sys.stdout.write(piece)
            sys.stdout.flush()
    finally:
        print(flush=True)
    if generation.finish == "length" and options.max_tokens is None:
        print(f"stopped: the context of {generator.context} tokens is full", file=sys.stderr)
    if COMPILER in sys.modules and not had_compiler:
        print(
            "kernels were compiled: these speeds include it, the next run's do not", file=sys.stderr
        )
    counts = generation.counts
    speeds = [
        f"prompt {_speed(counts.prompt_tokens, counts.prompt_seconds)}",
        f"generation {_speed(counts.tokens, counts.seconds)}",
    ]
    print("\n".join(speeds), file=sys.stderr)
    return 0


def _sampling(options: argparse.Namespace) -> "Options":
    """Options of samplers that the command line has."""
    from numbatorch.generation.samplers.chain import Options

    given = {name: getattr(options, name) for name in Options.__annotations__}
    if given["logit_bias"] is not None:
        given["logit_bias"] = dict(given["logit_bias"])
    return cast("Options", {k: v for k, v in given.items() if v is not None})


def inspect(options: argparse.Namespace) -> int:
    """Print what is in a weights file."""
    from numbatorch.io.inspect import describe

    for line in describe(options.file):
        print(line)
    return 0


def warmup(options: argparse.Namespace) -> int:
    """Compile the kernels of a model into the pack; a bar shows the progress on a terminal."""
    from numbatorch.pipelines.warmup import warm_up

    for line in warm_up(options.source, options.revision, options.device):
        print(line)
    return 0


def _why_not(problem: str, hint: str) -> list[str]:
    return [f"unavailable: {problem}"] * bool(problem) + [hint] * bool(hint)


def _speed(tokens: int, seconds: float) -> str:
    """`tokens tokens, tokens/s`; without the speed where nothing was timed."""
    return f"{tokens} tokens" + (f", {tokens / seconds:.1f} tokens/s" if tokens and seconds else "")
