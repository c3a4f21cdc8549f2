"""`numbatorch generate`: a prompt is continued, streamed."""

import argparse
import sys
from typing import Any

from numbatorch.cli.chat import speeds
from numbatorch.cli.options import SOURCE, add_compute, add_where, given_or_read, text, whole
from numbatorch.cli.sampling import add_sampling, check, sampling

COMPILER = "numba"  # loaded only where a kernel has to be compiled


def add(commands: Any) -> argparse.ArgumentParser:
    """The arguments."""
    command: argparse.ArgumentParser = commands.add_parser("generate", help="continue a prompt")
    command.add_argument(
        "prompt", type=given_or_read, metavar="PROMPT", help="- reads it from standard input"
    )
    told = f"{SOURCE}; with --chat not required"
    command.add_argument("--model", metavar="SOURCE", help=told)
    command.add_argument("--chat", action="store_true", help="answer it by the model's template")
    command.add_argument("--system", type=text, metavar="TEXT", help="with --chat: said before")
    add_where(command)
    add_compute(command)
    command.add_argument(
        "--max-tokens", type=whole, metavar="N", help="default: until the context is full"
    )
    add_sampling(command)
    command.add_argument("--seed", type=whole)
    command.add_argument("--stop", action="append", type=text, default=[], metavar="TEXT")
    return command


def run(options: argparse.Namespace) -> int:
    """Stream a continuation to standard output; speeds go to standard error."""
    from numbatorch.generation.chat import default_model
    from numbatorch.generation.text_generator import TextGenerator

    had_compiler = COMPILER in sys.modules
    prompt, messages = _prompt(options)
    check(options)
    model = options.model if options.model is not None else default_model()
    generator = TextGenerator(model, options.revision, options.device, options.compute)
    generation = generator.stream(
        prompt,
        options.max_tokens,
        messages=messages,
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
    bound = options.grammar or options.json_schema is not None
    if generation.finish == "length" and options.max_tokens is not None and bound:
        print("stopped by --max-tokens: what it was bound to may lack its end", file=sys.stderr)
    if COMPILER in sys.modules and not had_compiler:
        print(
            "kernels were compiled: these speeds include it, the next run's do not", file=sys.stderr
        )
    print("\n".join(speeds(generation.counts)), file=sys.stderr)
    return 0


def _prompt(options: argparse.Namespace) -> tuple[str | None, list[dict[str, str]] | None]:
    """The prompt as it is, or the messages that it is the last of."""
    if options.chat:
        system = [] if options.system is None else [{"role": "system", "content": options.system}]
        return None, [*system, {"role": "user", "content": options.prompt}]
    if options.model is None:
        options.refuse("--model is required without --chat")
    if options.system is not None:
        options.refuse("--system goes with --chat")
    return options.prompt, None
