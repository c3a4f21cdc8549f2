"""`numbatorch generate`: a prompt is continued, streamed."""

import argparse
import sys
from typing import Any

from numbatorch.cli.options import SOURCE, add_where, text
from numbatorch.cli.sampling import add_sampling, sampling

COMPILER = "numba"  # loaded only where a kernel has to be compiled


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser("generate", help="continue a prompt")
    command.add_argument("prompt", type=text, metavar="PROMPT")
    command.add_argument("--model", required=True, metavar="SOURCE", help=SOURCE)
    add_where(command)
    command.add_argument("--max-tokens", type=int, metavar="N", help="default: until the end")
    add_sampling(command)
    command.add_argument("--seed", type=int)
    command.add_argument("--stop", action="append", type=text, default=[], metavar="TEXT")
    return command


def run(options: argparse.Namespace) -> int:
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
        **sampling(options),
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


def _speed(tokens: int, seconds: float) -> str:
    """`tokens tokens, tokens/s`; without the speed where nothing was timed."""
    return f"{tokens} tokens" + (f", {tokens / seconds:.1f} tokens/s" if tokens and seconds else "")
