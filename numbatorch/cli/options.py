"""Options that several subcommands have."""

import argparse
import os

SOURCE = "a folder, a .gguf file, or a repository of the Hugging Face Hub"


def text(argument: str) -> str:
    """A text from the command line, which is UTF-8 where the locale has no letters for it."""
    try:
        argument.encode()
        return argument
    except UnicodeEncodeError:
        pass
    try:
        return os.fsencode(argument).decode()
    except UnicodeError:
        raise argparse.ArgumentTypeError(f"{argument!a} is not UTF-8") from None


def add_compute(command: argparse.ArgumentParser) -> None:
    """What activations beside packed weights are multiplied in."""
    told = "beside packed weights: activations as they are; default: rounded to 8 or 16 bits"
    command.add_argument("--compute", choices=["float32"], help=told)


def add_where(command: argparse.ArgumentParser) -> None:
    """Which revision of a repository, and where to compute."""
    command.add_argument("--revision", help="branch, tag or commit of a repository")
    command.add_argument("--device", help="auto, cpu, cuda, cuda:1, metal; default: the CPU")
