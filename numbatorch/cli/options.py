"""Options that several subcommands have."""

import argparse
import os
import sys

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


def given_or_read(argument: str) -> str:
    """A text from the command line; of `-` what standard input holds, without its last newline."""
    if argument != "-":
        return text(argument)
    try:
        return sys.stdin.buffer.read().decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise argparse.ArgumentTypeError(f"standard input is not UTF-8: {error}") from None


def given_or_file(argument: str, is_text: bool) -> str:
    """A text from the command line, or what the file of that name holds.

    Args:
        is_text: whether it looks like the text, and so is none of a file that is absent.
    """
    try:
        if not os.path.isfile(argument):
            if is_text:
                return text(argument)
            raise argparse.ArgumentTypeError(f"no such file: {argument}")
        with open(argument, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise argparse.ArgumentTypeError(f"{argument} cannot be read: {error}") from None


def whole(argument: str) -> int:
    """A whole number."""
    try:
        return int(argument)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{argument!r:.80} is no whole number") from None


def number(argument: str) -> float:
    """A number."""
    try:
        return float(argument)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{argument!r:.80} is no number") from None


def positive(argument: str) -> int:
    """A whole number above 0."""
    number = whole(argument)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number


def add_compute(command: argparse.ArgumentParser) -> None:
    """What products are made of."""
    told = (
        "float32: activations beside packed weights as they are, which are else rounded to 8 or 16 "
        "bits; bfloat16: plain weights are rounded to it, and activations where that is faster"
    )
    command.add_argument("--compute", choices=["float32", "bfloat16"], help=told)


def add_where(command: argparse.ArgumentParser) -> None:
    """Which revision of a repository, and where to compute."""
    command.add_argument("--revision", help="branch, tag or commit of a repository")
    command.add_argument("--device", help="auto, cpu, cuda, cuda:1, metal; default: the CPU")
