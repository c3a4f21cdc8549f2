"""An interrupt while the command `numbatorch` is imported ends it as a later one does: one line,
and the exit code that shells have for it. Loaded before all else of the package.
"""

import os
import sys
from types import FrameType

INTERRUPTED = 130  # exit code after an interrupt, as shells have it
TEXT = "numbatorch: interrupted"


def is_command() -> bool:
    """Whether this process is the command, by how Python was started."""
    started: list[str] = getattr(sys, "argv", None) or [""]  # an embedded Python may have none
    if started[0] == "-m":  # until the module is found
        words = sys.orig_argv
        named = words[words.index("-m") + 1 :][:1] if "-m" in words else []
        return named[:1] in (["numbatorch"], ["numbatorch.cli.main"])
    name = os.path.basename(started[0]).lower()
    return name.removesuffix(".exe").removesuffix(".py").removesuffix("-script") == "numbatorch"


def end(number: int, frame: FrameType | None) -> None:
    """End the process at once: an exception may be caught, or shown, by what is being imported."""
    try:
        os.write(2, f"{TEXT}\n".encode())
    finally:  # standard error may be closed
        os._exit(INTERRUPTED)


def end_on_interrupt() -> None:
    """Have interrupts end the process, unless the program or its parent has said what they do."""
    import signal

    try:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, end)
    except ValueError:  # not the main thread, which gets the signals
        pass


def raise_on_interrupt() -> None:
    """Have interrupts raise KeyboardInterrupt again."""
    import signal

    if signal.getsignal(signal.SIGINT) is end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if is_command():
    end_on_interrupt()
